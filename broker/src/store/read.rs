//! Reading: never beyond what is visible, from the hot tail or through the block cache.
//!
//! A read that needs blocks from disk answers *not yet* after asking for them; the caller parks it and tries again when
//! [`super::Store::take_awaited_load`] has ended. Where its records lie close together it asks for large blocks, and the
//! cache reads ahead; where they lie scattered, for small ones, several at once. Bytes that came from disk are checked against the record's CRC each time
//! they are served, and read once more before they are called damaged; what the disk fails to read is nobody's to skip; a record of a group is served only if all of the group is sound. A gap between two entries of the
//! index can come from damage alone, and is said to be damage.

use super::Store;
use super::cache::{Cached, Demanded, Miss, Place, SEGMENT_BLOCK_SIZE_BYTES, SMALL_BLOCK_SIZE_BYTES};
use super::format::{COMMIT_HEADER_SIZE_BYTES, CommitHeader, body_crc};
use super::index::{Cold, IndexEntry};
use super::limits::COMMIT_SIZE_BYTES_MAX;
use super::tail::Piece;
use crate::disk::{Block, FileName};
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{Batch, StoredMessage};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordHeader, RecordKind, RecordView, records};
use std::collections::VecDeque;

/// Takes the records of a read.
pub trait RecordSink {
    /// A record of `size_bytes` with `count` messages follows, in one or more pieces.
    fn begin(&mut self, size_bytes: usize, count: u32);
    /// The next piece of it: bytes to copy, or a slice of a block that may be held.
    fn piece(&mut self, piece: Piece<'_>);
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Records were given to the sink.
    Found {
        /// Behind the last message given.
        next_offset: QueueOffset,
        /// Records given.
        records: u32,
        /// Messages in them (the first record may begin before the offset that was asked for).
        messages: u32,
    },
    /// Nothing visible at or behind the offset yet: hold the request, or answer 19.
    End,
    /// The offset lies outside of what is there: 21 and where to go on.
    Moved {
        /// The nearest offset that is there.
        next_offset: QueueOffset,
    },
    /// Blocks are being loaded.
    NotYet,
    /// What lies at the offset was promised and cannot be read: say so, and where the next sound message is.
    Damaged {
        /// The first offset behind the damage.
        next_offset: QueueOffset,
        /// One sentence.
        remark: String,
    },
    /// It cannot be read now, and nothing says that it is lost: nobody may be told to skip it.
    Failed {
        /// One sentence.
        remark: String,
    },
    /// The queue does not exist: 17.
    Gone,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchOutcome<T> {
    /// The answer.
    Found(T),
    /// Blocks are being loaded.
    NotYet,
    /// The queue does not exist: 17.
    Gone,
    /// The index cannot be read.
    Failed(String),
}

/// What looking at a position found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewOutcome {
    /// One stored message in RocketMQ's layout.
    Found(Vec<u8>),
    /// Blocks are being loaded.
    NotYet,
    /// No message starts there, or it is not retained any more.
    NotFound,
    /// It was promised and cannot be read.
    Damaged(String),
}

/// Memory that reads use again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    entries: Vec<IndexEntry>,
    pub(super) record: Vec<u8>,
    /// Records that came wrong from the disk once: positions.
    doubted: VecDeque<LogPosition>,
}

/// Records that are remembered to have come wrong from the disk once. When reached: the oldest is forgotten, and would be
/// read twice more.
const DOUBTED_MAX: usize = 64;

/// Entries of the index that a read takes at a time: a read that must wait for the disk has not copied many in vain.
const ENTRIES_PER_STEP_MAX: usize = 512;

/// Entries that it takes even if it wants fewer messages: they tell how the queue lies in the log.
const ENTRIES_PER_STEP_MIN: usize = 8;

/// Records of a queue that make it worth while to read the large block in which they lie, instead of a small one each.
const DENSE_RECORD_COUNT: usize = 5;

/// Loads that one read of scattered records asks for at once.
const LOADS_PER_READ_MAX: usize = 16;

/// How much of the log is read for a record's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// Blocks for who goes through the log in order.
    Large,
    /// Blocks for one record.
    Small,
    /// Pages for one record whose neighbours will not be asked for.
    Page,
}

