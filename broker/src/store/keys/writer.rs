//! Writes one run: takes entries in the order of (hash, position) and ends with a durable file.
//! The file is `runs::RunFile`'s. After the last entry come the fences, and when all that is durable, the header.

use super::entry::{KEY_ENTRY_SIZE_BYTES, KeyEntry};
use super::run::{
    BLOCK_ENTRY_COUNT, BLOCK_FENCE_COUNT, ENTRY_BLOCK_START, FENCE_SIZE_BYTES, HEADER_SIZE_BYTES, Run, RunHeader,
    fence_of,
};
use crate::disk::{BlockPool, Completion, DiskError, DiskOp, FileName, OpId};
use crate::store::index::block::{Filling, Kind, Label};
use crate::store::runs::RunFile;
use ringmq_proto::ids::{Epoch, LogPosition};
use std::cell::Cell;

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
    pub(super) first_time_ms: u64,
    pub(super) last_time_ms: u64,
}

/// A run that is being written.
pub(super) struct Writer {
    pool: BlockPool,
    log_id: u128,
    header: RunHeader,
    entries: Filling,
    fences: Vec<u32>,
    last: (u64, LogPosition),
    file: RunFile,
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
            first_time_ms: plan.first_time_ms,
            last_time_ms: plan.last_time_ms,
            fence_start,
            block_count: fence_start + entry_blocks_max.div_ceil(BLOCK_FENCE_COUNT),
            epoch: plan.epoch,
        };
        Self {
            pool: pool.clone(),
            log_id: plan.log_id,
            header,
            entries: Filling::new(pool),
            fences: Vec::new(),
            last: (0, LogPosition::ZERO),
            file: RunFile::new(header.file(), header.size_bytes()),
        }
    }

    pub(super) fn file(&self) -> FileName {
        self.header.file()
    }

    /// Whether entries may be given now.
    pub(super) fn takes_entries(&self) -> bool {
        self.file.takes_blocks()
    }

    /// Whether the run is durable.
    pub(super) fn is_done(&self) -> bool {
        self.file.is_done()
    }

    /// Takes an entry, which comes after the last one. Only while [`Writer::takes_entries`].
    pub(super) fn push(&mut self, entry: &KeyEntry) {
        let order = entry.order();
        assert!(
            self.header.entry_count == 0 || self.last < order,
            "{order:?} after {:?} in key run {}",
            self.last,
            self.header.number
        );
        self.last = order;
        if self.entries.count() == 0 {
            self.fences.push(fence_of(entry.hash));
        }
        let bytes = self.entries.push(1, KEY_ENTRY_SIZE_BYTES);
        entry.encode(bytes.try_into().expect("as many as were asked for"));
        self.header.entry_count += 1;
        if self.entries.free_bytes() < KEY_ENTRY_SIZE_BYTES {
            self.seal_entries();
        }
    }

    fn label(&self, number: u64, kind: Kind) -> Label {
        Label { log_id: self.log_id, number: self.header.number, block: number, kind }
    }

    fn seal_entries(&mut self) {
        let number = ENTRY_BLOCK_START + self.fences.len() as u64 - 1;
        assert!(number < self.header.fence_start, "more entries than planned in key run {}", self.header.number);
        let full = std::mem::replace(&mut self.entries, Filling::new(&self.pool));
        self.file.push(number, full.seal(self.label(number, Kind::KeyEntries)));
    }

    /// Says that there are no more entries.
    pub(super) fn finish(&mut self) {
        if self.entries.count() > 0 {
            self.seal_entries();
        }
        let fences = self.fences.chunks(usize::try_from(BLOCK_FENCE_COUNT).expect("small"));
        for (number, fences) in (self.header.fence_start..).zip(fences) {
            let mut filling = Filling::new(&self.pool);
            for fence in fences {
                filling.push(1, FENCE_SIZE_BYTES).copy_from_slice(&fence.to_le_bytes());
            }
            self.file.push(number, filling.seal(self.label(number, Kind::KeyFences)));
        }
        self.file.finish();
    }

    /// Starts what can be started, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        let label = self.label(0, Kind::KeyHeader);
        let Self { file, header, pool, .. } = self;
        file.drive(next_id, ops_free, out, || {
            let mut filling = Filling::new(pool);
            header.encode(filling.push(1, HEADER_SIZE_BYTES));
            filling.seal(label)
        });
    }

    /// Takes the completion of one of its operations; nothing when it is not of this run.
    pub(super) fn on_disk(&mut self, completion: &Completion) -> Option<Result<(), DiskError>> {
        self.file.on_disk(completion)
    }

    /// Operations that are in flight: after a failure their completions are still to come.
    pub(super) fn in_flight(&self) -> Vec<OpId> {
        self.file.in_flight()
    }

    /// The durable run.
    pub(super) fn into_run(self) -> Run {
        assert!(self.is_done(), "{:?}", self.file);
        Run { log_id: self.log_id, header: self.header, fences: self.fences, damaged: Cell::new(false) }
    }
}
