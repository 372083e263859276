//! The recent entries: those that no run holds yet, by queue, in memory.
//!
//! Queue ids are dense and allocated upwards, so queues live in a table of pages of [`PAGE_QUEUE_COUNT`]. A queue costs 32
//! bytes while it has no recent entries. Its entries are a tail that grows up to [`CHUNK_ENTRY_COUNT`], and full chunks
//! before it: no queue's growth ever copies more than one chunk, and dropping a prefix frees whole chunks. A page whose
//! queues were all removed is freed; ids are never used again.

use std::collections::VecDeque;

use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};

use super::entry::{ENTRY_SIZE_BYTES, IndexEntry};
use crate::disk::prefetch::{prefetch, prefetch_line};

/// Queues of a page.
pub(super) const PAGE_QUEUE_COUNT: usize = 1024;

/// Entries of a full chunk (4 KiB).
pub(super) const CHUNK_ENTRY_COUNT: usize = 128;

/// Entries that a tail has room for at first.
const TAIL_ENTRY_COUNT_MIN: usize = 4;

/// By how much a full tail grows. Every growth touches cold memory of the allocator: with 100 000 active queues that is
/// most of what an entry costs.
const TAIL_GROWTH: usize = 4;

/// A tail of which at least the `TAIL_USE_MIN`th part was filled is likely to be filled again.
const TAIL_USE_MIN: usize = 4;

/// Entries in a cache line.
const LINE_ENTRY_COUNT: usize = 64 / ENTRY_SIZE_BYTES;

/// Lines of one queue that a walk asks for ahead; the processor itself goes on from there.
const SWEPT_LINE_COUNT: usize = 8;

const WORD_COUNT: usize = PAGE_QUEUE_COUNT / 64;

/// Chunks before the tail, each full.
struct Full {
    chunks: VecDeque<Box<[IndexEntry; CHUNK_ENTRY_COUNT]>>,
    /// Leading entries of the first chunk that were dropped.
    dropped: usize,
}

/// The recent entries of one queue, in the order of offsets, positions and times alike.
#[derive(Default)]
#[repr(align(32))]
pub(super) struct Recent {
    tail: Vec<IndexEntry>,
    full: Option<Box<Full>>,
}

const _: () = assert!(size_of::<Recent>() == 32);

struct Page {
    queues: [Recent; PAGE_QUEUE_COUNT],
    /// Queues with memory for entries.
    occupied: [u64; WORD_COUNT],
    /// Queues that were removed.
    removed: [u64; WORD_COUNT],
}

enum PageSlot {
    /// No queue of it was seen yet.
    Absent,
    Live(Box<Page>),
    /// All its queues were removed.
    Gone,
}

/// The recent entries of all queues.
#[derive(Default)]
pub(super) struct RecentTable {
    pages: Vec<PageSlot>,
    entry_count: usize,
    queue_count: usize,
    capacity_bytes: usize,
}

