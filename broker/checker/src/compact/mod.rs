//! The judge of large runs: hundreds of millions of messages in two bits and two bytes each.
//!
//! Each producer keeps an [`Account`] of what it sent and what became of it; each reader keeps a [`Reading`] of what it
//! was given; no two threads share either. At the end [`reconcile`] brings them together. Every body is checked byte by
//! byte; every acknowledged message must be there exactly once, none that was refused, none that nobody sent. Where the
//! acknowledgement said a message lies is compared for one in [`PLACEMENT_STRIDE`]: holding each would cost 8 bytes a
//! message.
//!
//! Compared with [`crate::Judge`]: no trimming, no power cuts, no consume offsets, and a body is one message of one
//! queue. A reader reads each queue once, from its first offset on, and no queue is read by two readers.

mod account;
mod reading;
mod sequence_set;
mod verdict;

pub use account::Account;
pub use reading::Reading;
pub use sequence_set::SequenceSet;
pub use verdict::{Verdict, of_readings, reconcile};

/// Of so many messages of a producer one has its place remembered by both sides and compared.
pub const PLACEMENT_STRIDE: u64 = 16;

/// Queues of one run. When reached: places in queues beyond are not compared.
pub const PLACED_QUEUE_COUNT_MAX: u32 = 1 << 24;

/// A queue and an offset in it, packed: 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Placement(u64);

impl Placement {
    const OFFSET_BITS: u32 = 40;

    fn new(queue: u32, offset: u64) -> Self {
        if queue >= PLACED_QUEUE_COUNT_MAX - 1 || offset >= 1 << Self::OFFSET_BITS {
            return Self(0);
        }
        Self(u64::from(queue + 1) << Self::OFFSET_BITS | offset)
    }

    fn get(self) -> Option<(u32, u64)> {
        let queue = u32::try_from(self.0 >> Self::OFFSET_BITS).expect("24 bits").checked_sub(1)?;
        Some((queue, self.0 & ((1 << Self::OFFSET_BITS) - 1)))
    }
}

/// The remembered places of one producer's messages: one in [`PLACEMENT_STRIDE`].
#[derive(Clone, Debug, Default)]
struct Placements(Vec<Placement>);

impl Placements {
    #[inline]
    fn set(&mut self, sequence: u64, queue: u32, offset: u64) {
        if !sequence.is_multiple_of(PLACEMENT_STRIDE) {
            return;
        }
        let slot = usize::try_from(sequence / PLACEMENT_STRIDE).expect("32 bits");
        if slot >= self.0.len() {
            self.0.resize(slot + 1, Placement::default());
        }
        self.0[slot] = Placement::new(queue, offset);
    }

    /// Fills in what the other knows and this does not.
    fn absorb(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), Placement::default());
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            if *mine == Placement::default() {
                *mine = *theirs;
            }
        }
    }
}
