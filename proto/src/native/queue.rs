//! Requests about one queue: a handle for it, its ends, the offsets of groups, one message.

use crate::code::Code;
use crate::error::DecodeError;
use crate::ids::{LogPosition, QueueOffset};
use crate::limits::LONG_NAME_SIZE_BYTES_MAX;
use crate::native::frame::{FrameFlags, FrameHeader, Kind};
use crate::native::generated::wire;
use crate::native::table::{Table, append, append_frame, root, text};

/// OPEN_QUEUE: gives a handle for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenQueue<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Number of the queue within the topic; negative: the broker chooses.
    pub queue_id: i32,
    /// Create the topic when it is not there and the broker allows that.
    pub create_topic: bool,
}

/// The answer to [`OpenQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedQueue {
    /// Names the queue on this connection from now on.
    pub handle: u32,
    /// Number of the queue within its topic.
    pub queue_id: u32,
    /// Queues of the topic on this shard.
    pub queue_count: u32,
    /// The least offset that is still there.
    pub min_offset: QueueOffset,
    /// One beyond the last message that may be read.
    pub max_offset: QueueOffset,
}

/// COMMIT_OFFSET: a group has consumed all below an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitOffset<'a> {
    /// Names the queue on this connection.
    pub handle: u32,
    /// The consumer group.
    pub group: &'a str,
    /// The first offset that it has not consumed.
    pub offset: QueueOffset,
}

/// QUERY_OFFSET: how far has a group consumed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryOffset<'a> {
    /// Names the queue on this connection.
    pub handle: u32,
    /// The consumer group.
    pub group: &'a str,
}

/// QUEUE_STATE: the ends of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Names the queue on this connection.
    pub handle: u32,
}

/// The answer to [`QueueState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStateResult {
    /// The least offset that is still there.
    pub min_offset: QueueOffset,
    /// One beyond the last message that may be read.
    pub max_offset: QueueOffset,
    /// When the message at `min_offset` was stored, in ms; 0 when there is none.
    pub earliest_store_time_ms: u64,
}

/// SEARCH_OFFSET: the offset at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchOffset {
    /// Names the queue on this connection.
    pub handle: u32,
    /// The time, in ms.
    pub store_time_ms: u64,
    /// Of several messages of that time the last, not the first.
    pub upper: bool,
}

/// The answer to [`QueryOffset`] and [`SearchOffset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetResult {
    /// The offset.
    pub offset: QueueOffset,
}

/// VIEW_MESSAGE: one message by its position; the answer is [`encode_view_reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewMessage {
    /// PHYSICALOFFSET.
    pub position: LogPosition,
}

/// Appends the reply to a VIEW_MESSAGE: `message` in RocketMQ's stored layout, read by
/// [`StoredMessage::decode`](crate::message::StoredMessage::decode).
pub fn encode_view_reply(out: &mut Vec<u8>, request_id: u32, message: &[u8]) {
    let (kind, flags, code) = (Kind::VIEW_MESSAGE, FrameFlags::REPLY, Code::SUCCESS);
    let header = FrameHeader { length: 0, kind, flags, code, request_id, count: 1 };
    append_frame(out, header, |out| out.extend_from_slice(message));
}

impl<'a> Table<'a> for OpenQueue<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::OpenQueue<'_>>(body)?;
        let topic = text("topic name", table.topic(), LONG_NAME_SIZE_BYTES_MAX)?;
        Ok(Self { topic, queue_id: table.queue_id(), create_topic: table.create_topic() })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let topic = Some(builder.create_string(self.topic));
            let arguments = wire::OpenQueueArgs { topic, queue_id: self.queue_id, create_topic: self.create_topic };
            let table = wire::OpenQueue::create(builder, &arguments);
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for OpenedQueue {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::OpenedQueue<'_>>(body)?;
        Ok(Self {
            handle: table.handle(),
            queue_id: table.queue_id(),
            queue_count: table.queue_count(),
            min_offset: QueueOffset::new(table.min_offset()),
            max_offset: QueueOffset::new(table.max_offset()),
        })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let arguments = wire::OpenedQueueArgs {
                handle: self.handle,
                queue_id: self.queue_id,
                queue_count: self.queue_count,
                min_offset: self.min_offset.get(),
                max_offset: self.max_offset.get(),
            };
            let table = wire::OpenedQueue::create(builder, &arguments);
            builder.finish_minimal(table);
        });
    }
}

impl<'a> Table<'a> for CommitOffset<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::CommitOffset<'_>>(body)?;
        let group = text("group name", table.group(), LONG_NAME_SIZE_BYTES_MAX)?;
        Ok(Self { handle: table.handle(), group, offset: QueueOffset::new(table.offset()) })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let group = Some(builder.create_string(self.group));
            let arguments = wire::CommitOffsetArgs { handle: self.handle, group, offset: self.offset.get() };
            let table = wire::CommitOffset::create(builder, &arguments);
            builder.finish_minimal(table);
        });
    }
}

impl<'a> Table<'a> for QueryOffset<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::QueryOffset<'_>>(body)?;
        Ok(Self { handle: table.handle(), group: text("group name", table.group(), LONG_NAME_SIZE_BYTES_MAX)? })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let group = Some(builder.create_string(self.group));
            let table = wire::QueryOffset::create(builder, &wire::QueryOffsetArgs { handle: self.handle, group });
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for QueueState {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { handle: root::<wire::QueueState<'_>>(body)?.handle() })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let table = wire::QueueState::create(builder, &wire::QueueStateArgs { handle: self.handle });
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for QueueStateResult {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::QueueStateResult<'_>>(body)?;
        Ok(Self {
            min_offset: QueueOffset::new(table.min_offset()),
            max_offset: QueueOffset::new(table.max_offset()),
            earliest_store_time_ms: table.earliest_store_time_ms(),
        })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let arguments = wire::QueueStateResultArgs {
                min_offset: self.min_offset.get(),
                max_offset: self.max_offset.get(),
                earliest_store_time_ms: self.earliest_store_time_ms,
            };
            let table = wire::QueueStateResult::create(builder, &arguments);
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for SearchOffset {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::SearchOffset<'_>>(body)?;
        Ok(Self { handle: table.handle(), store_time_ms: table.store_time_ms(), upper: table.upper() })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let SearchOffset { handle, store_time_ms, upper } = *self;
            let table = wire::SearchOffset::create(builder, &wire::SearchOffsetArgs { handle, store_time_ms, upper });
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for OffsetResult {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { offset: QueueOffset::new(root::<wire::OffsetResult<'_>>(body)?.offset()) })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let table = wire::OffsetResult::create(builder, &wire::OffsetResultArgs { offset: self.offset.get() });
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for ViewMessage {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { position: LogPosition::new(root::<wire::ViewMessage<'_>>(body)?.position()) })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let table = wire::ViewMessage::create(builder, &wire::ViewMessageArgs { position: self.position.get() });
            builder.finish_minimal(table);
        });
    }
}
