//! What a broker asks its clients, on the connections that they opened, numbered by the broker: 40, 220, 221, 307, 309, 326
//! (39 is with [`super::transaction`]).

use serde::{Deserialize, Serialize};

use super::BodyError;
use super::ext::ext_header;
use super::lenient;
use super::message_queue::{MessageQueue, QueueTable};

ext_header! {
    /// NOTIFY_CONSUMER_IDS_CHANGED (40), one-way: divide the queues anew.
    pub struct NotifyConsumerIdsChanged<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
    }
}

ext_header! {
    /// RESET_CONSUMER_CLIENT_OFFSET (220), one-way: the body is a [`ResetOffsetBody`].
    pub struct ResetOffset<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Name of the group.
        group: &'a str = "group",
        /// The time that was asked for, in ms.
        timestamp: i64 = "timestamp",
        /// Whether offsets may go back too.
        is_force: bool = "isForce",
    }
}

ext_header! {
    /// GET_CONSUMER_STATUS_FROM_CLIENT (221). Answered with [`ConsumerStatusBody`].
    pub struct GetConsumerStatus<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Name of the group.
        group: &'a str = "group",
        /// One member of the group only.
        client_addr: Option<&'a str> = "clientAddr",
    }
}

ext_header! {
    /// GET_CONSUMER_RUNNING_INFO (307). The answer's body is passed on as it is.
    pub struct GetConsumerRunningInfo<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
        /// Which member.
        client_id: &'a str = "clientId",
        /// Whether to send the stacks of all threads too.
        jstack_enable: Option<bool> = "jstackEnable",
    }
}

ext_header! {
    /// CONSUME_MESSAGE_DIRECTLY (309): the body to a client is one stored message. The answer's body is passed on as it is.
    pub struct ConsumeMessageDirectly<'a> {
        /// Name of the group.
        consumer_group: &'a str = "consumerGroup",
        /// Which member.
        client_id: Option<&'a str> = "clientId",
        /// Offset id of the message.
        msg_id: Option<&'a str> = "msgId",
        /// Name of the broker that has it.
        broker_name: Option<&'a str> = "brokerName",
        /// Name of the topic (5.x).
        topic: Option<&'a str> = "topic",
        /// Flags of the topic (5.x).
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Flags of the group (5.x).
        group_sys_flag: Option<i32> = "groupSysFlag",
    }
}

ext_header! {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326): the reply to a request-reply message, which is the body.
    pub struct PushReply<'a> {
        /// Who replied.
        producer_group: &'a str = "producerGroup",
        /// The cluster's reply topic.
        topic: &'a str = "topic",
        /// As in the send.
        default_topic: &'a str = "defaultTopic",
        /// As in the send.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// As in the send.
        queue_id: i32 = "queueId",
        /// As in the send.
        sys_flag: i32 = "sysFlag",
        /// As in the send, in ms.
        born_timestamp: i64 = "bornTimestamp",
        /// As in the send.
        flag: i32 = "flag",
        /// As in the send, with PUSH_REPLY_TIME.
        properties: Option<&'a str> = "properties",
        /// As in the send.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// As in the send.
        unit_mode: Option<bool> = "unitMode",
        /// `ip:port` of who replied.
        born_host: &'a str = "bornHost",
        /// `ip:port` of the broker.
        store_host: &'a str = "storeHost",
        /// When the broker got it, in ms.
        store_timestamp: i64 = "storeTimestamp",
    }
}

/// Offsets to go on from: the body of 220, and what answers 222.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// Offset by queue.
    pub offset_table: QueueTable<i64>,
}

impl ResetOffsetBody {
    /// Standard JSON, for Java.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// RocketMQ's own form with objects as keys, which Java and Go read (Go takes standard JSON for the list of pairs).
    pub fn encode_bare(&self) -> Vec<u8> {
        let mut out = b"{\"offsetTable\":".to_vec();
        self.offset_table.append_bare(&mut out);
        out.push(b'}');
        out
    }

    /// A list of pairs, which C++ (and Go) read.
    pub fn encode_pairs(&self) -> Vec<u8> {
        let mut out = b"{\"offsetTable\":".to_vec();
        self.offset_table.append_pairs(&mut out);
        out.push(b'}');
        out
    }

    /// Reads a body of any of the three forms.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Pairs {
            #[serde(deserialize_with = "lenient::list")]
            offset_table: Vec<(MessageQueue, i64)>,
        }
        match lenient::decode_request(body) {
            Ok(table) => Ok(table),
            Err(error) => {
                let pairs = lenient::decode_request::<Pairs>(body).map_err(|_| error)?;
                Ok(Self { offset_table: pairs.offset_table.into_iter().collect() })
            }
        }
    }
}

/// Where a consumer is: the body that answers 221 (and 223, by client id).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerStatusBody {
    /// Offset by queue.
    pub message_queue_table: QueueTable<i64>,
}

impl ConsumerStatusBody {
    /// Standard JSON.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body, objects as keys included.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode_request(body)
    }
}

/// The body that answers 309.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeDirectlyResult {
    /// Of orderly consumption.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, `CR_COMMIT`, `CR_THROW_EXCEPTION`, `CR_RETURN_NULL`.
    pub consume_result: String,
    /// Whether the consumer is orderly.
    pub order: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// How long it took, in ms.
    pub spent_time_mills: i64,
}

impl ConsumeDirectlyResult {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        lenient::encode(self)
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        lenient::decode(body)
    }
}
