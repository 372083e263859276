//! Small state: topics, groups, consume offsets, queue floors. Records of the log, and nothing else.
//!
//! **Assign at append, apply at confirmed.** What is applied here changes only by [`State::apply`], which is a pure
//! function of the records. What is assigned (ids and versions that unconfirmed records have taken) lives in an overlay
//! beside it, and is dropped when its record is applied.
//!
//! **Deleted topics** leave tombstones, so that a sibling shard that comes late does not bring them back, and so that a
//! topic that is made anew has a higher version than its deletion. The newest [`TOMBSTONE_COUNT_MAX`] are kept, by the
//! place of the record that last said them (retention says those again that a leaving segment held). An older one is
//! forgotten, whatever its age: a sibling that missed so many deletions may bring that topic back, empty. New topics take
//! versions above every forgotten one.
//!
//! Each thing remembers the position of the record that last said its whole value. That makes a snapshot in slices
//! sound (older records are ignored, the same one may come again), and tells retention what a leaving segment owes.

pub mod attributes;
mod damage;
mod group_record;
mod groups;
mod reader;
pub mod records;
pub mod snapshot;

use super::error::{NO_QUEUE, Refusal, TOO_MANY_QUEUES};
use super::limits::{QUEUE_COUNT_MAX, TOMBSTONE_COUNT_MAX};
use super::queues::{NamePlace, Queue, Queues};
use crate::mutant::{self, Mutant};
use crate::store::pending::table::PendingTable;
use attributes::Attributes;
use damage::Damage;
use groups::Groups;
use records::{GroupRecord, QueueRange, StateRecord, TopicRecord, TrimRecord};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub use groups::GroupOffset;

/// A topic, applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// What its last record says.
    pub record: TopicRecord,
    /// Internal ids by queue number.
    pub queues: Vec<QueueId>,
    /// Where its last record lies.
    pub position: LogPosition,
}

#[derive(Clone, Debug)]
struct Group {
    record: GroupRecord,
    position: LogPosition,
    offsets: BTreeMap<QueueId, Committed>,
}

/// Where a state record lies, and since when it is true. The two differ for a record that retention appended again: a
/// newer one may have been in the log, unconfirmed, when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Where it lies.
    pub position: LogPosition,
    /// Where what it says was first said.
    pub as_of: LogPosition,
}

/// A group's offset in one queue.
#[derive(Clone, Copy, Debug)]
struct Committed {
    offset: QueueOffset,
    /// Where the record lies that said it last, and what it spoke of: an owed record lies behind newer ones.
    place: RecordPlace,
}

/// A change that was applied to a topic, for who follows topics (name servers, siblings, waiting requests).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEvent {
    /// The topic.
    pub name: String,
    /// The version that is now in force.
    pub version: u64,
}

/// What the caller wants a topic to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// Its name, already checked.
    pub name: String,
    /// Queue numbers below this one may be read.
    pub read_queue_count: u32,
    /// Queue numbers below this one may be written.
    pub write_queue_count: u32,
    /// RocketMQ's permission bits (2 write, 4 read).
    pub perm: u32,
    /// RocketMQ's `topicSysFlag`.
    pub sys_flag: u32,
    /// Lives on one shard only.
    pub ordered: bool,
    /// Delete it.
    pub deleted: bool,
    /// The version to take (a sibling's), or the next.
    pub version: Option<u64>,
    /// RocketMQ's `topicFilterType`: MULTI_TAG instead of SINGLE_TAG; or as it is.
    pub multi_tag: Option<bool>,
    /// RocketMQ's `attributes`, all of them; or as they are.
    pub attributes: Option<Attributes>,
}

/// What recovery has read of queues and groups whose own records it has not.
#[derive(Debug, Default)]
struct Orphans {
    /// Behind the last message, and where that lies.
    queues: BTreeMap<QueueId, (QueueOffset, LogPosition)>,
    offsets: Vec<(RecordPlace, u32, QueueId, QueueOffset)>,
}

