//! H(n) = hash(H(n−1), message): one number for all messages of a queue up to an offset, equal for all who saw the same.

use crate::identity::MessageId;

/// The rolling hash of a queue's messages, in the order of their offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollingHash {
    state: u64,
}

impl RollingHash {
    /// Adds the message at `offset`.
    #[inline]
    pub const fn push(&mut self, offset: u64, message: MessageId) {
        let mixed = (self.state ^ message.bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 32) ^ offset).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.state = mixed ^ (mixed >> 29);
    }

    /// The hash of everything that was added.
    pub const fn value(self) -> u64 {
        self.state
    }
}