impl Recent {
    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.full_len() + self.tail.len()
    }

    /// The entry at `index`, counted from the oldest.
    pub(super) fn get(&self, index: usize) -> IndexEntry {
        match &self.full {
            Some(full) if index < full.len() => {
                let place = index + full.dropped;
                full.chunks[place / CHUNK_ENTRY_COUNT][place % CHUNK_ENTRY_COUNT]
            }
            _ => self.tail[index - self.full_len()],
        }
    }

    /// Neighbouring entries from `start` on: at least one, up to the end of their chunk.
    pub(super) fn slice_from(&self, start: usize) -> &[IndexEntry] {
        match &self.full {
            Some(full) if start < full.len() => {
                let place = start + full.dropped;
                &full.chunks[place / CHUNK_ENTRY_COUNT][place % CHUNK_ENTRY_COUNT..]
            }
            _ => &self.tail[start - self.full_len()..],
        }
    }

    /// The oldest entry.
    pub(super) fn first(&self) -> Option<IndexEntry> {
        (self.len() > 0).then(|| self.get(0))
    }

    /// The newest entry.
    pub(super) fn last(&self) -> Option<IndexEntry> {
        (self.len() > 0).then(|| self.get(self.len() - 1))
    }

    /// The index of the entry that begins at `offset`, if it is where it is when all entries are single messages.
    pub(super) fn guess(&self, offset: QueueOffset) -> Option<usize> {
        let distance = offset.get().checked_sub(self.first()?.offset.get())?;
        let index = usize::try_from(distance).ok().filter(|index| *index < self.len())?;
        (self.get(index).offset == offset).then_some(index)
    }

    /// The index of the first entry that is not `below`, which must hold for a prefix.
    pub(super) fn partition_point(&self, below: impl Fn(&IndexEntry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if below(&self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many entries lie below a position.
    pub(super) fn count_below(&self, position: LogPosition) -> usize {
        match (self.first(), self.last()) {
            (Some(first), _) if first.position >= position => 0,
            (_, Some(last)) if last.position < position => self.len(),
            _ => self.partition_point(|entry| entry.position < position),
        }
    }

    fn full_len(&self) -> usize {
        self.full.as_ref().map_or(0, |full| full.len())
    }

    fn capacity_bytes(&self) -> usize {
        let full = self.full.as_ref().map_or(0, |full| full.chunks.len() * CHUNK_ENTRY_COUNT);
        (self.tail.capacity() + full) * ENTRY_SIZE_BYTES
    }

    /// Makes room for one more entry: the tail has none left.
    #[cold]
    fn grow(&mut self) {
        if self.tail.len() < CHUNK_ENTRY_COUNT {
            let capacity = (self.tail.len() * TAIL_GROWTH).clamp(TAIL_ENTRY_COUNT_MIN, CHUNK_ENTRY_COUNT);
            self.tail.reserve_exact(capacity - self.tail.len());
            return;
        }
        let chunk = std::mem::replace(&mut self.tail, Vec::with_capacity(CHUNK_ENTRY_COUNT));
        let chunk = chunk.into_boxed_slice().try_into().expect("a full tail has the entries of a chunk");
        let full = self.full.get_or_insert_with(|| Box::new(Full { chunks: VecDeque::new(), dropped: 0 }));
        full.chunks.push_back(chunk);
    }

    /// Drops the entries below `end`; returns how many. With `keep_room` a tail that made use of its room keeps it.
    fn drop_below(&mut self, end: LogPosition, keep_room: bool) -> usize {
        let count = self.count_below(end);
        let in_full = count.min(self.full_len());
        if let Some(full) = &mut self.full {
            full.dropped += in_full;
            while full.dropped >= CHUNK_ENTRY_COUNT {
                full.dropped -= CHUNK_ENTRY_COUNT;
                full.chunks.pop_front();
            }
            if full.chunks.is_empty() {
                self.full = None;
            }
        }
        let in_tail = count - in_full;
        if keep_room && in_tail * TAIL_USE_MIN >= self.tail.capacity() {
            self.tail.drain(..in_tail);
        } else if in_tail == self.tail.len() && self.full.is_none() {
            self.tail = Vec::new();
        } else {
            self.tail.drain(..in_tail);
            if self.full.is_none() && self.tail.len() * 4 <= self.tail.capacity() {
                self.tail.shrink_to((self.tail.len() * 2).max(TAIL_ENTRY_COUNT_MIN));
            }
        }
        count
    }
}

impl Full {
    fn len(&self) -> usize {
        self.chunks.len() * CHUNK_ENTRY_COUNT - self.dropped
    }
}

impl Page {
    fn new() -> Box<Self> {
        let queues = std::array::from_fn(|_| Recent::default());
        Box::new(Self { queues, occupied: [0; WORD_COUNT], removed: [0; WORD_COUNT] })
    }
}

impl RecentTable {
    /// Entries of all queues.
    pub(super) fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// Queues that have memory for entries: at least those that have some.
    pub(super) fn queue_count(&self) -> usize {
        self.queue_count
    }

    /// Bytes taken by entries, pages and the table.
    pub(super) fn memory_bytes(&self) -> usize {
        let page_bytes = size_of::<Page>();
        let pages = self.pages.iter().filter(|page| matches!(page, PageSlot::Live(_))).count();
        self.capacity_bytes + pages * page_bytes + self.pages.capacity() * size_of::<PageSlot>()
    }

    /// Bytes taken by entries, their spare room included.
    pub(super) fn entry_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Appends an entry to a queue; the entries of a removed queue are ignored.
    #[inline(always)]
    pub(super) fn add(&mut self, queue: QueueId, entry: IndexEntry) {
        if !self.has_room(queue) && !self.make_room(queue) {
            return;
        }
        let (page_number, number) = place(queue);
        let Some(PageSlot::Live(page)) = self.pages.get_mut(page_number) else { return };
        let tail = &mut page.queues[number].tail;
        debug_assert!(tail.last().is_none_or(|last| last.next_offset() <= entry.offset));
        tail.push(entry);
        self.entry_count += 1;
    }

    #[inline]
    fn has_room(&self, queue: QueueId) -> bool {
        let (page_number, number) = place(queue);
        let Some(PageSlot::Live(page)) = self.pages.get(page_number) else { return false };
        let tail = &page.queues[number].tail;
        tail.len() < tail.capacity()
    }

    /// Makes room for one more entry of a queue that has none left; false when the queue was removed.
    #[cold]
    fn make_room(&mut self, queue: QueueId) -> bool {
        let (page_number, number) = place(queue);
        if page_number >= self.pages.len() {
            self.pages.resize_with(page_number + 1, || PageSlot::Absent);
        }
        if let PageSlot::Absent = self.pages[page_number] {
            self.pages[page_number] = PageSlot::Live(Page::new());
        }
        let PageSlot::Live(page) = &mut self.pages[page_number] else { return false };
        if bit(&page.removed, number) {
            return false;
        }
        let recent = &mut page.queues[number];
        let before = recent.capacity_bytes();
        recent.grow();
        self.capacity_bytes += recent.capacity_bytes() - before;
        if !bit(&page.occupied, number) {
            set_bit(&mut page.occupied, number);
            self.queue_count += 1;
        }
        true
    }

    /// Asks for the queue's line ahead of an [`RecentTable::add`].
    #[inline]
    pub(super) fn prefetch(&self, queue: QueueId) {
        let (page_number, number) = place(queue);
        if let Some(PageSlot::Live(page)) = self.pages.get(page_number) {
            prefetch(&page.queues[number]);
        }
    }

    /// Asks for the line that the queue's next entry will be written to; the queue's own line should be there by now.
    #[inline]
    pub(super) fn prefetch_room(&self, queue: QueueId) {
        let (page_number, number) = place(queue);
        if let Some(PageSlot::Live(page)) = self.pages.get(page_number) {
            let tail = &page.queues[number].tail;
            prefetch_line(tail.as_ptr().addr() + tail.len() * ENTRY_SIZE_BYTES);
        }
    }

    /// Asks for the lines of a queue's newest entries, for a walk over all queues that will come to it soon.
    pub(super) fn prefetch_entries(&self, queue: QueueId) {
        let (page_number, number) = place(queue);
        if let Some(PageSlot::Live(page)) = self.pages.get(page_number) {
            let tail = &page.queues[number].tail;
            for entry in tail.iter().step_by(LINE_ENTRY_COUNT).take(SWEPT_LINE_COUNT) {
                prefetch(entry);
            }
        }
    }

    /// The recent entries of a queue, if it has any.
    pub(super) fn get(&self, queue: QueueId) -> Option<&Recent> {
        let (page_number, number) = place(queue);
        match self.pages.get(page_number)? {
            PageSlot::Live(page) => Some(&page.queues[number]).filter(|recent| recent.len() > 0),
            _ => None,
        }
    }

    /// Whether the queue was removed.
    pub(super) fn is_removed(&self, queue: QueueId) -> bool {
        let (page_number, number) = place(queue);
        match self.pages.get(page_number) {
            Some(PageSlot::Live(page)) => bit(&page.removed, number),
            Some(PageSlot::Gone) => true,
            _ => false,
        }
    }

    /// The first queue at or after `from` that has memory for entries, looking at no more than `pages_max` pages: the queue,
    /// or where to go on, or nothing at the end.
    pub(super) fn next_occupied(&self, from: u64, pages_max: usize) -> Sweep {
        let mut place = usize::try_from(from).expect("queue ids fit");
        for _ in 0..pages_max {
            let page_number = place / PAGE_QUEUE_COUNT;
            let Some(page) = self.pages.get(page_number) else { return Sweep::End };
            if let PageSlot::Live(page) = page {
                let first_word = place % PAGE_QUEUE_COUNT / 64;
                for word in first_word..WORD_COUNT {
                    let skipped = if word == first_word { place % 64 } else { 0 };
                    let bits = page.occupied[word] & (u64::MAX << skipped);
                    if bits != 0 {
                        let number = page_number * PAGE_QUEUE_COUNT + word * 64 + bits.trailing_zeros() as usize;
                        return Sweep::Queue(QueueId::new(u32::try_from(number).expect("queue ids are u32")));
                    }
                }
            }
            place = (page_number + 1) * PAGE_QUEUE_COUNT;
        }
        Sweep::GoOn(place as u64)
    }

    /// Drops a queue's entries below `end`: a run holds them now. Its room stays for the next ones while all room together
    /// is at most `room_bytes_max`: to take it anew costs more than an entry.
    pub(super) fn drop_below(&mut self, queue: QueueId, end: LogPosition, room_bytes_max: usize) {
        let (page_number, number) = place(queue);
        let Some(PageSlot::Live(page)) = self.pages.get_mut(page_number) else { return };
        let recent = &mut page.queues[number];
        let before = recent.capacity_bytes();
        self.entry_count -= recent.drop_below(end, self.capacity_bytes <= room_bytes_max);
        self.capacity_bytes = self.capacity_bytes + recent.capacity_bytes() - before;
        if recent.capacity_bytes() == 0 && clear_bit(&mut page.occupied, number) {
            self.queue_count -= 1;
        }
    }

    /// Forgets all entries, but not which queues were removed.
    pub(super) fn clear(&mut self) {
        for page in &mut self.pages {
            if let PageSlot::Live(page) = page {
                page.queues.fill_with(Recent::default);
                page.occupied = [0; WORD_COUNT];
            }
        }
        (self.entry_count, self.queue_count, self.capacity_bytes) = (0, 0, 0);
    }

    /// Forgets a queue for good. The page goes with its last queue.
    pub(super) fn remove(&mut self, queue: QueueId) {
        let (page_number, number) = place(queue);
        if page_number >= self.pages.len() {
            self.pages.resize_with(page_number + 1, || PageSlot::Absent);
        }
        if let PageSlot::Absent = self.pages[page_number] {
            self.pages[page_number] = PageSlot::Live(Page::new());
        }
        let PageSlot::Live(page) = &mut self.pages[page_number] else { return };
        let recent = std::mem::take(&mut page.queues[number]);
        self.entry_count -= recent.len();
        self.capacity_bytes -= recent.capacity_bytes();
        if clear_bit(&mut page.occupied, number) {
            self.queue_count -= 1;
        }
        set_bit(&mut page.removed, number);
        if page.removed.iter().all(|word| *word == u64::MAX) {
            self.pages[page_number] = PageSlot::Gone;
        }
    }
}

/// One step of a walk over the queues that have entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    /// This one is next.
    Queue(QueueId),
    /// None in what was looked at: go on from here.
    GoOn(u64),
    /// There are no more.
    End,
}

#[inline]
fn place(queue: QueueId) -> (usize, usize) {
    let number = queue.get() as usize;
    (number / PAGE_QUEUE_COUNT, number % PAGE_QUEUE_COUNT)
}

fn bit(words: &[u64; WORD_COUNT], number: usize) -> bool {
    words[number / 64] & 1 << (number % 64) != 0
}

fn set_bit(words: &mut [u64; WORD_COUNT], number: usize) {
    words[number / 64] |= 1 << (number % 64);
}

/// Clears a bit; whether it was set.
fn clear_bit(words: &mut [u64; WORD_COUNT], number: usize) -> bool {
    let was_set = bit(words, number);
    words[number / 64] &= !(1 << (number % 64));
    was_set
}
