//! What recovery does with what it finds. It walks the log commit by commit from a known boundary; where no sound commit
//! follows, it looks ahead and decides by this table (tested row by row below):
//!
//! | at the position | behind it | was it promised? | verdict |
//! |---|---|---|---|
//! | no sound commit | the next segment's head says the segment before ended here | – | go on there |
//! | no sound commit | nothing sound | no | **cut** here: the end of the log (a torn tail) |
//! | no sound commit | sound commits, none says that more than this was durable | no | **cut** here, report them, copy them to quarantine |
//! | no sound commit | a sound commit whose durable mark lies beyond | yes | **damage**: keep it, refuse its reads, go on at the next sound commit |
//! | no sound commit | sound or not; the superblock's floor lies beyond | yes | **damage** up to the next sound commit, or up to the floor |
//! | a segment is missing | as above, in the next segment that exists | as above | as above |
//! | the floor's segment does not exist | – | yes | **needs a peer**: refuse to open |
//! | a commit of an epoch before the current one, or dead by the superblock's cut | – | – | not sound |
//!
//! Sound: header and body checksums right, of this log, of this position, chained to the commit before (unless that one is
//! damaged), its epoch not below the last, a new epoch opened by its record. A damaged record inside a commit is damage of
//! that commit. Recovery writes nothing but (in this order, by the caller) a flush of what it found, quarantine copies, and
//! the superblock (derived files beside, which nothing may rest on before that flush); run again after a crash anywhere, it finds the same.

use super::error::OpenError;
use super::format::{
    BadCommit, COMMIT_HEADER_SIZE_BYTES, CommitHeader, EpochRecord, EpochStart, FORMAT_VERSION, SegmentHead, body_crc,
};
use super::limits::{COMMIT_SIZE_BYTES_MAX, RECOVERY_LOOKAHEAD_BYTES};
use super::segments::Segment;
use super::superblock::Superblock;
use crate::disk::{Block, Disk, DiskDone, DiskErrorKind, DiskOpKind, FileName};
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::{Epoch, LogPosition};
use ringmq_proto::limits::RECORD_SIZE_BYTES_MAX;
use ringmq_proto::record::{RecordFlags, RecordKind, RecordView, records};

/// Bytes of one read while walking.
const WINDOW_BYTES: usize = 1 << 20;

/// A part of the log that was promised and cannot be read: kept, never served, never taken for absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// First bad position.
    pub from: LogPosition,
    /// Behind the last one.
    pub to: LogPosition,
    /// What is wrong at `from`.
    pub why: BadCommit,
}

/// Where recovery ended the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The log's end.
    pub at: LogPosition,
    /// What is wrong there.
    pub why: BadCommit,
    /// Sound commits that lay behind it, unpromised.
    pub commits_dropped: u64,
    /// Behind the last of these.
    pub dropped_end: LogPosition,
}

/// What walking the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Where the walk began.
    pub from: LogPosition,
    /// Where the log ends.
    pub end: LogPosition,
    /// Checksum of the last commit; 0 when there is none (or it is damaged).
    pub previous_crc: u32,
    /// Epochs seen or repeated in segment heads, oldest first.
    pub epochs: Vec<EpochStart>,
    /// The last commit's epoch.
    pub epoch: Option<Epoch>,
    /// Promised parts that cannot be read.
    pub damaged: Vec<DamagedRange>,
    /// How the end was found.
    pub cut: Cut,
    /// The highest durable mark in any header, and the superblock's floor.
    pub promised: LogPosition,
    /// Sound commits.
    pub commit_count: u64,
    /// Ends of the segments before the last, by start.
    pub segment_ends: Vec<(LogPosition, LogPosition)>,
}

/// Who is given the records that the walk finds sound, in order.
pub trait RecordVisitor {
    /// A record at `position`.
    ///
    /// # Errors
    /// A record that must be understood and is not.
    fn record(&mut self, position: LogPosition, record: RecordView<'_>) -> Result<(), OpenError>;

    /// All records of a commit that ends at `end` were given. The disk is the visitor's until the next one: for derived files
    /// only.
    ///
    /// # Errors
    /// The disk.
    fn commit<D: Disk>(&mut self, _end: LogPosition, _disk: &mut D) -> Result<(), OpenError> {
        Ok(())
    }
}

/// Reads the log through a window.
pub struct LogReader<'d, D: Disk> {
    disk: &'d mut D,
    segment_size_bytes: u64,
    alignment_bytes: usize,
    /// Starts of the existing segments, ascending.
    starts: Vec<LogPosition>,
    window: Option<(LogPosition, Block, usize)>,
}

