//! Queue locks: which client of a group may consume a queue in order.
//!
//! A lock ends when its holder gives it back, when the holder's connection is gone, or 60 s after it was last taken
//! (RocketMQ's `rocketmq.broker.rebalance.lockMaxLiveTime`). They live in memory only: alone, a restart ends every
//! connection and with it every lock.

use super::io::ConnectionId;
use super::limits::LOCK_NS_MAX;
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::QueueId;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Lock {
    client: Box<str>,
    connection: ConnectionId,
    taken_at_ns: u64,
}

/// All locks of a shard.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: BTreeMap<(Box<str>, QueueId), Lock>,
    /// What each connection has locked.
    of_connection: BTreeMap<ConnectionId, Vec<(Box<str>, QueueId)>>,
}

impl Locks {
    /// Takes or renews a lock; false when somebody else has it.
    pub(super) fn take(
        &mut self,
        group: &str,
        queue: QueueId,
        client: &str,
        connection: ConnectionId,
        now_ns: u64,
    ) -> bool {
        let key = (Box::from(group), queue);
        if let Some(lock) = self.held.get(&key)
            && *lock.client != *client
            && lock.taken_at_ns + LOCK_NS_MAX > now_ns
            && !mutant::active(Mutant::LockGivenTwice)
        {
            return false;
        }
        let lock = Lock { client: client.into(), connection, taken_at_ns: now_ns };
        match self.held.insert(key.clone(), lock) {
            Some(before) if before.connection == connection => {}
            before => {
                if let Some(before) = before {
                    self.forget(before.connection, &key);
                }
                self.of_connection.entry(connection).or_default().push(key);
            }
        }
        true
    }

    /// Whether any queue is locked for a group.
    pub(super) fn has_group(&self, group: &str, now_ns: u64) -> bool {
        let first = (Box::from(group), QueueId::ZERO);
        let of_group = self.held.range(first..).take_while(|((name, _), _)| **name == *group);
        of_group.into_iter().any(|(_, lock)| lock.taken_at_ns + LOCK_NS_MAX > now_ns)
    }

    /// Gives a lock back; nothing happens when the client does not hold it.
    pub(super) fn give_back(&mut self, group: &str, queue: QueueId, client: &str) {
        let key = (Box::from(group), queue);
        if self.held.get(&key).is_some_and(|lock| *lock.client == *client)
            && let Some(lock) = self.held.remove(&key)
        {
            self.forget(lock.connection, &key);
        }
    }

    /// The connection is gone: its locks are free at once.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        for key in self.of_connection.remove(&connection).unwrap_or_default() {
            self.held.remove(&key);
        }
    }

    fn forget(&mut self, connection: ConnectionId, key: &(Box<str>, QueueId)) {
        if let Some(keys) = self.of_connection.get_mut(&connection) {
            keys.retain(|candidate| candidate != key);
            if keys.is_empty() {
                self.of_connection.remove(&connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueId = QueueId::new(3);

    fn connection(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 1 }
    }

    #[test]
    fn queue_has_one_holder_until_he_gives_it_back_or_is_gone_or_silent() {
        let mut locks = Locks::default();
        assert!(locks.take("g", QUEUE, "a", connection(1), 0));
        assert!(!locks.take("g", QUEUE, "b", connection(2), LOCK_NS_MAX - 1));
        assert!(locks.take("other", QUEUE, "b", connection(2), 0), "another group has locks of its own");
        locks.give_back("g", QUEUE, "b");
        assert!(!locks.take("g", QUEUE, "b", connection(2), 1), "only the holder gives back");
        locks.closed(connection(1));
        assert!(locks.take("g", QUEUE, "b", connection(2), 1));
        assert!(locks.take("g", QUEUE, "c", connection(3), 1 + LOCK_NS_MAX), "silent for too long");
        locks.closed(connection(2));
        assert!(!locks.take("g", QUEUE, "d", connection(4), 2 + LOCK_NS_MAX), "it was no longer his to lose");
    }

    #[test]
    fn holder_may_come_back_on_another_connection() {
        let mut locks = Locks::default();
        assert!(locks.take("g", QUEUE, "a", connection(1), 0));
        assert!(locks.take("g", QUEUE, "a", connection(2), 1));
        locks.closed(connection(1));
        assert!(!locks.take("g", QUEUE, "b", connection(3), 2));
        locks.give_back("g", QUEUE, "a");
        assert!(locks.of_connection.is_empty() && locks.held.is_empty());
    }
}
