//! Who is connected: consumers (203), producers (204, 328); who reads what (300, 343, 345).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::remoting::ext::ext_header;
use crate::remoting::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::remoting::json_body::json_body;
use crate::remoting::lenient;

ext_header! {
    /// GET_CONSUMER_CONNECTION_LIST (203). Answered with [`ConsumerConnections`], or 206.
    pub struct GetConsumerConnections<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
    }
}

ext_header! {
    /// GET_PRODUCER_CONNECTION_LIST (204). Answered with [`ProducerConnections`], or 1.
    pub struct GetProducerConnections<'a> {
        /// Name of the group.
        producer_group: &'a str = "producerGroup",
    }
}

ext_header! {
    /// QUERY_TOPICS_BY_CONSUMER (343). Answered with [`crate::remoting::namesrv::TopicList`].
    pub struct QueryTopicsByConsumer<'a> {
        /// Name of the group.
        group: &'a str = "group",
    }
}

ext_header! {
    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345). Answered with [`QuerySubscriptionReply`].
    pub struct QuerySubscription<'a> {
        /// Name of the group.
        group: &'a str = "group",
        /// Name of the topic.
        topic: &'a str = "topic",
    }
}

/// One client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionInfo {
    /// `ip:port`.
    pub client_addr: String,
    /// Which client.
    pub client_id: String,
    /// Name of its language, [`crate::remoting::Language::name`].
    pub language: String,
    /// Its RocketMQ version ordinal.
    pub version: i32,
}

/// The body that answers 203.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnections {
    /// The members.
    #[serde(deserialize_with = "lenient::list")]
    pub connection_set: Vec<ConnectionInfo>,
    /// Where the group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// Whether the members share.
    pub message_model: MessageModel,
    /// What it reads, by topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// The body that answers 204.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnections {
    /// The members.
    #[serde(deserialize_with = "lenient::list")]
    pub connection_set: Vec<ConnectionInfo>,
}

/// One producer of [`ProducerTable`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Which client.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Its last sign of life, wall time in ms.
    pub last_update_timestamp: i64,
    /// `ip:port`, with a slash in front as Java prints it.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its RocketMQ version ordinal.
    pub version: i32,
}

/// The body that answers GET_ALL_PRODUCER_INFO (328).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    /// Producers by group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// The body that answers QUERY_TOPIC_CONSUME_BY_WHO (300).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// Names of groups.
    #[serde(deserialize_with = "lenient::list")]
    pub group_list: Vec<String>,
}

/// The body that answers 345.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuerySubscriptionReply {
    /// Name of the group.
    pub group: String,
    /// What it reads of the topic; none when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// Name of the topic.
    pub topic: String,
}

json_body!(answer: ConsumerConnections, ProducerConnections, ProducerTable, GroupList, QuerySubscriptionReply);
