//! What is known of each message that was sent: how often it was tried, how the tries ended, in how many places it is.

use super::{Outcome, QueueIndex};
use crate::identity::MessageId;

/// One message. Counters stop at their maximum: no history retries a message that often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Send {
    pub(super) attempts: u16,
    pub(super) failed: u16,
    /// Attempts that ended in any way.
    pub(super) ended: u16,
    /// Offsets at which it is known to stand, outside redelivery queues.
    pub(super) places: u16,
}

/// All messages of a history.
#[derive(Debug, Default)]
pub(super) struct Sends {
    /// By producer, then by sequence.
    pub(super) producers: Vec<Vec<Send>>,
    producer_count: usize,
    attempt_count: u64,
    /// Accepted for later, with the queue that they must reach.
    pub(super) later: Vec<(MessageId, QueueIndex)>,
}

impl Sends {
    pub(super) fn reset(&mut self) {
        self.producers[..self.producer_count].iter_mut().for_each(Vec::clear);
        self.producer_count = 0;
        self.attempt_count = 0;
        self.later.clear();
    }

    /// Attempts of all messages: no queue has more offsets.
    pub(super) fn attempt_count(&self) -> u64 {
        self.attempt_count
    }

    pub(super) fn attempt(&mut self, message: MessageId) {
        let producer = message.producer() as usize;
        if producer >= self.producer_count {
            if producer >= self.producers.len() {
                self.producers.resize_with(producer + 1, Vec::new);
            }
            self.producer_count = producer + 1;
        }
        let sequence = usize::try_from(message.sequence()).expect("36 bits");
        let sends = &mut self.producers[producer];
        if sequence >= sends.len() {
            sends.resize(sequence + 1, Send::default());
        }
        sends[sequence].attempts = sends[sequence].attempts.saturating_add(1);
        self.attempt_count += 1;
    }

    pub(super) fn get(&self, message: MessageId) -> Option<&Send> {
        let sequence = usize::try_from(message.sequence()).ok()?;
        self.producers.get(message.producer() as usize)?.get(sequence).filter(|send| send.attempts > 0)
    }

    fn get_mut(&mut self, message: MessageId) -> Option<&mut Send> {
        let sequence = usize::try_from(message.sequence()).ok()?;
        self.producers.get_mut(message.producer() as usize)?.get_mut(sequence).filter(|send| send.attempts > 0)
    }

    pub(super) fn is_known(&self, message: MessageId) -> bool {
        self.get(message).is_some()
    }

    /// False when no attempt is open that this outcome could belong to.
    pub(super) fn outcome(&mut self, message: MessageId, outcome: Outcome) -> bool {
        let Some(send) = self.get_mut(message) else { return false };
        if send.ended == send.attempts {
            return false;
        }
        send.ended += 1;
        match outcome {
            Outcome::Failed => send.failed += 1,
            Outcome::OkLater { queue } => self.later.push((message, queue)),
            Outcome::Ok { .. } | Outcome::Unknown => {}
        }
        true
    }

    pub(super) fn placed(&mut self, message: MessageId, change: i16) {
        if let Some(send) = self.get_mut(message) {
            send.places = send.places.saturating_add_signed(change);
        }
    }
}
