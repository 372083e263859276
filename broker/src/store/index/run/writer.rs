//! Writes one run: takes entries in the order of (queue, offset), gives blocks to the disk, and ends with a durable file.
//!
//! 1. Create the file with room for the most that may come; wait.
//! 2. Take entries; write entry and directory blocks as they fill, at most [`WRITES_IN_FLIGHT_MAX`] at a time.
//! 3. After the last entry: the rest of both, the top, the header; wait for all writes.
//! 4. Sync the file, sync the directory: the run is durable, and may be named by a checkpoint.
//!
//! A crash at any moment leaves a file that no checkpoint names: opening removes it.

use std::cell::Cell;
use std::collections::VecDeque;

use ringmq_proto::ids::{LogPosition, QueueId};

use super::super::block::{self, BLOCK_SIZE_BYTES, Filling, Kind};
use super::super::entry::{ENTRY_SIZE_BYTES, IndexEntry};
use super::{
    BLOCK_ENTRY_COUNT, BLOCK_RECORD_COUNT, BLOCK_TOP_COUNT, DirectoryRecord, ENTRY_BLOCK_START, HEADER_SIZE_BYTES,
    RECORD_SIZE_BYTES, Run, RunHeader, TOP_SIZE_BYTES,
};
use crate::disk::{Block, BlockPool, Completion, Directory, DiskError, DiskOp, DiskOpKind, FileName, OpId};

/// Writes of one run in flight.
pub(in super::super) const WRITES_IN_FLIGHT_MAX: usize = 2;

/// Full blocks that wait for their write before no more entries are taken.
const READY_BLOCKS_MAX: usize = 2;

/// What is known of a run before its first entry.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct WriterPlan {
    /// Of the log.
    pub(in super::super) log_id: u128,
    /// Of the run.
    pub(in super::super) number: u64,
    /// Its level.
    pub(in super::super) level: u32,
    /// The first log position that it covers.
    pub(in super::super) start: LogPosition,
    /// The end of what it covers.
    pub(in super::super) end: LogPosition,
    /// The most entries that may come.
    pub(in super::super) entry_count_max: u64,
    /// The most queues that they may be of.
    pub(in super::super) queue_count_max: u64,
}

/// Bytes of blocks that one writer holds: two that are filled, and those that wait or are written.
pub(in super::super) const WRITER_BYTES_MAX: usize =
    (2 + READY_BLOCKS_MAX + 1 + WRITES_IN_FLIGHT_MAX) * BLOCK_SIZE_BYTES;

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Start,
    Creating(OpId),
    Filling,
    Draining,
    Syncing(OpId),
    Synced,
    SyncingDirectory(OpId),
    Done,
}

/// A run that is being written.
pub(in super::super) struct RunWriter {
    pool: BlockPool,
    log_id: u128,
    header: RunHeader,
    header_checksum: u32,
    entries: Filling,
    directory: Filling,
    entry_blocks: u64,
    tops: Vec<u32>,
    /// The record of the queue whose entries are being taken.
    open: Option<DirectoryRecord>,
    ready: VecDeque<(u64, Block)>,
    writing: Vec<OpId>,
    step: Step,
}

impl RunWriter {
    /// A writer that has not begun.
    pub(in super::super) fn new(pool: &BlockPool, plan: WriterPlan) -> Self {
        let directory_start = ENTRY_BLOCK_START + plan.entry_count_max.div_ceil(BLOCK_ENTRY_COUNT);
        let directory_blocks_max = plan.queue_count_max.div_ceil(BLOCK_RECORD_COUNT);
        let top_start = directory_start + directory_blocks_max;
        let header = RunHeader {
            number: plan.number,
            start: plan.start,
            end: plan.end,
            entry_count: 0,
            queue_count: 0,
            directory_start,
            top_start,
            block_count: top_start + directory_blocks_max.div_ceil(BLOCK_TOP_COUNT),
            queue_first: QueueId::ZERO,
            queue_last: QueueId::ZERO,
            level: plan.level,
        };
        Self {
            pool: pool.clone(),
            log_id: plan.log_id,
            header,
            header_checksum: 0,
            entries: Filling::new(pool),
            directory: Filling::new(pool),
            entry_blocks: 0,
            tops: Vec::new(),
            open: None,
            ready: VecDeque::new(),
            writing: Vec::new(),
            step: Step::Start,
        }
    }

