//! The hot state of each message queue: one 64-byte line, found by its internal id in two steps.
//!
//! Internal ids are dense and never used again, so the table is an array of pages; a page whose queues are all gone is
//! given back.

use crate::disk::prefetch::prefetch;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};

const PAGE_QUEUE_COUNT: usize = 1024;

/// What the data path needs of one queue.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Queue {
    /// The offset that the next append gets: counts the unconfirmed tail.
    pub next_offset: QueueOffset,
    /// Behind the last message that readers see: RocketMQ's max offset.
    pub visible_offset: QueueOffset,
    /// Behind the last message that retention took, as far as is known (see `store::read`).
    pub min_offset: QueueOffset,
    /// The trim position that `min_offset` was found for.
    pub min_offset_trim: LogPosition,
    /// The last applied record that names this queue's offsets: a message, a batch, or a floor.
    pub last_position: LogPosition,
    /// The topic's name: see [`Queues::topic_name`].
    pub topic_name: NamePlace,
    /// The queue's number in its topic: what users call the queue id.
    pub number: u32,
    /// Somebody waits for the next message.
    pub watched: bool,
    /// RocketMQ's permission bits of the topic (2 write, 4 read), zero for a queue number that the topic gave up.
    pub perm: u8,
}

const _: () = assert!(size_of::<Queue>() == 64);

/// Where the name of a topic lies among all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NamePlace {
    start: u32,
    length: u32,
}

struct Page {
    queues: Box<[Option<Queue>]>,
    live_count: usize,
}

/// All queues of a shard.
#[derive(Default)]
pub struct Queues {
    pages: Vec<Option<Page>>,
    live_count: usize,
    /// The topics' names one after the other: an append finds that of its queue without touching the topic.
    names: Vec<u8>,
}

impl Queues {
    /// Keeps the name of a topic, for the queues that it will have; for good, as the topic's tombstone is.
    pub fn keep_name(&mut self, name: &str) -> NamePlace {
        let place = |bytes: usize| u32::try_from(bytes).expect("names of topics take less than 4 GiB");
        let kept = NamePlace { start: place(self.names.len()), length: place(name.len()) };
        self.names.extend_from_slice(name.as_bytes());
        kept
    }

    /// The name of the queue's topic.
    #[inline]
    pub fn topic_name(&self, queue: &Queue) -> &[u8] {
        let NamePlace { start, length } = queue.topic_name;
        &self.names[start as usize..][..length as usize]
    }

    /// Asks for the name of the queue's topic; the queue's own line should be there by now.
    #[inline]
    pub fn prefetch_topic_name(&self, id: QueueId) {
        if let Some([first, .., last]) = self.get(id).map(|queue| self.topic_name(queue)) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// Queues that exist.
    pub fn len(&self) -> usize {
        self.live_count
    }

    /// No queue exists.
    pub fn is_empty(&self) -> bool {
        self.live_count == 0
    }

    /// The queue, or nothing when it was never made or is deleted.
    #[inline]
    pub fn get(&self, id: QueueId) -> Option<&Queue> {
        let id = id.get() as usize;
        self.pages.get(id / PAGE_QUEUE_COUNT)?.as_ref()?.queues[id % PAGE_QUEUE_COUNT].as_ref()
    }

    /// Asks for the queue's line. Unlike [`Queues::get`] it does not look at the line to tell whether the queue is there:
    /// that would be the very wait that it is to spare.
    #[inline]
    pub fn prefetch(&self, id: QueueId) {
        let id = id.get() as usize;
        if let Some(Some(page)) = self.pages.get(id / PAGE_QUEUE_COUNT) {
            prefetch(&page.queues[id % PAGE_QUEUE_COUNT]);
        }
    }

    /// The queue, to change.
    #[inline]
    pub fn get_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        let id = id.get() as usize;
        self.pages.get_mut(id / PAGE_QUEUE_COUNT)?.as_mut()?.queues[id % PAGE_QUEUE_COUNT].as_mut()
    }