impl Grain {
    /// For the entry at `index` of those that a reader goes through.
    fn of(entries: &[IndexEntry], index: usize) -> Self {
        let block = |entry: &IndexEntry| entry.position.get() / SEGMENT_BLOCK_SIZE_BYTES as u64;
        let entry = &entries[index];
        let is_dense = entries.get(index + DENSE_RECORD_COUNT - 1).is_some_and(|later| block(later) == block(entry));
        if is_dense || entry.size_bytes as usize > SMALL_BLOCK_SIZE_BYTES { Self::Large } else { Self::Small }
    }

    fn place(self, file: FileName, offset: u64) -> Place {
        match self {
            Self::Large => Place::of(file, offset),
            Self::Small => Place::small(file, offset),
            Self::Page => Place::page(file, offset),
        }
    }
}

/// The block that a read is at: its records mostly lie in the one that the record before lay in.
struct Held {
    /// Of the block's first byte.
    start: LogPosition,
    /// Behind its last valid byte.
    end: LogPosition,
    block: Block,
}

impl Held {
    #[inline]
    fn holds(&self, entry: &IndexEntry) -> bool {
        entry.position >= self.start && entry.position.plus(u64::from(entry.size_bytes)) <= self.end
    }
}

/// What a read may give.
#[derive(Clone, Copy, Debug)]
struct ReadLimits {
    messages_max: u32,
    bytes_max: usize,
}

/// What a read has given.
#[derive(Clone, Copy, Debug)]
struct Given {
    /// Behind the last message.
    at: QueueOffset,
    records: u32,
    messages: u32,
    size_bytes: usize,
}

impl Given {
    fn add(&mut self, entry: &IndexEntry) {
        self.at = entry.next_offset();
        self.records += 1;
        self.messages += u32::from(entry.count());
        self.size_bytes += entry.size_bytes as usize;
    }

    fn is_enough_before(&self, entry: &IndexEntry, limits: ReadLimits) -> bool {
        self.messages + u32::from(entry.count()) > limits.messages_max
            || self.size_bytes + entry.size_bytes as usize > limits.bytes_max
    }
}

/// How a read goes on after some entries.
enum Step {
    /// With the next ones.
    GoOn,
    /// It ends with what was given.
    Enough,
    /// Nothing was given, and this is why.
    Instead(ReadOutcome),
}

impl Step {
    /// A read that has given something ends with that, whatever comes then.
    fn instead(given: &Given, outcome: impl FnOnce() -> ReadOutcome) -> Self {
        if given.records > 0 { Self::Enough } else { Self::Instead(outcome()) }
    }
}

pub(super) enum Bytes {
    Ready,
    NotYet,
    /// The disk did not read there: it may another time.
    Failed(String),
    Damaged(String),
}

impl Store {
    /// The first retained offset of a queue. Found anew after each trim.
    ///
    /// # Errors
    /// Not yet, gone, or failed.
    pub fn min_offset(&mut self, queue_id: QueueId) -> SearchOutcome<QueueOffset> {
        let trim = self.state.trim();
        let Some(queue) = self.state.queues.get(queue_id) else { return SearchOutcome::Gone };
        if queue.min_offset_trim == trim {
            return SearchOutcome::Found(queue.min_offset);
        }
        match self.index.first_at_or_after_position(&mut self.cache, queue_id, trim) {
            Ok(entry) => {
                let found = entry.map_or(queue.visible_offset, |entry| entry.offset);
                let before = entry.map_or(LogPosition::new(u64::MAX), |entry| entry.position);
                // What is damaged behind the trim and before the first entry may have been of this queue: a reader of it is
                // refused, not moved on as from what retention took.
                let seen_now = self.damaged.iter().any(|range| range.to > trim && range.from < before);
                let hidden = seen_now || self.state.is_damaged_between(trim, before);
                let queue = self.state.queues.get_mut(queue_id).expect("looked at above");
                let found = if hidden { queue.min_offset } else { found };
                queue.min_offset = queue.min_offset.max(found);
                // An empty answer is final only when nothing older than the trim is still to be applied.
                queue.min_offset_trim = trim;
                SearchOutcome::Found(queue.min_offset)
            }
            Err(cold) => self.cold(cold),
        }
    }

    fn cold<T>(&mut self, cold: Cold) -> SearchOutcome<T> {
        match cold {
            Cold::NotYet => SearchOutcome::NotYet,
            Cold::Damaged(why) => {
                self.metrics.damaged_reads += 1;
                SearchOutcome::Failed(format!(
                    "the queue index is damaged ({why}) and is being made again from the log: try again"
                ))
            }
            Cold::Failed(error) => {
                self.metrics.failed_reads += 1;
                SearchOutcome::Failed(format!(
                    "the queue index cannot be read ({error}): try again, or check the device"
                ))
            }
        }
    }

