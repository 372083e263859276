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
use std::collections::BTreeMap;

/// The key that clients give to some of their messages.
const KEY: &str = "k";

/// Rounds of waiting for a lost run to be made again: more than any history's log needs.
const ROUNDS_MAX: usize = 2_000;

/// Tries of one question: each waits for one load of the disk.
const TRIES_MAX: usize = 10_000;

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
            Ok((store, _)) => Asker { store, disk, now: self.machine.now }.compare(self.log_id),
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
}

impl Asker {
    fn compare(&mut self, log_id: u128) -> Result<(), String> {
        for round in 0.. {
            self.pass()?;
            if self.store.keys().gaps().next().is_none() {
                break;
            }
            if round == ROUNDS_MAX {
                return Err(format!("gaps stay: {:?}", self.store.keys().gaps().collect::<Vec<_>>()));
            }
        }
        let topics: Vec<String> = self.store.state().topics_after("").map(|topic| topic.record.name.clone()).collect();
        let expected = self.expected(log_id)?;
        for topic in topics {
            let all = expected.get(&topic).map_or(&[][..], Vec::as_slice);
            let mut query = KeyQuery::new(&topic, KEY, KeyKind::Word, 0..=u64::MAX, usize::MAX);
            let (found, incomplete) = self.ask(&mut query)?;
            // The newest, as many as one answer holds.
            let newest = &all[all.len() - all.len().min(64)..];
            if found != newest || incomplete.is_some() {
                return Err(format!("{topic}: found {found:?}, in the log {newest:?}; {incomplete:?}"));
            }
        }
        Ok(())
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

    /// Positions of all retained messages that have the key, by topic, in order.
    fn expected(&self, log_id: u128) -> Result<BTreeMap<String, Vec<u64>>, String> {
        let topics: BTreeMap<QueueId, &str> = self
            .store
            .state()
            .topics_after("")
            .flat_map(|topic| topic.queues.iter().map(|id| (*id, topic.record.name.as_str())))
            .collect();
        let (start, end) = (self.store.log_start(), self.store.positions().visible());
        let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let visited = log::visit(&self.disk, log_id, end, &mut |position, record| {
            let Some(topic) = topics.get(&record.header.queue_id).filter(|_| position >= start) else { return };
            for distance in keyed(record) {
                expected.entry((*topic).into()).or_default().push(position.get() + distance);
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
