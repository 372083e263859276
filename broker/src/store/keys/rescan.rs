//! Gaps are scanned again: entries that were lost are made anew from the log, while the shard serves.
//!
//! One slice at a time ([`RESCAN_SLICE_BYTES`], every [`RESCAN_PACE_NS`]: at most about 64 MB/s of reads, below those that
//! clients wait for), through the shard's block cache. What was found becomes a run when there is enough of it, and the
//! gap is shorter by that; a crash loses at most the last of them. Where the disk fails to read, the scan waits and tries again
//! ([`RESCAN_RETRY_NS`]): a run must not say that nothing is there. What the log itself has lost is passed over: its messages
//! cannot be read anyhow, so nothing is missed. A commit whose header cannot be read costs the entries of all
//! its records; its place is found by looking at each aligned place for the next header of this log, and of the epoch
//! that this part of the log was written in: what an older incarnation left in the dead end of a segment is not taken.

use super::extract::entries_of;
use super::table::Table;
use super::{Flush, KeyIndex};
use crate::now::Now;
use crate::store::Store;
use crate::store::cache::SEGMENT_BLOCK_SIZE_BYTES;
use crate::store::format::{COMMIT_HEADER_SIZE_BYTES, CommitHeader, EpochStart};
use crate::store::read::{Bytes, Grain};
use ringmq_proto::ids::{Epoch, LogPosition};
use ringmq_proto::record::records;

/// Log bytes of one slice of a scan.
pub const RESCAN_SLICE_BYTES: u64 = 256 << 10;

/// Time between two slices, in nanoseconds.
pub const RESCAN_PACE_NS: u64 = 4_000_000;

/// Time until a place that the disk failed to read is tried again, in nanoseconds.
pub const RESCAN_RETRY_NS: u64 = 1_000_000_000;

/// Log bytes after which what was found is written, however little it is: a crash costs no more.
pub const RESCAN_RUN_BYTES: u64 = 1 << 30;

/// Places without a commit's header that one slice looks at.
const PROBES_MAX: u32 = 1024;

/// A scan that is going on.
pub(super) struct Rescan {
    /// Entries of the log from `start` to `at`.
    pub(super) table: Table,
    pub(super) start: LogPosition,
    pub(super) at: LogPosition,
    /// The end of the gap.
    pub(super) end: LogPosition,
}

/// What one step of a scan came to.
enum Step {
    On,
    NotYet,
    /// The disk fails: later.
    Failed,
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
        let gap = self.gaps().next()?;
        Some(Rescan { table: Table::default(), start: gap.start, at: gap.start, end: gap.end })
    }

    /// Whether enough was found to be written.
    fn is_ready(&self, rescan: &Rescan) -> bool {
        let scanned_bytes = rescan.at.get().saturating_sub(rescan.start.get());
        rescan.at >= rescan.end
            || rescan.table.len() >= self.limits.rescan_entry_count_max
            || scanned_bytes >= RESCAN_RUN_BYTES
    }

    /// Keeps a scan until its next slice; hands it to the disk when it is ready and the disk has nothing of ours to write.
    fn give_rescan(&mut self, rescan: Rescan, epochs: &[EpochStart]) {
        if self.is_ready(&rescan) && self.flush.is_none() {
            let Rescan { table, start, at, .. } = rescan;
            self.flush = Some(Flush::new(table, (start, at), epoch_at(epochs, at), true));
        } else {
            self.rescan = Some(rescan);
        }
    }
}

/// The epoch of the commit that a position lies in, as far as the table tells.
fn epoch_at(epochs: &[EpochStart], position: LogPosition) -> Epoch {
    let index = epochs.partition_point(|line| line.start <= position);
    index.checked_sub(1).map_or(Epoch::ZERO, |index| epochs[index].epoch)
}

impl Store {
    /// One slice of the scan of the first gap, if there is one and it is time. When to come again, if there is more to do.
    pub(in crate::store) fn rescan_keys(&mut self, now: Now, due_ns: Option<u64>) -> Option<u64> {
        if due_ns.is_some_and(|due_ns| now.boot_ns < due_ns) {
            return due_ns;
        }
        let mut rescan = self.keys.take_rescan()?;
        let slice_end = rescan.at.plus(RESCAN_SLICE_BYTES);
        let mut pace_ns = RESCAN_PACE_NS;
        for _ in 0..PROBES_MAX {
            if self.keys.is_ready(&rescan) || rescan.at >= slice_end {
                break;
            }
            match self.rescan_step(&mut rescan) {
                Step::On => {}
                Step::NotYet => break,
                Step::Failed => {
                    pace_ns = RESCAN_RETRY_NS;
                    break;
                }
            }
        }
        self.keys.give_rescan(rescan, self.commits.epochs());
        Some(now.boot_ns + pace_ns)
    }

    fn rescan_step(&mut self, rescan: &mut Rescan) -> Step {
        let at = rescan.at.max(self.keys.trimmed);
        let segment_size_bytes = self.segments.size_bytes();
        let next_segment = LogPosition::new((at.get() / segment_size_bytes + 1) * segment_size_bytes);
        let is_inside = self.segments.containing(at).is_some_and(|segment| at < segment.end);
        if !is_inside || at >= rescan.end {
            rescan.at = next_segment.min(rescan.end);
            return Step::On;
        }
        let mut bytes = Vec::new();
        let outcome = self.rescan_commit(at, &mut bytes);
        let next = match outcome {
            Ok(Some(end)) => {
                self.rescan_records(at, &bytes, rescan);
                end
            }
            Ok(None) => at.plus(self.commits.constants().alignment_bytes as u64),
            Err(Bytes::NotYet) => return Step::NotYet,
            Err(Bytes::Failed(_)) => {
                self.metrics.background_failures += 1;
                return Step::Failed;
            }
            Err(_) => {
                self.metrics.background_failures += 1;
                let block = SEGMENT_BLOCK_SIZE_BYTES as u64;
                LogPosition::new((at.get() / block + 1) * block)
            }
        };
        rescan.at = next.min(rescan.end);
        Step::On
    }

    /// The commit that starts here, and where it ends; nothing when none does. Its records are not checked yet.
    fn rescan_commit(&mut self, at: LogPosition, bytes: &mut Vec<u8>) -> Result<Option<LogPosition>, Bytes> {
        let end = self.segments.containing(at).map_or(at, |segment| segment.end);
        if end.since(at) < COMMIT_HEADER_SIZE_BYTES as u64 {
            return Ok(None);
        }
        self.ready_bytes(at, COMMIT_HEADER_SIZE_BYTES, Grain::Large, bytes)?;
        let decoded = CommitHeader::decode(bytes, self.identity.log_id, at);
        let Some((header, _)) = decoded.ok().filter(|(header, _)| header.end() <= end) else { return Ok(None) };
        if header.epoch != epoch_at(self.commits.epochs(), at) {
            return Ok(None);
        }
        self.ready_bytes(at, header.length as usize, Grain::Large, bytes)?;
        Ok(Some(header.end()))
    }

    pub(super) fn ready_bytes(
        &mut self,
        at: LogPosition,
        length: usize,
        grain: Grain,
        out: &mut Vec<u8>,
    ) -> Result<(), Bytes> {
        match self.cold_bytes(at, length, grain, out) {
            Bytes::Ready => Ok(()),
            other => Err(other),
        }
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
