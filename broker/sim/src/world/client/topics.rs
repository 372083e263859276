//! Topics and their queues: created, deleted, opened. One change of a topic at a time in the whole world, or nobody could say
//! what there must be.

use super::{Client, Operation, Told};
use crate::rng::Rng;
use crate::world::ledger::{Existence, Ledger};
use crate::world::plan::Plan;
use ringmq_proto::code::Code;
use ringmq_proto::native::{CreateTopic, DeleteTopic, Frame, Kind, OpenQueue, OpenedQueue, Table};

/// A queue is opened, and its topic made when it does not exist.
#[derive(Debug)]
struct Open {
    topic: usize,
    number: u32,
    create: bool,
}

/// A topic is created, or said again.
#[derive(Debug)]
struct Create {
    topic: usize,
}

/// A topic is deleted.
#[derive(Debug)]
struct Delete {
    topic: usize,
}

impl Client {
    /// Opens a queue, unless its topic is being changed.
    pub(in crate::world) fn open(&mut self, ledger: &mut Ledger, topic: usize, number: u32, create: bool) {
        let books = &mut ledger.topics[topic];
        if books.changing || (create && books.opening > 0 && books.existence != Existence::Present) {
            return;
        }
        let create = create && books.existence != Existence::Present;
        books.opening += 1;
        books.changing = create;
        let name = books.name.clone();
        let queue_id = i32::try_from(number).unwrap_or(i32::MAX);
        let request = OpenQueue { topic: &name, queue_id, create_topic: create };
        self.ask(Open { topic, number, create }, Kind::OPEN_QUEUE, &request);
    }

    /// Creates or deletes a topic, unless something else is going on with it.
    pub(super) fn change_topic(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger) {
        let topic = rng.index(plan.topic_count);
        if rng.percent(50) {
            self.create(plan, ledger, topic);
        } else if !ledger.topics[topic].changing && ledger.topics[topic].opening == 0 {
            ledger.topics[topic].changing = true;
            let name = &ledger.topics[topic].name;
            self.ask(Delete { topic }, Kind::DELETE_TOPIC, &DeleteTopic { topic: name });
        }
    }

    /// Creates a topic (or says again what it is), unless something else is going on with it.
    pub(in crate::world) fn create(&mut self, plan: &Plan, ledger: &mut Ledger, topic: usize) {
        if !ledger.topics[topic].changing && ledger.topics[topic].opening == 0 {
            ledger.topics[topic].changing = true;
            let name = &ledger.topics[topic].name;
            let request = CreateTopic { topic: name, queue_count: plan.queue_count, perm: 6, ordered: false };
            self.ask(Create { topic }, Kind::CREATE_TOPIC, &request);
        }
    }
}

/// Who asked is gone: whether the topic exists, nobody knows.
fn leave_in_doubt(ledger: &mut Ledger, topic: usize) {
    ledger.topics[topic].changing = false;
    ledger.topics[topic].existence = Existence::Unknown;
}

impl Operation for Open {
    fn answered(self: Box<Self>, client: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { topic, number, create } = *self;
        let (ledger, store) = (&mut *told.ledger, told.store);
        let books = &mut ledger.topics[topic];
        books.opening -= 1;
        if create {
            books.changing = false;
        }
        if reply.header.code != Code::SUCCESS {
            if books.existence == Existence::Present && reply.header.code == Code::TOPIC_NOT_EXIST {
                return Err(format!("topic {} is gone without a deletion", books.name));
            }
            if create {
                books.existence = Existence::Unknown;
            }
            return Ok(());
        }
        if books.existence == Existence::Absent && !create {
            return Err(format!("topic {} is there without a creation", books.name));
        }
        books.existence = Existence::Present;
        let opened = OpenedQueue::decode(reply.body).map_err(|error| error.to_string())?;
        // No change of the topic was under way: what the store says now is what was opened.
        let id = store.state().topic(&books.name).and_then(|topic| topic.queues.get(number as usize).copied());
        let id = id.ok_or_else(|| format!("queue {number} of topic {} was opened and does not exist", books.name))?;
        let index = ledger.queue_index(id, topic, number);
        if ledger.damaged {
            ledger.may_skip(id, store.queue(id).map_or(0, |queue| queue.next_offset.get()));
        }
        client.handles.push((opened.handle, index));
        client.saw_end(index, opened.max_offset.get(), ledger);
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        ledger.topics[self.topic].opening -= 1;
        if self.create {
            leave_in_doubt(ledger, self.topic);
        }
    }

    fn may_be_left(&self) -> bool {
        !self.create
    }
}

impl Operation for Create {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let books = &mut told.ledger.topics[self.topic];
        books.changing = false;
        books.existence = if reply.header.code == Code::SUCCESS { Existence::Present } else { Existence::Unknown };
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        leave_in_doubt(ledger, self.topic);
    }

    fn may_be_left(&self) -> bool {
        false
    }
}

impl Operation for Delete {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let (ledger, topic) = (&mut *told.ledger, self.topic);
        let books = &mut ledger.topics[topic];
        books.changing = false;
        if reply.header.code == Code::SUCCESS {
            ledger.topic_deleted(topic);
        } else if reply.header.code == Code::TOPIC_NOT_EXIST {
            if books.existence == Existence::Present {
                return Err(format!("topic {} is gone without a deletion", books.name));
            }
            ledger.topic_deleted(topic);
        } else {
            books.existence = Existence::Unknown;
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        leave_in_doubt(ledger, self.topic);
    }

    fn may_be_left(&self) -> bool {
        false
    }
}
