//! Questions that change nothing: the ends of a queue, an offset by time, messages by position or key, topics.
//!
//! What lies on disk is loaded first: the question is parked and tried again when a load has ended.

use super::Shard;
use super::connection::Connection;
use super::io::Effects;
use super::limits::{LIST_TOPICS_MAX, WAIT_NS_MAX};
use super::request::{KeyedMessages, NO_QUEUE, Rejection, Response, TOO_MANY_WAITING, Token};
use super::topics::queue_count;
use super::waiting::{WaitId, What};
use crate::now::Now;
use crate::store::{KeyQuery, QueryOutcome, SearchOutcome, ViewOutcome};
use ringmq_proto::code::Code;
use ringmq_proto::native::{QueueStats, TopicInfo, TopicList, TopicStatsResult};

const NO_MESSAGE: Rejection = Rejection::new(
    Code::QUERY_NOT_FOUND,
    "no message starts at this position: it may have been removed by retention, or never existed",
);

/// RocketMQ's text.
const NO_KEYED_MESSAGE: Rejection =
    Rejection::new(Code::QUERY_NOT_FOUND, "can not find message, maybe time range not correct");

/// What came of a try.
enum Attempt {
    Answer(Response<'static>),
    Message(Vec<u8>),
    Rejected(Rejection),
    NotYet,
}

fn failed(remark: String) -> Attempt {
    Attempt::Rejected(Rejection::because(Code::SYSTEM_ERROR, remark))
}

impl<T> From<SearchOutcome<T>> for Result<T, Attempt> {
    fn from(outcome: SearchOutcome<T>) -> Self {
        match outcome {
            SearchOutcome::Found(found) => Ok(found),
            SearchOutcome::NotYet => Err(Attempt::NotYet),
            SearchOutcome::Gone => Err(Attempt::Rejected(NO_QUEUE)),
            SearchOutcome::Failed(remark) => Err(failed(remark)),
        }
    }
}

impl Shard {
    /// Answers a question now, or when the disk has.
    pub(super) fn ask(&mut self, now: &Now, connection: &mut Connection, token: Token, mut what: What) {
        match self.try_ask(&mut what) {
            Attempt::NotYet => match self.wait(now, connection, token, what, WAIT_NS_MAX) {
                Some(id) => self.park(id),
                None => self.reject(connection, token, &TOO_MANY_WAITING),
            },
            attempt => self.answer(connection, token, &attempt),
        }
    }

    /// Tries a parked question again.
    pub(super) fn retry_ask(&mut self, id: WaitId, fx: &mut Effects) {
        let Some(mut what) = self.waiting.get(id).map(|wait| wait.what.clone()) else { return };
        match self.try_ask(&mut what) {
            Attempt::NotYet => {
                if let Some(wait) = self.waiting.get_mut(id) {
                    wait.what = what;
                }
                self.park(id);
            }
            attempt => self.with_waiting(id, fx, |shard, connection, token, _, _| {
                shard.answer(connection, token, &attempt);
            }),
        }
    }

    fn answer(&mut self, connection: &mut Connection, token: Token, attempt: &Attempt) {
        match attempt {
            Attempt::Answer(response) => self.respond(connection, token, response),
            Attempt::Message(message) => self.respond(connection, token, &Response::Message(message)),
            Attempt::Rejected(rejection) => self.reject(connection, token, rejection),
            Attempt::NotYet => {}
        }
    }