impl<'d, D: Disk> LogReader<'d, D> {
    /// A reader of the segments that start at `starts`.
    pub fn new(disk: &'d mut D, segment_size_bytes: u64, alignment_bytes: usize, starts: Vec<LogPosition>) -> Self {
        Self { disk, segment_size_bytes, alignment_bytes, starts, window: None }
    }

    /// The start of the segment file that holds `position`, if it exists.
    fn segment_of(&self, position: LogPosition) -> Option<LogPosition> {
        let start = LogPosition::new(position.get() / self.segment_size_bytes * self.segment_size_bytes);
        self.starts.binary_search(&start).is_ok().then_some(start)
    }

    /// Segments that start behind `position`.
    fn segments_after(&self, position: LogPosition) -> &[LogPosition] {
        &self.starts[self.starts.partition_point(|start| *start <= position)..]
    }

    /// Up to `length` bytes at `position`, less at the end of the segment or of its file; none when it does not exist or
    /// the device does not read there.
    pub fn bytes(&mut self, position: LogPosition, length: usize) -> Result<&[u8], OpenError> {
        let Some(start) = self.segment_of(position) else { return Ok(&[]) };
        let end = start.plus(self.segment_size_bytes);
        let length = length.min(usize::try_from(end.since(position)).unwrap_or(usize::MAX));
        let held = self.window.as_ref().is_some_and(|(from, _, valid)| {
            position >= *from && position.plus(length as u64) <= from.plus(*valid as u64)
        });
        if !held {
            let offset = position.since(start) / self.alignment_bytes as u64 * self.alignment_bytes as u64;
            let wanted = (length + self.alignment_bytes).max(WINDOW_BYTES).next_multiple_of(self.alignment_bytes);
            let wanted = wanted.min(usize::try_from(self.segment_size_bytes - offset).unwrap_or(usize::MAX));
            let read = DiskOpKind::Read { file: FileName::Segment(start), offset, length: wanted };
            self.window = match self.disk.execute(read) {
                Ok(DiskDone::Read { block, length }) => Some((start.plus(offset), block, length)),
                Ok(DiskDone::Done) => unreachable!("a read completes as a read"),
                Err(error) if error.kind == DiskErrorKind::Crashed => return Err(error.into()),
                // What cannot be read is damage of that place, not of the log.
                Err(_) => None,
            };
        }
        let Some((from, block, valid)) = &self.window else { return Ok(&[]) };
        let at = usize::try_from(position.since(*from)).unwrap_or(usize::MAX).min(*valid);
        Ok(&block[at..(at + length).min(*valid)])
    }

    /// The commit at `position`: its header and checksum, checked with its body.
    pub fn commit(
        &mut self,
        log_id: u128,
        position: LogPosition,
    ) -> Result<Result<(CommitHeader, u32), BadCommit>, OpenError> {
        let (alignment, segment_size) = (self.alignment_bytes, self.segment_size_bytes);
        let bytes = self.bytes(position, COMMIT_HEADER_SIZE_BYTES)?;
        let (header, crc) = match CommitHeader::decode(bytes, log_id, position) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let length = header.length as usize;
        let longest = COMMIT_SIZE_BYTES_MAX.max(RECORD_SIZE_BYTES_MAX) + COMMIT_SIZE_BYTES_MAX;
        if !length.is_multiple_of(alignment) || length > longest || u64::from(header.length) > segment_size {
            return Ok(Err(BadCommit::Length));
        }
        let bytes = self.bytes(position, length)?;
        if bytes.len() < length {
            return Ok(Err(BadCommit::Short));
        }
        if body_crc(&bytes[COMMIT_HEADER_SIZE_BYTES..]) != header.body_crc
            && !mutant::active(Mutant::CommitBodyUnchecked)
        {
            return Ok(Err(BadCommit::BodyCrc));
        }
        Ok(Ok((header, crc)))
    }
}

/// The walk's state.
pub struct Walk<'w, 'd, D: Disk> {
    reader: &'w mut LogReader<'d, D>,
    superblock: &'w Superblock,
    walked: Walked,
    /// Checksum that the next commit must chain to; unknown at the start and behind damage.
    chain: Option<u32>,
}

impl<'w, 'd, D: Disk> Walk<'w, 'd, D> {
    /// A walk from `from`, a commit's start. `epochs`: what is known of the epochs up to there.
    pub fn new(
        reader: &'w mut LogReader<'d, D>,
        superblock: &'w Superblock,
        from: LogPosition,
        epochs: Vec<EpochStart>,
    ) -> Self {
        let epoch = epochs.last().map(|line| line.epoch);
        let cut = Cut { at: from, why: BadCommit::Short, commits_dropped: 0, dropped_end: from };
        let walked = Walked {
            from,
            end: from,
            previous_crc: 0,
            epochs,
            epoch,
            damaged: Vec::new(),
            cut,
            promised: superblock.confirm_floor,
            commit_count: 0,
            segment_ends: Vec::new(),
        };
        let chain = (from == LogPosition::ZERO).then_some(0);
        Self { reader, superblock, walked, chain }
    }

