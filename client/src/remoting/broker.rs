//! What clients ask a broker by remoting beside sends, typed: one function a code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::offsets::InvokeResetOffset;
use ringmq_proto::remoting::client_push::ResetOffsetBody;
use ringmq_proto::remoting::consumer::{
    ConsumerList, GetConsumerList, GetOffset, LockBatchBody, LockBatchReply, Offset, QueryConsumerOffset, SearchOffset,
    SendMessageBack, UpdateConsumerOffset,
};
use ringmq_proto::remoting::heartbeat::{CheckClientRequestBody, HeartbeatData, SubscriptionData, UnregisterClient};
use ringmq_proto::remoting::message_queue::MessageQueue as WireQueue;
use ringmq_proto::remoting::pull::PullResponse;
use ringmq_proto::remoting::query::{QueryMessage, ViewMessage};
use ringmq_proto::remoting::request_code as code;
use ringmq_proto::remoting::timer::{RecallMessage, RecallReply};
use ringmq_proto::remoting::transaction::EndTransaction;
use ringmq_proto::remoting::{ExtFields, ExtHeader};

use super::connection::PullMessage;
use super::link::RemotingLink;
use crate::error::Result;
use crate::message::MessageQueue;

/// RocketMQ's `mqClientApiTimeout`.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a pull may take beyond the time that the broker was asked to wait: RocketMQ waits 15 s and gives up after 30.
const PULL_TIMEOUT_EXTRA: Duration = Duration::from_secs(15);

/// For locks, RocketMQ waits one second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// For redelivery, RocketMQ waits five.
const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to a pull.
pub(crate) struct RemotingPulled {
    /// 0, 19, 20, 21.
    pub(crate) code: Code,
    pub(crate) header: PullResponse,
    /// Stored messages, one behind the other.
    pub(crate) messages: Bytes,
}

/// What a pull asks for; owned, because it waits in a closure.
#[derive(Clone, Debug)]
pub(crate) struct PullSpec {
    pub(crate) group: Arc<str>,
    pub(crate) queue: MessageQueue,
    pub(crate) offset: i64,
    pub(crate) count_max: i32,
    pub(crate) bytes_max: Option<i32>,
    pub(crate) sys_flag: i32,
    pub(crate) commit_offset: i64,
    pub(crate) wait: Duration,
    pub(crate) subscription: Option<Arc<str>>,
    pub(crate) sub_version: i64,
    pub(crate) expression_type: Option<&'static str>,
}

fn soon() -> Instant {
    Instant::now() + ANSWER_TIMEOUT
}

/// A queue id on the wire.
pub(crate) fn wire_id(queue: &MessageQueue) -> i32 {
    i32::try_from(queue.queue_id).unwrap_or(i32::MAX)
}

/// A queue in JSON.
pub(crate) fn wire_queue(queue: &MessageQueue) -> WireQueue {
    WireQueue { broker_name: queue.broker_name.to_string(), queue_id: wire_id(queue), topic: queue.topic.to_string() }
}

/// A queue out of JSON; `None` for one that cannot be.
pub(crate) fn own_queue(queue: &WireQueue) -> Option<MessageQueue> {
    let queue_id = u32::try_from(queue.queue_id).ok()?;
    Some(MessageQueue { topic: queue.topic.as_str().into(), broker_name: queue.broker_name.as_str().into(), queue_id })
}

impl RemotingLink {
    /// Says who this client is (34). Gives the broker's version.
    pub(crate) async fn heartbeat(&self, data: &HeartbeatData) -> Result<i32> {
        let what = (code::HEART_BEAT, "a heartbeat");
        Ok(self.call(what, ExtFields::new(), data.encode(), soon()).await?.success()?.version)
    }

    /// Leaves a group (35).
    pub(crate) async fn unregister(&self, request: &UnregisterClient<'_>) -> Result<()> {
        let what = (code::UNREGISTER_CLIENT, "leaving a group");
        self.call(what, request.to_ext(), Bytes::new(), soon()).await?.success().map(drop)
    }

    /// The client ids of a group's members (38); none when the broker knows no member.
    pub(crate) async fn consumer_ids(&self, group: &str) -> Result<Vec<String>> {
        let what = (code::GET_CONSUMER_LIST_BY_GROUP, "the members of a group");
        let reply = self.call(what, GetConsumerList { consumer_group: group }.to_ext(), Bytes::new(), soon()).await?;
        if reply.code == Code::SYSTEM_ERROR {
            return Ok(Vec::new());
        }
        let reply = reply.success()?;
        let list = ConsumerList::decode(&reply.body).map_err(|_| reply.bad("a list of members that is none"))?;
        Ok(list.consumer_id_list)
    }