    fn try_ask(&mut self, what: &mut What) -> Attempt {
        let result = match what {
            What::Key(query) => Ok(self.query_key(query)),
            What::Search { queue, store_time_ms, upper } => {
                let found: Result<_, Attempt> = self.store.search_offset(*queue, *store_time_ms, *upper).into();
                found.map(|offset| Attempt::Answer(Response::Offset(offset)))
            }
            What::QueueState { queue } => self.queue_state(*queue).map(Attempt::Answer),
            What::View { position } => Ok(match self.store.message_at(*position) {
                ViewOutcome::Found(message) => Attempt::Message(message),
                ViewOutcome::NotYet => Attempt::NotYet,
                ViewOutcome::NotFound => Attempt::Rejected(NO_MESSAGE),
                ViewOutcome::Damaged(remark) => failed(remark),
            }),
            What::Stats { topic } => self.topic_stats(topic).map(Attempt::Answer),
            What::Pull(..)
            | What::Frame(_)
            | What::Open { .. }
            | What::Topic
            | What::Question(_)
            | What::Handover { .. } => {
                unreachable!("{what:?} is no question")
            }
        };
        result.unwrap_or_else(|attempt| attempt)
    }

    /// What is missing from the index is told when nothing was found: it is not "no such message".
    fn query_key(&mut self, query: &mut KeyQuery) -> Attempt {
        match self.store.query_key(query) {
            QueryOutcome::NotYet => Attempt::NotYet,
            QueryOutcome::Found { messages, incomplete } => match incomplete {
                Some(why) if messages.is_empty() => failed(why),
                None if messages.is_empty() => Attempt::Rejected(NO_KEYED_MESSAGE),
                _ => Attempt::Answer(Response::Keyed(KeyedMessages {
                    bytes: messages.concat(),
                    indexed_to: self.store.positions().visible(),
                    indexed_to_ms: self.store.store_time_ms(),
                })),
            },
        }
    }

    fn queue_state(&mut self, id: ringmq_proto::ids::QueueId) -> Result<Response<'static>, Attempt> {
        let earliest: Option<u64> = Result::from(self.store.earliest_store_time(id))?;
        let min = Result::from(self.store.min_offset(id))?;
        let max = self.store.queue(id).ok_or(Attempt::Rejected(NO_QUEUE))?.visible_offset;
        Ok(Response::QueueState { min, max, earliest_store_time_ms: earliest.unwrap_or(0) })
    }

    fn topic_stats(&mut self, name: &str) -> Result<Response<'static>, Attempt> {
        let no_topic = || {
            let remark = format!("topic[{}] not exist here", name.escape_default());
            Attempt::Rejected(Rejection::because(Code::TOPIC_NOT_EXIST, remark))
        };
        let topic = self.store.state().topic(name).ok_or_else(no_topic)?;
        let in_use = usize::try_from(queue_count(topic)).unwrap_or(usize::MAX);
        let ids: Vec<_> = topic.queues.iter().copied().take(in_use).collect();
        let mut queues = Vec::with_capacity(ids.len());
        for (id, queue_id) in ids.into_iter().zip(0..) {
            let last: Option<u64> = Result::from(self.store.latest_store_time(id))?;
            let min_offset = Result::from(self.store.min_offset(id))?;
            let max_offset = self.store.queue(id).ok_or(Attempt::Rejected(NO_QUEUE))?.visible_offset;
            queues.push(QueueStats { queue_id, min_offset, max_offset, last_store_time_ms: last.unwrap_or(0) });
        }
        Ok(Response::TopicStats(TopicStatsResult { queues }))
    }

    pub(super) fn list_topics(&mut self, connection: &mut Connection, token: Token, after: &str, topics_max: u32) {
        let count_max = topics_max.clamp(1, LIST_TOPICS_MAX) as usize;
        let mut rest = self
            .store
            .state()
            .topics_after(after)
            .filter(|topic| !topic.record.deleted && !self.is_own_topic(&topic.record.name));
        let topics = rest.by_ref().take(count_max).map(|topic| TopicInfo {
            topic: &topic.record.name,
            queue_count: queue_count(topic),
            perm: topic.record.perm,
            ordered: topic.record.ordered,
            version: topic.record.version,
        });
        let topics: Vec<_> = topics.collect();
        let list = TopicList { topics, more: rest.next().is_some() };
        if !token.oneway {
            let response = Response::Topics(list);
            connection.output.append(&mut self.spare, |out| response.encode(out, token));
        }
    }
}