    /// Its file.
    pub(in super::super) fn file(&self) -> FileName {
        self.header.file()
    }

    /// Whether entries may be given now.
    pub(in super::super) fn takes_entries(&self) -> bool {
        self.step == Step::Filling && self.ready.len() < READY_BLOCKS_MAX
    }

    /// Whether the run is durable.
    pub(in super::super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Takes entries of `queue`, which is not below the last one's: as many as fit into the block; returns how many.
    pub(in super::super) fn push(&mut self, queue: QueueId, entries: &[IndexEntry]) -> usize {
        self.open(queue, &entries[0]);
        let count = entries.len().min(self.entries.free_bytes() / ENTRY_SIZE_BYTES);
        let counted = u32::try_from(count).expect("a block's worth");
        let bytes = self.entries.push(counted, count * ENTRY_SIZE_BYTES);
        for (bytes, entry) in bytes.as_chunks_mut::<ENTRY_SIZE_BYTES>().0.iter_mut().zip(entries) {
            entry.encode(bytes);
        }
        self.pushed(counted, &entries[count - 1]);
        count
    }

    /// Takes encoded entries of `queue`: as many of `bytes` as fit into the block; returns how many.
    pub(in super::super) fn push_encoded(&mut self, queue: QueueId, bytes: &[u8]) -> usize {
        self.open(queue, &IndexEntry::decode(bytes));
        let size_bytes = bytes.len().min(self.entries.free_bytes());
        let count = size_bytes / ENTRY_SIZE_BYTES;
        let counted = u32::try_from(count).expect("a block's worth");
        self.entries.push(counted, size_bytes).copy_from_slice(&bytes[..size_bytes]);
        self.pushed(counted, &IndexEntry::decode(&bytes[size_bytes - ENTRY_SIZE_BYTES..]));
        count
    }

    fn open(&mut self, queue: QueueId, first: &IndexEntry) {
        assert!(self.step == Step::Filling, "entries for run {} in {:?}", self.header.number, self.step);
        match &self.open {
            Some(open) if open.queue == queue => {
                assert!(
                    open.next_offset <= first.offset,
                    "offset {} after {} of {queue}",
                    first.offset,
                    open.next_offset
                );
            }
            Some(open) => {
                assert!(open.queue < queue, "queue {queue} after {}", open.queue);
                self.close_queue();
                self.open = Some(DirectoryRecord::starting(queue, self.header.entry_count, first));
            }
            None => {
                self.header.queue_first = queue;
                self.open = Some(DirectoryRecord::starting(queue, self.header.entry_count, first));
            }
        }
    }

    fn pushed(&mut self, count: u32, last: &IndexEntry) {
        let open = self.open.as_mut().expect("opened before");
        open.entry_count += count;
        open.next_offset = last.next_offset();
        open.last_time_ms = last.store_time_ms();
        self.header.entry_count += u64::from(count);
        if self.entries.free_bytes() < ENTRY_SIZE_BYTES {
            self.seal_entries();
        }
    }

    fn seal_entries(&mut self) {
        let number = ENTRY_BLOCK_START + self.entry_blocks;
        assert!(number < self.header.directory_start, "more entries than planned in run {}", self.header.number);
        let full = std::mem::replace(&mut self.entries, Filling::new(&self.pool));
        self.ready.push_back((number, full.seal(self.header.label(self.log_id, number, Kind::Entries))));
        self.entry_blocks += 1;
    }

    fn close_queue(&mut self) {
        let Some(record) = self.open.take() else { return };
        if self.directory.count() == 0 {
            self.tops.push(record.queue.get());
        }
        record.encode(self.directory.push(1, RECORD_SIZE_BYTES));
        self.header.queue_count += 1;
        self.header.queue_last = record.queue;
        if self.directory.free_bytes() < RECORD_SIZE_BYTES {
            self.seal_directory();
        }
    }

    fn seal_directory(&mut self) {
        let number = self.header.directory_start + self.tops.len() as u64 - 1;
        assert!(number < self.header.top_start, "more queues than planned in run {}", self.header.number);
        let full = std::mem::replace(&mut self.directory, Filling::new(&self.pool));
        self.ready.push_back((number, full.seal(self.header.label(self.log_id, number, Kind::Directory))));
    }

    /// Says that there are no more entries. There must have been one.
    pub(in super::super) fn finish(&mut self) {
        assert!(self.header.entry_count > 0, "run {} is empty", self.header.number);
        self.close_queue();
        if self.entries.count() > 0 {
            self.seal_entries();
        }
        if self.directory.count() > 0 {
            self.seal_directory();
        }
        let top_blocks = self.tops.chunks(usize::try_from(BLOCK_TOP_COUNT).expect("small"));
        for (number, tops) in (self.header.top_start..).zip(top_blocks) {
            let mut filling = Filling::new(&self.pool);
            for top in tops {
                filling.push(1, TOP_SIZE_BYTES).copy_from_slice(&top.to_le_bytes());
            }
            self.ready.push_back((number, filling.seal(self.header.label(self.log_id, number, Kind::Top))));
        }
        let mut filling = Filling::new(&self.pool);
        self.header.encode(filling.push(1, HEADER_SIZE_BYTES));
        let header = filling.seal(self.header.label(self.log_id, 0, Kind::Header));
        self.header_checksum = block::checksum(&header);
        self.ready.push_back((0, header));
        self.step = Step::Draining;
    }

    /// Whether no entry was taken.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.header.entry_count == 0
    }

