//! Writes one run: takes entries in the order of their keys and ends with a durable file.
//! The file is `runs::RunFile`'s. After the last entry come the fences, and when all that is durable, the header.

use super::entry::{self, DUE_ENTRY_SIZE_BYTES, DueKey, Said};
use super::run::{
    BLOCK_ENTRY_COUNT, BLOCK_FENCE_COUNT, ENTRY_BLOCK_START, FENCE_SIZE_BYTES, HEADER_SIZE_BYTES, Run, RunHeader,
};
use super::totals::Totals;
use crate::disk::{BlockPool, Completion, DiskError, DiskOp, FileName, OpId};
use crate::store::index::block::{Filling, Kind, Label};
use crate::store::runs::RunFile;
use ringmq_proto::ids::{Epoch, LogPosition};

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

/// A run that is being written.
pub(super) struct Writer {
    pool: BlockPool,
    log_id: u128,
    header: RunHeader,
    entries: Filling,
    fences: Vec<DueKey>,
    last: Option<DueKey>,
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
        self.file.push(number, full.seal(self.label(number, Kind::DueEntries)));
    }

    /// How much is pending in all was not known before the last entry.
    pub(super) fn set_totals(&mut self, totals: Totals) {
        self.header.totals = totals;
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
                let bytes = filling.push(1, FENCE_SIZE_BYTES);
                bytes[..8].copy_from_slice(&fence.due_ms.to_le_bytes());
                bytes[8..].copy_from_slice(&fence.origin.get().to_le_bytes());
            }
            self.file.push(number, filling.seal(self.label(number, Kind::DueFences)));
        }
        self.file.finish();
    }

    /// Starts what can be started, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        let label = self.label(0, Kind::DueHeader);
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
        Run { log_id: self.log_id, header: self.header, fences: self.fences }
    }
}
