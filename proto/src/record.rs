//! The record: what the log is made of, and what a native pull returns as it lies in the log.
//!
//! ```text
//!  0        4     5      6    8           12     16
//!  +--------+-----+------+----+-----------+------+=========+
//!  | length | kind| flags|  0 | queue id  | crc  | payload |      little endian
//!  +--------+-----+------+----+-----------+------+=========+
//! ```
//!
//! `length` counts the whole record, header included. Records follow each other without padding.
//!
//! `crc` is CRC-32/IEEE over the record's bytes, with the low half of its position (u32, little endian) in the place of
//! the CRC. It starts from a value that stands for what is not stored at all: the four words of the log's id and the
//! high half of the position, XORed. A record that is read from a wrong place, a wrong log, or of an older use of the
//! same place is refused by it just as a flipped bit is. (Log id and position as further bytes behind the payload detect
//! the same and cost 12 ns more for a 10-byte message: one pass over contiguous bytes is what CRC instructions like.)
//!
//! Membership of a group is seen from either side: MORE says that the next record of the same commit belongs to the
//! group, CONTINUED that the one before does. A group counts all or none.

use crate::error::{DecodeError, split_array};
use crate::ids::{LogPosition, QueueId};
use std::fmt;

/// Bytes of a record's header.
pub const RECORD_HEADER_SIZE_BYTES: usize = 16;

/// Bytes of a header that its CRC covers.
const COVERED_SIZE_BYTES: usize = 12;

/// What a record's payload is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKind(pub u8);

impl RecordKind {
    /// Fills a commit up to the log's alignment; the payload is zeros.
    pub const PAD: Self = Self(0);
    /// One message: RocketMQ's stored layout ([`crate::message::StoredMessage`]).
    pub const MESSAGE: Self = Self(1);
    /// Messages of one queue that are stored as a unit ([`crate::message::Batch`]).
    pub const BATCH: Self = Self(2);
    /// The start of an epoch.
    pub const EPOCH: Self = Self(16);
    /// The first record of a segment.
    pub const SEGMENT_HEAD: Self = Self(17);
    /// A topic was created, changed or deleted.
    pub const TOPIC: Self = Self(18);
    /// A consumer group was created, changed or deleted.
    pub const GROUP: Self = Self(19);
    /// Offsets that consumers committed.
    pub const CONSUME_OFFSET: Self = Self(20);
    /// The least offset of a queue whose older messages left with their segment.
    pub const QUEUE_FLOOR: Self = Self(21);
    /// The log was cut at its old end.
    pub const TRIM: Self = Self(22);
    /// A lock of a queue was granted or released.
    pub const LOCK: Self = Self(23);
    /// The message before it waits for its time: a delayed or timed one, or the first half of a transaction.
    pub const PENDING: Self = Self(24);
    /// A waiting message waits no longer: delivered, committed, rolled back, recalled.
    pub const SETTLED: Self = Self(25);
    /// A digest of the state that the log amounts to here.
    pub const DIGEST: Self = Self(26);
    /// Says how far the log was promised, when nothing else is to be said.
    pub const MARK: Self = Self(27);
    /// A part of the log was found damaged: what it held is not to be taken for trimmed.
    pub const DAMAGE: Self = Self(28);

    /// Whether the payload holds messages of the queue that the header names.
    pub const fn is_messages(self) -> bool {
        matches!(self, Self::MESSAGE | Self::BATCH)
    }

    /// Whether this version knows the kind. Unknown ones are skipped by their length unless they are flagged
    /// [`RecordFlags::MUST_UNDERSTAND`].
    pub const fn is_known(self) -> bool {
        matches!(self.0, 0..=2 | 16..=28)
    }
}

impl fmt::Debug for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::PAD => "pad",
            Self::MESSAGE => "message",
            Self::BATCH => "batch",
            Self::EPOCH => "epoch",
            Self::SEGMENT_HEAD => "segment head",
            Self::TOPIC => "topic",
            Self::GROUP => "group",
            Self::CONSUME_OFFSET => "consume offset",
            Self::QUEUE_FLOOR => "queue floor",
            Self::TRIM => "trim",
            Self::LOCK => "lock",
            Self::PENDING => "pending",
            Self::SETTLED => "settled",
            Self::DIGEST => "digest",
            Self::MARK => "mark",
            Self::DAMAGE => "damage",
            Self(number) => return write!(f, "kind {number}"),
        };
        f.write_str(name)
    }
}

/// Bits of a record's header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RecordFlags(pub u8);

