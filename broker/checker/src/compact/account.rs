//! What one producer sent, and what became of it.

use super::{Placements, SequenceSet};
use crate::identity::{PRODUCER_COUNT_MAX, SEQUENCE_COUNT_MAX};

/// The books of one producer. Sequences below [`Account::sent`] were sent; those neither acknowledged nor failed are
/// unknown.
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) producer: u32,
    pub(super) sent: u64,
    pub(super) acknowledged: SequenceSet,
    pub(super) failed: SequenceSet,
    pub(super) maybe_twice: SequenceSet,
    pub(super) placements: Placements,
    /// Answers for what was not sent, or a second answer.
    pub(super) outcomes_invented: u64,
}

impl Account {
    /// The empty books of `producer` (< [`crate::identity::PRODUCER_COUNT_MAX`]).
    pub fn new(producer: u32) -> Self {
        assert!(producer < PRODUCER_COUNT_MAX, "too many producers in one run");
        Self {
            producer,
            sent: 0,
            acknowledged: SequenceSet::new(),
            failed: SequenceSet::new(),
            maybe_twice: SequenceSet::new(),
            placements: Placements::default(),
            outcomes_invented: 0,
        }
    }

    /// Who it is.
    pub const fn producer(&self) -> u32 {
        self.producer
    }

    /// Messages that left, whatever became of them.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages that were acknowledged.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged.count()
    }

    /// Messages that were refused definitely.
    pub const fn failed(&self) -> u64 {
        self.failed.count()
    }

    /// Messages that may be there or not.
    pub const fn unknown(&self) -> u64 {
        self.sent - self.acknowledged.count() - self.failed.count()
    }

    /// Takes the next `count` sequences to send and gives the first of them.
    #[inline]
    pub const fn take(&mut self, count: u64) -> u64 {
        let first = self.sent;
        assert!(count <= SEQUENCE_COUNT_MAX - first, "too many messages of one producer");
        self.sent += count;
        first
    }

    /// The `count` messages from sequence `first` on lie in `queue` from `offset` on.
    #[inline]
    pub fn acknowledge(&mut self, first: u64, count: u64, queue: u32, offset: u64) {
        if count == 0 || first.saturating_add(count) > self.sent {
            self.outcomes_invented += 1;
            return;
        }
        if self.acknowledged.insert_range(first, count) != count {
            self.outcomes_invented += 1;
        }
        let mut sequence = first.next_multiple_of(super::PLACEMENT_STRIDE);
        while sequence < first + count {
            self.placements.set(sequence, queue, offset + (sequence - first));
            sequence += super::PLACEMENT_STRIDE;
        }
    }

    /// The `count` messages from sequence `first` on were refused and must never appear.
    pub fn fail(&mut self, first: u64, count: u64) {
        if first.saturating_add(count) > self.sent || self.failed.insert_range(first, count) != count {
            self.outcomes_invented += 1;
        }
    }

    /// The `count` messages from sequence `first` on are sent once more, with no outcome known: they may appear twice.
    pub fn retry(&mut self, first: u64, count: u64) {
        self.maybe_twice.insert_range(first, count);
    }
}
