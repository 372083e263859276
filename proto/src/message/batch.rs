//! The batch record's payload: messages of one queue that are stored, indexed and sent as a unit.
//!
//! ```text
//! head, 96 B, little endian
//!    0 first queue offset u64      24 born time ms u64      36 flag i32         48 born host 24
//!    8 position u64                32 count u16             40 zero u64         72 store host 24
//!   16 store time ms u64           34 sysFlag u16           (a host: ip 16, port u32, zero u32)
//! then for each message
//!   length u32 (the whole entry, >= 10) | tag hash i32 | properties length u16 | properties | body
//! ```
//!
//! `position` is that of the record's header, which makes the payload self-contained: PHYSICALOFFSET of a message is
//! the position of its entry, `position + 16 + (its place in the payload)`. The queue offset of message k is
//! `first queue offset + k`. All else is shared by the messages of a batch; RocketMQ's layout of each is made only for
//! who asks for it ([`BatchEntry::expand`]).

use crate::error::{DecodeError, split_array};
use crate::ids::{LogPosition, QueueOffset};
use crate::limits::PROPERTIES_SIZE_BYTES_MAX;
use crate::message::host::{HOST_SIZE_BYTES, Host};
use crate::message::stored::StoredMessageParts;
use crate::record::RECORD_HEADER_SIZE_BYTES;

/// Bytes in front of the first entry.
pub const BATCH_HEAD_SIZE_BYTES: usize = 96;

/// Bytes of an entry without properties and body.
pub const BATCH_ENTRY_SIZE_BYTES_MIN: usize = 10;

/// Messages in one batch: what its count can say.
pub const BATCH_MESSAGE_COUNT_MAX: usize = u16::MAX as usize;

const COUNT_AT: usize = 32;

/// Bytes that a message takes in a batch.
#[inline]
pub const fn batch_entry_len(properties_len: usize, body_len: usize) -> usize {
    BATCH_ENTRY_SIZE_BYTES_MIN + properties_len + body_len
}

/// What the messages of a batch share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// The queue offset of the first message.
    pub first_queue_offset: QueueOffset,
    /// Where the record's header lies.
    pub position: LogPosition,
    /// When it was appended, in ms.
    pub store_time_ms: u64,
    /// When the client made it, in ms.
    pub born_time_ms: u64,
    /// Messages in the batch, at least 1. [`BatchEncoder`] counts them itself.
    pub count: u16,
    /// RocketMQ's sysFlag, low 16 bits.
    pub sys_flag: u16,
    /// The user's own flag.
    pub flag: i32,
    /// Where it came from.
    pub born_host: Host,
    /// The broker's advertised address.
    pub store_host: Host,
}

impl BatchHead {
    fn encode(&self) -> [u8; BATCH_HEAD_SIZE_BYTES] {
        let mut bytes = [0; BATCH_HEAD_SIZE_BYTES];
        bytes[..8].copy_from_slice(&self.first_queue_offset.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store_time_ms.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.born_time_ms.to_le_bytes());
        bytes[COUNT_AT..34].copy_from_slice(&self.count.to_le_bytes());
        bytes[34..36].copy_from_slice(&self.sys_flag.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.flag.to_le_bytes());
        bytes[48..72].copy_from_slice(&self.born_host.encode_24());
        bytes[72..96].copy_from_slice(&self.store_host.encode_24());
        bytes
    }

