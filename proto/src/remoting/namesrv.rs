//! What administrators and brokers ask a name server beyond routes and registrations: its key-value configuration
//! (100–102, 219), lists of topics (206, 224, 304, 311–313), write permissions (205, 327), topics by name (216, 217), and the
//! small questions of brokers (322, 901, 904, 905).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BodyError;
use super::ext::ext_header;
use super::lenient;

/// The namespace of the key-value configuration that holds the order of brokers for ordered topics.
pub const ORDER_TOPIC_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Extension field of a broker's registration and of a client's route request (5.x): where it stands.
pub const ZONE_NAME: &str = "__ZONE_NAME";

/// Extension field of a client's route request (5.x): "true" asks for the brokers of its zone alone.
pub const ZONE_MODE: &str = "__ZONE_MODE";

/// Bit of a topic's `topicSysFlag`: the topic is a unit's.
pub const SYS_FLAG_UNIT: i32 = 1;

/// Bit of a topic's `topicSysFlag`: units subscribe to the topic.
pub const SYS_FLAG_UNIT_SUB: i32 = 2;

/// Extension field that answers 205: how many topics the broker has.
pub const WIPE_TOPIC_COUNT: &str = "wipeTopicCount";

/// Extension field that answers 327: how many topics the broker has.
pub const ADD_TOPIC_COUNT: &str = "addTopicCount";

/// Extension field that answers 322: "true" when the broker should register again.
pub const CHANGED: &str = "changed";

ext_header! {
    /// PUT_KV_CONFIG (100). Answered with 0.
    pub struct PutKvConfig<'a> {
        /// Namespace of the key.
        namespace: &'a str = "namespace",
        /// The key.
        key: &'a str = "key",
        /// Its new value.
        value: &'a str = "value",
    }
}

ext_header! {
    /// GET_KV_CONFIG (101), answered with [`KvConfigReply`] or 22; DELETE_KV_CONFIG (102), answered with 0.
    pub struct KvConfigKey<'a> {
        /// Namespace of the key.
        namespace: &'a str = "namespace",
        /// The key.
        key: &'a str = "key",
    }
}

ext_header! {
    /// The answer to 101.
    pub struct KvConfigReply<'a> {
        /// What the key has.
        value: Option<&'a str> = "value",
    }
}

ext_header! {
    /// GET_KVLIST_BY_NAMESPACE (219). Answered with a [`KvTable`], or 22 when the namespace has no key.
    pub struct GetKvList<'a> {
        /// The namespace.
        namespace: &'a str = "namespace",
    }
}

ext_header! {
    /// GET_TOPICS_BY_CLUSTER (224). Answered with a [`TopicList`].
    pub struct GetTopicsByCluster<'a> {
        /// Name of the cluster.
        cluster: &'a str = "cluster",
    }
}

ext_header! {
    /// DELETE_TOPIC_IN_NAMESRV (216). Answered with 0.
    pub struct DeleteTopicInNamesrv<'a> {
        /// The topic.
        topic: &'a str = "topic",
        /// Forget it on the brokers of this cluster alone.
        cluster_name: Option<&'a str> = "clusterName",
    }
}

ext_header! {
    /// REGISTER_TOPIC_IN_NAMESRV (217, 5.x): the body is a [`TopicRoute`](super::route::TopicRoute). Answered with 0.
    pub struct RegisterTopicInNamesrv<'a> {
        /// The topic.
        topic: &'a str = "topic",
    }
}

ext_header! {
    /// WIPE_WRITE_PERM_OF_BROKER (205), answered with [`WIPE_TOPIC_COUNT`]; ADD_WRITE_PERM_OF_BROKER (327), answered with
    /// [`ADD_TOPIC_COUNT`].
    pub struct WritePermOfBroker<'a> {
        /// Name of the broker.
        broker_name: &'a str = "brokerName",
    }
}

ext_header! {
    /// QUERY_DATA_VERSION (322): the body is a [`DataVersion`](super::registration::DataVersion). A sign of life, too. Answered
    /// with [`CHANGED`] and the version that the name server has as the body, empty when it has none.
    pub struct QueryDataVersion<'a> {
        /// Name that a master and its slaves share.
        broker_name: &'a str = "brokerName",
        /// Advertised `ip:port`.
        broker_addr: &'a str = "brokerAddr",
        /// The cluster it belongs to.
        cluster_name: &'a str = "clusterName",
        /// 0 for the master.
        broker_id: i64 = "brokerId",
    }
}

ext_header! {
    /// BROKER_HEARTBEAT (904, 5.x): a sign of life without a body. Answered with 0.
    pub struct BrokerHeartbeat<'a> {
        /// Advertised `ip:port`.
        broker_addr: &'a str = "brokerAddr",
        /// The cluster it belongs to.
        cluster_name: &'a str = "clusterName",
        /// Name that a master and its slaves share.
        broker_name: &'a str = "brokerName",
        /// 0 for the master.
        broker_id: Option<i64> = "brokerId",
        /// How long this counts without another, in ms; RocketMQ writes it so.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills",
    }
}

ext_header! {
    /// GET_BROKER_MEMBER_GROUP (901, 5.x). Answered with a [`BrokerMemberGroupBody`].
    pub struct GetBrokerMemberGroup<'a> {
        /// The cluster.
        cluster_name: &'a str = "clusterName",
        /// Name that a master and its slaves share.
        broker_name: &'a str = "brokerName",
    }
}

ext_header! {
    /// NOTIFY_MIN_BROKER_ID_CHANGE (905, 5.x): a name server tells brokers, one-way.
    pub struct NotifyMinBrokerIdChange<'a> {
        /// The lowest id that lives.
        min_broker_id: Option<i64> = "minBrokerId",
        /// Name that a master and its slaves share.
        broker_name: Option<&'a str> = "brokerName",
        /// Where the lowest is.
        min_broker_addr: Option<&'a str> = "minBrokerAddr",
        /// Who has left, if that is why.
        offline_broker_addr: Option<&'a str> = "offlineBrokerAddr",
        /// Where to replicate from, when a lower one has come.
        ha_broker_addr: Option<&'a str> = "haBrokerAddr",
    }
}

/// Keys and values: the body that answers 219, and what a registration is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// Values by key.
    pub table: BTreeMap<String, String>,
}

/// Names of topics: the body that answers 206, 224, 304 and 311–313.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// One broker to ask for more, where the code has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The names.
    pub topic_list: Vec<String>,
}

/// The replicas of one broker name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroup {
    /// Address by broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name.
    pub broker_name: String,
    /// The cluster that was asked for.
    pub cluster: String,
}

/// The body that answers 901.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroupBody {
    /// The group; empty when the name is not known.
    pub broker_member_group: BrokerMemberGroup,
}

macro_rules! json_body {
    ($($body:ty),*) => {$(
        impl $body {
            /// The body's bytes.
            pub fn encode(&self) -> Vec<u8> {
                lenient::encode(self)
            }

            /// Reads a body, fastjson's bare keys included.
            pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
                lenient::decode(body)
            }
        }
    )*};
}
json_body!(KvTable, TopicList, BrokerMemberGroupBody);
