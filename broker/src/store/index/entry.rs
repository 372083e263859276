//! One entry of the queue index: where a record of a queue lies, and what a reader wants to know before it reads it.
//!
//! ```text
//! 0   first offset u64       the queue offset of the message, or of the first one of a batch
//! 8   position u64           of the record header in the log
//! 16  size u32               bytes of the record, header included
//! 20  tag hash i32           RocketMQ's hash of the tag; 0 without one and for a batch
//! 24  store time u48         ms since 1970 (until the year 10889)
//! 30  count u16              messages in the record, at least 1
//! ```
//! The same 32 bytes, little endian, are in memory and in a run.

use ringmq_proto::ids::{LogPosition, QueueOffset};

/// Bytes of an entry, in memory and on disk.
pub const ENTRY_SIZE_BYTES: usize = 32;

/// The last millisecond that an entry can say; later ones are stored as this one.
pub const STORE_TIME_MS_MAX: u64 = (1 << 48) - 1;

const COUNT_SHIFT: u32 = 48;

/// One record of one queue: a message, or a batch of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Of the (first) message.
    pub offset: QueueOffset,
    /// Of the record header.
    pub position: LogPosition,
    /// Bytes of the record, header included.
    pub size_bytes: u32,
    /// RocketMQ's hash of the tag; 0 without one and for a batch.
    pub tag_hash: i32,
    time_and_count: u64,
}

const _: () = assert!(size_of::<IndexEntry>() == ENTRY_SIZE_BYTES);

impl IndexEntry {
    /// An entry for `count` messages (at least 1). A store time beyond [`STORE_TIME_MS_MAX`] is stored as that.
    #[inline]
    pub fn new(
        offset: QueueOffset,
        count: u16,
        position: LogPosition,
        size_bytes: u32,
        store_time_ms: u64,
        tag_hash: i32,
    ) -> Self {
        assert!(count > 0, "an entry without messages at {offset}");
        let time_and_count = store_time_ms.min(STORE_TIME_MS_MAX) | u64::from(count) << COUNT_SHIFT;
        Self { offset, position, size_bytes, tag_hash, time_and_count }
    }

    /// When the record was stored: milliseconds since 1970. Never falls along a queue.
    #[inline]
    pub fn store_time_ms(&self) -> u64 {
        self.time_and_count & STORE_TIME_MS_MAX
    }

    /// Messages in the record: 1, or those of a batch.
    #[inline]
    pub fn count(&self) -> u16 {
        (self.time_and_count >> COUNT_SHIFT) as u16
    }

    /// The offset after the last message of the record.
    #[inline]
    pub fn next_offset(&self) -> QueueOffset {
        self.offset.plus(u64::from(self.count()))
    }

    /// The bytes above.
    pub(super) fn encode(&self, bytes: &mut [u8; ENTRY_SIZE_BYTES]) {
        bytes[0..8].copy_from_slice(&self.offset.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.get().to_le_bytes());
        bytes[16..20].copy_from_slice(&self.size_bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.tag_hash.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time_and_count.to_le_bytes());
    }

    /// From the bytes above: the first [`ENTRY_SIZE_BYTES`] of `bytes`, out of a block whose checksum holds.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (words, _) = bytes[..ENTRY_SIZE_BYTES].as_chunks::<8>();
        let (halves, _) = words[2].as_chunks::<4>();
        Self {
            offset: QueueOffset::new(u64::from_le_bytes(words[0])),
            position: LogPosition::new(u64::from_le_bytes(words[1])),
            size_bytes: u32::from_le_bytes(halves[0]),
            tag_hash: i32::from_le_bytes(halves[1]),
            time_and_count: u64::from_le_bytes(words[3]),
        }
    }
}

impl std::fmt::Debug for IndexEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexEntry")
            .field("offset", &self.offset.get())
            .field("count", &self.count())
            .field("position", &self.position.get())
            .field("size_bytes", &self.size_bytes)
            .field("store_time_ms", &self.store_time_ms())
            .field("tag_hash", &self.tag_hash)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_read_back_as_written_at_its_extremes() {
        for (time, count, tag) in [(0, 1, 0), (STORE_TIME_MS_MAX, u16::MAX, i32::MIN), (1 << 41, 100, -1)] {
            let entry =
                IndexEntry::new(QueueOffset::new(7), count, LogPosition::new(u64::MAX - 1), u32::MAX, time, tag);
            let mut bytes = [0; ENTRY_SIZE_BYTES];
            entry.encode(&mut bytes);
            assert_eq!(IndexEntry::decode(&bytes), entry);
            assert_eq!((entry.store_time_ms(), entry.count(), entry.tag_hash), (time, count, tag));
            assert_eq!(entry.next_offset(), QueueOffset::new(7 + u64::from(count)));
        }
        let late = IndexEntry::new(QueueOffset::ZERO, 1, LogPosition::ZERO, 1, u64::MAX, 0);
        assert_eq!(
            (late.store_time_ms(), late.count()),
            (STORE_TIME_MS_MAX, 1),
            "a late time spills into no other field"
        );
    }
}
