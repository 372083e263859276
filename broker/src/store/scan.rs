//! Going through the log once more while the shard serves, commit by commit, to make anew what is derived from it.
//!
//! One slice at a time ([`SCAN_SLICE_BYTES`], every [`SCAN_PACE_NS`]: at most about 64 MB/s of reads, below those that clients
//! wait for), through the shard's block cache. Where the disk fails to read, the scan waits and tries again
//! ([`SCAN_RETRY_NS`], [`SCAN_RETRIES_MAX`] times): it must not say that nothing is there. A commit whose header cannot be
//! read costs all its records; the next one is found by looking at each aligned place for a header of this log, and of the
//! epoch that this part of the log was written in. Where a segment ends, the head of the next one says: what an older
//! incarnation left behind that is not taken.

use super::Store;
use super::cache::SEGMENT_BLOCK_SIZE_BYTES;
use super::format::{COMMIT_HEADER_SIZE_BYTES, CommitHeader, EpochStart, SegmentHead, body_crc};
use super::read::{Bytes, Grain};
use ringmq_proto::ids::{Epoch, LogPosition};
use ringmq_proto::record::{RecordKind, records};

/// Log bytes of one slice of a scan.
pub const SCAN_SLICE_BYTES: u64 = 256 << 10;

/// Time between two slices, in nanoseconds.
pub const SCAN_PACE_NS: u64 = 4_000_000;

/// Time until a place that the disk failed to read is tried again, in nanoseconds.
pub const SCAN_RETRY_NS: u64 = 1_000_000_000;

/// Times that a place is tried that the disk fails to read. When reached: the scan passes over it, and says so.
pub const SCAN_RETRIES_MAX: u32 = 10;

/// Places without a commit's header that one slice looks at.
pub(super) const PROBES_MAX: u32 = 1024;

/// Where a scan has come to.
#[derive(Clone, Debug)]
pub(super) struct ScanPlace {
    /// The next place to look at.
    pub(super) at: LogPosition,
    /// The segment whose end is known from the head of the next one.
    ended: Option<LogPosition>,
    /// Reads that failed at this place.
    failures: u32,
    /// Blocks up to here were read once more, because something in them was wrong.
    doubted_to: LogPosition,
    /// The segment whose head was.
    doubted_head: Option<LogPosition>,
}

impl ScanPlace {
    pub(super) fn new(at: LogPosition) -> Self {
        Self { at, ended: None, failures: 0, doubted_to: LogPosition::ZERO, doubted_head: None }
    }

    /// Goes on there.
    pub(super) fn go_on(&mut self, at: LogPosition) {
        (self.at, self.failures) = (at, 0);
    }
}

/// What a scan finds at its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// A commit, whose bytes were given; it ends here. Its records are not checked yet.
    Commit(LogPosition),
    /// Nothing of the log lies here: on from there.
    Nothing(LogPosition),
    /// What was promised here cannot be read: on from there.
    Damaged(LogPosition),
    /// The disk fails to read here, however often it is asked: on from there.
    Unreadable(LogPosition),
    /// Blocks are being loaded.
    NotYet,
    /// The disk failed to read: later.
    Failed,
}

/// The epoch of the commit that a position lies in, as far as the table tells.
pub(super) fn epoch_at(epochs: &[EpochStart], position: LogPosition) -> Option<Epoch> {
    let index = epochs.partition_point(|line| line.start <= position);
    index.checked_sub(1).map(|index| epochs[index].epoch)
}

/// Whether a commit at `position` may be of `epoch`: what lies before all that the table tells is of an older one.
fn may_be_of(epochs: &[EpochStart], position: LogPosition, epoch: Epoch) -> bool {
    match epoch_at(epochs, position) {
        Some(known) => known == epoch,
        None => epochs.first().is_none_or(|first| epoch < first.epoch),
    }
}

impl Store {
    /// Looks at the place; the commit that it finds is put into `bytes`.
    pub(super) fn scan_log(&mut self, place: &mut ScanPlace, bytes: &mut Vec<u8>) -> Scanned {
        let (at, size_bytes) = (place.at, self.segments.size_bytes());
        let next_segment = LogPosition::new((at.get() / size_bytes + 1) * size_bytes);
        let Some(segment) = self.segments.containing(at).copied() else { return Scanned::Nothing(next_segment) };
        let found = if place.ended == Some(segment.start) {
            self.scan_commit(at, bytes)
        } else {
            self.learn_end(segment.start, place).and_then(|()| {
                place.ended = Some(segment.start);
                self.scan_commit(at, bytes)
            })
        };
        match found {
            Ok(Some(end)) if self.is_whole_commit(at, bytes) || !self.doubt_block(place, end) => Scanned::Commit(end),
            Ok(Some(_)) => Scanned::NotYet,
            Ok(None) if self.segments.containing(at).is_none_or(|segment| at >= segment.end) => {
                Scanned::Nothing(next_segment)
            }
            Ok(None) if self.doubt_block(place, at.plus(1)) => Scanned::NotYet,
            Ok(None) => Scanned::Damaged(at.plus(self.commits.constants().alignment_bytes as u64)),
            Err(Bytes::NotYet) => Scanned::NotYet,
            Err(Bytes::Failed(_)) => {
                self.metrics.background_failures += 1;
                place.failures += 1;
                if place.failures < SCAN_RETRIES_MAX {
                    return Scanned::Failed;
                }
                let block = SEGMENT_BLOCK_SIZE_BYTES as u64;
                Scanned::Unreadable(LogPosition::new((at.get() / block + 1) * block))
            }
            Err(_) => Scanned::Damaged(at.plus(self.commits.constants().alignment_bytes as u64)),
        }
    }

