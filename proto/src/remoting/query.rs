//! Looking messages up: QUERY_MESSAGE (12) by key or unique id, VIEW_MESSAGE_BY_ID (33) by position.
//!
//! Both are answered with stored messages as the body, one behind the other.

use super::ext::ext_header;

/// Messages that a search by unique id answers with at most, as RocketMQ does.
pub const UNIQUE_QUERY_COUNT_MAX: i32 = 32;

ext_header! {
    /// QUERY_MESSAGE (12). Answered with [`QueryMessageReply`], or 22.
    pub struct QueryMessage<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// The key, or the unique id.
        key: &'a str = "key",
        /// At most so many messages.
        max_num: i32 = "maxNum",
        /// Stored not before, in ms.
        begin_timestamp: i64 = "beginTimestamp",
        /// Stored not behind, in ms; may be the largest number.
        end_timestamp: i64 = "endTimestamp",
        /// Whether `key` is a unique id.
        is_unique_key: Option<bool> = "_UNIQUE_KEY_QUERY",
    }
}

ext_header! {
    /// The answer to 12.
    pub struct QueryMessageReply {
        /// Store time of the newest message that is indexed, in ms.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Its position.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
}

ext_header! {
    /// VIEW_MESSAGE_BY_ID (33). Answered with one message, or 1.
    pub struct ViewMessage<'a> {
        /// PHYSICALOFFSET.
        offset: i64 = "offset",
        /// Name of the topic (5.x).
        topic: Option<&'a str> = "topic",
    }
}
