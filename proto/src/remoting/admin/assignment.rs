//! Division of queues by the broker (5.x): 400, 401, 402.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::remoting::heartbeat::MessageModel;
use crate::remoting::json_body::json_body;
use crate::remoting::json_enum::json_enum;
use crate::remoting::lenient;
use crate::remoting::message_queue::MessageQueue;

json_enum! {
    /// How a group gets messages of a queue.
    pub enum MessageRequestMode {
        /// By pulling.
        Pull = 0, "PULL";
        /// By popping.
        Pop = 1, "POP";
    }
}

/// The body of QUERY_ASSIGNMENT (400).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignment {
    /// Who asks.
    pub client_id: String,
    /// Name of the group.
    pub consumer_group: String,
    /// Whether the members share.
    pub message_model: MessageModel,
    /// `AVG`, `AVG_BY_CIRCLE`.
    pub strategy_name: String,
    /// Name of the topic.
    pub topic: String,
}

/// One queue of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueAssignment {
    /// More to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<BTreeMap<String, String>>,
    /// Which queue; id −1 for all of the broker (pop).
    pub message_queue: MessageQueue,
    /// How to get its messages.
    pub mode: MessageRequestMode,
}

/// The body that answers 400.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentReply {
    /// The member's queues.
    #[serde(deserialize_with = "lenient::list")]
    pub message_queue_assignments: Vec<MessageQueueAssignment>,
}

/// The body of SET_MESSAGE_REQUEST_MODE (401).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetMessageRequestMode {
    /// Name of the group.
    pub consumer_group: String,
    /// How its members get messages.
    pub mode: MessageRequestMode,
    /// How many members share a queue (pop).
    pub pop_share_queue_num: i32,
    /// Name of the topic.
    pub topic: String,
}

/// The body that answers GET_ALL_MESSAGE_REQUEST_MODE (402): by topic and group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageRequestModes {
    /// The modes.
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestMode>>,
}

json_body!(request: QueryAssignment, SetMessageRequestMode);
json_body!(answer: QueryAssignmentReply, MessageRequestModes);
