//! What was pulled of one queue and is not consumed yet. No I/O, no clock.

use std::collections::BTreeMap;

use crate::message::Message;

/// Messages by queue offset: those that wait, and (in order) those that are with the listener.
#[derive(Debug, Default)]
pub(super) struct ProcessQueue {
    waiting: BTreeMap<u64, Message>,
    /// With the listener, in order only: concurrent ones stay in `waiting` until they are consumed.
    taken: BTreeMap<u64, Message>,
    size_bytes: usize,
    /// Behind the last message that was ever put.
    end: u64,
}

impl ProcessQueue {
    /// Adds pulled messages; those that are here already are left out. Gives what was added.
    pub(super) fn put(&mut self, messages: Vec<Message>) -> Vec<Message> {
        let mut added = Vec::with_capacity(messages.len());
        for message in messages {
            let offset = message.queue_offset.get();
            if self.waiting.contains_key(&offset) || self.taken.contains_key(&offset) {
                continue;
            }
            self.end = self.end.max(offset + 1);
            self.size_bytes += message.body.len();
            self.waiting.insert(offset, message.clone());
            added.push(message);
        }
        added
    }

    /// Messages that are not consumed.
    pub(super) fn count(&self) -> usize {
        self.waiting.len() + self.taken.len()
    }

    /// Bytes of their bodies.
    pub(super) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// How far the last is ahead of the first.
    pub(super) fn span(&self) -> u64 {
        match (self.first(), self.waiting.last_key_value()) {
            (Some(first), Some((last, _))) => last.saturating_sub(first),
            _ => 0,
        }
    }

    /// The least and the largest offset of those that wait.
    pub(super) fn bounds(&self) -> Option<(u64, u64)> {
        Some((*self.waiting.first_key_value()?.0, *self.waiting.last_key_value()?.0))
    }

    fn first(&self) -> Option<u64> {
        let waiting = self.waiting.first_key_value().map(|(offset, _)| *offset);
        let taken = self.taken.first_key_value().map(|(offset, _)| *offset);
        waiting.into_iter().chain(taken).min()
    }

