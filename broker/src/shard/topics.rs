//! Topics: opened, created by being opened, created and deleted on request, and agreed on with the sibling shards.
//!
//! A topic changes by a record with a version; the highest version wins and a deletion is a version too. Whoever waits for
//! a change is answered when this shard has *applied* its record, that is, after it was confirmed. An automatic creation
//! never waits for siblings; an explicit change is answered when they have answered too, and names those that failed.

use super::Shard;
use super::connection::Connection;
use super::io::{ControlInput, ControlOutput, Effects, TopicNotice, TopicShape};
use super::limits::WAIT_NS_MAX;
use super::names::check_topic;
use super::request::{NO_QUEUE, OpenedQueue, Rejection, Response, TOO_MANY_WAITING, Token};
use super::settings::SystemTopic;
use super::waiting::{WaitId, What};
use crate::now::Now;
use crate::store::{Topic, TopicChange, TopicEvent};
use ringmq_proto::code::Code;
use std::collections::BTreeMap;

/// RocketMQ's permission bits that a topic may have: inherit, write, read.
const PERM_MAX: u32 = 7;
const PERM_READ_WRITE: u32 = 6;

/// Who asked for a change that is appended and not yet applied.
#[derive(Debug, Default)]
struct Pending {
    /// A client of this shard asked for it: siblings are told.
    made_here: bool,
    /// Versions that siblings offered and that this one settles.
    offered: Vec<u64>,
    opens: Vec<WaitId>,
    changes: Vec<WaitId>,
}

/// Who waits until name servers know a topic.
#[derive(Debug, Default)]
struct Registering {
    /// The newest question; answers to older ones do not count.
    ticket: u64,
    opens: Vec<WaitId>,
    changes: Vec<WaitId>,
}

/// Changes of topics that are under way.
#[derive(Debug, Default)]
pub(super) struct TopicChanges {
    /// By name and version.
    pending: BTreeMap<(Box<str>, u64), Pending>,
    /// Applied here; the siblings' answers are awaited.
    tickets: BTreeMap<u64, (WaitId, Box<str>)>,
    /// Applied here, by name; it is awaited that name servers know them.
    registering: BTreeMap<Box<str>, Registering>,
    last_ticket: u64,
    /// Takes turns over the queues of topics when a client leaves the choice.
    next_queue: u32,
}

impl TopicChanges {
    /// The next queue number for who leaves the choice.
    pub(super) fn choose_queue(&mut self, queue_count: u32) -> u32 {
        self.next_queue = self.next_queue.wrapping_add(1);
        self.next_queue % queue_count.max(1)
    }

    /// Frames wait until name servers know the topic: what comes later for it must not overtake them.
    #[inline]
    pub(super) fn is_registering(&self, name: &str) -> bool {
        !self.registering.is_empty() && self.registering.contains_key(name)
    }

    fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The newest version of a topic that is under way.
    fn newest(&self, name: &str) -> Option<u64> {
        let range = (Box::from(name), 0)..=(Box::from(name), u64::MAX);
        self.pending.range(range).next_back().map(|((_, version), _)| *version)
    }
}

fn shape_of(topic: &Topic) -> TopicShape {
    let record = &topic.record;
    TopicShape {
        read_queue_count: record.read_queue_count,
        write_queue_count: record.write_queue_count,
        perm: record.perm,
        sys_flag: record.sys_flag,
        multi_tag: record.multi_tag,
        attributes: record.attributes.clone(),
    }
}

fn notice_of(topic: &Topic) -> TopicNotice {
    let record = &topic.record;
    TopicNotice {
        topic: record.name.clone(),
        version: record.version,
        shape: shape_of(topic),
        ordered: record.ordered,
        deleted: record.deleted,
    }
}

/// Queue numbers of a topic that are in use, for reading or writing.
pub(super) fn queue_count(topic: &Topic) -> u32 {
    topic.record.read_queue_count.max(topic.record.write_queue_count)
}

/// A topic as somebody wants it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicWish<'a> {
    pub(super) name: &'a str,
    pub(super) shape: TopicShape,
    pub(super) ordered: bool,
}

impl<'a> TopicWish<'a> {
    /// A topic to read and write, with so many queues.
    fn ordinary(name: &'a str, queue_count: u32) -> Self {
        Self { name, shape: TopicShape::plain(queue_count, PERM_READ_WRITE), ordered: false }
    }

