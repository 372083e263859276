//! The end of a history: faults are healed, everything is read back, and what was read is held against the log itself.

use super::World;
use super::client::{Client, GROUP_OF_REMOTES};
use super::ledger::Existence;
use crate::log;
use ringmq_broker::store::{Entropy, Store};
use ringmq_checker::{Content, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;

/// Pulls of one queue in the final drain, at most: more than any history has messages.
const PULLS_MAX: usize = 5_000;

/// Between two pulls of a queue whose index is being made again: enough for a slice or two of that.
const REBUILD_WAIT_NS: u64 = 20_000_000;

/// Steps until everything is due, at most: time passes by a second where nothing else happens.
const DUE_STEPS_MAX: usize = 40_000;

impl World {
    /// Reads everything back and compares.
    pub(super) fn drain(&mut self) {
        self.requests_left = 0;
        self.settle();
        self.sends_come_back();
        self.settle();
        if self.plan.remote_count > 0 {
            self.let_everything_come_due();
        }
        self.ledger.judge.begin_final_drain();
        let log_start = self.machine.store().map(Store::log_start);
        let auditor = self.clients.len();
        self.clients.push(Client::new(u32::try_from(auditor).unwrap_or(u32::MAX), self.trace));
        self.open_everything(auditor);
        for (handle, queue) in self.clients[auditor].handles().to_vec() {
            if self.is_wrong() {
                return;
            }
            self.drain_queue(auditor, handle, queue);
            for group in 0..=GROUP_OF_REMOTES {
                self.clients[auditor].query_group(&mut self.ledger, handle, queue, group);
            }
        }
        self.settle();
        if !self.is_wrong() {
            let log_start = self.machine.store().map_or(LogPosition::ZERO, Store::log_start);
            self.ledger.judge_later(log_start);
        }
        if !self.is_wrong() && self.quiesce() {
            if self.machine.store().map(Store::log_start) == log_start {
                self.compare_with_the_log();
            }
            self.compare_with_recovery();
            if !self.is_wrong() {
                self.compare_keys_with_the_log();
            }
        }
    }

    /// The disk is healed and has room: a send must be taken again, without a restart.
    fn sends_come_back(&mut self) {
        for attempt in 0..20 {
            let found = (0..self.clients.len()).find_map(|index| {
                let live = |queue: &QueueIndex| !self.ledger.queue(*queue).deleted;
                let handle = self.clients[index].handles().iter().find(|(_, queue)| live(queue))?.0;
                Some((index, handle))
            });
            let Some((index, handle)) = found else { return };
            let now = self.machine.now;
            self.clients[index].probe(&mut self.ledger, handle, now);
            self.settle();
            match self.clients[index].last_code {
                Some(Code::SUCCESS) => return,
                code if attempt == 19 => {
                    self.ledger.wrong(|| format!("the disk is healthy, and sends answer {code:?}"))
                }
                _ => self.machine.pass(1_500_000_000),
            }
        }
    }

    /// Time passes until nothing is pending any more. A damaged run of the index by due time is made again by a start only.
    fn let_everything_come_due(&mut self) {
        let mut left = self.pending_after_all_was_due();
        if left > 0 && self.ledger.index_damaged && !self.is_wrong() {
            self.say(|| "restart, to rebuild the index of pending messages".into());
            self.restart();
            self.settle();
            left = self.pending_after_all_was_due();
        }
        // What cannot be read any more stays.
        if left > 0 && !self.ledger.later.is_in_doubt() {
            self.ledger.wrong(|| format!("{left} messages stay pending"));
        }
        self.quiesce();
        self.look_for_made_topics();
    }

    fn pending_after_all_was_due(&mut self) -> u64 {
        let pending = |world: &Self| world.machine.store().map_or(0, |store| store.pending_counts().total());
        for step in 0..DUE_STEPS_MAX {
            if pending(self) == 0 || self.is_wrong() {
                break;
            }
            if self.plan.clock_set_permille > 0 && step % 500 == 499 {
                self.machine.now.wall_ms += 86_400_000;
            }
            if !self.step(false) {
                break;
            }
        }
        pending(self)
    }

    /// The topics that the broker has made itself are there to be read, too.
    pub(super) fn look_for_made_topics(&mut self) {
        for topic in self.plan.topic_count..self.ledger.topics.len() {
            let Some(store) = self.machine.store() else { return };
            if store.state().topic(&self.ledger.topics[topic].name).is_some() {
                self.ledger.topics[topic].existence = Existence::Present;
            }
        }
    }

    pub(super) fn open_everything(&mut self, auditor: usize) {
        self.settle();
        for topic in 0..self.ledger.topics.len() {
            if self.ledger.topics[topic].existence == Existence::Present {
                for number in 0..self.plan.queue_count {
                    self.clients[auditor].open(&mut self.ledger, topic, number, false);
                }
                self.settle();
            }
        }
    }

    fn drain_queue(&mut self, auditor: usize, handle: u32, queue: QueueIndex) {
        let mut from = 0;
        for _ in 0..PULLS_MAX {
            let sizes = (self.rng.pick(&[1, 20, 1000]), self.rng.pick(&[1, 4000, 1 << 20]));
            let client = &mut self.clients[auditor];
            client.pull_end = None;
            client.pull(&self.ledger, handle, queue, from, sizes, 0);
            self.settle();
            let Some(end) = self.clients[auditor].pull_end.take() else {
                return self.ledger.wrong(|| format!("a pull of {queue:?} from {from} has no answer"));
            };
            match end.code {
                Code::SUCCESS | Code::PULL_OFFSET_MOVED | Code::SYSTEM_ERROR if end.next != from => {
                    self.tally.drained += end.next.saturating_sub(from);
                    from = end.next;
                }
                Code::SYSTEM_BUSY => {}
                // A damaged run of the index is made again while the shard serves: somebody who asks again gets it.
                Code::SYSTEM_ERROR if self.ledger.index_damaged => self.let_pass(REBUILD_WAIT_NS),
                Code::PULL_NOT_FOUND if from == end.max => {
                    self.trimmed(queue, end.min);
                    self.ledger.queue_mut(queue).drained_from = Some(end.min);
                    return self.ledger.judge.drained(queue, end.min, end.max);
                }
                _ => {
                    return self.ledger.wrong(|| format!("the final drain of {queue:?} from {from} ends with {end:?}"));
                }
            }
            if self.is_wrong() {
                return;
            }
        }
        self.ledger.wrong(|| format!("the final drain of {queue:?} does not end"));
    }

    /// Time passes, and what happens in it.
    fn let_pass(&mut self, ns: u64) {
        let until_ns = self.machine.now.boot_ns + ns;
        while self.machine.now.boot_ns < until_ns && self.step(false) {}
    }

    fn trimmed(&mut self, queue: QueueIndex, min_offset: u64) {
        let Some(log_start) = self.machine.store().map(Store::log_start) else { return };
        self.ledger.trimmed(queue, min_offset, log_start);
    }

    /// The queues are what the log says (L6): a second reader decodes it without the index.
    fn compare_with_the_log(&mut self) {
        let Some(store) = self.machine.store() else { return };
        if self.ledger.damaged {
            return;
        }
        let end = store.positions().written();
        let ledger = &mut self.ledger;
        let mut wrong = None;
        let result = log::visit(&self.machine.disk, self.log_id, end, &mut |position, record| {
            let Some(queue) = ledger.find(record.header.queue_id).filter(|_| record.header.kind.is_messages()) else {
                return;
            };
            let told = log::messages(record, |(offset, _, body)| match ledger.content(body) {
                Content::Message(message) => ledger.judge.logged(queue, offset, message),
                Content::Foreign => wrong = Some(format!("the log holds bytes at {position} that nobody sent")),
            });
            if let Err(why) = told {
                wrong = Some(format!("the record at {position}: {why}"));
            }
        });
        if let Err(unreadable) = result {
            self.ledger.wrong(|| format!("the log cannot be read by a second reader: {unreadable:?}"));
        }
        if let Some(wrong) = wrong {
            self.ledger.wrong(|| wrong);
        }
    }

    /// What was applied live is what recovery applies, twice over.
    fn compare_with_recovery(&mut self) {
        let Some(live) = self.machine.store() else { return };
        let expected = summary(live);
        let mut disk = self.machine.disk.copy(self.rng.fork());
        for attempt in 1..=2 {
            let entropy = Entropy { log_id: self.log_id, disk_id: 1 };
            match Store::open(&mut disk, self.machine.options.clone(), entropy, self.machine.now) {
                Ok((recovered, report)) => {
                    let found = summary(&recovered);
                    if found != expected {
                        if self.trace {
                            eprintln!("live      {:?}", self.machine.store().map(Store::state));
                            eprintln!("recovered {:?}", recovered.state());
                        }
                        return self.ledger.wrong(|| {
                            format!("recovery {attempt} gives {found:#?}\nlive it was {expected:#?}\nreport {report:?}")
                        });
                    }
                }
                Err(error) => return self.ledger.wrong(|| format!("recovery {attempt} of a copy fails: {error}")),
            }
            self.tally.comparisons += 1;
        }
    }

    /// Creates all topics and waits until that cannot be lost any more.
    pub(super) fn create_topics(&mut self) {
        self.settle();
        for topic in 0..self.ledger.topics.len() {
            self.clients[0].create(&self.plan, &mut self.ledger, topic);
            self.settle();
        }
        for _ in 0..20_000 {
            let Some(store) = self.machine.store() else { return };
            if store.positions().durable() >= store.positions().appended() || !self.step(false) {
                return;
            }
        }
    }
}

/// What must be equal, live and recovered.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    state_digest: u32,
    /// Topic, queue number, id, visible end, next offset.
    queues: Vec<(String, usize, u32, u64, u64)>,
}

fn summary(store: &Store) -> Summary {
    let mut queues = Vec::new();
    for topic in store.state().topics_after("") {
        for (number, id) in topic.queues.iter().enumerate() {
            if let Some(queue) = store.queue(*id) {
                let offsets = (queue.visible_offset.get(), queue.next_offset.get());
                queues.push((topic.record.name.clone(), number, id.get(), offsets.0, offsets.1));
            }
        }
    }
    Summary { state_digest: store.state().digest(), queues }
}
