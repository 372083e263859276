//! One run as the input of a merge: its directory and its entries, each read once from front to back.

use std::collections::VecDeque;
use std::rc::Rc;

use ringmq_proto::ids::{LogPosition, QueueId};

use super::super::block::{self, BLOCK_SIZE_BYTES, Kind};
use super::super::entry::ENTRY_SIZE_BYTES;
use super::super::run::{
    BLOCK_ENTRY_COUNT, BLOCK_RECORD_COUNT, DirectoryRecord, ENTRY_BLOCK_START, RECORD_SIZE_BYTES, Run, RunWriter,
};
use crate::disk::Block;

/// Blocks of one read.
const CHUNK_BLOCK_COUNT: u64 = 2;

/// Chunks of a stream that are held: one in use, one ahead.
const CHUNKS_HELD_MAX: usize = 2;

/// Neighbouring blocks that were read together.
struct Chunk {
    block: Block,
    start: u64,
    block_count: u64,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.block_count
    }
}

/// A read that an input wants.
#[derive(Clone, Copy)]
pub(super) struct Want {
    /// Of the directory, or of the entries.
    pub(super) directory: bool,
    /// First block.
    pub(super) chunk_start: u64,
    /// Blocks.
    pub(super) block_count: u64,
}

impl Want {
    /// Offset and length in the file.
    pub(super) fn byte_range(&self) -> (u64, usize) {
        let length = usize::try_from(self.block_count).expect("few blocks") * BLOCK_SIZE_BYTES;
        (self.chunk_start * BLOCK_SIZE_BYTES as u64, length)
    }
}

/// Blocks of one region, from front to back.
struct Stream {
    kind: Kind,
    item_size_bytes: usize,
    /// The next block to read.
    next: u64,
    end: u64,
    held: VecDeque<Chunk>,
    loading: bool,
}

impl Stream {
    fn new(kind: Kind, item_size_bytes: usize, start: u64, block_count: u64) -> Self {
        Self { kind, item_size_bytes, next: start, end: start + block_count, held: VecDeque::new(), loading: false }
    }

    /// The block with this number, or nothing while it is not there. Blocks before it are let go.
    fn block(&mut self, number: u64) -> Option<&[u8]> {
        while self.held.front().is_some_and(|chunk| chunk.end() <= number) {
            self.held.pop_front();
        }
        let Some(chunk) = self.held.front() else {
            if !self.loading {
                self.next = self.next.max(number);
            }
            return None;
        };
        let start = usize::try_from(number - chunk.start).expect("few blocks") * BLOCK_SIZE_BYTES;
        Some(&chunk.block[start..start + BLOCK_SIZE_BYTES])
    }

    /// Takes what a read gave, once all of it checks.
    fn loaded(&mut self, run: &Run, want: Want, block: Block, length: usize) -> Result<(), String> {
        self.loading = false;
        for (number, bytes) in (want.chunk_start..).zip(block[..length].chunks(BLOCK_SIZE_BYTES)) {
            block::check(bytes, run.header.label(run.log_id, number, self.kind), self.item_size_bytes)?;
        }
        if length < want.byte_range().1 {
            return Err(format!("{} ends at {length} of {:?}", run.header.file().path(), want.byte_range()));
        }
        self.held.push_back(Chunk { block, start: want.chunk_start, block_count: want.block_count });
        Ok(())
    }

    fn want(&mut self, held: usize) -> Option<(u64, u64)> {
        if self.loading || self.held.len() != held || held == CHUNKS_HELD_MAX || self.next >= self.end {
            return None;
        }
        let start = self.next;
        let block_count = CHUNK_BLOCK_COUNT.min(self.end - start);
        self.next += block_count;
        self.loading = true;
        Some((start, block_count))
    }
}

/// A run that is being merged.
pub(super) struct Input {
    /// The run.
    pub(super) run: Rc<Run>,
    directory: Stream,
    entries: Stream,
    /// The queue that is next, when it was loaded.
    record: Option<DirectoryRecord>,
    /// Records before this one were used up.
    record_index: u64,
    /// Entries of the record that were copied or left behind.
    taken: u64,
}

