//! The hot tail: the newest bytes of the log in memory, in pages that are aligned to log positions.
//!
//! A written commit is copied here once and its block goes back to the pool (a copy of 155 B is ~10 ns and leaves the
//! memory exact and the lookup a shift; ARCHITECTURE says what else was considered). Full pages are frozen: a reader may
//! hold one by count while the tail moves on. The page that is being filled is only lent.

use crate::disk::{Block, BlockMut, BlockPool};
use ringmq_proto::ids::LogPosition;
use std::collections::VecDeque;

/// Bytes of a page.
pub const TAIL_PAGE_SIZE_BYTES: usize = 1 << 20;
const PAGE: u64 = TAIL_PAGE_SIZE_BYTES as u64;

/// One contiguous part of a record, in memory.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Valid while the store is not changed: copy it.
    Lent(&'a [u8]),
    /// May be held: `block[start..start + length]`.
    Shared {
        /// Holds the bytes.
        block: &'a Block,
        /// The first of them.
        start: usize,
        /// How many.
        length: usize,
    },
}

impl<'a> Piece<'a> {
    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Shared { block, start, length } => &block[*start..*start + *length],
        }
    }
}

/// The newest part of one shard's log.
#[derive(Debug)]
pub struct HotTail {
    pool: BlockPool,
    page_count_max: usize,
    /// Number (position / page size) of the first frozen page.
    first_page: u64,
    frozen: VecDeque<Block>,
    filling: Option<BlockMut>,
    /// Everything from here to `end` is in memory.
    start: LogPosition,
    end: LogPosition,
}

impl HotTail {
    /// An empty tail at `end` that keeps at most about `size_bytes`, at least two pages.
    pub fn new(pool: BlockPool, size_bytes: usize, end: LogPosition) -> Self {
        Self {
            pool,
            page_count_max: (size_bytes / TAIL_PAGE_SIZE_BYTES).max(2),
            first_page: end.get() / PAGE,
            frozen: VecDeque::new(),
            filling: None,
            start: end,
            end,
        }
    }

    /// The first position in memory.
    pub fn start(&self) -> LogPosition {
        self.start
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        (self.frozen.len() + usize::from(self.filling.is_some())) * TAIL_PAGE_SIZE_BYTES
    }

    /// Takes a written commit. What lies between the last one and `position` (the dead end of a segment) reads as anything.
    pub fn append(&mut self, position: LogPosition, bytes: &[u8]) {
        assert!(position >= self.end, "tail append at {position}, end {}", self.end);
        self.move_to(position);
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = (self.end.get() % PAGE) as usize;
            let page = self.filling.get_or_insert_with(|| self.pool.take(TAIL_PAGE_SIZE_BYTES));
            let count = rest.len().min(TAIL_PAGE_SIZE_BYTES - at);
            page[at..at + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            self.move_to(self.end.plus(count as u64));
        }
    }

    /// Moves the end, freezing every page that it leaves.
    fn move_to(&mut self, end: LogPosition) {
        while self.end.get() / PAGE < end.get() / PAGE {
            let page = self.filling.take().unwrap_or_else(|| self.pool.take(TAIL_PAGE_SIZE_BYTES));
            self.frozen.push_back(page.freeze());
            self.end = LogPosition::new((self.end.get() / PAGE + 1) * PAGE);
        }
        self.end = end;
        while self.frozen.len() >= self.page_count_max {
            self.frozen.pop_front();
            self.first_page += 1;
            self.start = self.start.max(LogPosition::new(self.first_page * PAGE));
        }
    }

    /// Gives the bytes `[position, position + length)` piece by piece; false when they are not all in memory.
    pub fn read<'a>(&'a self, position: LogPosition, length: usize, mut piece: impl FnMut(Piece<'a>)) -> bool {
        if position < self.start || position.plus(length as u64) > self.end {
            return false;
        }
        let mut at = position.get();
        let end = at + length as u64;
        while at < end {
            let page = at / PAGE;
            let count = (end - at).min((page + 1) * PAGE - at);
            #[expect(clippy::cast_possible_truncation, reason = "below the page size")]
            let (start, length) = ((at % PAGE) as usize, count as usize);
            let index = usize::try_from(page - self.first_page).expect("pages in memory");
            match (self.frozen.get(index), &self.filling) {
                (Some(block), _) => piece(Piece::Shared { block, start, length }),
                (None, Some(filling)) => piece(Piece::Lent(&filling[start..start + length])),
                (None, None) => unreachable!("bytes before the end are in a page"),
            }
            at += count;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, reason = "small numbers")]

    use super::*;

    fn read(tail: &HotTail, position: u64, length: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        tail.read(LogPosition::new(position), length, |piece| out.extend_from_slice(piece.bytes())).then_some(out)
    }

    #[test]
    fn tail_gives_back_what_was_appended_and_forgets_the_oldest_page() {
        let start = 3 * PAGE - 1000;
        let mut tail = HotTail::new(BlockPool::new(0), 4 * TAIL_PAGE_SIZE_BYTES, LogPosition::new(start));
        let mut log = Vec::new();
        for round in 0u32..40 {
            let commit: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(31) + round) as u8).collect();
            tail.append(LogPosition::new(start + log.len() as u64), &commit);
            log.extend(commit);
            let oldest = (tail.start().get() - start) as usize;
            for (from, length) in [(oldest, 10), (log.len() - 300_000, 300_000), (log.len() - 1, 1)] {
                assert_eq!(read(&tail, start + from as u64, length).as_deref(), Some(&log[from..from + length]));
            }
            assert_eq!(read(&tail, tail.start().get() - 1, 2), None);
            assert_eq!(read(&tail, start + log.len() as u64 - 1, 2), None, "beyond the end");
            assert!(tail.memory_bytes() <= 4 * TAIL_PAGE_SIZE_BYTES);
        }
    }

    #[test]
    fn tail_steps_over_the_dead_end_of_a_segment() {
        let mut tail = HotTail::new(BlockPool::new(0), 8 << 20, LogPosition::ZERO);
        tail.append(LogPosition::ZERO, &[1; 512]);
        tail.append(LogPosition::new(2 * PAGE), &[2; 512]);
        assert_eq!(read(&tail, 0, 512), Some(vec![1; 512]));
        assert_eq!(read(&tail, 2 * PAGE, 512), Some(vec![2; 512]));
    }
}
