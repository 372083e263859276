//! The payloads of state records. Each says the whole new value of one thing, so that the latest record wins and a
//! record may be appended again (retention) or read again (a snapshot taken in slices) without harm.
//!
//! Little endian. The record header's queue id is the queue of a floor or an offset, else 0.
//!
//! ```text
//! topic  (18)  version u64 | perm u32 | read queue count u32 | write queue count u32 | RocketMQ's topicSysFlag u32
//!              flags u8 (1 ordered, 2 deleted, 4 extended, 8 messages have several tags) | zero u8 | range count u16
//!              range count x { first queue id u32, count u32 } | name, to the end
//!              extended: name length u16 | name | attributes, see `super::attributes`
//! group  (19)  see `super::group_record`
//! offset (20)  group id u32 | zero u32 | offset u64
//! floor  (21)  next offset u64
//! trim   (22)  position u64 | store time u64, ms | next queue id u32 | next group id u32 | forgotten topic version u64
//! pending (24) and settled (25): see `store::pending::record`
//! damage (28)  from u64 | to u64
//! ```

use super::attributes::Attributes;
use super::reader::{Reader, encode_text};
use crate::store::pending::{Pending, Settled};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::record::RecordKind;

pub use super::group_record::{ExponentialRetry, GroupConfig, GroupRecord, RetryPolicy};

/// Consecutive internal queue ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRange {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// One state record, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRecord {
    /// A topic as it is from now on.
    Topic(TopicRecord),
    /// A consumer group as it is from now on.
    Group(GroupRecord),
    /// How far a group has consumed a queue.
    Offset {
        /// The group.
        group_id: u32,
        /// The queue.
        queue: QueueId,
        /// The next offset that the group wants.
        offset: QueueOffset,
    },
    /// No offset of the queue below this one is given again.
    Floor {
        /// The queue.
        queue: QueueId,
        /// The next offset.
        next_offset: QueueOffset,
    },
    /// The log has lost its beginning.
    Trim(TrimRecord),
    /// A message waits.
    Pending(Pending),
    /// A message waits no longer.
    Settled(Settled),
    /// A part of the log that was promised cannot be read.
    Damage {
        /// Its first position.
        from: LogPosition,
        /// Behind its last one.
        to: LogPosition,
    },
}

/// A trim: everything below a position is no longer retained, and what nothing else in the log may say any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimRecord {
    /// Start of the first retained segment.
    pub position: LogPosition,
    /// No message before this record was stored later, in ms.
    pub store_time_ms: u64,
    /// Queue ids below were given.
    pub next_queue_id: u32,
    /// Group ids below were given.
    pub next_group_id: u32,
    /// No tombstone that was forgotten has a higher version.
    pub forgotten_version: u64,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its name.
    pub name: String,
    /// Rises with each change; a deletion is a change.
    pub version: u64,
    /// RocketMQ's permission bits.
    pub perm: u32,
    /// Queue numbers below this one may be read.
    pub read_queue_count: u32,
    /// Queue numbers below this one may be written.
    pub write_queue_count: u32,
    /// RocketMQ's `topicSysFlag`, kept for clients.
    pub sys_flag: u32,
    /// Lives on one shard only.
    pub ordered: bool,
    /// A tombstone.
    pub deleted: bool,
    /// Internal ids of its queues, in the order of their numbers.
    pub ranges: Vec<QueueRange>,
    /// RocketMQ's `topicFilterType`: MULTI_TAG instead of SINGLE_TAG.
    pub multi_tag: bool,
    /// RocketMQ's `attributes`.
    pub attributes: Attributes,
}

const ORDERED: u8 = 1;
const DELETED: u8 = 2;
const EXTENDED: u8 = 4;
const MULTI_TAG: u8 = 8;

