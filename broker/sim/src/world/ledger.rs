//! What is known of the history: told to the judge as it happens, and kept where the judge has no eyes.
//!
//! The judge knows queues by a dense number. Here they get one when first seen, by their internal id, which must never be
//! used again: a topic that is deleted and made anew has new queues.

use super::later::Later;
use super::plan::Plan;
use super::remote::locks::Held;
use ringmq_checker::{Content, Judge, MessageId, Outcome, Polled, QueueIndex, Rules, RunSeed};
use ringmq_proto::ids::{LogPosition, QueueId};
use std::collections::{BTreeMap, BTreeSet};

/// Topics that the broker makes when it needs them, and whether messages come there once more.
pub(super) const MADE_BY_THE_BROKER: [(&str, bool); 3] =
    [("TRANS_CHECK_MAX_TIME_TOPIC", false), ("%RETRY%consumers", true), ("%DLQ%consumers", true)];

/// Whether a topic exists, as far as answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    /// It was never made, or its deletion was acknowledged.
    Absent,
    /// Its creation was acknowledged, or it was found.
    Present,
    /// A change of it ended without an answer.
    Unknown,
}

/// A topic of the history.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub existence: Existence,
    /// A change of it, or an opening that may create it, waits for its answer.
    pub changing: bool,
    /// Openings, and requests that name it, that wait for their answers.
    pub opening: u32,
    /// Messages come here once more, after a failed attempt to consume them.
    pub redelivery: bool,
}

/// A queue of the history.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// Its internal id.
    pub id: QueueId,
    /// Index of its topic.
    pub topic: usize,
    /// Its number in the topic.
    pub number: u32,
    /// The deletion of its topic was acknowledged (or it was found gone after a deletion without an answer).
    pub deleted: bool,
    /// After damage: offsets below that nobody knows may be empty.
    pub may_skip_below: u64,
    /// Behind the last offset that an acknowledgement or a reader named.
    pub known_end: u64,
    /// Store times that readers saw, by offset.
    pub store_times: BTreeMap<u64, u64>,
    /// Where acknowledged messages lie in the log, by offset.
    pub positions: BTreeMap<u64, u64>,
    /// The first offset that the final drain found.
    pub drained_from: Option<u64>,
    /// Where records lie that readers saw, by the offset of their first message that they saw.
    pub seen_positions: BTreeMap<u64, u64>,
}

/// The books of one history.
pub(super) struct Ledger {
    /// The judge of sends, polls and commits.
    pub judge: Judge,
    /// Makes and reads bodies.
    pub run: RunSeed,
    /// All topics that clients know of.
    pub topics: Vec<Topic>,
    queues: Vec<Queue>,
    by_id: BTreeMap<QueueId, QueueIndex>,
    /// Group and queue of commits and queries that wait for their answer.
    pub busy_groups: BTreeSet<(u32, QueueIndex)>,
    /// Every consume offset that anybody tried to commit.
    pub tried_commits: BTreeSet<(u32, QueueIndex, u64)>,
    /// One-way commits, which nobody says the fate of.
    one_way: Vec<OneWay>,
    /// Counts commits and deliveries, to tell what came before what.
    clock: u64,
    /// Messages of commits that were damaged at rest: they may be refused, never be absent.
    pub excused: BTreeMap<(QueueId, u64), MessageId>,
    /// A commit was damaged at rest: the log has a hole.
    pub damaged: bool,
    /// Where damaged commits start.
    pub damaged_commits: Vec<LogPosition>,
    /// A file of the queue index was damaged at rest: reads through it may be refused until it is made anew.
    pub index_damaged: bool,
    /// A file that is only derived was damaged at rest, at any time.
    pub derived_damaged: bool,
    /// Messages for later, and those that are sent back.
    pub later: Later,
    /// Messages for later that were accepted.
    pub later_accepted: u64,
    /// Ends of them, and messages sent back, that were acknowledged.
    pub ends_accepted: u64,
    /// Who has locked which queue.
    pub locks: Held,
    /// Operations of the disk may fail now: reads may be refused.
    pub faulty: bool,
    /// The first thing that is wrong and that the judge cannot see.
    wrong: Option<String>,
}

