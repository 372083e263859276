//! What is pending, as the log says, and what is about to change.
//!
//! Halves of transactions are few and are asked for by origin: they are all in memory, and in snapshots ([`halves`]). Delayed
//! and timed messages may be many: the index by due time ([`due`]) keeps most of them on disk.
//!
//! [`PendingTable::apply_pending`] and [`PendingTable::apply_settled`] are the applied state: a pure function of the
//! confirmed records. Beside it stand two sets of what was appended and is not yet applied: who is *settling* is nobody's
//! any more, who is *moving* (a copy by retention, a check of a half message) keeps its place until the record is applied.
//! *Unreadable* ones are known to be damaged: they stay pending, and are no longer tried.
//!
//! [`halves`]: super::halves
//! [`due`]: super::due

use super::due::{DueIndex, DueKey, DueLimits};
use super::halves::Halves;
use super::record::{Pending, PendingKind, Settled};
use crate::disk::{Disk, DiskError};
use crate::mutant::{self, Mutant};
use crate::store::keys::EpochHolds;
use ringmq_proto::ids::{Epoch, LogPosition};
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
}

/// Messages for which something is under way, or nothing can be done.
#[derive(Debug, Default)]
pub(in crate::store) struct Aside {
    settling: BTreeSet<LogPosition>,
    moving: BTreeMap<LogPosition, u32>,
    unreadable: BTreeSet<LogPosition>,
}

impl Aside {
    /// Whether it is one of them.
    pub(super) fn holds(&self, origin: LogPosition) -> bool {
        self.settling.contains(&origin) || self.moving.contains_key(&origin) || self.unreadable.contains(&origin)
    }

    /// A record that says something new of it is applied.
    fn moved(&mut self, origin: LogPosition) {
        if let Some(count) = self.moving.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.moving.remove(&origin);
            }
        }
    }
}

/// All pending messages of a shard.
#[derive(Debug, Default)]
pub struct PendingTable {
    pub(in crate::store) halves: Halves,
    pub(in crate::store) later: DueIndex,
    aside: Aside,
}

impl PendingTable {
    /// What is on disk of this log; with `use_runs` false, nothing.
    ///
    /// # Errors
    /// When the disk fails to list or remove files.
    pub(in crate::store) fn open<D: Disk>(
        disk: &mut D,
        log_id: u128,
        limits: DueLimits,
        use_runs: bool,
    ) -> Result<Self, DiskError> {
        Ok(Self { later: DueIndex::open(disk, log_id, limits, use_runs)?, ..Self::default() })
    }

    /// The records up to `end`, where the log ends, were applied; what lies below `trim` is gone. False when files tell of
    /// another log than this.
    pub(in crate::store) fn begin(&mut self, end: LogPosition, trim: LogPosition, holds: EpochHolds<'_>) -> bool {
        self.later.begin(end, trim, holds)
    }

