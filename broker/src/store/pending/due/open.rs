//! Opening: the runs that follow each other from the log's beginning on, and nothing else.
//!
//! 1. List the directory; read each run's header and fences. What does not check is removed.
//! 2. A run inside another's part of the log was merged into it: removed. So are runs behind one that is missing.
//! 3. The store replays the log from [`DueIndex::covered`] on ([`DueIndex::replayed`]), calls [`DueIndex::begin`], and
//!    [`DueIndex::end_replay`] as soon as what was replayed is durable.

use super::run::{BLOCK_FENCE_COUNT, FENCE_SIZE_BYTES, HEADER_SIZE_BYTES, Run, RunHeader};
use super::{DueIndex, DueKey, DueLimits};
use crate::disk::{Directory, Disk, DiskError, FileName};
use crate::store::index::block::{self, Kind, Label};
use crate::store::keys::EpochHolds;
use crate::store::runs::{read_block, read_items, remove_files};
use ringmq_proto::ids::LogPosition;
use std::rc::Rc;

impl DueIndex {
    /// Opens what is there of this log; with `use_runs` false, nothing.
    ///
    /// # Errors
    /// Only when the disk fails to list or remove: files that do not check or cannot be read are ignored.
    pub(in crate::store) fn open<D: Disk>(
        disk: &mut D,
        log_id: u128,
        limits: DueLimits,
        use_runs: bool,
    ) -> Result<Self, DiskError> {
        let mut index = Self::new(log_id, disk.pool(), limits);
        let mut runs: Vec<Run> = Vec::new();
        let mut leftovers = Vec::new();
        for (file, size_bytes) in disk.list(Directory::Index)? {
            let FileName::DueRun(number) = file else { continue };
            index.run_number_next = index.run_number_next.max(number.saturating_add(1));
            match read_run(disk, log_id, number, size_bytes).filter(|_| use_runs) {
                Some(run) => runs.push(run),
                None => leftovers.push(file),
            }
        }
        // The longest of those with one start first: what was merged into it begins there, or inside it.
        runs.sort_by_key(|run| (run.header.start, std::cmp::Reverse((run.header.end, run.header.number))));
        for run in runs {
            if run.header.start == index.runs_end {
                index.runs_end = run.header.end;
                index.totals = run.header.totals;
                index.runs.push(Rc::new(run));
            } else {
                leftovers.push(run.header.file());
            }
        }
        index.recent_start = index.runs_end;
        index.applied = index.runs_end;
        // Nothing is near before the log is replayed.
        index.horizon = DueKey::MIN;
        remove_files(disk, &leftovers)?;
        Ok(index)
    }

    /// The log has changed nothing between `base` and `to`, as a snapshot remembers.
    pub(in crate::store) fn skip_unchanged(&mut self, base: LogPosition, to: LogPosition) {
        if base == self.runs_end && to > self.recent_start {
            (self.recent_start, self.applied) = (to, to);
        }
    }

    /// Gives up all runs: the log is to be replayed from its beginning.
    ///
    /// # Errors
    /// When the disk fails to remove them.
    pub(in crate::store) fn discard<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        let files: Vec<FileName> = self.runs.drain(..).map(|run| run.header.file()).collect();
        (self.runs_end, self.recent_start, self.totals) = Default::default();
        remove_files(disk, &files)
    }

    /// The records up to `end`, where the log ends, were applied; what lies below `trim` is gone. False when runs tell of
    /// another log than this: `holds` knows its epochs.
    pub(in crate::store) fn begin(&mut self, end: LogPosition, trim: LogPosition, holds: EpochHolds<'_>) -> bool {
        let fits = |run: &Rc<Run>| {
            let header = &run.header;
            let places = [(header.end, header.epoch), (header.told_to, header.told_epoch)];
            places.into_iter().all(|(place, epoch)| place <= end && holds(place, epoch))
        };
        if self.recent_start > end || !self.runs.iter().all(fits) {
            return false;
        }
        self.trim(trim);
        self.applied(end);
        true
    }
}

fn read_run<D: Disk>(disk: &mut D, log_id: u128, number: u64, size_bytes: u64) -> Option<Run> {
    let file = FileName::DueRun(number);
    let label = |block: u64, kind: Kind| Label { log_id, number, block, kind };
    let header = read_block(disk, file, label(0, Kind::DueHeader), HEADER_SIZE_BYTES)?;
    let header = RunHeader::decode(number, block::item(&header, 0, HEADER_SIZE_BYTES));
    if size_bytes < header.size_bytes() {
        return None;
    }
    let blocks = header.fence_start..header.fence_start + header.entry_block_count().div_ceil(BLOCK_FENCE_COUNT);
    let decode =
        |fence: &[u8]| DueKey { due_ms: block::u64_at(fence, 0), origin: LogPosition::new(block::u64_at(fence, 8)) };
    let fences = read_items(disk, file, label(0, Kind::DueFences), blocks, FENCE_SIZE_BYTES, decode)?;
    let is_whole = fences.len() as u64 == header.entry_block_count();
    is_whole.then_some(Run { log_id, header, fences })
}