impl Ledger {
    /// Empty books: the topics of clients come first, those that the broker makes for what is for later follow.
    pub(super) fn new(run: RunSeed, plan: &Plan) -> Self {
        let topic = |name: String, redelivery| Topic {
            name,
            existence: Existence::Absent,
            changing: false,
            opening: 0,
            redelivery,
        };
        let mut topics: Vec<Topic> =
            (0..plan.topic_count).map(|number| topic(format!("topic-{number}"), false)).collect();
        if plan.remote_count > 0 {
            topics.extend(MADE_BY_THE_BROKER.map(|(name, redelivery)| topic(name.into(), redelivery)));
        }
        Self {
            judge: Judge::new(Rules::default()),
            run,
            topics,
            queues: Vec::new(),
            by_id: BTreeMap::new(),
            busy_groups: BTreeSet::new(),
            tried_commits: BTreeSet::new(),
            one_way: Vec::new(),
            clock: 0,
            excused: BTreeMap::new(),
            damaged: false,
            damaged_commits: Vec::new(),
            index_damaged: false,
            derived_damaged: false,
            later: Later::new(plan.clock_set_permille > 0),
            later_accepted: 0,
            ends_accepted: 0,
            locks: Held::default(),
            faulty: false,
            wrong: None,
        }
    }

    /// Notes that something is wrong; the first one counts.
    pub(super) fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// What is wrong so far.
    pub(super) fn found(&self) -> Option<String> {
        self.wrong.clone().or_else(|| {
            let anomalies = self.judge.anomalies();
            (!anomalies.is_empty()).then(|| anomalies.to_string())
        })
    }

    /// The queue with this internal id. New ones are noted; a used one must belong to the same queue of the same topic.
    pub(super) fn queue_index(&mut self, id: QueueId, topic: usize, number: u32) -> QueueIndex {
        if let Some(&index) = self.by_id.get(&id) {
            let queue = &self.queues[index.0 as usize];
            if queue.deleted || (queue.topic, queue.number) != (topic, number) {
                let text =
                    format!("internal queue id {id} of {queue:?} is used again for topic {topic} queue {number}");
                self.wrong(|| text);
            }
            return index;
        }
        let index = QueueIndex(u32::try_from(self.queues.len()).unwrap_or(u32::MAX));
        self.queues.push(Queue {
            id,
            topic,
            number,
            deleted: false,
            may_skip_below: 0,
            known_end: 0,
            store_times: BTreeMap::new(),
            positions: BTreeMap::new(),
            seen_positions: BTreeMap::new(),
            drained_from: None,
        });
        self.by_id.insert(id, index);
        if self.topics[topic].redelivery {
            self.judge.redelivery_queue(index);
        }
        index
    }

    /// What is known of a queue.
    pub(super) fn queue(&self, index: QueueIndex) -> &Queue {
        &self.queues[index.0 as usize]
    }

    /// What is known of a queue, to note more.
    pub(super) fn queue_mut(&mut self, index: QueueIndex) -> &mut Queue {
        &mut self.queues[index.0 as usize]
    }

    /// The queue with this internal id, if it was seen.
    pub(super) fn find(&self, id: QueueId) -> Option<QueueIndex> {
        self.by_id.get(&id).copied()
    }

    /// All queues, in the order in which they were seen.
    pub(super) fn queues(&self) -> impl Iterator<Item = (QueueIndex, &Queue)> {
        (0..).map(QueueIndex).zip(&self.queues)
    }

    /// A topic's queues are gone for good.
    pub(super) fn topic_deleted(&mut self, topic: usize) {
        self.topics[topic].existence = Existence::Absent;
        for (index, queue) in (0..).map(QueueIndex).zip(&mut self.queues) {
            if queue.topic == topic && !queue.deleted {
                queue.deleted = true;
                self.judge.queue_deleted(index);
            }
        }
    }

    /// A topic whose last change had no answer was found, with these queues. Queues of it that are not among them are gone.
    pub(super) fn topic_found(&mut self, topic: usize, queues: &[QueueId]) {
        self.topics[topic].existence = Existence::Present;
        for (index, queue) in (0..).map(QueueIndex).zip(&mut self.queues) {
            if queue.topic == topic && !queue.deleted && !queues.contains(&queue.id) {
                queue.deleted = true;
                self.judge.queue_deleted(index);
            }
        }
    }

