//! Reading pending messages: when they are due, and their bytes.

use super::due::{DueFound, DueKey};
use super::record::{PENDING_RECORD_SIZE_BYTES, Pending, PendingKind};
use super::table::PendingCounts;
use crate::store::Store;
use crate::store::cache::{Demanded, PAGE_BLOCK_SIZE_BYTES};
use crate::store::read::{Bytes, Grain};
use ringmq_proto::ids::LogPosition;
use ringmq_proto::record::RecordView;

/// What reading a pending message found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingRead {
    /// The stored message, in RocketMQ's layout.
    Found(Vec<u8>),
    /// Blocks are being loaded.
    NotYet,
    /// The disk did not read them: they may be read another time.
    Failed(String),
    /// It was promised and cannot be read. It is left alone until the next start.
    Damaged(String),
}

impl Store {
    /// Adds pending messages that are due at `now_ms` (wall clock) to `out`, the longest due first, `max` at most. Those for
    /// which something is under way are left out.
    pub fn due(&mut self, now_ms: u64, max: usize, out: &mut Vec<Pending>) {
        self.state.pending.due(now_ms, max, out);
    }

    /// Adds delayed and timed messages that are due behind this place (due time, origin), and not after `until_ms`, to `out`, in
    /// that order, `max` at most.
    pub fn due_behind(&self, place: (u64, LogPosition), until_ms: u64, max: usize, out: &mut Vec<Pending>) {
        self.state.pending.later.due_behind(DueKey { due_ms: place.0, origin: place.1 }, until_ms, max, out);
    }

    /// Whether the message lies in memory.
    pub fn pending_is_hot(&self, entry: &Pending) -> bool {
        entry.position >= self.tail.start()
    }

    /// When the next pending message is due, in wall-clock ms, as far as it is known: what is read from disk shows later.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.state.pending.next_due_ms()
    }

    /// The delayed or timed message that is due at `due_ms` under this origin, unless it is about to end.
    pub fn find_pending(&mut self, due_ms: u64, origin: LogPosition) -> DueFound {
        if self.state.pending.is_settling(origin) {
            return DueFound::Nothing;
        }
        self.state.pending.later.find(&mut self.cache, DueKey { due_ms, origin })
    }

    /// How many messages are pending, by kind.
    pub fn pending_counts(&self) -> PendingCounts {
        self.state.pending.counts()
    }

    /// The message of an entry. It and its PENDING record lie side by side, and are both checked.
    pub fn pending_message(&mut self, entry: &Pending) -> PendingRead {
        self.read_pending(entry, grain_of(entry))
    }

    /// Asks for what of this message lies on disk, as [`Store::pending_message`] does, but without looking at it. True: there
    /// is nothing to wait for.
    pub fn demand_pending_message(&mut self, entry: &Pending) -> bool {
        let size_bytes = entry.size_bytes as usize + PENDING_RECORD_SIZE_BYTES;
        self.demand_bytes(entry.position, size_bytes, grain_of(entry)) == Demanded::Ready
    }

    pub(super) fn read_pending(&mut self, entry: &Pending, grain: Grain) -> PendingRead {
        let message_bytes = entry.size_bytes as usize;
        let mut bytes = Vec::new();
        let read = self.cold_bytes(entry.position, message_bytes + PENDING_RECORD_SIZE_BYTES, grain, &mut bytes);
        let why = match read {
            Bytes::Ready => {
                let whole_bytes = message_bytes + PENDING_RECORD_SIZE_BYTES;
                let log_id = self.identity.log_id;
                let whole = RecordView::decode(&bytes).is_ok_and(|(message, rest)| {
                    let second = entry.position.plus(u64::from(message.header.length));
                    message.is_whole(log_id, entry.position)
                        && message.header.length == entry.size_bytes
                        && RecordView::decode(rest).is_ok_and(|(pending, _)| pending.is_whole(log_id, second))
                });
                if whole {
                    bytes.truncate(message_bytes);
                    bytes.drain(..ringmq_proto::record::RECORD_HEADER_SIZE_BYTES);
                    return PendingRead::Found(bytes);
                }
                let why = format!("the pending message at {} does not match its checksum", entry.position);
                match self.doubt(entry.position, whole_bytes, grain, why) {
                    Bytes::Damaged(why) => why,
                    Bytes::Failed(why) => return PendingRead::Failed(why),
                    Bytes::Ready | Bytes::NotYet => return PendingRead::NotYet,
                }
            }
            Bytes::NotYet => return PendingRead::NotYet,
            Bytes::Failed(why) => return PendingRead::Failed(why),
            Bytes::Damaged(why) => why,
        };
        if self.state.pending.note_unreadable(entry) {
            self.metrics.pending_unreadable += 1;
        }
        PendingRead::Damaged(why)
    }
}

/// Messages of a delay level are due in the order in which they lie, others lie scattered.
fn grain_of(entry: &Pending) -> Grain {
    match entry.kind {
        PendingKind::Delay => Grain::Large,
        _ if entry.size_bytes as usize <= PAGE_BLOCK_SIZE_BYTES => Grain::Page,
        _ => Grain::Small,
    }
}
