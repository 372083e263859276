//! What is pending, as the log says, and what is about to change.
//!
//! [`PendingTable::apply_pending`] and [`PendingTable::apply_settled`] are the applied state: a pure function of the
//! confirmed records. Beside it stand two sets of what was appended and is not yet applied: who is *settling* is nobody's
//! any more, who is *moving* (a copy by retention, a check of a half message) keeps its place until the record is applied.
//! *Unreadable* ones are known to be damaged: they stay pending, and are no longer tried.

use super::record::{Pending, PendingKind, Settled};
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::LogPosition;
use std::collections::{BTreeMap, BTreeSet};

/// Counts of pending messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// At the end of a delay level.
    pub delays: u64,
    /// At a time of their own.
    pub timers: u64,
    /// Halves of transactions.
    pub halves: u64,
    /// Bytes of the log that retention has to say again for them.
    pub owed_bytes: u64,
    /// Of all, those that are damaged.
    pub unreadable: u64,
}

impl PendingCounts {
    /// All kinds.
    pub fn total(&self) -> u64 {
        self.delays + self.timers + self.halves
    }

    fn of(&mut self, kind: PendingKind) -> &mut u64 {
        match kind {
            PendingKind::Delay => &mut self.delays,
            PendingKind::Timer => &mut self.timers,
            PendingKind::Half => &mut self.halves,
        }
    }
}

/// All pending messages of a shard.
#[derive(Debug, Default)]
pub struct PendingTable {
    by_origin: BTreeMap<LogPosition, Pending>,
    /// Those for which nothing is under way.
    by_due: BTreeSet<(u64, LogPosition)>,
    counts: PendingCounts,
    settling: BTreeSet<LogPosition>,
    moving: BTreeMap<LogPosition, u32>,
    unreadable: BTreeSet<LogPosition>,
}

impl PendingTable {
    /// How many there are.
    pub fn counts(&self) -> PendingCounts {
        PendingCounts { unreadable: self.unreadable.len() as u64, ..self.counts }
    }

    /// The pending message, unless it is about to end.
    pub fn get(&self, origin: LogPosition) -> Option<&Pending> {
        let entry = self.by_origin.get(&origin)?;
        (!self.settling.contains(&origin)).then_some(entry)
    }

    /// Adds those that are due at `now_ms` to `out`, the longest due first, `max` at most.
    pub fn due(&self, now_ms: u64, max: usize, out: &mut Vec<Pending>) {
        let now_ms = if mutant::active(Mutant::TimerDeliveredEarly) { now_ms.saturating_add(400) } else { now_ms };
        let ready = self.by_due.range(..(now_ms.saturating_add(1), LogPosition::ZERO));
        out.extend(ready.take(max).filter_map(|(_, origin)| self.by_origin.get(origin)).copied());
    }

    /// When the next one is due, of those for which nothing is under way.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.by_due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Something that is not yet applied says where it lies, or when it is due.
    pub fn is_moving(&self, origin: LogPosition) -> bool {
        self.moving.contains_key(&origin)
    }

    /// Pending messages in the order of their origins, those behind `after` only.
    pub fn after(&self, after: LogPosition) -> impl Iterator<Item = &Pending> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = if after == LogPosition::ZERO { Unbounded } else { Excluded(after) };
        self.by_origin.range((from, Unbounded)).map(|(_, entry)| entry)
    }

    /// A record that settles a pending message was appended.
    pub(crate) fn note_settled(&mut self, settled: &Settled) {
        let half = settled.kind == PendingKind::Half;
        if mutant::active(if half { Mutant::HalfCommittedTwice } else { Mutant::TimerDeliveredTwice }) {
            return;
        }
        self.settling.insert(settled.origin);
        self.set_aside(settled.origin);
    }

    /// A record that says something new of a pending message was appended.
    pub(crate) fn note_pending(&mut self, entry: &Pending) {
        if self.by_origin.contains_key(&entry.origin) {
            *self.moving.entry(entry.origin).or_default() += 1;
            self.set_aside(entry.origin);
        }
    }

    /// It is not due, whatever the time, until its next record is applied.
    fn set_aside(&mut self, origin: LogPosition) {
        if let Some(entry) = self.by_origin.get(&origin) {
            self.by_due.remove(&(entry.due_ms, origin));
        }
    }

    /// The message cannot be read: it is left alone from now on. False when that is known already.
    pub(super) fn note_unreadable(&mut self, origin: LogPosition) -> bool {
        self.set_aside(origin);
        self.unreadable.insert(origin)
    }

    /// Applies a PENDING record: the newest one of an origin counts.
    pub(crate) fn apply_pending(&mut self, entry: Pending) {
        if let Some(count) = self.moving.get_mut(&entry.origin) {
            *count -= 1;
            if *count == 0 {
                self.moving.remove(&entry.origin);
            }
        }
        self.forget(entry.origin);
        if !self.settling.contains(&entry.origin) && !self.moving.contains_key(&entry.origin) {
            self.by_due.insert((entry.due_ms, entry.origin));
        }
        *self.counts.of(entry.kind) += 1;
        self.counts.owed_bytes += owed_bytes(&entry);
        self.by_origin.insert(entry.origin, entry);
    }

    /// Applies a SETTLED record.
    pub(crate) fn apply_settled(&mut self, settled: &Settled) {
        self.settling.remove(&settled.origin);
        self.unreadable.remove(&settled.origin);
        self.forget(settled.origin);
    }

    /// Forgets those that lie below a trim. Retention has copied what was pending then: they ended in a part of the log that is
    /// gone, and only a snapshot from before that says otherwise.
    pub(crate) fn forget_below(&mut self, trim: LogPosition) {
        if mutant::active(Mutant::SettledComesBack) {
            return;
        }
        let lie_below = self.by_origin.range(..trim).filter(|(_, entry)| entry.position < trim);
        let origins: Vec<LogPosition> = lie_below.map(|(origin, _)| *origin).collect();
        origins.into_iter().for_each(|origin| self.forget(origin));
    }

    fn forget(&mut self, origin: LogPosition) {
        let Some(entry) = self.by_origin.remove(&origin) else { return };
        self.by_due.remove(&(entry.due_ms, origin));
        *self.counts.of(entry.kind) -= 1;
        self.counts.owed_bytes -= owed_bytes(&entry);
    }

    /// A checksum of what is pending.
    pub fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let mut bytes = Vec::new();
        for entry in self.by_origin.values() {
            bytes.clear();
            entry.encode(&mut bytes);
            hasher.update(&bytes);
        }
        hasher.finalize()
    }
}