    /// Makes a queue. Its id must be new.
    pub fn insert(&mut self, id: QueueId, queue: Queue) {
        let index = id.get() as usize;
        if self.pages.len() <= index / PAGE_QUEUE_COUNT {
            self.pages.resize_with(index / PAGE_QUEUE_COUNT + 1, || None);
        }
        let page = self.pages[index / PAGE_QUEUE_COUNT]
            .get_or_insert_with(|| Page { queues: vec![None; PAGE_QUEUE_COUNT].into_boxed_slice(), live_count: 0 });
        let previous = page.queues[index % PAGE_QUEUE_COUNT].replace(queue);
        assert!(previous.is_none(), "queue id {id} is used again");
        page.live_count += 1;
        self.live_count += 1;
    }

    /// Forgets a queue; its page goes with the last one.
    pub fn remove(&mut self, id: QueueId) {
        let index = id.get() as usize;
        let Some(slot) = self.pages.get_mut(index / PAGE_QUEUE_COUNT) else { return };
        let Some(page) = slot else { return };
        if page.queues[index % PAGE_QUEUE_COUNT].take().is_some() {
            page.live_count -= 1;
            self.live_count -= 1;
        }
        if page.live_count == 0 {
            *slot = None;
        }
    }

    /// The first existing queue at or behind `from`, in id order: for work in slices.
    pub fn next_from(&self, from: QueueId) -> Option<(QueueId, &Queue)> {
        let mut index = from.get() as usize;
        while index / PAGE_QUEUE_COUNT < self.pages.len() {
            let Some(page) = &self.pages[index / PAGE_QUEUE_COUNT] else {
                index = (index / PAGE_QUEUE_COUNT + 1) * PAGE_QUEUE_COUNT;
                continue;
            };
            if let Some(queue) = &page.queues[index % PAGE_QUEUE_COUNT] {
                return Some((QueueId::new(u32::try_from(index).expect("an id is a u32")), queue));
            }
            index += 1;
        }
        None
    }

    /// All queues in id order.
    pub fn iter(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        let mut from = Some(QueueId::ZERO);
        std::iter::from_fn(move || {
            let (id, queue) = self.next_from(from?)?;
            from = id.get().checked_add(1).map(QueueId::new);
            Some((id, queue))
        })
    }
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queues({})", self.live_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(number: u32) -> Queue {
        Queue {
            next_offset: QueueOffset::ZERO,
            visible_offset: QueueOffset::ZERO,
            min_offset: QueueOffset::ZERO,
            min_offset_trim: LogPosition::ZERO,
            last_position: LogPosition::ZERO,
            topic_name: NamePlace::default(),
            number,
            watched: false,
            perm: 6,
        }
    }

    #[test]
    fn queues_are_found_by_id_until_removed_and_pages_are_given_back() {
        let mut queues = Queues::default();
        for id in [0, 5, 1023, 1024, 9000] {
            queues.insert(QueueId::new(id), queue(id));
        }
        assert_eq!(queues.iter().map(|(id, _)| id.get()).collect::<Vec<_>>(), [0, 5, 1023, 1024, 9000]);
        assert_eq!(queues.get(QueueId::new(1024)).map(|queue| queue.number), Some(1024));
        queues.remove(QueueId::new(1024));
        queues.remove(QueueId::new(1024));
        assert!(queues.get(QueueId::new(1024)).is_none());
        assert!(queues.pages[1].is_none(), "an empty page is given back");
        assert_eq!(queues.len(), 4);
        assert!(queues.get(QueueId::new(u32::MAX)).is_none());
    }

    #[test]
    #[should_panic(expected = "used again")]
    fn queue_id_is_never_used_again() {
        let mut queues = Queues::default();
        queues.insert(QueueId::new(1), queue(0));
        queues.insert(QueueId::new(1), queue(0));
    }
}
