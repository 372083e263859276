//! A run: one file of entries sorted by queue, written once.
//!
//! A file of 64 KiB blocks (`block.rs` draws what is common to them), in regions:
//!
//! ```text
//! block 0           header: one item, below
//! 1 ..              entries: 2046 a block, by (queue, offset)             32 B each (`entry.rs`)
//! directory ..      one record for each queue that has entries, by queue  48 B each, 1364 a block
//! top ..            the first queue id of each directory block             4 B each
//! ```
//! The regions begin where there is room for the most entries and queues that the run might have got; blocks between
//! them are never read. Header:
//!
//! ```text
//! 0   start u64              the run holds the entries of the log positions from here
//! 8   end u64                to here
//! 16  entry count u64
//! 24  queue count u64        directory records
//! 32  directory start u64    block number
//! 40  top start u64          block number
//! 48  block count u64        of the file
//! 56  first queue u32        lowest queue id
//! 60  last queue u32         highest queue id
//! 64  level u32              how often its entries were merged
//! 68  0 u32
//! ```
//! Directory record:
//!
//! ```text
//! 0   queue u32
//! 4   entry count u32
//! 8   first offset u64       of the first entry
//! 16  next offset u64        after the last entry
//! 24  entry start u64        ordinal in the run of its first entry
//! 32  first store time u64   ms
//! 40  last store time u64    ms
//! ```
//! A run counts only once a durable checkpoint names it together with the checksum of its header block.

mod lookup;
mod writer;

use std::cell::Cell;

use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};

use super::block::{self, BLOCK_ITEM_BYTES, BLOCK_SIZE_BYTES, Kind, Label};
use super::entry::{ENTRY_SIZE_BYTES, IndexEntry};
use crate::disk::FileName;

pub(super) use lookup::Span;
pub(super) use writer::{RunWriter, WRITER_BYTES_MAX, WriterPlan};

/// Entries in a block.
pub(super) const BLOCK_ENTRY_COUNT: u64 = (BLOCK_ITEM_BYTES / ENTRY_SIZE_BYTES) as u64;

/// Bytes of a directory record.
pub(super) const RECORD_SIZE_BYTES: usize = 48;

/// Directory records in a block.
pub(super) const BLOCK_RECORD_COUNT: u64 = (BLOCK_ITEM_BYTES / RECORD_SIZE_BYTES) as u64;

/// Bytes of an item of a top block.
pub(super) const TOP_SIZE_BYTES: usize = 4;

/// Directory blocks that one top block describes.
pub(super) const BLOCK_TOP_COUNT: u64 = (BLOCK_ITEM_BYTES / TOP_SIZE_BYTES) as u64;

/// Bytes of the header item.
pub(super) const HEADER_SIZE_BYTES: usize = 72;

/// The block where entries begin.
pub(super) const ENTRY_BLOCK_START: u64 = 1;

const _: () = assert!(BLOCK_ENTRY_COUNT == 2046 && BLOCK_RECORD_COUNT == 1364);
const _: () =
    assert!(BLOCK_ITEM_BYTES.is_multiple_of(ENTRY_SIZE_BYTES) && BLOCK_ITEM_BYTES.is_multiple_of(RECORD_SIZE_BYTES));

/// What the header of a run says, and which run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunHeader {
    /// The run's number: its file name.
    pub(super) number: u64,
    /// The first log position that it covers.
    pub(super) start: LogPosition,
    /// The end of what it covers.
    pub(super) end: LogPosition,
    /// Entries.
    pub(super) entry_count: u64,
    /// Directory records.
    pub(super) queue_count: u64,
    /// First directory block.
    pub(super) directory_start: u64,
    /// First top block.
    pub(super) top_start: u64,
    /// Blocks of the file.
    pub(super) block_count: u64,
    /// Lowest queue id.
    pub(super) queue_first: QueueId,
    /// Highest queue id.
    pub(super) queue_last: QueueId,
    /// How often its entries were merged.
    pub(super) level: u32,
}

impl RunHeader {
    /// Its file.
    pub(super) fn file(&self) -> FileName {
        FileName::Run(self.number)
    }

    /// Blocks that hold directory records.
    pub(super) fn directory_block_count(&self) -> u64 {
        self.queue_count.div_ceil(BLOCK_RECORD_COUNT)
    }

