//! What is soon due, and the walk through everything that is pending in the order of due times.

use super::scan::{Head, Scan};
use super::{DueIndex, DueKey, Table};
use crate::store::pending::record::Pending;
use crate::store::pending::table::Aside;

/// Steps of a walk in one slice: some hundred microseconds.
const WALK_STEPS: usize = 1364;

/// How far a slice of a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// Up to before this key; the next slice could go on at once.
    To(DueKey),
    /// Up to before this key; there it waits for the disk.
    NotYet(DueKey),
    /// Through.
    End,
}

impl DueIndex {
    /// Adds those that are due at `now_ms` to `out`, the longest due first, `max` at most.
    pub(in crate::store) fn due(&self, now_ms: u64, max: usize, out: &mut Vec<Pending>) {
        let end = DueKey::first_of(now_ms.saturating_add(1));
        out.extend(self.near.range(..end).take(max).map(|(_, entry)| *entry));
    }

    /// Adds those behind `after` that are due at `until_ms` or before to `out`, in order, `max` at most, as far as they are near.
    pub(in crate::store) fn due_behind(&self, after: DueKey, until_ms: u64, max: usize, out: &mut Vec<Pending>) {
        let (from, end) = (after.next(), DueKey::first_of(until_ms.saturating_add(1)));
        if from < end {
            out.extend(self.near.range(from..end).take(max).map(|(_, entry)| *entry));
        }
    }

    /// When the next one is due, as far as that is known.
    pub(in crate::store) fn next_due_ms(&self) -> Option<u64> {
        self.near.first_key_value().map(|(key, _)| key.due_ms)
    }

    /// Something is under way for this message: it is not due, whatever the time, until its next record is applied.
    pub(in crate::store) fn set_aside(&mut self, key: DueKey) {
        if self.near.remove(&key).is_some() {
            self.held.insert(key);
        }
    }

    /// Puts a message where it belongs in memory.
    pub(super) fn place(&mut self, entry: Pending, aside: &Aside) {
        let key = DueKey::of(&entry);
        self.held.remove(&key);
        if key >= self.horizon {
            return;
        }
        if aside.holds(entry.origin) {
            self.near.remove(&key);
            self.held.insert(key);
            return;
        }
        self.near.insert(key, entry);
        if self.near.len() > self.limits.near_entry_count_max {
            self.drop_near_scan();
            if let Some((last, _)) = self.near.pop_last() {
                self.horizon = last;
            }
        }
    }

    /// No message that is pending, as far as it was applied, is due before.
    pub(super) fn floor_ms(&self) -> u64 {
        if self.incomplete {
            return 0;
        }
        let first_pending =
            |table: &Table| table.iter().find(|(_, said)| said.is_some()).map_or(u64::MAX, |(key, _)| key.due_ms);
        let near = self.near.first_key_value().map_or(u64::MAX, |(key, _)| key.due_ms);
        let held = self.held.first().map_or(u64::MAX, |key| key.due_ms);
        let memory = first_pending(&self.recent).min(self.frozen().map_or(u64::MAX, first_pending));
        near.min(held).min(memory).min(self.horizon.due_ms)
    }

    pub(super) fn drop_near_scan(&mut self) {
        if let Some(scan) = self.near_scan.take() {
            self.garbage.orphan(scan.in_flight());
        }
    }

    /// One slice of filling what is near. True when there is more to do at once.
    pub(super) fn fill_near(&mut self, aside: &Aside) -> bool {
        let (count, max) = (self.near.len(), self.limits.near_entry_count_max);
        self.is_filling = count < max && (self.is_filling || 2 * count <= max);
        if !self.is_filling || self.horizon == DueKey::MAX || self.suspended {
            return false;
        }
        let mut scan = self.near_scan.take().unwrap_or_else(|| self.scan_from(self.horizon));
        let mut found = Vec::new();
        let walked = self.walk(&mut scan, self.horizon, max - count, &mut found);
        for entry in found {
            if aside.holds(entry.origin) {
                self.held.insert(DueKey::of(&entry));
            } else {
                self.near.insert(DueKey::of(&entry), entry);
            }
        }
        (self.horizon, self.near_scan) = match walked {
            Walked::To(key) | Walked::NotYet(key) => (key, Some(scan)),
            Walked::End => (DueKey::MAX, None),
        };
        matches!(walked, Walked::To(_)) && self.near.len() < max
    }

    /// A slice of steps from `from` on, where `scan` stands, through the newest words of runs and memory. Adds what is pending
    /// to `out`, up to `found_max`.
    pub(super) fn walk(&self, scan: &mut Scan, from: DueKey, found_max: usize, out: &mut Vec<Pending>) -> Walked {
        let none = Table::new();
        let mut recent = self.recent.range(from..).peekable();
        let mut frozen = self.frozen().unwrap_or(&none).range(from..).peekable();
        let mut at = from;
        for _ in 0..WALK_STEPS {
            if out.len() == found_max {
                break;
            }
            let on_disk = match scan.peek() {
                Head::NotYet => return Walked::NotYet(at),
                Head::End => None,
                Head::Entry(key, said) => Some((key, said)),
            };
            let keys =
                [on_disk.map(|(key, _)| key), frozen.peek().map(|(key, _)| **key), recent.peek().map(|(key, _)| **key)];
            let Some(key) = keys.into_iter().flatten().min() else { return Walked::End };
            let mut said = None;
            if let Some((_, newer)) = on_disk.filter(|(found, _)| *found == key) {
                said = newer;
                scan.pop();
            }
            if let Some((_, newer)) = frozen.next_if(|(found, _)| **found == key) {
                said = *newer;
            }
            if let Some((_, newer)) = recent.next_if(|(found, _)| **found == key) {
                said = *newer;
            }
            out.extend(said.filter(|entry| entry.position >= self.trimmed));
            at = key.next();
        }
        Walked::To(at)
    }
}
