//! A damaged run of the queue index is made again: the store goes through its part of the log (`store::scan`) and gives the
//! index the entries of what is there.
//!
//! What turns out to be damaged on the way was known to the index, and to nobody else: it is said in the log
//! ([`Store::say_damage`]) before the new run counts, so that a queue which begins in it is not taken for trimmed.

use super::format::COMMIT_HEADER_SIZE_BYTES;
use super::raw::index_entry;
use super::scan::{PROBES_MAX, SCAN_PACE_NS, SCAN_RETRY_NS, SCAN_SLICE_BYTES, ScanPlace, Scanned};
use super::state::records::StateRecord;
use super::{Role, Store};
use crate::now::Now;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::record::records;
use std::ops::Range;

/// How far the making of a run has come.
#[derive(Debug, Default)]
pub(super) struct IndexRebuild {
    place: Option<ScanPlace>,
    /// Where damage began that has not ended yet.
    damaged_from: Option<LogPosition>,
    /// Damage that could not be said yet.
    unsaid: Vec<Range<LogPosition>>,
    /// Behind the last record that says damage.
    said_to: LogPosition,
    due_ns: Option<u64>,
}

impl IndexRebuild {
    /// When the next slice is due.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }
}

impl Store {
    /// One slice of making a damaged run again, if there is one and it is time.
    pub(super) fn rebuild_index(&mut self, now: Now) {
        if self.index_rebuild.due_ns.is_some_and(|due_ns| now.boot_ns < due_ns) || self.background.is_closing() {
            return;
        }
        let mut rebuild = std::mem::take(&mut self.index_rebuild);
        rebuild.due_ns = None;
        match self.index.rebuild_wants() {
            Some((from, end)) => rebuild.due_ns = Some(now.boot_ns + self.rebuild_slice(&mut rebuild, from, end)),
            None => rebuild.place = None,
        }
        rebuild.unsaid.retain(|part| match self.say_damage(part.clone()) {
            Some(end) => {
                rebuild.said_to = rebuild.said_to.max(end);
                false
            }
            None => true,
        });
        if rebuild.unsaid.is_empty() && self.positions.durable() >= rebuild.said_to {
            self.index.rebuild_install();
        }
        self.index_rebuild = rebuild;
    }

    /// Looks through a slice of the log; the time to the next one.
    fn rebuild_slice(&mut self, rebuild: &mut IndexRebuild, from: LogPosition, end: LogPosition) -> u64 {
        let mut place = rebuild.place.take().filter(|place| place.at == from).unwrap_or_else(|| ScanPlace::new(from));
        let slice_end = place.at.plus(SCAN_SLICE_BYTES);
        let mut pace_ns = SCAN_PACE_NS;
        let mut bytes = Vec::new();
        for _ in 0..PROBES_MAX {
            if place.at >= end || place.at >= slice_end {
                break;
            }
            let at = place.at;
            match self.scan_log(&mut place, &mut bytes) {
                Scanned::Commit(next) => {
                    rebuild.damage_ends(at);
                    if let Some(damaged) = self.rebuild_records(at, &bytes, end) {
                        rebuild.unsaid.push(damaged..next);
                    }
                    place.go_on(next);
                }
                Scanned::Nothing(next) => {
                    rebuild.damage_ends(at);
                    place.go_on(next);
                }
                Scanned::Damaged(next) | Scanned::Unreadable(next) => {
                    rebuild.damaged_from.get_or_insert(at);
                    place.go_on(next);
                }
                Scanned::NotYet => break,
                Scanned::Failed => {
                    pace_ns = SCAN_RETRY_NS;
                    break;
                }
            }
        }
        if place.at >= end {
            rebuild.damage_ends(end);
        }
        self.index.rebuild_scanned(place.at);
        rebuild.place = Some(place);
        pace_ns
    }

    /// Gives the entries of a commit's records; from where on they are damaged, if they are.
    fn rebuild_records(&mut self, start: LogPosition, commit: &[u8], end: LogPosition) -> Option<LogPosition> {
        let mut at = start.plus(COMMIT_HEADER_SIZE_BYTES as u64);
        let mut damaged_from = None;
        for record in records(&commit[COMMIT_HEADER_SIZE_BYTES..]) {
            let Ok(record) = record else { return damaged_from.or(Some(at)) };
            let next = at.plus(u64::from(record.header.length));
            let is_sound = record.is_whole(self.identity.log_id, at);
            let entry = if is_sound { index_entry(record, at).ok().flatten() } else { None };
            let is_known = entry.is_some_and(|(queue, _)| self.state.queues.get(queue).is_some());
            let fits = match entry.filter(|_| is_known && at >= self.state.trim() && at < end) {
                Some((queue, entry)) => self.index.rebuild_add(queue, entry),
                None => true,
            };
            if !is_sound || !fits {
                damaged_from.get_or_insert(at);
            }
            at = next;
        }
        damaged_from
    }

    /// Says in the log that a part of it is damaged, unless that was said before; behind the record, if it was taken.
    pub(super) fn say_damage(&mut self, part: Range<LogPosition>) -> Option<LogPosition> {
        if part.is_empty() || self.state.knows_damage(&part) {
            return Some(LogPosition::ZERO);
        }
        if self.role != Role::Master {
            return None;
        }
        let record = StateRecord::Damage { from: part.start, to: part.end };
        self.append_state(&record, None).ok().map(|appended| appended.end)
    }
}

impl IndexRebuild {
    fn damage_ends(&mut self, at: LogPosition) {
        self.unsaid.extend(self.damaged_from.take().map(|from| from..at));
    }
}
