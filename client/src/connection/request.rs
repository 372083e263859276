//! The requests of a connection: each checks the server's limits, takes a slot and appends one frame to the output.

use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::limits::{BODY_SIZE_BYTES_MAX, PROPERTIES_SIZE_BYTES_MAX};
use ringmq_proto::native::{
    CommitOffset, CreateTopic, DeleteTopic, FRAME_HEADER_SIZE_BYTES, FrameFlags, Kind, ListTopics, OpenQueue,
    PullRequest, QueryOffset, QueueState, SearchOffset, SendItem, Table, TopicStats, ViewMessage, encode_ping,
    encode_pull, encode_request, encode_send,
};

use super::slots::RequestId;
use super::{Connection, Phase};

/// What a small request counts against the bytes in flight: more than any of them has.
const SMALL_REQUEST_SIZE_BYTES: usize = 1024;

/// Why a request was not made. Nothing was written, and the connection is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The hellos have not been exchanged, or the connection is broken.
    #[error("the connection is not ready")]
    NotReady,
    /// More requests are unanswered than there are slots for.
    #[error("{count_max} requests are unanswered")]
    TooManyInFlight {
        /// The limit.
        count_max: usize,
    },
    /// The bytes of unanswered requests would be more than the server takes.
    #[error("unanswered requests would exceed the server's {bytes_max} bytes")]
    InFlightBytes {
        /// The server's limit.
        bytes_max: usize,
    },
    /// The frame would be larger than the server takes: send fewer or smaller messages in one.
    #[error("a frame of {size_bytes} bytes, more than the server's {size_bytes_max}")]
    FrameSize {
        /// Bytes of the frame.
        size_bytes: usize,
        /// The server's limit.
        size_bytes_max: usize,
    },
    /// No message, or more than the server takes in a frame.
    #[error("a send of {count} messages: the server takes 1 to {count_max}")]
    MessageCount {
        /// Messages.
        count: usize,
        /// The server's limit.
        count_max: usize,
    },
    /// A message is larger than any broker takes.
    #[error("a message with {body} bytes of body and {properties} of properties")]
    MessageSize {
        /// Bytes of the body.
        body: usize,
        /// Bytes of the properties.
        properties: usize,
    },
    /// More queues would be open than the server allows on one connection.
    #[error("the server allows {count_max} open queues on a connection")]
    TooManyHandles {
        /// The server's limit.
        count_max: usize,
    },
}

/// How a send is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Never, whatever happens. The request id of such a send means nothing.
    pub oneway: bool,
    /// When written, not when promised: RocketMQ's `WAIT=false`.
    pub no_wait: bool,
}

impl SendOptions {
    #[inline]
    const fn flags(self) -> FrameFlags {
        let oneway = if self.oneway { FrameFlags::ONEWAY } else { FrameFlags::NONE };
        if self.no_wait { oneway.with(FrameFlags::NO_WAIT) } else { oneway }
    }
}

impl Connection {
    /// Sends one message. Answered by [`Event::Sent`](super::Event::Sent).
    #[inline]
    pub fn send(&mut self, item: &SendItem<'_>, options: SendOptions) -> Result<RequestId, RequestError> {
        self.send_batch(std::slice::from_ref(item), options)
    }

