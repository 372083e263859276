//! Building commits and writing them, one at a time.
//!
//! The life of a commit, and what a crash leaves at each step:
//!
//! 1. **open**: records are encoded into a block; positions, offsets and times are in them already. A crash: nothing was
//!    promised, nothing is there.
//! 2. **closed**: the pad record is in; it waits for the commit before it. As above.
//! 3. **in flight**: its header is made *now*, with the durable and confirmed marks of now and the checksum of the commit
//!    before; its one write (and flush) is issued. A crash: the commit is whole on disk, or torn and dropped whole.
//! 4. **done**: the completion of write *and* flush makes it durable, and only then replies leave and records are applied.
//!
//! While one is in flight arrivals gather in the next; nothing waits for a timer. A failure is final: see `StoreFatal`.

use super::error::{BUSY, DISK_FULL, Refusal, StoreFatal};
use super::format::{
    BadCommit, COMMIT_FLAG_ASYNC, COMMIT_FLAG_MARK_ONLY, COMMIT_HEADER_SIZE_BYTES, CommitHeader, EpochRecord,
    EpochStart, SegmentHead, body_crc, encode_pad, padded_length,
};
use super::keys::Keyed;
use super::limits::{COMMIT_SIZE_BYTES_MAX, WAITING_COMMITS_BYTES_MAX};
use super::ops::OpIds;
use super::positions::{FlushMode, Positions};
use super::segments::Segments;
use crate::disk::{Block, BlockMut, BlockPool, Completion, DiskOp, DiskOpKind, FileName, OpId};
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordKind, seal_record};
use std::collections::VecDeque;

/// What apply needs of one record, kept beside the block so that the live path does not decode what it just encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyEntry {
    /// First byte of the record in its commit.
    pub at: u32,
    /// Bytes of the record.
    pub size_bytes: u32,
    /// Messages: 1, or a batch's count. 0: a state record, decoded when applied.
    pub count: u16,
    /// The queue.
    pub queue: QueueId,
    /// The first message's offset.
    pub offset: QueueOffset,
    /// The messages' store time.
    pub store_time_ms: u64,
    /// The message's tag hash; 0 for a batch.
    pub tag_hash: i32,
    /// What its messages are found by.
    pub keyed: Keyed,
}

/// A commit whose records have been confirmed to be written, for apply.
#[derive(Debug)]
pub struct WrittenCommit {
    /// Holds it.
    pub block: Block,
    /// Where it lies.
    pub position: LogPosition,
    /// Bytes of it.
    pub length: usize,
    /// Its checksum, which the next one chains to.
    pub crc: u32,
    /// Its records in order.
    pub entries: Vec<ApplyEntry>,
}

struct Building {
    block: BlockMut,
    position: LogPosition,
    segment_start: LogPosition,
    used_bytes: usize,
    limit_bytes: usize,
    record_count: u32,
    flags: u16,
    entries: Vec<ApplyEntry>,
    /// Of a commit that another copy sealed: its header stays as it is.
    sealed_crc: Option<u32>,
}

struct Closed {
    building: Building,
    length: usize,
}

struct InFlight {
    op: OpId,
    commit: WrittenCommit,
}

/// Constants of the log that a commit is made with.
#[derive(Clone, Copy, Debug)]
pub struct LogConstants {
    /// Of the log.
    pub log_id: u128,
    /// Every commit starts and ends on a multiple of it.
    pub alignment_bytes: usize,
    /// No commit spans segments.
    pub segment_size_bytes: u64,
    /// How acknowledgements are earned.
    pub flush: FlushMode,
}

/// Where a record goes: encode `bytes` (header included) and [`Commits::finish_record`].
pub struct Reserved<'a> {
    /// All bytes of the record.
    pub bytes: &'a mut [u8],
    /// Where it will lie.
    pub position: LogPosition,
    /// Its first byte in the commit.
    pub at: u32,
}

/// The commits of one log on their way to the disk.
pub struct Commits {
    constants: LogConstants,
    pool: BlockPool,
    open: Option<Building>,
    waiting: VecDeque<Closed>,
    waiting_bytes: usize,
    in_flight: Option<InFlight>,
    /// Where the next commit opens (in the current segment of `Segments`).
    next_position: LogPosition,
    /// The segment of the last issued commit.
    written_segment: LogPosition,
    previous_crc: u32,
    /// The durable mark in the newest issued header.
    marked: LogPosition,
    last_was_mark: bool,
    epochs: Vec<EpochStart>,
    spare_entries: Vec<Vec<ApplyEntry>>,
}