impl RecordFlags {
    /// No bit.
    pub const NONE: Self = Self(0);
    /// The next record of the commit belongs to the same group.
    pub const MORE: Self = Self(1);
    /// Who does not know the kind must stop here instead of skipping the record.
    pub const MUST_UNDERSTAND: Self = Self(2);
    /// The record before belongs to the same group.
    pub const CONTINUED: Self = Self(4);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for RecordFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#05b}", self.0)
    }
}

/// What is in front of every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the whole record, this header included: at least 16.
    pub length: u32,
    /// What the payload is.
    pub kind: RecordKind,
    /// Its bits.
    pub flags: RecordFlags,
    /// Whose messages these are; `QueueId::ZERO` for state.
    pub queue_id: QueueId,
    /// See [`record_crc`].
    pub crc: u32,
}

impl RecordHeader {
    /// The header as it lies in the log.
    pub fn encode(&self) -> [u8; RECORD_HEADER_SIZE_BYTES] {
        let mut bytes = [0; RECORD_HEADER_SIZE_BYTES];
        bytes[..COVERED_SIZE_BYTES].copy_from_slice(&self.covered());
        bytes[COVERED_SIZE_BYTES..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// When there are fewer than 16 bytes, the length is under 16, or the reserved field is not zero. Whether the record
    /// is complete and whole is not asked here: see [`records`] and [`RecordView::is_whole`].
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (bytes, _) = split_array::<RECORD_HEADER_SIZE_BYTES>("record header", bytes)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = word(0);
        if (length as usize) < RECORD_HEADER_SIZE_BYTES {
            let (min, max) = (RECORD_HEADER_SIZE_BYTES as u64, u64::from(u32::MAX));
            return Err(DecodeError::OutOfRange { what: "record length", value: length.into(), min, max });
        }
        let reserved = u16::from_le_bytes([bytes[6], bytes[7]]);
        if reserved != 0 {
            return Err(DecodeError::Unknown { what: "record header's reserved field", value: reserved.into() });
        }
        Ok(Self {
            length,
            kind: RecordKind(bytes[4]),
            flags: RecordFlags(bytes[5]),
            queue_id: QueueId::new(word(8)),
            crc: word(12),
        })
    }

    /// Bytes of the payload.
    pub const fn payload_len(&self) -> usize {
        (self.length as usize).saturating_sub(RECORD_HEADER_SIZE_BYTES)
    }

    #[inline]
    fn covered(&self) -> [u8; COVERED_SIZE_BYTES] {
        let mut bytes = [0; COVERED_SIZE_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind.0;
        bytes[5] = self.flags.0;
        bytes[8..].copy_from_slice(&self.queue_id.get().to_le_bytes());
        bytes
    }
}

/// Where the CRC of a record starts, and what is in its place meanwhile: see the drawing.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the words of a log id, and the halves of a position")]
fn crc_start(log_id: u128, position: LogPosition) -> (u32, [u8; 4]) {
    let words = (log_id as u32) ^ ((log_id >> 32) as u32) ^ ((log_id >> 64) as u32) ^ ((log_id >> 96) as u32);
    let position = position.get();
    (words ^ (position >> 32) as u32, (position as u32).to_le_bytes())
}

/// The CRC of a record with these first 12 bytes and this payload, at `position` of log `log_id`.
#[inline]
pub fn record_crc(header_12: &[u8; 12], payload: &[u8], log_id: u128, position: LogPosition) -> u32 {
    let (start, place) = crc_start(log_id, position);
    let mut head = [0; RECORD_HEADER_SIZE_BYTES];
    head[..COVERED_SIZE_BYTES].copy_from_slice(header_12);
    head[COVERED_SIZE_BYTES..].copy_from_slice(&place);
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(&head);
    hasher.update(payload);
    hasher.finalize()
}

/// Writes the header of a record whose payload lies in `record[16..]` already, CRC included.
///
/// Panics when `record` is shorter than a header or longer than 4 GiB.
#[inline]
pub fn seal_record(
    record: &mut [u8],
    kind: RecordKind,
    flags: RecordFlags,
    queue_id: QueueId,
    log_id: u128,
    position: LogPosition,
) -> RecordHeader {
    let length = u32::try_from(record.len()).expect("a record is shorter than 4 GiB");
    let (start, place) = crc_start(log_id, position);
    // The place goes where the CRC is going to be, so that the CRC is made in one go over contiguous bytes.
    let mut header = RecordHeader { length, kind, flags, queue_id, crc: u32::from_le_bytes(place) };
    let head = record.first_chunk_mut::<RECORD_HEADER_SIZE_BYTES>().expect("a record has a header");
    *head = header.encode();
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(record);
    header.crc = hasher.finalize();
    record[COVERED_SIZE_BYTES..RECORD_HEADER_SIZE_BYTES].copy_from_slice(&header.crc.to_le_bytes());
    header
}

/// One record, borrowed from the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// What follows the header: `header.payload_len()` bytes.
    pub payload: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `bytes`, and gives what follows it.
    ///
    /// # Errors
    /// As [`RecordHeader::decode`], and when the record is longer than `bytes`.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let header = RecordHeader::decode(bytes)?;
        DecodeError::unless_enough("record", header.length as usize, bytes.len())?;
        let (record, rest) = bytes.split_at(header.length as usize);
        Ok((Self { header, payload: &record[RECORD_HEADER_SIZE_BYTES..] }, rest))
    }

