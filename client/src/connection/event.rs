//! What a connection hears from the server, as views of the received bytes.

use ringmq_proto::code::Code;
use ringmq_proto::error::DecodeError;
use ringmq_proto::native::{
    Failure, Frame, Kind, OffsetResult, OpenedQueue, PullReply, QueueStateResult, SendReply, Table, TopicList,
    TopicStatsResult,
};

use super::slots::RequestId;

/// The server's hello: who answers, and what it allows.
pub type ServerHello<'a> = ringmq_proto::native::Hello<'a>;

/// One reply. Each request but one-way ones is answered by exactly one of them, as long as the connection lives.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The server's hello has come: requests can be made.
    Ready(ServerHello<'a>),
    /// Messages were stored.
    Sent {
        /// Which send.
        request: RequestId,
        /// 0, or 10, 11, 12: stored, but not as safely as the broker is configured to.
        code: Code,
        /// One result a record that the messages became, in their order.
        results: SendReply<'a>,
    },
    /// A pull was carried out.
    Pulled {
        /// Which pull.
        request: RequestId,
        /// 0; 19 nothing (yet); 20 nothing that matches; 21 the offset was outside of the queue.
        code: Code,
        /// Where to go on, and the records.
        reply: PullReply<'a>,
    },
    /// A queue was opened: sends and pulls name it by the handle.
    Opened {
        /// Which request.
        request: RequestId,
        /// The handle and the queue's ends.
        queue: OpenedQueue,
    },
    /// A request that has nothing to tell was carried out: an offset commit, a topic created or deleted, a ping.
    Done {
        /// Which request.
        request: RequestId,
    },
    /// The offset that was asked for: a group's, or that at a time.
    Offset {
        /// Which request.
        request: RequestId,
        /// The offset.
        offset: OffsetResult,
    },
    /// The ends of a queue.
    QueueState {
        /// Which request.
        request: RequestId,
        /// The ends.
        state: QueueStateResult,
    },
    /// One message by its position, in RocketMQ's stored layout.
    Message {
        /// Which request.
        request: RequestId,
        /// The message.
        stored: &'a [u8],
    },
    /// Topics in name order.
    Topics {
        /// Which request.
        request: RequestId,
        /// The topics.
        list: TopicList<'a>,
    },
    /// The queues of a topic.
    TopicStats {
        /// Which request.
        request: RequestId,
        /// The queues.
        stats: TopicStatsResult,
    },
    /// A request was not carried out.
    Failed {
        /// Which request.
        request: RequestId,
        /// RocketMQ's code.
        code: Code,
        /// The server's one sentence.
        remark: &'a str,
    },
}

impl<'a> Event<'a> {
    /// The request that is answered; none for the hello, which the connection asks for itself.
    #[inline]
    pub const fn request(&self) -> Option<RequestId> {
        match self {
            Self::Ready(_) => None,
            Self::Sent { request, .. }
            | Self::Pulled { request, .. }
            | Self::Opened { request, .. }
            | Self::Done { request }
            | Self::Offset { request, .. }
            | Self::QueueState { request, .. }
            | Self::Message { request, .. }
            | Self::Topics { request, .. }
            | Self::TopicStats { request, .. }
            | Self::Failed { request, .. } => Some(*request),
        }
    }

    /// Reads the reply to `request`, whose kind the frame has; not that to a send that was stored.
    pub(super) fn decode(request: RequestId, frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let code = frame.header.code;
        if frame.header.kind == Kind::PULL && code.is_pull_result() {
            return Ok(Self::Pulled { request, code, reply: PullReply::decode(frame)? });
        }
        if code != Code::SUCCESS {
            return Ok(Self::Failed { request, code, remark: Failure::of(frame).remark });
        }
        Ok(match frame.header.kind {
            Kind::OPEN_QUEUE => Self::Opened { request, queue: OpenedQueue::decode(frame.body)? },
            Kind::QUERY_OFFSET | Kind::SEARCH_OFFSET => {
                Self::Offset { request, offset: OffsetResult::decode(frame.body)? }
            }
            Kind::QUEUE_STATE => Self::QueueState { request, state: QueueStateResult::decode(frame.body)? },
            Kind::VIEW_MESSAGE => Self::Message { request, stored: frame.body },
            Kind::LIST_TOPICS => Self::Topics { request, list: TopicList::decode(frame.body)? },
            Kind::TOPIC_STATS => Self::TopicStats { request, stats: TopicStatsResult::decode(frame.body)? },
            _ => Self::Done { request },
        })
    }
}
