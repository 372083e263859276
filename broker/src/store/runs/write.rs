//! Writes the file of one run.
//!
//! 1. Create the file with room for the most that may come; wait.
//! 2. Write blocks as they come, at most [`WRITES_IN_FLIGHT_MAX`] at a time.
//! 3. After the last: wait for all writes; sync the file.
//! 4. Write the header and sync it; sync the directory. The run is durable.
//!
//! A crash before 4 leaves a file without a header: opening removes it. A crash inside 4 leaves the run or that.

use crate::disk::{Block, Completion, Directory, DiskError, DiskOp, DiskOpKind, FileName, OpId};
use crate::store::index::block::BLOCK_SIZE_BYTES;
use std::collections::VecDeque;

/// Writes of one run in flight.
const WRITES_IN_FLIGHT_MAX: usize = 2;

/// Full blocks that wait for their write before no more are taken.
const READY_BLOCKS_MAX: usize = 2;

/// Bytes of blocks of one run that is written: the one that is filled, and those that wait or are written.
pub(in crate::store) const FILE_BYTES_MAX: usize = (1 + READY_BLOCKS_MAX + 1 + WRITES_IN_FLIGHT_MAX) * BLOCK_SIZE_BYTES;

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

/// A run's file that is being written.
#[derive(Debug)]
pub(in crate::store) struct RunFile {
    name: FileName,
    size_bytes: u64,
    ready: VecDeque<(u64, Block)>,
    writing: Vec<OpId>,
    step: Step,
}

impl RunFile {
    /// A file of so many bytes, which is not there yet.
    pub(in crate::store) fn new(name: FileName, size_bytes: u64) -> Self {
        Self { name, size_bytes, ready: VecDeque::new(), writing: Vec::new(), step: Step::Start }
    }

    /// Whether blocks may be given now.
    pub(in crate::store) fn takes_blocks(&self) -> bool {
        self.step == Step::Filling && self.ready.len() < READY_BLOCKS_MAX
    }

    /// Whether the run is durable.
    pub(in crate::store) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Block `number` of the file.
    pub(in crate::store) fn push(&mut self, number: u64, block: Block) {
        self.ready.push_back((number, block));
    }

    /// There are no more blocks.
    pub(in crate::store) fn finish(&mut self) {
        assert!(self.step == Step::Filling, "{} ends in {:?}", self.name.path(), self.step);
        self.step = Step::Draining;
    }

    /// Starts what can be started, with at most `ops_free` operations; takes as many off it. `header`: block 0, as it is in
    /// the end.
    pub(in crate::store) fn drive(
        &mut self,
        next_id: &mut impl FnMut() -> OpId,
        ops_free: &mut usize,
        out: &mut Vec<DiskOp>,
        header: impl Fn() -> Block,
    ) {
        let file = self.name;
        while *ops_free > 0 {
            let kind = match self.step {
                Step::Start => DiskOpKind::Create { file, size_bytes: self.size_bytes },
                Step::Filling | Step::Draining if self.writing.len() < WRITES_IN_FLIGHT_MAX => {
                    if let Some((number, block)) = self.ready.pop_front() {
                        write(file, number, block, false)
                    } else if self.step == Step::Draining && self.writing.is_empty() {
                        DiskOpKind::Sync { file }
                    } else {
                        return;
                    }
                }
                Step::Synced => write(file, 0, header(), true),
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
    pub(in crate::store) fn on_disk(&mut self, completion: &Completion) -> Option<Result<(), DiskError>> {
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
    pub(in crate::store) fn in_flight(&self) -> Vec<OpId> {
        let step = match self.step {
            Step::Creating(id) | Step::Syncing(id) | Step::WritingHeader(id) | Step::SyncingDirectory(id) => Some(id),
            _ => None,
        };
        self.writing.iter().copied().chain(step).collect()
    }
}

fn write(file: FileName, number: u64, block: Block, sync: bool) -> DiskOpKind {
    let offset = number * BLOCK_SIZE_BYTES as u64;
    DiskOpKind::Write { file, offset, block, start: 0, length: BLOCK_SIZE_BYTES, sync }
}