    fn is_whole_commit(&self, at: LogPosition, commit: &[u8]) -> bool {
        let decoded = CommitHeader::decode(commit, self.identity.log_id, at);
        decoded.is_ok_and(|(header, _)| body_crc(&commit[COMMIT_HEADER_SIZE_BYTES..]) == header.body_crc)
    }

    /// Something is wrong at the place, in bytes below `end`: they are read once more before that is believed. False when
    /// they were.
    fn doubt_block(&mut self, place: &mut ScanPlace, end: LogPosition) -> bool {
        if end <= place.doubted_to {
            return false;
        }
        let start = self.segments.containing(place.at).map_or(place.at, |segment| segment.start);
        let blocks_bytes = end.since(start).next_multiple_of(SEGMENT_BLOCK_SIZE_BYTES as u64);
        place.doubted_to = start.plus(blocks_bytes.min(self.segments.size_bytes()));
        self.drop_blocks_around(place.at, usize::try_from(end.since(place.at)).unwrap_or(usize::MAX));
        true
    }

    /// The commit that starts here, and where it ends; nothing when none does.
    fn scan_commit(&mut self, at: LogPosition, bytes: &mut Vec<u8>) -> Result<Option<LogPosition>, Bytes> {
        let end = self.segments.containing(at).map_or(at, |segment| segment.end);
        if at.plus(COMMIT_HEADER_SIZE_BYTES as u64) > end {
            return Ok(None);
        }
        self.ready_bytes(at, COMMIT_HEADER_SIZE_BYTES, Grain::Large, bytes)?;
        let decoded = CommitHeader::decode(bytes, self.identity.log_id, at);
        let Some((header, _)) = decoded.ok().filter(|(header, _)| header.end() <= end) else { return Ok(None) };
        if !may_be_of(self.commits.epochs(), at, header.epoch) {
            return Ok(None);
        }
        self.ready_bytes(at, header.length as usize, Grain::Large, bytes)?;
        Ok(Some(header.end()))
    }

    /// A start that has not walked through a segment takes all of it for written: the head of the next one says where it
    /// ends.
    fn learn_end(&mut self, start: LogPosition, place: &mut ScanPlace) -> Result<(), Bytes> {
        let next = start.plus(self.segments.size_bytes());
        let is_written = self.segments.containing(next).is_some_and(|segment| segment.end > segment.start);
        let is_learnt = self.segments.containing(start).is_none_or(|segment| segment.end < next);
        if !is_written || is_learnt {
            return Ok(());
        }
        let head = match self.segment_head(next)? {
            None if place.doubted_head != Some(next) => {
                place.doubted_head = Some(next);
                self.drop_blocks_around(next, COMMIT_HEADER_SIZE_BYTES);
                return Err(Bytes::NotYet);
            }
            head => head,
        };
        if let Some(head) = head.filter(|head| head.previous_end > start && head.previous_end < next) {
            self.segments.containing_mut(start).end = head.previous_end;
        }
        Ok(())
    }

    /// What the head of the segment at `start` says; nothing when it is not sound.
    fn segment_head(&mut self, start: LogPosition) -> Result<Option<SegmentHead>, Bytes> {
        let mut bytes = Vec::new();
        self.ready_bytes(start, COMMIT_HEADER_SIZE_BYTES, Grain::Large, &mut bytes)?;
        let Ok((header, _)) = CommitHeader::decode(&bytes, self.identity.log_id, start) else { return Ok(None) };
        self.ready_bytes(start, header.length as usize, Grain::Large, &mut bytes)?;
        let body = &bytes[COMMIT_HEADER_SIZE_BYTES..];
        if body_crc(body) != header.body_crc {
            return Ok(None);
        }
        let heads =
            records(body).filter_map(Result::ok).filter(|record| record.header.kind == RecordKind::SEGMENT_HEAD);
        Ok(heads.filter_map(|record| SegmentHead::decode(record.payload)).next())
    }

    pub(super) fn ready_bytes(
        &mut self,
        at: LogPosition,
        length: usize,
        grain: Grain,
        out: &mut Vec<u8>,
    ) -> Result<(), Bytes> {
        match self.cold_bytes(at, length, grain, out) {
            Bytes::Ready => Ok(()),
            other => Err(other),
        }
    }
}