    /// The offset of the first message stored at `store_time_ms` or later (of the last one at or before it, with `upper`);
    /// the max offset when there is none later, the min offset when there is none earlier.
    ///
    /// # Errors
    /// Not yet, gone, or failed.
    pub fn search_offset(&mut self, queue_id: QueueId, store_time_ms: u64, upper: bool) -> SearchOutcome<QueueOffset> {
        let min = match self.min_offset(queue_id) {
            SearchOutcome::Found(min) => min,
            other => return other,
        };
        let Some(queue) = self.state.queues.get(queue_id) else { return SearchOutcome::Gone };
        let visible = queue.visible_offset;
        match self.index.find_by_time(&mut self.cache, queue_id, store_time_ms, upper) {
            Ok(Some(offset)) => SearchOutcome::Found(offset.max(min)),
            Ok(None) => SearchOutcome::Found(if upper { min } else { visible }),
            Err(cold) => self.cold(cold),
        }
    }

    /// When the first retained message of a queue was stored, in ms; nothing when there is none.
    ///
    /// # Errors
    /// Not yet, gone, or failed.
    pub fn earliest_store_time(&mut self, queue_id: QueueId) -> SearchOutcome<Option<u64>> {
        if self.state.queues.get(queue_id).is_none() {
            return SearchOutcome::Gone;
        }
        match self.index.first_at_or_after_position(&mut self.cache, queue_id, self.state.trim()) {
            Ok(entry) => SearchOutcome::Found(entry.map(|entry| entry.store_time_ms())),
            Err(cold) => self.cold(cold),
        }
    }

    /// When the last message of a queue was stored, in ms; nothing when there is none.
    ///
    /// # Errors
    /// Not yet, gone, or failed.
    pub fn latest_store_time(&mut self, queue_id: QueueId) -> SearchOutcome<Option<u64>> {
        if self.state.queues.get(queue_id).is_none() {
            return SearchOutcome::Gone;
        }
        match self.index.newest(&mut self.cache, queue_id) {
            Ok(entry) => SearchOutcome::Found(entry.map(|entry| entry.store_time_ms())),
            Err(cold) => self.cold(cold),
        }
    }

    /// When the message at this offset was stored, in ms; nothing when there is none.
    ///
    /// # Errors
    /// Not yet, gone, or failed.
    pub fn store_time_at(&mut self, queue_id: QueueId, offset: QueueOffset) -> SearchOutcome<Option<u64>> {
        if self.state.queues.get(queue_id).is_none() {
            return SearchOutcome::Gone;
        }
        let mut entries = std::mem::take(&mut self.scratch.entries);
        entries.clear();
        let outcome = match self.index.find(&mut self.cache, queue_id, offset, QueueOffset::ZERO, 1, &mut entries) {
            Ok(()) => SearchOutcome::Found(entries.first().map(|entry| entry.store_time_ms())),
            Err(cold) => self.cold(cold),
        };
        self.scratch.entries = entries;
        outcome
    }

    /// Whether the message at this offset must be read from disk. One that is not there need not.
    ///
    /// # Errors
    /// Not yet, gone, or failed.
    pub fn is_cold(&mut self, queue_id: QueueId, offset: QueueOffset) -> SearchOutcome<bool> {
        match self.state.queues.get(queue_id) {
            None => return SearchOutcome::Gone,
            Some(queue) if offset >= queue.visible_offset => return SearchOutcome::Found(false),
            Some(_) => {}
        }
        let mut entries = std::mem::take(&mut self.scratch.entries);
        entries.clear();
        let outcome = match self.index.find(&mut self.cache, queue_id, offset, QueueOffset::ZERO, 1, &mut entries) {
            Ok(()) => {
                let hot_from = self.tail.start();
                SearchOutcome::Found(entries.first().is_some_and(|entry| entry.position < hot_from))
            }
            Err(cold) => self.cold(cold),
        };
        self.scratch.entries = entries;
        outcome
    }

