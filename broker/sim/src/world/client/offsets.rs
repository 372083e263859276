//! Consume offsets of groups: committed, asked for.

use super::{Client, Operation, Told, offset_of};
use crate::rng::Rng;
use crate::world::ledger::Ledger;
use ringmq_checker::QueueIndex;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::native::{CommitOffset, Frame, FrameFlags, Kind, QueryOffset, encode_request};

/// Consumer groups of native clients.
const GROUP_COUNT: u64 = 2;

/// The group of those that speak RocketMQ's protocol.
pub(in crate::world) const GROUP_OF_REMOTES: u32 = 2;

/// A commit that waits for its answer.
#[derive(Debug)]
struct Commit {
    group: u32,
    queue: QueueIndex,
    offset: u64,
    /// When it left, on the books' clock.
    left: u64,
}

/// A question for a group's offset.
#[derive(Debug)]
struct Query {
    group: u32,
    queue: QueueIndex,
}

impl Client {
    pub(super) fn commit(&mut self, rng: &mut Rng, ledger: &mut Ledger, handle: u32, queue: QueueIndex) {
        let group = u32::try_from(rng.below(GROUP_COUNT)).unwrap_or(0);
        if ledger.busy_groups.contains(&(group, queue)) {
            return;
        }
        let next = self.next_pull.get(&queue).copied().unwrap_or(0);
        let offset = if rng.percent(80) { next } else { rng.below(next + 1) };
        let one_way = rng.percent(15);
        let left = ledger.commit_leaves(self.producer, group, queue, offset, one_way);
        let name = group_name(group);
        let request = CommitOffset { handle, group: &name, offset: QueueOffset::new(offset) };
        if one_way {
            if self.trace {
                eprintln!("  client {} one-way commit of group {group} queue {queue:?}: {offset}", self.producer);
            }
            encode_request(&mut self.outgoing, Kind::COMMIT_OFFSET, 0, FrameFlags::ONEWAY, &request);
        } else {
            ledger.busy_groups.insert((group, queue));
            self.ask(Commit { group, queue, offset, left }, Kind::COMMIT_OFFSET, &request);
        }
    }

    pub(super) fn query(&mut self, rng: &mut Rng, ledger: &mut Ledger, handle: u32, queue: QueueIndex) {
        let group = u32::try_from(rng.below(GROUP_COUNT)).unwrap_or(0);
        self.query_group(ledger, handle, queue, group);
    }

    /// Asks for a group's consume offset, unless a commit of it waits.
    pub(in crate::world) fn query_group(&mut self, ledger: &mut Ledger, handle: u32, queue: QueueIndex, group: u32) {
        if ledger.busy_groups.insert((group, queue)) {
            let request = QueryOffset { handle, group: &group_name(group) };
            self.ask(Query { group, queue }, Kind::QUERY_OFFSET, &request);
        }
    }
}

impl Operation for Commit {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { group, queue, offset, left } = *self;
        told.ledger.busy_groups.remove(&(group, queue));
        if reply.header.code == Code::SUCCESS {
            told.ledger.commit_acknowledged(group, queue, offset, left);
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        ledger.busy_groups.remove(&(self.group, self.queue));
    }
}

impl Operation for Query {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let (Self { group, queue }, ledger) = (*self, &mut *told.ledger);
        ledger.busy_groups.remove(&(group, queue));
        if ledger.queue(queue).deleted || ledger.topics[ledger.queue(queue).topic].changing {
            return Ok(());
        }
        if reply.header.code == Code::QUERY_NOT_FOUND {
            ledger.judge.committed(group, queue, None);
        } else if let Some(offset) = offset_of(reply)? {
            ledger.judge.committed(group, queue, Some(offset));
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        ledger.busy_groups.remove(&(self.group, self.queue));
    }
}

/// The name of a group of the judge.
pub(in crate::world) fn group_name(group: u32) -> String {
    format!("group-{group}")
}
