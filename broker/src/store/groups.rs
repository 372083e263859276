//! Consumer groups and their offsets: what callers ask and change.
//!
//! A change is a record like any other: it is in force when it is applied, and its reply waits until its end is
//! acknowledged.

use super::error::{NO_QUEUE, Refusal};
use super::state::GroupOffset;
use super::state::records::StateRecord;
use super::{Appended, GroupConfig, GroupRecord, Store};
use crate::now::Now;
use ringmq_proto::ids::{QueueId, QueueOffset};

impl Store {
    /// The group, unless it was never made or is deleted.
    pub fn group(&self, name: &str) -> Option<&GroupRecord> {
        self.state.group(name)
    }

    /// Groups in the order of their names, those behind `after` only.
    pub fn groups_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a GroupRecord> {
        self.state.groups_after(after)
    }

    /// The committed offset of a group in a queue.
    pub fn consume_offset(&self, group: &str, queue: QueueId) -> Option<QueueOffset> {
        self.state.consume_offset(group, queue)
    }

    /// All offsets that a group has committed, and a deleted one has left.
    pub fn offsets_of_group(&self, group: &str) -> impl Iterator<Item = GroupOffset<'_>> {
        self.state.offsets_of_group(group)
    }

    /// The groups that have committed an offset of a topic's queues. It looks at all groups.
    pub fn groups_of_topic(&self, topic: &str) -> impl Iterator<Item = &GroupRecord> {
        self.state.groups_of_topic(topic)
    }

    /// Appends a group's configuration (and so the group, when it is not there). The name is already checked.
    ///
    /// # Errors
    /// Not master (14), a quota or a configuration beyond its limits (1), disk full beyond the reserve (14).
    pub fn append_group_config(&mut self, _now: Now, name: &str, config: GroupConfig) -> Result<Appended, Refusal> {
        self.check_role()?;
        let record = self.state.assign_group_config(name, config)?;
        self.append_state(&StateRecord::Group(record), None)
    }

    /// Deletes a group, and its offsets if so wished: else a group of this name that is made later goes on with them.
    /// `None` when there is nothing to delete.
    ///
    /// # Errors
    /// Not master (14), disk full beyond the reserve (14).
    pub fn append_group_deletion(
        &mut self,
        _now: Now,
        name: &str,
        drop_offsets: bool,
    ) -> Result<Option<Appended>, Refusal> {
        self.check_role()?;
        let record = self.state.assign_group_deletion(name, drop_offsets);
        record.map(|record| self.append_state(&StateRecord::Group(record), None)).transpose()
    }

    /// Appends a group's offset in a queue (and the group, when it is not there).
    ///
    /// # Errors
    /// Not master (14), no such queue (17), a quota (1), disk full beyond the reserve (14).
    pub fn append_consume_offset(
        &mut self,
        _now: Now,
        group: &str,
        queue: QueueId,
        offset: QueueOffset,
    ) -> Result<Appended, Refusal> {
        self.check_role()?;
        self.state.queues.get(queue).ok_or(NO_QUEUE)?;
        let (group_id, new) = self.state.assign_group(group)?;
        if let Some(record) = new {
            let _ends_before = self.append_state(&StateRecord::Group(record), None)?;
        }
        self.append_state(&StateRecord::Offset { group_id, queue, offset }, None)
    }

    /// Gives a group the offsets that another has committed, of one topic or of all. `None` when there are none.
    ///
    /// # Errors
    /// As [`Store::append_consume_offset`]. Some offsets may have been given then: it can be asked for again.
    pub fn append_offsets_clone(
        &mut self,
        now: Now,
        from: &str,
        to: &str,
        topic: Option<&str>,
    ) -> Result<Option<Appended>, Refusal> {
        let wanted = |found: &GroupOffset<'_>| topic.is_none_or(|topic| found.topic.record.name == topic);
        let found = self.offsets_of_group(from).filter(wanted);
        let offsets: Vec<_> = found.map(|found| (found.queue, found.offset)).collect();
        let mut last = None;
        for (queue, offset) in offsets {
            last = Some(self.append_consume_offset(now, to, queue, offset)?);
        }
        Ok(last)
    }
}
