//! A run: one file of entries sorted by hash and position, written once. It says itself what it covers.
//!
//! A file of 64 KiB blocks (`index::block` draws what is common to them):
//!
//! ```text
//! block 0           header: one item, below
//! 1 ..              entries: 2728 a block, by (hash, position)        24 B each (`entry.rs`)
//! fences ..         the upper half of the first hash of each block     4 B each
//! ```
//! The fences begin where there is room for the most entries that the run might have got. Header:
//!
//! ```text
//! 0   start u64              the run holds the entries of the log positions from here: a commit's start
//! 8   end u64                to here: a commit's end
//! 16  entry count u64        0 is a run too: it says that there are no keys in its part of the log
//! 24  first store time u64   ms, of the oldest entry
//! 32  last store time u64    ms, of the newest entry
//! 40  fence start u64        block number
//! 48  block count u64        of the file
//! 56  epoch u32              of the log at the end
//! 60  0 u32
//! ```
//! The header is written when all else is durable, so a file with a header is whole. No other file names the runs: those
//! with a sound header are the index. One whose part of the log lies inside another's was merged into it.

use super::entry::{KEY_ENTRY_SIZE_BYTES, KeyEntry};
use crate::disk::{Block, FileName};
use crate::store::cache::{BlockCache, Miss, Place};
use crate::store::index::Cold;
use crate::store::index::block::{self, BLOCK_ITEM_BYTES, BLOCK_SIZE_BYTES, Kind, Label};
use ringmq_proto::ids::{Epoch, LogPosition};
use std::cell::Cell;

/// Entries in a block.
pub(super) const BLOCK_ENTRY_COUNT: u64 = (BLOCK_ITEM_BYTES / KEY_ENTRY_SIZE_BYTES) as u64;

/// Bytes of a fence.
pub(super) const FENCE_SIZE_BYTES: usize = 4;

/// Fences in a block.
pub(super) const BLOCK_FENCE_COUNT: u64 = (BLOCK_ITEM_BYTES / FENCE_SIZE_BYTES) as u64;

/// Bytes of the header item.
pub(super) const HEADER_SIZE_BYTES: usize = 64;

/// The block where entries begin.
pub(super) const ENTRY_BLOCK_START: u64 = 1;

const _: () = assert!(BLOCK_ENTRY_COUNT == 2728 && BLOCK_ITEM_BYTES.is_multiple_of(KEY_ENTRY_SIZE_BYTES));

/// What the header of a run says, and which run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunHeader {
    /// Its number: its file name.
    pub(super) number: u64,
    pub(super) start: LogPosition,
    pub(super) end: LogPosition,
    pub(super) entry_count: u64,
    pub(super) first_time_ms: u64,
    pub(super) last_time_ms: u64,
    pub(super) fence_start: u64,
    pub(super) block_count: u64,
    pub(super) epoch: Epoch,
}

impl RunHeader {
    pub(super) fn file(&self) -> FileName {
        FileName::KeyRun(self.number)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.block_count * BLOCK_SIZE_BYTES as u64
    }

    pub(super) fn entry_block_count(&self) -> u64 {
        self.entry_count.div_ceil(BLOCK_ENTRY_COUNT)
    }

    /// Whether this one's part of the log lies inside the other's.
    pub(super) fn is_inside(&self, other: &Self) -> bool {
        other.start <= self.start && self.end <= other.end
    }

    pub(super) fn encode(&self, bytes: &mut [u8]) {
        let words = [
            self.start.get(),
            self.end.get(),
            self.entry_count,
            self.first_time_ms,
            self.last_time_ms,
            self.fence_start,
            self.block_count,
            u64::from(self.epoch.get()),
        ];
        for (place, word) in bytes[..HEADER_SIZE_BYTES].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn decode(number: u64, bytes: &[u8]) -> Self {
        Self {
            number,
            start: LogPosition::new(block::u64_at(bytes, 0)),
            end: LogPosition::new(block::u64_at(bytes, 8)),
            entry_count: block::u64_at(bytes, 16),
            first_time_ms: block::u64_at(bytes, 24),
            last_time_ms: block::u64_at(bytes, 32),
            fence_start: block::u64_at(bytes, 40),
            block_count: block::u64_at(bytes, 48),
            epoch: Epoch::new(block::u32_at(bytes, 56)),
        }
    }
}

/// A durable run: what is kept of it in memory.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) log_id: u128,
    pub(super) header: RunHeader,
    /// The upper half of the first hash of each block.
    pub(super) fences: Vec<u32>,
    /// A block of it did not check: it is given up, and its part of the log is scanned again.
    pub(super) damaged: Cell<bool>,
}

/// What a look-up asks: the newest entries of a hash below a position, of a span of store times (both ends included).
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) hash: u64,
    pub(super) below: LogPosition,
    pub(super) begin_ms: u64,
    pub(super) end_ms: u64,
}