    fn change(self, deleted: bool, version: u64) -> TopicChange {
        TopicChange {
            name: self.name.into(),
            read_queue_count: self.shape.read_queue_count,
            write_queue_count: self.shape.write_queue_count,
            perm: self.shape.perm,
            sys_flag: self.shape.sys_flag,
            ordered: self.ordered,
            deleted,
            version: Some(version),
            multi_tag: Some(self.shape.multi_tag),
            attributes: Some(self.shape.attributes),
        }
    }
}

impl Shard {
    pub(super) fn open_queue(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        (name, number, create): (&str, i32, bool),
    ) {
        if self.store.state().topic(name).is_some() {
            return self.finish_open(connection, token, name, number);
        }
        match self.start_creation(now, name, create.then(|| self.settings.topic_queue_count_per_shard())) {
            Err(rejection) => self.reject(connection, token, &rejection),
            Ok(version) => {
                let what = What::Open { topic: name.into(), number };
                let Some(id) = self.wait(now, connection, token, what, WAIT_NS_MAX) else {
                    return self.reject(connection, token, &TOO_MANY_WAITING);
                };
                self.changes.pending.entry((name.into(), version)).or_default().opens.push(id);
            }
        }
    }

    /// Appends the record of an automatically created topic with `queue_count` queues (nothing: it must not be created),
    /// unless one is on its way. Gives its version.
    pub(super) fn start_creation(&mut self, now: &Now, name: &str, queue_count: Option<u32>) -> Result<u64, Rejection> {
        if let Some(version) = self.changes.newest(name) {
            return Ok(version);
        }
        let Some(queue_count) = queue_count.filter(|_| self.settings.auto_create_topics) else {
            return Err(Rejection::because(
                Code::TOPIC_NOT_EXIST,
                format!("topic[{}] not exist, apply first please!", name.escape_default()),
            ));
        };
        check_topic(name)?;
        self.append_change(now, TopicWish::ordinary(name, queue_count), false)
    }

    /// Appends the record of one of the broker's own topics, unless one is on its way. Gives its version. Each shard makes
    /// its own when it needs it: siblings are not told.
    pub(super) fn start_system_topic(&mut self, now: &Now, name: &str, queue_count: u32) -> Result<u64, Rejection> {
        if let Some(version) = self.changes.newest(name) {
            return Ok(version);
        }
        let version = self.store.state().topic_or_tombstone(name).map_or(0, |topic| topic.record.version) + 1;
        self.append_version(now, &TopicWish::ordinary(name, queue_count).change(false, version))?;
        self.changes.pending.insert((name.into(), version), Pending::default());
        Ok(version)
    }

    /// Appends a change of a topic with its next version, which is returned.
    fn append_change(&mut self, now: &Now, wish: TopicWish<'_>, deleted: bool) -> Result<u64, Rejection> {
        let applied = self.store.state().topic_version(wish.name);
        let name = Box::from(wish.name);
        let version = self.changes.newest(wish.name).unwrap_or(0).max(applied) + 1;
        self.append_version(now, &wish.change(deleted, version))?;
        self.changes.pending.insert((name, version), Pending { made_here: true, ..Pending::default() });
        Ok(version)
    }

    fn append_version(&mut self, now: &Now, change: &TopicChange) -> Result<(), Rejection> {
        if self.changes.pending.len() >= self.settings.limits.topic_change_count_max {
            return Err(TOO_MANY_WAITING);
        }
        // Whoever waits for this is answered by the event of its application, not by the gate.
        let _applied_later = self.store.append_topic(*now, change)?;
        Ok(())
    }

    fn finish_open(&mut self, connection: &mut Connection, token: Token, name: &str, number: i32) {
        match self.give_handle(connection, name, number) {
            Ok(opened) => self.respond(connection, token, &Response::Opened(opened)),
            Err(rejection) => self.reject(connection, token, &rejection),
        }
    }