    /// Gives visible records of a queue to the sink, from the one that holds `from` on: up to `messages_max` messages and
    /// `bytes_max` bytes, but at least one record.
    pub fn read(
        &mut self,
        queue_id: QueueId,
        from: QueueOffset,
        messages_max: u32,
        bytes_max: usize,
        sink: &mut impl RecordSink,
    ) -> ReadOutcome {
        let min = match self.min_offset(queue_id) {
            SearchOutcome::Found(min) => min,
            SearchOutcome::NotYet => return ReadOutcome::NotYet,
            SearchOutcome::Gone => return ReadOutcome::Gone,
            SearchOutcome::Failed(remark) => return ReadOutcome::Failed { remark },
        };
        let Some(queue) = self.state.queues.get(queue_id) else { return ReadOutcome::Gone };
        let (visible, next) = (queue.visible_offset, queue.next_offset);
        let visible = if mutant::active(Mutant::VisibleBeforeConfirmed) { next } else { visible };
        if from < min {
            return ReadOutcome::Moved { next_offset: min };
        }
        if from >= visible {
            // Beyond the mark but within what was assigned is "not yet", never "moved" (it may be confirmed any moment).
            return if from <= next { ReadOutcome::End } else { ReadOutcome::Moved { next_offset: visible } };
        }
        let mut entries = std::mem::take(&mut self.scratch.entries);
        let mut given = Given { at: from, records: 0, messages: 0, size_bytes: 0 };
        let limits = ReadLimits { messages_max, bytes_max };
        let stop = loop {
            entries.clear();
            let left = messages_max.saturating_sub(given.messages) as usize;
            let wanted = left.clamp(ENTRIES_PER_STEP_MIN, ENTRIES_PER_STEP_MAX);
            match self.index.find(&mut self.cache, queue_id, given.at, min, wanted, &mut entries) {
                Ok(()) => match self.read_entries(&entries, visible, limits, &mut given, sink) {
                    Step::GoOn if given.at < visible && given.messages < messages_max => {}
                    Step::GoOn | Step::Enough => break None,
                    Step::Instead(outcome) => break Some(outcome),
                },
                Err(_) if given.records > 0 => break None,
                Err(cold) => match self.cold::<()>(cold) {
                    SearchOutcome::Failed(remark) => break Some(ReadOutcome::Failed { remark }),
                    _ => break Some(ReadOutcome::NotYet),
                },
            }
        };
        self.scratch.entries = entries;
        let Given { at, records, messages, .. } = given;
        stop.unwrap_or(ReadOutcome::Found { next_offset: at, records, messages })
    }

    fn read_entries(
        &mut self,
        entries: &[IndexEntry],
        visible: QueueOffset,
        limits: ReadLimits,
        given: &mut Given,
        sink: &mut impl RecordSink,
    ) -> Step {
        if self.demand_scattered(entries, limits, given) {
            return Step::instead(given, || ReadOutcome::NotYet);
        }
        let mut held = None;
        for (index, entry) in entries.iter().enumerate() {
            if given.records > 0 && (given.is_enough_before(entry, limits) || entry.offset > given.at) {
                return Step::Enough;
            }
            if entry.offset > given.at {
                let why = "messages of this queue lie in a damaged part of the log".into();
                return Step::Instead(self.damaged_read(entry.offset, why));
            }
            match self.give_record(entries, index, &mut held, sink) {
                Bytes::Ready => given.add(entry),
                Bytes::NotYet => return Step::instead(given, || ReadOutcome::NotYet),
                Bytes::Failed(why) if !mutant::active(Mutant::ReadErrorSkips) => {
                    return Step::instead(given, || self.failed_read(&why));
                }
                Bytes::Failed(why) | Bytes::Damaged(why) => {
                    return Step::instead(given, || {
                        if mutant::active(Mutant::DamageReportedAbsent) {
                            return ReadOutcome::Moved { next_offset: entry.next_offset() };
                        }
                        self.damaged_read(entry.next_offset(), why)
                    });
                }
            }
        }
        if entries.is_empty() {
            let why = || "messages of this queue lie in a damaged part of the log".into();
            return Step::instead(given, || self.damaged_read(visible, why()));
        }
        Step::GoOn
    }

    fn failed_read(&mut self, why: &str) -> ReadOutcome {
        self.metrics.failed_reads += 1;
        ReadOutcome::Failed { remark: format!("{why}: try again; if it stays so, check the device") }
    }

    fn damaged_read(&mut self, next_offset: QueueOffset, why: String) -> ReadOutcome {
        self.metrics.damaged_reads += 1;
        ReadOutcome::Damaged {
            next_offset,
            remark: format!("{why}: restore it from a copy, or skip to offset {next_offset}"),
        }
    }