/// What retention appends when the segment of this message leaves.
fn owed_bytes(entry: &Pending) -> u64 {
    u64::from(entry.size_bytes) + super::record::PENDING_RECORD_SIZE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::super::record::SettledBy;
    use super::*;
    use ringmq_proto::ids::{QueueId, QueueOffset};

    fn entry(origin: u64, due_ms: u64, kind: PendingKind) -> Pending {
        Pending {
            origin: LogPosition::new(origin),
            position: LogPosition::new(origin),
            size_bytes: 100,
            queue: QueueId::new(1),
            first_offset: QueueOffset::ZERO,
            due_ms,
            kind,
            checks: 0,
            proof: 0,
        }
    }

    fn due(table: &PendingTable, now_ms: u64) -> Vec<u64> {
        let mut out = Vec::new();
        table.due(now_ms, 10, &mut out);
        out.iter().map(|entry| entry.origin.get()).collect()
    }

    #[test]
    fn messages_are_due_in_the_order_of_their_times_and_never_before() {
        let mut table = PendingTable::default();
        for (origin, due_ms) in [(16, 30), (32, 10), (48, 20), (64, 10)] {
            table.apply_pending(entry(origin, due_ms, PendingKind::Delay));
        }
        assert_eq!(due(&table, 9), [0; 0]);
        assert_eq!(due(&table, 10), [32, 64]);
        assert_eq!(due(&table, 29), [32, 64, 48]);
        assert_eq!(table.next_due_ms(), Some(10));
        assert_eq!(table.counts().delays, 4);
    }

    #[test]
    fn what_is_settling_is_nobodys_and_what_moves_waits_for_its_record() {
        let mut table = PendingTable::default();
        let half = entry(16, 10, PendingKind::Half);
        table.apply_pending(half);
        table.apply_pending(entry(32, 10, PendingKind::Timer));
        let delivered = entry(32, 10, PendingKind::Timer).settled(SettledBy::Delivered);
        table.note_settled(&delivered);
        let later = Pending { due_ms: 50, checks: 1, ..half };
        table.note_pending(&later);
        assert_eq!(due(&table, 99), [0; 0]);
        assert_eq!(table.next_due_ms(), None);
        assert!(table.get(LogPosition::new(32)).is_none() && table.get(LogPosition::new(16)).is_some());
        table.apply_pending(later);
        table.apply_settled(&delivered);
        assert_eq!((due(&table, 49), due(&table, 50)), (vec![], vec![16]));
        assert_eq!(table.counts(), PendingCounts { halves: 1, owed_bytes: 164, ..PendingCounts::default() });
    }

    #[test]
    fn records_applied_again_change_nothing() {
        let mut once = PendingTable::default();
        let mut twice = PendingTable::default();
        let gone = entry(48, 5, PendingKind::Timer);
        for table in [&mut once, &mut twice] {
            table.apply_pending(entry(16, 10, PendingKind::Delay));
            table.apply_pending(gone);
            table.apply_settled(&gone.settled(SettledBy::Delivered));
        }
        twice.apply_pending(entry(16, 10, PendingKind::Delay));
        twice.apply_pending(gone);
        twice.apply_settled(&gone.settled(SettledBy::Delivered));
        assert_eq!((once.digest(), once.counts()), (twice.digest(), twice.counts()));
    }
}
