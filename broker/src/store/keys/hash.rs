//! Hashes of keys: what the index sorts and finds by.
//!
//! A hash is keyed by the log's id, which never leaves the shard: nobody outside can choose keys that fall together. It is
//! written into runs, so it must be the same in every version that reads them (a new one needs a new version of blocks).
//! Two keys with one hash cost a read that finds another message, no more: candidates are compared with what was asked.

/// Which name space a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A word of the property KEYS.
    Word,
    /// The property UNIQ_KEY: the id that the producer gave.
    Unique,
}

/// Makes the hashes of one log.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHasher {
    seeds: [u64; 2],
}

/// Odd constants without a pattern: the first digits of the golden ratio, of e, and of the square root of 2.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const END: u64 = 0xb7e1_5162_8aed_2a6b;
const KIND: u64 = 0x6a09_e667_f3bc_c909;

impl KeyHasher {
    pub(super) fn new(log_id: u128) -> Self {
        let [low, high] = halves(log_id);
        Self { seeds: [fold(low ^ STEP, END), fold(high ^ KIND, STEP)] }
    }

    /// Where the hashes of a topic's keys start.
    #[inline]
    pub(super) fn topic(&self, topic: &[u8]) -> u64 {
        self.absorb(self.seeds[0], topic)
    }

    /// The hash of a key, behind its topic's.
    #[inline]
    pub(super) fn key(&self, topic: u64, kind: KeyKind, key: &[u8]) -> u64 {
        let start = match kind {
            KeyKind::Word => topic,
            KeyKind::Unique => topic ^ KIND,
        };
        fold(self.absorb(start, key), self.seeds[1] | 1)
    }

    #[inline]
    fn absorb(&self, start: u64, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut hash = start;
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), self.seeds[1] ^ STEP);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        fold(hash ^ u64::from_le_bytes(last), self.seeds[1] ^ END ^ bytes.len() as u64)
    }
}

/// The two halves of the product of two numbers, one on the other: every bit depends on all.
#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let [low, high] = halves(u128::from(left) * u128::from(right));
    low ^ high
}

#[expect(clippy::cast_possible_truncation, reason = "each half is what is meant")]
#[inline]
fn halves(word: u128) -> [u64; 2] {
    [word as u64, (word >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn topics_kinds_logs_and_lengths_have_hashes_of_their_own() {
        let mut hashes = BTreeSet::new();
        let mut count = 0;
        for log_id in [1, 2, 1 << 100] {
            let hasher = KeyHasher::new(log_id);
            for topic in ["", "a", "ab", "topic"] {
                for kind in [KeyKind::Word, KeyKind::Unique] {
                    for key in ["", "b", "\0", "\0\0", "key", "12345678", "12345678\0"] {
                        hashes.insert(hasher.key(hasher.topic(topic.as_bytes()), kind, key.as_bytes()));
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn hashes_of_counted_keys_spread_evenly() {
        let hasher = KeyHasher::new(0xabcdef);
        let topic = hasher.topic(b"orders");
        let mut counts = [0_u32; 256];
        for number in 0..256_000 {
            let hash = hasher.key(topic, KeyKind::Word, format!("order-{number}").as_bytes());
            counts[(hash >> 56) as usize] += 1;
        }
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert!(least > Some(850) && most < Some(1150), "1000 each, give or take: {least:?} to {most:?}");
    }
}
