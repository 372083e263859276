//! What a run is to do: the arguments, checked, with defaults that depend on the machine and on each other.

use std::path::PathBuf;
use std::time::Duration;

use ringmq_checker::RunSeed;
use ringmq_checker::identity::PRODUCER_COUNT_MAX;
use ringmq_proto::limits::{FRAME_MESSAGE_COUNT_MAX, FRAME_SIZE_BYTES_MAX, TOPIC_NAME_SIZE_BYTES_MAX};

use crate::cli::{Api, Arguments, DataPlane, Dialect, Flush, Mode};
use crate::cores::{Cores, choose};
use crate::failure::Failure;
use crate::resources::BrokerProcess;
use crate::size::{ByteSize, SizeMix};

/// Send frames that one connection may have unanswered. When reached: exit code 2.
pub const IN_FLIGHT_MAX: u32 = 65_536;

/// Topics of one run. When reached: exit code 2.
pub const TOPIC_COUNT_MAX: u32 = 1_000_000;

/// Rate of the open loop where a mode needs one and none was given, messages a second.
const RATE_DEFAULT: f64 = 70_000.0;

/// Messages of a backlog when none were asked for.
const BACKLOG_MESSAGES_DEFAULT: u64 = 10_000_000;

/// Bytes of a message on the wire beside its body, generously: frame header and message struct.
const WIRE_OVERHEAD_BYTES: usize = 64;

/// Bytes of a message in the embedded broker's log and index beside its body, generously.
pub const DISK_OVERHEAD_BYTES: u64 = 220;

/// The embedded cluster, when there is one.
#[derive(Clone, Debug)]
pub struct EmbeddedPlan {
    /// Shards.
    pub shards: u32,
    /// When it acknowledges.
    pub flush: Flush,
    /// How it drives sockets and disk.
    pub data_plane: DataPlane,
    /// Memory for hot reads of a shard, bytes.
    pub hot_tail_bytes: Option<u64>,
    /// Size of a log segment, bytes.
    pub segment_bytes: u64,
    /// How much log is kept, bytes.
    pub retention_bytes: Option<u64>,
    /// Where, when the caller said; kept afterwards.
    pub data: Option<PathBuf>,
    /// Which cores its shards are pinned to.
    pub cores: Vec<usize>,
}

/// Where the cluster is.
#[derive(Clone, Debug)]
pub enum ClusterPlan {
    /// Started in this process.
    Embedded(EmbeddedPlan),
    /// At these name servers.
    At(String),
}

/// A checked plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do; `None` is the main demonstration.
    pub mode: Option<Mode>,
    /// Where.
    pub cluster: ClusterPlan,
    /// Topics, at least one.
    pub topics: Vec<String>,
    /// How long to send.
    pub send_for: Duration,
    /// How long `consume` reads at most.
    pub read_for: Option<Duration>,
    /// Stop after so many messages.
    pub messages: Option<u64>,
    /// What is spoken to brokers.
    pub dialect: Dialect,
    /// Whether messages have unique ids.
    pub unique_ids: bool,
    /// What sends.
    pub api: Api,
    /// Sizes of bodies.
    pub size: SizeMix,
    /// Producing connections.
    pub connections: u32,
    /// Unanswered frames of a connection.
    pub in_flight: u32,
    /// Messages of a frame.
    pub batch: u32,
    /// Queues of a topic on a shard, where the run creates it.
    pub queues: u32,
    /// Messages a second in open loop; `None`: closed loop.
    pub rate: Option<f64>,
    /// Cores of the generator's threads, one thread each.
    pub cores: Vec<usize>,
    /// Whose CPU and memory are the broker's.
    pub broker_process: BrokerProcess,
    /// The seed of the messages' hashes.
    pub seed: RunSeed,
    /// Whether what was produced is read back and verified.
    pub read_back: bool,
    /// Whether a progress line is drawn.
    pub progress: bool,
}

