//! The producing role: a window of unanswered send frames on one connection, each of one queue, the queues in turn.
//!
//! A message is never sent twice: when a connection breaks, what was unanswered stays without an outcome, and reading back tells
//! what became of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmq_checker::compact::Account;
use ringmq_checker::{MessageId, RunSeed};
use ringmq_proto::code::Code;

use super::Role;
use super::opener::Opener;
use super::wire::{Heard, Refusal, Results, Sending, Wire};
use crate::count::{Board, Counters, add};
use crate::latency::Latencies;
use crate::pace::Pace;
use crate::send_times::SendTimes;
use crate::size::SizeMix;

/// Output that waits for the kernel beyond this many bytes holds back further frames.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// How long a connection whose frame was refused as "busy" holds its peace, nanoseconds.
const BUSY_NS: u64 = 5_000_000;

/// How often a producer that is ready looks whether the run has started, nanoseconds.
const LOOK_NS: u64 = 500_000;

/// What the producers of one thread share.
pub struct ProducerShared {
    /// All threads' counters and the wish to stop.
    pub board: Arc<Board>,
    /// Which thread this is.
    pub thread: usize,
    /// The run's seed.
    pub seed: RunSeed,
    /// Sizes of bodies.
    pub sizes: Arc<SizeMix>,
    /// Messages of a frame.
    pub batch: u64,
    /// Whether messages have unique ids.
    pub unique_ids: bool,
    /// Where the sending times go when end-to-end latency is measured.
    pub send_times: Option<Arc<SendTimes>>,
    /// From sending (or being due) to the acknowledgement.
    pub latencies: Latencies,
    /// When the last acknowledgement came.
    pub last_acknowledged_ns: u64,
    /// Milliseconds since 1970 at nanosecond 0 of [`crate::clock`].
    pub wall_origin_ms: u64,
    /// Bodies of the frame that is being made.
    pub bodies: Vec<u8>,
    /// The first refusals, in words.
    pub refusals: Vec<String>,
}

impl ProducerShared {
    fn counters(&self) -> &Counters {
        self.board.of(self.thread)
    }

    fn refused(&mut self, code: Code, remark: &str) {
        if self.refusals.len() < 4 {
            self.refusals.push(format!("code {code}: {remark}"));
        }
    }
}

/// A frame that has not been answered.
#[derive(Clone, Copy, Default)]
struct InFlight {
    first: u64,
    count: u64,
    body_bytes: u64,
    /// Index into the opener's queues.
    queue: usize,
    due_ns: u64,
}

/// Whether a refusal says that nothing was stored. A frame is stored all or none; other codes leave open whether it was.
pub const fn is_definite(code: Code) -> bool {
    matches!(
        code,
        Code::SYSTEM_BUSY
            | Code::SERVICE_NOT_AVAILABLE
            | Code::MESSAGE_ILLEGAL
            | Code::NO_PERMISSION
            | Code::TOPIC_NOT_EXIST
            | Code::FLOW_CONTROL
    )
}

/// One producing connection.
pub struct Producer {
    /// What was sent and what became of it.
    pub account: Account,
    opener: Opener,
    pace: Pace,
    /// Messages that may still be sent.
    quota: u64,
    next_queue: usize,
    /// By slot of the request.
    frames: Vec<InFlight>,
    in_flight_count: usize,
    /// No frame before this time: the broker said that it is busy.
    busy_until_ns: u64,
    in_flight_max: usize,
    /// Nothing is sent before the run's start.
    is_started: bool,
    /// While it has not started: when to look again.
    look_ns: u64,
}

impl Producer {
    /// A producer that opens its queues and then waits for the start.
    pub fn new(account: Account, opener: Opener, quota: u64, in_flight_max: usize) -> Self {
        Self {
            account,
            opener,
            pace: Pace::closed(),
            quota,
            next_queue: 0,
            frames: Vec::new(),
            in_flight_count: 0,
            busy_until_ns: 0,
            in_flight_max,
            is_started: false,
            look_ns: 0,
        }
    }

    fn encode_frame(
        &mut self,
        shared: &mut ProducerShared,
        wire: &mut Wire,
        due_ns: u64,
        now_ns: u64,
    ) -> Result<bool, String> {
        let count = shared.batch.min(self.quota);
        let queue = self.next_queue;
        let producer = self.account.producer();
        let first = self.account.sent();
        shared.bodies.clear();
        for sequence in first..first + count {
            let at = shared.bodies.len();
            shared.bodies.resize(at + shared.sizes.of(sequence), 0);
            shared.seed.stamp(MessageId::new(producer, sequence), &mut shared.bodies[at..]);
        }
        let sending = Sending {
            handle: self.opener.handle(queue),
            born_time_ms: shared.wall_origin_ms + now_ns / 1_000_000,
            bodies: &shared.bodies,
            sizes: &shared.sizes,
            first,
            count,
            unique_ids_of: shared.unique_ids.then_some(producer),
        };
        let slot = match wire.send(&sending) {
            Ok(slot) => slot,
            Err(Refusal::Full) if self.in_flight_count > 0 => return Ok(false),
            Err(Refusal::Full) => return Err("the broker takes no frame of this size".into()),
            Err(Refusal::Unusable(reason)) => return Err(reason),
        };
        let body_bytes = shared.bodies.len() as u64;
        self.account.take(count);
        self.quota -= count;
        self.next_queue = if queue + 1 == self.opener.queues().len() { 0 } else { queue + 1 };
        if let Some(times) = &shared.send_times {
            (first..first + count).for_each(|sequence| times.set(producer, sequence, due_ns));
        }
        self.remember(slot, InFlight { first, count, body_bytes, queue, due_ns });
        Ok(true)
    }

