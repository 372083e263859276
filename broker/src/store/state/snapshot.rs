//! Small state as a list of the records that would make it, taken in slices: for snapshots, and for what retention owes.
//!
//! A [`Cursor`] walks topics, groups with their offsets, queues that have a floor to keep, what was found damaged, then half messages (other pending
//! messages have an index of their own). State may change between
//! slices: whatever a slice saw is as new or newer than the position at which the walk began, and recovery replays the
//! log from there, so a snapshot of mixed ages comes out right (see `State::apply`).

use super::State;
use super::records::StateRecord;
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::{LogPosition, QueueId};
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Where a walk through the state has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// At the first topic whose name is greater.
    Topics(String),
    /// At the first group whose name is greater.
    Groups(String),
    /// Inside a group's offsets, from this queue on.
    Offsets(String, QueueId),
    /// At the first queue from this id on.
    Queues(QueueId),
    /// At the first damaged part that begins behind this position, or at the very first.
    Damage(Option<LogPosition>),
    /// At the first half message whose origin is greater.
    Pending(LogPosition),
    /// Through.
    Done,
}

impl Cursor {
    /// The beginning.
    pub fn start() -> Self {
        Self::Topics(String::new())
    }
}

impl State {
    /// The next slice of a walk: up to `count_max` steps. Gives each record with the position of the one that said so,
    /// if that position lies below `below`; floors only for queues that have given out offsets.
    pub fn walk(
        &self,
        cursor: &mut Cursor,
        count_max: usize,
        below: LogPosition,
        mut out: impl FnMut(LogPosition, StateRecord),
    ) {
        for _ in 0..count_max {
            *cursor = match cursor {
                Cursor::Topics(after) => self.walk_topic(after, below, &mut out),
                Cursor::Groups(after) => self.walk_group(after, below, &mut out),
                Cursor::Offsets(name, from) => self.walk_offset(name, *from, below, &mut out),
                Cursor::Queues(from) => self.walk_queue(*from, below, &mut out),
                Cursor::Damage(after) => self.walk_damage(*after, below, &mut out),
                Cursor::Pending(after) => self.walk_pending(*after, below, &mut out),
                Cursor::Done => return,
            };
        }
    }

    fn walk_topic(&self, after: &str, below: LogPosition, out: &mut impl FnMut(LogPosition, StateRecord)) -> Cursor {
        let Some(topic) = self.topics_after(after).next() else { return Cursor::Groups(String::new()) };
        if topic.position < below {
            out(topic.position, StateRecord::Topic(topic.record.clone()));
        }
        Cursor::Topics(topic.record.name.clone())
    }

    fn walk_group(&self, after: &str, below: LogPosition, out: &mut impl FnMut(LogPosition, StateRecord)) -> Cursor {
        let next = self.groups.by_name.range::<str, _>((Excluded(after), Unbounded)).next();
        let Some((name, group)) = next else { return Cursor::Queues(QueueId::ZERO) };
        if group.position < below {
            out(group.position, StateRecord::Group(group.record.clone()));
        }
        Cursor::Offsets(name.to_string(), QueueId::ZERO)
    }

    fn walk_offset(
        &self,
        name: &str,
        from: QueueId,
        below: LogPosition,
        out: &mut impl FnMut(LogPosition, StateRecord),
    ) -> Cursor {
        let next = Cursor::Groups(name.to_string());
        let Some(group) = self.groups.by_name.get(name) else { return next };
        let Some((&queue, committed)) = group.offsets.range((Included(from), Unbounded)).next() else {
            return next;
        };
        if committed.place.position < below && !mutant::active(Mutant::OffsetsNotOwed) {
            let (group_id, offset) = (group.record.group_id, committed.offset);
            out(committed.place.as_of, StateRecord::Offset { group_id, queue, offset });
        }
        match queue.get().checked_add(1) {
            Some(next) => Cursor::Offsets(name.to_string(), QueueId::new(next)),
            None => next,
        }
    }

    fn walk_queue(&self, from: QueueId, below: LogPosition, out: &mut impl FnMut(LogPosition, StateRecord)) -> Cursor {
        let damage = Cursor::Damage(None);
        let Some((id, queue)) = self.queues.next_from(from) else { return damage };
        if queue.visible_offset.get() > 0 && queue.last_position < below {
            out(queue.last_position, StateRecord::Floor { queue: id, next_offset: queue.visible_offset });
        }
        id.get().checked_add(1).map_or(damage, |next| Cursor::Queues(QueueId::new(next)))
    }

    fn walk_damage(
        &self,
        after: Option<LogPosition>,
        below: LogPosition,
        out: &mut impl FnMut(LogPosition, StateRecord),
    ) -> Cursor {
        let Some((part, position)) = self.damage.after(after) else { return Cursor::Pending(LogPosition::ZERO) };
        // What retention gives up with the part itself is not owed.
        let goes_too = below.get() < u64::MAX && part.end <= below;
        if position < below && !goes_too && !mutant::active(Mutant::DamageForgotten) {
            out(position, StateRecord::Damage { from: part.start, to: part.end });
        }
        Cursor::Damage(Some(part.start))
    }

    fn walk_pending(
        &self,
        after: LogPosition,
        below: LogPosition,
        out: &mut impl FnMut(LogPosition, StateRecord),
    ) -> Cursor {
        // A message never lies below its origin: from here on all lie above.
        let next = self.pending.halves.after(after).next().filter(|entry| entry.origin < below);
        let Some(entry) = next else { return Cursor::Done };
        if entry.position < below {
            let forgotten = below.get() == u64::MAX && mutant::active(Mutant::SnapshotForgetsPending);
            if !forgotten {
                out(entry.position, StateRecord::Pending(*entry));
            }
        }
        Cursor::Pending(entry.origin)
    }
}
