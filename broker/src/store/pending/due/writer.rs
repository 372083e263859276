//! Writes one run: takes entries in the order of their keys and ends with a durable file.
//!
//! 1. Create the file with room for the most that may come; wait.
//! 2. Take entries; write entry blocks as they fill, at most [`WRITES_IN_FLIGHT_MAX`] at a time. After the last: fences.
//! 3. Wait for all writes; sync the file.
//! 4. Write the header and sync it; sync the directory. The run is durable.
//!
//! A crash before 4 leaves a file without a header: opening removes it. A crash inside 4 leaves the run or that.

use super::entry::{self, DUE_ENTRY_SIZE_BYTES, DueKey, Said};
use super::run::{
    BLOCK_ENTRY_COUNT, BLOCK_FENCE_COUNT, ENTRY_BLOCK_START, FENCE_SIZE_BYTES, HEADER_SIZE_BYTES, Run, RunHeader,
};
use super::totals::Totals;
use crate::disk::{Block, BlockPool, Completion, Directory, DiskError, DiskOp, DiskOpKind, FileName, OpId};
use crate::store::index::block::{BLOCK_SIZE_BYTES, Filling, Kind, Label};
use ringmq_proto::ids::{Epoch, LogPosition};
use std::collections::VecDeque;

/// Writes of one run in flight.
const WRITES_IN_FLIGHT_MAX: usize = 2;

/// Full blocks that wait for their write before no more entries are taken.
const READY_BLOCKS_MAX: usize = 2;

/// Bytes of blocks that one writer holds: the one that is filled, and those that wait or are written.
pub(super) const WRITER_BYTES_MAX: usize = (1 + READY_BLOCKS_MAX + 1 + WRITES_IN_FLIGHT_MAX) * BLOCK_SIZE_BYTES;

/// What is known of a run before its first entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) log_id: u128,
    pub(super) number: u64,
    pub(super) start: LogPosition,
    pub(super) end: LogPosition,
    /// Of the log at `end`.
    pub(super) epoch: Epoch,
    /// The most entries that may come.
    pub(super) entry_count_max: u64,
    pub(super) floor_ms: u64,
    /// How far the log is known by what the run says, and its epoch there.
    pub(super) told: (LogPosition, Epoch),
    pub(super) totals: Totals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    Creating(OpId),
    Filling,
    Draining,
    Syncing(OpId),
    Synced,
    WritingHeader(OpId),
    HeaderWritten,
    SyncingDirectory(OpId),
    Done,
}

/// A run that is being written.
pub(super) struct Writer {
    pool: BlockPool,
    log_id: u128,
    header: RunHeader,
    entries: Filling,
    fences: Vec<DueKey>,
    last: Option<DueKey>,
    ready: VecDeque<(u64, Block)>,
    writing: Vec<OpId>,
    step: Step,
}

impl Writer {
    pub(super) fn new(pool: &BlockPool, plan: Plan) -> Self {
        let entry_blocks_max = plan.entry_count_max.div_ceil(BLOCK_ENTRY_COUNT);
        let fence_start = ENTRY_BLOCK_START + entry_blocks_max;
        let header = RunHeader {
            number: plan.number,
            start: plan.start,
            end: plan.end,
            entry_count: 0,
            floor_ms: plan.floor_ms,
            last_due_ms: 0,
            position_min: LogPosition::new(u64::MAX),
            totals: plan.totals,
            fence_start,
            block_count: fence_start + entry_blocks_max.div_ceil(BLOCK_FENCE_COUNT),
            epoch: plan.epoch,
            told_to: plan.told.0,
            told_epoch: plan.told.1,
        };
        Self {
            pool: pool.clone(),
            log_id: plan.log_id,
            header,
            entries: Filling::new(pool),
            fences: Vec::new(),
            last: None,
            ready: VecDeque::new(),
            writing: Vec::new(),
            step: Step::Start,
        }
    }

    pub(super) fn file(&self) -> FileName {
        self.header.file()
    }

    /// Whether entries may be given now.
    pub(super) fn takes_entries(&self) -> bool {
        self.step == Step::Filling && self.ready.len() < READY_BLOCKS_MAX
    }

    /// Whether the run is durable.
    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Takes an entry, which comes after the last one. Only while [`Writer::takes_entries`].
    pub(super) fn push(&mut self, key: DueKey, said: &Said) {
        let last = self.last.replace(key);
        assert!(last.is_none_or(|last| last < key), "{key:?} after {last:?} in due run {}", self.header.number);
        if self.entries.count() == 0 {
            self.fences.push(key);
        }
        entry::encode(key, said, self.entries.push(1, DUE_ENTRY_SIZE_BYTES));
        self.header.entry_count += 1;
        self.header.last_due_ms = key.due_ms;
        if let Some(entry) = said {
            self.header.position_min = self.header.position_min.min(entry.position);
        }
        if self.entries.free_bytes() < DUE_ENTRY_SIZE_BYTES {
            self.seal_entries();
        }
    }

