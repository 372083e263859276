//! Questions to the key index: candidates newest first, each read and compared.
//!
//! A question keeps how far it has come, so that asking again goes on instead of beginning anew: it ends however small the
//! cache is. The sources (memory, the table that is being written, the runs) hold parts of the log one after another,
//! the newest first, so candidates come in falling order of their positions, and all above `below` is done.

use super::KeyIndex;
use super::entry::KeyEntry;
use super::extract::words;
use super::hash::KeyKind;
use super::run::Wanted;
use crate::mutant::{self, Mutant};
use crate::store::cache::{BlockCache, SMALL_BLOCK_SIZE_BYTES};
use crate::store::index::Cold;
use crate::store::limits::{
    KEY_QUERY_BYTES_MAX, KEY_QUERY_CANDIDATE_COUNT_MAX, KEY_QUERY_MESSAGE_COUNT_MAX, UNIQUE_KEY_QUERY_MESSAGE_COUNT_MAX,
};
use crate::store::read::{Bytes, Grain};
use crate::store::{Store, ViewOutcome};
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::properties::names;
use ringmq_proto::message::{Properties, StoredMessage};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, records};
use std::ops::RangeInclusive;

/// Candidates that are taken from a source at once.
const CANDIDATES_AT_ONCE: usize = 32;

/// A question for messages by their key, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    topic: Box<str>,
    key: Box<str>,
    kind: KeyKind,
    times_ms: RangeInclusive<u64>,
    messages_max: usize,
    /// What lies at or above is done.
    below: LogPosition,
    candidate_count: usize,
    /// In falling order of their positions.
    found: Vec<Vec<u8>>,
    found_bytes: usize,
    /// Why there may be more than was found.
    incomplete: Option<String>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryOutcome {
    /// It waits for the disk: ask again when [`Store::loads_completed`] has changed.
    NotYet,
    /// All that was found.
    Found {
        /// Messages in RocketMQ's stored layout, in the order of the log: the newest that were asked for.
        messages: Vec<Vec<u8>>,
        /// Why there may be others: one sentence.
        incomplete: Option<String>,
    },
}

impl KeyQuery {
    /// For messages of a topic that have this key, stored in this span (both ends included): the newest `messages_max`
    /// of them, but no more than the limit of its kind.
    pub fn new(topic: &str, key: &str, kind: KeyKind, times_ms: RangeInclusive<u64>, messages_max: usize) -> Self {
        let limit = match kind {
            KeyKind::Word => KEY_QUERY_MESSAGE_COUNT_MAX,
            KeyKind::Unique => UNIQUE_KEY_QUERY_MESSAGE_COUNT_MAX,
        };
        Self {
            topic: topic.into(),
            key: key.into(),
            kind,
            times_ms,
            messages_max: messages_max.min(limit),
            below: LogPosition::new(u64::MAX),
            candidate_count: 0,
            found: Vec::new(),
            found_bytes: 0,
            incomplete: None,
        }
    }

    /// Whether a message is of the topic and has the key.
    fn is_about(&self, stored: &[u8]) -> bool {
        let Ok(message) = StoredMessage::decode(stored) else { return false };
        let properties = Properties::new(message.parts.properties);
        let key = self.key.as_bytes();
        message.parts.topic == self.topic.as_bytes()
            && match self.kind {
                KeyKind::Word => words(properties).any(|word| word == key),
                KeyKind::Unique => properties.get(names::UNIQ_KEY) == Some(key),
            }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.messages_max || self.found_bytes >= KEY_QUERY_BYTES_MAX
    }

    fn take(&mut self, message: Vec<u8>) {
        if self.is_about(&message) {
            self.found_bytes += message.len();
            self.found.push(message);
        }
    }
}

impl KeyIndex {
    /// The next candidates of a question, newest first, from one source; none when all sources are done. `below` moves
    /// past the sources that hold none.
    ///
    /// # Errors
    /// [`Cold`]; nothing was given then.
    fn candidates(&self, cache: &mut BlockCache, wanted: &mut Wanted, out: &mut Vec<KeyEntry>) -> Result<(), Cold> {
        let flush = self.flush.as_ref().filter(|flush| !flush.is_rescan);
        let tables = [Some((&self.recent, self.recent_start)), flush.map(|flush| (&flush.table, flush.start))];
        for (table, start) in tables.into_iter().flatten().filter(|(table, _)| !table.is_empty()) {
            if start < wanted.below {
                let newest = table.newest(wanted.hash).skip_while(|entry| entry.position >= wanted.below);
                let newest = newest.take_while(|entry| entry.store_time_ms() >= wanted.begin_ms);
                out.extend(newest.filter(|entry| wanted.takes(entry)).take(CANDIDATES_AT_ONCE));
                if !out.is_empty() {
                    return Ok(());
                }
                wanted.below = wanted.below.min(start);
            }
        }
        for (number, run) in self.runs.iter().enumerate().rev() {
            if run.may_hold(wanted) && !run.damaged.get() {
                match run.newest(cache, wanted, CANDIDATES_AT_ONCE, out) {
                    Ok(_) if !out.is_empty() => return Ok(()),
                    Ok(_) => {}
                    Err(cold) => {
                        // One wait instead of one for each.
                        let older = self.runs[..number].iter().rev().filter(|run| run.may_hold(wanted));
                        older.for_each(|run| run.expect(cache, wanted.hash));
                        return Err(cold);
                    }
                }
                wanted.below = wanted.below.min(run.header.start);
            }
        }
        Ok(())
    }

