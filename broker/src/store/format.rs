//! The bytes of the commit log: commit headers, the pad record, the segment head, the epoch record.
//!
//! A commit is the unit of writing, flushing, cutting and copying. Little endian, unaligned:
//!
//! ```text
//! commit    0 magic u32 | 4 version u16 | 6 flags u16 | 8 log id u128 | 24 epoch u32 | 28 records u32 | 32 position u64
//!          40 durable u64 | 48 confirmed u64 | 56 length u32 | 60 previous commit's header CRC u32 | 64 body CRC u32
//!          68 header CRC u32 | 72 zero u64 | 80 records … | pad record
//! ```
//!
//! `length` is the whole commit, a multiple of the log's alignment. The header CRC covers the header without itself, and
//! through the body CRC the body: it *is* the commit's checksum, and chains to the next commit. What is left to the
//! alignment is one pad record with a zero payload: a remainder under 16 bytes, too small for its header, takes one
//! alignment unit more. So padding follows from the records alone, on every device.
//!
//! ```text
//! segment head (record kind 17)   version u16 | zero u16 | alignment u32 | segment size u64 | end of the segment before u64
//!                                 count u32 | count x { epoch u32, start u64 }   the last 64 epochs, oldest first
//! epoch        (record kind 16)   epoch u32 | epoch before u32 | start u64 | end of the epoch before u64
//!                                 writer u128 (0: not replicated) | set version u64 (0)
//! ```

use crc32fast::Hasher;
use ringmq_proto::ids::{Epoch, LogPosition, QueueId};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordKind, seal_record};

/// First bytes of every commit ("RMQC").
pub const COMMIT_MAGIC: u32 = 0x434D_5152;
/// Version of all formats below a shard's directory.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a commit header.
pub const COMMIT_HEADER_SIZE_BYTES: usize = 80;
/// Epochs repeated in a segment head.
pub const EPOCH_TABLE_COUNT_MAX: usize = 64;

/// Commit flag: holds no records but the mark in its header; a mark never causes a mark.
pub const COMMIT_FLAG_MARK_ONLY: u16 = 1;
/// Commit flag: written with `flush = "async"`.
pub const COMMIT_FLAG_ASYNC: u16 = 2;

const HEADER_CRC_AT: usize = 68;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | (u64::from(u32_at(bytes, at + 4)) << 32)
}

/// A commit's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// `COMMIT_FLAG_*`.
    pub flags: u16,
    /// Which log this commit belongs to.
    pub log_id: u128,
    /// The term that wrote it.
    pub epoch: Epoch,
    /// Records in it, the pad record not counted.
    pub record_count: u32,
    /// Where it lies.
    pub position: LogPosition,
    /// How far the log was durable when this commit was built: everything below was promised.
    pub durable: LogPosition,
    /// How far the log was confirmed when this commit was built.
    pub confirmed: LogPosition,
    /// Bytes of the whole commit.
    pub length: u32,
    /// Header CRC of the commit before; 0 for the first of a log.
    pub previous_crc: u32,
    /// CRC of everything behind the header.
    pub body_crc: u32,
}

