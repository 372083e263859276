//! Bytes of delayed and timed messages that are soon due, read from disk before it is their turn: many at once, in the order
//! of their due times.
//!
//! A device reads a message in some hundred microseconds, and some ten thousand a second at most. What is due at one moment is
//! therefore read in the seconds before, as far as memory allows ([`SOON_BYTES_MAX`]). This is a copy that nothing relies on: a
//! message that is not here, or lies elsewhere by now, is read when it is due.

use super::Shard;
use super::limits::SOON_BYTES_MAX;
use crate::now::Now;
use crate::store::cache::LOADS_IN_FLIGHT_MAX;
use crate::store::pending::{Pending, PendingRead};
use ringmq_proto::ids::LogPosition;
use std::collections::BTreeMap;

/// How long before its time a message is read, in ms.
const SOON_MS: u64 = 3000;

/// Messages whose bytes are asked for before it is their turn: as many as are in flight at once, and as many again. When
/// reached: the next ones are asked for when some of these are read.
const LOADS_AHEAD_MAX: usize = 2 * LOADS_IN_FLIGHT_MAX;

/// The place of a message in the order of due times.
type Place = (u64, LogPosition);

fn place_of(entry: &Pending) -> Place {
    (entry.due_ms, entry.origin)
}

/// Messages that were read ahead.
#[derive(Debug, Default)]
pub(super) struct Soon {
    /// With the positions where they lay.
    ready: BTreeMap<Place, (LogPosition, Vec<u8>)>,
    size_bytes: usize,
    /// What was pending up to here was read, or need not be.
    read_to: Place,
    /// It is read next, when its bytes are there.
    awaited: Option<Pending>,
    /// Memory for a slice of work.
    next: Vec<Pending>,
}

impl Soon {
    /// The bytes of a message, if they were read where it lies now.
    pub(super) fn take(&mut self, entry: &Pending) -> Option<Vec<u8>> {
        let (position, message) = self.ready.remove(&place_of(entry))?;
        self.size_bytes -= message.len();
        (position == entry.position).then_some(message)
    }

    /// What is due from this one on is read again, as far as it is not here.
    pub(super) fn read_from(&mut self, entry: &Pending) {
        self.read_to = self.read_to.min((entry.due_ms, LogPosition::new(entry.origin.get().saturating_sub(1))));
    }

    fn holds(&self, entry: &Pending) -> bool {
        self.ready.get(&place_of(entry)).is_some_and(|(position, _)| *position == entry.position)
    }

    fn put(&mut self, entry: &Pending, message: Vec<u8>) {
        self.size_bytes += message.len();
        if let Some((_, before)) = self.ready.insert(place_of(entry), (entry.position, message)) {
            self.size_bytes -= before.len();
        }
    }

    /// Nothing before `first` is pending: what was read of that has ended otherwise, or is being copied.
    fn forget_before(&mut self, first: Option<Place>) {
        while let Some(oldest) = self.ready.first_entry()
            && first.is_none_or(|first| *oldest.key() < first)
        {
            self.size_bytes -= oldest.remove().1.len();
        }
    }
}

impl Shard {
    /// One slice of reading ahead.
    pub(super) fn read_soon(&mut self, now: &Now) {
        let Some(first_ms) = self.store.next_due_ms() else { return self.soon.forget_before(None) };
        self.soon.forget_before(Some((first_ms, LogPosition::ZERO)));
        let until_ms = now.wall_ms.saturating_add(SOON_MS);
        let is_awaiting = self.soon.awaited.is_some_and(|entry| !self.store.demand_pending_message(&entry));
        if first_ms > until_ms || is_awaiting || self.soon.size_bytes >= SOON_BYTES_MAX {
            return;
        }
        self.soon.awaited = None;
        let mut next = std::mem::take(&mut self.soon.next);
        next.clear();
        self.store.due_behind(self.soon.read_to, until_ms, 2 * LOADS_AHEAD_MAX, &mut next);
        let read_count = next.iter().position(|entry| !self.read_one(entry)).unwrap_or(next.len());
        self.demand(&next[read_count..]);
        self.soon.next = next;
    }

    /// Reads one message; false when it has to be waited for, or there is no room.
    fn read_one(&mut self, entry: &Pending) -> bool {
        if self.soon.size_bytes >= SOON_BYTES_MAX {
            return false;
        }
        if !self.store.pending_is_hot(entry) && !self.soon.holds(entry) {
            match self.store.pending_message(entry) {
                PendingRead::Found(message) => self.soon.put(entry, message),
                PendingRead::NotYet => {
                    self.soon.awaited = Some(*entry);
                    return false;
                }
                // Whoever delivers it will see what is wrong.
                PendingRead::Failed(_) | PendingRead::Damaged(_) => {}
            }
        }
        self.soon.read_to = place_of(entry);
        true
    }

    /// Asks for the bytes of those whose turn is next: one after the other, each would take a disk's latency.
    fn demand(&mut self, next: &[Pending]) {
        let mut size_bytes = self.soon.size_bytes;
        for entry in next.iter().take(LOADS_AHEAD_MAX) {
            size_bytes += entry.size_bytes as usize;
            if size_bytes > SOON_BYTES_MAX || self.store.cache().is_pressed() {
                return;
            }
            self.store.demand_pending_message(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pending::PendingKind;
    use ringmq_proto::ids::{QueueId, QueueOffset};

    fn entry(origin: u64, due_ms: u64) -> Pending {
        Pending {
            origin: LogPosition::new(origin),
            position: LogPosition::new(origin),
            size_bytes: 100,
            queue: QueueId::new(1),
            first_offset: QueueOffset::ZERO,
            due_ms,
            kind: PendingKind::Timer,
            checks: 0,
            proof: 0,
        }
    }

    #[test]
    fn what_was_read_is_given_once_and_only_where_it_still_lies() {
        let mut soon = Soon::default();
        let (first, second, third) = (entry(16, 5), entry(32, 6), entry(48, 7));
        [&first, &second, &third].into_iter().for_each(|entry| soon.put(entry, vec![1; 10]));
        assert_eq!(soon.take(&first), Some(vec![1; 10]));
        assert_eq!(soon.take(&first), None);
        let moved = Pending { position: LogPosition::new(4096), ..second };
        assert_eq!(soon.take(&moved), None, "what retention copied is read again");
        soon.put(&second, vec![2; 10]);
        soon.forget_before(Some((7, LogPosition::ZERO)));
        assert_eq!((soon.take(&second), soon.size_bytes), (None, 10), "it was recalled");
        soon.forget_before(None);
        assert_eq!((soon.size_bytes, soon.ready.len()), (0, 0));
    }
}
