//! Transactions: first halves that wait, their ends, and questions to producers that forgot them.
//!
//! A half message is pending (`store::pending`) under the position of its first copy, its *origin*, which its producer was
//! told and gives back with END_TRANSACTION, whatever retention has done since. A commit appends the real message and the
//! record that settles the half in one group; a rollback that record alone. A second end finds nothing and does nothing.
//!
//! A half that nobody ends becomes due: its producer group is asked ([`CheckBack`]), again and again, each time noted in the
//! log, until it was asked `transactionCheckMax` times; then it goes where operators find it.

use super::Shard;
use super::request::Rejection;
use super::schedule::{RealMessage, Step};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::pending::{Pending, PendingRead, SettledBy};
use crate::store::{AckMode, Appended, NewMessage};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::limits::PROPERTIES_SIZE_BYTES_MAX;
use ringmq_proto::message::StoredMessageParts;
use ringmq_proto::message::properties::{Properties, append_property, names};
use ringmq_proto::message::stored::sys_flag;
use ringmq_proto::remoting::topics;
use std::collections::VecDeque;

/// Check-backs that wait to be sent. When reached: the oldest is dropped, its producer is asked again later.
const CHECK_BACKS_MAX: usize = 4096;

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Commit,
    Rollback,
    /// The producer does not know yet.
    Unknown,
}

/// What a producer says of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndTransaction<'a> {
    /// RocketMQ's commitLogOffset: where the half was first stored.
    pub(super) origin: LogPosition,
    /// RocketMQ's tranStateTableOffset: the offset that the half got then.
    pub(super) half_offset: u64,
    /// The producer's group.
    pub(super) group: &'a str,
    pub(super) outcome: Outcome,
}

/// What came of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Appended, and acknowledged with this receive.
    Done,
    /// Nothing was to be done.
    Nothing,
    /// Nothing yet: the half is being read from disk. Again when a load has ended.
    Load,
}

/// A producer of `group` is to be asked about a half message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckBack {
    pub(super) group: String,
    /// RocketMQ's commitLogOffset.
    pub(super) origin: LogPosition,
    /// RocketMQ's tranStateTableOffset.
    pub(super) half_offset: u64,
    /// How often it was asked, with this one.
    pub(super) times: u64,
    pub(super) unique_key: Option<String>,
    /// Its real topic.
    pub(super) topic: String,
    /// The half, stored as it would be in its real queue.
    pub(super) message: Vec<u8>,
}

/// Questions under way.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    checks: VecDeque<CheckBack>,
}

/// Tells the group of a half message from others.
pub(super) fn group_proof(group: &str) -> u32 {
    crc32fast::hash(group.as_bytes())
}

const NOT_FOUND: Rejection = Rejection::new(Code::SYSTEM_ERROR, "Find prepared transaction message failed");
const OTHER_GROUP: Rejection = Rejection::new(Code::SYSTEM_ERROR, "The producer group wrong");
const OTHER_OFFSET: Rejection = Rejection::new(Code::SYSTEM_ERROR, "The transaction state table offset wrong");
const NO_TOPIC: Rejection = Rejection::new(
    Code::TOPIC_NOT_EXIST,
    "the topic of the transaction does not exist (any more): create it, and commit again",
);
const DAMAGED: Rejection =
    Rejection::new(Code::SYSTEM_ERROR, "the half message is damaged: restore it from a copy, or send it again");
impl Shard {
    /// How long a half message is left alone before its producer is asked, in ms.
    pub(super) fn check_immunity_ms(&self, properties: Properties<'_>) -> u64 {
        let seconds = properties.get_str(names::CHECK_IMMUNITY_TIME_IN_SECONDS).and_then(|text| text.parse().ok());
        seconds.map_or(self.settings.features.transaction_timeout_ms, |seconds: u64| seconds.saturating_mul(1000))
    }

    /// Ends a transaction. What is appended is acknowledged with this receive.
    ///
    /// # Errors
    /// 1 when nothing is pending there or somebody else's is; what the store refuses.
    pub(super) fn end_transaction(&mut self, now: &Now, end: &EndTransaction<'_>) -> Result<Ended, Rejection> {
        let entry = self.store.pending_half(end.origin).ok_or(NOT_FOUND)?;
        if entry.proof != group_proof(end.group) {
            return Err(OTHER_GROUP);
        }
        if entry.first_offset.get() != end.half_offset {
            return Err(OTHER_OFFSET);
        }
        match end.outcome {
            Outcome::Unknown => Ok(Ended::Nothing),
            Outcome::Rollback => {
                let appended = self.store.settle(&entry, SettledBy::Cancelled)?.ok_or(NOT_FOUND)?;
                self.drafts[AckMode::Promised as usize].add(&appended);
                Ok(Ended::Done)
            }
            Outcome::Commit => Ok(match self.commit_half(now, &entry)? {
                Some(appended) => {
                    self.drafts[AckMode::Promised as usize].add(&appended);
                    Ended::Done
                }
                None => Ended::Load,
            }),
        }
    }

