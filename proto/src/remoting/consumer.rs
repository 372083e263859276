//! What consumers ask a broker beside messages: members of their group (38), offsets (14, 15, 29–32), queue locks (41, 42),
//! redelivery (36).

use serde::{Deserialize, Serialize};

use super::BodyError;
use super::ext::ext_header;
use super::lenient;
use super::message_queue::MessageQueue;

ext_header! {
    /// GET_CONSUMER_LIST_BY_GROUP (38). Answered with [`ConsumerList`], or 1 when there is none.
    pub struct GetConsumerList<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
    }
}

ext_header! {
    /// QUERY_CONSUMER_OFFSET (14). Answered with [`Offset`], or 22.
    pub struct QueryConsumerOffset<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
        /// Whether a group without an offset begins at 0 in a young queue; so when absent.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }
}

ext_header! {
    /// UPDATE_CONSUMER_OFFSET (15), mostly one-way.
    pub struct UpdateConsumerOffset<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
        /// What to go on with.
        commit_offset: i64 = "commitOffset",
    }
}

ext_header! {
    /// GET_MAX_OFFSET (30), GET_MIN_OFFSET (31). Answered with [`Offset`].
    pub struct GetOffset<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
        /// Whether only what is confirmed counts (30); so when absent, and here always.
        committed: Option<bool> = "committed",
    }
}

ext_header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29). Answered with [`Offset`].
    pub struct SearchOffset<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
        /// Wall time in ms.
        timestamp: i64 = "timestamp",
        /// `LOWER` (also when absent): the first message of that time or later; `UPPER`: the last of that time or earlier (5.x).
        boundary_type: Option<&'a str> = "boundaryType",
    }
}

ext_header! {
    /// GET_EARLIEST_MSG_STORETIME (32). Answered with [`Timestamp`].
    pub struct GetEarliestStoreTime<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
    }
}

ext_header! {
    /// The answer to 14, 29, 30, 31.
    pub struct Offset {
        /// In the queue.
        offset: i64 = "offset",
    }
}

ext_header! {
    /// The answer to 32.
    pub struct Timestamp {
        /// Wall time in ms, −1 when there is no message.
        timestamp: i64 = "timestamp",
    }
}

ext_header! {
    /// CONSUMER_SEND_MSG_BACK (36): deliver a message again, later.
    pub struct SendMessageBack<'a> {
        /// PHYSICALOFFSET of the message.
        offset: i64 = "offset",
        /// Who could not consume it.
        group: &'a str = "group",
        /// When: a delay level, 0 for the broker to choose, below 0 for never (dead letter).
        delay_level: i32 = "delayLevel",
        /// Id of the message.
        origin_msg_id: Option<&'a str> = "originMsgId",
        /// Topic of the message.
        origin_topic: Option<&'a str> = "originTopic",
        /// Whether the group belongs to a unit.
        unit_mode: Option<bool> = "unitMode",
        /// How often the consumer wants to try.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
}

/// The body that answers 38.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerList {
    /// Client ids.
    #[serde(deserialize_with = "lenient::list")]
    pub consumer_id_list: Vec<String>,
}

impl ConsumerList {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode(body)
    }
}

/// The body of LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchBody {
    /// Who locks.
    pub client_id: String,
    /// For which group.
    pub consumer_group: String,
    /// Which queues.
    #[serde(deserialize_with = "lenient::list")]
    pub mq_set: Vec<MessageQueue>,
    /// Whether replicas are not to be asked (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_this_broker: Option<bool>,
}

impl LockBatchBody {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode_request(body)
    }
}

/// The body that answers 41: the queues that the client now holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchReply {
    /// Of those that were asked for.
    #[serde(rename = "lockOKMQSet", deserialize_with = "lenient::list")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

impl LockBatchReply {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode(body)
    }
}
