//! What clients ask and what they are answered, whichever dialect they speak.
//!
//! A dialect decodes its frames into [`Request`]s and encodes [`Response`]s; the rest of the shard never knows which one
//! spoke. An answer may leave now, later (a long poll, a read of the disk, the gate) or never (one-way): until then a
//! [`Token`] stands for the request.

use super::pull::Pull;
use super::topics::TopicWish;
use super::{native, remoting};
use crate::store::Refusal;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::native::{TopicList, TopicStatsResult};
use ringmq_proto::remoting::{ExtFields, Header, SerializeType};
use std::borrow::Cow;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Native frames.
    Native,
    /// RocketMQ's remoting, with headers as the request had them.
    Remoting(SerializeType),
}

/// What a dialect needs to answer a request later. Opaque to the rest of the shard, but for `oneway`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The client's own number of the request.
    pub(super) id: u32,
    /// What was asked, in the dialect's own numbers: the answer's form follows from it.
    pub(super) code: i32,
    /// How the answer is written.
    pub(super) dialect: Dialect,
    /// Never answered.
    pub(super) oneway: bool,
}

/// One request but a send, which has a path of its own (`super::send`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Ping,
    Pull(Pull),
    /// A negative number leaves the choice to the shard.
    OpenQueue {
        topic: &'a str,
        number: i32,
        create: bool,
    },
    CommitOffset {
        queue: QueueId,
        group: &'a str,
        offset: QueueOffset,
    },
    QueryOffset {
        queue: QueueId,
        group: &'a str,
    },
    QueueState {
        queue: QueueId,
    },
    SearchOffset {
        queue: QueueId,
        store_time_ms: u64,
        upper: bool,
    },
    ViewMessage {
        position: LogPosition,
    },
    CreateTopic(TopicWish<'a>),
    DeleteTopic {
        topic: &'a str,
    },
    ListTopics {
        after: &'a str,
        topics_max: u32,
    },
    TopicStats {
        topic: &'a str,
    },
}

/// One answer but that to a send or a pull, which are encoded piece by piece.
#[derive(Debug)]
pub(super) enum Response<'a> {
    /// Code 0 and nothing else to say.
    Done,
    /// Any other code, and one sentence that says what to do.
    Failed(&'a Rejection),
    Opened(OpenedQueue),
    Offset(QueueOffset),
    QueueState {
        min: QueueOffset,
        max: QueueOffset,
        earliest_store_time_ms: u64,
    },
    /// One stored message in RocketMQ's layout.
    Message(&'a [u8]),
    /// Messages found by their key, in RocketMQ's layout one behind the other.
    Keyed(KeyedMessages),
    Topics(TopicList<'a>),
    TopicStats(TopicStatsResult),
    /// What only the remoting dialect says: extension fields and a body.
    Remoting(ExtFields<'static>, Cow<'a, [u8]>),
    /// What a client has answered, handed back as it is; of the remoting dialect, too.
    PassedOn(&'a Header<'a>, &'a [u8]),
}

impl Response<'_> {
    /// Appends the frame that answers `token`.
    pub(super) fn encode(&self, out: &mut Vec<u8>, token: Token) {
        match token.dialect {
            Dialect::Native => native::encode(out, token, self),
            Dialect::Remoting(serialize_type) => remoting::answer::encode(out, token, serialize_type, self),
        }
    }
}

/// What was found by a key.
#[derive(Debug)]
pub(super) struct KeyedMessages {
    /// In the order of the log.
    pub(super) bytes: Vec<u8>,
    /// What the index knows of lies below.
    pub(super) indexed_to: LogPosition,
    /// The newest store time so far.
    pub(super) indexed_to_ms: u64,
}

/// A queue that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenedQueue {
    pub(super) handle: u32,
    pub(super) number: u32,
    pub(super) queue_count: u32,
    pub(super) min: QueueOffset,
    pub(super) max: QueueOffset,
}

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) code: Code,
    /// One sentence that says what to do.
    pub(super) remark: Cow<'static, str>,
}

impl Rejection {
    pub(super) const fn new(code: Code, remark: &'static str) -> Self {
        Self { code, remark: Cow::Borrowed(remark) }
    }

    pub(super) fn because(code: Code, remark: String) -> Self {
        Self { code, remark: Cow::Owned(remark) }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { code: Code::new(refusal.code), remark: refusal.remark }
    }
}

pub(super) const NO_QUEUE: Rejection = Rejection::new(
    Code::TOPIC_NOT_EXIST,
    "the topic of this queue does not exist (any more): create it, or open the queue again",
);
pub(super) const NOT_READABLE: Rejection =
    Rejection::new(Code::NO_PERMISSION, "the topic may not be read here: give it the read permission (4)");
pub(super) const NOT_WRITABLE: Rejection =
    Rejection::new(Code::NO_PERMISSION, "the topic may not be written to here: give it the write permission (2)");
pub(super) const TOO_MANY_WAITING: Rejection =
    Rejection::new(Code::SYSTEM_BUSY, "too many requests wait here already: wait for answers before asking more");
pub(super) const SLOW_READ: Rejection =
    Rejection::new(Code::SYSTEM_BUSY, "broker busy, the disk did not answer a read in time: retry later");
pub(super) const SLOW_TOPIC: Rejection = Rejection::new(
    Code::SYSTEM_ERROR,
    "the change of the topic was not confirmed in time: look whether it happened before asking again",
);
pub(super) const STOPPING: Rejection =
    Rejection::new(Code::SERVICE_NOT_AVAILABLE, "service not available now. The shard is stopping: use another broker");
