//! When each recent message was sent (or due), for the end-to-end latency: written by its producer's thread, read by the
//! reader's. One atomic word for each of the last messages of a producer; a message that is read later than the ring holds it is
//! not measured, and counted.
//!
//! ```text
//! word   sequence / RING_COUNT, low 20 bits | nanoseconds / 16, 44 bits (three days)
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages of one producer whose times are held. A power of two.
const RING_COUNT: u64 = 1 << 14;

const TIME_BITS: u32 = 44;

/// The times of all producers.
#[derive(Debug)]
pub struct SendTimes {
    words: Vec<AtomicU64>,
}

impl SendTimes {
    /// For producers 0 to `producer_count` − 1.
    pub fn new(producer_count: u32) -> Self {
        let count = u64::from(producer_count) * RING_COUNT;
        Self { words: (0..count).map(|_| AtomicU64::new(u64::MAX)).collect() }
    }

    /// Message `sequence` of `producer` was sent at `at_ns`.
    #[inline]
    pub fn set(&self, producer: u32, sequence: u64, at_ns: u64) {
        if let Some(word) = self.word(producer, sequence) {
            word.store(tag(sequence) << TIME_BITS | (at_ns >> 4), Ordering::Relaxed);
        }
    }

    /// When it was sent, nanoseconds (to 16 ns); `None` when that is forgotten.
    #[inline]
    pub fn get(&self, producer: u32, sequence: u64) -> Option<u64> {
        let word = self.word(producer, sequence)?.load(Ordering::Relaxed);
        (word >> TIME_BITS == tag(sequence)).then_some((word & ((1 << TIME_BITS) - 1)) << 4)
    }

    #[inline]
    fn word(&self, producer: u32, sequence: u64) -> Option<&AtomicU64> {
        let index = u64::from(producer) * RING_COUNT + sequence % RING_COUNT;
        self.words.get(usize::try_from(index).ok()?)
    }
}

#[inline]
const fn tag(sequence: u64) -> u64 {
    (sequence / RING_COUNT) & ((1 << (64 - TIME_BITS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_held_until_the_ring_comes_round() {
        let times = SendTimes::new(2);
        assert_eq!(times.get(1, 5), None);
        times.set(1, 5, 1_000_000_007);
        assert_eq!(times.get(1, 5), Some(1_000_000_000));
        assert_eq!(times.get(0, 5), None);
        times.set(1, 5 + RING_COUNT, 2_000_000_000);
        assert_eq!(times.get(1, 5), None);
        assert_eq!(times.get(7, 0), None);
    }
}
