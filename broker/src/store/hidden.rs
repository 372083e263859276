//! What damage may hide: messages whose offsets were given and seen. No queue gives them again, and no queue ends before
//! them: a queue that may have had hidden messages goes on behind the highest offset that any of them can have had.
//!
//! Two bounds on that offset, and the lower one counts:
//!
//! * **By room.** A message takes at least [`MESSAGE_SIZE_BYTES_LEAST`] bytes of the log, and a floor is never above this
//!   bound: so no queue's next offset is ever above `position / 10 + 1`. It needs no knowledge of the queue. A log
//!   whose first segments retention took may have lost all of it: a queue that still has messages owes no floor, and when
//!   these messages are damaged nothing is left that names its offsets.
//! * **By what is known.** The next offset that the sound records give, or that the last start after damage may have
//!   written in a floor (the floor may be what is hidden now; the superblock remembers), and as many messages as the
//!   damage behind the queue's last sound record has room for. Holds only where a record names the queue's offsets, or
//!   where all state was known when the walk began.

use super::queues::Queue;
use super::recovery::DamagedRange;
use super::state::State;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::batch_entry_len;

/// Bytes of log that a message takes at least: an entry of a batch record.
const MESSAGE_SIZE_BYTES_LEAST: u64 = 10;
const _: () = assert!(batch_entry_len(0, 0) as u64 >= MESSAGE_SIZE_BYTES_LEAST);

/// The damage of a log that is opened.
pub(super) struct Hidden {
    /// Damaged parts that what is known does not cover, in order.
    ranges: Vec<DamagedRange>,
    knew_all: bool,
    skipped_to: QueueOffset,
}

impl Hidden {
    /// `known_to`: the state of everything below did not come from the walk (a snapshot has it). `knew_all`: the walk began
    /// with all state there was. `skipped_to`: no floor that an earlier start wrote says more.
    pub(super) fn new(
        damaged: &[DamagedRange],
        known_to: LogPosition,
        knew_all: bool,
        skipped_to: QueueOffset,
    ) -> Self {
        let ranges = damaged.iter().filter(|range| range.to > known_to).copied().collect();
        Self { ranges, knew_all, skipped_to }
    }

    /// The queues that must go on further on, and where.
    pub(super) fn floors(&self, state: &State) -> Vec<(QueueId, QueueOffset)> {
        if self.ranges.is_empty() {
            return Vec::new();
        }
        state.queues.iter().filter_map(|(id, queue)| Some((id, self.floor(queue)?))).collect()
    }

    /// Where a queue goes on, unless it is where its sound records say.
    fn floor(&self, queue: &Queue) -> Option<QueueOffset> {
        let end = self.ranges.last().map(|range| range.to).filter(|end| queue.last_position < *end)?;
        let by_room = QueueOffset::new(end.get() / MESSAGE_SIZE_BYTES_LEAST + 1);
        let is_known = self.knew_all || queue.last_position > LogPosition::ZERO;
        let room = |range: &DamagedRange| range.to.since(range.from) / MESSAGE_SIZE_BYTES_LEAST + 1;
        let unseen: u64 = self.ranges.iter().filter(|range| range.to > queue.last_position).map(room).sum();
        let by_knowledge = queue.next_offset.max(self.skipped_to).plus(unseen);
        Some(if is_known { by_room.min(by_knowledge) } else { by_room }.max(queue.next_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::BadCommit;
    use crate::store::queues::NamePlace;

    fn range(from: u64, to: u64) -> DamagedRange {
        DamagedRange { from: LogPosition::new(from), to: LogPosition::new(to), why: BadCommit::BodyCrc }
    }

    fn queue(next_offset: u64, last_position: u64) -> Queue {
        Queue {
            next_offset: QueueOffset::new(next_offset),
            visible_offset: QueueOffset::new(next_offset),
            min_offset: QueueOffset::ZERO,
            min_offset_trim: LogPosition::ZERO,
            last_position: LogPosition::new(last_position),
            topic_name: NamePlace::default(),
            number: 0,
            watched: false,
            perm: 6,
        }
    }

    fn floor(hidden: &Hidden, next_offset: u64, last_position: u64) -> Option<u64> {
        hidden.floor(&queue(next_offset, last_position)).map(QueueOffset::get)
    }

    #[test]
    fn queue_seen_behind_the_damage_goes_on_where_it_is() {
        let hidden = Hidden::new(&[range(1000, 2000)], LogPosition::ZERO, true, QueueOffset::ZERO);
        assert_eq!(floor(&hidden, 7, 2000), None);
        assert_eq!(floor(&hidden, 7, 900), Some(7 + 101), "and one that was not skips what the damage has room for");
    }

    #[test]
    fn queue_that_nothing_speaks_of_goes_on_behind_what_the_log_had_room_for() {
        let damaged = [range(70_000, 74_000)];
        let hidden = Hidden::new(&damaged, LogPosition::ZERO, false, QueueOffset::ZERO);
        assert_eq!(floor(&hidden, 0, 0), Some(7401), "its messages before the trim may have been as many");
        assert_eq!(floor(&hidden, 30, 69_000), Some(431), "a record that names its offsets bounds them");
        let hidden = Hidden::new(&damaged, LogPosition::ZERO, true, QueueOffset::ZERO);
        assert_eq!(floor(&hidden, 0, 0), Some(401), "and so does a snapshot that does not name it");
    }

    #[test]
    fn damage_before_a_queues_last_record_or_below_a_snapshot_hides_nothing_of_it() {
        let damaged = [range(1000, 2000), range(5000, 5500)];
        let hidden = Hidden::new(&damaged, LogPosition::ZERO, true, QueueOffset::ZERO);
        assert_eq!(floor(&hidden, 10, 3000), Some(10 + 51));
        assert_eq!(floor(&hidden, 10, 500), Some(10 + 101 + 51));
        let hidden = Hidden::new(&damaged, LogPosition::new(2000), true, QueueOffset::ZERO);
        assert_eq!(floor(&hidden, 10, 500), Some(10 + 51));
        let hidden = Hidden::new(&damaged, LogPosition::new(6000), true, QueueOffset::ZERO);
        assert_eq!(hidden.ranges.len(), 0);
    }

    #[test]
    fn floor_that_is_hidden_itself_is_not_forgotten() {
        let hidden = Hidden::new(&[range(50_000, 50_512)], LogPosition::ZERO, true, QueueOffset::new(900));
        assert_eq!(floor(&hidden, 3, 40_000), Some(900 + 52));
        assert_eq!(floor(&hidden, 5040, 40_000), Some(5052), "never more than the log had room for");
    }
}
