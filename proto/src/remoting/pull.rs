//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361): messages of one queue from an offset on.
//!
//! The answer's body is stored messages one behind the other, sent as they lie in the log:
//! [`encode_pull_response_head`] writes the frame up to it.

use super::ext::ext_header;
use super::frame::SerializeType;
use super::frame_writer::{FrameWriter, Numbers};
use crate::code::Code;

/// Bits of [`PullMessage::sys_flag`].
pub mod pull_flag {
    /// `commitOffset` is to be committed now.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The broker may hold the request until there is something.
    pub const SUSPEND: i32 = 1 << 1;
    /// `subscription` counts; without it the group's heartbeat says what is subscribed.
    pub const SUBSCRIPTION: i32 = 1 << 2;
    /// A filter class, an extinct feature.
    pub const CLASS_FILTER: i32 = 1 << 3;
    /// A lite pull consumer asks.
    pub const LITE_PULL: i32 = 1 << 4;
}

ext_header! {
    /// The request, of both codes. Answered with [`PullResponse`] and stored messages.
    pub struct PullMessage<'a> {
        /// Who consumes.
        consumer_group: &'a str = "consumerGroup",
        /// What is consumed.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
        /// From this offset on.
        queue_offset: i64 = "queueOffset",
        /// At most so many messages.
        max_msg_nums: i32 = "maxMsgNums",
        /// See [`pull_flag`].
        sys_flag: i32 = "sysFlag",
        /// The offset to commit, when the flag says so.
        commit_offset: i64 = "commitOffset",
        /// How long the broker may hold the request, in ms.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        /// The filter expression, when the flag says so.
        subscription: Option<&'a str> = "subscription",
        /// Version of the subscription, the time of its last change in ms.
        sub_version: i64 = "subVersion",
        /// `TAG` (also when absent) or `SQL92`.
        expression_type: Option<&'a str> = "expressionType",
        /// At most so many bytes of messages (5.x).
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        /// What asks, when it is a proxy (5.x).
        request_source: Option<i32> = "requestSource",
        /// The client behind a proxy (5.x); spelled as RocketMQ does.
        proxy_forward_client_id: Option<&'a str> = "proxyFrowardClientId",
    }
}

impl PullMessage<'_> {
    /// Whether `commit_offset` is to be committed.
    pub const fn commits(&self) -> bool {
        self.sys_flag & pull_flag::COMMIT_OFFSET != 0
    }

    /// Whether the broker may hold the request.
    pub const fn may_wait(&self) -> bool {
        self.sys_flag & pull_flag::SUSPEND != 0
    }

    /// Whether the request carries its own filter.
    pub const fn has_subscription(&self) -> bool {
        self.sys_flag & pull_flag::SUBSCRIPTION != 0
    }
}

ext_header! {
    /// The answer, all four numbers required by clients with codes 0, 19, 20 and 21.
    pub struct PullResponse {
        /// From which broker id to pull next: 0 the master.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        /// Where to go on.
        next_begin_offset: i64 = "nextBeginOffset",
        /// Behind the last message of the queue.
        max_offset: i64 = "maxOffset",
        /// The first message of the queue.
        min_offset: i64 = "minOffset",
        /// For logical queues (5.x).
        offset_delta: Option<i64> = "offsetDelta",
        /// Flags of the topic (5.x).
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Flags of the group (5.x).
        group_sys_flag: Option<i32> = "groupSysFlag",
        /// Why pulling is forbidden (5.x).
        forbidden_type: Option<i32> = "forbiddenType",
    }
}

/// Appends the frame of an answer up to its body, which the caller sends right behind it in exactly `body_size_bytes`
/// bytes. The remark is the name of the status (`FOUND`, `NO_MATCHED_MESSAGE`, …).
///
/// Panics when the body does not fit into a frame.
pub fn encode_pull_response_head(
    out: &mut Vec<u8>,
    serialize_type: SerializeType,
    (code, opaque): (Code, i32),
    remark: &str,
    response: &PullResponse,
    body_size_bytes: usize,
) {
    let mut writer = FrameWriter::new(out, serialize_type, Numbers::response(code, opaque), remark);
    writer.number("suggestWhichBrokerId", response.suggest_which_broker_id);
    writer.number("nextBeginOffset", response.next_begin_offset);
    writer.number("maxOffset", response.max_offset);
    writer.number("minOffset", response.min_offset);
    writer.optional_number("offsetDelta", response.offset_delta);
    writer.optional_number("topicSysFlag", response.topic_sys_flag.map(i64::from));
    writer.optional_number("groupSysFlag", response.group_sys_flag.map(i64::from));
    writer.optional_number("forbiddenType", response.forbidden_type.map(i64::from));
    writer.finish(body_size_bytes);
}