    /// What `group` has committed (14), if it ever did.
    pub(crate) async fn consumer_offset(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>> {
        let (topic, queue_id) = (&*queue.topic, wire_id(queue));
        let header = QueryConsumerOffset { consumer_group: group, topic, queue_id, set_zero_if_not_found: None };
        let what = (code::QUERY_CONSUMER_OFFSET, "a committed offset");
        let reply = self.call(what, header.to_ext(), Bytes::new(), soon()).await?;
        let reply = reply.expect(&[Code::SUCCESS, Code::QUERY_NOT_FOUND])?;
        if reply.code == Code::QUERY_NOT_FOUND { Ok(None) } else { Ok(Some(reply.read::<Offset>()?.offset)) }
    }

    /// Commits an offset (15) and waits until that is done.
    pub(crate) async fn commit_offset(&self, group: &str, queue: &MessageQueue, offset: i64) -> Result<()> {
        let header = update_offset(group, queue, offset);
        let what = (code::UPDATE_CONSUMER_OFFSET, "an offset commit");
        self.call(what, header.to_ext(), Bytes::new(), soon()).await?.success().map(drop)
    }

    /// Commits an offset (15) without an answer.
    pub(crate) async fn commit_offset_oneway(&self, group: &str, queue: &MessageQueue, offset: i64) -> Result<()> {
        self.tell(code::UPDATE_CONSUMER_OFFSET, &update_offset(group, queue, offset).to_ext(), soon()).await
    }

    /// The offset behind the newest message (30).
    pub(crate) async fn max_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let header = GetOffset { topic: &queue.topic, queue_id: wire_id(queue), committed: None };
        let reply = self.call((code::GET_MAX_OFFSET, "a queue's end"), header.to_ext(), Bytes::new(), soon()).await?;
        Ok(reply.success()?.read::<Offset>()?.offset)
    }