    /// Reads the head at the start of a payload.
    ///
    /// # Errors
    /// When there are fewer than 96 bytes, the count is 0, or a reserved field is not zero.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (bytes, _) = split_array::<BATCH_HEAD_SIZE_BYTES>("batch head", payload)?;
        let u64_at = |at: usize| u64::from_le_bytes(sub_array(bytes, at));
        let head = Self {
            first_queue_offset: QueueOffset::new(u64_at(0)),
            position: LogPosition::new(u64_at(8)),
            store_time_ms: u64_at(16),
            born_time_ms: u64_at(24),
            count: u16::from_le_bytes(sub_array(bytes, COUNT_AT)),
            sys_flag: u16::from_le_bytes(sub_array(bytes, 34)),
            flag: i32::from_le_bytes(sub_array(bytes, 36)),
            born_host: Host::decode_24(&sub_array::<HOST_SIZE_BYTES>(bytes, 48)),
            store_host: Host::decode_24(&sub_array::<HOST_SIZE_BYTES>(bytes, 72)),
        };
        let reserved = u64_at(40)
            | u64::from(u32::from_le_bytes(sub_array(bytes, 68)))
            | u64::from(u32::from_le_bytes(sub_array(bytes, 92)));
        if reserved != 0 {
            return Err(DecodeError::Unknown { what: "batch head's reserved fields", value: reserved });
        }
        if head.count == 0 {
            let max = BATCH_MESSAGE_COUNT_MAX as u64;
            return Err(DecodeError::OutOfRange { what: "batch's message count", value: 0, min: 1, max });
        }
        // The last message's offset and the record's end must be numbers: `expand` adds to both.
        if head.first_queue_offset.get() > i64::MAX.cast_unsigned() || head.position.get() > i64::MAX.cast_unsigned() {
            return Err(DecodeError::Malformed { what: "batch's queue offset or position is negative" });
        }
        Ok(head)
    }
}

#[inline]
fn sub_array<const N: usize>(bytes: &[u8; BATCH_HEAD_SIZE_BYTES], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// The messages do not fit into what was set aside for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch is full")]
pub struct BatchFull;

/// Writes a batch into a slice, message by message.
#[derive(Debug)]
pub struct BatchEncoder<'o> {
    out: &'o mut [u8],
    used: usize,
    count: u16,
}

impl<'o> BatchEncoder<'o> {
    /// Begins a batch in `out`, which starts where the record's payload does. `head.count` is not looked at.
    ///
    /// Panics when `out` is shorter than the head.
    pub fn new(out: &'o mut [u8], head: &BatchHead) -> Self {
        out[..BATCH_HEAD_SIZE_BYTES].copy_from_slice(&head.encode());
        Self { out, used: BATCH_HEAD_SIZE_BYTES, count: 0 }
    }

    /// Appends a message.
    ///
    /// # Errors
    /// When it does not fit, the count is at its limit, or the properties are longer than RocketMQ allows; the batch is
    /// as before.
    #[inline]
    pub fn push(&mut self, tag_hash: i32, properties: &[u8], body: &[u8]) -> Result<(), BatchFull> {
        let length = batch_entry_len(properties.len(), body.len());
        let entry = self.out[self.used..].get_mut(..length).ok_or(BatchFull)?;
        let length_u32 = u32::try_from(length).map_err(|_| BatchFull)?;
        let properties_length = u16::try_from(properties.len()).map_err(|_| BatchFull)?;
        if properties.len() > PROPERTIES_SIZE_BYTES_MAX || usize::from(self.count) == BATCH_MESSAGE_COUNT_MAX {
            return Err(BatchFull);
        }
        let (head, rest) = entry.split_first_chunk_mut::<BATCH_ENTRY_SIZE_BYTES_MIN>().ok_or(BatchFull)?;
        head[..4].copy_from_slice(&length_u32.to_le_bytes());
        head[4..8].copy_from_slice(&tag_hash.to_le_bytes());
        head[8..].copy_from_slice(&properties_length.to_le_bytes());
        let (properties_out, body_out) = rest.split_at_mut(properties.len());
        properties_out.copy_from_slice(properties);
        body_out.copy_from_slice(body);
        self.used += length;
        self.count += 1;
        Ok(())
    }

    /// Messages so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Ends the batch and gives its length: bytes of the payload.
    ///
    /// Panics when no message was pushed: an empty batch is no record.
    pub fn finish(self) -> usize {
        assert!(self.count > 0, "a batch has at least one message");
        self.out[COUNT_AT..COUNT_AT + 2].copy_from_slice(&self.count.to_le_bytes());
        self.used
    }
}

