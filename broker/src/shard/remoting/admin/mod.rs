//! What administrators ask: mqadmin, the dashboard, and programs that use their library.
//!
//! Answers tell what is so. What RocketMQ's brokers have and this one has not (a consume queue file to clean, say) is
//! answered as done, since there is nothing to do; what cannot be told is answered with code 3, as an unknown request is.

mod clients;
mod counters;
mod groups;
mod offsets;
mod progress;
mod queue_entries;
mod replicas;
mod runtime;
mod settings;
mod topics;

use super::super::Shard;
use super::super::connection::Connection;
use super::super::io::Effects;
use super::super::request::Rejection;
use super::{Call, Handled, Stop};
use crate::now::Now;
use crate::store::SearchOutcome;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueId;
use ringmq_proto::remoting::message_queue::MessageQueue;
use ringmq_proto::remoting::{ExtFields, request_code as code};

impl Shard {
    /// Carries out a request of an administrator; nothing for other codes.
    pub(super) fn administrate(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Option<Handled> {
        Some(match call.token.code {
            code::UPDATE_AND_CREATE_TOPIC => self.update_topic(now, connection, call),
            code::UPDATE_AND_CREATE_TOPIC_LIST => self.update_topics(now, connection, call),
            code::DELETE_TOPIC_IN_BROKER => self.remove_topic(now, connection, call),
            code::GET_ALL_TOPIC_CONFIG => self.all_topics(connection, call),
            code::GET_TOPIC_CONFIG => self.one_topic(connection, call),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.update_group(now, connection, call),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.update_groups(now, connection, call),
            code::DELETE_SUBSCRIPTIONGROUP => self.remove_group(now, connection, call),
            code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_groups(connection, call),
            code::GET_SUBSCRIPTIONGROUP_CONFIG => self.one_group(connection, call),
            code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.system_topics(connection, call),
            code::GET_TOPIC_STATS_INFO => self.topic_progress(connection, call),
            code::GET_CONSUME_STATS => self.group_progress(connection, call),
            code::QUERY_CONSUME_TIME_SPAN => self.time_spans(connection, call),
            code::GET_CONSUMER_CONNECTION_LIST => self.consumer_connections(connection, call),
            code::GET_PRODUCER_CONNECTION_LIST => self.producer_connections(connection, call),
            code::GET_ALL_PRODUCER_INFO => self.all_producers(connection, call),
            code::QUERY_TOPIC_CONSUME_BY_WHO => self.groups_of(connection, call),
            code::QUERY_TOPICS_BY_CONSUMER => self.topics_of(connection, call),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => self.subscription_of(connection, call),
            code::GET_BROKER_RUNTIME_INFO => self.runtime_info(now, connection, call),
            code::GET_BROKER_CONFIG => self.broker_config(connection, call),
            code::UPDATE_BROKER_CONFIG => self.update_broker_config(connection, call, fx),
            code::GET_BROKER_HA_STATUS => self.replicas(connection, call),
            code::GET_BROKER_CONSUME_STATS => self.all_progress(connection, call),
            code::QUERY_CONSUME_QUEUE => self.queue_entries(connection, call),
            code::VIEW_BROKER_STATS_DATA => self.counters(now, connection, call),
            code::RESUME_CHECK_HALF_MESSAGE => self.resume_check(now, connection, call),
            code::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offsets(now, connection, call, fx),
            code::CLONE_GROUP_OFFSET => self.clone_offsets(now, connection, call),
            code::CLEAN_EXPIRED_CONSUMEQUEUE | code::CLEAN_UNUSED_TOPIC | code::DELETE_EXPIRED_COMMITLOG => {
                self.answer_with(connection, call.token, ExtFields::new(), &[]);
                Ok(())
            }
            _ => return None,
        })
    }

    /// How a queue of this shard is named in bodies.
    fn message_queue(&self, topic: &str, number: u32) -> MessageQueue {
        let broker_name = self.settings.broker_name.clone();
        MessageQueue { broker_name, queue_id: number.cast_signed(), topic: topic.to_owned() }
    }

    /// The queues of a topic that are in use, by number.
    fn queues_of(&self, name: &str) -> Option<Vec<QueueId>> {
        let topic = self.store.state().topic(name)?;
        let in_use = super::super::topics::queue_count(topic) as usize;
        Some(topic.queues.iter().copied().take(in_use).collect())
    }
}

/// What a search found; a queue that is gone meanwhile has nothing.
fn found<T: Default>(outcome: SearchOutcome<T>) -> Result<T, Stop> {
    match outcome {
        SearchOutcome::Found(found) => Ok(found),
        SearchOutcome::Gone => Ok(T::default()),
        SearchOutcome::NotYet => Err(Stop::Load),
        SearchOutcome::Failed(remark) => Err(Rejection::because(Code::SYSTEM_ERROR, remark).into()),
    }
}
