//! Opening: the runs with a sound header, and nothing else.
//!
//! 1. List the directory; read each run's header and fences. What does not check is removed: its part of the log is a gap.
//! 2. A run inside another's part of the log was merged into it: removed.
//! 3. When the walk through the log is over ([`KeyIndex::begin`]): runs of a part that the log does not have are removed.

use super::run::{BLOCK_FENCE_COUNT, FENCE_SIZE_BYTES, HEADER_SIZE_BYTES, Run, RunHeader};
use super::{EpochHolds, KeyIndex, KeyLimits};
use crate::disk::{Directory, Disk, DiskError, FileName};
use crate::store::index::block::{self, Kind, Label};
use crate::store::runs::{read_block, read_items, remove_files};
use ringmq_proto::ids::LogPosition;
use std::cell::Cell;
use std::rc::Rc;

impl KeyIndex {
    /// Opens what is there of this log; with `use_runs` false, nothing. Afterwards the store adds the records from
    /// [`KeyIndex::covered`] on, and calls [`KeyIndex::begin`].
    ///
    /// # Errors
    /// Only when the disk fails to list or remove: files that do not check or cannot be read are ignored.
    pub fn open<D: Disk>(disk: &mut D, log_id: u128, limits: KeyLimits, use_runs: bool) -> Result<Self, DiskError> {
        let mut index = Self::new(log_id, disk.pool(), limits);
        let mut runs: Vec<Run> = Vec::new();
        let mut leftovers = Vec::new();
        for (file, size_bytes) in disk.list(Directory::Index)? {
            let FileName::KeyRun(number) = file else { continue };
            index.run_number_next = index.run_number_next.max(number.saturating_add(1));
            match read_run(disk, log_id, number, size_bytes).filter(|_| use_runs) {
                Some(run) => runs.push(run),
                None => leftovers.push(file),
            }
        }
        // The longest of those with one start first: whatever lies inside another comes behind it.
        runs.sort_by_key(|run| (run.header.start, std::cmp::Reverse((run.header.end, run.header.number))));
        let mut kept: Vec<Rc<Run>> = Vec::new();
        for run in runs {
            if kept.iter().any(|other| run.header.is_inside(&other.header)) {
                leftovers.push(run.header.file());
            } else {
                kept.push(Rc::new(run));
            }
        }
        index.runs = kept;
        index.recent_start = index.runs.iter().map(|run| run.header.end).max().unwrap_or(LogPosition::ZERO);
        remove_files(disk, &leftovers)?;
        Ok(index)
    }

    /// The records from `from` to `end`, where the log ends, were added. `missed`: not all of them, and what lies between is
    /// to be scanned again. Runs that tell of another log than this are given up; `holds` knows its epochs.
    pub(in crate::store) fn begin(&mut self, from: LogPosition, end: LogPosition, missed: bool, holds: EpochHolds<'_>) {
        for run in &self.runs {
            let header = &run.header;
            if header.end > end || !holds(header.end, header.epoch) {
                run.damaged.set(true);
            }
        }
        self.recent_start = self.recent_start.max(from);
        if missed || self.recent_start > end {
            self.recent = super::Table::default();
            self.recent_start = end;
        }
        self.applied(end);
    }
}

fn read_run<D: Disk>(disk: &mut D, log_id: u128, number: u64, size_bytes: u64) -> Option<Run> {
    let file = FileName::KeyRun(number);
    let label = |block: u64, kind: Kind| Label { log_id, number, block, kind };
    let header = read_block(disk, file, label(0, Kind::KeyHeader), HEADER_SIZE_BYTES)?;
    let header = RunHeader::decode(number, block::item(&header, 0, HEADER_SIZE_BYTES));
    if size_bytes < header.size_bytes() {
        return None;
    }
    let blocks = header.fence_start..header.fence_start + header.entry_block_count().div_ceil(BLOCK_FENCE_COUNT);
    let decode = |fence: &[u8]| block::u32_at(fence, 0);
    let fences = read_items(disk, file, label(0, Kind::KeyFences), blocks, FENCE_SIZE_BYTES, decode)?;
    let is_whole = fences.len() as u64 == header.entry_block_count();
    is_whole.then_some(Run { log_id, header, fences, damaged: Cell::new(false) })
}