impl Plan {
    /// Checks the arguments against each other and the machine.
    pub fn new(arguments: &Arguments) -> Result<Self, Failure> {
        not_yet_built(arguments)?;
        in_range("--connections", arguments.connections, 1, PRODUCER_COUNT_MAX - 1)?;
        in_range("--in-flight", arguments.in_flight, 1, IN_FLIGHT_MAX)?;
        in_range("--batch", arguments.batch, 1, u32::try_from(FRAME_MESSAGE_COUNT_MAX).unwrap_or(u32::MAX))?;
        in_range("--queues", arguments.queues, 1, 65_536)?;
        in_range("--shards", arguments.shards, 1, 1024)?;
        in_range("--topics", arguments.topics, 1, TOPIC_COUNT_MAX)?;
        let frame_bytes = (arguments.size.largest() + WIRE_OVERHEAD_BYTES).saturating_mul(arguments.batch as usize);
        if frame_bytes > FRAME_SIZE_BYTES_MAX {
            return Err(Failure::unusable(format!(
                "--batch {} of up to {} bytes makes frames beyond the protocol's {FRAME_SIZE_BYTES_MAX} bytes: use a smaller batch",
                arguments.batch,
                arguments.size.largest()
            )));
        }
        let seconds = arguments.seconds.unwrap_or(if arguments.messages.is_some() { 3600.0 } else { 10.0 });
        if !seconds.is_finite() || seconds <= 0.0 || seconds > 1e7 {
            return Err(Failure::unusable(format!("--seconds {seconds}: expected a time above 0")));
        }
        let topics = topics(arguments)?;
        let seed = RunSeed(arguments.run_seed.unwrap_or_else(|| seed_of(&topics[0])));
        let Cores { generator, broker } = choose(arguments)?;
        Ok(Self {
            mode: arguments.mode,
            cluster: cluster(arguments, broker),
            topics,
            send_for: Duration::from_secs_f64(seconds),
            read_for: arguments.seconds.map(|_| Duration::from_secs_f64(seconds)),
            messages: messages(arguments),
            dialect: arguments.dialect,
            unique_ids: arguments.unique_ids,
            api: arguments.api,
            size: arguments.size.clone(),
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            batch: arguments.batch,
            queues: arguments.queues,
            rate: rate(arguments)?,
            cores: generator,
            broker_process: match (arguments.watch_pid, &arguments.namesrv) {
                (Some(pid), _) => BrokerProcess::Watched(pid),
                (None, None) => BrokerProcess::Embedded,
                (None, Some(_)) => BrokerProcess::Unknown,
            },
            seed,
            read_back: !arguments.no_read_back,
            progress: !arguments.quiet,
        })
    }

    /// The plan in one line.
    pub fn title(&self) -> String {
        let mode = self.mode.map_or("send, read back, verify", Mode::name);
        let whose = match &self.cluster {
            ClusterPlan::Embedded(plan) => format!(
                "embedded broker, {} shard{}, flush {}, data plane {}",
                plan.shards,
                if plan.shards == 1 { "" } else { "s" },
                plan.flush.name(),
                plan.data_plane.name()
            ),
            ClusterPlan::At(namesrv) => format!("cluster at {namesrv}"),
        };
        if self.mode == Some(Mode::Consume) {
            return format!("{mode}, {whose}");
        }
        let whose = match self.api {
            Api::Connection => whose,
            Api::Producer => format!("through the client's Producer, {whose}"),
        };
        let whose = match self.dialect {
            Dialect::Native => whose,
            Dialect::Remoting => format!("remoting, {whose}"),
        };
        let pace = self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {rate:.0}/s"));
        format!(
            "{mode}: {}-byte messages, {} connections x {} in flight x batch {}, {pace}, {whose}",
            self.size.text(),
            self.connections,
            self.in_flight,
            self.batch
        )
    }
}

/// What the command line knows and this version cannot do, or not together: one clear sentence each.
fn not_yet_built(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.api == Api::Producer && arguments.unique_ids {
        return Err(Failure::unusable(
            "--unique-ids with --api producer: over remoting the client gives them by itself",
        ));
    }
    if arguments.dialect == Dialect::Native && arguments.unique_ids {
        return Err(Failure::unusable(
            "--unique-ids are a custom of RocketMQ's clients: use --dialect remoting with it",
        ));
    }
    if arguments.api == Api::Producer && arguments.batch != 1 {
        return Err(Failure::unusable(
            "--api producer takes no --batch: the client gathers by itself what waits for one queue",
        ));
    }
    Ok(())
}

fn in_range(name: &str, value: u32, low: u32, high: u32) -> Result<(), Failure> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Failure::unusable(format!("{name} {value}: expected {low} to {high}")))
}