/// A batch whose entries have been checked, borrowed from its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// What its messages share.
    pub head: BatchHead,
    entries: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a record's payload.
    ///
    /// # Errors
    /// As [`BatchHead::decode`], and when the entries are not `count` whole ones that fill the payload exactly.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let head = BatchHead::decode(payload)?;
        let entries = &payload[BATCH_HEAD_SIZE_BYTES..];
        let mut iterator = Entries { rest: entries, index: 0, payload_offset: BATCH_HEAD_SIZE_BYTES };
        let mut count = 0_u64;
        while !iterator.rest.is_empty() {
            iterator.read()?;
            count += 1;
        }
        if count != u64::from(head.count) {
            return Err(DecodeError::Mismatch {
                what: "batch's message count",
                stated: head.count.into(),
                actual: count,
            });
        }
        Ok(Self { head, entries })
    }

    /// Its messages in order.
    pub fn entries(&self) -> Entries<'a> {
        Entries { rest: self.entries, index: 0, payload_offset: BATCH_HEAD_SIZE_BYTES }
    }
}

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// Which one, from 0.
    pub index: u16,
    /// Where the entry begins, counted from the record's header.
    pub record_offset: usize,
    /// The hash of its tag.
    pub tag_hash: i32,
    /// Its properties string.
    pub properties: &'a [u8],
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> BatchEntry<'a> {
    /// The message in RocketMQ's layout, for queue number `queue_id` of `topic`. `head` is that of the same batch.
    pub fn expand(&self, head: &BatchHead, topic: &'a [u8], queue_id: i32) -> StoredMessageParts<'a> {
        StoredMessageParts {
            queue_id,
            flag: head.flag,
            queue_offset: head.first_queue_offset.plus(self.index.into()),
            position: head.position.plus(self.record_offset as u64),
            sys_flag: head.sys_flag.into(),
            born_time_ms: head.born_time_ms,
            born_host: head.born_host,
            store_time_ms: head.store_time_ms,
            store_host: head.store_host,
            reconsume_times: 0,
            prepared_transaction_position: 0,
            body: self.body,
            topic,
            properties: self.properties,
        }
    }
}

/// See [`Batch::entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    index: u16,
    payload_offset: usize,
}

impl<'a> Entries<'a> {
    #[inline]
    fn read(&mut self) -> Result<BatchEntry<'a>, DecodeError> {
        let (head, _) = split_array::<BATCH_ENTRY_SIZE_BYTES_MIN>("batch entry", self.rest)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let properties_len = usize::from(u16::from_le_bytes([head[8], head[9]]));
        DecodeError::unless_enough("batch entry", length, self.rest.len())?;
        let body_at = BATCH_ENTRY_SIZE_BYTES_MIN + properties_len;
        if length < body_at || properties_len > PROPERTIES_SIZE_BYTES_MAX {
            let max = length.saturating_sub(BATCH_ENTRY_SIZE_BYTES_MIN).min(PROPERTIES_SIZE_BYTES_MAX) as u64;
            let (what, value) = ("properties of a batch entry", properties_len as u64);
            return Err(DecodeError::OutOfRange { what, value, min: 0, max });
        }
        let (entry, rest) = self.rest.split_at(length);
        let result = BatchEntry {
            index: self.index,
            record_offset: RECORD_HEADER_SIZE_BYTES + self.payload_offset,
            tag_hash: i32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            properties: &entry[BATCH_ENTRY_SIZE_BYTES_MIN..body_at],
            body: &entry[body_at..],
        };
        self.rest = rest;
        self.index = self.index.wrapping_add(1);
        self.payload_offset += length;
        Ok(result)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = BatchEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() { None } else { self.read().ok() }
    }
}