    /// Sends messages, of one queue or several, in one frame. Those of one queue that follow each other may be stored as
    /// one batch record. They are stored all or none; answered by [`Event::Sent`](super::Event::Sent).
    #[inline]
    pub fn send_batch(&mut self, items: &[SendItem<'_>], options: SendOptions) -> Result<RequestId, RequestError> {
        let size_bytes = self.check_items(items)?;
        let id = if options.oneway { self.admit(size_bytes)? } else { self.take(Kind::SEND, size_bytes)? };
        encode_send(self.output.bytes(), id.get(), options.flags(), items);
        Ok(id)
    }

    /// Bytes of a frame with `items`, when they keep the limits.
    #[inline]
    fn check_items(&self, items: &[SendItem<'_>]) -> Result<usize, RequestError> {
        if items.is_empty() || items.len() > self.limits.frame_message_count_max {
            let count_max = self.limits.frame_message_count_max;
            return Err(RequestError::MessageCount { count: items.len(), count_max });
        }
        let mut size_bytes = FRAME_HEADER_SIZE_BYTES;
        for item in items {
            let (body, properties) = (item.body.len(), item.properties.len());
            if body > BODY_SIZE_BYTES_MAX || properties > PROPERTIES_SIZE_BYTES_MAX {
                return Err(RequestError::MessageSize { body, properties });
            }
            size_bytes += item.encoded_len();
        }
        Ok(size_bytes)
    }

    /// Asks for messages of an open queue. Answered by [`Event::Pulled`](super::Event::Pulled), after up to
    /// `request.wait_ms` when there are none.
    pub fn pull(&mut self, request: &PullRequest) -> Result<RequestId, RequestError> {
        let id = self.take(Kind::PULL, SMALL_REQUEST_SIZE_BYTES)?;
        encode_pull(self.output.bytes(), id.get(), request);
        Ok(id)
    }

    /// Opens queue number `queue_id` of `topic` on this connection; a negative number leaves the choice to the broker.
    /// With `create_topic` the broker makes a topic that is not there, if it allows that. Answered by
    /// [`Event::Opened`](super::Event::Opened).
    pub fn open_queue(&mut self, topic: &str, queue_id: i32, create_topic: bool) -> Result<RequestId, RequestError> {
        if self.handle_count >= self.limits.handle_count_max {
            return Err(RequestError::TooManyHandles { count_max: self.limits.handle_count_max });
        }
        self.table(Kind::OPEN_QUEUE, &OpenQueue { topic, queue_id, create_topic })
    }

    /// Stores that `group` has consumed all of an open queue below `offset`. Answered by
    /// [`Event::Done`](super::Event::Done) once that is promised.
    pub fn commit_offset(&mut self, handle: u32, group: &str, offset: QueueOffset) -> Result<RequestId, RequestError> {
        self.table(Kind::COMMIT_OFFSET, &CommitOffset { handle, group, offset })
    }

    /// Asks how far `group` has consumed. Answered by [`Event::Offset`](super::Event::Offset), or code 22 when it never
    /// committed.
    pub fn query_offset(&mut self, handle: u32, group: &str) -> Result<RequestId, RequestError> {
        self.table(Kind::QUERY_OFFSET, &QueryOffset { handle, group })
    }

    /// Asks for the ends of an open queue. Answered by [`Event::QueueState`](super::Event::QueueState).
    pub fn queue_state(&mut self, handle: u32) -> Result<RequestId, RequestError> {
        self.table(Kind::QUEUE_STATE, &QueueState { handle })
    }

    /// Asks for the first offset (with `upper`: the last of those with this very time) stored at `store_time_ms` or
    /// later. Answered by [`Event::Offset`](super::Event::Offset).
    pub fn search_offset(&mut self, handle: u32, store_time_ms: u64, upper: bool) -> Result<RequestId, RequestError> {
        self.table(Kind::SEARCH_OFFSET, &SearchOffset { handle, store_time_ms, upper })
    }

    /// Asks for one message by its position in the broker's log. Answered by
    /// [`Event::Message`](super::Event::Message).
    pub fn view_message(&mut self, position: LogPosition) -> Result<RequestId, RequestError> {
        self.table(Kind::VIEW_MESSAGE, &ViewMessage { position })
    }

    /// Creates a topic, or changes it. Answered by [`Event::Done`](super::Event::Done).
    pub fn create_topic(&mut self, topic: &CreateTopic<'_>) -> Result<RequestId, RequestError> {
        self.table(Kind::CREATE_TOPIC, topic)
    }

    /// Deletes a topic with its messages. Answered by [`Event::Done`](super::Event::Done).
    pub fn delete_topic(&mut self, topic: &str) -> Result<RequestId, RequestError> {
        self.table(Kind::DELETE_TOPIC, &DeleteTopic { topic })
    }

    /// Asks for up to `topics_max` topics (0: as many as the broker likes) after the name `after`. Answered by
    /// [`Event::Topics`](super::Event::Topics).
    pub fn list_topics(&mut self, after: &str, topics_max: u32) -> Result<RequestId, RequestError> {
        self.table(Kind::LIST_TOPICS, &ListTopics { after, topics_max })
    }

    /// Asks for the queues of a topic. Answered by [`Event::TopicStats`](super::Event::TopicStats).
    pub fn topic_stats(&mut self, topic: &str) -> Result<RequestId, RequestError> {
        self.table(Kind::TOPIC_STATS, &TopicStats { topic })
    }

    /// Asks whether the broker is there. Answered by [`Event::Done`](super::Event::Done).
    pub fn ping(&mut self) -> Result<RequestId, RequestError> {
        let id = self.take(Kind::PING, SMALL_REQUEST_SIZE_BYTES)?;
        encode_ping(self.output.bytes(), id.get());
        Ok(id)
    }

    fn table<'t>(&mut self, kind: Kind, table: &impl Table<'t>) -> Result<RequestId, RequestError> {
        let id = self.take(kind, SMALL_REQUEST_SIZE_BYTES)?;
        encode_request(self.output.bytes(), kind, id.get(), FrameFlags::NONE, table);
        Ok(id)
    }

    /// Takes a slot for a request of `size_bytes`.
    #[inline]
    fn take(&mut self, kind: Kind, size_bytes: usize) -> Result<RequestId, RequestError> {
        self.admit(size_bytes)?;
        let bytes_max = self.limits.in_flight_bytes_max;
        if self.slots.count() > 0 && self.slots.bytes() + size_bytes > bytes_max {
            return Err(RequestError::InFlightBytes { bytes_max });
        }
        // `admit` has bounded it by a frame's size.
        self.slots.take(kind.0, u32::try_from(size_bytes).unwrap_or(u32::MAX))
    }

    /// Whether a frame of `size_bytes` may be sent at all. Gives the id of one-way requests.
    #[inline]
    fn admit(&self, size_bytes: usize) -> Result<RequestId, RequestError> {
        if self.phase != Phase::Ready {
            return Err(RequestError::NotReady);
        }
        let size_bytes_max = self.limits.frame_size_bytes_max;
        if size_bytes > size_bytes_max {
            return Err(RequestError::FrameSize { size_bytes, size_bytes_max });
        }
        Ok(RequestId::ONEWAY)
    }
}
