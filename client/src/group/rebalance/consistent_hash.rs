//! `CONSISTENT_HASH`: members have several places on a ring, a queue goes to the next place behind its own. When a member
//! leaves, only its queues move.

use std::collections::BTreeMap;

use super::md5::md5;
use crate::message::MessageQueue;

/// The share of `client_id`, a member.
pub(super) fn allocate(
    client_id: &str,
    queues: &[MessageQueue],
    members: &[String],
    node_count: usize,
) -> Vec<MessageQueue> {
    let mut ring: BTreeMap<u32, &str> = BTreeMap::new();
    for member in members {
        for replica in 0..node_count.max(1) {
            ring.insert(place(&format!("{member}-{replica}")), member);
        }
    }
    let owner = |queue: &&MessageQueue| {
        let from = place(&java_text(queue));
        ring.range(from..).next().or_else(|| ring.first_key_value()).is_some_and(|(_, owner)| *owner == client_id)
    };
    queues.iter().filter(owner).cloned().collect()
}

/// What Java's `MessageQueue.toString` gives, which RocketMQ hashes.
fn java_text(queue: &MessageQueue) -> String {
    format!("MessageQueue [topic={}, brokerName={}, queueId={}]", queue.topic, queue.broker_name, queue.queue_id)
}

/// The first four bytes of the MD5, big endian.
fn place(text: &str) -> u32 {
    let [a, b, c, d, ..] = md5(text.as_bytes());
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, members, queues};
    use super::*;

    /// Places by `md5sum`.
    #[test]
    fn a_place_is_the_beginning_of_the_md5() {
        assert_eq!(place("client00-0"), PLACE_OF_CLIENT);
        assert_eq!(place("MessageQueue [topic=T, brokerName=b, queueId=0]"), PLACE_OF_QUEUE);
        assert_eq!(java_text(&queues("b", 1)[0]), "MessageQueue [topic=T, brokerName=b, queueId=0]");
    }

    /// Computed by a few lines of Python with hashlib, from RocketMQ's rule.
    #[test]
    fn shares_are_those_of_the_ring() {
        let (queues, members) = (queues("b", 12), members(3));
        let share = |member: &str| ids(&allocate(member, &queues, &members, 10));
        assert_eq!(share("client00"), SHARES[0]);
        assert_eq!(share("client01"), SHARES[1]);
        assert_eq!(share("client02"), SHARES[2]);
    }

    #[test]
    fn only_the_queues_of_who_leaves_move() {
        let (queues, members) = (queues("b", 64), members(5));
        for member in &members[..4] {
            let before = allocate(member, &queues, &members, 10);
            let after = allocate(member, &queues, &members[..4], 10);
            assert!(before.iter().all(|queue| after.contains(queue)), "{member} lost a queue");
        }
    }

    const PLACE_OF_CLIENT: u32 = 0xd026958f;
    const PLACE_OF_QUEUE: u32 = 0x218a9c35;
    const SHARES: [&[u32]; 3] = [&[0, 3], &[2, 4, 7, 9], &[1, 5, 6, 8, 10, 11]];
}
