//! What a run came to: filled phase by phase, so that there is something to report also when it ends badly.

use std::time::Duration;

use ringmq_checker::compact::Verdict;
use serde::Serialize;

use crate::count::Totals;
use crate::latency::Latencies;
use crate::resources::CpuTime;

/// The rate that a durable broker is measured against, messages a second.
pub const TARGET_MESSAGES_PER_S: f64 = 70_000.0;

/// One stretch of a run: so many messages in so much time at such a cost.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// What it was, for the table: "send", "read back", "send while replaying".
    pub name: &'static str,
    /// Messages acknowledged, or read.
    pub messages: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Of each message: from its due time (open loop) or its send to its acknowledgement; of a read: from asking to having.
    pub latencies: Latencies,
    /// CPU time of the broker, when in sight, and of the generator, within the phase.
    pub cpu: CpuTime,
}

impl Phase {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        per(self.messages as f64, self.elapsed.as_secs_f64())
    }

    /// Bytes of bodies a second, in 10⁶.
    pub fn megabytes_per_s(&self) -> f64 {
        per(self.body_bytes as f64 / 1e6, self.elapsed.as_secs_f64())
    }

    /// CPU time of the broker for each message, nanoseconds.
    pub fn broker_ns_per_message(&self) -> Option<f64> {
        let broker_ns = self.cpu.broker_ns?;
        (self.messages > 0).then(|| broker_ns as f64 / self.messages as f64)
    }

    /// CPU time of the generator for each message, nanoseconds.
    pub fn generator_ns_per_message(&self) -> Option<f64> {
        (self.messages > 0).then(|| self.cpu.generator_ns as f64 / self.messages as f64)
    }

    /// How many processors the broker kept busy.
    pub fn broker_cores(&self) -> Option<f64> {
        self.cpu.broker_ns.map(|broker_ns| per(broker_ns as f64 / 1e9, self.elapsed.as_secs_f64()))
    }

    /// How many processors the generator kept busy.
    pub fn generator_cores(&self) -> f64 {
        per(self.cpu.generator_ns as f64 / 1e9, self.elapsed.as_secs_f64())
    }
}

fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

/// The counters at one moment of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Since the run began, seconds.
    pub at_s: f64,
    /// Everything counted until then.
    pub totals: Totals,
}

/// The longest commit that each message waited for (its own, or the one that it gathered behind): the share of the disk in its
/// latency. Of the slowest shard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MessageCommits {
    /// Median, microseconds.
    pub p50: f64,
    /// 99th percentile, microseconds.
    pub p99: f64,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was asked for, in words.
    pub title: String,
    /// The command line.
    pub command: String,
    /// The mode's name; "main" without one.
    pub mode: &'static str,
    /// The seed of the messages' hashes.
    pub run_seed: u64,
    /// Messages a second that were asked for, in open loop.
    pub rate: Option<f64>,
    /// Sending, when the run sent. Backlog: the sending that the verdict is about.
    pub send: Option<Phase>,
    /// Reading, when the run read.
    pub read: Option<Phase>,
    /// Phases beside these (backlog: the pile-up, and sending without replay).
    pub further: Vec<Phase>,
    /// From the due time (open loop) or the send to the consumer's having it.
    pub end_to_end: Option<Latencies>,
    /// What the embedded broker measured of its commits, write and flush, each message counting its own.
    pub message_commit_us: Option<MessageCommits>,
    /// What the judge says; `None` when nothing was read.
    pub verdict: Option<Verdict>,
    /// Messages acknowledged, whether or not there was a judge.
    pub acknowledged: Option<u64>,
    /// Messages read.
    pub read_back: Option<u64>,
    /// Messages without an outcome.
    pub unknown: u64,
    /// Failed answers and connections.
    pub errors: u64,
    /// Connections opened again.
    pub reconnects: u64,
    /// Generator threads, and how many cores they could use.
    pub generator_threads: usize,
    /// The largest resident memory of the broker's process that was seen, bytes.
    pub rss_bytes_max: Option<u64>,
    /// Counters over time.
    pub samples: Vec<Sample>,
    /// Why the run failed.
    pub failure: Option<String>,
    /// Things to know that are no failure.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Whether the run did what it was asked to, and everything acknowledged was read and verified.
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.verdict.as_ref().is_none_or(Verdict::is_sound)
    }

    /// Acknowledged messages that were read and verified byte by byte; `None` when nothing was read.
    pub fn verified(&self) -> Option<u64> {
        self.verdict.as_ref().map(|verdict| verdict.verified)
    }
}