    /// The offset of the oldest message (31).
    pub(crate) async fn min_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let header = GetOffset { topic: &queue.topic, queue_id: wire_id(queue), committed: None };
        let reply =
            self.call((code::GET_MIN_OFFSET, "a queue's beginning"), header.to_ext(), Bytes::new(), soon()).await?;
        Ok(reply.success()?.read::<Offset>()?.offset)
    }

    /// The first offset that was stored at `time_ms` or later (29).
    pub(crate) async fn offset_at(&self, queue: &MessageQueue, time_ms: u64) -> Result<i64> {
        let timestamp = i64::try_from(time_ms).unwrap_or(i64::MAX);
        let header = SearchOffset { topic: &queue.topic, queue_id: wire_id(queue), timestamp, boundary_type: None };
        let what = (code::SEARCH_OFFSET_BY_TIMESTAMP, "an offset by time");
        Ok(self.call(what, header.to_ext(), Bytes::new(), soon()).await?.success()?.read::<Offset>()?.offset)
    }

    /// Locks queues for a group (41): those that this client holds now.
    pub(crate) async fn lock_queues(&self, body: &LockBatchBody) -> Result<Vec<WireQueue>> {
        let what = (code::LOCK_BATCH_MQ, "locking queues");
        let reply = self.call(what, ExtFields::new(), body.encode(), Instant::now() + LOCK_TIMEOUT).await?.success()?;
        let locked = LockBatchReply::decode(&reply.body).map_err(|_| reply.bad("a list of locks that is none"))?;
        Ok(locked.lock_ok_mq_set)
    }

    /// Gives up queues (42).
    pub(crate) async fn unlock_queues(&self, body: &LockBatchBody) -> Result<()> {
        let what = (code::UNLOCK_BATCH_MQ, "unlocking queues");
        self.call(what, ExtFields::new(), body.encode(), Instant::now() + LOCK_TIMEOUT).await?.success().map(drop)
    }

    /// Gives a message back for redelivery (36).
    pub(crate) async fn send_back(&self, header: &SendMessageBack<'_>) -> Result<()> {
        let what = (code::CONSUMER_SEND_MSG_BACK, "giving a message back");
        self.call(what, header.to_ext(), Bytes::new(), Instant::now() + SEND_BACK_TIMEOUT).await?.success().map(drop)
    }

    /// Says how a transaction ended (37), without an answer.
    pub(crate) async fn end_transaction(&self, header: &EndTransaction<'_>) -> Result<()> {
        self.tell(code::END_TRANSACTION, &header.to_ext(), soon()).await
    }

    /// Whether the broker understands a subscription (46).
    pub(crate) async fn check_subscription(
        &self,
        client_id: &str,
        group: &str,
        subscription_data: SubscriptionData,
    ) -> Result<()> {
        let (client_id, group) = (client_id.to_owned(), group.to_owned());
        let body = CheckClientRequestBody { client_id, group, namespace: None, subscription_data };
        let what = (code::CHECK_CLIENT_CONFIG, "checking a subscription");
        self.call(what, ExtFields::new(), body.encode(), soon()).await?.success().map(drop)
    }

    /// Takes a timed message back (370): its unique id.
    pub(crate) async fn recall(&self, header: &RecallMessage<'_>) -> Result<String> {
        let reply =
            self.call((code::RECALL_MESSAGE, "recalling a message"), header.to_ext(), Bytes::new(), soon()).await?;
        Ok(reply.success()?.read::<RecallReply<'_>>()?.msg_id.to_owned())
    }

    /// Stored messages by key or unique id (12); none when there are none.
    pub(crate) async fn query(&self, header: &QueryMessage<'_>, within: Duration) -> Result<Bytes> {
        let what = (code::QUERY_MESSAGE, "messages by key");
        let reply = self.call(what, header.to_ext(), Bytes::new(), Instant::now() + within).await?;
        let reply = reply.expect(&[Code::SUCCESS, Code::QUERY_NOT_FOUND])?;
        Ok(if reply.code == Code::SUCCESS { reply.body } else { Bytes::new() })
    }

    /// One stored message by its position (33).
    pub(crate) async fn view(&self, offset: i64) -> Result<Bytes> {
        let header = ViewMessage { offset, topic: None };
        let reply = self.call((code::VIEW_MESSAGE_BY_ID, "a message"), header.to_ext(), Bytes::new(), soon()).await?;
        Ok(reply.success()?.body)
    }

    /// Moves a group's offsets of a topic (222): the new ones by queue.
    pub(crate) async fn reset_offset(&self, header: &InvokeResetOffset<'_>) -> Result<ResetOffsetBody> {
        let what = (code::INVOKE_BROKER_TO_RESET_OFFSET, "moving offsets");
        let reply = self.call(what, header.to_ext(), Bytes::new(), soon() + ANSWER_TIMEOUT).await?.success()?;
        ResetOffsetBody::decode(&reply.body).map_err(|_| reply.bad("offsets that cannot be read"))
    }

    /// Asks for messages (11).
    pub(crate) async fn pull_messages(&self, spec: PullSpec) -> Result<RemotingPulled> {
        let deadline = Instant::now() + spec.wait + PULL_TIMEOUT_EXTRA;
        let encode = move |connection: &mut super::Connection| {
            let header = PullMessage {
                consumer_group: &spec.group,
                topic: &spec.queue.topic,
                queue_id: wire_id(&spec.queue),
                queue_offset: spec.offset,
                max_msg_nums: spec.count_max,
                sys_flag: spec.sys_flag,
                commit_offset: spec.commit_offset,
                suspend_timeout_millis: i64::try_from(spec.wait.as_millis()).unwrap_or(i64::MAX),
                subscription: spec.subscription.as_deref(),
                sub_version: spec.sub_version,
                expression_type: spec.expression_type,
                max_msg_bytes: spec.bytes_max,
                request_source: None,
                proxy_forward_client_id: None,
            };
            connection.pull(code::PULL_MESSAGE, &header)
        };
        let reply = self.exchange("a pull", deadline, encode).await?.expect(&PULL_CODES)?;
        Ok(RemotingPulled { code: reply.code, header: reply.read()?, messages: reply.body })
    }
}

/// The codes that answer a pull that was carried out.
const PULL_CODES: [Code; 4] =
    [Code::SUCCESS, Code::PULL_NOT_FOUND, Code::PULL_RETRY_IMMEDIATELY, Code::PULL_OFFSET_MOVED];

fn update_offset<'a>(group: &'a str, queue: &'a MessageQueue, offset: i64) -> UpdateConsumerOffset<'a> {
    let (topic, queue_id) = (&*queue.topic, wire_id(queue));
    UpdateConsumerOffset { consumer_group: group, topic, queue_id, commit_offset: offset }
}