impl StateRecord {
    /// The record's kind.
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Topic(_) => RecordKind::TOPIC,
            Self::Group(_) => RecordKind::GROUP,
            Self::Offset { .. } => RecordKind::CONSUME_OFFSET,
            Self::Floor { .. } => RecordKind::QUEUE_FLOOR,
            Self::Trim(_) => RecordKind::TRIM,
            Self::Pending(_) => RecordKind::PENDING,
            Self::Settled(_) => RecordKind::SETTLED,
            Self::Damage { .. } => RecordKind::DAMAGE,
        }
    }

    /// The queue id of the record header.
    pub fn queue_id(&self) -> QueueId {
        match self {
            Self::Offset { queue, .. } | Self::Floor { queue, .. } => *queue,
            Self::Pending(pending) => pending.queue,
            _ => QueueId::ZERO,
        }
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Topic(topic) => topic.encode(out),
            Self::Group(group) => group.encode(out),
            Self::Offset { group_id, offset, .. } => {
                out.extend(group_id.to_le_bytes());
                out.extend([0; 4]);
                out.extend(offset.get().to_le_bytes());
            }
            Self::Floor { next_offset, .. } => out.extend(next_offset.get().to_le_bytes()),
            Self::Trim(trim) => {
                out.extend(trim.position.get().to_le_bytes());
                out.extend(trim.store_time_ms.to_le_bytes());
                out.extend(trim.next_queue_id.to_le_bytes());
                out.extend(trim.next_group_id.to_le_bytes());
                out.extend(trim.forgotten_version.to_le_bytes());
            }
            Self::Pending(pending) => pending.encode(out),
            Self::Settled(settled) => settled.encode(out),
            Self::Damage { from, to } => {
                out.extend(from.get().to_le_bytes());
                out.extend(to.get().to_le_bytes());
            }
        }
    }

    /// Reads a payload. `Ok(None)`: not a kind of state that is kept here.
    ///
    /// # Errors
    /// A malformed payload: its CRC was right, so this program and the writer disagree.
    pub fn decode(kind: RecordKind, queue_id: QueueId, payload: &[u8]) -> Result<Option<Self>, MalformedState> {
        let reader = Reader(payload);
        let record = match kind {
            RecordKind::TOPIC => TopicRecord::decode(reader).map(Self::Topic),
            RecordKind::GROUP => GroupRecord::decode(reader).map(Self::Group),
            RecordKind::CONSUME_OFFSET => decode_offset(reader, queue_id),
            RecordKind::QUEUE_FLOOR => {
                decode_u64(reader).map(|next| Self::Floor { queue: queue_id, next_offset: QueueOffset::new(next) })
            }
            RecordKind::TRIM => TrimRecord::decode(reader).map(Self::Trim),
            RecordKind::PENDING => Pending::decode(queue_id, payload).map(Self::Pending),
            RecordKind::SETTLED => Settled::decode(payload).map(Self::Settled),
            RecordKind::DAMAGE => decode_damage(reader),
            _ => return Ok(None),
        };
        record.map(Some).ok_or(MalformedState { kind })
    }
}

/// A state record whose CRC is right and whose content is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state record of kind {kind:?} is malformed although its checksum is right")]
pub struct MalformedState {
    /// The record's kind.
    pub kind: RecordKind,
}

fn decode_u64(mut reader: Reader<'_>) -> Option<u64> {
    let value = reader.u64()?;
    reader.end(value)
}

fn decode_offset(mut reader: Reader<'_>, queue: QueueId) -> Option<StateRecord> {
    let (group_id, _zero, offset) = (reader.u32()?, reader.u32()?, reader.u64()?);
    reader.end(StateRecord::Offset { group_id, queue, offset: QueueOffset::new(offset) })
}

fn decode_damage(mut reader: Reader<'_>) -> Option<StateRecord> {
    let (from, to) = (LogPosition::new(reader.u64()?), LogPosition::new(reader.u64()?));
    reader.end(StateRecord::Damage { from, to }).filter(|_| from < to)
}