/// Counters of one issued commit.
#[derive(Clone, Copy, Debug, Default)]
pub struct IssuedCommit {
    /// Bytes written.
    pub length: usize,
    /// Of these, padding.
    pub padding: usize,
    /// Records.
    pub record_count: u32,
}

impl Commits {
    /// Goes on behind the commit that ends at `next_position` with checksum `previous_crc`.
    pub fn new(
        constants: LogConstants,
        pool: BlockPool,
        next_position: LogPosition,
        segment_start: LogPosition,
        previous_crc: u32,
        epochs: Vec<EpochStart>,
    ) -> Self {
        Self {
            constants,
            pool,
            open: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: None,
            next_position,
            written_segment: segment_start,
            previous_crc,
            marked: LogPosition::ZERO,
            last_was_mark: true,
            epochs,
            spare_entries: Vec::new(),
        }
    }

    /// The log's constants.
    pub fn constants(&self) -> &LogConstants {
        &self.constants
    }

    /// The segment of the last issued commit.
    pub fn written_segment(&self) -> LogPosition {
        self.written_segment
    }

    /// Records or commits are not yet issued.
    pub fn has_unissued(&self) -> bool {
        self.open.is_some() || !self.waiting.is_empty()
    }

    /// A write is in flight.
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Bytes of commits that wait for their turn.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The least commit that holds a record of `size_bytes`.
    fn commit_length(&self, size_bytes: usize) -> usize {
        padded_length(COMMIT_HEADER_SIZE_BYTES + size_bytes, self.constants.alignment_bytes)
    }

