//! What clients say of themselves: HEART_BEAT (34), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46).

use serde::{Deserialize, Serialize};

use super::BodyError;
use super::ext::ext_header;
use super::json_enum::json_enum;
use super::lenient;

ext_header! {
    /// UNREGISTER_CLIENT (35): a client leaves one or both of these groups.
    pub struct UnregisterClient<'a> {
        /// Which client.
        client_id: &'a str = "clientID",
        /// It sends no more for this group.
        producer_group: Option<&'a str> = "producerGroup",
        /// It consumes no more for this group.
        consumer_group: Option<&'a str> = "consumerGroup",
    }
}

ext_header! {
    /// The answer to 34 (5.x).
    pub struct HeartbeatReply {
        /// Whether heartbeats without subscriptions are understood.
        is_support_heart_beat_v2: Option<bool> = "IS_SUPPORT_HEART_BEAT_V2",
        /// Whether the subscriptions known here are others: send them all again.
        is_sub_change: Option<bool> = "IS_SUB_CHANGE",
    }
}

json_enum! {
    /// How a consumer gets its messages.
    pub enum ConsumeType {
        /// It pulls when it likes.
        Actively = 0, "CONSUME_ACTIVELY";
        /// A listener is called (push).
        Passively = 1, "CONSUME_PASSIVELY";
        /// It pops (5.x).
        Pop = 2, "CONSUME_POP";
    }
}

json_enum! {
    /// Whether the members of a group share its messages.
    pub enum MessageModel {
        /// Each message goes to one member.
        Clustering = 1, "CLUSTERING";
        /// Each message goes to all members.
        Broadcasting = 0, "BROADCASTING";
    }
}

json_enum! {
    /// Where a group begins in a queue that it has no offset for.
    pub enum ConsumeFromWhere {
        /// At the end.
        LastOffset = 0, "CONSUME_FROM_LAST_OFFSET";
        /// As [`Self::LastOffset`]; out of use.
        LastOffsetAndFromMinWhenBootFirst = 1, "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST";
        /// As [`Self::FirstOffset`]; out of use.
        MinOffset = 2, "CONSUME_FROM_MIN_OFFSET";
        /// As [`Self::LastOffset`]; out of use.
        MaxOffset = 3, "CONSUME_FROM_MAX_OFFSET";
        /// At the first message that is there.
        FirstOffset = 4, "CONSUME_FROM_FIRST_OFFSET";
        /// At a time that the client knows.
        Timestamp = 5, "CONSUME_FROM_TIMESTAMP";
    }
}

/// Type of an expression that selects by tag: the default.
pub const EXPRESSION_TAG: &str = "TAG";
/// Type of an expression over properties.
pub const EXPRESSION_SQL92: &str = "SQL92";

/// What a group reads of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// A filter class, an extinct feature.
    pub class_filter_mode: bool,
    /// Hashes of the tags; empty for all.
    #[serde(deserialize_with = "lenient::numbers")]
    pub code_set: Vec<i32>,
    /// [`EXPRESSION_TAG`] or [`EXPRESSION_SQL92`].
    pub expression_type: String,
    /// The expression as the user wrote it.
    pub sub_string: String,
    /// The time of its last change, in ms.
    #[serde(deserialize_with = "lenient::number")]
    pub sub_version: i64,
    /// The tags; empty for all.
    #[serde(deserialize_with = "lenient::list")]
    pub tags_set: Vec<String>,
    /// Name of the topic.
    pub topic: String,
}

/// RocketMQ's defaults for members that are left out: tags, and all of them.
impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

/// One consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Where it begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// Name of the group.
    pub group_name: String,
    /// Whether the members share.
    pub message_model: MessageModel,
    /// What it reads.
    #[serde(deserialize_with = "lenient::list")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Whether it belongs to a unit.
    pub unit_mode: bool,
}

/// One producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// Name of the group.
    pub group_name: String,
}

/// The body of 34.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Which client.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// The groups it consumes for.
    #[serde(deserialize_with = "lenient::list")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// A hash of the subscriptions (5.x); 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub heartbeat_fingerprint: i32,
    /// The groups it sends for.
    #[serde(deserialize_with = "lenient::list")]
    pub producer_data_set: Vec<ProducerData>,
    /// The subscriptions are left out: those of this fingerprint go on (5.x).
    #[serde(rename = "withoutSub", alias = "isWithoutSub", skip_serializing_if = "is_false")]
    pub is_without_sub: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl HeartbeatData {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode_request(body)
    }
}

/// The body of 46: would this subscription be understood? Answered with 0, 1 (the feature is off) or 23.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientRequestBody {
    /// Which client.
    pub client_id: String,
    /// Its consumer group.
    pub group: String,
    /// The namespace, when names do not carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What it wants to read.
    pub subscription_data: SubscriptionData,
}

impl CheckClientRequestBody {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode_request(body)
    }
}