    fn wanted(&self, query: &KeyQuery) -> Wanted {
        let topic = self.hasher.topic(query.topic.as_bytes());
        Wanted {
            hash: self.hasher.key(topic, query.kind, query.key.as_bytes()),
            below: query.below,
            begin_ms: *query.times_ms.start(),
            end_ms: *query.times_ms.end(),
        }
    }
}

impl Store {
    /// Answers a question, or goes on with it: after [`QueryOutcome::NotYet`] give the same one again. A question that was
    /// answered is used up.
    pub fn query_key(&mut self, query: &mut KeyQuery) -> QueryOutcome {
        let mut candidates = Vec::new();
        while !query.is_full() {
            if query.candidate_count >= KEY_QUERY_CANDIDATE_COUNT_MAX {
                query
                    .incomplete
                    .get_or_insert_with(|| "too many messages with this key: ask for a shorter time".into());
                break;
            }
            let mut wanted = self.keys.wanted(query);
            candidates.clear();
            let outcome = self.keys.candidates(&mut self.cache, &mut wanted, &mut candidates);
            query.below = wanted.below;
            match outcome {
                Ok(()) if candidates.is_empty() => break,
                Ok(()) => {}
                Err(Cold::NotYet) => return QueryOutcome::NotYet,
                // A damaged run is given up: the next try goes on without it, and says that something is missing.
                Err(Cold::Damaged(_)) => continue,
                Err(Cold::Failed(error)) => {
                    query.incomplete = Some(format!("the key index cannot be read ({error}): ask again"));
                    break;
                }
            }
            for entry in &candidates {
                if query.is_full() {
                    break;
                }
                match self.candidate(entry) {
                    ViewOutcome::NotYet => return QueryOutcome::NotYet,
                    ViewOutcome::Found(message) => query.take(message),
                    ViewOutcome::NotFound => {}
                    ViewOutcome::Damaged(why) => query.incomplete = Some(why),
                }
                query.below = entry.position;
                query.candidate_count += 1;
            }
        }
        let has_gap = self.keys.gaps().next().is_some();
        let missing = if self.keys.is_given_up() {
            "messages may be missing: a part of the log cannot be read to rebuild the key index (check the device)"
        } else {
            "the key index is being rebuilt from the log: ask again in some minutes"
        };
        let mut messages = std::mem::take(&mut query.found);
        messages.reverse();
        QueryOutcome::Found { messages, incomplete: query.incomplete.take().or(has_gap.then(|| missing.into())) }
    }

    /// The message that an entry tells of.
    fn candidate(&mut self, entry: &KeyEntry) -> ViewOutcome {
        let position = entry.position;
        let is_trimmed = position < self.log_start() && !mutant::active(Mutant::KeyServedBelowTrim);
        if is_trimmed || position >= self.positions.visible() {
            return ViewOutcome::NotFound;
        }
        if self.damaged.iter().any(|range| (range.from..range.to).contains(&position)) {
            return ViewOutcome::Damaged(format!("position {position} lies in a damaged part of the log"));
        }
        let Some(at) = entry.record() else { return self.message_at(position) };
        let mut record = std::mem::take(&mut self.scratch.record);
        let outcome = match self.candidate_record(at, &mut record) {
            Ok(()) => match records(&record).next() {
                Some(Ok(view)) => self.view_record(position, at, view),
                _ => ViewOutcome::NotFound,
            },
            Err(Bytes::Failed(why) | Bytes::Damaged(why)) => ViewOutcome::Damaged(why),
            Err(_) => ViewOutcome::NotYet,
        };
        self.scratch.record = record;
        outcome
    }

    /// The record at a position, checked.
    fn candidate_record(&mut self, at: LogPosition, record: &mut Vec<u8>) -> Result<(), Bytes> {
        self.ready_bytes(at, RECORD_HEADER_SIZE_BYTES, Grain::Small, record)?;
        let length = record.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        if !(RECORD_HEADER_SIZE_BYTES..=self.record_size_bytes_max()).contains(&length) {
            return Err(Bytes::Damaged(format!("the header of the record at {at} is damaged")));
        }
        let grain = if length > SMALL_BLOCK_SIZE_BYTES { Grain::Large } else { Grain::Small };
        self.ready_bytes(at, length, grain, record)?;
        match self.check_record(record, at) {
            Bytes::Ready => Ok(()),
            other => Err(other),
        }
    }
}