/// All small state of a shard.
#[derive(Debug, Default)]
pub struct State {
    topic_slots: Vec<Topic>,
    /// By slot, for the queues.
    topic_names: Vec<NamePlace>,
    topics: BTreeMap<Box<str>, u32>,
    groups: Groups,
    pub(super) queues: Queues,
    trim: LogPosition,
    /// What was found damaged and is still retained.
    damage: Damage,
    /// The store time that the last trim (or the snapshot) said.
    store_time_ms: u64,
    /// Deleted topics by the place of the record that last said so, with their slots.
    tombstones: BTreeSet<(LogPosition, u32)>,
    /// Slots of topics that were forgotten.
    free_slots: Vec<u32>,
    /// The highest version of a forgotten tombstone.
    forgotten_version: u64,
    /// Ids below were given to a record, applied or not.
    next_queue_id: u32,
    /// Messages that wait for their time.
    pub(super) pending: PendingTable,
    pending_topics: BTreeMap<Box<str>, TopicRecord>,
    /// Queues that a deletion took since the last call of [`State::drain_removed`].
    removed: Vec<QueueId>,
    /// While a log without its oldest segments is replayed: what refers to things whose records come later, because
    /// retention appended them again.
    orphans: Option<Orphans>,
    events: Vec<TopicEvent>,
}

impl State {
    /// Nothing but what the index of pending messages knows.
    pub(super) fn with_pending(pending: PendingTable) -> Self {
        Self { pending, ..Self::default() }
    }