    /// These messages are consumed. Gives the offset to commit: that of the first that is not, or what follows them all.
    pub(super) fn remove<'m>(&mut self, messages: impl IntoIterator<Item = &'m Message>) -> Option<u64> {
        for message in messages {
            if self.waiting.remove(&message.queue_offset.get()).is_some() {
                self.size_bytes -= message.body.len();
            }
        }
        (self.end > 0).then(|| self.first().unwrap_or(self.end))
    }

    /// Gives the first `count` messages to a listener in order.
    pub(super) fn take(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.len() < count
            && let Some((offset, message)) = self.waiting.pop_first()
        {
            self.taken.insert(offset, message.clone());
            messages.push(message);
        }
        messages
    }

    /// What was taken is consumed. Gives the offset to commit.
    pub(super) fn commit_taken(&mut self) -> Option<u64> {
        let taken = std::mem::take(&mut self.taken);
        self.size_bytes -= taken.values().map(|message| message.body.len()).sum::<usize>();
        taken.last_key_value().map(|(offset, _)| offset + 1)
    }

    /// What was taken is to be delivered again, in its place and as it is given now.
    pub(super) fn put_back(&mut self, messages: Vec<Message>) {
        self.taken.clear();
        self.waiting.extend(messages.into_iter().map(|message| (message.queue_offset.get(), message)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;

    fn messages(offsets: std::ops::Range<u64>) -> Vec<Message> {
        offsets.map(|offset| message(offset, "body")).collect()
    }

    #[test]
    fn what_is_committed_is_the_first_that_is_not_consumed() {
        let mut queue = ProcessQueue::default();
        let put = queue.put(messages(10..14));
        assert_eq!(queue.remove(&put[1..3]), Some(10), "10 is still with a listener");
        assert_eq!(queue.remove(&put[..1]), Some(13));
        assert_eq!(queue.remove(&put[3..]), Some(14), "behind all of them");
        assert_eq!((queue.count(), queue.size_bytes()), (0, 0));
    }

    #[test]
    fn what_is_pulled_twice_is_there_once() {
        let mut queue = ProcessQueue::default();
        assert_eq!(queue.put(messages(0..3)).len(), 3);
        assert_eq!(queue.put(messages(1..5)).len(), 2);
        assert_eq!((queue.count(), queue.size_bytes(), queue.span()), (5, 20, 4));
    }

    #[test]
    fn in_order_a_failed_message_is_the_next_again() {
        let mut queue = ProcessQueue::default();
        queue.put(messages(0..3));
        let taken = queue.take(2);
        assert_eq!((taken.len(), queue.count()), (2, 3));
        queue.put_back(taken);
        let again: Vec<u64> = queue.take(2).iter().map(|message| message.queue_offset.get()).collect();
        assert_eq!(again, [0, 1]);
        assert_eq!(queue.commit_taken(), Some(2));
        assert_eq!((queue.count(), queue.size_bytes()), (1, 4));
    }

    proptest::proptest! {
        /// Each act is a kind and a number: pulls that overlap what was pulled, and calls that end in any order.
        #[test]
        fn concurrently_nothing_is_committed_beyond_the_first_that_is_not_consumed(
            acts in proptest::collection::vec((0_u8..3, 0_u64..40), 1..60),
        ) {
            let (mut queue, mut open, mut end, mut committed) = (ProcessQueue::default(), Vec::new(), 0, 0);
            for (kind, number) in acts {
                if kind == 0 {
                    // A pull goes on where the last one ended, or a little before.
                    let from = (end.max(number) - number % 3).min(end);
                    let added = queue.put(messages(from.max(committed)..end + number % 5));
                    open.extend(added);
                    end += number % 5;
                } else if !open.is_empty() {
                    let index = usize::try_from(number).expect("small") % open.len();
                    let offset = queue.remove([&open.swap_remove(index)]);
                    let first = open.iter().map(|message: &Message| message.queue_offset.get()).min();
                    proptest::prop_assert_eq!(offset, Some(first.unwrap_or(end)));
                    proptest::prop_assert!(offset.is_some_and(|offset| offset >= committed), "never backwards");
                    committed = offset.unwrap_or(committed);
                }
                proptest::prop_assert_eq!((queue.count(), queue.size_bytes()), (open.len(), 4 * open.len()));
            }
        }

        /// In order: what is given is what follows, and what is committed is what was given and not put back.
        #[test]
        fn in_order_each_message_is_given_in_its_place_until_it_is_consumed(
            acts in proptest::collection::vec((0_u8..3, 1_u64..5), 1..60),
        ) {
            let (mut queue, mut end, mut next) = (ProcessQueue::default(), 0, 0);
            for (kind, number) in acts {
                if kind == 0 {
                    queue.put(messages(end..end + number));
                    end += number;
                    continue;
                }
                let taken = queue.take(usize::try_from(number).expect("small"));
                let given: Vec<u64> = taken.iter().map(|message| message.queue_offset.get()).collect();
                proptest::prop_assert_eq!(&given, &(next..end.min(next + number)).collect::<Vec<_>>());
                if kind == 1 {
                    next += taken.len() as u64;
                    proptest::prop_assert_eq!(queue.commit_taken(), (!taken.is_empty()).then_some(next));
                } else {
                    queue.put_back(taken);
                }
                let left = usize::try_from(end - next).expect("small");
                proptest::prop_assert_eq!((queue.count(), queue.size_bytes()), (left, 4 * left));
            }
        }
    }

    #[test]
    fn without_messages_there_is_nothing_to_commit() {
        let mut queue = ProcessQueue::default();
        assert_eq!((queue.remove(&[]), queue.commit_taken()), (None, None));
    }
}
