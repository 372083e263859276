//! Heartbeats, groups and queue locks.

use super::super::Shard;
use super::super::clients::{Client, ConsumerNews, Subscription};
use super::super::connection::Connection;
use super::super::io::ConnectionId;
use super::super::names::check_group;
use super::super::request::Rejection;
use super::super::retry::retry_topic;
use super::{Call, Handled, Stop};
use crate::now::Now;
use crate::store::GroupConfig;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueId;
use ringmq_proto::remoting::consumer::{ConsumerList, GetConsumerList, LockBatchBody, LockBatchReply};
use ringmq_proto::remoting::heartbeat::{CheckClientRequestBody, HeartbeatData, HeartbeatReply, UnregisterClient};
use ringmq_proto::remoting::message_queue::MessageQueue;
use ringmq_proto::remoting::{ExtFields, ExtHeader};
use std::sync::Arc;

/// Queues of a group's retry topic on a shard: RocketMQ's default.
const RETRY_QUEUE_COUNT: u32 = 1;

impl Shard {
    pub(super) fn heart_beat(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let beat = HeartbeatData::decode(call.body())?;
        let client = Client {
            id: beat.client_id.as_str().into(),
            language: call.header.language,
            version: call.header.version,
            heard_ms: now.wall_ms,
        };
        for consumer in &beat.consumer_data_set {
            check_group(&consumer.group_name)?;
            self.prepare_group(now, &consumer.group_name)?;
        }
        for consumer in &beat.consumer_data_set {
            let subscriptions = consumer
                .subscription_data_set
                .iter()
                .map(|data| {
                    let filter = self.filter(&data.expression_type, &data.sub_string).map(Arc::new)?;
                    Ok(Subscription { data: data.clone(), filter })
                })
                .collect::<Result<Vec<_>, Rejection>>()?;
            let news = ConsumerNews {
                group: &consumer.group_name,
                consume_type: consumer.consume_type,
                message_model: consumer.message_model,
                consume_from: consumer.consume_from_where,
                subscriptions,
            };
            if self.clients.consumer(connection.id, &client, news)? {
                self.changed_groups.push(consumer.group_name.as_str().into());
            }
        }
        for producer in &beat.producer_data_set {
            check_group(&producer.group_name)?;
            self.clients.producer(connection.id, &client, &producer.group_name)?;
        }
        let reply = HeartbeatReply { is_support_heart_beat_v2: Some(false), is_sub_change: Some(true) };
        self.answer_with(connection, call.token, reply.to_ext(), &[]);
        Ok(())
    }

    pub(super) fn unregister_client(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = UnregisterClient::decode(&call.header.ext)?;
        if let Some(group) = request.producer_group {
            self.clients.producer_left(connection.id, group);
        }
        self.answer_with(connection, call.token, ExtFields::new(), &[]);
        if let Some(group) = request.consumer_group
            && self.clients.consumer_left(connection.id, group)
        {
            self.changed_groups.push(group.into());
        }
        Ok(())
    }

    /// A connection is gone: its groups hear of it, its locks are free.
    pub(in crate::shard) fn client_gone(&mut self, id: ConnectionId) {
        self.locks.closed(id);
        self.changed_groups.extend(self.clients.closed(id));
    }

    pub(super) fn consumer_list(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetConsumerList::decode(&call.header.ext)?;
        let Some(group) = self.clients.consumers_of(request.consumer_group) else {
            let remark = format!("no consumer for this group, {}", request.consumer_group.escape_default());
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
        let mut ids: Vec<_> = group.members.values().map(|client| client.id.to_string()).collect();
        ids.dedup();
        let body = ConsumerList { consumer_id_list: ids }.encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }

    pub(super) fn lock_queues(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = LockBatchBody::decode(call.body())?;
        check_group(&request.consumer_group)?;
        let mut locked = Vec::new();
        for queue in request.mq_set {
            let Some(id) = self.queue_of(&queue) else { continue };
            if self.locks.take(&request.consumer_group, id, &request.client_id, connection.id, now.boot_ns) {
                locked.push(queue);
            }
        }
        let body = LockBatchReply { lock_ok_mq_set: locked }.encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }

    pub(super) fn unlock_queues(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = LockBatchBody::decode(call.body())?;
        for queue in &request.mq_set {
            if let Some(id) = self.queue_of(queue) {
                self.locks.give_back(&request.consumer_group, id, &request.client_id);
            }
        }
        self.answer_with(connection, call.token, ExtFields::new(), &[]);
        Ok(())
    }

    /// A group lives here: its configuration and its retry topic exist from now on, and its consumers find the topic.
    fn prepare_group(&mut self, now: &Now, group: &str) -> Handled {
        if self.store.group(group).is_none() && self.settings.features.auto_create_groups {
            // Not answered before the next flush of anything: nobody is promised the group.
            let _applied_later = self.store.append_group_config(*now, group, GroupConfig::default())?;
        }
        let topic = retry_topic(group);
        match self.topic_on_its_way(now, &topic, RETRY_QUEUE_COUNT)? {
            Some(version) => Err(Stop::Topic(topic.into(), version)),
            None => Ok(()),
        }
    }

    fn queue_of(&self, queue: &MessageQueue) -> Option<QueueId> {
        let topic = self.store.state().topic(&queue.topic)?;
        topic.queues.get(usize::try_from(queue.queue_id).ok()?).copied()
    }

    pub(super) fn check_client_config(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = CheckClientRequestBody::decode(call.body())?;
        let data = request.subscription_data;
        self.filter(&data.expression_type, &data.sub_string)?;
        self.answer_with(connection, call.token, ExtFields::new(), &[]);
        Ok(())
    }
}