impl CommitHeader {
    /// Writes the header over the first 80 bytes of `out`; returns its CRC, the commit's checksum.
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        out[0..4].copy_from_slice(&COMMIT_MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..24].copy_from_slice(&self.log_id.to_le_bytes());
        out[24..28].copy_from_slice(&self.epoch.get().to_le_bytes());
        out[28..32].copy_from_slice(&self.record_count.to_le_bytes());
        out[32..40].copy_from_slice(&self.position.get().to_le_bytes());
        out[40..48].copy_from_slice(&self.durable.get().to_le_bytes());
        out[48..56].copy_from_slice(&self.confirmed.get().to_le_bytes());
        out[56..60].copy_from_slice(&self.length.to_le_bytes());
        out[60..64].copy_from_slice(&self.previous_crc.to_le_bytes());
        out[64..68].copy_from_slice(&self.body_crc.to_le_bytes());
        out[72..80].fill(0);
        let crc = header_crc(out);
        out[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads a header and checks what can be checked without the body: magic, version, CRC, log, place, length.
    ///
    /// # Errors
    /// Why these bytes are not the header of a commit of `log_id` at `position`.
    pub fn decode(bytes: &[u8], log_id: u128, position: LogPosition) -> Result<(Self, u32), BadCommit> {
        if bytes.len() < COMMIT_HEADER_SIZE_BYTES {
            return Err(BadCommit::Short);
        }
        if u32_at(bytes, 0) != COMMIT_MAGIC {
            return Err(BadCommit::Magic);
        }
        let crc = header_crc(bytes);
        if crc != u32_at(bytes, HEADER_CRC_AT) {
            return Err(BadCommit::HeaderCrc);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[8..24]);
        let header = Self {
            flags: u16::from_le_bytes([bytes[6], bytes[7]]),
            log_id: u128::from_le_bytes(id),
            epoch: Epoch::new(u32_at(bytes, 24)),
            record_count: u32_at(bytes, 28),
            position: LogPosition::new(u64_at(bytes, 32)),
            durable: LogPosition::new(u64_at(bytes, 40)),
            confirmed: LogPosition::new(u64_at(bytes, 48)),
            length: u32_at(bytes, 56),
            previous_crc: u32_at(bytes, 60),
            body_crc: u32_at(bytes, 64),
        };
        if u16::from_le_bytes([bytes[4], bytes[5]]) != FORMAT_VERSION {
            return Err(BadCommit::Version);
        }
        if header.log_id != log_id {
            return Err(BadCommit::OtherLog);
        }
        if header.position != position {
            return Err(BadCommit::OtherPosition);
        }
        if (header.length as usize) < COMMIT_HEADER_SIZE_BYTES {
            return Err(BadCommit::Length);
        }
        Ok((header, crc))
    }

    /// The position behind the commit.
    pub fn end(&self) -> LogPosition {
        self.position.plus(u64::from(self.length))
    }
}

/// Why bytes are not a sound commit. All of them mean the same to a reader; recovery reports which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BadCommit {
    #[error("the file ends inside the commit")]
    Short,
    #[error("no commit starts here")]
    Magic,
    #[error("the commit header's checksum is wrong")]
    HeaderCrc,
    #[error("the commit has a format version that this program does not know")]
    Version,
    #[error("the commit belongs to another log")]
    OtherLog,
    #[error("the commit belongs to another position")]
    OtherPosition,
    #[error("the commit's length is impossible")]
    Length,
    #[error("the commit body's checksum is wrong")]
    BodyCrc,
    #[error("the commit does not follow the one before it")]
    Chain,
    #[error("the commit is of an epoch that ended before it")]
    DeadEpoch,
    #[error("a new epoch does not open with its record")]
    NoEpochRecord,
    #[error("a record of the commit is malformed")]
    Record,
}

fn header_crc(header: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&header[..HEADER_CRC_AT]);
    hasher.update(&header[HEADER_CRC_AT + 4..COMMIT_HEADER_SIZE_BYTES]);
    hasher.finalize()
}

/// CRC of a commit's body.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}

/// Length of a commit whose header and records take `used_bytes`: the pad record included.
pub fn padded_length(used_bytes: usize, alignment_bytes: usize) -> usize {
    let rest = used_bytes.next_multiple_of(alignment_bytes) - used_bytes;
    if rest == 0 || rest >= RECORD_HEADER_SIZE_BYTES { used_bytes + rest } else { used_bytes + rest + alignment_bytes }
}

/// Fills `out`, the bytes from the last record to the end of the commit, with the pad record. Nothing for an empty `out`.
pub fn encode_pad(out: &mut [u8], log_id: u128, position: LogPosition) {
    if !out.is_empty() {
        let length = out.len();
        out[RECORD_HEADER_SIZE_BYTES..].fill(0);
        seal_record(&mut out[..length], RecordKind::PAD, RecordFlags::NONE, QueueId::ZERO, log_id, position);
    }
}

/// One line of the epoch table: an epoch and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Its first commit.
    pub start: LogPosition,
}

/// The payload of a segment head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// The log's alignment.
    pub alignment_bytes: u32,
    /// The log's segment size.
    pub segment_size_bytes: u64,
    /// Where the last commit of the segment before ends: nothing lies between that and this segment.
    pub previous_end: LogPosition,
    /// The last epochs, oldest first.
    pub epochs: Vec<EpochStart>,
}

impl SegmentHead {
    /// Bytes of the encoded payload.
    pub fn encoded_len(&self) -> usize {
        28 + self.epochs.len() * 12
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend([0, 0]);
        out.extend(self.alignment_bytes.to_le_bytes());
        out.extend(self.segment_size_bytes.to_le_bytes());
        out.extend(self.previous_end.get().to_le_bytes());
        let tail = &self.epochs[self.epochs.len().saturating_sub(EPOCH_TABLE_COUNT_MAX)..];
        out.extend(u32::try_from(tail.len()).expect("at most 64").to_le_bytes());
        for line in tail {
            out.extend(line.epoch.get().to_le_bytes());
            out.extend(line.start.get().to_le_bytes());
        }
    }