    fn give_handle(&mut self, connection: &mut Connection, name: &str, number: i32) -> Result<OpenedQueue, Rejection> {
        let topic = self.store.state().topic(name).ok_or(NO_QUEUE)?;
        let queue_count = queue_count(topic);
        let number = match u32::try_from(number) {
            Ok(number) => number,
            Err(_) => self.changes.choose_queue(queue_count),
        };
        let Some(id) = topic.queues.get(number as usize).copied().filter(|_| number < queue_count) else {
            let remark = format!("queue {number} is not one of the topic's {queue_count} queues here");
            return Err(Rejection::because(Code::INVALID_PARAMETER, remark));
        };
        let queue = self.store.queue(id).ok_or(NO_QUEUE)?;
        let (min, max) = (queue.min_offset, queue.visible_offset);
        let (count_max, hash_seed) = (self.settings.limits.handle_count_max, self.settings.hash_seed);
        let handle = connection.handles.open(id, count_max, hash_seed).ok_or(TOO_MANY_HANDLES)?;
        Ok(OpenedQueue { handle, number, queue_count, min, max })
    }

    pub(super) fn create_topic(&mut self, now: &Now, connection: &mut Connection, token: Token, wish: TopicWish<'_>) {
        let name = wish.name;
        let change = self.change_topic(now, wish);
        self.await_change(now, connection, token, name, change);
    }

    /// Appends a change that a client wishes; gives its version.
    pub(super) fn change_topic(&mut self, now: &Now, wish: TopicWish<'_>) -> Result<u64, Rejection> {
        check_topic(wish.name)?;
        self.check_shape(&wish.shape)?;
        self.append_change(now, wish, false)
    }

    pub(super) fn delete_topic(&mut self, now: &Now, connection: &mut Connection, token: Token, name: &str) {
        let wish = |topic: &Topic| TopicWish { name, shape: shape_of(topic), ordered: topic.record.ordered };
        let change = match self.store.state().topic(name).map(wish) {
            None => Err(Rejection::because(
                Code::TOPIC_NOT_EXIST,
                format!("topic[{}] does not exist here: nothing to delete", name.escape_default()),
            )),
            Some(wish) => check_topic(name).and_then(|()| self.append_change(now, wish, true)),
        };
        self.await_change(now, connection, token, name, change);
    }

    fn await_change(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        name: &str,
        change: Result<u64, Rejection>,
    ) {
        match change {
            Err(rejection) => self.reject(connection, token, &rejection),
            Ok(version) => {
                let Some(id) = self.wait(now, connection, token, What::Topic, WAIT_NS_MAX) else {
                    return self.reject(connection, token, &TOO_MANY_WAITING);
                };
                self.changes.pending.entry((name.into(), version)).or_default().changes.push(id);
            }
        }
    }

    fn check_shape(&self, shape: &TopicShape) -> Result<(), Rejection> {
        let (queue_count, perm) = (shape.queue_count(), shape.perm);
        let max = self.settings.limits.topic_queue_count_max;
        if queue_count == 0 || queue_count > max {
            let remark = format!("a topic has 1 to {max} queues on a shard, not {queue_count}");
            return Err(Rejection::because(Code::INVALID_PARAMETER, remark));
        }
        if perm > PERM_MAX {
            let remark = format!("{perm} is not a permission: use 2 (write), 4 (read) or 6 (both)");
            return Err(Rejection::because(Code::INVALID_PARAMETER, remark));
        }
        Ok(())
    }

    /// Topics were applied: answers who waited, tells the control plane.
    pub(super) fn topics_applied(&mut self, now: &Now, events: &mut Vec<TopicEvent>, fx: &mut Effects) {
        for event in events.drain(..) {
            let pending = self.changes.pending.remove(&(event.name.as_str().into(), event.version)).unwrap_or_default();
            let Some(notice) = self.store.state().topic_or_tombstone(&event.name).map(notice_of) else { continue };
            if notice.deleted {
                self.wake_deleted(&event.name, fx);
            }
            fx.control.push(ControlOutput::Topics(vec![notice.clone()]));
            for version in pending.offered {
                fx.control.push(ControlOutput::SiblingTopicDone { topic: event.name.clone(), version, failure: None });
            }
            let mut changes = pending.changes;
            if pending.made_here && self.settings.sibling_count > 0 {
                self.tell_siblings(std::mem::take(&mut changes), &notice, fx);
            }
            self.answer_when_registered(now, &notice.topic, (pending.opens, changes), fx);
        }
    }

