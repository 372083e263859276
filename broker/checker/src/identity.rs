//! The bytes by which a message is known again.
//!
//! ```text
//!  0      5 6      9 10                    size−1
//! +--------+--------+----------------------+
//! | id u48 | hash   | filler               |   little endian
//! +--------+--------+----------------------+
//! id     = producer (12 bits) << 36 | sequence (36 bits)
//! hash   = u32, keyed by the run's seed, of the id and the body's length
//! filler = a stream of words that follows from seed and id: every byte of a body is checked
//! ```
//!
//! A body of another run, of another message, cut short or with a flipped bit is not read as an id (false acceptance of
//! foreign bytes: 2⁻³²).

use std::fmt;

/// The smallest body that carries an identity, bytes.
pub const IDENTITY_SIZE_BYTES: usize = 10;

/// Producers of one run. When reached: [`MessageId::new`] panics.
pub const PRODUCER_COUNT_MAX: u32 = 1 << 12;

/// Messages of one producer. When reached: [`MessageId::new`] panics.
pub const SEQUENCE_COUNT_MAX: u64 = 1 << 36;

/// A message of a run: its producer and its number there, in 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// Names message `sequence` of `producer`. Panics beyond [`PRODUCER_COUNT_MAX`] or [`SEQUENCE_COUNT_MAX`].
    #[inline]
    pub const fn new(producer: u32, sequence: u64) -> Self {
        assert!(producer < PRODUCER_COUNT_MAX, "too many producers in one run");
        assert!(sequence < SEQUENCE_COUNT_MAX, "too many messages of one producer");
        Self(((producer as u64) << 36) | sequence)
    }

    /// The id with this number; the upper 16 bits are ignored.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << 48) - 1))
    }

    /// The 48 bits.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Who sent it.
    #[inline]
    pub const fn producer(self) -> u32 {
        (self.0 >> 36) as u32
    }

    /// The how-manieth of its producer, from 0.
    #[inline]
    pub const fn sequence(self) -> u64 {
        self.0 & (SEQUENCE_COUNT_MAX - 1)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.producer(), self.sequence())
    }
}

/// What tells the messages of one run from those of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSeed(pub u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const STREAM: u64 = 0xD6E8_FEB8_6659_FD93;

impl RunSeed {
    /// 64 bits that follow from the seed and `id`: the state of the filler; the hash is taken from it.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "folds 128 bits into 64")]
    const fn key_of(self, id: MessageId) -> u64 {
        let product = ((id.0 ^ self.0) as u128).wrapping_mul(GOLDEN as u128 | (STREAM as u128) << 64);
        let folded = (product as u64) ^ ((product >> 64) as u64);
        let again = (folded ^ self.0.rotate_left(32)) as u128 * STREAM as u128;
        (again as u64) ^ ((again >> 64) as u64)
    }

    #[inline]
    const fn hash_of(key: u64, size_bytes: usize) -> u32 {
        ((key ^ (size_bytes as u64).wrapping_mul(GOLDEN)) >> 32) as u32
    }

    /// Writes the message `id` over all of `body`. Panics when `body` is shorter than [`IDENTITY_SIZE_BYTES`].
    #[inline]
    pub fn stamp(self, id: MessageId, body: &mut [u8]) {
        let key = self.key_of(id);
        let size_bytes = body.len();
        let (head, filler) = body.split_at_mut(IDENTITY_SIZE_BYTES);
        head[..6].copy_from_slice(&id.0.to_le_bytes()[..6]);
        head[6..].copy_from_slice(&Self::hash_of(key, size_bytes).to_le_bytes());
        let mut state = key;
        let mut words = filler.chunks_exact_mut(8);
        for word in &mut words {
            state = state.wrapping_add(GOLDEN);
            word.copy_from_slice(&filler_word(state).to_le_bytes());
        }
        let rest = words.into_remainder();
        let last = filler_word(state.wrapping_add(GOLDEN)).to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }

    /// The message that `body` is, when every byte of it is as [`RunSeed::stamp`] wrote it; else `None`.
    #[inline]
    pub fn read(self, body: &[u8]) -> Option<MessageId> {
        let (head, filler) = body.split_at_checked(IDENTITY_SIZE_BYTES)?;
        let mut bits = [0u8; 8];
        bits[..6].copy_from_slice(&head[..6]);
        let id = MessageId(u64::from_le_bytes(bits));
        let key = self.key_of(id);
        if head[6..] != Self::hash_of(key, body.len()).to_le_bytes() {
            return None;
        }
        let mut state = key;
        let mut difference = 0u64;
        let words = filler.chunks_exact(8);
        let rest = words.remainder();
        for word in words {
            state = state.wrapping_add(GOLDEN);
            let mut bytes = [0u8; 8];
            bytes.copy_from_slice(word);
            difference |= u64::from_le_bytes(bytes) ^ filler_word(state);
        }
        let last = filler_word(state.wrapping_add(GOLDEN)).to_le_bytes();
        (difference == 0 && rest == &last[..rest.len()]).then_some(id)
    }
}

#[inline]
const fn filler_word(state: u64) -> u64 {
    (state ^ (state >> 29)).wrapping_mul(STREAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_as_its_message_at_every_size() {
        let seed = RunSeed(0x1234_5678_9abc_def0);
        for size in 10..70 {
            let id = MessageId::new(4095, SEQUENCE_COUNT_MAX - 1 - size as u64);
            let mut body = vec![0u8; size];
            seed.stamp(id, &mut body);
            assert_eq!(seed.read(&body), Some(id), "size {size}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let seed = RunSeed(77);
        let mut body = vec![0u8; 45];
        seed.stamp(MessageId::new(3, 1_000_000), &mut body);
        for bit in 0..body.len() * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seed.read(&body), None, "bit {bit}");
            body[bit / 8] ^= 1 << (bit % 8);
        }
        for size in 0..body.len() {
            assert_eq!(seed.read(&body[..size]), None, "size {size}");
        }
        assert!(seed.read(&body).is_some());
    }

    #[test]
    fn a_message_of_another_run_is_refused() {
        let mut body = [0u8; 10];
        RunSeed(1).stamp(MessageId::new(0, 0), &mut body);
        assert_eq!(RunSeed(2).read(&body), None);
    }
}
