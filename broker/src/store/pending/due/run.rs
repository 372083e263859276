//! A run: one file of entries sorted by due time and origin, written once. It says itself what it covers.
//!
//! A file of 64 KiB blocks (`index::block` draws what is common to them):
//!
//! ```text
//! block 0           header: one item, below
//! 1 ..              entries: 1364 a block, by (due, origin)           48 B each (`entry.rs`)
//! fences ..         the key (due ms u64, origin u64) of each block's first entry
//! ```
//! The fences begin where there is room for the most entries that the run might have got. Header:
//!
//! ```text
//! 0   start u64              what the log says from here (the end of the run before, 0 for the first) ...
//! 8   end u64                ... to here, a commit's end, changes what older runs say by the entries of this one
//! 16  entry count u64
//! 24  floor u64              ms: of what older runs hold, all that is due before was settled by `told to`
//! 32  last due u64           ms, of the last entry
//! 40  lowest position u64    of a message in it
//! 48  delays u64             pending in all at `end`, ...
//! 56  timers u64             ... of each kind, ...
//! 64  owed bytes u64         ... with so many bytes of log, ...
//! 72  digest u64             ... and such a sum of hashes
//! 80  fence start u64        block number
//! 88  block count u64        of the file
//! 96  epoch u32              of the log at `end`
//! 100 told epoch u32         of the log at `told to`
//! 104 told to u64            `end`, or, after a merge that made use of what newer runs say, where those end
//! ```
//! The header is written when all else is durable, so a file with a header is whole. No other file names the runs: those
//! with a sound header that follow each other from 0 on are the index. One whose part of the log lies inside another's was
//! merged into it.

use super::entry::{self, DUE_ENTRY_SIZE_BYTES, DueKey, Said};
use super::totals::Totals;
use crate::disk::{Block, FileName};
use crate::store::cache::{BlockCache, Miss, Place};
use crate::store::index::Cold;
use crate::store::index::block::{self, BLOCK_ITEM_BYTES, BLOCK_SIZE_BYTES, Kind, Label};
use ringmq_proto::ids::{Epoch, LogPosition};

/// Entries in a block.
pub(super) const BLOCK_ENTRY_COUNT: u64 = (BLOCK_ITEM_BYTES / DUE_ENTRY_SIZE_BYTES) as u64;

/// Bytes of a fence.
pub(super) const FENCE_SIZE_BYTES: usize = 16;

/// Fences in a block.
pub(super) const BLOCK_FENCE_COUNT: u64 = (BLOCK_ITEM_BYTES / FENCE_SIZE_BYTES) as u64;

/// Bytes of the header item.
pub(super) const HEADER_SIZE_BYTES: usize = 112;

/// The block where entries begin.
pub(super) const ENTRY_BLOCK_START: u64 = 1;

const _: () = assert!(BLOCK_ENTRY_COUNT == 1364 && BLOCK_ITEM_BYTES.is_multiple_of(DUE_ENTRY_SIZE_BYTES));

/// What the header of a run says, and which run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunHeader {
    /// Its number: its file name.
    pub(super) number: u64,
    pub(super) start: LogPosition,
    pub(super) end: LogPosition,
    pub(super) entry_count: u64,
    pub(super) floor_ms: u64,
    pub(super) last_due_ms: u64,
    pub(super) position_min: LogPosition,
    pub(super) totals: Totals,
    pub(super) fence_start: u64,
    pub(super) block_count: u64,
    pub(super) epoch: Epoch,
    pub(super) told_to: LogPosition,
    pub(super) told_epoch: Epoch,
}

impl RunHeader {
    pub(super) fn file(&self) -> FileName {
        FileName::DueRun(self.number)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.block_count * BLOCK_SIZE_BYTES as u64
    }

    pub(super) fn entry_block_count(&self) -> u64 {
        self.entry_count.div_ceil(BLOCK_ENTRY_COUNT)
    }

