//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361): messages of one queue from an offset on.
//!
//! The answer's body is stored messages one behind the other, sent as they lie in the log:
//! [`encode_pull_response_head`] writes the frame up to it.

use super::ext::ext_header;
use super::frame::SerializeType;
use super::frame_writer::{FrameWriter, Numbers};
use super::header::Language;
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

/// Appends the frame of a request with this code, of [`Language::RUST`].
///
/// Panics when its texts are too long for a header: the sender must have bounded them.
pub fn encode_pull_request(
    out: &mut Vec<u8>,
    serialize_type: SerializeType,
    (code, opaque): (i32, i32),
    request: &PullMessage<'_>,
) {
    let mut writer =
        FrameWriter::new(out, serialize_type, Numbers { code, flag: 0, opaque, language: Language::RUST }, "");
    writer.text("consumerGroup", request.consumer_group);
    writer.text("topic", request.topic);
    writer.number("queueId", request.queue_id.into());
    writer.number("queueOffset", request.queue_offset);
    writer.number("maxMsgNums", request.max_msg_nums.into());
    writer.number("sysFlag", request.sys_flag.into());
    writer.number("commitOffset", request.commit_offset);
    writer.number("suspendTimeoutMillis", request.suspend_timeout_millis);
    writer.optional_text("subscription", request.subscription);
    writer.number("subVersion", request.sub_version);
    writer.optional_text("expressionType", request.expression_type);
    writer.optional_number("maxMsgBytes", request.max_msg_bytes.map(i64::from));
    writer.optional_number("requestSource", request.request_source.map(i64::from));
    writer.optional_text("proxyFrowardClientId", request.proxy_forward_client_id);
    writer.finish(0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::ext::ExtHeader;
    use crate::remoting::{Header, encode_frame};

    #[test]
    fn a_request_is_what_the_list_of_its_fields_would_be() {
        let request = PullMessage {
            consumer_group: "g",
            topic: "T",
            queue_id: 3,
            queue_offset: 1 << 40,
            max_msg_nums: 32,
            sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION,
            commit_offset: -1,
            suspend_timeout_millis: 15_000,
            subscription: Some("a > 'b\"'"),
            sub_version: 7,
            expression_type: Some("SQL92"),
            max_msg_bytes: Some(1),
            request_source: Some(2),
            proxy_forward_client_id: Some("c"),
        };
        for serialize_type in [SerializeType::Json, SerializeType::Binary] {
            let (mut direct, mut listed) = (Vec::new(), Vec::new());
            encode_pull_request(&mut direct, serialize_type, (11, -5), &request);
            encode_frame(&mut listed, serialize_type, &Header::request(11, -5).with_ext(&request), b"");
            assert_eq!(direct, listed);
            assert_eq!(Header::request(11, 0).with_ext(&request).ext, request.to_ext());
        }
    }
}
