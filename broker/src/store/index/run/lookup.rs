//! Questions to an installed run, answered through the block cache.

use ringmq_proto::ids::QueueId;

use super::super::Cold;
use super::super::block::{self, BLOCK_SIZE_BYTES, Kind};
use super::super::entry::{ENTRY_SIZE_BYTES, IndexEntry};
use super::{BLOCK_ENTRY_COUNT, DirectoryRecord, ENTRY_BLOCK_START, RECORD_SIZE_BYTES, Run};
use crate::disk::Block;
use crate::store::cache::{BlockCache, Miss, Place};

/// Where an answer lies between two known keys: guides the first probes of a search.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Span {
    /// The key of the first entry.
    pub(in super::super) first: u64,
    /// The key after the last entry.
    pub(in super::super) end: u64,
    /// The key that is looked for.
    pub(in super::super) target: u64,
}

/// Probes that are guided by keys before a search goes on by halves: a queue's keys are nearly evenly spread, mostly.
const GUIDED_PROBES_MAX: u32 = 3;

impl Run {
    /// What this run holds of `queue`, if anything.
    pub(in super::super) fn record(
        &self,
        cache: &mut BlockCache,
        queue: QueueId,
    ) -> Result<Option<DirectoryRecord>, Cold> {
        if queue < self.header.queue_first || queue > self.header.queue_last {
            return Ok(None);
        }
        let Some(index) = self.tops.partition_point(|first| *first <= queue.get()).checked_sub(1) else {
            return Ok(None);
        };
        let number = self.header.directory_start + index as u64;
        let bytes = self.block(cache, number, Kind::Directory, RECORD_SIZE_BYTES)?;
        let record = |index| block::item(&bytes, index, RECORD_SIZE_BYTES);
        let (mut low, mut high) = (0, block::item_count(&bytes) as usize);
        while low < high {
            let middle = low.midpoint(high);
            if block::u32_at(record(middle), 0) < queue.get() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == block::item_count(&bytes) as usize {
            return Ok(None);
        }
        Ok(Some(DirectoryRecord::decode(record(low))).filter(|record| record.queue == queue))
    }

    /// The ordinal of the first entry of `record` that is not `below`, which must hold for a prefix of them; the end when it
    /// holds for all. `key` is what `span` is about, of an entry; without a span the search goes by halves.
    pub(in super::super) fn search(
        &self,
        cache: &mut BlockCache,
        record: &DirectoryRecord,
        mut span: Option<Span>,
        key: impl Fn(&IndexEntry) -> u64,
        below: impl Fn(&IndexEntry) -> bool,
    ) -> Result<u64, Cold> {
        let (mut low, mut high) = (record.entry_start, record.entry_end());
        let mut probes = 0;
        while low < high {
            let guess = match span {
                Some(span) if probes < GUIDED_PROBES_MAX => guess(low, high, span),
                _ => low.midpoint(high),
            };
            probes += 1;
            let bytes = self.entry_block(cache, guess)?;
            let block_start = guess - guess % BLOCK_ENTRY_COUNT;
            let (part_low, part_high) = (low.max(block_start), high.min(block_start + BLOCK_ENTRY_COUNT));
            let at = |ordinal: u64| entry_in(&bytes, ordinal);
            let (first, last) = (at(part_low), at(part_high - 1));
            if below(&last) {
                low = part_high;
                if let Some(span) = &mut span {
                    span.first = key(&last);
                }
            } else if !below(&first) {
                high = part_low;
                if let Some(span) = &mut span {
                    span.end = key(&first);
                }
            } else {
                let (mut low, mut high) = (part_low, part_high);
                while low < high {
                    let middle = low.midpoint(high);
                    if below(&at(middle)) {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                return Ok(low);
            }
        }
        Ok(low)
    }

    /// The entry at `ordinal`.
    pub(in super::super) fn entry(&self, cache: &mut BlockCache, ordinal: u64) -> Result<IndexEntry, Cold> {
        Ok(entry_in(&self.entry_block(cache, ordinal)?, ordinal))
    }

    /// Appends the entries from `start` on, up to `record_end`, `entries_max`, or the first block after the first one that
    /// is not in the cache (its load is wanted then). Past the middle of a block, the next one is expected: a reader goes on.
    pub(in super::super) fn copy_entries(
        &self,
        cache: &mut BlockCache,
        start: u64,
        record_end: u64,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), Cold> {
        let end = record_end.min(start.saturating_add(entries_max as u64));
        let mut next = start;
        while next < end {
            let bytes = match self.entry_block(cache, next) {
                Ok(bytes) => bytes,
                Err(_) if next > start => return Ok(()),
                Err(cold) => return Err(cold),
            };
            let block_end = next - next % BLOCK_ENTRY_COUNT + BLOCK_ENTRY_COUNT;
            out.extend((next..end.min(block_end)).map(|ordinal| entry_in(&bytes, ordinal)));
            next = end.min(block_end);
        }
        if next % BLOCK_ENTRY_COUNT >= BLOCK_ENTRY_COUNT / 2
            && next - next % BLOCK_ENTRY_COUNT + BLOCK_ENTRY_COUNT < record_end
        {
            let number = ENTRY_BLOCK_START + next / BLOCK_ENTRY_COUNT + 1;
            cache.expect(Place::new(self.header.file(), number), self.header.size_bytes());
        }
        Ok(())
    }

    fn entry_block(&self, cache: &mut BlockCache, ordinal: u64) -> Result<Block, Cold> {
        let number = ENTRY_BLOCK_START + ordinal / BLOCK_ENTRY_COUNT;
        self.block(cache, number, Kind::Entries, ENTRY_SIZE_BYTES)
    }

    fn block(&self, cache: &mut BlockCache, number: u64, kind: Kind, item_size_bytes: usize) -> Result<Block, Cold> {
        let place = Place::new(self.header.file(), number);
        let label = self.header.label(self.log_id, number, kind);
        let check = |bytes: &[u8]| block::check(bytes, label, item_size_bytes);
        match cache.get_checked(place, BLOCK_SIZE_BYTES, self.header.size_bytes(), check) {
            Ok(cached) => Ok(cached.block),
            Err(Miss::NotYet) => Err(Cold::NotYet),
            Err(Miss::Failed(error)) => Err(Cold::Failed(error)),
            Err(Miss::Damaged(why)) => {
                self.damaged.set(true);
                Err(Cold::Damaged(why))
            }
        }
    }
}

/// The entry with this ordinal in the run, out of the block that holds it.
fn entry_in(bytes: &[u8], ordinal: u64) -> IndexEntry {
    let index = usize::try_from(ordinal % BLOCK_ENTRY_COUNT).expect("less than a block");
    IndexEntry::decode(block::item(bytes, index, ENTRY_SIZE_BYTES))
}

/// Where between `low` and `high` the target of an evenly spread span lies.
fn guess(low: u64, high: u64, span: Span) -> u64 {
    let keys = u128::from(span.end.saturating_sub(span.first).max(1));
    let into = u128::from(span.target.saturating_sub(span.first)).min(keys);
    let offset = u128::from(high - low) * into / keys;
    (low + u64::try_from(offset).expect("at most the distance")).min(high - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guess_is_exact_for_dense_keys_and_stays_inside_for_all_others() {
        for target in 100..200 {
            assert_eq!(guess(1000, 1100, Span { first: 100, end: 200, target }), 900 + target);
        }
        for target in [0, 99, 200, u64::MAX] {
            let found = guess(1000, 1100, Span { first: 100, end: 200, target });
            assert!((1000..1100).contains(&found), "{found}");
        }
        assert_eq!(guess(5, 6, Span { first: 9, end: 9, target: 9 }), 5, "no distance between the keys");
    }
}
