//! What one reader was given.

use super::{Placements, SequenceSet};
use crate::anomaly::{Anomalies, Anomaly, AnomalyKind};
use crate::chain::RollingHash;
use crate::identity::{MessageId, RunSeed};
use crate::judge::QueueIndex;

/// One producer's messages as this reader saw them.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) once: SequenceSet,
    pub(super) twice: SequenceSet,
    pub(super) placements: Placements,
}

/// One queue as this reader read it.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    next: Option<u64>,
    chain: RollingHash,
}

/// The books of one reader.
#[derive(Clone, Debug)]
pub struct Reading {
    seed: RunSeed,
    pub(super) producers: Vec<Seen>,
    queues: Vec<Cursor>,
    pub(super) read: u64,
    pub(super) verified: u64,
    pub(super) anomalies: Anomalies,
}

impl Reading {
    /// The empty books of a reader in the run `seed` of `producer_count` producers: a message of any other is a phantom.
    pub fn new(seed: RunSeed, producer_count: u32) -> Self {
        Self {
            seed,
            producers: vec![Seen::default(); producer_count as usize],
            queues: Vec::new(),
            read: 0,
            verified: 0,
            anomalies: Anomalies::default(),
        }
    }

    /// Messages that came, sound or not.
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// Messages of this run, every byte as it was sent.
    pub const fn verified(&self) -> u64 {
        self.verified
    }

    /// The offset after the last message of `queue`, once one was read.
    pub fn next_offset(&self, queue: u32) -> Option<u64> {
        self.queues.get(queue as usize)?.next
    }

    /// The rolling hash of everything read from `queue`.
    pub fn digest(&self, queue: u32) -> u64 {
        self.queues.get(queue as usize).map_or(0, |cursor| cursor.chain.value())
    }

    /// The queue is read from `offset` on.
    pub fn start(&mut self, queue: u32, offset: u64) {
        self.cursor(queue).next = Some(offset);
    }

    /// The message at `offset` of `queue` has this body. Gives its identity when it is one of this run's.
    #[inline]
    pub fn message(&mut self, queue: u32, offset: u64, body: &[u8]) -> Option<MessageId> {
        self.read += 1;
        let message = self.seed.read(body);
        let cursor = self.cursor(queue);
        let expected = cursor.next.unwrap_or(offset);
        cursor.next = Some(expected.max(offset.saturating_add(1)));
        if let Some(message) = message {
            cursor.chain.push(offset, message);
        }
        if offset != expected {
            let kind = if offset > expected { AnomalyKind::PollSkip } else { AnomalyKind::NonMonotonicPoll };
            self.anomalies.report(Anomaly::new(kind).at(QueueIndex(queue), offset).other(expected));
        }
        let Some(message) = message else {
            self.anomalies.report(Anomaly::new(AnomalyKind::Phantom).at(QueueIndex(queue), offset));
            return None;
        };
        let Some(seen) = self.producers.get_mut(message.producer() as usize) else {
            self.anomalies.report(Anomaly::new(AnomalyKind::Phantom).at(QueueIndex(queue), offset).of(message));
            return None;
        };
        self.verified += 1;
        let sequence = message.sequence();
        if seen.once.insert(sequence) {
            seen.placements.set(sequence, queue, offset);
        } else if !seen.twice.insert(sequence) {
            // A third time, or a sequence far beyond all that can have been sent.
            self.anomalies.report(Anomaly::new(AnomalyKind::Duplicate).at(QueueIndex(queue), offset).of(message));
        }
        Some(message)
    }

    fn cursor(&mut self, queue: u32) -> &mut Cursor {
        let index = queue as usize;
        if index >= self.queues.len() {
            self.queues.resize(index + 1, Cursor::default());
        }
        &mut self.queues[index]
    }
}
