//! Pulls by name: what comes goes to the judge, and is remembered, to be sent back.

use super::{Answer, Asked, CONSUMERS, REMEMBERED_MAX, Remote, Told, hold, queue_known, queue_named, release};
use crate::rng::Rng;
use crate::world::client::{GROUP_OF_REMOTES, group_name};
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use crate::world::pulled::{Pulled, refused};
use ringmq_checker::{Content, MessageId, Polled, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::message::stored::iter_stored;
use ringmq_proto::remoting::pull::{PullMessage, PullResponse, pull_flag};
use ringmq_proto::remoting::{ExtHeader, request_code as code};

/// A message that was pulled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) message: MessageId,
    pub(super) queue: QueueIndex,
    pub(super) position: u64,
    pub(super) attempts: i32,
}

/// A pull, and what was known of its queue when it left.
#[derive(Debug)]
struct Pull {
    to: (usize, u32),
    from: u64,
    known_end: u64,
    /// The topic is one of the clients': it is not deleted while the pull waits.
    held: bool,
}

impl Remote {
    pub(super) fn pull_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger) {
        let made = (plan.topic_count..ledger.topics.len()).map(|topic| (topic, 0)).collect::<Vec<_>>();
        let held = rng.percent(75);
        let to = if held { Self::pick_queue(rng, plan, ledger) } else { Some(rng.pick(&made)) };
        let Some(to) = to else { return };
        let known = queue_known(ledger, to);
        let next = known.and_then(|queue| self.next_pull.get(&queue).copied()).unwrap_or(0);
        let known_end = known.map_or(0, |queue| ledger.queue(queue).known_end);
        let from = if rng.percent(80) { next } else { rng.below(next + 3) };
        let wait_ms = rng.pick(&[0, 0, 50, 5000]);
        let suspend = if wait_ms > 0 { pull_flag::SUSPEND } else { 0 };
        let committed = if plan.groups && held { self.commit_by_pull(rng, ledger, to, from) } else { None };
        let commits = if committed.is_some() { pull_flag::COMMIT_OFFSET } else { 0 };
        let name = ledger.topics[to.0].name.clone();
        let group = if committed.is_some() { group_name(GROUP_OF_REMOTES) } else { CONSUMERS.into() };
        let request = PullMessage {
            consumer_group: &group,
            topic: &name,
            queue_id: to.1.cast_signed(),
            queue_offset: from.cast_signed(),
            max_msg_nums: rng.pick(&[1, 3, 32]),
            sys_flag: pull_flag::SUBSCRIPTION | suspend | commits,
            commit_offset: committed.unwrap_or(0).cast_signed(),
            suspend_timeout_millis: wait_ms,
            subscription: Some("*"),
            sub_version: 0,
            expression_type: Some("TAG"),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
        };
        if held {
            hold(ledger, to.0);
        }
        self.ask(Pull { to, from, known_end, held }, code::PULL_MESSAGE, &request, &[]);
    }
}

impl Asked for Pull {
    fn answered(self: Box<Self>, remote: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { to, from, known_end, held } = *self;
        if held {
            release(told.ledger, to.0);
        }
        if !answer.code.is_pull_result() {
            if answer.code == Code::SYSTEM_ERROR {
                let (queue, _) = queue_named(told, to)?;
                if let Some(next) = refused(answer.code, answer.remark(), (queue, from), told.ledger)? {
                    remote.next_pull.insert(queue, next);
                }
            } else if held && answer.code == Code::TOPIC_NOT_EXIST {
                return Err(format!("topic {} is gone without a deletion", told.ledger.topics[to.0].name));
            }
            return Ok(());
        }
        let (queue, id) = queue_named(told, to)?;
        let ends = PullResponse::decode(&answer.header.ext).map_err(|error| error.to_string())?;
        let (ledger, store) = (&mut *told.ledger, told.store);
        let min = store.queue(id).map_or(u64::MAX, |queue| queue.min_offset.get());
        ledger.trimmed(queue, min, store.log_start());
        let mut polled = Vec::new();
        for stored in iter_stored(answer.body) {
            let stored = stored.map_err(|error| error.to_string())?;
            let parts = &stored.parts;
            let name = &ledger.topics[to.0].name;
            if !stored.is_body_whole() || parts.topic != name.as_bytes() || parts.queue_id.cast_unsigned() != to.1 {
                return Err(format!("a pull of queue {} of {name} gave {parts:?}", to.1));
            }
            let offset = parts.queue_offset.get();
            let message = Polled { offset, content: ledger.content(parts.body) };
            ledger.queue_mut(queue).seen_positions.insert(offset, parts.position.get());
            ledger.saw(queue, &message, parts.store_time_ms);
            if let Content::Message(message) = message.content {
                let (position, attempts) = (parts.position.get(), parts.reconsume_times);
                remote.remembered.push_back(Seen { message, queue, position, attempts });
            }
            polled.push(message);
        }
        while remote.remembered.len() > REMEMBERED_MAX {
            remote.remembered.pop_front();
        }
        let (next, max) = (ends.next_begin_offset.cast_unsigned(), ends.max_offset.cast_unsigned());
        Pulled { queue, from, known_end, code: answer.code, next, max, polled }.judge(ledger, store)?;
        remote.next_pull.insert(queue, next);
        let before = remote.max_seen.insert(queue, max).unwrap_or(0);
        if max < before {
            return Err(format!("{queue:?} ended at {before} and now at {max}"));
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        if self.held {
            release(ledger, self.to.0);
        }
    }
}