    /// The broker refused `from..next` of a queue as damaged: it must have been, and what the disk held there before counts
    /// as read.
    pub(super) fn refused_as_damaged(&mut self, queue: QueueIndex, from: u64, next: u64) {
        let id = self.queue(queue).id;
        let mut polled = Vec::new();
        for offset in from..next {
            if let Some(message) = self.excused.get(&(id, offset)) {
                polled.push(Polled { offset, content: Content::Message(*message) });
            } else if offset >= self.queue(queue).may_skip_below {
                return self.wrong(|| format!("offset {offset} of {queue:?} is refused as damaged and was not"));
            }
        }
        for message in polled {
            self.judge.poll(queue, message.offset, message.offset + 1, &[message]);
        }
    }

    /// The broker says that `queue` begins at `min_offset`, with a log that begins at `log_start`: it must not begin behind a
    /// message that is retained, and what is not retained is owed no more.
    pub(super) fn trimmed(&mut self, queue: QueueIndex, min_offset: u64, log_start: LogPosition) {
        let books = self.queue(queue);
        let first_retained = books.positions.iter().find(|(_, position)| **position >= log_start.get());
        let first_retained = first_retained.map_or(books.known_end, |(offset, _)| *offset);
        if !books.deleted && min_offset > first_retained && min_offset <= books.known_end {
            let text = format!("{queue:?} begins at {min_offset}, and offset {first_retained} is retained");
            return self.wrong(|| text);
        }
        let by_position = self.first_by_position(queue, log_start);
        self.judge.trimmed(queue, min_offset.max(by_position));
    }

    /// Behind damage the broker may not know where a queue begins, and says less: what positions say of it, 0 if nothing.
    pub(super) fn first_by_position(&self, queue: QueueIndex, log_start: LogPosition) -> u64 {
        let books = self.queue(queue);
        let positions = || books.positions.iter().chain(&books.seen_positions);
        let is_retained = |position: &u64| *position >= log_start.get();
        if !self.damaged || positions().all(|(_, position)| is_retained(position)) {
            return 0;
        }
        let retained = positions().filter(|(_, position)| is_retained(position)).map(|(offset, _)| *offset);
        retained.min().unwrap_or(books.known_end)
    }

    /// A commit was damaged at rest. Its messages may be refused from now on, and are never to be taken for absent.
    pub(super) fn commit_damaged(&mut self, position: LogPosition, messages: &[(QueueId, u64, Vec<u8>)]) {
        self.damaged = true;
        self.damaged_commits.push(position);
        for (id, offset, body) in messages {
            if let Some(message) = self.run.read(body) {
                self.excused.insert((*id, *offset), message);
            }
            if let Some(queue) = self.find(*id) {
                self.queue_mut(queue).store_times.remove(offset);
            }
        }
    }

    /// A message was acknowledged; where it lies is told of the first of a record.
    pub(super) fn acknowledged(&mut self, message: MessageId, queue: QueueIndex, offset: u64, position: Option<u64>) {
        self.judge.outcome(message, Outcome::Ok { queue, offset });
        let books = self.queue_mut(queue);
        books.known_end = books.known_end.max(offset + 1);
        books.positions.extend(position.map(|position| (offset, position)));
    }

    /// What a body is.
    pub(super) fn content(&self, body: &[u8]) -> Content {
        self.run.read(body).map_or(Content::Foreign, Content::Message)
    }

    /// A reader saw a message with this store time.
    pub(super) fn saw(&mut self, queue: QueueIndex, polled: &Polled, store_time_ms: u64) {
        if let Content::Message(message) = polled.content {
            self.later_seen(message, queue, polled.offset, store_time_ms);
        }
        let is_excused = self.excused.contains_key(&(self.queue(queue).id, polled.offset));
        let books = self.queue_mut(queue);
        books.known_end = books.known_end.max(polled.offset + 1);
        if is_excused {
            // Sound in a damaged commit: a start that could not read it may have gone on at an earlier time.
            return;
        }
        let times = &mut books.store_times;
        let before = times.range(..polled.offset).next_back().map(|(_, time)| *time);
        let after = times.range(polled.offset + 1..).next().map(|(_, time)| *time);
        times.insert(polled.offset, store_time_ms);
        if before.is_some_and(|before| before > store_time_ms) || after.is_some_and(|after| after < store_time_ms) {
            let text = format!("store time {store_time_ms} of {polled:?} between {before:?} and {after:?}");
            self.wrong(|| text);
        }
    }

