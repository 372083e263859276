//! What clients ask a name server for a route: GET_ROUTEINFO_BY_TOPIC (105) and GET_BROKER_CLUSTER_INFO (106).
//!
//! Members are declared, and so written, in RocketMQ's (alphabetical) order. Keys are quoted, but for clients before 4.9.4,
//! which get what they always got ([`TopicRoute::encode_for`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BodyError;
use super::ext::ext_header;
use super::lenient;

/// Broker id of a master; slaves have larger ones.
pub const MASTER_ID: i64 = 0;

/// Queue permission: rights are inherited from it (the template topic TBW102).
pub const PERM_INHERIT: i32 = 1;
/// Queue permission: producers may send.
pub const PERM_WRITE: i32 = 2;
/// Queue permission: consumers may pull.
pub const PERM_READ: i32 = 4;
/// Queue permission: the queue is preferred; unused since long.
pub const PERM_PRIORITY: i32 = 8;

ext_header! {
    /// GET_ROUTEINFO_BY_TOPIC (105). Answered with [`TopicRoute`], or 17 for a topic that no broker has.
    pub struct GetRoute<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// The client reads standard JSON only, whatever its version.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }
}

/// The queues of one topic on one broker name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Which broker name.
    pub broker_name: String,
    /// [`PERM_READ`], [`PERM_WRITE`], [`PERM_INHERIT`].
    pub perm: i32,
    /// Queues that consumers divide.
    pub read_queue_nums: i32,
    /// Flags of the topic: 1 unit, 2 subscribed by a unit.
    pub topic_sys_flag: i32,
    /// Queues that producers choose from.
    pub write_queue_nums: i32,
}

/// The addresses behind one broker name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Address by broker id; the master has [`MASTER_ID`].
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name.
    pub broker_name: String,
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Whether the slave with the lowest id stands in for a missing master (5.x); left out by older ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_acting_master: Option<bool>,
    /// Zone (5.x); mostly left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// Where a topic is: the body that answers 105.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRoute {
    /// The brokers that have it.
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address, an extinct feature: empty.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Order of brokers for an ordered topic, `broker-a:4;broker-b:4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Its queues on each of them.
    pub queue_datas: Vec<QueueData>,
}

/// From this version of the client on (4.9.4), a route has quoted keys.
pub const VERSION_WITH_QUOTED_KEYS: i32 = 401;

impl TopicRoute {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// The body's bytes as a client of this version expects them.
    pub fn encode_for(&self, client_version: i32, standard_json_only: bool) -> Vec<u8> {
        if standard_json_only || client_version >= VERSION_WITH_QUOTED_KEYS {
            self.encode()
        } else {
            lenient::encode_bare(self)
        }
    }

    /// Reads a body, fastjson's bare keys included.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode(body)
    }
}

/// All brokers and clusters: the body that answers 106.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Addresses by broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

impl ClusterInfo {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body, fastjson's bare keys included.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode(body)
    }
}
