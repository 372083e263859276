//! Consume offsets by name: committed with an answer, without one, and by pulls; asked for.
//!
//! The group is one more of the judge's groups, which native clients ask for too.

use super::{Answer, Asked, Remote, Told, hold, is_usable, queue_known, queue_named, release};
use crate::rng::Rng;
use crate::world::client::{GROUP_OF_REMOTES, group_name};
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_checker::QueueIndex;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::consumer::{Offset, QueryConsumerOffset, UpdateConsumerOffset};
use ringmq_proto::remoting::request_code as code;

/// A commit that waits for its answer.
#[derive(Debug)]
struct Commit {
    topic: usize,
    queue: QueueIndex,
    offset: u64,
    /// When it left, on the books' clock.
    left: u64,
}

/// A question for the group's offset.
#[derive(Debug)]
struct Query {
    to: (usize, u32),
    queue: QueueIndex,
}

impl Remote {
    /// Commits an offset, or asks for it.
    pub(super) fn offset_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger) {
        let Some(to) = Self::pick_queue(rng, plan, ledger) else { return };
        let Some(queue) = queue_known(ledger, to) else { return };
        if ledger.busy_groups.contains(&(GROUP_OF_REMOTES, queue)) {
            return;
        }
        let group = group_name(GROUP_OF_REMOTES);
        let name = ledger.topics[to.0].name.clone();
        if rng.percent(35) {
            let request = QueryConsumerOffset {
                consumer_group: &group,
                topic: &name,
                queue_id: to.1.cast_signed(),
                set_zero_if_not_found: Some(false),
            };
            ledger.busy_groups.insert((GROUP_OF_REMOTES, queue));
            hold(ledger, to.0);
            return self.ask(Query { to, queue }, code::QUERY_CONSUMER_OFFSET, &request, &[]);
        }
        let next = self.next_pull.get(&queue).copied().unwrap_or(0);
        let offset = if rng.percent(80) { next } else { rng.below(next + 1) };
        // One that nobody waits for could find its topic deleted and made anew.
        let one_way = plan.topic_percent == 0 && rng.percent(50);
        let left = ledger.commit_leaves(self.producer, GROUP_OF_REMOTES, queue, offset, one_way);
        let request = UpdateConsumerOffset {
            consumer_group: &group,
            topic: &name,
            queue_id: to.1.cast_signed(),
            commit_offset: offset.cast_signed(),
        };
        if one_way {
            if self.trace {
                eprintln!("  remote {} one-way commit of {queue:?}: {offset}", self.producer);
            }
            return self.tell(code::UPDATE_CONSUMER_OFFSET, &request);
        }
        ledger.busy_groups.insert((GROUP_OF_REMOTES, queue));
        hold(ledger, to.0);
        self.ask(Commit { topic: to.0, queue, offset, left }, code::UPDATE_CONSUMER_OFFSET, &request, &[]);
    }

    /// What a pull from `from` commits on its way, if it does.
    pub(super) fn commit_by_pull(
        &self,
        rng: &mut Rng,
        ledger: &mut Ledger,
        to: (usize, u32),
        from: u64,
    ) -> Option<u64> {
        let queue = queue_known(ledger, to).filter(|_| is_usable(ledger, to.0) && rng.percent(40))?;
        ledger.commit_leaves(self.producer, GROUP_OF_REMOTES, queue, from, true);
        Some(from)
    }
}

impl Asked for Commit {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { topic, queue, offset, left } = *self;
        release(told.ledger, topic);
        told.ledger.busy_groups.remove(&(GROUP_OF_REMOTES, queue));
        if answer.code == Code::SUCCESS {
            told.ledger.commit_acknowledged(GROUP_OF_REMOTES, queue, offset, left);
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.topic);
        ledger.busy_groups.remove(&(GROUP_OF_REMOTES, self.queue));
    }
}

impl Asked for Query {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { to, queue } = *self;
        release(told.ledger, to.0);
        told.ledger.busy_groups.remove(&(GROUP_OF_REMOTES, queue));
        if answer.code == Code::QUERY_NOT_FOUND {
            told.ledger.judge.committed(GROUP_OF_REMOTES, queue, None);
        } else if answer.code == Code::SUCCESS {
            let (named, _) = queue_named(told, to)?;
            let reply = Offset::decode(&answer.header.ext).map_err(|error| error.to_string())?;
            told.ledger.judge.committed(GROUP_OF_REMOTES, named, Some(reply.offset.cast_unsigned()));
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.to.0);
        ledger.busy_groups.remove(&(GROUP_OF_REMOTES, self.queue));
    }
}