    /// A commit leaves a client; gives its time. A one-way one may take effect until it has arrived.
    pub(super) fn commit_leaves(
        &mut self,
        producer: u32,
        group: u32,
        queue: QueueIndex,
        offset: u64,
        one_way: bool,
    ) -> u64 {
        self.clock += 1;
        self.judge.commit(group, queue, offset, false);
        self.tried_commits.insert((group, queue, offset));
        if one_way {
            self.one_way.push(OneWay { producer, group, queue, offset, arrived: None });
        }
        self.clock
    }

    /// Everything that a client has sent so far has arrived (or will never).
    pub(super) fn all_arrived(&mut self, producer: u32) {
        self.clock += 1;
        let (clock, ours) = (self.clock, |one_way: &&mut OneWay| one_way.producer == producer);
        self.one_way.iter_mut().filter(ours).for_each(|one_way| _ = one_way.arrived.get_or_insert(clock));
    }

    /// A commit that left at `left` was acknowledged. One-way ones that arrived after that, or not yet, may still win.
    pub(super) fn commit_acknowledged(&mut self, group: u32, queue: QueueIndex, offset: u64, left: u64) {
        self.judge.commit(group, queue, offset, true);
        let of_key = |one_way: &&OneWay| (one_way.group, one_way.queue) == (group, queue);
        for one_way in self.one_way.iter().filter(of_key).filter(|it| it.arrived.is_none_or(|arrived| arrived > left)) {
            self.judge.commit(group, queue, one_way.offset, false);
        }
    }

    /// A search for `store_time_ms` in a queue gave `found`. What was known below `known_end` when it was asked must agree.
    pub(super) fn searched(&mut self, queue: QueueIndex, search: Search, found: u64, min_offset: u64) {
        let Search { store_time_ms, upper, known_end } = search;
        let known = self.queue(queue).store_times.range(min_offset.min(known_end)..known_end);
        let id = self.queue(queue).id;
        // What lies in a damaged commit is not found by its time either.
        let known = known.filter(|(offset, _)| !self.excused.contains_key(&(id, **offset)));
        let contradiction = known.map(|(offset, time)| (*offset, *time)).find(|(offset, time)| {
            if upper {
                // The last message at or before that time; the first one when there is none.
                (*offset > found && *time <= store_time_ms)
                    || (*offset <= found && *time > store_time_ms && *offset > min_offset)
            } else {
                // The first message at or after that time.
                (*offset < found) != (*time < store_time_ms)
            }
        });
        if let Some((offset, time)) = contradiction {
            let queue = self.queue(queue);
            let text = format!("{search:?} gave offset {found} of queue {}, but offset {offset} has {time}", queue.id);
            self.wrong(|| text);
        }
    }

    /// A power cut took what was not flushed (`flush = "async"`): the queue may have fallen back to `kept`.
    pub(super) fn fall_back(&mut self, index: QueueIndex, kept: u64) {
        self.judge.power_cut(index, kept);
        let queue = self.queue_mut(index);
        queue.known_end = queue.known_end.min(kept);
        queue.positions.retain(|offset, _| *offset < kept);
        queue.seen_positions.retain(|offset, _| *offset < kept);
        queue.store_times.retain(|offset, _| *offset < kept);
    }

    /// The same for consume offsets: any that was ever tried may be the last one again.
    pub(super) fn commits_fall_back(&mut self) {
        self.judge.commits_may_regress();
        for (group, queue, offset) in &self.tried_commits {
            self.judge.commit(*group, *queue, *offset, false);
        }
    }

    /// After an opening on a damaged disk: the queue goes on at `next_offset`.
    pub(super) fn may_skip(&mut self, id: QueueId, next_offset: u64) {
        if let Some(index) = self.find(id) {
            self.judge.may_skip(index, next_offset);
            let queue = self.queue_mut(index);
            queue.may_skip_below = queue.may_skip_below.max(next_offset);
        }
    }
}

/// A commit without an answer.
#[derive(Clone, Copy, Debug)]
struct OneWay {
    producer: u32,
    group: u32,
    queue: QueueIndex,
    offset: u64,
    arrived: Option<u64>,
}

/// A search by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// The time, ms.
    pub store_time_ms: u64,
    /// The last at or before it, not the first at or after.
    pub upper: bool,
    /// Behind the last offset that was known when it was asked.
    pub known_end: u64,
}
