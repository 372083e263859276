//! One entry of the key index: a message that has a key.
//!
//! ```text
//! 0   hash u64               of topic, kind and key
//! 8   position u64           of the message: its record's header, or its entry in a batch record
//! 16  place u64              store time, ms since 1970 (42 bits, until 2109) << 22 | distance (22 bits)
//! ```
//! The distance leads back from the position to the header of the record, so that a batch's message is read without a
//! search for its record. 2^22 − 1 stands for every distance that is not below it: then it is searched.
//!
//! The same 24 bytes, little endian, are in a run; in memory an entry takes 8 more (`table.rs`).

use ringmq_proto::ids::LogPosition;

/// Bytes of an entry in a run.
pub const KEY_ENTRY_SIZE_BYTES: usize = 24;

const DISTANCE_BITS: u32 = 22;
const DISTANCE_UNKNOWN: u64 = (1 << DISTANCE_BITS) - 1;

/// The last millisecond that an entry can say; later ones are stored as this one.
pub const KEY_TIME_MS_MAX: u64 = (1 << (64 - DISTANCE_BITS)) - 1;

/// A message that has a key with this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyEntry {
    pub(super) hash: u64,
    pub(super) position: LogPosition,
    pub(super) place: u64,
}

impl KeyEntry {
    pub(super) fn new(hash: u64, record: LogPosition, distance: u64, store_time_ms: u64) -> Self {
        let place = store_time_ms.min(KEY_TIME_MS_MAX) << DISTANCE_BITS | distance.min(DISTANCE_UNKNOWN);
        Self { hash, position: record.plus(distance), place }
    }

    pub(super) fn store_time_ms(&self) -> u64 {
        self.place >> DISTANCE_BITS
    }

    /// The header of the message's record, if it is known.
    pub(super) fn record(&self) -> Option<LogPosition> {
        let distance = self.place & DISTANCE_UNKNOWN;
        (distance != DISTANCE_UNKNOWN).then(|| LogPosition::new(self.position.get() - distance))
    }

    /// What a run is sorted by.
    pub(super) fn order(&self) -> (u64, LogPosition) {
        (self.hash, self.position)
    }

    pub(super) fn encode(&self, bytes: &mut [u8; KEY_ENTRY_SIZE_BYTES]) {
        bytes[0..8].copy_from_slice(&self.hash.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.place.to_le_bytes());
    }

    /// From the bytes above: the first [`KEY_ENTRY_SIZE_BYTES`] of `bytes`, out of a block whose checksum holds.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (words, _) = bytes[..KEY_ENTRY_SIZE_BYTES].as_chunks::<8>();
        let [hash, position, place] = [0, 1, 2].map(|word| u64::from_le_bytes(words[word]));
        Self { hash, position: LogPosition::new(position), place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_read_back_as_written_at_its_extremes() {
        for (distance, time) in [(0, 0), (DISTANCE_UNKNOWN - 1, KEY_TIME_MS_MAX), (112, 1 << 41)] {
            let record = LogPosition::new(1 << 60);
            let entry = KeyEntry::new(u64::MAX, record, distance, time);
            let mut bytes = [0; KEY_ENTRY_SIZE_BYTES];
            entry.encode(&mut bytes);
            assert_eq!(KeyEntry::decode(&bytes), entry);
            assert_eq!((entry.record(), entry.store_time_ms()), (Some(record), time));
            assert_eq!(entry.position, record.plus(distance));
        }
        let far = KeyEntry::new(0, LogPosition::ZERO, 1 << 30, u64::MAX);
        assert_eq!((far.record(), far.store_time_ms()), (None, KEY_TIME_MS_MAX), "neither spills into the other");
        assert_eq!(far.position, LogPosition::new(1 << 30));
    }
}