    /// Starts what can be started, with at most `ops_free` operations; takes as many off it.
    pub(in super::super) fn drive(
        &mut self,
        next_id: &mut impl FnMut() -> OpId,
        ops_free: &mut usize,
        out: &mut Vec<DiskOp>,
    ) {
        let file = self.file();
        while *ops_free > 0 {
            let kind = match self.step {
                Step::Start => DiskOpKind::Create { file, size_bytes: self.header.size_bytes() },
                Step::Filling | Step::Draining
                    if self.writing.len() < WRITES_IN_FLIGHT_MAX && !self.ready.is_empty() =>
                {
                    let (number, block) = self.ready.pop_front().expect("not empty");
                    let offset = number * BLOCK_SIZE_BYTES as u64;
                    DiskOpKind::Write { file, offset, block, start: 0, length: BLOCK_SIZE_BYTES, sync: false }
                }
                Step::Draining if self.writing.is_empty() && self.ready.is_empty() => DiskOpKind::Sync { file },
                Step::Synced => DiskOpKind::SyncDir { directory: Directory::Index },
                _ => return,
            };
            let id = next_id();
            match kind {
                DiskOpKind::Create { .. } => self.step = Step::Creating(id),
                DiskOpKind::Sync { .. } => self.step = Step::Syncing(id),
                DiskOpKind::SyncDir { .. } => self.step = Step::SyncingDirectory(id),
                _ => self.writing.push(id),
            }
            out.push(DiskOp { id, kind });
            *ops_free -= 1;
        }
    }

    /// Takes the completion of one of its operations; nothing when it is not of this run.
    pub(in super::super) fn on_disk(&mut self, completion: &Completion) -> Option<Result<(), DiskError>> {
        let id = completion.id;
        if let Some(index) = self.writing.iter().position(|writing| *writing == id) {
            self.writing.swap_remove(index);
        } else {
            let next = match self.step {
                Step::Creating(creating) if creating == id => Step::Filling,
                Step::Syncing(syncing) if syncing == id => Step::Synced,
                Step::SyncingDirectory(syncing) if syncing == id => Step::Done,
                _ => return None,
            };
            self.step = next;
        }
        Some(completion.result.as_ref().map(|_| ()).map_err(Clone::clone))
    }

    /// Operations that are in flight: after a failure their completions are still to come.
    pub(in super::super) fn in_flight(&self) -> Vec<OpId> {
        let step = match self.step {
            Step::Creating(id) | Step::Syncing(id) | Step::SyncingDirectory(id) => Some(id),
            _ => None,
        };
        self.writing.iter().copied().chain(step).collect()
    }

    /// The durable run.
    pub(in super::super) fn into_run(self) -> Run {
        assert!(self.is_done(), "run {} is in {:?}", self.header.number, self.step);
        Run {
            log_id: self.log_id,
            header: self.header,
            header_checksum: self.header_checksum,
            tops: self.tops,
            damaged: Cell::new(false),
        }
    }
}
