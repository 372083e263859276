//! Offsets: those of groups, and where a queue begins, ends and was at a time.

use super::super::Shard;
use super::super::connection::Connection;
use super::super::request::{NO_QUEUE, Rejection, Response};
use super::super::topics::queue_count;
use super::super::waiting::What;
use super::{Call, Handled, Stop};
use crate::now::Now;
use crate::store::SearchOutcome;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::consumer::{GetOffset, QueryConsumerOffset, SearchOffset, UpdateConsumerOffset};

/// RocketMQ's permission to read.
pub(super) const PERM_READ: u32 = 4;

impl Shard {
    /// A queue of a topic by its number.
    pub(super) fn queue_by_number(&self, name: &str, number: i32) -> Result<QueueId, Rejection> {
        let topic = self.store.state().topic(name).ok_or_else(|| no_topic(name))?;
        let in_use = usize::try_from(queue_count(topic)).unwrap_or(usize::MAX);
        let index = usize::try_from(number).ok().filter(|index| *index < in_use);
        index.and_then(|index| topic.queues.get(index).copied()).ok_or_else(|| {
            let remark = format!(
                "queueId[{number}] is illegal, topic:[{}] has {} queues here",
                name.escape_default(),
                queue_count(topic)
            );
            Rejection::because(Code::INVALID_PARAMETER, remark)
        })
    }

    /// The same, if it may be read.
    pub(super) fn readable_queue(&self, name: &str, number: i32) -> Result<QueueId, Rejection> {
        let id = self.queue_by_number(name, number)?;
        match self.store.queue(id) {
            None => Err(NO_QUEUE),
            Some(queue) if u32::from(queue.perm) & PERM_READ == 0 => {
                let remark = format!("the topic[{name}] pulling message is forbidden");
                Err(Rejection::because(Code::NO_PERMISSION, remark))
            }
            Some(_) => Ok(id),
        }
    }

    pub(super) fn query_consumer_offset(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = QueryConsumerOffset::decode(&call.header.ext)?;
        let queue = self.queue_by_number(request.topic, request.queue_id)?;
        let known = self.store.consume_offset(request.consumer_group, queue).is_some()
            || self.coalesced.contains_key(&(Box::from(request.consumer_group), queue));
        if known || request.set_zero_if_not_found == Some(false) {
            self.query_offset(now, connection, call.token, queue, request.consumer_group);
            return Ok(());
        }
        // A group that is new to a young queue begins at its beginning, wherever it wanted to begin: RocketMQ's rule, so
        // that nothing is missed that was sent while its first consumer started.
        let young = match self.store.min_offset(queue) {
            SearchOutcome::NotYet => return Err(Stop::Load),
            SearchOutcome::Found(QueueOffset::ZERO) => match self.store.is_cold(queue, QueueOffset::ZERO) {
                SearchOutcome::NotYet => return Err(Stop::Load),
                cold => cold == SearchOutcome::Found(false),
            },
            _ => false,
        };
        if young {
            self.respond(connection, call.token, &Response::Offset(QueueOffset::ZERO));
            return Ok(());
        }
        Err(NEW_GROUP.into())
    }

    pub(super) fn update_consumer_offset(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
    ) -> Handled {
        let request = UpdateConsumerOffset::decode(&call.header.ext)?;
        let queue = self.queue_by_number(request.topic, request.queue_id)?;
        let Ok(offset) = u64::try_from(request.commit_offset) else {
            return Err(NEGATIVE_OFFSET.into());
        };
        let offset = QueueOffset::new(offset);
        if !self.resets.is_empty() && self.resets.contains_key(&(Box::from(request.consumer_group), queue)) {
            // A consumer that has not heard of the reset yet: what it commits is no longer wanted.
            self.respond(connection, call.token, &Response::Done);
            return Ok(());
        }
        self.commit_offset(now, connection, call.token, (queue, request.consumer_group, offset));
        Ok(())
    }

    pub(super) fn queue_ends(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetOffset::decode(&call.header.ext)?;
        let queue = self.queue_by_number(request.topic, request.queue_id)?;
        self.ask(now, connection, call.token, What::QueueState { queue });
        Ok(())
    }

    pub(super) fn search_by_time(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = SearchOffset::decode(&call.header.ext)?;
        let queue = self.queue_by_number(request.topic, request.queue_id)?;
        let store_time_ms = u64::try_from(request.timestamp).unwrap_or(0);
        let upper = request.boundary_type.is_some_and(|boundary| boundary.eq_ignore_ascii_case("UPPER"));
        self.ask(now, connection, call.token, What::Search { queue, store_time_ms, upper });
        Ok(())
    }
}

const NEW_GROUP: Rejection =
    Rejection::new(Code::QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
const NEGATIVE_OFFSET: Rejection =
    Rejection::new(Code::INVALID_PARAMETER, "an offset is 0 or more: commit one that was pulled");

/// No such topic, in RocketMQ's words.
pub(super) fn no_topic(name: &str) -> Rejection {
    let remark = format!("topic[{}] not exist, apply first please!", name.escape_default());
    Rejection::because(Code::TOPIC_NOT_EXIST, remark)
}