fn topics(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let base = match (&arguments.topic, arguments.mode) {
        (Some(topic), _) => topic.clone(),
        (None, Some(Mode::Consume)) => {
            return Err(Failure::unusable("consume needs --topic: whose messages are to be read?"));
        }
        (None, _) => own_topic(),
    };
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'-' | b'_');
    if base.is_empty() || base.len() + 8 > TOPIC_NAME_SIZE_BYTES_MAX || !base.bytes().all(is_legal) {
        return Err(Failure::unusable(format!("--topic {base}: letters, digits and %|-_ only, at most 119 of them")));
    }
    Ok(match arguments.topics {
        1 => vec![base],
        count => (0..count).map(|index| format!("{base}-{index}")).collect(),
    })
}

/// A topic that no other run has: the time in milliseconds and the process.
fn own_topic() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("loadgen-{}-{}", since.as_millis(), std::process::id())
}

/// FNV-1a: the same for the same topic, in every version.
fn seed_of(topic: &str) -> u64 {
    topic.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn rate(arguments: &Arguments) -> Result<Option<f64>, Failure> {
    match (arguments.rate, arguments.mode) {
        (Some(rate), _) if rate.is_finite() && rate > 0.0 => Ok(Some(rate)),
        (Some(rate), _) => Err(Failure::unusable(format!("--rate {rate}: expected messages a second, above 0"))),
        (None, Some(Mode::EndToEnd | Mode::Backlog)) => Ok(Some(RATE_DEFAULT)),
        (None, _) => Ok(None),
    }
}

fn messages(arguments: &Arguments) -> Option<u64> {
    match arguments.mode {
        Some(Mode::Backlog) => Some(arguments.messages.unwrap_or(BACKLOG_MESSAGES_DEFAULT)),
        _ => arguments.messages,
    }
}

fn cluster(arguments: &Arguments, broker_cores: Vec<usize>) -> ClusterPlan {
    if let Some(namesrv) = &arguments.namesrv {
        return ClusterPlan::At(namesrv.clone());
    }
    let bytes = |size: Option<ByteSize>| size.map(|ByteSize(bytes)| bytes);
    ClusterPlan::Embedded(EmbeddedPlan {
        shards: arguments.shards,
        flush: arguments.flush,
        data_plane: arguments.data_plane,
        hot_tail_bytes: bytes(arguments.hot_tail),
        segment_bytes: bytes(arguments.segment).unwrap_or(256 << 20),
        retention_bytes: bytes(arguments.retention),
        data: arguments.data.clone(),
        cores: broker_cores,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(line: &str) -> Result<Plan, Failure> {
        let words = std::iter::once("ringmq-loadgen").chain(line.split_whitespace());
        Plan::new(&Arguments::try_parse_from(words).expect("parses"))
    }

    #[test]
    fn what_does_not_go_together_ends_with_two_and_one_sentence() {
        for (line, word) in
            [("--dialect remoting --api producer --unique-ids", "by itself"), ("--unique-ids", "--dialect remoting")]
        {
            let failure = plan(line).expect_err(line);
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains(word), "{failure}");
        }
    }

    #[test]
    fn arguments_that_cannot_be_used_are_refused_before_anything_starts() {
        let bad = [
            "--connections 0",
            "--connections 4096",
            "--in-flight 0",
            "--batch 0",
            "--batch 65536",
            "--batch 20000 --size 1KiB",
            "--queues 0",
            "--shards 0",
            "--seconds 0",
            "--seconds nan",
            "--rate 0",
            "--topic a/b",
            "--api producer --batch 10",
            "consume",
        ];
        for line in bad {
            assert_eq!(plan(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_seed_follows_from_the_topic_so_that_a_later_consume_verifies() {
        let (a, b) = (plan("produce --topic T").expect("plan"), plan("consume --topic T").expect("plan"));
        assert_eq!(a.seed, b.seed);
        assert_ne!(a.seed, plan("produce --topic U").expect("plan").seed);
        assert_eq!(plan("--run-seed 5").expect("plan").seed, RunSeed(5));
    }

    #[test]
    fn without_arguments_the_main_demonstration_is_planned() {
        let plan = plan("").expect("plan");
        let ClusterPlan::Embedded(embedded) = &plan.cluster else { panic!("not embedded") };
        assert_eq!((embedded.segment_bytes, embedded.flush, embedded.shards), (256 << 20, Flush::Sync, 1));
        assert_eq!((plan.send_for, plan.size.of(0), plan.rate), (Duration::from_secs(10), 10, None));
        assert!(plan.read_back && plan.messages.is_none());
    }
}