    /// Blocks that hold entries.
    pub(super) fn entry_block_count(&self) -> u64 {
        self.entry_count.div_ceil(BLOCK_ENTRY_COUNT)
    }

    /// Bytes of the file.
    pub(super) fn size_bytes(&self) -> u64 {
        self.block_count * BLOCK_SIZE_BYTES as u64
    }

    /// The label of one of its blocks.
    pub(super) fn label(&self, log_id: u128, block: u64, kind: Kind) -> Label {
        Label { log_id, number: self.number, block, kind }
    }

    /// The item of block 0.
    pub(super) fn encode(&self, bytes: &mut [u8]) {
        let words = [
            self.start.get(),
            self.end.get(),
            self.entry_count,
            self.queue_count,
            self.directory_start,
            self.top_start,
            self.block_count,
            u64::from(self.queue_first.get()) | u64::from(self.queue_last.get()) << 32,
            u64::from(self.level),
        ];
        for (place, word) in bytes[..HEADER_SIZE_BYTES].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// From the item of block 0 of run `number`.
    pub(super) fn decode(number: u64, bytes: &[u8]) -> Self {
        Self {
            number,
            start: LogPosition::new(block::u64_at(bytes, 0)),
            end: LogPosition::new(block::u64_at(bytes, 8)),
            entry_count: block::u64_at(bytes, 16),
            queue_count: block::u64_at(bytes, 24),
            directory_start: block::u64_at(bytes, 32),
            top_start: block::u64_at(bytes, 40),
            block_count: block::u64_at(bytes, 48),
            queue_first: QueueId::new(block::u32_at(bytes, 56)),
            queue_last: QueueId::new(block::u32_at(bytes, 60)),
            level: block::u32_at(bytes, 64),
        }
    }
}

/// A run that is installed: what is kept of it in memory.
#[derive(Debug)]
pub(super) struct Run {
    /// Of the log.
    pub(super) log_id: u128,
    /// Its header.
    pub(super) header: RunHeader,
    /// The checksum of its header block: a checkpoint names it.
    pub(super) header_checksum: u32,
    /// The first queue id of each directory block.
    pub(super) tops: Vec<u32>,
    /// A block of it did not check, for a question or a merge.
    pub(super) damaged: Cell<bool>,
}

/// One queue's part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirectoryRecord {
    /// The queue.
    pub(super) queue: QueueId,
    /// Its entries here.
    pub(super) entry_count: u32,
    /// Of the first entry.
    pub(super) first_offset: QueueOffset,
    /// After the last entry.
    pub(super) next_offset: QueueOffset,
    /// Ordinal in the run of the first entry.
    pub(super) entry_start: u64,
    /// Of the first entry.
    pub(super) first_time_ms: u64,
    /// Of the last entry.
    pub(super) last_time_ms: u64,
}

impl DirectoryRecord {
    /// A record of entries from `first` on, so far without any.
    pub(super) fn starting(queue: QueueId, entry_start: u64, first: &IndexEntry) -> Self {
        Self {
            queue,
            entry_count: 0,
            first_offset: first.offset,
            next_offset: first.offset,
            entry_start,
            first_time_ms: first.store_time_ms(),
            last_time_ms: first.store_time_ms(),
        }
    }

    /// The ordinal after its last entry.
    pub(super) fn entry_end(&self) -> u64 {
        self.entry_start + u64::from(self.entry_count)
    }

    /// The bytes above.
    pub(super) fn encode(&self, bytes: &mut [u8]) {
        let words = [
            u64::from(self.queue.get()) | u64::from(self.entry_count) << 32,
            self.first_offset.get(),
            self.next_offset.get(),
            self.entry_start,
            self.first_time_ms,
            self.last_time_ms,
        ];
        for (place, word) in bytes[..RECORD_SIZE_BYTES].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// From the bytes above.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        Self {
            queue: QueueId::new(block::u32_at(bytes, 0)),
            entry_count: block::u32_at(bytes, 4),
            first_offset: QueueOffset::new(block::u64_at(bytes, 8)),
            next_offset: QueueOffset::new(block::u64_at(bytes, 16)),
            entry_start: block::u64_at(bytes, 24),
            first_time_ms: block::u64_at(bytes, 32),
            last_time_ms: block::u64_at(bytes, 40),
        }
    }
}
