//! The queues that one connection has opened: a handle is an index into them.
//!
//! Opening a queue again gives the handle that it has. A few are searched, many are found by a table, so that the ten
//! thousandth costs no more than the tenth.

use crate::disk::prefetch::prefetch;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ringmq_proto::ids::QueueId;

/// Handles that are searched one by one.
const SEARCHED_COUNT_MAX: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Handles {
    queues: Vec<QueueId>,
    /// Filled when there are more than a few.
    by_queue: Option<Box<HashMap<QueueId, u32, FixedState>>>,
}

impl Handles {
    /// The queue of a handle.
    #[inline]
    pub(super) fn get(&self, handle: u32) -> Option<QueueId> {
        self.queues.get(handle as usize).copied()
    }

    /// Asks for the line that says which queue a handle names.
    #[inline]
    pub(super) fn prefetch(&self, handle: u32) {
        if let Some(queue) = self.queues.get(handle as usize) {
            prefetch(queue);
        }
    }

    /// The handle of a queue, which may be a new one; nothing when it would be one more than `count_max`.
    pub(super) fn open(&mut self, queue: QueueId, count_max: usize, hash_seed: u64) -> Option<u32> {
        let known = match &self.by_queue {
            Some(table) => table.get(&queue).copied(),
            None => self.queues.iter().zip(0..).find_map(|(open, handle)| (*open == queue).then_some(handle)),
        };
        if known.is_some() || self.queues.len() >= count_max {
            return known;
        }
        let handle = u32::try_from(self.queues.len()).ok()?;
        self.queues.push(queue);
        if let Some(table) = &mut self.by_queue {
            table.insert(queue, handle);
        } else if self.queues.len() > SEARCHED_COUNT_MAX {
            let mut table = HashMap::with_hasher(FixedState::with_seed(hash_seed));
            table.extend(self.queues.iter().copied().zip(0..));
            self.by_queue = Some(Box::new(table));
        }
        Some(handle)
    }

    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.queues.capacity() * size_of::<QueueId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_dense_and_the_same_for_a_queue_opened_again() {
        let mut handles = Handles::default();
        for round in 0..2 {
            for number in 0..100 {
                let queue = QueueId::new(1000 - number);
                assert_eq!(handles.open(queue, 100, 7), Some(number), "round {round}");
                assert_eq!(handles.get(number), Some(queue));
            }
        }
        assert_eq!(handles.open(QueueId::new(5000), 100, 7), None);
        assert_eq!(handles.get(100), None);
    }
}