    /// Whether the CRC says that this is the record that was written at `position` of log `log_id`.
    pub fn is_whole(&self, log_id: u128, position: LogPosition) -> bool {
        record_crc(&self.header.covered(), self.payload, log_id, position) == self.header.crc
    }
}

/// The records that follow each other in `bytes`; ends after the first error.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match RecordView::decode(self.rest) {
            Ok((record, rest)) => {
                self.rest = rest;
                Some(Ok(record))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_ID: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3219;

    fn sealed(payload: &[u8], position: u64) -> Vec<u8> {
        let mut record = vec![0; RECORD_HEADER_SIZE_BYTES];
        record.extend_from_slice(payload);
        let queue_id = QueueId::new(0x0708_090a);
        seal_record(&mut record, RecordKind::MESSAGE, RecordFlags::MORE, queue_id, LOG_ID, LogPosition::new(position));
        record
    }

    #[test]
    fn header_lies_in_the_log_as_drawn() {
        let record = sealed(b"hello", (3 << 32) + 4096);
        assert_eq!(record[..12], [21, 0, 0, 0, 1, 1, 0, 0, 0x0a, 0x09, 0x08, 0x07]);
        let mut covered = record.clone();
        covered[12..16].copy_from_slice(&[0x00, 0x10, 0x00, 0x00]);
        let start = 0x0123_4567 ^ 0x89ab_cdef ^ 0xfedc_ba98 ^ 0x7654_3219 ^ 3;
        let mut hasher = crc32fast::Hasher::new_with_initial(start);
        hasher.update(&covered);
        assert_eq!(record[12..16], hasher.finalize().to_le_bytes());
        let header = RecordHeader::decode(&record).unwrap();
        assert_eq!(header.encode(), record[..16]);
        assert_eq!(header.payload_len(), 5);
    }

    #[test]
    fn crc_refuses_a_flipped_bit_another_log_and_another_position() {
        let record = sealed(b"some payload of a record", 1 << 40);
        let whole = |bytes: &[u8], log_id, position| {
            RecordView::decode(bytes).is_ok_and(|(view, _)| view.is_whole(log_id, LogPosition::new(position)))
        };
        assert!(whole(&record, LOG_ID, 1 << 40));
        assert!(!whole(&record, LOG_ID ^ 1, 1 << 40));
        for bit in 0..128 {
            assert!(!whole(&record, LOG_ID ^ 1 << bit, 1 << 40), "bit {bit} of the log id");
        }
        for bit in 0..63 {
            assert!(!whole(&record, LOG_ID, 1 << 40 ^ 1 << bit), "bit {bit} of the position");
        }
        assert!(!whole(&record, LOG_ID, (1 << 40) + 512));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!whole(&flipped, LOG_ID, 1 << 40), "bit {bit}");
        }
    }

    #[test]
    fn records_follow_each_other_without_padding() {
        let mut bytes = sealed(b"first", 0);
        bytes.extend_from_slice(&sealed(b"", 21));
        bytes.extend_from_slice(&sealed(b"third", 37));
        let payloads: Vec<_> = records(&bytes).map(|record| record.unwrap().payload).collect();
        assert_eq!(payloads, [b"first".as_slice(), b"", b"third"]);
    }

    #[test]
    fn iteration_ends_after_an_error() {
        let bytes = [sealed(b"first", 0), vec![15, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut iterator = records(&bytes);
        assert!(iterator.next().unwrap().is_ok());
        assert!(matches!(iterator.next(), Some(Err(DecodeError::OutOfRange { value: 15, .. }))));
        assert!(iterator.next().is_none());
    }

    #[test]
    fn reserved_field_must_be_zero() {
        let mut record = sealed(b"x", 0);
        record[7] = 1;
        assert!(matches!(RecordHeader::decode(&record), Err(DecodeError::Unknown { value: 0x100, .. })));
    }
}
