//! `AVG`: contiguous blocks, the first members one queue more when it does not come out even.

use crate::message::MessageQueue;

/// The share of member `index` of `member_count`.
pub(super) fn allocate(index: usize, queues: &[MessageQueue], member_count: usize) -> Vec<MessageQueue> {
    let remainder = queues.len() % member_count;
    let has_more = index < remainder;
    let size = if queues.len() <= member_count { 1 } else { queues.len() / member_count + usize::from(has_more) };
    let start = if has_more { index * size } else { index * size + remainder };
    queues.iter().skip(start).take(size).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, queues};
    use super::*;

    /// By hand from RocketMQ's rule: 10 queues, 4 members: 3, 3, 2, 2.
    #[test]
    fn blocks_are_contiguous_and_the_first_are_larger() {
        let share = |index| ids(&allocate(index, &queues("b", 10), 4));
        assert_eq!([share(0), share(1)], [[0, 1, 2], [3, 4, 5]]);
        assert_eq!([share(2), share(3)], [[6, 7], [8, 9]]);
    }

    #[test]
    fn of_more_members_than_queues_the_last_get_none() {
        let share = |index| ids(&allocate(index, &queues("b", 3), 5));
        assert_eq!((0..5).map(share).collect::<Vec<_>>(), [vec![0], vec![1], vec![2], vec![], vec![]]);
    }
}
