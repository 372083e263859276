//! Consumer groups and their offsets, applied.
//!
//! A deletion leaves a tombstone, as a topic's does: its version keeps what retention says again of older ones from
//! coming back. A deletion may leave the offsets, as RocketMQ's does by default; a group of that name then goes on with
//! them. When they are dropped, the name gets another id if it is made again: records of the old one say nothing to it.

use super::{Group, RecordPlace, State, Topic};
use crate::mutant::{self, Mutant};
use crate::store::error::{ATTRIBUTES_TOO_LARGE, Refusal, TOO_MANY_GROUPS};
use crate::store::limits::{GROUP_COUNT_MAX, GROUP_RECORD_COUNT_MAX};
use crate::store::state::Committed;
use crate::store::state::records::{GroupConfig, GroupRecord};
use ringmq_proto::ids::{QueueId, QueueOffset};
use std::collections::BTreeMap;

/// All groups of a shard.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) by_name: BTreeMap<Box<str>, Group>,
    /// Who goes by an id: live groups, and deleted ones that left their offsets.
    names: BTreeMap<u32, Box<str>>,
    live_count: usize,
    /// Ids below were given to a record, applied or not.
    pub(super) next_id: u32,
    /// The newest record of each group that is in the log and not yet applied.
    pending: BTreeMap<Box<str>, GroupRecord>,
}

/// An offset that a group has committed.
#[derive(Clone, Copy, Debug)]
pub struct GroupOffset<'a> {
    /// The queue's topic.
    pub topic: &'a Topic,
    /// The queue's number in the topic.
    pub number: u32,
    /// The queue's internal id.
    pub queue: QueueId,
    /// The next offset that the group wants.
    pub offset: QueueOffset,
}

impl Groups {
    pub(super) fn note_pending(&mut self, record: &GroupRecord) {
        self.next_id = self.next_id.max(record.group_id + 1);
        self.pending.insert(record.name.as_str().into(), record.clone());
    }

    pub(super) fn knows(&self, group_id: u32) -> bool {
        self.names.contains_key(&group_id)
    }

    /// The newest record of a group, applied or not.
    fn newest(&self, name: &str) -> Option<&GroupRecord> {
        self.pending.get(name).or_else(|| self.by_name.get(name).map(|group| &group.record))
    }
}

impl State {
    /// The group, unless it was never made or is deleted.
    pub fn group(&self, name: &str) -> Option<&GroupRecord> {
        self.groups.by_name.get(name).map(|group| &group.record).filter(|record| !record.deleted)
    }

    /// Groups in the order of their names, those behind `after` only; deleted ones are left out.
    pub fn groups_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a GroupRecord> {
        use std::ops::Bound::{Excluded, Unbounded};
        let behind = self.groups.by_name.range::<str, _>((Excluded(after), Unbounded));
        behind.map(|(_, group)| &group.record).filter(|record| !record.deleted)
    }

    /// Groups that exist.
    pub fn group_count(&self) -> usize {
        self.groups.live_count
    }

    /// The committed offset of a group in a queue.
    pub fn consume_offset(&self, group: &str, queue: QueueId) -> Option<QueueOffset> {
        self.groups.by_name.get(group)?.offsets.get(&queue).map(|committed| committed.offset)
    }

