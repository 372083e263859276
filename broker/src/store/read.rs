//! Reading: never beyond what is visible, from the hot tail or through the block cache.
//!
//! A read that needs blocks from disk answers *not yet* after asking for them; the caller parks it and tries again when
//! [`super::Store::loads_completed`] has changed. Bytes that came from disk are checked against the record's CRC each time
//! they are served; a record of a group is served only if all of the group is sound. A gap between two entries of the
//! index can come from damage alone, and is said to be damage.

use super::Store;
use super::cache::{Miss, Place};
use super::format::{COMMIT_HEADER_SIZE_BYTES, CommitHeader, body_crc};
use super::index::{Cold, IndexEntry};
use super::tail::Piece;
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{Batch, StoredMessage};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordHeader, RecordKind, RecordView, records};

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
    record: Vec<u8>,
}

/// Entries of the index that one read takes at most.
const ENTRIES_PER_READ_MAX: usize = 16_384;

enum Bytes {
    Ready,
    NotYet,
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
                let queue = self.state.queues.get_mut(queue_id).expect("looked at above");
                let found = entry.map_or(queue.visible_offset, |entry| entry.offset);
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
                SearchOutcome::Failed(format!("the queue index is damaged ({why}): restart the broker to rebuild it"))
            }
            Cold::Failed(error) => {
                SearchOutcome::Failed(format!("the queue index cannot be read ({error}): check the device"))
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
    pub fn is_cold(&mut self, queue_id: QueueId, offset: QueueOffset) -> bool {
        let mut entries = std::mem::take(&mut self.scratch.entries);
        entries.clear();
        let cold = match self.index.find(&mut self.cache, queue_id, offset, QueueOffset::ZERO, 1, &mut entries) {
            Ok(()) => entries.first().is_some_and(|entry| entry.position < self.tail.start()),
            Err(_) => true,
        };
        self.scratch.entries = entries;
        cold
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
            SearchOutcome::Failed(remark) => return ReadOutcome::Damaged { next_offset: from, remark },
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
        entries.clear();
        let wanted = (messages_max as usize).clamp(1, ENTRIES_PER_READ_MAX);
        let outcome = match self.index.find(&mut self.cache, queue_id, from, min, wanted, &mut entries) {
            Ok(()) => self.read_entries(&entries, from, visible, messages_max, bytes_max, sink),
            Err(cold) => match self.cold::<()>(cold) {
                SearchOutcome::Failed(remark) => ReadOutcome::Damaged { next_offset: visible, remark },
                _ => ReadOutcome::NotYet,
            },
        };
        self.scratch.entries = entries;
        outcome
    }

    fn read_entries(
        &mut self,
        entries: &[IndexEntry],
        from: QueueOffset,
        visible: QueueOffset,
        messages_max: u32,
        bytes_max: usize,
        sink: &mut impl RecordSink,
    ) -> ReadOutcome {
        let mut at = from;
        let (mut record_count, mut message_count, mut size_bytes) = (0u32, 0u32, 0usize);
        for entry in entries {
            let count = u32::from(entry.count());
            let enough = message_count + count > messages_max || size_bytes + entry.size_bytes as usize > bytes_max;
            if record_count > 0 && (enough || entry.offset > at) {
                break;
            }
            if entry.offset > at {
                return self
                    .damaged_read(entry.offset, "messages of this queue lie in a damaged part of the log".into());
            }
            match self.give_record(entry.position, entry.size_bytes as usize, count, sink) {
                Bytes::Ready => {}
                _ if record_count > 0 => break,
                Bytes::NotYet => return ReadOutcome::NotYet,
                Bytes::Damaged(why) => {
                    if mutant::active(Mutant::DamageReportedAbsent) {
                        return ReadOutcome::Moved { next_offset: entry.next_offset() };
                    }
                    return self.damaged_read(entry.next_offset(), why);
                }
            }
            at = entry.next_offset();
            record_count += 1;
            message_count += count;
            size_bytes += entry.size_bytes as usize;
        }
        if record_count == 0 {
            return self.damaged_read(visible, "messages of this queue lie in a damaged part of the log".into());
        }
        ReadOutcome::Found { next_offset: at, records: record_count, messages: message_count }
    }

    fn damaged_read(&mut self, next_offset: QueueOffset, why: String) -> ReadOutcome {
        self.metrics.damaged_reads += 1;
        ReadOutcome::Damaged {
            next_offset,
            remark: format!("{why}: restore it from a copy, or skip to offset {next_offset}"),
        }
    }

    /// Gives one record to the sink: from memory as it is, from disk after its checksum.
    #[inline]
    fn give_record(
        &mut self,
        position: LogPosition,
        size_bytes: usize,
        count: u32,
        sink: &mut impl RecordSink,
    ) -> Bytes {
        if position >= self.tail.start() {
            sink.begin(size_bytes, count);
            let whole = self.tail.read(position, size_bytes, |piece| sink.piece(piece));
            assert!(whole, "an indexed record at {position} is not in the tail");
            return Bytes::Ready;
        }
        self.give_cold_record(position, size_bytes, count, sink)
    }

    fn give_cold_record(
        &mut self,
        position: LogPosition,
        size_bytes: usize,
        count: u32,
        sink: &mut impl RecordSink,
    ) -> Bytes {
        let Some(segment) = self.segments.containing(position) else {
            return Bytes::Damaged("the segment is gone".into());
        };
        let (file, start, valid_end) = (segment.file(), segment.start, segment.end.since(segment.start));
        let offset = position.since(start);
        if offset + size_bytes as u64 > valid_end {
            return Bytes::Damaged("the record reaches beyond the end of its segment".into());
        }
        let first = Place::of(file, offset);
        let inside = usize::try_from(offset - first.start()).expect("below the block size");
        if inside + size_bytes <= super::cache::SEGMENT_BLOCK_SIZE_BYTES {
            // The common case: one block holds the record, and is sent in place.
            let cached = match self.cache.get(first, inside + size_bytes, valid_end) {
                Ok(cached) => cached,
                Err(miss) => return self.missed(miss),
            };
            let bytes = &cached.block[inside..inside + size_bytes];
            return match self.check_record(bytes, position) {
                Bytes::Ready => {
                    sink.begin(size_bytes, count);
                    sink.piece(Piece::Shared { block: &cached.block, start: inside, length: size_bytes });
                    Bytes::Ready
                }
                other => other,
            };
        }
        let mut record = std::mem::take(&mut self.scratch.record);
        let outcome = match self.cold_bytes(position, size_bytes, &mut record) {
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
            Miss::Failed(error) => Bytes::Damaged(format!("the log cannot be read ({error})")),
            Miss::Damaged(why) => Bytes::Damaged(why),
        }
    }

    /// Copies `[position, position + size_bytes)` of one segment out of the tail or the cache.
    fn cold_bytes(&mut self, position: LogPosition, size_bytes: usize, out: &mut Vec<u8>) -> Bytes {
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
            let place = Place::of(file, offset);
            let inside = usize::try_from(offset - place.start()).expect("below the block size");
            let left = usize::try_from(end - offset).expect("a record fits in memory");
            let length = left.min(super::cache::SEGMENT_BLOCK_SIZE_BYTES - inside);
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
    fn check_record(&mut self, bytes: &[u8], position: LogPosition) -> Bytes {
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
            match self.cold_bytes(start, COMMIT_HEADER_SIZE_BYTES, &mut header) {
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
                return match self.cold_bytes(start, found.length as usize, &mut commit) {
                    Bytes::Ready => Ok(Some((start, commit))),
                    other => Err(other),
                };
            }
            match at.checked_sub(alignment) {
                Some(before) => at = before,
                None => break,
            }
        }
        Ok(None)
    }

    /// The whole commit that starts at `start`, checked; nothing when none does.
    pub(super) fn raw_commit(&mut self, start: LogPosition) -> Result<Option<Vec<u8>>, ViewOutcome> {
        let outcome = |bytes: Bytes| match bytes {
            Bytes::Damaged(why) => ViewOutcome::Damaged(why),
            _ => ViewOutcome::NotYet,
        };
        let mut bytes = Vec::new();
        match self.cold_bytes(start, COMMIT_HEADER_SIZE_BYTES, &mut bytes) {
            Bytes::Ready => {}
            other => return Err(outcome(other)),
        }
        let Ok((header, _)) = CommitHeader::decode(&bytes, self.identity.log_id, start) else { return Ok(None) };
        match self.cold_bytes(start, header.length as usize, &mut bytes) {
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
            Err(Bytes::Damaged(why)) => return ViewOutcome::Damaged(why),
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

    fn view_record(&mut self, position: LogPosition, at: LogPosition, record: RecordView<'_>) -> ViewOutcome {
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

/// Bytes in front of a record's payload, for who measures replies.
pub const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_SIZE_BYTES;