    /// Reads a payload; `None` when it is malformed.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        if payload.len() < 28 || u16::from_le_bytes([payload[0], payload[1]]) != FORMAT_VERSION {
            return None;
        }
        let count = u32_at(payload, 24) as usize;
        if count > EPOCH_TABLE_COUNT_MAX || payload.len() != 28 + count * 12 {
            return None;
        }
        let epochs = payload[28..]
            .chunks_exact(12)
            .map(|line| EpochStart { epoch: Epoch::new(u32_at(line, 0)), start: LogPosition::new(u64_at(line, 4)) });
        Some(Self {
            alignment_bytes: u32_at(payload, 4),
            segment_size_bytes: u64_at(payload, 8),
            previous_end: LogPosition::new(u64_at(payload, 16)),
            epochs: epochs.collect(),
        })
    }
}

/// The payload of an epoch record: the first record of each epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRecord {
    /// The epoch that starts.
    pub epoch: Epoch,
    /// The epoch before; 0 for the first.
    pub previous: Epoch,
    /// Where the epoch starts: the commit that holds this record.
    pub start: LogPosition,
    /// Where the epoch before ends: commits of it at or beyond are dead.
    pub previous_end: LogPosition,
}

impl EpochRecord {
    /// The payload.
    pub fn encode(&self) -> [u8; 48] {
        let mut out = [0; 48];
        out[0..4].copy_from_slice(&self.epoch.get().to_le_bytes());
        out[4..8].copy_from_slice(&self.previous.get().to_le_bytes());
        out[8..16].copy_from_slice(&self.start.get().to_le_bytes());
        out[16..24].copy_from_slice(&self.previous_end.get().to_le_bytes());
        out
    }

    /// Reads a payload; `None` when it is malformed.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        (payload.len() == 48).then(|| Self {
            epoch: Epoch::new(u32_at(payload, 0)),
            previous: Epoch::new(u32_at(payload, 4)),
            start: LogPosition::new(u64_at(payload, 8)),
            previous_end: LogPosition::new(u64_at(payload, 16)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_commit_header_is_covered() {
        let header = CommitHeader {
            flags: COMMIT_FLAG_ASYNC,
            log_id: 0x1234_5678_9abc_def0_1122_3344_5566_7788,
            epoch: Epoch::new(7),
            record_count: 3,
            position: LogPosition::new(4096),
            durable: LogPosition::new(2048),
            confirmed: LogPosition::new(1024),
            length: 512,
            previous_crc: 9,
            body_crc: 10,
        };
        let mut bytes = [0; 80];
        let crc = header.encode(&mut bytes);
        assert_eq!(CommitHeader::decode(&bytes, header.log_id, header.position), Ok((header, crc)));
        for bit in 0..80 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CommitHeader::decode(&flipped, header.log_id, header.position).is_err(), "bit {bit}");
        }
        assert_eq!(CommitHeader::decode(&bytes, 1, header.position), Err(BadCommit::OtherLog));
        assert_eq!(CommitHeader::decode(&bytes, header.log_id, LogPosition::ZERO), Err(BadCommit::OtherPosition));
        assert_eq!(CommitHeader::decode(&bytes[..79], header.log_id, header.position), Err(BadCommit::Short));
    }

    #[test]
    fn padding_follows_from_the_records_alone() {
        assert_eq!(padded_length(512, 512), 512);
        assert_eq!(padded_length(496, 512), 512);
        assert_eq!(padded_length(497, 512), 1024, "15 bytes are too few for a pad record");
        assert_eq!(padded_length(80, 4096), 4096);
        for used in 80..2000 {
            let length = padded_length(used, 512);
            let rest = length - used;
            assert!(length.is_multiple_of(512) && (rest == 0 || (16..512 + 16).contains(&rest)), "used {used}");
        }
    }

    #[test]
    fn heads_and_epoch_records_read_back() {
        let epochs: Vec<_> = (1..=70)
            .map(|n| EpochStart { epoch: Epoch::new(n), start: LogPosition::new(u64::from(n) * 512) })
            .collect();
        let head = SegmentHead {
            alignment_bytes: 512,
            segment_size_bytes: 1 << 20,
            previous_end: LogPosition::new(77),
            epochs,
        };
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        let read = SegmentHead::decode(&bytes).expect("sound");
        assert_eq!(read.epochs, head.epochs[6..], "the last 64");
        assert_eq!(SegmentHead::decode(&bytes[..bytes.len() - 1]), None);
        let epoch = EpochRecord {
            epoch: Epoch::new(2),
            previous: Epoch::new(1),
            start: LogPosition::new(512),
            previous_end: LogPosition::new(512),
        };
        assert_eq!(EpochRecord::decode(&epoch.encode()), Some(epoch));
    }
}
