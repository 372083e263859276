//! `AVG_BY_CIRCLE`: each member in turn gets one queue.

use crate::message::MessageQueue;

/// The share of member `index` of `member_count`.
pub(super) fn allocate(index: usize, queues: &[MessageQueue], member_count: usize) -> Vec<MessageQueue> {
    queues.iter().skip(index).step_by(member_count).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, queues};
    use super::*;

    #[test]
    fn members_take_turns() {
        let share = |index| ids(&allocate(index, &queues("b", 10), 4));
        assert_eq!([share(0), share(1)], [[0, 4, 8], [1, 5, 9]]);
        assert_eq!([share(2), share(3)], [[2, 6], [3, 7]]);
    }
}