    /// Asks for the small blocks of the scattered records that this read will come to, many at once: one after the other
    /// they would take a disk's latency each. Whether to wait: for the first record, or for loads that were not asked for
    /// before, so that a reader gets all at once what it asked for (but when it comes again, it gets what is there).
    fn demand_scattered(&mut self, entries: &[IndexEntry], limits: ReadLimits, given: &Given) -> bool {
        let mut given = *given;
        let (mut load_count, mut waits) = (0, false);
        for (index, entry) in entries.iter().enumerate() {
            let is_enough = given.records > 0 && given.is_enough_before(entry, limits);
            given.add(entry);
            let is_hot = entry.position >= self.tail.start();
            let is_bounded = load_count >= LOADS_PER_READ_MAX || (index > 0 && self.cache.is_pressed());
            if is_enough || is_hot || is_bounded || Grain::of(entries, index) == Grain::Large {
                break;
            }
            match self.demand_small(entry) {
                Demanded::Ready => continue,
                Demanded::OnItsWay => waits |= index == 0,
                Demanded::Newly => waits = true,
            }
            load_count += 1;
        }
        waits
    }

    /// Asks for the small blocks of one record, unless it lies in a large one that is there.
    fn demand_small(&mut self, entry: &IndexEntry) -> Demanded {
        let Some(segment) = self.segments.containing(entry.position) else { return Demanded::Ready };
        let (file, offset) = (segment.file(), entry.position.since(segment.start));
        let end = offset + u64::from(entry.size_bytes);
        let large = Place::of(file, offset);
        if self.cache.holds(large, bytes_of(large, end)) {
            return Demanded::Ready;
        }
        self.demand_bytes(entry.position, entry.size_bytes as usize, Grain::Small)
    }

    /// Asks for the blocks of a part of one segment. *Ready*: reading it would not wait, whatever it would say.
    pub(super) fn demand_bytes(&mut self, position: LogPosition, size_bytes: usize, grain: Grain) -> Demanded {
        if position >= self.tail.start() {
            return Demanded::Ready;
        }
        let Some(segment) = self.segments.containing(position) else { return Demanded::Ready };
        let (file, valid_end) = (segment.file(), segment.end.since(segment.start));
        let mut offset = position.since(segment.start);
        let end = offset + size_bytes as u64;
        let mut demanded = Demanded::Ready;
        while offset < end && end <= valid_end {
            let place = grain.place(file, offset);
            demanded = demanded.max(self.cache.demand(place, bytes_of(place, end), valid_end));
            offset = place.start() + place.size_bytes() as u64;
        }
        demanded
    }

    /// Gives the record of one entry to the sink: from memory as it is, from disk after its checksum.
    #[inline]
    fn give_record(
        &mut self,
        entries: &[IndexEntry],
        index: usize,
        held: &mut Option<Held>,
        sink: &mut impl RecordSink,
    ) -> Bytes {
        let entry = &entries[index];
        let size_bytes = entry.size_bytes as usize;
        if entry.position >= self.tail.start() {
            sink.begin(size_bytes, u32::from(entry.count()));
            let whole = self.tail.read(entry.position, size_bytes, |piece| sink.piece(piece));
            assert!(whole, "an indexed record at {} is not in the tail", entry.position);
            return Bytes::Ready;
        }
        let grain = Grain::of(entries, index);
        if held.as_ref().is_none_or(|held| !held.holds(entry)) {
            match self.hold(entry, grain, held) {
                Bytes::Ready => {}
                other => return other,
            }
        }
        let given = match held {
            Some(held) => self.give_held_record(entry, held, sink),
            None => self.give_copied_record(entry, grain, sink),
        };
        match given {
            Bytes::Damaged(why) => {
                *held = None;
                self.doubt(entry.position, size_bytes, grain, why)
            }
            given => given,
        }
    }

