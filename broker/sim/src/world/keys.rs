//! The key index held against the log: at the end of a history everything with a key is found by it, and nothing else is.
//!
//! On a copy of the disk, opened once more; half of the time a run of the index is taken away first, which must cost
//! nothing but time.

use super::World;
use crate::disk::SimDisk;
use crate::log;
use ringmq_broker::disk::{Directory, FileName};
use ringmq_broker::now::Now;
use ringmq_broker::store::{Entropy, KeyKind, KeyQuery, QueryOutcome, Store};
use ringmq_proto::ids::QueueId;
use ringmq_proto::message::properties::names;
use ringmq_proto::message::stored::StoredMessage;
use ringmq_proto::message::{Batch, Properties};
use ringmq_proto::record::{RecordKind, RecordView};
use std::collections::{BTreeMap, BTreeSet};

/// The key that clients give to some of their messages.
const KEY: &str = "k";

/// Rounds of waiting for a lost run to be made again: more than any history's log needs.
const ROUNDS_MAX: usize = 2_000;

/// Tries of one question: each waits for one load of the disk.
const TRIES_MAX: usize = 10_000;

/// How often a question is asked that finds a damaged run: once for each run, and more.
const ASKED_MAX: usize = 100;

/// Messages in one answer, at most.
const ANSWER_MESSAGES_MAX: usize = 64;

/// Positions of all retained messages that have the key, by topic.
type Keyed = BTreeMap<String, BTreeSet<u64>>;

impl World {
    /// Opens a copy of the disk and asks for all keyed messages of each topic.
    pub(super) fn compare_keys_with_the_log(&mut self) {
        if self.ledger.damaged {
            return;
        }
        let mut disk = self.machine.disk.copy(self.rng.fork());
        let runs = disk.files(Directory::Index).into_iter().map(|(file, _)| file);
        let runs: Vec<_> = runs.filter(|file| matches!(file, FileName::KeyRun(_))).collect();
        if self.rng.percent(50) && !runs.is_empty() {
            disk.lose(self.rng.pick(&runs));
        }
        let entropy = Entropy { log_id: self.log_id, disk_id: 1 };
        let outcome = match Store::open(&mut disk, self.machine.options.clone(), entropy, self.machine.now) {
            Ok((store, _)) => {
                let may_find_damage = self.ledger.derived_damaged;
                Asker { store, disk, now: self.machine.now, may_find_damage }.compare(self.log_id)
            }
            Err(error) => Err(format!("a copy cannot be opened: {error}")),
        };
        match outcome {
            Ok(()) => self.tally.comparisons += 1,
            Err(why) => self.ledger.wrong(|| format!("keys: {why}")),
        }
    }
}

struct Asker {
    store: Store,
    disk: SimDisk,
    now: Now,
    /// A bit of a derived file was flipped: a run may turn out to be damaged when it is first read.
    may_find_damage: bool,
}

impl Asker {
    fn compare(&mut self, log_id: u128) -> Result<(), String> {
        self.close_gaps()?;
        let topics: Vec<String> = self.store.state().topics_after("").map(|topic| topic.record.name.clone()).collect();
        let mut before = self.retained(log_id)?;
        for topic in topics {
            let found = self.ask_until_complete(&topic)?;
            // While it is asked, retention goes on: what it takes away meanwhile, or says again, is found or not.
            let after = self.retained(log_id)?;
            let none = BTreeSet::new();
            let (old, new) = (before.get(&topic).unwrap_or(&none), after.get(&topic).unwrap_or(&none));
            let oldest = if found.len() < ANSWER_MESSAGES_MAX { 0 } else { found.first().copied().unwrap_or(0) };
            let owed = old.intersection(new).filter(|position| **position >= oldest);
            let is_sorted = found.is_sorted_by(|left, right| left < right);
            let invented = found.iter().any(|position| !old.contains(position) && !new.contains(position));
            if !is_sorted || invented || owed.clone().any(|position| !found.contains(position)) {
                let owed: Vec<u64> = owed.copied().collect();
                return Err(format!("{topic}: found {found:?}, in the log {owed:?}"));
            }
            before = after;
        }
        Ok(())
    }

