//! The payloads of PENDING and SETTLED records.
//!
//! Little endian. The record header's queue id is the system queue that the message lies in.
//!
//! ```text
//! pending (24)  origin u64 | message position u64 | due ms u64 | first queue offset u64
//!               message record size u32 | proof u32 | checks u16 | kind u8 | zero u8 x 5
//! settled (25)  origin u64 | due ms u64 | message record size u32 | kind u8 | by u8 | zero u16
//! ```
//!
//! A SETTLED record repeats what an index by due time needs to forget the message without looking it up.

use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::record::RECORD_HEADER_SIZE_BYTES;

/// Bytes of a PENDING record, header included.
pub const PENDING_RECORD_SIZE_BYTES: usize = RECORD_HEADER_SIZE_BYTES + PENDING_PAYLOAD_SIZE_BYTES;
/// Bytes of a SETTLED record, header included.
pub const SETTLED_RECORD_SIZE_BYTES: usize = RECORD_HEADER_SIZE_BYTES + SETTLED_PAYLOAD_SIZE_BYTES;

const PENDING_PAYLOAD_SIZE_BYTES: usize = 48;
const SETTLED_PAYLOAD_SIZE_BYTES: usize = 24;

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PendingKind {
    /// The end of a delay level.
    Delay,
    /// A time that its sender chose; may be recalled.
    Timer,
    /// The end of its transaction; when due, its producer is asked.
    Half,
}

impl PendingKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Delay, Self::Timer, Self::Half];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Delay => 1,
            Self::Timer => 2,
            Self::Half => 3,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A message that waits, as its newest PENDING record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Where the message was first stored: its name for ever.
    pub origin: LogPosition,
    /// Where the newest copy of it lies.
    pub position: LogPosition,
    /// Bytes of the message's record, header included.
    pub size_bytes: u32,
    /// The system queue that it lies in.
    pub queue: QueueId,
    /// The offset that it first had there: what its sender was told.
    pub first_offset: QueueOffset,
    /// When something is to be done, in wall-clock ms.
    pub due_ms: u64,
    /// What is to be done then.
    pub kind: PendingKind,
    /// How often its producer has been asked.
    pub checks: u16,
    /// CRC-32 of what must be known to end it from outside: the producer group of a half message, topic and unique key
    /// of a timed one. Against mix-ups, not against attackers.
    pub proof: u32,
}

/// How a pending message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledBy {
    /// It lies in its real queue now.
    Delivered,
    /// Rolled back, or recalled.
    Cancelled,
    /// Its producer was asked too often without an answer.
    GivenUp,
    /// It cannot be delivered: its topic is gone, or its bytes are damaged.
    Lost,
}

impl SettledBy {
    const ALL: [Self; 4] = [Self::Delivered, Self::Cancelled, Self::GivenUp, Self::Lost];

    fn number(self) -> u8 {
        match self {
            Self::Delivered => 1,
            Self::Cancelled => 2,
            Self::GivenUp => 3,
            Self::Lost => 4,
        }
    }
}

/// The end of a pending message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which one.
    pub origin: LogPosition,
    /// When it was due.
    pub due_ms: u64,
    /// Bytes of its record.
    pub size_bytes: u32,
    /// What it waited for.
    pub kind: PendingKind,
    /// How it ended.
    pub by: SettledBy,
}

impl Pending {
    /// The end of this one.
    pub fn settled(&self, by: SettledBy) -> Settled {
        let Self { origin, due_ms, size_bytes, kind, .. } = *self;
        Settled { origin, due_ms, size_bytes, kind, by }
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.origin.get().to_le_bytes());
        out.extend(self.position.get().to_le_bytes());
        out.extend(self.due_ms.to_le_bytes());
        out.extend(self.first_offset.get().to_le_bytes());
        out.extend(self.size_bytes.to_le_bytes());
        out.extend(self.proof.to_le_bytes());
        out.extend(self.checks.to_le_bytes());
        out.extend([self.kind.number(), 0, 0, 0, 0, 0]);
    }

    /// Reads a payload; nothing when it is none.
    pub fn decode(queue: QueueId, payload: &[u8]) -> Option<Self> {
        let payload: &[u8; PENDING_PAYLOAD_SIZE_BYTES] = payload.try_into().ok()?;
        Some(Self {
            origin: LogPosition::new(u64_at(payload, 0)),
            position: LogPosition::new(u64_at(payload, 8)),
            due_ms: u64_at(payload, 16),
            first_offset: QueueOffset::new(u64_at(payload, 24)),
            size_bytes: u32_at(payload, 32),
            proof: u32_at(payload, 36),
            checks: u16::from_le_bytes([payload[40], payload[41]]),
            kind: PendingKind::from_number(payload[42])?,
            queue,
        })
    }
}

impl Settled {
    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.origin.get().to_le_bytes());
        out.extend(self.due_ms.to_le_bytes());
        out.extend(self.size_bytes.to_le_bytes());
        out.extend([self.kind.number(), self.by.number(), 0, 0]);
    }

    /// Reads a payload; nothing when it is none.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; SETTLED_PAYLOAD_SIZE_BYTES] = payload.try_into().ok()?;
        Some(Self {
            origin: LogPosition::new(u64_at(payload, 0)),
            due_ms: u64_at(payload, 8),
            size_bytes: u32_at(payload, 16),
            kind: PendingKind::from_number(payload[20])?,
            by: SettledBy::ALL.into_iter().find(|by| by.number() == payload[21])?,
        })
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_refuse_other_lengths_and_kinds() {
        let pending = Pending {
            origin: LogPosition::new(4096),
            position: LogPosition::new(1 << 40),
            size_bytes: 155,
            queue: QueueId::new(7),
            first_offset: QueueOffset::new(9),
            due_ms: 1_795_218_653_511,
            kind: PendingKind::Half,
            checks: 3,
            proof: 0xdead_beef,
        };
        let mut payload = Vec::new();
        pending.encode(&mut payload);
        assert_eq!(payload.len(), PENDING_PAYLOAD_SIZE_BYTES);
        assert_eq!(Pending::decode(QueueId::new(7), &payload), Some(pending));
        assert_eq!(Pending::decode(QueueId::new(7), &payload[..47]), None);
        payload[42] = 9;
        assert_eq!(Pending::decode(QueueId::new(7), &payload), None, "an unknown kind");

        for by in SettledBy::ALL {
            let settled = pending.settled(by);
            let mut payload = Vec::new();
            settled.encode(&mut payload);
            assert_eq!(payload.len(), SETTLED_PAYLOAD_SIZE_BYTES);
            assert_eq!(Settled::decode(&payload), Some(settled));
            assert_eq!(Settled::decode(&payload[1..]), None);
        }
    }
}