    /// All offsets that a group has committed (and a deleted one has left), in the order of internal queue ids.
    pub fn offsets_of_group(&self, group: &str) -> impl Iterator<Item = GroupOffset<'_>> {
        let offsets = self.groups.by_name.get(group).into_iter().flat_map(|group| &group.offsets);
        offsets.filter_map(|(&id, committed)| {
            let queue = self.queues.get(id)?;
            let topic = std::str::from_utf8(self.queues.topic_name(queue)).ok().and_then(|name| self.topic(name))?;
            Some(GroupOffset { topic, number: queue.number, queue: id, offset: committed.offset })
        })
    }

    /// The groups that have committed an offset of a topic's queues, in the order of their names. It looks at all groups:
    /// for tools, not for the way of a message.
    pub fn groups_of_topic(&self, topic: &str) -> impl Iterator<Item = &GroupRecord> {
        let ranges = self.topic(topic).map_or(&[][..], |topic| &topic.record.ranges);
        let groups = self.groups.by_name.values().filter(|group| !group.record.deleted);
        let consumed = |group: &&Group| {
            ranges.iter().any(|range| {
                let ids = QueueId::new(range.first)..QueueId::new(range.first + range.count);
                group.offsets.range(ids).next().is_some()
            })
        };
        groups.filter(consumed).map(|group| &group.record)
    }

    /// The group's id, and the record that makes the group when it is not there.
    ///
    /// # Errors
    /// The quota of groups.
    pub(in crate::store) fn assign_group(&self, name: &str) -> Result<(u32, Option<GroupRecord>), Refusal> {
        match self.groups.newest(name).filter(|record| !record.deleted) {
            Some(record) => Ok((record.group_id, None)),
            None => {
                let record = self.assign_group_config(name, GroupConfig::default())?;
                Ok((record.group_id, Some(record)))
            }
        }
    }

    /// The record that gives a group this configuration, and makes it when it is not there.
    ///
    /// # Errors
    /// The quota of groups; a configuration beyond its limits.
    pub(in crate::store) fn assign_group_config(
        &self,
        name: &str,
        config: GroupConfig,
    ) -> Result<GroupRecord, Refusal> {
        if !config.fits() {
            return Err(ATTRIBUTES_TOO_LARGE);
        }
        let newest = self.groups.newest(name);
        if newest.is_none_or(|record| record.deleted) {
            let (live, known, pending) = (self.groups.live_count, self.groups.by_name.len(), self.groups.pending.len());
            if live + pending >= GROUP_COUNT_MAX || (newest.is_none() && known + pending >= GROUP_RECORD_COUNT_MAX) {
                return Err(TOO_MANY_GROUPS);
            }
        }
        let kept = newest.filter(|record| !record.offsets_dropped);
        let group_id = kept.map_or(self.groups.next_id, |record| record.group_id);
        group_id.checked_add(1).ok_or(TOO_MANY_GROUPS)?;
        let version = newest.map_or(1, |record| record.version + 1);
        Ok(GroupRecord { name: name.into(), version, group_id, deleted: false, offsets_dropped: false, config })
    }

    /// The record that deletes a group, or what an earlier deletion left of it; `None` when there is nothing to delete.
    pub(in crate::store) fn assign_group_deletion(&self, name: &str, drop_offsets: bool) -> Option<GroupRecord> {
        let newest = self.groups.newest(name)?;
        let has_left_offsets = newest.deleted && !newest.offsets_dropped;
        (!newest.deleted || (has_left_offsets && drop_offsets)).then(|| GroupRecord {
            name: name.into(),
            version: newest.version + 1,
            group_id: newest.group_id,
            deleted: true,
            offsets_dropped: drop_offsets,
            config: GroupConfig::default(),
        })
    }

    pub(super) fn apply_group(&mut self, at: RecordPlace, record: GroupRecord) {
        let groups = &mut self.groups;
        groups.next_id = groups.next_id.max(record.group_id + 1);
        if groups.pending.get(record.name.as_str()).is_some_and(|pending| pending.version <= record.version) {
            groups.pending.remove(record.name.as_str());
        }
        let name: Box<str> = record.name.as_str().into();
        let mut offsets = BTreeMap::new();
        if let Some(old) = groups.by_name.remove(&name) {
            // By version, not by place: what retention says again lies behind newer versions.
            if old.record.version > record.version {
                groups.by_name.insert(name, old);
                return;
            }
            groups.live_count -= usize::from(!old.record.deleted);
            groups.names.remove(&old.record.group_id);
            if old.record.group_id == record.group_id {
                offsets = old.offsets;
            }
        }
        groups.live_count += usize::from(!record.deleted);
        if record.offsets_dropped {
            offsets.clear();
        } else {
            groups.names.insert(record.group_id, name.clone());
        }
        groups.by_name.insert(name, Group { record, position: at.position, offsets });
        self.adopt(&[], false);
    }

    pub(super) fn apply_offset(&mut self, at: RecordPlace, group_id: u32, queue: QueueId, offset: QueueOffset) {
        let name = self.groups.names.get(&group_id);
        let group = name.and_then(|name| self.groups.by_name.get_mut(name));
        let (Some(group), true) = (group, self.queues.get(queue).is_some()) else {
            if let Some(orphans) = &mut self.orphans {
                orphans.offsets.push((at, group_id, queue, offset));
            }
            return;
        };
        let entry = group.offsets.entry(queue).or_insert(Committed { offset, place: at });
        if entry.place.as_of <= at.as_of || mutant::active(Mutant::ConsumeOffsetFalls) {
            *entry = Committed { offset, place: at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::state::records::{QueueRange, StateRecord, TopicRecord};
    use ringmq_proto::ids::LogPosition;

    fn at(position: u64) -> RecordPlace {
        RecordPlace { position: LogPosition::new(position), as_of: LogPosition::new(position) }
    }

    fn state() -> State {
        let mut state = State::default();
        let record = TopicRecord {
            name: "t".into(),
            version: 1,
            perm: 6,
            read_queue_count: 2,
            write_queue_count: 2,
            sys_flag: 0,
            ordered: false,
            deleted: false,
            ranges: vec![QueueRange { first: 0, count: 2 }],
            multi_tag: false,
            attributes: crate::store::Attributes::default(),
        };
        state.apply(at(1), StateRecord::Topic(record));
        state
    }

    fn apply(state: &mut State, position: u64, record: GroupRecord) -> GroupRecord {
        state.note_pending(&StateRecord::Group(record.clone()));
        state.apply(at(position), StateRecord::Group(record.clone()));
        record
    }

    fn put(state: &mut State, position: u64) -> GroupRecord {
        let record = state.assign_group_config("g", GroupConfig::default()).expect("room");
        apply(state, position, record)
    }

    fn delete(state: &mut State, position: u64, drop_offsets: bool) {
        let record = state.assign_group_deletion("g", drop_offsets).expect("something to delete");
        apply(state, position, record);
    }

    fn commit(state: &mut State, position: u64, group_id: u32, offset: u64) {
        let (queue, offset) = (QueueId::new(1), QueueOffset::new(offset));
        state.apply(at(position), StateRecord::Offset { group_id, queue, offset });
    }

    #[test]
    fn deleted_group_goes_on_with_its_offsets_unless_they_were_dropped() {
        let mut state = state();
        let first = put(&mut state, 10);
        commit(&mut state, 20, first.group_id, 7);
        delete(&mut state, 30, false);
        assert_eq!((state.group("g"), state.group_count()), (None, 0));
        let again = put(&mut state, 40);
        assert_eq!(again.group_id, first.group_id);
        assert_eq!(state.consume_offset("g", QueueId::new(1)), Some(QueueOffset::new(7)));

        delete(&mut state, 50, true);
        commit(&mut state, 60, first.group_id, 8);
        let anew = put(&mut state, 70);
        commit(&mut state, 80, first.group_id, 9);
        assert_ne!(anew.group_id, first.group_id);
        assert_eq!(state.consume_offset("g", QueueId::new(1)), None, "the old group's offsets say nothing of the new");
        assert_eq!(state.offsets_of_group("g").count(), 0);
        assert_eq!(state.groups_of_topic("t").count(), 0);
        commit(&mut state, 90, anew.group_id, 2);
        assert_eq!(state.groups_of_topic("t").map(|group| group.name.as_str()).collect::<Vec<_>>(), ["g"]);
    }

    #[test]
    fn older_version_that_is_said_again_does_not_bring_a_group_back() {
        let mut state = state();
        let first = put(&mut state, 10);
        delete(&mut state, 30, true);
        let owed = RecordPlace { position: LogPosition::new(40), as_of: LogPosition::new(10) };
        state.apply(owed, StateRecord::Group(first));
        assert_eq!((state.group("g"), state.group_count(), state.groups_after("").count()), (None, 0, 0));
    }

    #[test]
    fn what_is_not_there_cannot_be_deleted_and_left_offsets_can() {
        let mut state = state();
        assert_eq!(state.assign_group_deletion("g", true), None);
        put(&mut state, 10);
        delete(&mut state, 20, false);
        assert_eq!(state.assign_group_deletion("g", false), None);
        delete(&mut state, 30, true);
        assert_eq!(state.assign_group_deletion("g", true), None);
    }
}
