//! The command line, exactly as scripts rely on it; what the words mean is decided in [`crate::plan`].

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::size::{ByteSize, SizeMix};

/// Sends, reads back and verifies messages, and prints the verdict. Without arguments: an embedded name server and broker, 10-byte
/// messages for ten seconds, flushed to disk before each is acknowledged, all read back and verified one by one.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq-loadgen", version = ringmq_proto::build_info::VERSION, max_term_width = 120)]
pub struct Arguments {
    /// What to do. Without it: produce, read back, verify, verdict.
    #[arg(value_enum)]
    pub mode: Option<Mode>,

    /// Name servers, `host:port;host:port`. Without it the cluster is embedded.
    #[arg(long, value_name = "ADDRESS")]
    pub namesrv: Option<String>,

    /// The topic. Default: one of this run alone. With --topics N: T-0 … T-(N−1).
    #[arg(long, value_name = "T")]
    pub topic: Option<String>,

    /// Topics to spread over.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub topics: u32,

    /// Which protocol to speak.
    #[arg(long, value_enum, default_value_t = Dialect::Native)]
    pub dialect: Dialect,

    /// Over remoting: give each message a unique id and say WAIT, as RocketMQ's own clients do. The broker stores more then, and
    /// indexes the id.
    #[arg(long)]
    pub unique_ids: bool,

    /// Raw pipelined connections, or the client library's producer.
    #[arg(long, value_enum, default_value_t = Api::Connection)]
    pub api: Api,

    /// How long to send (consume: how long at most), seconds.
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,

    /// Stop sending after so many messages (backlog: the size of the backlog).
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,

    /// Bytes of a body: `10`, `10..1024` (even), `90%10,10%1024`. At least 10: a body carries its identity.
    #[arg(long, value_name = "SIZE", default_value = "10")]
    pub size: SizeMix,

    /// Producing connections, over all shards.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub connections: u32,

    /// Send frames that a connection has unanswered at most.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub in_flight: u32,

    /// Messages in a send frame.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: u32,

    /// Queues of a topic on each shard, when it is created.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub queues: u32,

    /// Open loop: send so many messages a second whatever the answers do; latency counts from when each was due.
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,

    /// Shards of the embedded broker.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: u32,

    /// When the embedded broker acknowledges: on disk, or in the kernel's hands.
    #[arg(long, value_enum, default_value_t = Flush::Sync)]
    pub flush: Flush,

    /// How the embedded broker drives sockets and disk.
    #[arg(long, value_enum, default_value_t = DataPlane::Auto)]
    pub data_plane: DataPlane,

    /// Memory of the embedded broker for hot reads, each shard.
    #[arg(long, value_name = "SIZE")]
    pub hot_tail: Option<ByteSize>,

    /// Size of a log segment of the embedded broker. Default: 256MiB.
    #[arg(long, value_name = "SIZE")]
    pub segment: Option<ByteSize>,

    /// How much log the embedded broker keeps.
    #[arg(long, value_name = "SIZE")]
    pub retention: Option<ByteSize>,

    /// Where the embedded broker keeps its data; kept afterwards. Default: a temporary directory on a disk.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Cores of the generator, `2,3`. Default: those that --broker-cores leaves.
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub cores: Option<CoreList>,

    /// Cores of the embedded broker's shards, `1`.
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub broker_cores: Option<CoreList>,

    /// A broker's process on this machine whose CPU time and memory are to be reported.
    #[arg(long, value_name = "PID")]
    pub watch_pid: Option<u32>,

    /// Write the result here, also when the run ends badly.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page with drawn latencies and throughput here.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Tells this run's messages from all others. Default: follows from the topic's name, so that a later `consume` verifies
    /// what an earlier `produce` sent.
    #[arg(long, value_name = "N")]
    pub run_seed: Option<u64>,

    /// Do not read back what was produced (nothing is verified then).
    #[arg(long)]
    pub no_read_back: bool,

    /// No live progress line.
    #[arg(long)]
    pub quiet: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Send; then read back and verify.
    Produce,
    /// Read a topic from its first to its last message.
    Consume,
    /// Send at a rate and measure until a consumer has each message.
    EndToEnd,
    /// Send and read at the same time, both as fast as they go.
    Mixed,
    /// Pile up messages, then replay them while producers go on at a rate: do their latencies move?
    Backlog,
}

impl Mode {
    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::EndToEnd => "end-to-end",
            Self::Mixed => "mixed",
            Self::Backlog => "backlog",
        }
    }
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// RingMQ's own frames.
    Native,
    /// RocketMQ's remoting.
    Remoting,
}

/// What the messages are sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// Pipelined frames on raw sockets.
    Connection,
    /// The client library's producer.
    Producer,
}

/// When the embedded broker acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// After the disk has it.
    Sync,
    /// After the kernel has it.
    Async,
}

impl Flush {
    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// How the embedded broker drives sockets and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataPlane {
    /// Whatever serves best here.
    Auto,
    /// Sockets and log on one ring.
    Ring,
    /// glommio's sockets.
    Glommio,
}

impl DataPlane {
    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ring => "ring",
            Self::Glommio => "glommio",
        }
    }
}

/// Processor numbers, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

fn core_list(text: &str) -> Result<CoreList, String> {
    let cores: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse::<usize>()).collect();
    match cores {
        Ok(cores) if !cores.is_empty() => Ok(CoreList(cores)),
        _ => Err("expected processor numbers like 2,3".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_that_scripts_rely_on_are_understood() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let bare = parse("ringmq-loadgen").expect("no arguments");
        assert_eq!((bare.mode, bare.connections, bare.in_flight, bare.batch, bare.queues), (None, 128, 32, 1, 8));
        let full = "ringmq-loadgen end-to-end --namesrv 127.0.0.1:9876 --topic T --dialect native --api connection --seconds 10 \
                    --messages 100 --size 10 --connections 4 --in-flight 2 --batch 3 --queues 8 --rate 70000 --shards 1 \
                    --flush sync --data-plane auto --hot-tail 256MiB --segment 1GiB --retention 4GiB --data /d --cores 2,3 \
                    --broker-cores 1 --watch-pid 7 --json a.json --report a.html";
        let full = parse(&full.split_whitespace().collect::<Vec<_>>().join(" ")).expect("all arguments");
        assert_eq!(full.mode, Some(Mode::EndToEnd));
        assert_eq!(full.cores, Some(CoreList(vec![2, 3])));
        assert_eq!(full.hot_tail, Some(ByteSize(256 << 20)));
        for mode in ["produce", "consume", "mixed", "backlog"] {
            assert_eq!(parse(&format!("ringmq-loadgen {mode}")).expect(mode).mode.map(Mode::name), Some(mode));
        }
        for bad in ["--size 9", "--size 0", "--cores x", "--flush maybe", "--seconds", "nonsense"] {
            assert!(parse(&format!("ringmq-loadgen {bad}")).is_err(), "{bad}");
        }
    }
}