    /// The topic, unless it was never made or is deleted.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topic_or_tombstone(name).filter(|topic| !topic.record.deleted)
    }

    /// The topic; it is found at once when it is the one that `hint` was left at. Whoever asks for the same again and again keeps a
    /// hint, which may be anything at first.
    pub fn topic_by_hint(&self, name: &str, hint: &mut u32) -> Option<&Topic> {
        let hinted = self.topic_slots.get(*hint as usize);
        if let Some(topic) = hinted.filter(|topic| topic.record.name.as_str() == name && !topic.record.deleted) {
            return Some(topic);
        }
        let slot = *self.topics.get(name)?;
        *hint = slot;
        Some(&self.topic_slots[slot as usize]).filter(|topic| !topic.record.deleted)
    }

    /// The topic, or what its deletion left.
    pub fn topic_or_tombstone(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name).map(|&slot| &self.topic_slots[slot as usize])
    }

    /// Topics and tombstones in the order of their names, those behind `after` only.
    pub fn topics_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a Topic> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.topics.range::<str, _>((Excluded(after), Unbounded)).map(|(_, &slot)| &self.topic_slots[slot as usize])
    }

    /// A version of this topic is in the log and not yet applied.
    pub fn topic_is_pending(&self, name: &str) -> bool {
        self.pending_topics.contains_key(name)
    }

    /// Everything below is no longer retained.
    pub fn trim(&self) -> LogPosition {
        self.trim
    }

    /// Whether anything from `from` on and below `to` was ever found damaged.
    pub(super) fn is_damaged_between(&self, from: LogPosition, to: LogPosition) -> bool {
        self.damage.touches(from, to)
    }

    /// Whether all of this part is known to be damaged.
    pub(super) fn knows_damage(&self, part: &Range<LogPosition>) -> bool {
        self.damage.holds(part)
    }

    /// No message in what a trim or a snapshot stands for was stored later, in ms.
    pub fn store_time_ms(&self) -> u64 {
        self.store_time_ms
    }

    /// The version that the next change of this topic must exceed.
    pub fn topic_version(&self, name: &str) -> u64 {
        self.topic_or_tombstone(name).map_or(self.forgotten_version, |topic| topic.record.version)
    }

    /// The record of a trim to `position`.
    pub(super) fn trim_record(&self, position: LogPosition, store_time_ms: u64) -> TrimRecord {
        let (next_queue_id, next_group_id) = (self.next_queue_id, self.groups.next_id);
        TrimRecord { position, store_time_ms, next_queue_id, next_group_id, forgotten_version: self.forgotten_version }
    }

    /// Topic changes applied since the last call.
    pub fn drain_events(&mut self, out: &mut Vec<TopicEvent>) {
        out.append(&mut self.events);
    }

    /// Queues that deletions took since the last call.
    pub fn drain_removed(&mut self) -> std::vec::Drain<'_, QueueId> {
        self.removed.drain(..)
    }

    /// Assigns ids and a version to a change, for the record that says it. Taken by [`State::note_pending`] once that record
    /// is in the log.
    ///
    /// # Errors
    /// The quota of queues.
    pub(super) fn assign_topic(&self, change: &TopicChange) -> Result<TopicRecord, Refusal> {
        let current = self.pending_topics.get(change.name.as_str());
        let current = current.or_else(|| self.topic_or_tombstone(&change.name).map(|topic| &topic.record));
        let version = current.map_or(self.forgotten_version, |record| record.version) + 1;
        let version = change.version.unwrap_or(version);
        // A deleted topic's queues are gone: a topic made anew starts with ids that were never used.
        let live = current.filter(|record| !record.deleted);
        let mut ranges = live.map_or_else(Vec::new, |record| record.ranges.clone());
        let held: u32 = ranges.iter().map(|range| range.count).sum();
        let wanted = if change.deleted { 0 } else { change.read_queue_count.max(change.write_queue_count) };
        if wanted > held {
            let count = wanted - held;
            if self.queues.len() + count as usize > QUEUE_COUNT_MAX {
                return Err(TOO_MANY_QUEUES);
            }
            self.next_queue_id.checked_add(count).ok_or(TOO_MANY_QUEUES)?;
            ranges.push(QueueRange { first: self.next_queue_id, count });
        }
        let multi_tag = change.multi_tag.or(live.map(|record| record.multi_tag)).unwrap_or_default();
        let attributes = change.attributes.clone().or_else(|| live.map(|record| record.attributes.clone()));
        Ok(TopicRecord {
            name: change.name.clone(),
            version,
            perm: change.perm,
            read_queue_count: change.read_queue_count,
            write_queue_count: change.write_queue_count,
            sys_flag: change.sys_flag,
            ordered: change.ordered,
            deleted: change.deleted,
            ranges,
            multi_tag,
            attributes: attributes.unwrap_or_default(),
        })
    }

    /// The record was appended: what it took is taken, though not yet applied.
    pub(super) fn note_pending(&mut self, record: &StateRecord) {
        match record {
            StateRecord::Topic(topic) => {
                let highest = topic.queue_ids().map(|id| id.get() + 1).max().unwrap_or(0);
                if !mutant::active(Mutant::QueueIdUsedAgain) {
                    self.next_queue_id = self.next_queue_id.max(highest);
                }
                self.pending_topics.insert(topic.name.as_str().into(), topic.clone());
            }
            StateRecord::Group(group) => self.groups.note_pending(group),
            StateRecord::Pending(pending) => self.pending.note_pending(pending),
            StateRecord::Settled(settled) => self.pending.note_settled(settled),
            _ => {}
        }
    }

    /// The queue's next offsets: `count` of them, for an append.
    #[inline]
    pub(super) fn assign_offsets(&mut self, queue: QueueId, count: u32) -> Result<QueueOffset, Refusal> {
        let queue = self.queues.get_mut(queue).ok_or(NO_QUEUE)?;
        let first = queue.next_offset;
        queue.next_offset = first.plus(u64::from(count));
        Ok(first)
    }

    /// Applies messages: `count` of them, from `first_offset` on. Returns whether somebody waits for them; `None` when the
    /// queue does not exist (its topic was deleted, or its topic's record is damaged).
    #[inline]
    pub(super) fn apply_messages(
        &mut self,
        queue: QueueId,
        position: LogPosition,
        first_offset: QueueOffset,
        count: u32,
    ) -> Option<bool> {
        let end = first_offset.plus(u64::from(count));
        let Some(queue) = self.queues.get_mut(queue) else {
            let orphans = self.orphans.as_mut()?;
            orphans.queues.insert(queue, (end, position));
            return Some(false);
        };
        let grown = end > queue.visible_offset;
        if grown {
            queue.visible_offset = end;
        }
        if end > queue.next_offset {
            queue.next_offset = if mutant::active(Mutant::OffsetGivenTwice) { first_offset } else { end };
        }
        queue.last_position = queue.last_position.max(position);
        Some(grown && std::mem::replace(&mut queue.watched, false) && !mutant::active(Mutant::WakeForgotten))
    }

    /// Applies a state record that lies at `at.position` and says what was true at `at.as_of`. Ignored when something newer
    /// is known.
    pub(super) fn apply(&mut self, at: RecordPlace, record: StateRecord) {
        let position = at.position;
        match record {
            StateRecord::Topic(record) => self.apply_topic(at, record),
            StateRecord::Group(record) => self.apply_group(at, record),
            StateRecord::Offset { group_id, queue, offset } => self.apply_offset(at, group_id, queue, offset),
            // A floor is a message that is gone: it counts up to the same offset.
            StateRecord::Floor { queue, next_offset } => {
                self.apply_messages(queue, position, next_offset, 0);
            }
            StateRecord::Trim(trim) => self.apply_trim(trim),
            StateRecord::Pending(pending) => self.pending.apply_pending(position, pending),
            StateRecord::Settled(settled) => self.pending.apply_settled(position, &settled),
            StateRecord::Damage { from, to } => {
                self.damage.add(position, from..to);
                self.damage.trim(self.trim);
            }
        }
    }

    fn apply_trim(&mut self, trim: TrimRecord) {
        self.trim = self.trim.max(trim.position);
        self.damage.trim(self.trim);
        self.store_time_ms = self.store_time_ms.max(trim.store_time_ms);
        self.next_queue_id = self.next_queue_id.max(trim.next_queue_id);
        self.groups.next_id = self.groups.next_id.max(trim.next_group_id);
        self.forgotten_version = self.forgotten_version.max(trim.forgotten_version);
    }

    fn apply_topic(&mut self, at: RecordPlace, record: TopicRecord) {
        let position = at.position;
        if self.pending_topics.get(record.name.as_str()).is_some_and(|pending| pending.version <= record.version) {
            self.pending_topics.remove(record.name.as_str());
        }
        let name: Box<str> = record.name.as_str().into();
        let slot = match self.topics.get(&name) {
            // By version, not by place: what retention says again lies behind newer versions.
            Some(&slot) if self.topic_slots[slot as usize].record.version > record.version => return,
            Some(&slot) => slot,
            None => self.take_slot(name, &record, position),
        };
        let ids: Vec<QueueId> = if record.deleted { Vec::new() } else { record.queue_ids().collect() };
        let highest = record.queue_ids().map(|id| id.get() + 1).max().unwrap_or(0);
        self.next_queue_id = self.next_queue_id.max(highest);
        let old = std::mem::take(&mut self.topic_slots[slot as usize].queues);
        for id in old.iter().filter(|id| ids.binary_search(id).is_err() && !ids.contains(id)) {
            self.remove_queue(*id);
        }
        let topic_name = self.topic_names[slot as usize];
        for (number, &id) in ids.iter().enumerate() {
            self.place_queue(id, topic_name, u32::try_from(number).expect("queue numbers are u32"), &record);
        }
        self.adopt(record.queue_ids().collect::<Vec<_>>().as_slice(), record.deleted);
        self.events.push(TopicEvent { name: record.name.clone(), version: record.version });
        self.note_tombstone(slot, position, record.deleted);
        self.topic_slots[slot as usize] = Topic { record, queues: ids, position };
        self.forget_tombstones();
    }

    /// A place for a topic that is not known yet.
    fn take_slot(&mut self, name: Box<str>, record: &TopicRecord, position: LogPosition) -> u32 {
        let kept_name = self.queues.keep_name(&name);
        let record = TopicRecord { ranges: Vec::new(), deleted: true, ..record.clone() };
        let topic = Topic { record, queues: Vec::new(), position };
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.topic_slots.push(topic.clone());
            self.topic_names.push(kept_name);
            u32::try_from(self.topic_slots.len() - 1).expect("topics are bounded")
        });
        (self.topic_slots[slot as usize], self.topic_names[slot as usize]) = (topic, kept_name);
        self.topics.insert(name, slot);
        slot
    }

    /// The topic in `slot` is deleted, or is not, by a record at `position`.
    fn note_tombstone(&mut self, slot: u32, position: LogPosition, deleted: bool) {
        self.tombstones.remove(&(self.topic_slots[slot as usize].position, slot));
        if deleted {
            self.tombstones.insert((position, slot));
        }
    }

    /// Keeps as many tombstones as are kept, the newest.
    fn forget_tombstones(&mut self) {
        while self.tombstones.len() > TOMBSTONE_COUNT_MAX {
            let Some((_, slot)) = self.tombstones.pop_first() else { return };
            let topic = &mut self.topic_slots[slot as usize];
            self.forgotten_version = self.forgotten_version.max(topic.record.version);
            let name = std::mem::take(&mut topic.record.name);
            topic.record.ranges = Vec::new();
            self.topics.remove(name.as_str());
            self.free_slots.push(slot);
        }
    }

    fn place_queue(&mut self, id: QueueId, topic_name: NamePlace, number: u32, record: &TopicRecord) {
        let writable = if number < record.write_queue_count { record.perm & 2 } else { 0 };
        let readable = if number < record.read_queue_count { record.perm & 4 } else { 0 };
        let perm = u8::try_from(writable | readable).expect("two bits");
        match self.queues.get_mut(id) {
            Some(queue) => queue.perm = perm,
            None => self.queues.insert(
                id,
                Queue {
                    next_offset: QueueOffset::ZERO,
                    visible_offset: QueueOffset::ZERO,
                    min_offset: QueueOffset::ZERO,
                    min_offset_trim: LogPosition::ZERO,
                    last_position: LogPosition::ZERO,
                    topic_name,
                    number,
                    watched: false,
                    perm,
                },
            ),
        }
    }

    /// Gives waiting orphans to queues and groups that are there now; those of deleted queues go.
    fn adopt(&mut self, ids: &[QueueId], deleted: bool) {
        let Some(mut orphans) = self.orphans.take() else { return };
        for id in ids {
            if let Some((end, position)) = orphans.queues.remove(id) {
                if deleted {
                    self.removed.push(*id);
                } else {
                    self.apply_messages(*id, position, end, 0);
                }
            }
        }
        let known = |state: &Self, group_id: &u32, queue: &QueueId| {
            state.groups.knows(*group_id) && state.queues.get(*queue).is_some()
        };
        let (ready, waiting) = std::mem::take(&mut orphans.offsets)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, group_id, queue, _)| known(self, group_id, queue));
        for (place, group_id, queue, offset) in ready {
            self.apply_offset(place, group_id, queue, offset);
        }
        orphans.offsets = waiting;
        self.orphans = Some(orphans);
    }

    /// A replay begins: what refers to things that come later waits for them.
    pub(super) fn begin_replay(&mut self) {
        self.orphans = Some(Orphans::default());
    }

    /// The replay is through: queues that nobody claimed were deleted (or their topic's record is damaged). Either way
    /// their ids were given.
    pub(super) fn end_replay(&mut self) {
        if let Some(orphans) = self.orphans.take() {
            let group_ids = orphans.offsets.iter().map(|(_, group_id, ..)| group_id.saturating_add(1));
            self.groups.next_id = group_ids.fold(self.groups.next_id, u32::max);
            if let Some((last, _)) = orphans.queues.last_key_value() {
                self.next_queue_id = self.next_queue_id.max(last.get().saturating_add(1));
            }
            self.removed.extend(orphans.queues.into_keys());
        }
        if !mutant::active(Mutant::TrimmedHalfPending) {
            self.pending.forget_below(self.trim);
        }
    }

    fn remove_queue(&mut self, id: QueueId) {
        if !mutant::active(Mutant::DeletedQueueReadable) {
            self.queues.remove(id);
        }
        self.removed.push(id);
        for group in self.groups.by_name.values_mut() {
            group.offsets.remove(&id);
        }
    }

    /// After damage that may hide records: ids that the hidden ones may have taken are skipped.
    pub(super) fn skip_ids(&mut self, count: u32) {
        self.next_queue_id = self.next_queue_id.saturating_add(count);
        self.groups.next_id = self.groups.next_id.saturating_add(count);
    }

    /// A checksum of everything applied: two shards that applied the same log have the same.
    pub fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for topic in self.topics_after("") {
            hasher.update(format!("{:?}", topic.record).as_bytes());
        }
        for group in self.groups.by_name.values() {
            hasher.update(format!("{:?}", group.record).as_bytes());
            for (queue, Committed { offset, .. }) in &group.offsets {
                hasher.update(&[queue.get().to_le_bytes(), [0; 4]].concat());
                hasher.update(&offset.get().to_le_bytes());
            }
        }
        for (id, queue) in self.queues.iter() {
            hasher.update(&id.get().to_le_bytes());
            hasher.update(&queue.visible_offset.get().to_le_bytes());
        }
        hasher.update(&self.trim.get().to_le_bytes());
        hasher.update(&self.pending.digest().to_le_bytes());
        hasher.update(format!("{:?}", self.damage.parts().collect::<Vec<_>>()).as_bytes());
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, version: u64, deleted: bool, first: u32) -> StateRecord {
        StateRecord::Topic(TopicRecord {
            name: name.into(),
            version,
            perm: 6,
            read_queue_count: 1,
            write_queue_count: 1,
            sys_flag: 0,
            ordered: false,
            deleted,
            ranges: vec![QueueRange { first, count: 1 }],
            multi_tag: false,
            attributes: Attributes::default(),
        })
    }

    fn apply(state: &mut State, position: u64, record: StateRecord) {
        let position = LogPosition::new(position);
        state.apply(RecordPlace { position, as_of: position }, record);
    }

    /// Makes and deletes so many topics.
    fn deleted(count: u32) -> State {
        let mut state = State::default();
        for number in 0..count {
            let name = format!("t{number}");
            apply(&mut state, u64::from(number) * 10 + 1, record(&name, 1, false, number));
            apply(&mut state, u64::from(number) * 10 + 2, record(&name, 2, true, number));
        }
        state
    }

    #[test]
    fn tombstone_limit_forgets_the_oldest_and_no_version_comes_again() {
        let many = u32::try_from(TOMBSTONE_COUNT_MAX).expect("small");
        let mut state = deleted(many);
        assert_eq!(state.topics_after("").count(), TOMBSTONE_COUNT_MAX);
        assert_eq!(state.topic_version("never made"), 0);
        // Retention says the oldest again: the second becomes the oldest.
        apply(&mut state, 1 << 30, record("t0", 2, true, 0));
        apply(&mut state, (1 << 30) + 1, record("one more", 7, true, many));
        assert!(state.topic_or_tombstone("t1").is_none() && state.topic_or_tombstone("t0").is_some());
        assert_eq!(state.topics_after("").count(), TOMBSTONE_COUNT_MAX);
        assert_eq!(state.topic_version("t1"), 2, "made anew it has version 3, above its deletion");
        let trim = state.trim_record(LogPosition::new(1 << 20), 5);
        assert_eq!((trim.forgotten_version, trim.next_queue_id), (2, many + 1));
    }

    #[test]
    fn topic_made_anew_is_no_tombstone_and_its_slot_is_its_own() {
        let many = u32::try_from(TOMBSTONE_COUNT_MAX).expect("small");
        let mut state = deleted(many);
        apply(&mut state, 1 << 30, record("t0", 3, false, many));
        apply(&mut state, (1 << 30) + 1, record("a", 1, true, many + 1));
        assert_eq!(state.topics_after("").count(), TOMBSTONE_COUNT_MAX + 1, "nothing is forgotten: one came back");
        apply(&mut state, (1 << 30) + 2, record("b", 1, true, many + 2));
        apply(&mut state, (1 << 30) + 3, record("c", 1, false, many + 3));
        let queue = |name: &str| state.topic(name).map(|topic| topic.queues.clone());
        assert_eq!(queue("t0"), Some(vec![QueueId::new(many)]));
        assert_eq!(queue("c"), Some(vec![QueueId::new(many + 3)]));
        let names: Vec<&[u8]> = state.queues.iter().map(|(_, queue)| state.queues.topic_name(queue)).collect();
        assert_eq!(names, [b"t0".as_slice(), b"c"]);
    }

    #[test]
    fn what_a_trim_says_of_ids_and_versions_holds_without_what_it_took() {
        let mut state = State::default();
        let trim = TrimRecord {
            position: LogPosition::new(1 << 20),
            store_time_ms: 77,
            next_queue_id: 40,
            next_group_id: 5,
            forgotten_version: 9,
        };
        apply(&mut state, 1 << 21, StateRecord::Trim(trim));
        assert_eq!((state.next_queue_id, state.groups.next_id, state.topic_version("any")), (40, 5, 9));
        assert_eq!(state.store_time_ms(), 77);
    }
}