    pub(super) fn encode(&self, bytes: &mut [u8]) {
        let words = [
            self.start.get(),
            self.end.get(),
            self.entry_count,
            self.floor_ms,
            self.last_due_ms,
            self.position_min.get(),
            self.totals.delays,
            self.totals.timers,
            self.totals.owed_bytes,
            self.totals.digest,
            self.fence_start,
            self.block_count,
            u64::from(self.epoch.get()) | u64::from(self.told_epoch.get()) << 32,
            self.told_to.get(),
        ];
        for (place, word) in bytes[..HEADER_SIZE_BYTES].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn decode(number: u64, bytes: &[u8]) -> Self {
        let word = |index: usize| block::u64_at(bytes, 8 * index);
        Self {
            number,
            start: LogPosition::new(word(0)),
            end: LogPosition::new(word(1)),
            entry_count: word(2),
            floor_ms: word(3),
            last_due_ms: word(4),
            position_min: LogPosition::new(word(5)),
            totals: Totals { delays: word(6), timers: word(7), owed_bytes: word(8), digest: word(9) },
            fence_start: word(10),
            block_count: word(11),
            epoch: Epoch::new(block::u32_at(bytes, 96)),
            told_to: LogPosition::new(word(13)),
            told_epoch: Epoch::new(block::u32_at(bytes, 100)),
        }
    }
}

/// A durable run: what is kept of it in memory.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) log_id: u128,
    pub(super) header: RunHeader,
    /// The first key of each entry block.
    pub(super) fences: Vec<DueKey>,
}

impl Run {
    pub(super) fn label(&self, number: u64, kind: Kind) -> Label {
        Label { log_id: self.log_id, number: self.header.number, block: number, kind }
    }

    /// The index of the entry block in which a key lies, if it is there.
    pub(super) fn block_of(&self, key: DueKey) -> usize {
        self.fences.partition_point(|fence| *fence <= key).saturating_sub(1)
    }

    /// Checks entry block `index` of this run: that it is whole, and as full as it has to be.
    pub(super) fn check(&self, index: u64, bytes: &[u8]) -> Result<(), String> {
        block::check(bytes, self.label(ENTRY_BLOCK_START + index, Kind::DueEntries), DUE_ENTRY_SIZE_BYTES)?;
        let expected = (self.header.entry_count - index * BLOCK_ENTRY_COUNT).min(BLOCK_ENTRY_COUNT);
        if u64::from(block::item_count(bytes)) == expected { Ok(()) } else { Err("another count of entries".into()) }
    }

    /// What this run says of a key, if it says anything.
    ///
    /// # Errors
    /// [`Cold`].
    pub(super) fn find(&self, cache: &mut BlockCache, key: DueKey) -> Result<Option<Said>, Cold> {
        if self.fences.first().is_none_or(|first| key < *first) || key.due_ms > self.header.last_due_ms {
            return Ok(None);
        }
        let index = self.block_of(key) as u64;
        let place = Place::of(self.header.file(), (ENTRY_BLOCK_START + index) * BLOCK_SIZE_BYTES as u64);
        let check = |bytes: &[u8]| self.check(index, bytes);
        let block = match cache.get_checked(place, BLOCK_SIZE_BYTES, self.header.size_bytes(), check) {
            Ok(cached) => cached.block,
            Err(Miss::NotYet) => return Err(Cold::NotYet),
            Err(Miss::Failed(error)) => return Err(Cold::Failed(error)),
            Err(Miss::Damaged(why)) => return Err(Cold::Damaged(why)),
        };
        let at = first_from(&block, key);
        let found = (at < block::item_count(&block) as usize).then(|| entry_in(&block, at));
        Ok(found.filter(|(found, _)| *found == key).map(|(_, said)| said))
    }
}

/// Entry `index` of a checked entry block.
pub(super) fn entry_in(block: &Block, index: usize) -> (DueKey, Said) {
    entry::decode(block::item(block, index, DUE_ENTRY_SIZE_BYTES))
}

/// The index of the first entry in a checked entry block whose key is not below `key`.
pub(super) fn first_from(block: &Block, key: DueKey) -> usize {
    let (mut low, mut high) = (0, block::item_count(block) as usize);
    while low < high {
        let middle = low.midpoint(high);
        if entry_in(block, middle).0 < key { low = middle + 1 } else { high = middle }
    }
    low
}