    /// The checksum of the commit that ends where the walk begins, when it is known: the first one must chain to it, and
    /// when there is none, the next that is written does.
    #[must_use]
    pub fn chained_to(mut self, crc: Option<u32>) -> Self {
        self.chain = self.chain.or(crc);
        self
    }

    /// Walks to the end of the log.
    ///
    /// # Errors
    /// The disk, a record that must be understood, or a log that ends before what was promised.
    pub fn run(mut self, visitor: &mut impl RecordVisitor) -> Result<Walked, OpenError> {
        loop {
            let at = self.walked.end;
            let why = match self.sound_commit(at, self.chain)? {
                Ok((header, crc)) => {
                    self.deliver(&header, visitor)?;
                    self.advance(&header, crc);
                    continue;
                }
                Err(why) => why,
            };
            if let Some(next) = self.rolled_to(at)? {
                self.walked.segment_ends.push((self.segment_start(at), at));
                self.walked.end = next;
                continue;
            }
            match self.look_ahead(at, why)? {
                Some(resume) => {
                    self.walked.damaged.push(DamagedRange { from: at, to: resume, why });
                    self.walked.end = resume;
                    self.chain = None;
                }
                None => break,
            }
        }
        self.walked.previous_crc = self.chain.unwrap_or(0);
        Ok(self.walked)
    }

    fn segment_start(&self, position: LogPosition) -> LogPosition {
        LogPosition::new(position.get() / self.reader.segment_size_bytes * self.reader.segment_size_bytes)
    }

    fn advance(&mut self, header: &CommitHeader, crc: u32) {
        self.walked.end = header.end();
        self.walked.epoch = Some(header.epoch);
        self.walked.promised = self.walked.promised.max(header.durable);
        self.walked.commit_count += 1;
        self.chain = Some(crc);
    }

    /// The commit at `position` if it is sound and may follow.
    fn sound_commit(
        &mut self,
        position: LogPosition,
        chain: Option<u32>,
    ) -> Result<Result<(CommitHeader, u32), BadCommit>, OpenError> {
        let (header, crc) = match self.reader.commit(self.superblock.log_id, position)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let dead_by_cut = position >= self.superblock.cut_position && header.epoch < self.superblock.cut_epoch;
        let older = self.walked.epoch.is_some_and(|epoch| header.epoch < epoch);
        if (dead_by_cut || older) && !mutant::active(Mutant::StaleTailAccepted) {
            return Ok(Err(BadCommit::DeadEpoch));
        }
        if chain.is_some_and(|crc| crc != header.previous_crc)
            && !mutant::active(Mutant::PreviousChecksumUnchecked)
            && !mutant::active(Mutant::StaleTailAccepted)
        {
            return Ok(Err(BadCommit::Chain));
        }
        let newer = self.walked.epoch.is_some_and(|epoch| header.epoch > epoch);
        if newer && chain.is_some() && !self.opens_epoch(&header)? {
            return Ok(Err(BadCommit::NoEpochRecord));
        }
        Ok(Ok((header, crc)))
    }

    fn opens_epoch(&mut self, header: &CommitHeader) -> Result<bool, OpenError> {
        let bytes = self.reader.bytes(header.position, header.length as usize)?;
        let found = records(&bytes[COMMIT_HEADER_SIZE_BYTES..])
            .filter_map(Result::ok)
            .filter(|record| record.header.kind == RecordKind::EPOCH)
            .filter_map(|record| EpochRecord::decode(record.payload))
            .any(|record| record.epoch == header.epoch && record.start == header.position);
        Ok(found)
    }

    /// Gives the commit's records to the visitor.
    fn deliver(&mut self, header: &CommitHeader, visitor: &mut impl RecordVisitor) -> Result<(), OpenError> {
        let bytes = self.reader.bytes(header.position, header.length as usize)?;
        let mut at = header.position.plus(COMMIT_HEADER_SIZE_BYTES as u64);
        for record in records(&bytes[COMMIT_HEADER_SIZE_BYTES..]) {
            // The body's checksum is right: a malformed record is the writer's, not the disk's.
            let Ok(record) = record else { return Err(OpenError::Damaged { what: "a record inside a sound commit" }) };
            match record.header.kind {
                RecordKind::PAD | RecordKind::MARK => {}
                RecordKind::SEGMENT_HEAD => {
                    if let Some(head) = SegmentHead::decode(record.payload) {
                        merge_epochs(&mut self.walked.epochs, &head.epochs);
                    }
                }
                RecordKind::EPOCH => {
                    if let Some(epoch) = EpochRecord::decode(record.payload) {
                        merge_epochs(&mut self.walked.epochs, &[EpochStart { epoch: epoch.epoch, start: epoch.start }]);
                    }
                }
                kind if !kind.is_known() && record.header.flags.contains(RecordFlags::MUST_UNDERSTAND) => {
                    return Err(OpenError::NewerFormat { found: FORMAT_VERSION + 1, known: FORMAT_VERSION });
                }
                _ => visitor.record(at, record)?,
            }
            at = at.plus(u64::from(record.header.length));
        }
        visitor.commit(header.end(), self.reader.disk)
    }