    /// Commits a half; nothing when it has to be read from disk first.
    fn commit_half(&mut self, now: &Now, entry: &Pending) -> Result<Option<Appended>, Rejection> {
        let message = match self.store.pending_message(entry) {
            PendingRead::Found(message) => message,
            PendingRead::Damaged(_) => return Err(DAMAGED),
            PendingRead::Failed(why) => {
                return Err(Rejection::because(Code::SYSTEM_ERROR, format!("{why}: end it again")));
            }
            PendingRead::NotYet => return Ok(None),
        };
        let real = RealMessage::read(&message).ok_or(DAMAGED)?;
        let queue = self.real_queue(real.topic, real.number).ok_or(NO_TOPIC)?;
        let message = NewMessage {
            sys_flag: real.message.sys_flag & !sys_flag::TRANSACTION_MASK | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_position: entry.origin.get().cast_signed(),
            ..real.message
        };
        let message = (queue, &message);
        let settled = self.store.settle_with_message(*now, entry, SettledBy::Delivered, message, true)?;
        settled.map(Some).ok_or(NOT_FOUND)
    }

    /// A half message is due: its producer is asked once more, or it is given up.
    pub(super) fn check_half(&mut self, now: &Now, entry: &Pending, message: &[u8]) -> Step {
        let Some(real) = RealMessage::read(message) else { return Step::Refused };
        if u32::from(entry.checks) >= self.settings.features.transaction_check_max {
            return self.give_up(now, entry, &real);
        }
        let due_ms = now.wall_ms.saturating_add(self.settings.features.transaction_check_interval_ms);
        match self.store.postpone(entry.origin, due_ms) {
            Ok(None) => Step::Done(0),
            Ok(Some(_)) => {
                let checks = &mut self.schedule.transactions.checks;
                if checks.len() >= CHECK_BACKS_MAX {
                    checks.pop_front();
                }
                checks.push_back(check_back(entry, &real));
                Step::Done(message.len())
            }
            Err(_) => Step::Refused,
        }
    }

    fn give_up(&mut self, now: &Now, entry: &Pending, real: &RealMessage<'_>) -> Step {
        let Ok(Ok(queue)) = self.system_queue(now, topics::HALVES_GIVEN_UP, 0) else { return Step::Refused };
        let delivered = mutant::active(Mutant::GivenUpHalfDelivered);
        let queue = self.real_queue(real.topic, real.number).filter(|_| delivered).unwrap_or(queue);
        let message = (queue, &real.message);
        match self.store.settle_with_message(*now, entry, SettledBy::GivenUp, message, false) {
            Ok(_) => Step::Done(entry.size_bytes as usize),
            Err(_) => Step::Refused,
        }
    }

    /// The next producer to ask.
    pub(super) fn next_check(&mut self) -> Option<CheckBack> {
        self.schedule.transactions.checks.pop_front()
    }
}

/// The question about a half message, with the message as its producer knows it.
fn check_back(entry: &Pending, real: &RealMessage<'_>) -> CheckBack {
    let given = Properties::new(real.message.properties);
    let mut properties = given.as_bytes().to_vec();
    let times = (entry.checks + 1).to_string();
    append_property(&mut properties, names::TRANSACTION_CHECK_TIMES.as_bytes(), times.as_bytes());
    if properties.len() > PROPERTIES_SIZE_BYTES_MAX {
        properties.truncate(given.as_bytes().len());
    }
    let parts = StoredMessageParts {
        topic: real.topic.as_bytes(),
        queue_id: real.number.cast_signed(),
        queue_offset: entry.first_offset,
        position: entry.origin,
        properties: &properties,
        ..real.stored.parts
    };
    CheckBack {
        group: given.get_str(names::PGROUP).unwrap_or_default().into(),
        origin: entry.origin,
        half_offset: entry.first_offset.get(),
        times: u64::from(entry.checks) + 1,
        unique_key: given.get_str(names::UNIQ_KEY).map(Into::into),
        topic: real.topic.into(),
        message: parts.to_vec(),
    }
}
