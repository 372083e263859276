//! A flush: the recent entries become a run, in slices, while entries are added and read.
//!
//! 1. Sweep the queues in the order of their ids; the entries below `up_to` go to the run's writer.
//! 2. The run is durable: an edit adds it and moves the coverage to `up_to`.
//! 3. The edit is installed: sweep again and drop the entries below `up_to` from memory.
//!
//! Between 2 and the end of 3 an entry is in memory and in the run; readers look into memory first, and see it once. When
//! anything fails, nothing was dropped.

use ringmq_proto::ids::{Epoch, LogPosition, QueueId};

use super::recent::{RecentTable, Sweep};
use super::run::RunWriter;

/// Entries that one slice of work takes: a block's worth of output.
pub(super) const SLICE_ENTRY_COUNT: usize = 2048;

/// Queues that one slice of work looks at.
pub(super) const SLICE_QUEUE_COUNT: usize = 512;

/// Pages of the table that one step of a sweep looks at.
const SWEEP_PAGE_COUNT: usize = 16;

/// Queues between the one that a sweep is at and the one whose entries it asks for: each is elsewhere in memory.
const SWEEP_AHEAD: u32 = 8;

/// A flush that is going on.
pub(super) struct Flush {
    /// Entries below are flushed: all that were added before it began.
    pub(super) up_to: LogPosition,
    /// Of the log at `up_to`.
    pub(super) epoch: Epoch,
    /// How far it is.
    pub(super) stage: Stage,
}

/// The stages of a flush.
pub(super) enum Stage {
    /// 1. Entries go to the writer.
    Writing(Box<RunWriter>, Cursor),
    /// 2. The edit waits for its checkpoint.
    Installing,
    /// 3. Entries are dropped.
    Dropping {
        /// From this queue on.
        next: u64,
        /// Room that may stay (see [`RecentTable::drop_below`]).
        room_bytes_max: usize,
    },
}

/// Where the sweep of stage 1 is.
#[derive(Default)]
pub(super) struct Cursor {
    /// The queue whose entries are being taken, and how many were.
    current: Option<(QueueId, usize)>,
    /// The queue to look at next.
    next: u64,
    ended: bool,
}

impl Cursor {
    /// Whether all queues were swept.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// One slice of stage 1: gives entries from `trimmed` to `up_to` to the writer. At the end, finishes it if it got any.
    pub(super) fn fill(
        &mut self,
        recent: &RecentTable,
        trimmed: LogPosition,
        up_to: LogPosition,
        writer: &mut RunWriter,
    ) {
        let (mut entries_left, mut queues_left) = (SLICE_ENTRY_COUNT, SLICE_QUEUE_COUNT);
        while !self.ended && entries_left > 0 && queues_left > 0 && writer.takes_entries() {
            let Some((queue, taken)) = self.current else {
                queues_left -= 1;
                match recent.next_occupied(self.next, SWEEP_PAGE_COUNT) {
                    Sweep::Queue(queue) => {
                        recent.prefetch_entries(QueueId::new(queue.get().saturating_add(SWEEP_AHEAD)));
                        self.current = Some((queue, 0));
                        self.next = u64::from(queue.get()) + 1;
                    }
                    Sweep::GoOn(next) => self.next = next,
                    Sweep::End => {
                        self.ended = true;
                        if !writer.is_empty() {
                            writer.finish();
                        }
                    }
                }
                continue;
            };
            // A queue that was removed meanwhile has no entries left; those that were written are dropped by a merge.
            let Some(entries) = recent.get(queue) else {
                self.current = None;
                continue;
            };
            let start = taken.max(entries.count_below(trimmed));
            let end = entries.count_below(up_to);
            let stop = end.min(start.saturating_add(entries_left));
            let mut next = start;
            while next < stop && writer.takes_entries() {
                let slice = entries.slice_from(next);
                next += writer.push(queue, &slice[..slice.len().min(stop - next)]);
            }
            entries_left -= next.saturating_sub(start);
            self.current = (next < end).then_some((queue, next));
        }
    }
}

/// One slice of stage 3 from queue `next` on: where to go on, or nothing at the end.
pub(super) fn drop_slice(
    recent: &mut RecentTable,
    mut next: u64,
    up_to: LogPosition,
    room_bytes_max: usize,
) -> Option<u64> {
    for _ in 0..SLICE_QUEUE_COUNT {
        match recent.next_occupied(next, SWEEP_PAGE_COUNT) {
            Sweep::Queue(queue) => {
                recent.prefetch_entries(QueueId::new(queue.get().saturating_add(SWEEP_AHEAD)));
                recent.drop_below(queue, up_to, room_bytes_max);
                next = u64::from(queue.get()) + 1;
            }
            Sweep::GoOn(place) => next = place,
            Sweep::End => return None,
        }
    }
    Some(next)
}
