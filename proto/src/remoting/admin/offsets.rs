//! Groups' offsets, changed and copied: 222, 223, 314, 308, and what replicas copy, 43 and 45.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::remoting::ext::ext_header;
use crate::remoting::json_body::json_body;
use crate::remoting::message_queue::QueueTable;
use crate::remoting::registration::DataVersion;

ext_header! {
    /// INVOKE_BROKER_TO_RESET_OFFSET (222). Answered with [`crate::remoting::client_push::ResetOffsetBody`].
    pub struct InvokeResetOffset<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Name of the group.
        group: &'a str = "group",
        /// To this time, wall time in ms; −1 for the end, −2 for the beginning.
        timestamp: i64 = "timestamp",
        /// Whether offsets may go back too.
        is_force: bool = "isForce",
        /// One queue only; −1 for all (5.x).
        queue_id: Option<i32> = "queueId",
        /// To this offset instead; −1 for none (5.x).
        offset: Option<i64> = "offset",
    }
}

ext_header! {
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223). Answered with [`ConsumerStatusTable`].
    pub struct InvokeGetConsumerStatus<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Name of the group.
        group: &'a str = "group",
        /// One member only.
        client_addr: Option<&'a str> = "clientAddr",
    }
}

ext_header! {
    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneGroupOffset<'a> {
        /// From this group.
        src_group: &'a str = "srcGroup",
        /// To this group.
        dest_group: &'a str = "destGroup",
        /// One topic only.
        topic: Option<&'a str> = "topic",
        /// Whether the group must be offline.
        offline: Option<bool> = "offline",
    }
}

ext_header! {
    /// QUERY_CORRECTION_OFFSET (308): which offsets would these groups' messages have elsewhere? Answered with
    /// [`CorrectionOffsets`].
    pub struct QueryCorrectionOffset<'a> {
        /// Groups, with commas between them.
        filter_groups: Option<&'a str> = "filterGroups",
        /// The group to compare with.
        compare_group: &'a str = "compareGroup",
        /// Name of the topic.
        topic: &'a str = "topic",
    }
}

/// Offsets by queue id, of each client id: the body that answers 223.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerStatusTable {
    /// Of each client.
    pub consumer_table: BTreeMap<String, QueueTable<i64>>,
    /// Of one client; out of use.
    #[serde(skip_serializing_if = "is_empty")]
    pub message_queue_table: QueueTable<i64>,
}

fn is_empty(table: &QueueTable<i64>) -> bool {
    table.0.is_empty()
}

/// The body that answers 308.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorrectionOffsets {
    /// Offset by queue id.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// All groups' offsets: the body that answers GET_ALL_CONSUMER_OFFSET (43).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetTable {
    /// Version of the table (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_version: Option<DataVersion>,
    /// Offset by queue id, by `topic@group`.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Progress of the delay levels: the body that answers GET_ALL_DELAY_OFFSET (45).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetTable {
    /// Version of the table (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_version: Option<DataVersion>,
    /// Offset in the level's queue, by level.
    pub offset_table: BTreeMap<i32, i64>,
}

json_body!(answer: ConsumerStatusTable, CorrectionOffsets, ConsumerOffsetTable, DelayOffsetTable);
