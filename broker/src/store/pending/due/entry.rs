//! What the index says of a pending message, and in which order.
//!
//! ```text
//! due ms u64 | origin u64 | message position u64 | first queue offset u64
//! message record size u32 | proof u32 | system queue u32 | 0 u16 | kind u8 | 0 u8           48 B
//! ```
//! A kind of 0, with zeros behind the origin, says that the message is settled.

use crate::store::index::block;
use crate::store::pending::record::{Pending, PendingKind, Settled};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};

/// Bytes of an entry in a run.
pub const DUE_ENTRY_SIZE_BYTES: usize = 48;

/// The place of a message in the order of due times. It never changes: a copy has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct DueKey {
    pub(in crate::store) due_ms: u64,
    pub(in crate::store) origin: LogPosition,
}

impl DueKey {
    pub(super) const MIN: Self = Self { due_ms: 0, origin: LogPosition::ZERO };
    /// Behind all messages.
    pub(super) const MAX: Self = Self { due_ms: u64::MAX, origin: LogPosition::new(u64::MAX) };

    pub(in crate::store) fn of(entry: &Pending) -> Self {
        Self { due_ms: entry.due_ms, origin: entry.origin }
    }

    pub(super) fn of_settled(settled: &Settled) -> Self {
        Self { due_ms: settled.due_ms, origin: settled.origin }
    }

    /// The first key of a due time.
    pub(super) fn first_of(due_ms: u64) -> Self {
        Self { due_ms, origin: LogPosition::ZERO }
    }

    /// The key behind this one.
    pub(super) fn next(self) -> Self {
        match self.origin.get().checked_add(1) {
            Some(origin) => Self { origin: LogPosition::new(origin), ..self },
            None => Self::first_of(self.due_ms.saturating_add(1)),
        }
    }
}

/// What is known of a key: the message that is pending, or (nothing) that it is settled.
pub(super) type Said = Option<Pending>;

pub(super) fn encode(key: DueKey, said: &Said, bytes: &mut [u8]) {
    bytes[..DUE_ENTRY_SIZE_BYTES].fill(0);
    bytes[0..8].copy_from_slice(&key.due_ms.to_le_bytes());
    bytes[8..16].copy_from_slice(&key.origin.get().to_le_bytes());
    let Some(entry) = said else { return };
    bytes[16..24].copy_from_slice(&entry.position.get().to_le_bytes());
    bytes[24..32].copy_from_slice(&entry.first_offset.get().to_le_bytes());
    bytes[32..36].copy_from_slice(&entry.size_bytes.to_le_bytes());
    bytes[36..40].copy_from_slice(&entry.proof.to_le_bytes());
    bytes[40..44].copy_from_slice(&entry.queue.get().to_le_bytes());
    bytes[46] = entry.kind.number();
}

pub(super) fn decode(bytes: &[u8]) -> (DueKey, Said) {
    let key = DueKey { due_ms: block::u64_at(bytes, 0), origin: LogPosition::new(block::u64_at(bytes, 8)) };
    let said = PendingKind::from_number(bytes[46]).map(|kind| Pending {
        origin: key.origin,
        position: LogPosition::new(block::u64_at(bytes, 16)),
        size_bytes: block::u32_at(bytes, 32),
        queue: QueueId::new(block::u32_at(bytes, 40)),
        first_offset: QueueOffset::new(block::u64_at(bytes, 24)),
        due_ms: key.due_ms,
        kind,
        checks: 0,
        proof: block::u32_at(bytes, 36),
    });
    (key, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_keys_are_ordered_by_due_time_first() {
        let entry = Pending {
            origin: LogPosition::new(1 << 50),
            position: LogPosition::new(1 << 51),
            size_bytes: 155,
            queue: QueueId::new(7),
            first_offset: QueueOffset::new(9),
            due_ms: 1_795_218_653_511,
            kind: PendingKind::Timer,
            checks: 0,
            proof: 0xdead_beef,
        };
        let key = DueKey::of(&entry);
        for said in [Some(entry), None] {
            let mut bytes = [0xff; DUE_ENTRY_SIZE_BYTES];
            encode(key, &said, &mut bytes);
            assert_eq!(decode(&bytes), (key, said));
        }
        assert!(
            DueKey::first_of(key.due_ms) < key && key < key.next() && key.next() < DueKey::first_of(key.due_ms + 1)
        );
        assert_eq!(DueKey { origin: LogPosition::new(u64::MAX), ..key }.next(), DueKey::first_of(key.due_ms + 1));
    }
}
