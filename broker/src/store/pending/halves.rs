//! First halves of transactions: all in memory, by origin and by due time.

use super::due::owed_bytes;
use super::record::Pending;
use ringmq_proto::ids::LogPosition;
use std::collections::{BTreeMap, BTreeSet};

/// The halves that are pending.
#[derive(Debug, Default)]
pub(in crate::store) struct Halves {
    by_origin: BTreeMap<LogPosition, Pending>,
    /// Those for which nothing is under way.
    by_due: BTreeSet<(u64, LogPosition)>,
    owed_bytes: u64,
}

impl Halves {
    pub(super) fn count(&self) -> u64 {
        self.by_origin.len() as u64
    }

    pub(super) fn owed_bytes(&self) -> u64 {
        self.owed_bytes
    }

    pub(super) fn get(&self, origin: LogPosition) -> Option<&Pending> {
        self.by_origin.get(&origin)
    }

    /// In the order of their origins, those behind `after` only.
    pub(in crate::store) fn after(&self, after: LogPosition) -> impl Iterator<Item = &Pending> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = if after == LogPosition::ZERO { Unbounded } else { Excluded(after) };
        self.by_origin.range((from, Unbounded)).map(|(_, entry)| entry)
    }

    /// Adds those that are due at `now_ms` to `out`, the longest due first, `max` at most.
    pub(super) fn due(&self, now_ms: u64, max: usize, out: &mut Vec<Pending>) {
        let ready = self.by_due.range(..(now_ms.saturating_add(1), LogPosition::ZERO));
        out.extend(ready.take(max).filter_map(|(_, origin)| self.by_origin.get(origin)).copied());
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.by_due.first().map(|(due_ms, _)| *due_ms)
    }

    /// It is not due, whatever the time, until its next record is applied.
    pub(super) fn set_aside(&mut self, origin: LogPosition) {
        if let Some(entry) = self.by_origin.get(&origin) {
            self.by_due.remove(&(entry.due_ms, origin));
        }
    }

    /// The newest record of a half.
    pub(super) fn apply(&mut self, entry: Pending, is_aside: bool) {
        self.forget(entry.origin);
        if !is_aside {
            self.by_due.insert((entry.due_ms, entry.origin));
        }
        self.owed_bytes += owed_bytes(entry.size_bytes);
        self.by_origin.insert(entry.origin, entry);
    }

    pub(super) fn forget(&mut self, origin: LogPosition) {
        let Some(entry) = self.by_origin.remove(&origin) else { return };
        self.by_due.remove(&(entry.due_ms, origin));
        self.owed_bytes -= owed_bytes(entry.size_bytes);
    }

    /// What lies below `trim` was settled in a part of the log that is gone.
    pub(super) fn forget_below(&mut self, trim: LogPosition) {
        let gone: Vec<_> = self.by_origin.values().filter(|entry| entry.position < trim).collect();
        let gone: Vec<_> = gone.into_iter().map(|entry| entry.origin).collect();
        gone.into_iter().for_each(|origin| self.forget(origin));
    }

    pub(super) fn digest(&self, hasher: &mut crc32fast::Hasher) {
        let mut bytes = Vec::new();
        for entry in self.by_origin.values() {
            bytes.clear();
            entry.encode(&mut bytes);
            hasher.update(&bytes);
        }
    }
}
