//! Requests that are answered later: held pulls, reads that wait for the disk, topics that wait for their record.
//!
//! Each is one entry of a slab, linked into its connection's list (to end with it) and, while it waits for messages, into
//! its queue's list (to be woken by it). Both are found and left in constant time.

use super::io::ConnectionId;
use super::pull::Pull;
use super::remoting::{KeptFrame, Question};
use super::request::Token;
use super::timers::TimerId;
use crate::store::KeyQuery;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ringmq_proto::ids::{LogPosition, QueueId};

/// No entry: the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// One waiting request; says nothing once that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitId {
    index: u32,
    generation: u32,
}

/// What a pull waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PullState {
    /// Messages of its queue.
    Messages,
    /// A read of the disk.
    Load,
    /// Its connection to read what was sent before.
    Output,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Messages.
    Pull(Pull, PullState),
    /// The offset of a store time; waits for the disk.
    Search { queue: QueueId, store_time_ms: u64, upper: bool },
    /// Offsets and times of a queue; waits for the disk.
    QueueState { queue: QueueId },
    /// A message by its position; waits for the disk.
    View { position: LogPosition },
    /// Messages by their key; waits for the disk, and keeps how far it has come.
    Key(Box<KeyQuery>),
    /// The queues of a topic; waits for the disk.
    Stats { topic: Box<str> },
    /// A remoting frame that is carried out again when a topic is there.
    Frame(KeptFrame),
    /// To open a queue of a topic that is being created.
    Open { topic: Box<str>, number: i32 },
    /// Something that clients are asked on behalf of an administrator.
    Question(Box<Question>),
    /// Whether a sibling has pushed an answer to its asker, whom this shard does not know.
    Handover { queue_id: i32, asker: Box<str> },
    /// A topic to be created, changed or deleted: its own record, then the siblings.
    Topic,
}

/// A waiting request.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) connection: ConnectionId,
    pub(super) token: Token,
    pub(super) what: What,
    /// When it ends without having got what it waits for, in boot nanoseconds.
    pub(super) deadline_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    previous: u32,
}

#[derive(Clone, Copy)]
enum List {
    Connection = 0,
    Queue = 1,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    wait: Option<Wait>,
    timer: Option<TimerId>,
    links: [Link; 2],
    in_queue: bool,
}

/// All waiting requests of a shard.
#[derive(Debug)]
pub(super) struct Waiting {
    slots: Vec<Slot>,
    free: Vec<u32>,
    queues: HashMap<QueueId, u32, FixedState>,
}