    /// The next segment, if its head says that the one before ended at `at`.
    fn rolled_to(&mut self, at: LogPosition) -> Result<Option<LogPosition>, OpenError> {
        let next = self.segment_start(at).plus(self.reader.segment_size_bytes);
        if self.reader.segment_of(next).is_none() {
            return Ok(None);
        }
        let Ok((header, _)) = self.sound_commit(next, self.chain)? else { return Ok(None) };
        let bytes = self.reader.bytes(next, header.length as usize)?;
        let head = records(&bytes[COMMIT_HEADER_SIZE_BYTES..])
            .filter_map(Result::ok)
            .find(|record| record.header.kind == RecordKind::SEGMENT_HEAD)
            .and_then(|record| SegmentHead::decode(record.payload));
        Ok(head.is_some_and(|head| head.previous_end == at).then_some(next))
    }

    /// Decides over a position without a sound commit: where the log goes on, or (nothing) that it ends here.
    fn look_ahead(&mut self, at: LogPosition, why: BadCommit) -> Result<Option<LogPosition>, OpenError> {
        let floor = self.superblock.confirm_floor;
        let mut first_sound = None;
        let mut dropped = (0, at);
        let starts: Vec<LogPosition> = self.reader.segments_after(at).to_vec();
        let within = at.plus(self.reader.alignment_bytes as u64);
        let places = std::iter::once(within).chain(starts);
        for from in places {
            let mut position = from;
            let end = self.segment_start(from).plus(self.reader.segment_size_bytes);
            let end = end.min(from.plus(RECOVERY_LOOKAHEAD_BYTES));
            while position < end {
                let Ok((header, _)) = self.sound_commit(position, None)? else {
                    position = position.plus(self.reader.alignment_bytes as u64);
                    continue;
                };
                first_sound.get_or_insert(position);
                self.walked.promised = self.walked.promised.max(header.durable);
                dropped = (dropped.0 + 1, header.end());
                if self.walked.promised > at {
                    break;
                }
                position = header.end();
            }
            if self.walked.promised > at && first_sound.is_some() {
                break;
            }
        }
        if self.walked.promised <= at || mutant::active(Mutant::DamagedMiddleCut) {
            self.walked.cut = Cut { at, why, commits_dropped: dropped.0, dropped_end: dropped.1 };
            return Ok(None);
        }
        if let Some(resume) = first_sound {
            return Ok(Some(resume));
        }
        // Nothing sound is left, and the superblock knows that there was: go on behind what was promised.
        if self.reader.segment_of(floor).is_none() || floor <= at {
            return Err(OpenError::Amnesia { end: at, promised: self.walked.promised });
        }
        Ok(Some(floor))
    }
}

/// Adds lines that are newer than the table's last.
fn merge_epochs(table: &mut Vec<EpochStart>, lines: &[EpochStart]) {
    for line in lines {
        if table.last().is_none_or(|last| line.epoch > last.epoch) {
            table.push(*line);
        }
    }
}

/// The segments as the walk found them, from the first existing one to the one that holds the end.
pub fn segments_of(walked: &Walked, starts: &[LogPosition], segment_size_bytes: u64) -> Vec<Segment> {
    let last = LogPosition::new(walked.end.get() / segment_size_bytes * segment_size_bytes);
    // An end on a boundary: the next segment's head is not there yet, the commit before filled its segment.
    let last = match starts.binary_search(&last) {
        Ok(_)
            if walked.end > last
                || last == LogPosition::ZERO
                || walked.damaged.last().is_some_and(|d| d.to == last) =>
        {
            last
        }
        _ if walked.end.get().is_multiple_of(segment_size_bytes) && walked.end.get() > 0 => {
            LogPosition::new(walked.end.get() - segment_size_bytes)
        }
        _ => last,
    };
    let end_of = |start: LogPosition| {
        let found = walked.segment_ends.iter().find(|(of, _)| *of == start).map(|(_, end)| *end);
        found.unwrap_or_else(|| start.plus(segment_size_bytes))
    };
    starts
        .iter()
        .filter(|start| **start <= last)
        .map(|&start| Segment {
            start,
            end: if start == last { walked.end } else { end_of(start) },
            store_time_ms_max: 0,
        })
        .collect()
}