    /// What came wrong from the disk may have been right there: it is read once more before it is called damaged. Gives what
    /// is to be said meanwhile.
    pub(super) fn doubt(&mut self, position: LogPosition, size_bytes: usize, grain: Grain, why: String) -> Bytes {
        let known = self.scratch.doubted.iter().position(|doubted| *doubted == position);
        if let Some(known) = known {
            self.scratch.doubted.remove(known);
            return Bytes::Damaged(why);
        }
        if mutant::active(Mutant::DamagedAtFirstSight) {
            return Bytes::Damaged(why);
        }
        if self.scratch.doubted.len() == DOUBTED_MAX {
            self.scratch.doubted.pop_front();
        }
        self.scratch.doubted.push_back(position);
        self.drop_blocks_around(position, size_bytes);
        let mut record = std::mem::take(&mut self.scratch.record);
        let read = self.cold_bytes(position, size_bytes, grain, &mut record);
        self.scratch.record = record;
        match read {
            Bytes::Ready => Bytes::Damaged(why),
            other => other,
        }
    }

    /// Lets the blocks of a record, and of the commit that it lies in, be read again.
    pub(super) fn drop_blocks_around(&mut self, position: LogPosition, size_bytes: usize) {
        let Some(segment) = self.segments.containing(position) else { return };
        let (file, at) = (segment.file(), position.since(segment.start));
        let around = COMMIT_SIZE_BYTES_MAX as u64;
        self.cache.drop_range(file, at.saturating_sub(around), at + size_bytes as u64 + around);
    }

    /// Finds the block that holds all of a record; `held` is empty when it lies in more than one.
    fn hold(&mut self, entry: &IndexEntry, grain: Grain, held: &mut Option<Held>) -> Bytes {
        *held = None;
        let Some(segment) = self.segments.containing(entry.position) else {
            return Bytes::Damaged("the segment is gone".into());
        };
        let (file, start, valid_end) = (segment.file(), segment.start, segment.end.since(segment.start));
        let offset = entry.position.since(start);
        let end = offset + u64::from(entry.size_bytes);
        if end > valid_end {
            return Bytes::Damaged("the record reaches beyond the end of its segment".into());
        }
        let large = Place::of(file, offset);
        let is_in_large = self.cache.holds(large, bytes_of(large, end));
        let place = if is_in_large { large } else { grain.place(file, offset) };
        if end > place.start() + place.size_bytes() as u64 {
            return Bytes::Ready;
        }
        match self.cache.get(place, bytes_of(place, end), valid_end) {
            Ok(Cached { block, length }) => {
                let start = start.plus(place.start());
                *held = Some(Held { start, end: start.plus(length as u64), block });
                Bytes::Ready
            }
            Err(miss) => self.missed(miss),
        }
    }

    /// The common case: one block holds the record, and is sent in place.
    fn give_held_record(&mut self, entry: &IndexEntry, held: &Held, sink: &mut impl RecordSink) -> Bytes {
        let start = usize::try_from(entry.position.since(held.start)).expect("inside the block");
        let length = entry.size_bytes as usize;
        match self.check_record(&held.block[start..start + length], entry.position) {
            Bytes::Ready => {
                sink.begin(length, u32::from(entry.count()));
                sink.piece(Piece::Shared { block: &held.block, start, length });
                Bytes::Ready
            }
            other => other,
        }
    }

    fn give_copied_record(&mut self, entry: &IndexEntry, grain: Grain, sink: &mut impl RecordSink) -> Bytes {
        let (position, size_bytes, count) = (entry.position, entry.size_bytes as usize, u32::from(entry.count()));
        let mut record = std::mem::take(&mut self.scratch.record);
        let outcome = match self.cold_bytes(position, size_bytes, grain, &mut record) {
            Bytes::Ready => self.check_record(&record, position),
            other => other,
        };
        if matches!(outcome, Bytes::Ready) {
            sink.begin(size_bytes, count);
            sink.piece(Piece::Lent(&record));
        }
        self.scratch.record = record;
        outcome
    }

    fn missed(&mut self, miss: Miss) -> Bytes {
        match miss {
            Miss::NotYet => Bytes::NotYet,
            Miss::Failed(error) => Bytes::Failed(format!("the log cannot be read ({error})")),
            Miss::Damaged(why) => Bytes::Damaged(why),
        }
    }