    /// Pulls that are held for queues of a deleted topic learn of it.
    fn wake_deleted(&mut self, name: &str, fx: &mut Effects) {
        let Some(topic) = self.store.state().topic_or_tombstone(name) else { return };
        let queues: Vec<_> = topic.record.queue_ids().collect();
        self.wake_queues(&queues, fx);
    }

    /// What a request waited for is there: an open queue is answered, a kept frame carried out again.
    pub(super) fn retry_frame(&mut self, now: &Now, id: WaitId, fx: &mut Effects) {
        self.with_waiting(id, fx, |shard, connection, token, what, fx| match what {
            What::Open { topic, number } => shard.finish_open(connection, token, &topic, number),
            What::Frame(kept) => shard.carry_out_kept(now, connection, &kept, fx),
            _ => {}
        });
    }

    /// Nothing when a topic that the broker needs is there; else the version that must be applied first, which is on its
    /// way from now on.
    pub(super) fn topic_on_its_way(
        &mut self,
        now: &Now,
        name: &str,
        queue_count: u32,
    ) -> Result<Option<u64>, Rejection> {
        if self.store.state().topic(name).is_some() {
            return Ok(None);
        }
        match self.changes.newest(name) {
            Some(version) => Ok(Some(version)),
            None => self.append_change(now, TopicWish::ordinary(name, queue_count), false).map(Some),
        }
    }

    /// `id` is carried out when this version of the topic is applied.
    pub(super) fn wait_for_topic(&mut self, name: &str, version: u64, id: WaitId) {
        match self.changes.registering.get_mut(name) {
            Some(registering) => registering.opens.push(id),
            None => self.changes.pending.entry((name.into(), version)).or_default().opens.push(id),
        }
    }

    /// A change by a client of this shard was applied: the siblings hear of it, and who asked waits for their answers.
    fn tell_siblings(&mut self, waits: Vec<WaitId>, notice: &TopicNotice, fx: &mut Effects) {
        let tell = |ticket| ControlOutput::TopicForSiblings { notice: notice.clone(), ticket };
        if waits.is_empty() {
            fx.control.push(tell(None));
        }
        for id in waits {
            let ticket = self.changes.next_ticket();
            self.changes.tickets.insert(ticket, (id, notice.topic.as_str().into()));
            fx.control.push(tell(Some(ticket)));
        }
    }

    /// Frames that wait for a topic are carried out, and its changes answered, when the name servers know it.
    fn answer_when_registered(
        &mut self,
        now: &Now,
        name: &str,
        (opens, changes): (Vec<WaitId>, Vec<WaitId>),
        fx: &mut Effects,
    ) {
        if !self.settings.awaits_registration || opens.is_empty() && changes.is_empty() {
            return self.registered(now, Registering { opens, changes, ..Registering::default() }, fx);
        }
        let ticket = self.changes.next_ticket();
        let registering = self.changes.registering.entry(name.into()).or_default();
        registering.ticket = ticket;
        registering.opens.extend(opens);
        registering.changes.extend(changes);
        fx.control.push(ControlOutput::WhenRegistered { topic: name.into(), ticket });
    }

    fn registered(&mut self, now: &Now, registering: Registering, fx: &mut Effects) {
        for id in registering.opens {
            self.retry_frame(now, id, fx);
        }
        self.answer_changes(registering.changes, None, fx);
    }

    fn answer_changes(&mut self, waits: Vec<WaitId>, failure: Option<&Rejection>, fx: &mut Effects) {
        for id in waits {
            self.with_waiting(id, fx, |shard, connection, token, _, _| match failure {
                None => shard.respond(connection, token, &Response::Done),
                Some(rejection) => shard.reject(connection, token, rejection),
            });
        }
    }

    pub(super) fn control(&mut self, now: &Now, input: ControlInput, fx: &mut Effects) {
        match input {
            ControlInput::TopicOfSibling(notice) => self.topic_of_sibling(now, &notice, fx),
            ControlInput::SiblingsAnswered { ticket, failures } => {
                let Some((id, name)) = self.changes.tickets.remove(&ticket) else { return };
                if failures.is_empty() {
                    self.answer_when_registered(now, &name, (Vec::new(), vec![id]), fx);
                } else {
                    self.answer_changes(vec![id], Some(&siblings_failed(&failures)), fx);
                }
            }
            ControlInput::TopicRegistered { topic, ticket } => {
                if self.changes.registering.get(topic.as_str()).is_some_and(|registering| registering.ticket == ticket)
                    && let Some(registering) = self.changes.registering.remove(topic.as_str())
                {
                    self.registered(now, registering, fx);
                }
            }
            ControlInput::ReplyOfSibling { from, ticket, reply } => self.reply_of_sibling((from, ticket), &reply, fx),
            ControlInput::ReplyHandedOver { ticket, pushed } => self.reply_handed_over(ticket, pushed, fx),
            ControlInput::DiskSpace(space) => self.disk_space = space,
            ControlInput::ReportTopics => {
                let notices = self.store.state().topics_after("").map(notice_of).collect();
                fx.control.push(ControlOutput::Topics(notices));
            }
        }
    }