impl std::iter::FusedIterator for Entries<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::stored::StoredMessage;

    fn head() -> BatchHead {
        BatchHead {
            first_queue_offset: QueueOffset::new(1_000),
            position: LogPosition::new(1 << 33),
            store_time_ms: 1_795_219_784_985,
            born_time_ms: 1_795_219_784_965,
            count: 3,
            sys_flag: 0x301,
            flag: -7,
            born_host: Host::new([127, 0, 0, 1].into(), 48_026),
            store_host: Host::new("2001:db8::1".parse().unwrap(), 10_911),
        }
    }

    fn encoded() -> Vec<u8> {
        let mut out = vec![0xee; 256];
        let mut encoder = BatchEncoder::new(&mut out, &head());
        encoder.push(5, b"", b"0123456789").unwrap();
        encoder.push(-6, b"TAGS\x01TagA", b"").unwrap();
        encoder.push(7, b"a\x01b", b"body").unwrap();
        let length = encoder.finish();
        out.truncate(length);
        out
    }

    #[test]
    fn batch_lies_in_the_log_as_drawn() {
        let bytes = encoded();
        assert_eq!(bytes.len(), 96 + 20 + 19 + 17);
        assert_eq!(bytes[..8], 1_000u64.to_le_bytes());
        assert_eq!(bytes[8..16], (1u64 << 33).to_le_bytes());
        assert_eq!(bytes[32..36], [3, 0, 0x01, 0x03]);
        assert_eq!(bytes[36..40], (-7i32).to_le_bytes());
        assert_eq!(bytes[40..48], [0; 8]);
        assert_eq!(bytes[58..68], [0xff, 0xff, 127, 0, 0, 1, 0x9a, 0xbb, 0, 0]);
        assert_eq!(bytes[96..106], [20, 0, 0, 0, 5, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[106..116], b"0123456789");
    }

    #[test]
    fn entries_come_back_with_their_place_in_the_record() {
        let bytes = encoded();
        let batch = Batch::decode(&bytes).unwrap();
        assert_eq!(batch.head, head());
        let entries: Vec<_> = batch.entries().collect();
        assert_eq!(entries.iter().map(|entry| entry.record_offset).collect::<Vec<_>>(), [112, 132, 151]);
        assert_eq!(entries.iter().map(|entry| entry.tag_hash).collect::<Vec<_>>(), [5, -6, 7]);
        assert_eq!(entries[1].properties, b"TAGS\x01TagA");
        assert_eq!((entries[2].index, entries[2].body), (2, b"body".as_slice()));
    }

    #[test]
    fn expanded_message_has_an_offset_and_a_position_of_its_own() {
        let bytes = encoded();
        let batch = Batch::decode(&bytes).unwrap();
        let entry = batch.entries().nth(2).unwrap();
        let stored = entry.expand(&batch.head, b"TopicT", 4).to_vec();
        let read = StoredMessage::decode(&stored).unwrap();
        assert_eq!(read.parts.queue_offset, QueueOffset::new(1_002));
        assert_eq!(read.parts.position, LogPosition::new((1 << 33) + 151));
        assert_eq!(
            (read.parts.queue_id, read.parts.topic, read.parts.body),
            (4, b"TopicT".as_slice(), b"body".as_slice())
        );
        assert_eq!(read.parts.sys_flag, 0x301 | 0x20);
    }

    #[test]
    fn what_does_not_fit_leaves_the_batch_as_it_was() {
        let mut out = vec![0; BATCH_HEAD_SIZE_BYTES + 12];
        let mut encoder = BatchEncoder::new(&mut out, &head());
        assert_eq!(encoder.push(0, b"", b"abc"), Err(BatchFull));
        encoder.push(0, b"", b"ab").unwrap();
        assert_eq!(encoder.push(0, b"", b""), Err(BatchFull));
        assert_eq!(encoder.finish(), BATCH_HEAD_SIZE_BYTES + 12);
        assert_eq!(Batch::decode(&out).unwrap().head.count, 1);
    }

    #[test]
    fn count_must_be_that_of_the_entries() {
        for count in [0u16, 1, 2, 4, u16::MAX] {
            let mut bytes = encoded();
            bytes[32..34].copy_from_slice(&count.to_le_bytes());
            assert!(Batch::decode(&bytes).is_err(), "count {count}");
        }
    }

    #[test]
    fn an_entry_longer_or_shorter_than_it_can_be_is_refused() {
        for length in [0u32, 9, 21, 10_000, u32::MAX] {
            let mut bytes = encoded();
            bytes[96..100].copy_from_slice(&length.to_le_bytes());
            assert!(Batch::decode(&bytes).is_err(), "length {length}");
        }
        for properties in [11u16, 32_768, u16::MAX] {
            let mut bytes = encoded();
            bytes[104..106].copy_from_slice(&properties.to_le_bytes());
            assert!(Batch::decode(&bytes).is_err(), "properties {properties}");
        }
    }
}
