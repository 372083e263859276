//! How far queues and groups are, and how fast: 202, 208, 317, 303, 315, 321.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::remoting::ext::ext_header;
use crate::remoting::heartbeat::SubscriptionData;
use crate::remoting::json_body::json_body;
use crate::remoting::lenient;
use crate::remoting::message_queue::{MessageQueue, QueueTable};

ext_header! {
    /// GET_CONSUME_STATS (208). Answered with [`ConsumeStats`].
    pub struct GetConsumeStats<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
        /// One topic only.
        topic: Option<&'a str> = "topic",
        /// Several topics only, with `;` between them (5.x).
        topic_list: Option<&'a str> = "topicList",
    }
}

ext_header! {
    /// GET_BROKER_CONSUME_STATS (317). Answered with [`BrokerConsumeStats`].
    pub struct GetBrokerConsumeStats {
        /// Ordered topics, or the others.
        is_order: bool = "isOrder",
    }
}

ext_header! {
    /// QUERY_CONSUME_TIME_SPAN (303). Answered with [`ConsumeTimeSpans`].
    pub struct QueryConsumeTimeSpan<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Name of the group.
        group: &'a str = "group",
    }
}

ext_header! {
    /// VIEW_BROKER_STATS_DATA (315). Answered with [`BrokerStats`], or 1 when there is no such counter.
    pub struct ViewBrokerStats<'a> {
        /// Which counter: `TOPIC_PUT_NUMS`, `TOPIC_PUT_SIZE`, `GROUP_GET_NUMS`, `GROUP_GET_SIZE`, `SNDBCK_PUT_NUMS`, ….
        stats_name: &'a str = "statsName",
        /// Of what: a topic, or `topic@group`.
        stats_key: &'a str = "statsKey",
    }
}

ext_header! {
    /// QUERY_CONSUME_QUEUE (321). Answered with [`ConsumeQueueData`].
    pub struct QueryConsumeQueue<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Which queue.
        queue_id: i32 = "queueId",
        /// From this offset on.
        index: i64 = "index",
        /// At most so many entries.
        count: i32 = "count",
        /// Through the eyes of this group.
        consumer_group: Option<&'a str> = "consumerGroup",
    }
}

/// The ends of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Store time of the last message, in ms; 0 when there is none.
    pub last_update_timestamp: i64,
    /// Behind the last message.
    pub max_offset: i64,
    /// The first message.
    pub min_offset: i64,
}

/// The body that answers GET_TOPIC_STATS_INFO (202).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStats {
    /// Ends by queue.
    pub offset_table: QueueTable<TopicOffset>,
    /// Messages a second (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_put_tps: Option<f64>,
}

/// A group in one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeOffset {
    /// Behind the last message.
    pub broker_offset: i64,
    /// Where the group goes on.
    pub consumer_offset: i64,
    /// Store time of the last message that the group consumed, in ms; 0 when there is none.
    pub last_timestamp: i64,
    /// Up to where the group has pulled (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_offset: Option<i64>,
}

/// The body that answers 208.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages a second.
    pub consume_tps: f64,
    /// The group by queue.
    pub offset_table: QueueTable<ConsumeOffset>,
}

/// The body that answers 317.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerConsumeStats {
    /// `ip:port`.
    pub broker_addr: String,
    /// One table a group, with an entry for each of its topics.
    #[serde(deserialize_with = "lenient::list")]
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages that all groups are behind.
    pub total_diff: i64,
    /// Messages that are given out and not acknowledged (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_inflight_diff: Option<i64>,
}

/// Times of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeTimeSpan {
    /// Store time of the last message that the group consumed, in ms.
    pub consume_time_stamp: i64,
    /// How far it is behind, in ms.
    pub delay_time: i64,
    /// Store time of the last message, in ms.
    pub max_time_stamp: i64,
    /// Which queue.
    pub message_queue: MessageQueue,
    /// Store time of the first message, in ms.
    pub min_time_stamp: i64,
}

/// The body that answers 303.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeTimeSpans {
    /// One for each queue.
    #[serde(deserialize_with = "lenient::list")]
    pub consume_time_span_set: Vec<ConsumeTimeSpan>,
}

/// One counter over one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsItem {
    /// Sum by count of additions.
    pub avgpt: f64,
    /// Sum.
    pub sum: i64,
    /// Sum by seconds.
    pub tps: f64,
}

/// The body that answers 315.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStats {
    /// Of the last day.
    pub stats_day: StatsItem,
    /// Of the last hour.
    pub stats_hour: StatsItem,
    /// Of the last minute.
    pub stats_minute: StatsItem,
}

/// One entry of a queue's index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueEntry {
    /// The filter's bits; out of use here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_map: Option<String>,
    /// Whether the group's filter lets it pass.
    pub eval: bool,
    /// Of the index's extension; out of use here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_data_json: Option<String>,
    /// What went wrong when the message was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// PHYSICALOFFSET.
    pub physic_offset: i64,
    /// Bytes of the stored message.
    pub physic_size: i32,
    /// Hash of the tag.
    pub tags_code: i64,
}

/// The body that answers 321.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// The group's filter as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Behind the last entry.
    pub max_queue_index: i64,
    /// The first entry.
    pub min_queue_index: i64,
    /// The entries.
    #[serde(deserialize_with = "lenient::list")]
    pub queue_data: Vec<ConsumeQueueEntry>,
    /// What the group reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

json_body!(answer: TopicStats, ConsumeStats, BrokerConsumeStats, ConsumeTimeSpans, BrokerStats, ConsumeQueueData);