    /// Waits until all that the index has lost is made again.
    fn close_gaps(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            self.pass()?;
            if self.store.keys().gaps().next().is_none() {
                return Ok(());
            }
        }
        Err(format!("gaps stay: {:?}", self.store.keys().gaps().collect::<Vec<_>>()))
    }

    /// Positions of the messages of a topic that have the key. A run that turns out to be damaged makes the answer say that it may
    /// not be complete: then the question is asked again once the run is made anew.
    fn ask_until_complete(&mut self, topic: &str) -> Result<Vec<u64>, String> {
        for _ in 0..ASKED_MAX {
            let mut query = KeyQuery::new(topic, KEY, KeyKind::Word, 0..=u64::MAX, usize::MAX);
            match self.ask(&mut query)? {
                (found, None) => return Ok(found),
                (found, Some(why)) if !self.may_find_damage => {
                    return Err(format!("{topic}: found {found:?}, and nothing is damaged; {why}"));
                }
                (_, Some(_)) => self.close_gaps()?,
            }
        }
        Err(format!("{topic}: no answer is ever complete"))
    }

    /// Time passes, and what is asked of the disk is done.
    fn pass(&mut self) -> Result<(), String> {
        let mut ops = Vec::new();
        self.now.boot_ns += 5_000_000;
        self.now.wall_ms += 5;
        self.store.tick(self.now, &mut ops);
        loop {
            ops.drain(..).for_each(|op| self.disk.submit(op));
            let Some(completion) = self.disk.complete() else { return Ok(()) };
            self.store.on_disk(self.now, completion, &mut ops).map_err(|fatal| fatal.to_string())?;
        }
    }

    /// Positions of the messages that a question finds.
    fn ask(&mut self, query: &mut KeyQuery) -> Result<(Vec<u64>, Option<String>), String> {
        for _ in 0..TRIES_MAX {
            match self.store.query_key(query) {
                QueryOutcome::NotYet => self.pass()?,
                QueryOutcome::Found { messages, incomplete } => {
                    let position = |stored: &Vec<u8>| Some(StoredMessage::decode(stored).ok()?.parts.position.get());
                    return Ok((messages.iter().filter_map(position).collect(), incomplete));
                }
            }
        }
        Err("a question does not end".into())
    }

    /// What should be found now.
    fn retained(&self, log_id: u128) -> Result<Keyed, String> {
        let topics: BTreeMap<QueueId, &str> = self
            .store
            .state()
            .topics_after("")
            .flat_map(|topic| topic.queues.iter().map(|id| (*id, topic.record.name.as_str())))
            .collect();
        let (start, end) = (self.store.log_start(), self.store.positions().visible());
        let mut expected = Keyed::new();
        let visited = log::visit(&self.disk, log_id, end, &mut |position, record| {
            let Some(topic) = topics.get(&record.header.queue_id).filter(|_| position >= start) else { return };
            for distance in keyed(record) {
                expected.entry((*topic).into()).or_default().insert(position.get() + distance);
            }
        });
        visited.map(|()| expected).map_err(|unreadable| format!("the log cannot be read: {unreadable:?}"))
    }
}

/// Where in a record messages with the key begin.
fn keyed(record: &RecordView<'_>) -> Vec<u64> {
    let has_key = |properties: &[u8]| Properties::new(properties).get(names::KEYS) == Some(KEY.as_bytes());
    match record.header.kind {
        RecordKind::MESSAGE => {
            let stored = StoredMessage::decode(record.payload);
            stored.is_ok_and(|stored| has_key(stored.parts.properties)).then_some(0).into_iter().collect()
        }
        RecordKind::BATCH => Batch::decode(record.payload).map_or_else(
            |_| Vec::new(),
            |batch| {
                let entries = batch.entries().filter(|entry| has_key(entry.properties));
                entries.map(|entry| entry.record_offset as u64).collect()
            },
        ),
        _ => Vec::new(),
    }
}
