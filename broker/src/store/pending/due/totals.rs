//! How much is pending in all: kept as records come, and in the header of each run, since nobody can count the runs.

use super::entry::DueKey;
use crate::store::pending::record::{PENDING_RECORD_SIZE_BYTES, Pending, PendingKind, Settled};

/// Sums over all delayed and timed messages that are pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Totals {
    pub(in crate::store) delays: u64,
    pub(in crate::store) timers: u64,
    /// What retention appends when all their segments leave.
    pub(in crate::store) owed_bytes: u64,
    /// Sum of a hash of each name.
    pub(in crate::store) digest: u64,
}

impl Totals {
    /// A message is pending that was not.
    pub(super) fn add(&mut self, entry: &Pending) {
        *self.of(entry.kind) += 1;
        self.owed_bytes += owed_bytes(entry.size_bytes);
        self.digest = self.digest.wrapping_add(hash(DueKey::of(entry), entry.kind));
    }

    /// A message that was pending is settled. Where damage has hidden how it began, the counts do not fall below 0.
    pub(super) fn take(&mut self, settled: &Settled) {
        let count = self.of(settled.kind);
        *count = count.saturating_sub(1);
        self.owed_bytes = self.owed_bytes.saturating_sub(owed_bytes(settled.size_bytes));
        self.digest = self.digest.wrapping_sub(hash(DueKey::of_settled(settled), settled.kind));
    }

    fn of(&mut self, kind: PendingKind) -> &mut u64 {
        match kind {
            PendingKind::Delay => &mut self.delays,
            PendingKind::Timer => &mut self.timers,
            PendingKind::Half => unreachable!("half messages are not in the index by due time"),
        }
    }
}

/// Bytes that retention appends for a message whose record has so many.
pub(in crate::store::pending) fn owed_bytes(size_bytes: u32) -> u64 {
    u64::from(size_bytes) + PENDING_RECORD_SIZE_BYTES as u64
}

fn hash(key: DueKey, kind: PendingKind) -> u64 {
    let mut mixed = key.origin.get().wrapping_add(u64::from(kind.number()) << 56);
    for word in [key.due_ms, 0x9e37_79b9_7f4a_7c15] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).wrapping_add(word);
    }
    mixed ^ (mixed >> 31)
}
