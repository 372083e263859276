//! What goes into a shard's step and what comes out: the seam between the state machine and its driver.
//!
//! One [`Input`] is one receive's worth of bytes, one completed disk operation, one message of the control plane, or the
//! passing of time. [`Effects`] is the batch that one or more steps asked for; the driver carries it out and empties it.
//! Bytes to send stay with the shard until the driver takes them ([`super::Shard::take_output`]), so that a slow
//! connection costs a bounded amount and nothing is copied for a connection that is gone.

use crate::disk::{Block, Completion, DiskOp};
use crate::store::Attributes;
use ringmq_proto::message::Host;
use ringmq_proto::remoting::ExtFields;
use std::sync::Arc;

/// One connection of one shard. Chosen by the driver, never used again while the shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// A small number that may be used again after the connection is closed: an index into tables.
    pub slot: u32,
    /// Which user of the slot this is.
    pub generation: u32,
}

/// What happens to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected.
    Opened {
        /// The new connection.
        connection: ConnectionId,
        /// Where it comes from.
        peer: Host,
    },
    /// The client has begun to agree on keys, outside of the shard: its first bytes come when that is done.
    Securing {
        /// The connection.
        connection: ConnectionId,
    },
    /// One receive of a connection.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// At least one byte; frames may start and end anywhere.
        bytes: &'a [u8],
    },
    /// Everything that was taken for this connection has been handed to the kernel: more may be taken.
    Drained {
        /// The connection.
        connection: ConnectionId,
    },
    /// The connection is gone, by whoever's doing.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
    /// A disk operation has ended.
    Disk(Completion),
    /// Everything that was ready has been given: if records wait and no commit is in flight, start one. Comes after
    /// [`Effects::turn_wanted`], as soon as the driver has nothing else at hand.
    Turn,
    /// The time in [`Effects::wake_at_boot_ns`] has come (or any other: time passes with every input).
    Tick,
    /// A message of the control plane.
    Control(ControlInput),
    /// Stop cleanly: refuse new work, finish what is owed, then [`Effects::stopped`].
    Stop,
}

/// What the control plane tells a shard. Never on the path of a send or a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlInput {
    /// A sibling shard of this process has this topic (or its tombstone): make the same here unless ours is as new.
    TopicOfSibling(TopicNotice),
    /// How the siblings fared with an explicit creation or deletion: names of those that failed, with why.
    SiblingsAnswered {
        /// From [`ControlOutput::TopicForSiblings`].
        ticket: u64,
        /// Shard names with one sentence each; empty when all succeeded.
        failures: Vec<(String, String)>,
    },
    /// The name servers know the topic, or are not waited for any longer.
    TopicRegistered {
        /// Its name.
        topic: String,
        /// From [`ControlOutput::WhenRegistered`].
        ticket: u64,
    },
    /// A sibling has an answer for an asker whom it does not know: push it to him, if he hangs here.
    ReplyOfSibling {
        /// Index of the sibling.
        from: usize,
        /// Goes back with the answer.
        ticket: u64,
        /// The answer to push.
        reply: Arc<HandedReply>,
    },
    /// What became of [`ControlOutput::ReplyForSiblings`].
    ReplyHandedOver {
        /// From there.
        ticket: u64,
        /// A sibling pushed it.
        pushed: bool,
    },
    /// The operations thread asks for all topics (registration with the name servers).
    ReportTopics,
    /// What the disk has, to be told to administrators.
    DiskSpace(DiskSpace),
}

/// What the file system of a shard's files has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it, what only the superuser may take included.
    pub total_bytes: u64,
    /// What is taken.
    pub used_bytes: u64,
    /// What the process may still take.
    pub free_bytes: u64,
}

impl DiskSpace {
    /// The part of what may be taken that is taken, 0 to 1, as `df` counts.
    pub fn used_ratio(self) -> f64 {
        let usable_bytes = self.used_bytes.saturating_add(self.free_bytes);
        if usable_bytes == 0 { 0.0 } else { self.used_bytes as f64 / usable_bytes as f64 }
    }
}

/// An answer of request-reply on its way to another shard of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedReply {
    /// Who asked.
    pub client_id: String,
    /// Fields of the request that pushes it (326).
    pub ext: ExtFields<'static>,
    /// The answer.
    pub body: Vec<u8>,
}

/// Queues and permissions of a topic, the same on each of its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicShape {
    /// Queue numbers below this one may be read.
    pub read_queue_count: u32,
    /// Queue numbers below this one may be written.
    pub write_queue_count: u32,
    /// RocketMQ's permission bits (1 inherit, 2 write, 4 read).
    pub perm: u32,
    /// RocketMQ's `topicSysFlag`.
    pub sys_flag: u32,
    /// RocketMQ's `topicFilterType`: MULTI_TAG instead of SINGLE_TAG.
    pub multi_tag: bool,
    /// RocketMQ's attributes of a topic.
    pub attributes: Attributes,
}