    /// Copies `[position, position + size_bytes)` of one segment out of the tail or the cache.
    pub(super) fn cold_bytes(
        &mut self,
        position: LogPosition,
        size_bytes: usize,
        grain: Grain,
        out: &mut Vec<u8>,
    ) -> Bytes {
        out.clear();
        if self.tail.read(position, size_bytes, |piece| out.extend_from_slice(piece.bytes())) {
            return Bytes::Ready;
        }
        out.clear();
        let Some(segment) = self.segments.containing(position) else {
            return Bytes::Damaged("the segment is gone".into());
        };
        let (file, start, valid_end) = (segment.file(), segment.start, segment.end.since(segment.start));
        let mut offset = position.since(start);
        let end = offset + size_bytes as u64;
        if end > valid_end {
            return Bytes::Damaged("the record reaches beyond the end of its segment".into());
        }
        let mut not_yet = false;
        while offset < end {
            let place = grain.place(file, offset);
            let inside = usize::try_from(offset - place.start()).expect("below the block size");
            let length = bytes_of(place, end) - inside;
            match self.cache.get(place, inside + length, valid_end) {
                Ok(cached) => out.extend_from_slice(&cached.block[inside..inside + length]),
                Err(Miss::NotYet) => not_yet = true,
                Err(miss) => return self.missed(miss),
            }
            offset += length as u64;
        }
        if not_yet { Bytes::NotYet } else { Bytes::Ready }
    }

    /// Whether a record that came from disk is what was written there, and all of its group with it.
    pub(super) fn check_record(&mut self, bytes: &[u8], position: LogPosition) -> Bytes {
        let sound = RecordView::decode(bytes)
            .ok()
            .filter(|(record, rest)| rest.is_empty() && record.is_whole(self.identity.log_id, position));
        if mutant::active(Mutant::RecordUnchecked) {
            return Bytes::Ready;
        }
        let Some((record, _)) = sound else {
            return Bytes::Damaged(format!("the record at {position} does not match its checksum"));
        };
        let grouped = record.header.flags.0 & (RecordFlags::MORE.0 | RecordFlags::CONTINUED.0) != 0;
        if grouped && !mutant::active(Mutant::HalfGroupServed) { self.check_group(position) } else { Bytes::Ready }
    }

    /// A group counts all or none: every record of it must be sound.
    fn check_group(&mut self, position: LogPosition) -> Bytes {
        let (start, commit) = match self.commit_of(position) {
            Ok(Some(found)) => found,
            Ok(None) => return Bytes::Damaged(format!("the commit that holds the group at {position} is damaged")),
            Err(bytes) => return bytes,
        };
        let mut at = start.plus(COMMIT_HEADER_SIZE_BYTES as u64);
        let mut group_is_sound = true;
        for record in records(&commit[COMMIT_HEADER_SIZE_BYTES..]) {
            let Ok(record) = record else {
                return Bytes::Damaged(format!("a record of the group at {position} is damaged"));
            };
            let flags = record.header.flags;
            if !flags.contains(RecordFlags::CONTINUED) {
                if at > position {
                    break;
                }
                group_is_sound = true;
            }
            group_is_sound &= record.is_whole(self.identity.log_id, at);
            at = at.plus(u64::from(record.header.length));
            if at > position && !flags.contains(RecordFlags::MORE) {
                break;
            }
        }
        if group_is_sound {
            Bytes::Ready
        } else {
            Bytes::Damaged(format!("another record of the group at {position} is damaged, which counts all or none"))
        }
    }

    /// The commit that holds a position, and its bytes: found by going back through aligned places to the first that is
    /// the header of a commit of this log at that place. (The log id never leaves the shard, so no client can forge one.)
    fn commit_of(&mut self, position: LogPosition) -> Result<Option<(LogPosition, Vec<u8>)>, Bytes> {
        let alignment = self.commits.constants().alignment_bytes as u64;
        let Some(segment) = self.segments.containing(position) else { return Ok(None) };
        let (segment_start, end) = (segment.start, segment.end);
        let mut header = Vec::new();
        let mut at = position.get() / alignment * alignment;
        while at >= segment_start.get() {
            let start = LogPosition::new(at);
            match self.cold_bytes(start, COMMIT_HEADER_SIZE_BYTES, Grain::Large, &mut header) {
                Bytes::Ready => {}
                other => return Err(other),
            }
            if let Ok((found, _)) = CommitHeader::decode(&header, self.identity.log_id, start) {
                if found.end() <= position {
                    // Below the end every byte belongs to a commit: this one's header is what cannot be read.
                    let lost = position < end;
                    let why = || Bytes::Damaged(format!("the commit that holds position {position} is damaged"));
                    return if lost { Err(why()) } else { Ok(None) };
                }
                let mut commit = Vec::new();
                return match self.cold_bytes(start, found.length as usize, Grain::Large, &mut commit) {
                    Bytes::Ready => Ok(Some((start, commit))),
                    other => Err(other),
                };
            }
            match at.checked_sub(alignment) {
                Some(before) => at = before,
                None => break,
            }
        }
        // Not one header between the segment's first place and a position that was written: the first one is what is lost.
        let why = || Bytes::Damaged(format!("the commit that holds position {position} is damaged"));
        if position < end { Err(why()) } else { Ok(None) }
    }

