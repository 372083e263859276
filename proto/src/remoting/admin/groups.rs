//! Consumer groups: create or change (200, 225), remove (207), read (201, 352).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::remoting::ext::ext_header;
use crate::remoting::json_body::json_body;
use crate::remoting::lenient;
use crate::remoting::registration::DataVersion;

ext_header! {
    /// DELETE_SUBSCRIPTIONGROUP (207).
    pub struct DeleteGroup<'a> {
        /// Name of the group.
        group_name: &'a str = "groupName",
        /// Whether its offsets go too, as 4.9 asks.
        remove_offset: Option<bool> = "removeOffset",
        /// Whether its offsets go too, as 5.x asks.
        clean_offset: Option<bool> = "cleanOffset",
    }
}

impl DeleteGroup<'_> {
    /// Whether its offsets go too.
    pub const fn removes_offsets(&self) -> bool {
        matches!(self.remove_offset, Some(true)) || matches!(self.clean_offset, Some(true))
    }
}

ext_header! {
    /// GET_SUBSCRIPTIONGROUP_CONFIG (352, 5.x). Answered with [`GroupConfig`].
    pub struct GetGroupConfig<'a> {
        /// Name of the group.
        group: &'a str = "group",
    }
}

ext_header! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201). Answered with [`GroupConfigTable`]; all fields are of 5.x's way in pages.
    pub struct GetAllGroupConfig<'a> {
        /// The page begins with this group's place.
        group_seq: Option<i32> = "groupSeq",
        /// The version that the pages before had, as JSON.
        data_version: Option<&'a str> = "dataVersion",
        /// At most so many groups.
        max_group_num: Option<i32> = "maxGroupNum",
    }
}

/// How a group tries again (5.x).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupRetryPolicy {
    /// Waits by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// Waits that grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// `CUSTOMIZED` or `EXPONENTIAL`.
    #[serde(rename = "type")]
    pub policy_type: String,
}

/// Waits by number, each in ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    /// Before the first try again, the second, …
    #[serde(deserialize_with = "lenient::list")]
    pub next: Vec<i64>,
}

/// Waits that grow by a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    /// The first, in ms.
    pub initial: i64,
    /// The longest, in ms.
    pub max: i64,
    /// The factor.
    pub multiplier: i64,
}

/// RocketMQ's defaults: 5 s, doubled up to 2 h.
impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// A subscription that belongs to the group's configuration (5.x).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimpleSubscriptionData {
    /// The expression.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// Name of the topic.
    pub topic: String,
    /// Version of the subscription.
    pub version: i64,
}

/// One consumer group: the body of 200.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupConfig {
    /// Attributes, or changes of them with `+` and `-` (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
    /// Which broker id to pull from.
    pub broker_id: i64,
    /// Whether members may consume by broadcasting.
    pub consume_broadcast_enable: bool,
    /// Whether members may consume at all.
    pub consume_enable: bool,
    /// Out of use.
    pub consume_from_min_enable: bool,
    /// Whether the broker keeps the order of pops (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_message_orderly: Option<bool>,
    /// How long a member may take for a message, in minutes (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_timeout_minute: Option<i32>,
    /// Name of the group.
    pub group_name: String,
    /// How it tries again (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_retry_policy: Option<GroupRetryPolicy>,
    /// Flags of the group (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_sys_flag: Option<i32>,
    /// Whether members are told when others come and go.
    pub notify_consumer_ids_changed_enable: bool,
    /// How often a message is tried again before it is a dead letter.
    pub retry_max_times: i32,
    /// Queues of the group's retry topic.
    pub retry_queue_nums: i32,
    /// Its subscriptions (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
    /// Which broker id to pull from for who is far behind.
    pub which_broker_when_consume_slowly: i64,
}

/// RocketMQ's defaults for members that are left out.
impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            attributes: None,
            broker_id: crate::remoting::route::MASTER_ID,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: None,
            consume_timeout_minute: None,
            group_name: String::new(),
            group_retry_policy: None,
            group_sys_flag: None,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// The body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225, 5.x).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupConfigList {
    /// The groups.
    #[serde(deserialize_with = "lenient::list")]
    pub group_config_list: Vec<GroupConfig>,
}

/// The body that answers 201.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupConfigTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// What groups may not do, by topic (5.x).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by name.
    pub subscription_group_table: BTreeMap<String, GroupConfig>,
}

json_body!(request: GroupConfig, GroupConfigList);
json_body!(answer: GroupConfigTable);
