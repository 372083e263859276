//! Requests about topics: create, delete, list, look at their queues.

use crate::error::DecodeError;
use crate::ids::QueueOffset;
use crate::limits::{LIST_COUNT_MAX, LONG_NAME_SIZE_BYTES_MAX};
use crate::native::generated::wire;
use crate::native::table::{Table, append, root, text};

/// CREATE_TOPIC: creates a topic on all shards of the process, or changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTopic<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Queues on each shard.
    pub queue_count: u32,
    /// RocketMQ's permission bits: 2 write, 4 read.
    pub perm: u32,
    /// Lives on one shard only, so that the order of its queue is the order of the topic.
    pub ordered: bool,
}

/// DELETE_TOPIC: deletes a topic and its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteTopic<'a> {
    /// Its name.
    pub topic: &'a str,
}

/// LIST_TOPICS: topics in name order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListTopics<'a> {
    /// Those after this name; empty: from the first on.
    pub after: &'a str,
    /// At most so many; 0: as many as the broker gives at once.
    pub topics_max: u32,
}

/// One topic of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Queues on this shard.
    pub queue_count: u32,
    /// RocketMQ's permission bits.
    pub perm: u32,
    /// Lives on one shard only.
    pub ordered: bool,
    /// Grows with each change.
    pub version: u64,
}

/// The answer to [`ListTopics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicList<'a> {
    /// In name order.
    pub topics: Vec<TopicInfo<'a>>,
    /// There are more: ask again with the last name.
    pub more: bool,
}

/// TOPIC_STATS: the queues of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicStats<'a> {
    /// Its name.
    pub topic: &'a str,
}

/// One queue of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Its number within the topic.
    pub queue_id: u32,
    /// The least offset that is still there.
    pub min_offset: QueueOffset,
    /// One beyond the last message that may be read.
    pub max_offset: QueueOffset,
    /// When its last message was stored, in ms; 0 when there is none.
    pub last_store_time_ms: u64,
}

/// The answer to [`TopicStats`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStatsResult {
    /// By number.
    pub queues: Vec<QueueStats>,
}

fn check_count(what: &'static str, count: usize) -> Result<(), DecodeError> {
    if count > LIST_COUNT_MAX {
        let (value, max) = (count as u64, LIST_COUNT_MAX as u64);
        return Err(DecodeError::OutOfRange { what, value, min: 0, max });
    }
    Ok(())
}

impl<'a> Table<'a> for CreateTopic<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::CreateTopic<'_>>(body)?;
        let topic = text("topic name", table.topic(), LONG_NAME_SIZE_BYTES_MAX)?;
        Ok(Self { topic, queue_count: table.queue_count(), perm: table.perm(), ordered: table.ordered() })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let topic = Some(builder.create_string(self.topic));
            let CreateTopic { queue_count, perm, ordered, .. } = *self;
            let table =
                wire::CreateTopic::create(builder, &wire::CreateTopicArgs { topic, queue_count, perm, ordered });
            builder.finish_minimal(table);
        });
    }
}

impl<'a> Table<'a> for DeleteTopic<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::DeleteTopic<'_>>(body)?;
        Ok(Self { topic: text("topic name", table.topic(), LONG_NAME_SIZE_BYTES_MAX)? })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let topic = Some(builder.create_string(self.topic));
            let table = wire::DeleteTopic::create(builder, &wire::DeleteTopicArgs { topic });
            builder.finish_minimal(table);
        });
    }
}

impl<'a> Table<'a> for ListTopics<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::ListTopics<'_>>(body)?;
        let after = text("topic name", table.after(), LONG_NAME_SIZE_BYTES_MAX)?;
        Ok(Self { after, topics_max: table.topics_max() })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let after = Some(builder.create_string(self.after));
            let table = wire::ListTopics::create(builder, &wire::ListTopicsArgs { after, topics_max: self.topics_max });
            builder.finish_minimal(table);
        });
    }
}

impl<'a> TopicInfo<'a> {
    fn read(table: &wire::TopicInfo<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: text("topic name", table.topic(), LONG_NAME_SIZE_BYTES_MAX)?,
            queue_count: table.queue_count(),
            perm: table.perm(),
            ordered: table.ordered(),
            version: table.version(),
        })
    }
}

impl<'a> Table<'a> for TopicList<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::TopicList<'_>>(body)?;
        let listed = table.topics().unwrap_or_default();
        check_count("topics of a list", listed.len())?;
        let topics = listed.iter().map(|topic| TopicInfo::read(&topic)).collect::<Result<_, _>>()?;
        Ok(Self { topics, more: table.more() })
    }

    /// Panics when there are more topics than [`LIST_COUNT_MAX`].
    fn append_to(&self, out: &mut Vec<u8>) {
        assert!(self.topics.len() <= LIST_COUNT_MAX, "{} topics in one list", self.topics.len());
        append(out, |builder| {
            let mut topics = Vec::with_capacity(self.topics.len());
            for info in &self.topics {
                let topic = Some(builder.create_string(info.topic));
                let TopicInfo { queue_count, perm, ordered, version, .. } = *info;
                let arguments = wire::TopicInfoArgs { topic, queue_count, perm, ordered, version };
                topics.push(wire::TopicInfo::create(builder, &arguments));
            }
            let topics = Some(builder.create_vector(&topics));
            let table = wire::TopicList::create(builder, &wire::TopicListArgs { topics, more: self.more });
            builder.finish_minimal(table);
        });
    }
}

impl<'a> Table<'a> for TopicStats<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::TopicStats<'_>>(body)?;
        Ok(Self { topic: text("topic name", table.topic(), LONG_NAME_SIZE_BYTES_MAX)? })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let topic = Some(builder.create_string(self.topic));
            let table = wire::TopicStats::create(builder, &wire::TopicStatsArgs { topic });
            builder.finish_minimal(table);
        });
    }
}

impl Table<'_> for TopicStatsResult {
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<wire::TopicStatsResult<'_>>(body)?;
        let listed = table.queues().unwrap_or_default();
        check_count("queues of a topic", listed.len())?;
        let read = |queue: wire::QueueStats<'_>| QueueStats {
            queue_id: queue.queue_id(),
            min_offset: QueueOffset::new(queue.min_offset()),
            max_offset: QueueOffset::new(queue.max_offset()),
            last_store_time_ms: queue.last_store_time_ms(),
        };
        Ok(Self { queues: listed.iter().map(read).collect() })
    }

    /// Panics when there are more queues than [`LIST_COUNT_MAX`].
    fn append_to(&self, out: &mut Vec<u8>) {
        assert!(self.queues.len() <= LIST_COUNT_MAX, "{} queues of one topic", self.queues.len());
        append(out, |builder| {
            let mut queues = Vec::with_capacity(self.queues.len());
            for queue in &self.queues {
                let arguments = wire::QueueStatsArgs {
                    queue_id: queue.queue_id,
                    min_offset: queue.min_offset.get(),
                    max_offset: queue.max_offset.get(),
                    last_store_time_ms: queue.last_store_time_ms,
                };
                queues.push(wire::QueueStats::create(builder, &arguments));
            }
            let queues = Some(builder.create_vector(&queues));
            let table = wire::TopicStatsResult::create(builder, &wire::TopicStatsResultArgs { queues });
            builder.finish_minimal(table);
        });
    }
}