    #[inline]
    fn remember(&mut self, slot: usize, frame: InFlight) {
        if slot >= self.frames.len() {
            self.frames.resize(slot + 1, InFlight::default());
        }
        self.frames[slot] = frame;
        self.in_flight_count += 1;
        self.pace.sent();
    }

    fn sent(
        &mut self,
        shared: &mut ProducerShared,
        slot: usize,
        code: Code,
        results: &Results<'_>,
        now_ns: u64,
    ) -> Result<(), String> {
        let frame = self.frames[slot];
        self.in_flight_count -= 1;
        if code != Code::SUCCESS {
            // Stored, but not as safely as promised: whether it stays is unknown.
            add(&shared.counters().errors, frame.count);
            shared.refused(code, "stored, but not as safely as configured");
            return Ok(());
        }
        let (queue, handle) = (self.opener.queues()[frame.queue], self.opener.handle(frame.queue));
        let mut acknowledged = 0;
        for stored in results.iter() {
            let count = stored.count;
            if stored.handle != handle || acknowledged + count > frame.count {
                return Err(format!("an answer to {} messages names others", frame.count));
            }
            self.account.acknowledge(frame.first + acknowledged, count, queue, stored.first_offset);
            acknowledged += count;
        }
        if acknowledged != frame.count {
            return Err(format!("an answer to {} messages tells of {acknowledged}", frame.count));
        }
        shared.latencies.record(now_ns.saturating_sub(frame.due_ns), frame.count);
        shared.last_acknowledged_ns = now_ns;
        let counters = shared.counters();
        add(&counters.acknowledged, frame.count);
        add(&counters.acknowledged_bytes, frame.body_bytes);
        Ok(())
    }

    fn refused(&mut self, shared: &mut ProducerShared, slot: usize, code: Code, remark: &str, now_ns: u64) {
        let frame = self.frames[slot];
        self.in_flight_count -= 1;
        if is_definite(code) {
            self.account.fail(frame.first, frame.count);
        }
        self.busy_until_ns = now_ns + BUSY_NS;
        add(&shared.counters().errors, frame.count);
        shared.refused(code, remark);
    }

    fn is_stopping(&self, shared: &ProducerShared) -> bool {
        self.quota == 0 || shared.board.stop_sending.load(Ordering::Relaxed)
    }
}

impl Role for Producer {
    type Shared = ProducerShared;

    fn hear(&mut self, shared: &mut ProducerShared, heard: Heard<'_>, now_ns: u64) -> Result<(), String> {
        match heard {
            Heard::Sent { slot, code, results } => self.sent(shared, slot, code, &results, now_ns),
            Heard::Opened { slot, handle, .. } => {
                self.opener.opened(slot, handle);
                if self.opener.is_open() && !self.is_started {
                    shared.board.one_is_ready();
                }
                Ok(())
            }
            Heard::Failed { slot, code, remark } if self.opener.is_open() => {
                self.refused(shared, slot, code, remark, now_ns);
                Ok(())
            }
            Heard::Failed { code, remark, .. } => Err(format!("a queue was not opened, code {code}: {remark}")),
            Heard::Pulled { .. } | Heard::Done => Ok(()),
        }
    }

    fn pump(&mut self, shared: &mut ProducerShared, wire: &mut Wire, now_ns: u64) -> Result<(), String> {
        if !self.opener.is_open() {
            return self.opener.pump(wire);
        }
        if !self.is_started {
            self.look_ns = now_ns + LOOK_NS;
            let Some(pace) = shared.board.pace_of(self.account.producer()) else { return Ok(()) };
            self.pace = pace;
            self.is_started = true;
        }
        let mut sent = 0;
        while !self.is_stopping(shared) && self.in_flight_count < self.in_flight_max && now_ns >= self.busy_until_ns {
            let due_ns = self.pace.due_ns(now_ns);
            if due_ns > now_ns || wire.output().len() > OUTPUT_BYTES_MAX {
                break;
            }
            let before = self.account.sent();
            if !self.encode_frame(shared, wire, due_ns, now_ns)? {
                break;
            }
            sent += self.account.sent() - before;
        }
        if sent > 0 {
            add(&shared.counters().sent, sent);
        }
        Ok(())
    }

    fn lost(&mut self, _shared: &mut ProducerShared) {
        self.opener.reset();
        self.in_flight_count = 0;
    }

    fn due_ns(&self) -> Option<u64> {
        if !self.is_started {
            return Some(self.look_ns);
        }
        // With a full window the next answer, not the time, lets the next frame go.
        if self.quota == 0 || self.in_flight_count >= self.in_flight_max {
            return None;
        }
        if self.busy_until_ns > 0 && self.in_flight_count == 0 {
            return Some(self.busy_until_ns.max(self.pace.due_ns(0)));
        }
        (!self.pace.is_closed()).then(|| self.pace.due_ns(0))
    }

    fn is_done(&self, shared: &ProducerShared) -> bool {
        // One without a message to send still counts among those that the start waits for.
        let is_over = shared.board.stop_sending.load(Ordering::Relaxed) || (self.is_started && self.quota == 0);
        is_over && self.in_flight_count == 0
    }
}
