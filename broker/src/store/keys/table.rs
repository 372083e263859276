//! Entries in memory: in log order, and found by their hash.
//!
//! An entry takes 32 bytes: the 24 of `entry.rs`, and the number of the newest older entry whose hash begins with the
//! same [`BUCKET_BITS`] bits. A table of heads (1 MiB, made with the first entry) has the newest of each. So an entry
//! costs two writes, a look-up follows one chain from new to old, and a walk through the buckets in their order gives
//! all entries in the order of their hashes: a flush needs no other sort than that of a few entries.

use super::entry::KeyEntry;
use crate::disk::prefetch::prefetch;

const BUCKET_BITS: u32 = 18;
const BUCKET_COUNT: usize = 1 << BUCKET_BITS;
const CHUNK_ENTRY_COUNT: usize = 8192;
/// Chains that a walk follows abreast: each step is a cache miss, and those of different chains overlap.
const WALK_BUCKET_COUNT: usize = 32;
/// No entry: the end of a chain.
const NONE: u32 = 0;

#[derive(Clone, Copy, Debug)]
struct Slot {
    entry: KeyEntry,
    /// Counted from 1.
    older: u32,
}

/// Bytes that an entry takes here.
pub const KEY_SLOT_SIZE_BYTES: usize = 32;

const _: () = assert!(size_of::<Slot>() == KEY_SLOT_SIZE_BYTES);

/// Entries in memory.
#[derive(Debug, Default)]
pub(super) struct Table {
    chunks: Vec<Vec<Slot>>,
    len: usize,
    heads: Vec<u32>,
}

/// A walk through a table in the order of (hash, position).
#[derive(Debug, Default)]
pub(super) struct Walk {
    bucket: usize,
    /// The entries of the buckets before it that were not given yet, the last one first.
    left: Vec<KeyEntry>,
}

const _: () = assert!(BUCKET_COUNT.is_multiple_of(WALK_BUCKET_COUNT));

fn bucket(hash: u64) -> usize {
    usize::try_from(hash >> (64 - BUCKET_BITS)).expect("18 bits")
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_ENTRY_COUNT * KEY_SLOT_SIZE_BYTES + self.heads.len() * size_of::<u32>()
    }

    /// Appends an entry, whose position is not below the last one's.
    #[inline]
    pub(super) fn push(&mut self, entry: KeyEntry) {
        if self.len.is_multiple_of(CHUNK_ENTRY_COUNT) {
            self.grow();
        }
        self.len += 1;
        let number = u32::try_from(self.len).expect("tables are bounded");
        let head = &mut self.heads[bucket(entry.hash)];
        let older = std::mem::replace(head, number);
        self.chunks.last_mut().expect("just grown").push(Slot { entry, older });
    }

    #[cold]
    fn grow(&mut self) {
        if self.heads.is_empty() {
            self.heads = vec![NONE; BUCKET_COUNT];
        }
        self.chunks.push(Vec::with_capacity(CHUNK_ENTRY_COUNT));
    }

    /// [`Self::push`] of an entry with this hash follows soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(head) = self.heads.get(bucket(hash)) {
            prefetch(head);
        }
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        let index = (number as usize).checked_sub(1)?;
        Some(&self.chunks[index / CHUNK_ENTRY_COUNT][index % CHUNK_ENTRY_COUNT])
    }

    /// The entries of a chain, newest first.
    fn chain(&self, bucket: usize) -> impl Iterator<Item = KeyEntry> + '_ {
        let mut next = self.heads.get(bucket).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let slot = self.slot(next)?;
            next = slot.older;
            Some(slot.entry)
        })
    }

    /// The entries of a hash, newest first.
    pub(super) fn newest(&self, hash: u64) -> impl Iterator<Item = KeyEntry> + '_ {
        self.chain(bucket(hash)).filter(move |entry| entry.hash == hash)
    }

    /// Store times of the first and the last entry.
    pub(super) fn times_ms(&self) -> (u64, u64) {
        let first = self.chunks.first().and_then(|chunk| chunk.first());
        let last = self.chunks.last().and_then(|chunk| chunk.last());
        let time = |slot: Option<&Slot>| slot.map_or(0, |slot| slot.entry.store_time_ms());
        (time(first), time(last))
    }
}

impl Walk {
    /// Appends the next entries of the walk to `out`: at most `count_max`, after a look at a bounded number of buckets.
    /// False when there are no more.
    pub(super) fn next(&mut self, table: &Table, count_max: usize, out: &mut Vec<KeyEntry>) -> bool {
        for _ in 0..count_max.div_ceil(WALK_BUCKET_COUNT) {
            if self.left.is_empty() {
                if self.bucket >= table.heads.len() {
                    return false;
                }
                self.gather(table);
            }
            let taken = self.left.len().min(count_max - out.len());
            out.extend(self.left.drain(self.left.len() - taken..).rev());
            if out.len() >= count_max {
                return true;
            }
        }
        true
    }
}

impl Walk {
    /// Takes the entries of the next buckets.
    fn gather(&mut self, table: &Table) {
        let mut chains = [NONE; WALK_BUCKET_COUNT];
        chains.copy_from_slice(&table.heads[self.bucket..self.bucket + WALK_BUCKET_COUNT]);
        let mut is_more = true;
        while is_more {
            is_more = false;
            for next in &mut chains {
                if let Some(slot) = table.slot(*next) {
                    self.left.push(slot.entry);
                    *next = slot.older;
                    is_more = true;
                }
            }
        }
        self.left.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.order()));
        self.bucket += WALK_BUCKET_COUNT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_proto::ids::LogPosition;

    #[test]
    fn chain_gives_newest_first_and_a_walk_gives_the_order_of_runs() {
        let mut table = Table::default();
        assert_eq!(table.newest(7).count(), 0);
        let hash =
            |number: u64| if number.is_multiple_of(10) { 7 << 50 } else { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        for number in 0..20_000 {
            table.push(KeyEntry::new(hash(number), LogPosition::new(number * 100), 0, number));
        }
        let newest: Vec<_> = table.newest(7 << 50).map(|entry| entry.store_time_ms()).collect();
        assert_eq!(newest, (0..2000).map(|number| 19_990 - number * 10).collect::<Vec<_>>());
        assert_eq!(table.times_ms(), (0, 19_999));

        let (mut walk, mut walked, mut slice) = (Walk::default(), Vec::new(), Vec::new());
        loop {
            let more = walk.next(&table, 512, &mut slice);
            assert!(slice.len() <= 512);
            walked.append(&mut slice);
            if !more {
                break;
            }
        }
        assert_eq!(walked.len(), 20_000);
        assert!(walked.is_sorted_by(|left, right| left.order() < right.order()));
    }
}