    /// The replay is over, and what was replayed is durable, up to an end in this epoch: whatever is done from now on may rest on it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(in crate::store) fn end_replay<D: Disk>(&mut self, disk: &mut D, epoch: Epoch) -> Result<(), DiskError> {
        self.later.end_replay(disk, epoch)
    }

    /// How many there are.
    pub fn counts(&self) -> PendingCounts {
        let later = self.later.totals();
        PendingCounts {
            delays: later.delays,
            timers: later.timers,
            halves: self.halves.count(),
            owed_bytes: later.owed_bytes + self.halves.owed_bytes(),
            unreadable: self.aside.unreadable.len() as u64,
        }
    }

    /// The half message, unless it is about to end.
    pub fn half(&self, origin: LogPosition) -> Option<&Pending> {
        self.halves.get(origin).filter(|_| !self.is_settling(origin))
    }

    /// A record that settles it was appended.
    pub(super) fn is_settling(&self, origin: LogPosition) -> bool {
        self.aside.settling.contains(&origin)
    }

    /// Adds those that are due at `now_ms` to `out`, the longest due first, `max` at most.
    pub fn due(&self, now_ms: u64, max: usize, out: &mut Vec<Pending>) {
        let now_ms = if mutant::active(Mutant::TimerDeliveredEarly) { now_ms.saturating_add(400) } else { now_ms };
        let before = out.len();
        self.later.due(now_ms, max, out);
        let later = out.len();
        self.halves.due(now_ms, max, out);
        if out.len() > later {
            out[before..].sort_by_key(DueKey::of);
            out.truncate(before + max);
        }
    }

    /// When the next one is due, of those for which nothing is under way.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.later.next_due_ms().into_iter().chain(self.halves.next_due_ms()).min()
    }

    /// Something that is not yet applied says where it lies, or when it is due.
    pub fn is_moving(&self, origin: LogPosition) -> bool {
        self.aside.moving.contains_key(&origin)
    }

    /// A record that settles a pending message was appended.
    pub(crate) fn note_settled(&mut self, settled: &Settled) {
        let half = settled.kind == PendingKind::Half;
        if mutant::active(if half { Mutant::HalfCommittedTwice } else { Mutant::TimerDeliveredTwice }) {
            return;
        }
        self.aside.settling.insert(settled.origin);
        if half {
            self.halves.set_aside(settled.origin);
        } else {
            self.later.set_aside(DueKey { due_ms: settled.due_ms, origin: settled.origin });
        }
    }

    /// A record that says something new of a pending message was appended.
    pub(crate) fn note_pending(&mut self, entry: &Pending) {
        let is_new = entry.checks == 0 && entry.position == entry.origin;
        if !is_new {
            *self.aside.moving.entry(entry.origin).or_default() += 1;
            self.set_aside(entry);
        }
    }

    fn set_aside(&mut self, entry: &Pending) {
        if entry.kind == PendingKind::Half {
            self.halves.set_aside(entry.origin);
        } else {
            self.later.set_aside(DueKey::of(entry));
        }
    }

    /// The message cannot be read: it is left alone from now on. False when that is known already.
    pub(super) fn note_unreadable(&mut self, entry: &Pending) -> bool {
        self.set_aside(entry);
        self.aside.unreadable.insert(entry.origin)
    }

    /// Applies a PENDING record that lies at `at`: the newest one of an origin counts.
    pub(crate) fn apply_pending(&mut self, at: LogPosition, entry: Pending) {
        self.aside.moved(entry.origin);
        if entry.kind == PendingKind::Half {
            self.halves.apply(entry, self.aside.holds(entry.origin));
        } else {
            self.later.apply_pending(at, entry, &self.aside);
        }
    }

    /// Applies a SETTLED record that lies at `at`.
    pub(crate) fn apply_settled(&mut self, at: LogPosition, settled: &Settled) {
        self.aside.settling.remove(&settled.origin);
        self.aside.unreadable.remove(&settled.origin);
        if settled.kind == PendingKind::Half {
            self.halves.forget(settled.origin);
        } else {
            self.later.apply_settled(at, settled);
        }
    }

    /// What is set aside, for who fills up what is near.
    pub(in crate::store) fn split(&mut self) -> (&mut DueIndex, &Aside) {
        (&mut self.later, &self.aside)
    }

    /// Forgets half messages that lie below a trim. Retention has copied what was pending then: they ended in a part of the log
    /// that is gone, and only a snapshot from before that says otherwise.
    pub(crate) fn forget_below(&mut self, trim: LogPosition) {
        self.halves.forget_below(trim);
    }

    /// A checksum of what is pending: all of halves, the names of the others.
    pub fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        self.halves.digest(&mut hasher);
        hasher.update(&self.later.totals().digest.to_le_bytes());
        hasher.finalize()
    }
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
            table.apply_pending(LogPosition::new(origin), entry(origin, due_ms, PendingKind::Delay));
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
        table.apply_pending(half.origin, half);
        table.apply_pending(LogPosition::new(32), entry(32, 10, PendingKind::Timer));
        let delivered = entry(32, 10, PendingKind::Timer).settled(SettledBy::Delivered);
        table.note_settled(&delivered);
        let later = Pending { due_ms: 50, checks: 1, ..half };
        table.note_pending(&later);
        assert_eq!(due(&table, 99), [0; 0]);
        assert_eq!(table.next_due_ms(), None);
        assert!(table.is_settling(LogPosition::new(32)) && table.half(LogPosition::new(16)).is_some());
        table.apply_pending(LogPosition::new(64), later);
        table.apply_settled(LogPosition::new(65), &delivered);
        assert_eq!((due(&table, 49), due(&table, 50)), (vec![], vec![16]));
        assert_eq!(table.counts(), PendingCounts { halves: 1, owed_bytes: 164, ..PendingCounts::default() });
    }

    #[test]
    fn records_of_halves_applied_again_change_nothing() {
        let mut once = PendingTable::default();
        let mut twice = PendingTable::default();
        let (half, gone) = (entry(16, 10, PendingKind::Half), entry(48, 5, PendingKind::Half));
        let apply = |table: &mut PendingTable| {
            table.apply_pending(half.origin, half);
            table.apply_pending(gone.origin, gone);
            table.apply_settled(LogPosition::new(64), &gone.settled(SettledBy::Delivered));
        };
        apply(&mut once);
        apply(&mut twice);
        apply(&mut twice);
        assert_eq!((once.digest(), once.counts()), (twice.digest(), twice.counts()));
    }
}