impl TopicRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_le_bytes());
        out.extend(self.perm.to_le_bytes());
        out.extend(self.read_queue_count.to_le_bytes());
        out.extend(self.write_queue_count.to_le_bytes());
        out.extend(self.sys_flag.to_le_bytes());
        let extended = !self.attributes.is_empty();
        let bits =
            [(self.ordered, ORDERED), (self.deleted, DELETED), (extended, EXTENDED), (self.multi_tag, MULTI_TAG)];
        let flags = bits.into_iter().filter(|(is_on, _)| *is_on).fold(0, |flags, (_, bit)| flags | bit);
        out.extend([flags, 0]);
        out.extend(u16::try_from(self.ranges.len()).expect("ranges are bounded").to_le_bytes());
        for range in &self.ranges {
            out.extend(range.first.to_le_bytes());
            out.extend(range.count.to_le_bytes());
        }
        if extended {
            encode_text(&self.name, out);
            self.attributes.encode(out);
        } else {
            out.extend(self.name.as_bytes());
        }
    }

    fn decode(mut reader: Reader<'_>) -> Option<Self> {
        let (version, perm) = (reader.u64()?, reader.u32()?);
        let (read_queue_count, write_queue_count, sys_flag) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (flags, _zero, range_count) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let mut ranges = Vec::new();
        for _ in 0..range_count {
            ranges.push(QueueRange { first: reader.u32()?, count: reader.u32()? });
        }
        let (name, attributes) = if flags & EXTENDED == 0 {
            (reader.name()?, Attributes::default())
        } else {
            let extended = (reader.text()?, Attributes::decode(&mut reader)?);
            reader.end(extended)?
        };
        Some(Self {
            name,
            version,
            perm,
            read_queue_count,
            write_queue_count,
            sys_flag,
            ordered: flags & ORDERED != 0,
            deleted: flags & DELETED != 0,
            ranges,
            multi_tag: flags & MULTI_TAG != 0,
            attributes,
        })
    }

    /// Internal ids of all its queues, in the order of their numbers (also those that are no longer in use).
    pub fn queue_ids(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.ranges.iter().flat_map(|range| (range.first..range.first + range.count).map(QueueId::new))
    }
}

impl TrimRecord {
    fn decode(mut reader: Reader<'_>) -> Option<Self> {
        let position = LogPosition::new(reader.u64()?);
        let (store_time_ms, next_queue_id, next_group_id) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let forgotten_version = reader.u64()?;
        reader.end(Self { position, store_time_ms, next_queue_id, next_group_id, forgotten_version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_records_read_back_and_refuse_other_lengths() {
        let topic = TopicRecord {
            name: "orders".into(),
            version: 3,
            perm: 6,
            read_queue_count: 9,
            write_queue_count: 8,
            sys_flag: 0,
            ordered: true,
            deleted: false,
            ranges: vec![QueueRange { first: 0, count: 8 }, QueueRange { first: 30, count: 1 }],
            multi_tag: false,
            attributes: Attributes::default(),
        };
        let mut attributes = Attributes::default();
        attributes.set("message.type", "FIFO").expect("short");
        let records = [
            StateRecord::Topic(TopicRecord { multi_tag: true, attributes, ..topic.clone() }),
            StateRecord::Topic(topic),
            StateRecord::Group(GroupRecord {
                name: "g".into(),
                version: 1,
                group_id: 4,
                deleted: true,
                offsets_dropped: false,
                config: GroupConfig::default(),
            }),
            StateRecord::Offset { group_id: 4, queue: QueueId::new(30), offset: QueueOffset::new(u64::MAX) },
            StateRecord::Floor { queue: QueueId::new(8), next_offset: QueueOffset::new(5) },
            StateRecord::Trim(TrimRecord {
                position: LogPosition::new(1 << 30),
                store_time_ms: 1 << 40,
                next_queue_id: 7,
                next_group_id: 8,
                forgotten_version: 9,
            }),
            StateRecord::Damage { from: LogPosition::new(512), to: LogPosition::new(4096) },
        ];
        for record in records {
            let mut payload = Vec::new();
            record.encode(&mut payload);
            let read = StateRecord::decode(record.kind(), record.queue_id(), &payload);
            assert_eq!(read, Ok(Some(record.clone())));
            let shorter = StateRecord::decode(record.kind(), QueueId::ZERO, &payload[..payload.len().min(7)]);
            assert_eq!(shorter, Err(MalformedState { kind: record.kind() }));
        }
        assert_eq!(StateRecord::decode(RecordKind::MESSAGE, QueueId::ZERO, &[]), Ok(None));
    }
}