    fn topic_of_sibling(&mut self, now: &Now, notice: &TopicNotice, fx: &mut Effects) {
        let (name, version) = (notice.topic.as_str(), notice.version);
        let failure = match self.changes.newest(name) {
            // Something as new is on its way to the disk: the sibling is answered when it is there.
            Some(newest) if newest >= version => {
                self.changes.pending.entry((name.into(), newest)).or_default().offered.push(version);
                return;
            }
            under_way => {
                let mine = self.store.state().topic_or_tombstone(name).map(notice_of);
                if under_way.is_none() && is_settled(mine.as_ref(), notice) {
                    None
                } else {
                    match self.append_offered(now, notice) {
                        Ok(()) => return,
                        Err(rejection) => Some(rejection.remark.into_owned()),
                    }
                }
            }
        };
        fx.control.push(ControlOutput::SiblingTopicDone { topic: notice.topic.clone(), version, failure });
    }

    fn append_offered(&mut self, now: &Now, notice: &TopicNotice) -> Result<(), Rejection> {
        let TopicNotice { topic: name, version, shape, ordered, deleted } = notice;
        let (version, ordered, deleted) = (*version, *ordered, *deleted);
        check_topic(name)?;
        // An ordered topic lives where it was made: here it is only taken away, when it was an ordinary one before.
        let change = TopicWish { name, shape: shape.clone(), ordered }.change(deleted || ordered, version);
        self.append_version(now, &change)?;
        let pending = Pending { offered: vec![version], ..Pending::default() };
        self.changes.pending.insert((name.as_str().into(), version), pending);
        Ok(())
    }

    /// Makes the topics that the broker needs itself and that are not there, so that name servers and tools know them from the
    /// start. One that cannot be made now (the disk is full) is made when it is used.
    pub(super) fn create_system_topics(&mut self, now: &Now) {
        let wanted = self.settings.system_topics.clone();
        for SystemTopic { name, queue_count } in &wanted {
            if self.store.state().topic(name).is_none() && self.start_system_topic(now, name, *queue_count).is_err() {
                return;
            }
        }
    }

    /// Whether the broker needs this topic itself: it is not listed among the clients'.
    pub(super) fn is_own_topic(&self, name: &str) -> bool {
        self.settings.system_topics.iter().any(|topic| topic.name == name)
    }
}

/// Whether nothing needs to be done about what a sibling offers. Of two changes with one version, made on two shards at
/// the same time, both shards choose the same.
fn is_settled(mine: Option<&TopicNotice>, offered: &TopicNotice) -> bool {
    let Some(mine) = mine.filter(|mine| !(offered.ordered && mine.deleted)) else { return offered.ordered };
    let rank = |topic: &TopicNotice| {
        let TopicShape { read_queue_count, write_queue_count, perm, sys_flag, multi_tag, attributes } = &topic.shape;
        let shape = (*perm, *read_queue_count, *write_queue_count, *sys_flag, *multi_tag, attributes.clone());
        (topic.version, topic.deleted, topic.ordered, shape)
    };
    rank(mine) >= rank(offered)
}

fn siblings_failed(failures: &[(String, String)]) -> Rejection {
    let list: Vec<_> = failures.iter().map(|(shard, why)| format!("{shard} ({why})")).collect();
    let remark = format!("done on this shard, but not on {}: ask again when they are back", list.join(", "));
    Rejection::because(Code::SYSTEM_ERROR, remark)
}

const TOO_MANY_HANDLES: Rejection = Rejection::new(
    Code::SYSTEM_BUSY,
    "this connection has opened as many queues as it may: use another connection for more",
);
