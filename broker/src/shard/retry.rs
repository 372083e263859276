//! Consumption that failed: the message goes to its group's retry topic after a delay, or to the group's dead letters.
//!
//! The delay rises with each attempt (RocketMQ's levels from the third on), unless the consumer names a level. What is
//! delivered again is a message of its own: it says which topic and which message it once was.

use super::Shard;
use super::request::Rejection;
use super::schedule::{Deferred, Taken, When};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::{AckMode, NewMessage, ViewOutcome};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::properties::{Properties, append_property, names};
use ringmq_proto::message::tag::tag_hash_of_properties;
use ringmq_proto::message::{OffsetId, StoredMessage};

/// The delay level of the first attempt after the original one: RocketMQ's 10 s.
const FIRST_LEVEL: i32 = 3;

/// Queues of a group's topic of dead letters.
pub(super) const DEAD_LETTER_QUEUE_COUNT: u32 = 1;

/// What the names of retry topics begin with.
pub(super) const RETRY_PREFIX: &str = "%RETRY%";

/// A message that a consumer could not consume.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendBack<'a> {
    /// Where it lies.
    pub(super) position: LogPosition,
    pub(super) group: &'a str,
    /// 0: by the number of attempts. Below 0: no more attempts.
    pub(super) delay_level: i32,
    /// Attempts before it is given up, when the consumer says it.
    pub(super) attempts_max: Option<i32>,
}

/// What became of it.
pub(super) enum SentBack {
    /// Appended, in this receive's draft.
    Done,
    /// Its bytes are being loaded: ask again.
    Load,
    /// This version of a topic must be applied first: ask again.
    Topic(Box<str>, u64),
}

/// Name of a group's retry topic.
pub(super) fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// Name of a group's topic of dead letters.
pub(super) fn dead_letter_topic(group: &str) -> String {
    format!("%DLQ%{group}")
}

impl Shard {
    /// Sends a message back for another attempt.
    ///
    /// # Errors
    /// 26 for an unknown group, 1 when the message is not there, what the store refuses.
    pub(super) fn send_back(&mut self, now: &Now, back: &SendBack<'_>) -> Result<SentBack, Rejection> {
        let Some(group) = self.store.group(back.group) else {
            let remark = format!("subscription group not exist, {}", back.group.escape_default());
            return Err(Rejection::because(Code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        let (attempts_max, queue_count) = (group.config.retry_times_max, group.config.retry_queue_count);
        let Some(queue_count) = u32::try_from(queue_count).ok().filter(|count| *count > 0) else {
            // The group wants no second attempts.
            return Ok(SentBack::Done);
        };
        let stored = match self.store.message_at(back.position) {
            ViewOutcome::Found(stored) => stored,
            ViewOutcome::NotYet => return Ok(SentBack::Load),
            ViewOutcome::NotFound => {
                let remark = format!("look message by offset failed, {}", back.position);
                return Err(Rejection::because(Code::SYSTEM_ERROR, remark));
            }
            ViewOutcome::Damaged(remark) => return Err(Rejection::because(Code::SYSTEM_ERROR, remark)),
        };
        let message = StoredMessage::decode(&stored)
            .map_err(|error| Rejection::because(Code::SYSTEM_ERROR, error.to_string()))?;
        let attempts = message.parts.reconsume_times;
        let given_up = back.delay_level < 0 || attempts >= back.attempts_max.unwrap_or(attempts_max);
        let (topic, queue_count) = match given_up {
            true => (dead_letter_topic(back.group), DEAD_LETTER_QUEUE_COUNT),
            false => (retry_topic(back.group), queue_count),
        };
        if let Some(version) = self.topic_on_its_way(now, &topic, queue_count)? {
            return Ok(SentBack::Topic(topic.into(), version));
        }
        let properties = self.retry_properties(&message);
        let parts = &message.parts;
        let again = NewMessage {
            flag: parts.flag,
            sys_flag: parts.sys_flag,
            born_time_ms: parts.born_time_ms,
            born_host: parts.born_host,
            reconsume_times: attempts + 1,
            prepared_transaction_position: 0,
            properties: &properties,
            body: parts.body,
            tag_hash: tag_hash_of_properties(&properties),
        };
        if given_up {
            let queue = self.store.state().topic(&topic).and_then(|topic| topic.queues.first().copied());
            let queue = queue.ok_or(super::request::NO_QUEUE)?;
            if mutant::active(Mutant::DeadLetterForgotten) {
                return Ok(SentBack::Done);
            }
            if mutant::active(Mutant::DeadLetterTwice) {
                let _once_more = self.store.append_message(*now, queue, &again)?;
            }
            let appended = self.store.append_message(*now, queue, &again)?;
            self.drafts[AckMode::Promised as usize].add(&appended);
            return Ok(SentBack::Done);
        }
        let level = if back.delay_level > 0 { back.delay_level } else { FIRST_LEVEL.saturating_add(attempts) };
        let count = self.settings.features.delay_levels.count();
        let level = u8::try_from(level).unwrap_or(count).clamp(1, count.max(1));
        if mutant::active(Mutant::SentBackForgotten) {
            return Ok(SentBack::Done);
        }
        let number = self.changes.choose_queue(queue_count);
        let deferred = Deferred { topic: &topic, number, producer_group: "", message: again };
        Ok(match self.defer(now, AckMode::Promised, When::Level(level), &deferred)? {
            Taken::Stored { .. } => SentBack::Done,
            Taken::AwaitTopic { name, version } => SentBack::Topic(name.into(), version),
        })
    }

    /// Whether a message that a consumer itself sends to its group's retry topic goes to the dead letters: after too many
    /// attempts, and at once for who consumes in order, since the queue has waited for the message long enough.
    ///
    /// # Errors
    /// 26 for an unknown group.
    pub(super) fn gives_up(
        &self,
        now: &Now,
        group: &str,
        attempts: Option<i32>,
        attempts_max: Option<i32>,
    ) -> Result<bool, Rejection> {
        let Some(record) = self.store.group(group) else {
            let remark = format!("subscription group not exist, {}", group.escape_default());
            return Err(Rejection::because(Code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        let attempts_max = attempts_max.unwrap_or(record.config.retry_times_max);
        Ok(attempts.unwrap_or(0) > attempts_max || self.locks.has_group(group, now.boot_ns))
    }

    /// What the message says of its past: its first topic and its first id stay through all attempts.
    fn retry_properties(&self, message: &StoredMessage<'_>) -> Vec<u8> {
        let given = Properties::new(message.parts.properties);
        let mut properties = Vec::with_capacity(given.as_bytes().len() + 96);
        let rewritten = [names::WAIT, names::DELAY, names::REAL_TOPIC, names::REAL_QID];
        given.append_without(&rewritten, &mut properties);
        if given.get(names::RETRY_TOPIC).is_none() {
            append_property(&mut properties, names::RETRY_TOPIC.as_bytes(), message.parts.topic);
        }
        if given.get(names::ORIGIN_MESSAGE_ID).is_none() {
            let id = OffsetId { store_host: message.parts.store_host, position: message.parts.position };
            append_property(&mut properties, names::ORIGIN_MESSAGE_ID.as_bytes(), id.to_string().as_bytes());
        }
        append_property(&mut properties, names::WAIT.as_bytes(), b"false");
        properties
    }
}