    fn label(&self, number: u64, kind: Kind) -> Label {
        Label { log_id: self.log_id, number: self.header.number, block: number, kind }
    }

    fn seal_entries(&mut self) {
        let number = ENTRY_BLOCK_START + self.fences.len() as u64 - 1;
        assert!(number < self.header.fence_start, "more entries than planned in due run {}", self.header.number);
        let full = std::mem::replace(&mut self.entries, Filling::new(&self.pool));
        self.ready.push_back((number, full.seal(self.label(number, Kind::DueEntries))));
    }

    /// How much is pending in all was not known before the last entry.
    pub(super) fn set_totals(&mut self, totals: Totals) {
        self.header.totals = totals;
    }

    /// Says that there are no more entries.
    pub(super) fn finish(&mut self) {
        assert!(self.step == Step::Filling, "due run {} ends in {:?}", self.header.number, self.step);
        if self.entries.count() > 0 {
            self.seal_entries();
        }
        let fences = self.fences.chunks(usize::try_from(BLOCK_FENCE_COUNT).expect("small"));
        for (number, fences) in (self.header.fence_start..).zip(fences) {
            let mut filling = Filling::new(&self.pool);
            for fence in fences {
                let bytes = filling.push(1, FENCE_SIZE_BYTES);
                bytes[..8].copy_from_slice(&fence.due_ms.to_le_bytes());
                bytes[8..].copy_from_slice(&fence.origin.get().to_le_bytes());
            }
            self.ready.push_back((number, filling.seal(self.label(number, Kind::DueFences))));
        }
        self.step = Step::Draining;
    }

    /// Starts what can be started, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        let file = self.file();
        while *ops_free > 0 {
            let kind = match self.step {
                Step::Start => DiskOpKind::Create { file, size_bytes: self.header.size_bytes() },
                Step::Filling | Step::Draining if self.writing.len() < WRITES_IN_FLIGHT_MAX => {
                    if let Some((number, block)) = self.ready.pop_front() {
                        write(file, number, block, false)
                    } else if self.step == Step::Draining && self.writing.is_empty() {
                        DiskOpKind::Sync { file }
                    } else {
                        return;
                    }
                }
                Step::Synced => {
                    let mut filling = Filling::new(&self.pool);
                    self.header.encode(filling.push(1, HEADER_SIZE_BYTES));
                    write(file, 0, filling.seal(self.label(0, Kind::DueHeader)), true)
                }
                Step::HeaderWritten => DiskOpKind::SyncDir { directory: Directory::Index },
                _ => return,
            };
            let id = next_id();
            self.step = match (self.step, &kind) {
                (Step::Start, _) => Step::Creating(id),
                (Step::Synced, _) => Step::WritingHeader(id),
                (Step::HeaderWritten, _) => Step::SyncingDirectory(id),
                (_, DiskOpKind::Sync { .. }) => Step::Syncing(id),
                (step, _) => {
                    self.writing.push(id);
                    step
                }
            };
            out.push(DiskOp { id, kind });
            *ops_free -= 1;
        }
    }

    /// Takes the completion of one of its operations; nothing when it is not of this run.
    pub(super) fn on_disk(&mut self, completion: &Completion) -> Option<Result<(), DiskError>> {
        let id = completion.id;
        if let Some(index) = self.writing.iter().position(|writing| *writing == id) {
            self.writing.swap_remove(index);
        } else {
            self.step = match self.step {
                Step::Creating(op) if op == id => Step::Filling,
                Step::Syncing(op) if op == id => Step::Synced,
                Step::WritingHeader(op) if op == id => Step::HeaderWritten,
                Step::SyncingDirectory(op) if op == id => Step::Done,
                _ => return None,
            };
        }
        Some(completion.result.as_ref().map(|_| ()).map_err(Clone::clone))
    }

    /// Operations that are in flight: after a failure their completions are still to come.
    pub(super) fn in_flight(&self) -> Vec<OpId> {
        let step = match self.step {
            Step::Creating(id) | Step::Syncing(id) | Step::WritingHeader(id) | Step::SyncingDirectory(id) => Some(id),
            _ => None,
        };
        self.writing.iter().copied().chain(step).collect()
    }

    /// The durable run.
    pub(super) fn into_run(self) -> Run {
        assert!(self.is_done(), "due run {} is in {:?}", self.header.number, self.step);
        Run { log_id: self.log_id, header: self.header, fences: self.fences }
    }
}

fn write(file: FileName, number: u64, block: Block, sync: bool) -> DiskOpKind {
    let offset = number * BLOCK_SIZE_BYTES as u64;
    DiskOpKind::Write { file, offset, block, start: 0, length: BLOCK_SIZE_BYTES, sync }
}
