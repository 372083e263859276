//! Requests in flight: who waits for a reply, in slots that are used again, so that finding one is an index and not a hash.

use std::fmt;

use super::RequestError;

/// A request that was put into the output. The reply carries the same number.
///
/// It names a *slot* and the turn of that slot: slots are small, dense and used again after the reply, so a caller keeps
/// what it knows about a request in an array indexed by [`RequestId::slot`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u32);

/// Bits of a request id that name the slot; the rest is the slot's turn.
const SLOT_BITS: u32 = 20;

/// Requests in flight on one connection. When reached: [`RequestError::TooManyInFlight`].
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1 << SLOT_BITS;

const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const NONE: u32 = u32::MAX;

impl RequestId {
    /// The id of one-way requests, which nobody waits for.
    pub(crate) const ONEWAY: Self = Self(u32::MAX);

    /// Index of the slot: below the largest number of requests that were ever in flight together.
    #[inline]
    pub const fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    /// The number on the wire.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({}, turn {})", self.0 & SLOT_MASK, self.0 >> SLOT_BITS)
    }
}

/// What is remembered of a request until its reply.
#[derive(Clone, Copy)]
struct Slot {
    /// The id while in flight; the id of the last turn while free.
    id: u32,
    /// Bytes of the request, as they count against the server's limit.
    bytes: u32,
    /// The next free slot, or `NONE`. Meaningless while in flight.
    next_free: u32,
    /// Kind of the request; 0 while free.
    kind: u8,
}

/// All slots of one connection.
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: u32,
    count: usize,
    bytes: usize,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, count: 0, bytes: 0 }
    }

    /// Requests in flight.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the requests in flight.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a slot for a request of `kind` (not 0) with `bytes` bytes.
    #[inline]
    pub(crate) fn take(&mut self, kind: u8, bytes: u32) -> Result<RequestId, RequestError> {
        if self.free == NONE {
            self.grow()?;
        }
        let slot = &mut self.slots[self.free as usize];
        self.free = slot.next_free;
        // The turn is the upper part: adding one above the slot's bits wraps by itself and leaves the slot alone.
        slot.id = slot.id.wrapping_add(1 << SLOT_BITS);
        slot.bytes = bytes;
        slot.kind = kind;
        self.count += 1;
        self.bytes += bytes as usize;
        Ok(RequestId(slot.id))
    }

    #[cold]
    fn grow(&mut self) -> Result<(), RequestError> {
        // The last slot number stays unused, so that no id is ever that of one-way requests.
        if self.slots.len() >= REQUESTS_IN_FLIGHT_MAX - 1 {
            return Err(RequestError::TooManyInFlight { count_max: REQUESTS_IN_FLIGHT_MAX - 1 });
        }
        let index = u32::try_from(self.slots.len()).expect("bounded above");
        self.slots.push(Slot { id: index, bytes: 0, next_free: NONE, kind: 0 });
        self.free = index;
        Ok(())
    }

    /// Gives back the slot of a reply: the kind of its request, or `None` when nobody waits for `id`.
    #[inline]
    pub(crate) fn release(&mut self, id: u32) -> Option<(RequestId, u8)> {
        let slot = self.slots.get_mut((id & SLOT_MASK) as usize)?;
        if slot.id != id || slot.kind == 0 {
            return None;
        }
        let kind = slot.kind;
        slot.kind = 0;
        slot.next_free = self.free;
        self.free = id & SLOT_MASK;
        self.count -= 1;
        self.bytes -= slot.bytes as usize;
        Some((RequestId(id), kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_under_another_id() {
        let mut slots = Slots::new();
        let first = slots.take(2, 10).expect("room");
        assert_eq!(slots.release(first.get()), Some((first, 2)));
        let second = slots.take(3, 20).expect("room");
        assert_eq!(first.slot(), second.slot());
        assert_ne!(first, second);
        assert!(slots.release(first.get()).is_none(), "a late reply must not answer the slot's next request");
        assert_eq!((slots.count(), slots.bytes()), (1, 20));
    }

    #[test]
    fn a_reply_that_nobody_waits_for_is_noticed() {
        let mut slots = Slots::new();
        assert!(slots.release(0).is_none());
        assert!(slots.release(RequestId::ONEWAY.get()).is_none());
        let id = slots.take(2, 1).expect("room");
        assert!(slots.release(id.get()).is_some());
        assert!(slots.release(id.get()).is_none(), "answered twice");
    }

    #[test]
    fn slots_stay_below_the_most_in_flight() {
        let mut slots = Slots::new();
        for _ in 0..1000 {
            let ids: Vec<_> = (0..7).map(|_| slots.take(2, 1).expect("room")).collect();
            assert!(ids.iter().all(|id| id.slot() < 7));
            for id in ids {
                assert!(slots.release(id.get()).is_some());
            }
        }
        assert_eq!((slots.count(), slots.bytes()), (0, 0));
    }
}
