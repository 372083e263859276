//! Gaps are scanned again: entries that were lost are made anew from the log, while the shard serves (`store::scan`).
//!
//! What was found becomes a run when there is enough of it, and the gap is shorter by that; a crash loses at most the last
//! of them. What the log itself has lost is passed over: its messages cannot be read anyhow, so nothing is missed. What the
//! disk fails to read, however often it is asked, stays a gap: questions say that something may be missing, and the next
//! start tries again.

use super::extract::entries_of;
use super::table::Table;
use super::{Flush, KeyIndex};
use crate::now::Now;
use crate::store::Store;
use crate::store::format::{COMMIT_HEADER_SIZE_BYTES, EpochStart};
use crate::store::scan::{PROBES_MAX, SCAN_PACE_NS, SCAN_RETRY_NS, SCAN_SLICE_BYTES, ScanPlace, Scanned, epoch_at};
use ringmq_proto::ids::{Epoch, LogPosition};
use ringmq_proto::record::records;
use std::ops::Range;

/// Log bytes after which what was found is written, however little it is: a crash costs no more.
pub const RESCAN_RUN_BYTES: u64 = 1 << 30;

/// A scan that is going on.
pub(super) struct Rescan {
    /// Entries of the log from `start` to `at`.
    pub(super) table: Table,
    pub(super) start: LogPosition,
    pub(super) place: ScanPlace,
    /// The end of the gap.
    pub(super) end: LogPosition,
    /// Behind what cannot be read at the place: the scan ends before it.
    pub(super) unreadable_to: Option<LogPosition>,
}

impl KeyIndex {
    /// The scan to carry on, or the one to begin.
    fn take_rescan(&mut self) -> Option<Rescan> {
        if self.rescan.is_some() {
            return self.rescan.take();
        }
        if self.suspended || self.flush.as_ref().is_some_and(|flush| flush.is_rescan) {
            return None;
        }
        let gap = self.next_gap()?;
        let place = ScanPlace::new(gap.start);
        Some(Rescan { table: Table::default(), start: gap.start, place, end: gap.end, unreadable_to: None })
    }

    /// The next part of a gap to scan: not what the disk fails to read.
    fn next_gap(&self) -> Option<Range<LogPosition>> {
        self.gaps().find_map(|gap| {
            let mut rest = gap;
            for part in &self.unreadable {
                if part.start <= rest.start {
                    rest.start = rest.start.max(part.end);
                } else {
                    rest.end = rest.end.min(part.start);
                }
            }
            (!rest.is_empty()).then_some(rest)
        })
    }

    /// Whether nothing but what the disk fails to read is missing.
    pub(super) fn is_given_up(&self) -> bool {
        !self.unreadable.is_empty() && self.next_gap().is_none()
    }

    /// What cannot be read stays a gap until the next start.
    fn give_up(&mut self, part: Range<LogPosition>) {
        self.unreadable.push(part);
        self.unreadable.sort_by_key(|part| part.start);
    }

    /// Whether enough was found to be written.
    fn is_ready(&self, rescan: &Rescan) -> bool {
        let scanned_bytes = rescan.place.at.get().saturating_sub(rescan.start.get());
        rescan.place.at >= rescan.end
            || rescan.unreadable_to.is_some()
            || rescan.table.len() >= self.limits.rescan_entry_count_max
            || scanned_bytes >= RESCAN_RUN_BYTES
    }

    /// Keeps a scan until its next slice; hands it to the disk when it is ready and the disk has nothing of ours to write.
    fn give_rescan(&mut self, rescan: Rescan, epochs: &[EpochStart]) {
        if !self.is_ready(&rescan) || self.flush.is_some() {
            self.rescan = Some(rescan);
            return;
        }
        let Rescan { table, start, place, unreadable_to, .. } = rescan;
        if let Some(to) = unreadable_to {
            self.give_up(place.at..to);
        }
        if start < place.at {
            let epoch = epoch_at(epochs, place.at).unwrap_or(Epoch::ZERO);
            self.flush = Some(Flush::new(table, (start, place.at), epoch, true));
        }
    }
}

impl Store {
    /// One slice of the scan of the first gap, if there is one and it is time. When to come again, if there is more to do.
    pub(in crate::store) fn rescan_keys(&mut self, now: Now, due_ns: Option<u64>) -> Option<u64> {
        if due_ns.is_some_and(|due_ns| now.boot_ns < due_ns) {
            return due_ns;
        }
        let mut rescan = self.keys.take_rescan()?;
        let slice_end = rescan.place.at.plus(SCAN_SLICE_BYTES);
        let mut pace_ns = SCAN_PACE_NS;
        let mut bytes = Vec::new();
        for _ in 0..PROBES_MAX {
            if self.keys.is_ready(&rescan) || rescan.place.at >= slice_end {
                break;
            }
            let trimmed = self.keys.trimmed;
            if rescan.place.at < trimmed {
                rescan.place.go_on(trimmed.min(rescan.end));
                continue;
            }
            let at = rescan.place.at;
            match self.scan_log(&mut rescan.place, &mut bytes) {
                Scanned::Commit(end) => {
                    self.rescan_records(at, &bytes, &mut rescan);
                    rescan.place.go_on(end.min(rescan.end));
                }
                Scanned::Nothing(next) | Scanned::Damaged(next) => rescan.place.go_on(next.min(rescan.end)),
                Scanned::Unreadable(next) => rescan.unreadable_to = Some(next.min(rescan.end)),
                Scanned::NotYet => break,
                Scanned::Failed => {
                    pace_ns = SCAN_RETRY_NS;
                    break;
                }
            }
        }
        self.keys.give_rescan(rescan, self.commits.epochs());
        Some(now.boot_ns + pace_ns)
    }

    fn rescan_records(&mut self, start: LogPosition, commit: &[u8], rescan: &mut Rescan) {
        let mut at = start.plus(COMMIT_HEADER_SIZE_BYTES as u64);
        for record in records(&commit[COMMIT_HEADER_SIZE_BYTES..]) {
            let Ok(record) = record else { return };
            if at >= rescan.start && record.is_whole(self.identity.log_id, at) {
                let queues = &self.state.queues;
                let topic_of = |queue| queues.get(queue).map(|queue| queues.topic_name(queue));
                let table = &mut rescan.table;
                // A batch of an unknown topic was deleted with it.
                let _deleted = entries_of(&self.keys.hasher, record, at, topic_of, |entry| table.push(entry));
            }
            at = at.plus(u64::from(record.header.length));
        }
    }
}