    /// The whole commit that starts at `start`, checked; nothing when none does.
    pub(super) fn raw_commit(&mut self, start: LogPosition) -> Result<Option<Vec<u8>>, ViewOutcome> {
        let outcome = |bytes: Bytes| match bytes {
            Bytes::Failed(why) | Bytes::Damaged(why) => ViewOutcome::Damaged(why),
            _ => ViewOutcome::NotYet,
        };
        let mut bytes = Vec::new();
        match self.cold_bytes(start, COMMIT_HEADER_SIZE_BYTES, Grain::Large, &mut bytes) {
            Bytes::Ready => {}
            other => return Err(outcome(other)),
        }
        let Ok((header, _)) = CommitHeader::decode(&bytes, self.identity.log_id, start) else { return Ok(None) };
        match self.cold_bytes(start, header.length as usize, Grain::Large, &mut bytes) {
            Bytes::Ready => {}
            other => return Err(outcome(other)),
        }
        Ok((body_crc(&bytes[COMMIT_HEADER_SIZE_BYTES..]) == header.body_crc).then_some(bytes))
    }

    /// The message at a position, which is a record's or a batch entry's: what a client got as PHYSICALOFFSET.
    pub fn message_at(&mut self, position: LogPosition) -> ViewOutcome {
        if position < self.log_start() || position >= self.positions.visible() {
            return ViewOutcome::NotFound;
        }
        if self.damaged.iter().any(|range| (range.from..range.to).contains(&position)) {
            return ViewOutcome::Damaged(format!("position {position} lies in a damaged part of the log"));
        }
        let (start, commit) = match self.commit_of(position) {
            Ok(Some(found)) => found,
            Ok(None) => return ViewOutcome::NotFound,
            Err(Bytes::Failed(why) | Bytes::Damaged(why)) => return ViewOutcome::Damaged(why),
            Err(_) => return ViewOutcome::NotYet,
        };
        let mut at = start.plus(COMMIT_HEADER_SIZE_BYTES as u64);
        for record in records(&commit[COMMIT_HEADER_SIZE_BYTES..]) {
            let Ok(record) = record else { return ViewOutcome::Damaged("a record's length is damaged".into()) };
            let end = at.plus(u64::from(record.header.length));
            if (at..end).contains(&position) {
                return self.view_record(position, at, record);
            }
            at = end;
        }
        ViewOutcome::NotFound
    }

    pub(super) fn view_record(
        &mut self,
        position: LogPosition,
        at: LogPosition,
        record: RecordView<'_>,
    ) -> ViewOutcome {
        if !record.is_whole(self.identity.log_id, at) {
            return ViewOutcome::Damaged(format!("the record at {at} does not match its checksum"));
        }
        let RecordHeader { kind, queue_id, .. } = record.header;
        let Some(queue) = self.state.queues.get(queue_id) else { return ViewOutcome::NotFound };
        match kind {
            RecordKind::MESSAGE if at == position && StoredMessage::decode(record.payload).is_ok() => {
                ViewOutcome::Found(record.payload.to_vec())
            }
            RecordKind::BATCH => {
                let Ok(batch) = Batch::decode(record.payload) else { return ViewOutcome::NotFound };
                let topic = self.state.queues.topic_name(queue);
                let entry = batch.entries().find(|entry| at.plus(entry.record_offset as u64) == position);
                let expanded = entry.map(|entry| entry.expand(&batch.head, topic, queue.number.cast_signed()).to_vec());
                expanded.map_or(ViewOutcome::NotFound, ViewOutcome::Found)
            }
            _ => ViewOutcome::NotFound,
        }
    }
}

/// Bytes of a block up to `end` (an offset in its file, behind its first byte), at most all of them.
fn bytes_of(place: Place, end: u64) -> usize {
    usize::try_from(end - place.start()).unwrap_or(usize::MAX).min(place.size_bytes())
}

/// Bytes in front of a record's payload, for who measures replies.
pub const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_SIZE_BYTES;