impl Input {
    /// A run from its first queue on.
    pub(super) fn new(run: Rc<Run>) -> Self {
        let header = &run.header;
        let directory_blocks = header.directory_block_count();
        let directory = Stream::new(Kind::Directory, RECORD_SIZE_BYTES, header.directory_start, directory_blocks);
        let entries = Stream::new(Kind::Entries, ENTRY_SIZE_BYTES, ENTRY_BLOCK_START, header.entry_block_count());
        Self { run, directory, entries, record: None, record_index: 0, taken: 0 }
    }

    /// The queue that is next; nothing after the last.
    pub(super) fn queue(&self) -> Option<QueueId> {
        self.record.map(|record| record.queue)
    }

    /// Sees to it that [`Input::queue`] is known. False while its block is not there.
    pub(super) fn load_record(&mut self) -> bool {
        if self.record.is_some() || self.record_index == self.run.header.queue_count {
            return true;
        }
        let number = self.run.header.directory_start + self.record_index / BLOCK_RECORD_COUNT;
        let Some(bytes) = self.directory.block(number) else { return false };
        let index = usize::try_from(self.record_index % BLOCK_RECORD_COUNT).expect("less than a block");
        self.record = Some(DirectoryRecord::decode(block::item(bytes, index, RECORD_SIZE_BYTES)));
        self.taken = 0;
        true
    }

    /// Leaves the rest of the queue behind.
    pub(super) fn skip_record(&mut self) {
        self.record = None;
        self.record_index += 1;
    }

    /// Copies up to `entries_max` entries of the queue, without those below `trimmed`; returns how many were looked at, or
    /// nothing while their block is not there. After the last one the next queue is due.
    pub(super) fn copy(&mut self, writer: &mut RunWriter, trimmed: LogPosition, entries_max: usize) -> Option<usize> {
        let record = self.record.expect("a queue is next");
        let ordinal = record.entry_start + self.taken;
        let number = ENTRY_BLOCK_START + ordinal / BLOCK_ENTRY_COUNT;
        let bytes = self.entries.block(number)?;
        let in_block = BLOCK_ENTRY_COUNT - ordinal % BLOCK_ENTRY_COUNT;
        let count = in_block.min(record.entry_end() - ordinal).min(entries_max as u64);
        let index = usize::try_from(ordinal % BLOCK_ENTRY_COUNT).expect("less than a block");
        let count = usize::try_from(count).expect("less than a block");
        let mut bytes =
            &block::item(bytes, 0, block::BLOCK_ITEM_BYTES)[index * ENTRY_SIZE_BYTES..][..count * ENTRY_SIZE_BYTES];
        let mut looked_at = 0;
        while self.run.header.start < trimmed && !bytes.is_empty() && block::u64_at(bytes, 8) < trimmed.get() {
            bytes = &bytes[ENTRY_SIZE_BYTES..];
            looked_at += 1;
        }
        if !bytes.is_empty() {
            looked_at += writer.push_encoded(record.queue, bytes);
        }
        self.taken += looked_at as u64;
        if record.entry_start + self.taken == record.entry_end() {
            self.skip_record();
        }
        Some(looked_at)
    }

    /// The next read of a stream that holds `held` chunks; it counts as begun.
    pub(super) fn want(&mut self, held: usize) -> Option<Want> {
        let directory = self.directory.want(held);
        let is_directory = directory.is_some();
        let (chunk_start, block_count) = directory.or_else(|| self.entries.want(held))?;
        Some(Want { directory: is_directory, chunk_start, block_count })
    }

    /// Takes what a read gave.
    ///
    /// # Errors
    /// What does not check.
    pub(super) fn loaded(&mut self, want: Want, block: Block, length: usize) -> Result<(), String> {
        let stream = if want.directory { &mut self.directory } else { &mut self.entries };
        stream.loaded(&self.run, want, block, length).inspect_err(|_| self.run.damaged.set(true))
    }

    /// Bytes of memory that are held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.directory.held.iter().chain(&self.entries.held).map(|chunk| chunk.block.len()).sum()
    }
}