impl TopicShape {
    /// So many queues to read and write, and nothing else to say.
    pub fn plain(queue_count: u32, perm: u32) -> Self {
        Self { read_queue_count: queue_count, write_queue_count: queue_count, perm, ..Self::default() }
    }

    /// Queue numbers in use, for reading or writing.
    pub fn queue_count(&self) -> u32 {
        self.read_queue_count.max(self.write_queue_count)
    }
}

/// A topic as the control plane carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNotice {
    /// Its name.
    pub topic: String,
    /// The highest version wins; a deletion is a version too.
    pub version: u64,
    /// Its queues and permissions.
    pub shape: TopicShape,
    /// Lives on one shard only.
    pub ordered: bool,
    /// A tombstone.
    pub deleted: bool,
}

/// What a shard tells the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOutput {
    /// A topic was applied here: siblings should have it too.
    TopicForSiblings {
        /// The topic.
        notice: TopicNotice,
        /// Comes back in [`ControlInput::SiblingsAnswered`] when somebody waits for the siblings' answers.
        ticket: Option<u64>,
    },
    /// The topics of this shard changed (or were asked for): register with the name servers.
    Topics(Vec<TopicNotice>),
    /// From now on the broker may be used for this only (RocketMQ's permission bits): the name servers are told so of all topics.
    Permission(u32),
    /// Somebody waits until the name servers know this topic, which was told before: answer with
    /// [`ControlInput::TopicRegistered`], soon.
    WhenRegistered {
        /// Its name.
        topic: String,
        /// Comes back.
        ticket: u64,
    },
    /// The asker of this answer does not hang here: does he on a sibling? Answer with [`ControlInput::ReplyHandedOver`].
    ReplyForSiblings {
        /// Comes back.
        ticket: u64,
        /// The answer to push.
        reply: Arc<HandedReply>,
    },
    /// How [`ControlInput::ReplyOfSibling`] ended here.
    SiblingReplyDone {
        /// From there.
        from: usize,
        /// From there.
        ticket: u64,
        /// It was pushed; else the asker does not hang here.
        pushed: bool,
    },
    /// How [`ControlInput::TopicOfSibling`] ended here: applied (also when ours was as new), or why not.
    SiblingTopicDone {
        /// Its name.
        topic: String,
        /// The version that was offered.
        version: u64,
        /// One sentence, when it failed.
        failure: Option<String>,
    },
}

/// Why a shard ends a connection; counted by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The first bytes are of no protocol that is spoken here.
    UnknownProtocol,
    /// A frame that breaks the protocol: length, kind, order.
    BadFrame,
    /// No preamble and hello in time.
    HandshakeTimeout,
    /// Nothing heard for too long.
    IdleTimeout,
    /// The client does not read its replies.
    OutputFull,
    /// The shard's memory for half-received frames is used up.
    InputFull,
    /// The shard has as many connections as it may.
    TooMany,
    /// Answered, and nothing more to say (HTTP on this port).
    Answered,
    /// The shard is stopping or has failed.
    Stopping,
}

/// Why a shard cannot go on. No reply that waited is sent; the driver closes the port and all connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// What a step asks for. The driver carries it out in this order and empties it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Disk operations, in order of issue.
    pub disk: Vec<DiskOp>,
    /// Connections that have bytes to take; each at most once until taken.
    pub output: Vec<ConnectionId>,
    /// Connections to close, after their output has been offered to the kernel once.
    pub close: Vec<(ConnectionId, CloseReason)>,
    /// Connections from which nothing must be read until they are in `resume`.
    pub pause: Vec<ConnectionId>,
    /// Connections that may be read again.
    pub resume: Vec<ConnectionId>,
    /// To the control plane.
    pub control: Vec<ControlOutput>,
    /// Records wait for a commit: give [`Input::Turn`] when nothing else is at hand.
    pub turn_wanted: bool,
    /// When the shard next wants a [`Input::Tick`], in boot nanoseconds; `None` when it need not be woken.
    pub wake_at_boot_ns: Option<u64>,
    /// A clean stop is complete.
    pub stopped: bool,
    /// The shard has failed.
    pub fatal: Option<Fatal>,
}

/// Bytes on their way to one connection, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Pieces, each sent whole before the next.
    pub chunks: Vec<Chunk>,
}

/// One piece of output.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes that were encoded or copied for this connection.
    Owned(Vec<u8>),
    /// A slice of the log, sent in place.
    Shared {
        /// Holds the bytes.
        block: Block,
        /// The first of them.
        start: usize,
        /// How many.
        length: usize,
    },
}

impl Chunk {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared { block, start, length } => &block[*start..*start + *length],
        }
    }
}
