//! `MACHINE_ROOM`: the queues of brokers in certain rooms, a broker's room being what its name says before the `@`.

use std::collections::BTreeSet;

use crate::message::MessageQueue;

/// The share of member `index` of `member_count`: a block each, and what is left over one by one to the first members.
pub(super) fn allocate(
    index: usize,
    queues: &[MessageQueue],
    member_count: usize,
    rooms: &BTreeSet<String>,
) -> Vec<MessageQueue> {
    let is_in_room = |queue: &&MessageQueue| {
        let mut parts = queue.broker_name.split('@');
        matches!((parts.next(), parts.next(), parts.next()), (Some(room), Some(_), None) if rooms.contains(room))
    };
    let queues: Vec<&MessageQueue> = queues.iter().filter(is_in_room).collect();
    let size = queues.len() / member_count;
    let block = queues.iter().skip(index * size).take(size);
    let left_over = queues.iter().skip(size * member_count).skip(index).take(1);
    block.chain(left_over).map(|queue| (*queue).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, queues};
    use super::*;

    /// By hand from RocketMQ's rule: 5 queues in the room, 2 members: a block of 2 each, and the fifth to the first.
    #[test]
    fn only_the_rooms_brokers_count_and_the_rest_goes_to_the_first() {
        let mut all = queues("r1@a", 5);
        all.extend(queues("r2@b", 3));
        all.extend(queues("plain", 3));
        let rooms = BTreeSet::from(["r1".to_owned()]);
        assert_eq!(ids(&allocate(0, &all, 2, &rooms)), [0, 1, 4]);
        assert_eq!(ids(&allocate(1, &all, 2, &rooms)), [2, 3]);
    }
}