impl Waiting {
    pub(super) fn new(hash_seed: u64) -> Self {
        let queues = HashMap::with_hasher(FixedState::with_seed(hash_seed));
        Self { slots: Vec::new(), free: Vec::new(), queues }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a request to the list that starts at `connection_head`, which moves.
    pub(super) fn insert(&mut self, wait: Wait, connection_head: &mut u32) -> WaitId {
        let link = Link { next: NONE, previous: NONE };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, wait: None, timer: None, links: [link; 2], in_queue: false });
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        assert_ne!(index, NONE, "more waiting requests than ids");
        let slot = &mut self.slots[index as usize];
        slot.wait = Some(wait);
        let generation = slot.generation;
        *connection_head = self.link(List::Connection, *connection_head, index);
        WaitId { index, generation }
    }

    pub(super) fn get(&self, id: WaitId) -> Option<&Wait> {
        self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)?.wait.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: WaitId) -> Option<&mut Wait> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?.wait.as_mut()
    }

    /// Remembers the timer of a request; gives back the one before.
    pub(super) fn set_timer(&mut self, id: WaitId, timer: Option<TimerId>) -> Option<TimerId> {
        std::mem::replace(&mut self.slots[id.index as usize].timer, timer)
    }

    /// Ends a request: gives it back with its timer, which the caller disarms. The queue is named when nobody waits for it
    /// any more.
    pub(super) fn remove(&mut self, id: WaitId, connection_head: &mut u32) -> Option<Removed> {
        self.get(id)?;
        let unwatched = self.leave_queue(id);
        *connection_head = self.unlink(List::Connection, *connection_head, id.index);
        let slot = &mut self.slots[id.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let (wait, timer) = (slot.wait.take()?, slot.timer.take());
        self.free.push(id.index);
        Some(Removed { wait, timer, unwatched })
    }

    /// Puts a pull into its queue's list; true when it is the first there.
    pub(super) fn join_queue(&mut self, id: WaitId, queue: QueueId) -> bool {
        assert!(!self.slots[id.index as usize].in_queue, "a pull waits for one queue, once");
        let head = self.queues.get(&queue).copied().unwrap_or(NONE);
        let new_head = self.link(List::Queue, head, id.index);
        self.queues.insert(queue, new_head);
        self.slots[id.index as usize].in_queue = true;
        head == NONE
    }

    /// Takes a pull out of its queue's list; the queue when it was the last there.
    pub(super) fn leave_queue(&mut self, id: WaitId) -> Option<QueueId> {
        let slot = &mut self.slots[id.index as usize];
        if !std::mem::take(&mut slot.in_queue) {
            return None;
        }
        let Some(Wait { what: What::Pull(Pull { queue, .. }, _), .. }) = &slot.wait else {
            unreachable!("only pulls wait for a queue");
        };
        let queue = *queue;
        let head = self.queues.get(&queue).copied().unwrap_or(NONE);
        let head = self.unlink(List::Queue, head, id.index);
        if head != NONE {
            self.queues.insert(queue, head);
            return None;
        }
        self.queues.remove(&queue);
        Some(queue)
    }

    /// Whether a pull waits for this queue.
    pub(super) fn has_queue(&self, queue: QueueId) -> bool {
        self.queues.contains_key(&queue)
    }

    /// The pulls that wait for a queue, newest first.
    pub(super) fn of_queue(&self, queue: QueueId, into: &mut Vec<WaitId>) {
        self.collect(List::Queue, self.queues.get(&queue).copied().unwrap_or(NONE), into);
    }

    /// The requests in the list of a connection.
    pub(super) fn of_connection(&self, connection_head: u32, into: &mut Vec<WaitId>) {
        self.collect(List::Connection, connection_head, into);
    }

    /// All requests.
    pub(super) fn all(&self) -> Vec<WaitId> {
        let used = self.slots.iter().zip(0..).filter(|(slot, _)| slot.wait.is_some());
        used.map(|(slot, index)| WaitId { index, generation: slot.generation }).collect()
    }

    fn collect(&self, list: List, head: u32, into: &mut Vec<WaitId>) {
        let mut index = head;
        while index != NONE {
            let slot = &self.slots[index as usize];
            into.push(WaitId { index, generation: slot.generation });
            index = slot.links[list as usize].next;
        }
    }

    fn link(&mut self, list: List, head: u32, index: u32) -> u32 {
        self.slots[index as usize].links[list as usize] = Link { next: head, previous: NONE };
        if head != NONE {
            self.slots[head as usize].links[list as usize].previous = index;
        }
        index
    }

    /// Takes `index` out of the list that starts at `head`; returns where the list starts now.
    fn unlink(&mut self, list: List, head: u32, index: u32) -> u32 {
        let Link { next, previous } = self.slots[index as usize].links[list as usize];
        if next != NONE {
            self.slots[next as usize].links[list as usize].previous = previous;
        }
        if previous == NONE {
            assert_eq!(head, index, "the first of a list is its head");
            return next;
        }
        self.slots[previous as usize].links[list as usize].next = next;
        head
    }
}

/// A request that waits no more.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) wait: Wait,
    /// To be disarmed.
    pub(super) timer: Option<TimerId>,
    /// Nobody waits for messages of this queue any more.
    pub(super) unwatched: Option<QueueId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::request::Dialect;
    use ringmq_proto::ids::QueueOffset;

    fn pull(queue: u32) -> Wait {
        let pull = Pull {
            queue: QueueId::new(queue),
            offset: QueueOffset::ZERO,
            messages_max: 1,
            bytes_max: 1,
            wait_ms: 1,
            remoting: None,
        };
        Wait {
            connection: ConnectionId { slot: 0, generation: 0 },
            token: Token { id: 1, code: 3, dialect: Dialect::Native, oneway: false },
            what: What::Pull(pull, PullState::Messages),
            deadline_ns: 0,
        }
    }

    #[test]
    fn queue_is_watched_from_its_first_pull_to_its_last() {
        let (mut waiting, mut head) = (Waiting::new(0), NONE);
        let queue = QueueId::new(7);
        let ids = [0; 3].map(|_| waiting.insert(pull(7), &mut head));
        assert_eq!(ids.map(|id| waiting.join_queue(id, queue)), [true, false, false]);
        assert_eq!(waiting.remove(ids[1], &mut head).and_then(|removed| removed.unwatched), None);
        assert_eq!(waiting.leave_queue(ids[2]), None);
        let mut woken = Vec::new();
        waiting.of_queue(queue, &mut woken);
        assert_eq!(woken, [ids[0]]);
        assert_eq!(waiting.remove(ids[0], &mut head).and_then(|removed| removed.unwatched), Some(queue));
        let mut left = Vec::new();
        waiting.of_connection(head, &mut left);
        assert_eq!(left, [ids[2]]);
    }

    #[test]
    fn answered_request_is_not_found_again_when_its_slot_is_reused() {
        let (mut waiting, mut head) = (Waiting::new(0), NONE);
        let first = waiting.insert(pull(1), &mut head);
        assert!(waiting.remove(first, &mut head).is_some());
        let second = waiting.insert(pull(2), &mut head);
        assert!(waiting.get(first).is_none() && waiting.get(second).is_some());
        assert!(waiting.remove(first, &mut head).is_none());
        assert_eq!(waiting.count(), 1);
    }
}