    /// Makes room for a record (or a group) of `size_bytes`, which is at most a quarter of a segment.
    ///
    /// # Errors
    /// Busy: too many bytes wait. Disk full: there is no segment to roll into.
    #[inline(always)] // What it gives is read in wider words than it was written in: through memory that would stall.
    pub fn reserve(
        &mut self,
        size_bytes: usize,
        privileged: bool,
        segments: &mut Segments,
    ) -> Result<Reserved<'_>, Refusal> {
        let fits = self.open.as_ref().is_some_and(|open| open.used_bytes + size_bytes <= open.limit_bytes);
        if !fits {
            self.open_for(size_bytes, privileged, segments)?;
        } else if !privileged && segments.in_reserve() {
            return Err(DISK_FULL);
        }
        let open = self.open.as_mut().expect("just opened");
        let at = open.used_bytes;
        open.used_bytes += size_bytes;
        Ok(Reserved {
            position: open.position.plus(at as u64),
            bytes: &mut open.block[at..at + size_bytes],
            at: u32::try_from(at).expect("a commit is below 4 GiB"),
        })
    }

    /// Sees to it that the next records, of `size_bytes` together, go into one commit.
    ///
    /// # Errors
    /// As [`Commits::reserve`].
    pub fn make_room(&mut self, size_bytes: usize, privileged: bool, segments: &mut Segments) -> Result<(), Refusal> {
        if self.open.as_ref().is_none_or(|open| open.used_bytes + size_bytes > open.limit_bytes) {
            self.open_for(size_bytes, privileged, segments)?;
        }
        Ok(())
    }

    /// Notes a record that has been encoded into its place.
    #[inline]
    pub fn finish_record(&mut self, entry: ApplyEntry) -> LogPosition {
        let open = self.open.as_mut().expect("a record was reserved");
        open.record_count += 1;
        open.entries.push(entry);
        open.position.plus(u64::from(entry.at) + u64::from(entry.size_bytes))
    }

    #[cold]
    fn open_for(&mut self, size_bytes: usize, privileged: bool, segments: &mut Segments) -> Result<(), Refusal> {
        if self.waiting_bytes + size_bytes > WAITING_COMMITS_BYTES_MAX && !privileged {
            return Err(BUSY);
        }
        let wanted = self.commit_length(size_bytes) as u64;
        let position = self.open.as_ref().map_or(self.next_position, |open| {
            open.position.plus(padded_length(open.used_bytes, self.constants.alignment_bytes) as u64)
        });
        let current = segments.current().start;
        let left = self.constants.segment_size_bytes - position.since(current);
        if left < wanted {
            if !segments.may_roll(privileged) {
                return Err(if segments.is_full() { DISK_FULL } else { BUSY });
            }
            self.close();
            self.roll(segments);
        } else if !privileged && segments.in_reserve() {
            return Err(DISK_FULL);
        } else {
            self.close();
        }
        let segment = segments.current().start;
        let left = self.constants.segment_size_bytes - self.next_position.since(segment);
        self.open = Some(self.build(size_bytes, segment, left, 0));
        Ok(())
    }

    fn build(&mut self, size_bytes: usize, segment_start: LogPosition, left: u64, flags: u16) -> Building {
        let least = self.commit_length(size_bytes);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let block_bytes = least.max(COMMIT_SIZE_BYTES_MAX.min(left));
        // Whatever is put in, header, records and pad record must end inside: the pad record's header has its room, unless
        // the first record fills the block exactly.
        let limit_bytes = block_bytes - RECORD_HEADER_SIZE_BYTES;
        let async_flag = if self.constants.flush == FlushMode::Async { COMMIT_FLAG_ASYNC } else { 0 };
        Building {
            // Always of one size, so that the pool has one: near a segment's end `limit_bytes` alone is smaller.
            block: self.pool.take(block_bytes.max(COMMIT_SIZE_BYTES_MAX)),
            position: self.next_position,
            segment_start,
            used_bytes: COMMIT_HEADER_SIZE_BYTES,
            limit_bytes: limit_bytes.max(COMMIT_HEADER_SIZE_BYTES + size_bytes),
            record_count: 0,
            flags: flags | async_flag,
            entries: self.spare_entries.pop().unwrap_or_default(),
            sealed_crc: None,
        }
    }

    /// Closes the open commit, if there is one.
    fn close(&mut self) {
        let Some(mut building) = self.open.take() else { return };
        let length = padded_length(building.used_bytes, self.constants.alignment_bytes);
        let pad_position = building.position.plus(building.used_bytes as u64);
        encode_pad(&mut building.block[building.used_bytes..length], self.constants.log_id, pad_position);
        self.next_position = building.position.plus(length as u64);
        self.waiting_bytes += length;
        self.waiting.push_back(Closed { building, length });
    }

    /// Goes on in the next segment, whose first commit is its head.
    fn roll(&mut self, segments: &mut Segments) {
        let previous_end = self.next_position;
        let segment = segments.roll();
        self.next_position = segment.start;
        if mutant::active(Mutant::RollOffByOne) {
            self.next_position = segment.start.plus(self.constants.alignment_bytes as u64);
        }
        let head = self.segment_head(previous_end);
        self.push_single(RecordKind::SEGMENT_HEAD, &head, segment.start, 0);
    }

    /// The payload of a segment head that follows what ends at `previous_end`.
    pub fn segment_head(&self, previous_end: LogPosition) -> Vec<u8> {
        let mut payload = Vec::new();
        let head = SegmentHead {
            alignment_bytes: u32::try_from(self.constants.alignment_bytes).expect("512 or 4096"),
            segment_size_bytes: self.constants.segment_size_bytes,
            previous_end,
            epochs: self.epochs.clone(),
        };
        head.encode(&mut payload);
        payload
    }

    /// A closed commit of these records alone.
    fn push_single(&mut self, kind: RecordKind, payload: &[u8], segment_start: LogPosition, flags: u16) {
        self.push_records(&[(kind, payload)], segment_start, flags);
    }

    fn push_records(&mut self, payloads: &[(RecordKind, &[u8])], segment_start: LogPosition, flags: u16) {
        let size_bytes = payloads.iter().map(|(_, payload)| RECORD_HEADER_SIZE_BYTES + payload.len()).sum();
        let left = self.commit_length(size_bytes) as u64;
        let mut building = self.build(size_bytes, segment_start, left, flags);
        for (kind, payload) in payloads {
            let at = building.used_bytes;
            let size_bytes = RECORD_HEADER_SIZE_BYTES + payload.len();
            let record = &mut building.block[at..at + size_bytes];
            record[RECORD_HEADER_SIZE_BYTES..].copy_from_slice(payload);
            let position = building.position.plus(at as u64);
            seal_record(record, *kind, RecordFlags::NONE, QueueId::ZERO, self.constants.log_id, position);
            building.used_bytes += size_bytes;
            building.record_count += 1;
            building.entries.push(ApplyEntry {
                at: u32::try_from(at).expect("small"),
                size_bytes: u32::try_from(size_bytes).expect("small"),
                count: 0,
                queue: QueueId::ZERO,
                offset: QueueOffset::ZERO,
                store_time_ms: 0,
                tag_hash: 0,
                keyed: Keyed::Nothing,
            });
        }
        self.open = Some(building);
        self.close();
    }

    /// Queues the first commit of an epoch: the epoch's record, behind the segment's head when the segment begins here.
    pub fn push_epoch(&mut self, epoch: Epoch, previous: Epoch, segments: &Segments) {
        let segment_start = segments.current().start;
        let start = self.next_position;
        let record = EpochRecord { epoch, previous, start, previous_end: start }.encode();
        if start == segment_start {
            let head = self.segment_head(start);
            let payloads = [(RecordKind::SEGMENT_HEAD, head.as_slice()), (RecordKind::EPOCH, record.as_slice())];
            self.push_records(&payloads, segment_start, 0);
        } else {
            self.push_records(&[(RecordKind::EPOCH, record.as_slice())], segment_start, 0);
        }
    }

    /// Whether the epoch's first commit still fits into the current segment.
    pub fn epoch_fits(&self, segments: &Segments) -> bool {
        let current = segments.current().start;
        let left = self.constants.segment_size_bytes - self.next_position.since(current);
        left >= self.commit_length(RECORD_HEADER_SIZE_BYTES + size_of::<EpochRecord>() * 2) as u64
    }

    /// Goes on in the next segment, whose head will be written with the epoch's record. For opening only.
    pub fn roll_for_epoch(&mut self, segments: &mut Segments) {
        self.next_position = segments.roll().start;
    }

    /// Whether an empty commit should say that the last one is durable: nothing else will.
    pub fn wants_mark(&self, positions: &Positions) -> bool {
        !self.last_was_mark && !self.has_unissued() && !self.is_writing() && positions.durable() > self.marked
    }

    /// Queues an empty commit that carries the marks. Not at the end of a segment: the next commit's header will do.
    pub fn push_mark(&mut self, segments: &Segments) -> bool {
        let segment = segments.current().start;
        let left = self.constants.segment_size_bytes - self.next_position.since(segment);
        if left < self.constants.alignment_bytes as u64 {
            return false;
        }
        let building = self.build(0, segment, self.constants.alignment_bytes as u64, COMMIT_FLAG_MARK_ONLY);
        self.open = Some(building);
        self.close();
        true
    }

    /// Issues the next commit if none is in flight, its segment is ready, and there is one.
    pub fn issue(
        &mut self,
        positions: &mut Positions,
        segments: &mut Segments,
        ids: &mut OpIds,
        out: &mut Vec<DiskOp>,
    ) -> Option<IssuedCommit> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.waiting.is_empty() {
            self.close();
        }
        let segment_start = self.waiting.front()?.building.segment_start;
        if segment_start != self.written_segment {
            if !segments.next_is_ready() {
                return None;
            }
            segments.entered();
            self.written_segment = segment_start;
        }
        let Closed { building, length } = self.waiting.pop_front()?;
        self.waiting_bytes -= length;
        let issued =
            IssuedCommit { length, padding: length - building.used_bytes, record_count: building.record_count };
        let commit = self.seal(building, length, positions);
        positions.append(commit.position.plus(length as u64));
        let kind = DiskOpKind::Write {
            file: FileName::Segment(segment_start),
            offset: commit.position.since(segment_start),
            block: commit.block.clone(),
            start: 0,
            length,
            sync: self.constants.flush == FlushMode::Sync && !mutant::active(Mutant::FlushSkipped),
        };
        self.in_flight = Some(InFlight { op: ids.issue(kind, out), commit });
        Some(issued)
    }

    /// Makes the header, with the marks of now, and freezes the block.
    fn seal(&mut self, mut building: Building, length: usize, positions: &Positions) -> WrittenCommit {
        let is_mark = building.flags & COMMIT_FLAG_MARK_ONLY != 0;
        if let Some(crc) = building.sealed_crc {
            self.previous_crc = crc;
            return WrittenCommit {
                block: building.block.freeze(),
                position: building.position,
                length,
                crc,
                entries: building.entries,
            };
        }
        let end = building.position.plus(length as u64);
        let durable = if mutant::active(Mutant::MarkAheadOfFlush) { end } else { positions.durable() };
        let header = CommitHeader {
            flags: building.flags,
            log_id: self.constants.log_id,
            epoch: positions.epoch(),
            record_count: building.record_count,
            position: building.position,
            durable,
            confirmed: positions.visible().min(durable),
            length: u32::try_from(length).expect("a commit is below 4 GiB"),
            previous_crc: self.previous_crc,
            body_crc: body_crc(&building.block[COMMIT_HEADER_SIZE_BYTES..length]),
        };
        self.previous_crc = header.encode(&mut building.block);
        self.marked = durable;
        self.last_was_mark = is_mark;
        let (position, crc) = (building.position, self.previous_crc);
        WrittenCommit { block: building.block.freeze(), position, length, crc, entries: building.entries }
    }

    /// Takes the completion of the commit in flight, if it is that. Gives the commit that is now written (and, with
    /// `flush = "sync"`, durable).
    ///
    /// # Errors
    /// The write or its flush failed: fatal, whatever later attempts would say.
    pub fn on_disk(
        &mut self,
        completion: &Completion,
        positions: &mut Positions,
    ) -> Result<Option<WrittenCommit>, StoreFatal> {
        if self.in_flight.as_ref().is_none_or(|in_flight| in_flight.op != completion.id) {
            return Ok(None);
        }
        if let Err(error) = &completion.result
            && !mutant::active(Mutant::FlushFailureIgnored)
        {
            return Err(StoreFatal::Log(error.clone()));
        }
        let Some(InFlight { commit, .. }) = self.in_flight.take() else { return Ok(None) };
        let end = commit.position.plus(commit.length as u64);
        positions.write_completed(end);
        if self.constants.flush == FlushMode::Sync {
            positions.flush_completed(end);
        }
        Ok(Some(commit))
    }

    /// Whether a commit of another copy is the one that follows; rolls when it is the head of the next segment.
    ///
    /// # Errors
    /// Why it does not follow.
    pub fn expect_next(
        &mut self,
        header: &CommitHeader,
        segments: &mut Segments,
        head: Option<SegmentHead>,
    ) -> Result<(), BadCommit> {
        let newest = self.epochs.last().map_or(Epoch::ZERO, |line| line.epoch);
        if header.epoch < newest {
            return Err(BadCommit::DeadEpoch);
        }
        if header.previous_crc != self.chain_crc() {
            return Err(BadCommit::Chain);
        }
        if header.position == self.next_position {
            return Ok(());
        }
        let next_segment = segments.current().start.plus(self.constants.segment_size_bytes);
        let rolls = header.position == next_segment && head.is_some_and(|head| head.previous_end == self.next_position);
        if !rolls {
            return Err(BadCommit::OtherPosition);
        }
        self.next_position = segments.roll().start;
        Ok(())
    }

    /// Checksum of the last commit that was queued or issued.
    fn chain_crc(&self) -> u32 {
        self.waiting.back().and_then(|closed| closed.building.sealed_crc).unwrap_or(self.previous_crc)
    }

    /// Queues a commit that another copy wrote, as it is.
    pub fn push_raw(&mut self, bytes: &[u8], header: &CommitHeader, crc: u32, entries: Vec<ApplyEntry>) -> LogPosition {
        let segment = self.constants.segment_size_bytes;
        let segment_start = LogPosition::new(header.position.get() / segment * segment);
        let mut building = self.build(bytes.len(), segment_start, bytes.len() as u64, 0);
        building.block[..bytes.len()].copy_from_slice(bytes);
        building.used_bytes = bytes.len();
        building.record_count = header.record_count;
        building.flags = header.flags;
        building.entries = entries;
        building.sealed_crc = Some(crc);
        self.next_position = header.end();
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Closed { building, length: bytes.len() });
        header.end()
    }

    /// Gives back the list of a commit that has been applied.
    pub fn recycle(&mut self, mut entries: Vec<ApplyEntry>) {
        entries.clear();
        if self.spare_entries.len() < 4 {
            self.spare_entries.push(entries);
        }
    }

    /// The epoch table's tail, oldest first.
    pub fn epochs(&self) -> &[EpochStart] {
        &self.epochs
    }

    /// The mistake that L1 is about: a failed write is issued once more.
    #[cfg(feature = "mutants")]
    pub fn retry(&mut self, completion: &Completion, ids: &mut OpIds, out: &mut Vec<DiskOp>) -> bool {
        let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.op == completion.id) else {
            return false;
        };
        if completion.result.is_ok() {
            return false;
        }
        // The device has forgotten the error, and the data with it: only the flush is asked for again.
        in_flight.op = ids.issue(DiskOpKind::Sync { file: FileName::Segment(self.written_segment) }, out);
        true
    }

    /// A later epoch starts at `start`: for the heads of segments to come.
    pub fn note_epoch(&mut self, line: EpochStart) {
        self.epochs.push(line);
    }
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commits(next {}, waiting {} bytes)", self.next_position, self.waiting_bytes)
    }
}