impl Wanted {
    /// Whether an entry comes before the end of what is wanted, in the order of a run. Times rise with positions.
    fn is_before_end(&self, entry: &KeyEntry) -> bool {
        entry.order() < (self.hash, self.below) && (entry.hash < self.hash || entry.store_time_ms() <= self.end_ms)
    }

    /// Whether this entry of the hash is wanted.
    pub(super) fn takes(&self, entry: &KeyEntry) -> bool {
        entry.position < self.below && (self.begin_ms..=self.end_ms).contains(&entry.store_time_ms())
    }
}

pub(super) fn fence_of(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("the upper half")
}

impl Run {
    pub(super) fn label(&self, number: u64, kind: Kind) -> Label {
        Label { log_id: self.log_id, number: self.header.number, block: number, kind }
    }

    /// Whether the run may hold something that is wanted.
    pub(super) fn may_hold(&self, wanted: &Wanted) -> bool {
        let header = &self.header;
        header.entry_count > 0
            && header.start < wanted.below
            && header.first_time_ms <= wanted.end_ms
            && wanted.begin_ms <= header.last_time_ms
    }

    /// The entry blocks in which a hash may lie.
    fn blocks(&self, hash: u64) -> (usize, usize) {
        let fence = fence_of(hash);
        let first = self.fences.partition_point(|candidate| *candidate < fence).saturating_sub(1);
        let end = self.fences.partition_point(|candidate| *candidate <= fence).max(first + 1);
        (first, end)
    }

    /// Lets the cache load the block that a look-up will most likely end at.
    pub(super) fn expect(&self, cache: &mut BlockCache, hash: u64) {
        let (_, end) = self.blocks(hash);
        let number = ENTRY_BLOCK_START + end as u64 - 1;
        cache.expect(Place::of(self.header.file(), number * BLOCK_SIZE_BYTES as u64), self.header.size_bytes());
    }

    /// Appends up to `count_max` wanted entries to `out`, newest first. Fewer only when there are no more, or the rest is
    /// not there yet: whether there may be more.
    ///
    /// # Errors
    /// [`Cold`]; nothing was appended then.
    pub(super) fn newest(
        &self,
        cache: &mut BlockCache,
        wanted: &Wanted,
        count_max: usize,
        out: &mut Vec<KeyEntry>,
    ) -> Result<bool, Cold> {
        let (mut first, mut end) = self.blocks(wanted.hash);
        // The last block whose first entry is before the end.
        while end - first > 1 {
            let middle = first.midpoint(end);
            let (block, _) = self.entries(cache, middle)?;
            if wanted.is_before_end(&entry_in(&block, 0)) { first = middle } else { end = middle }
        }
        let mut number = first;
        let start = out.len();
        loop {
            let (block, count) = match self.entries(cache, number) {
                Ok(found) => found,
                Err(_) if out.len() > start => return Ok(true),
                Err(cold) => return Err(cold),
            };
            let mut index = partition_point(count, |index| wanted.is_before_end(&entry_in(&block, index)));
            while index > 0 {
                index -= 1;
                let entry = entry_in(&block, index);
                if entry.hash != wanted.hash || entry.store_time_ms() < wanted.begin_ms {
                    return Ok(false);
                }
                if out.len() - start == count_max {
                    return Ok(true);
                }
                out.push(entry);
            }
            if number == 0 {
                return Ok(false);
            }
            number -= 1;
        }
    }

    /// An entry block and how many are in it.
    fn entries(&self, cache: &mut BlockCache, index: usize) -> Result<(Block, usize), Cold> {
        let number = ENTRY_BLOCK_START + index as u64;
        let place = Place::of(self.header.file(), number * BLOCK_SIZE_BYTES as u64);
        let label = self.label(number, Kind::KeyEntries);
        let check = |bytes: &[u8]| block::check(bytes, label, KEY_ENTRY_SIZE_BYTES);
        match cache.get_checked(place, BLOCK_SIZE_BYTES, self.header.size_bytes(), check) {
            Ok(cached) => {
                let count = block::item_count(&cached.block) as usize;
                Ok((cached.block, count))
            }
            Err(Miss::NotYet) => Err(Cold::NotYet),
            Err(Miss::Failed(error)) => Err(Cold::Failed(error)),
            Err(Miss::Damaged(why)) => {
                self.damaged.set(true);
                Err(Cold::Damaged(why))
            }
        }
    }
}

/// Entry `index` of a checked entry block.
pub(super) fn entry_in(block: &[u8], index: usize) -> KeyEntry {
    KeyEntry::decode(block::item(block, index, KEY_ENTRY_SIZE_BYTES))
}

fn partition_point(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
