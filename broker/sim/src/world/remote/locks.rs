//! Locks of queues: nobody is given one that somebody else has been given and has not let go.

use super::{Answer, Asked, CONSUMERS, Remote, Told, hold, queue_named, release};
use crate::rng::Rng;
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_broker::now::Now;
use ringmq_checker::QueueIndex;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::consumer::{LockBatchBody, LockBatchReply};
use ringmq_proto::remoting::message_queue::MessageQueue;
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code as code};
use std::collections::BTreeMap;

/// A lock that nobody renews ends after so long, ns.
const HELD_NS: u64 = 60_000_000_000;

/// Who has which queue, as far as clients were told and have not let go.
#[derive(Debug, Default)]
pub(in crate::world) struct Held {
    /// The client, and until when at least, boot ns.
    by_queue: BTreeMap<QueueIndex, (u32, u64)>,
}

impl Held {
    /// The client is gone, or lets everything go.
    pub(in crate::world) fn let_go(&mut self, client: u32) {
        self.by_queue.retain(|_, (holder, _)| *holder != client);
    }
}

/// A wish to have a queue.
#[derive(Debug)]
struct Lock {
    to: (usize, u32),
    sent_ns: u64,
    /// What the client had let go before: locks that it lets go later are not told by this answer.
    unlocks: u32,
}

/// It is given back.
#[derive(Debug)]
struct Unlock {
    topic: usize,
}

impl Remote {
    /// Asks for the lock of a queue, or gives all of them back.
    pub(super) fn lock_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        let Some(to) = Self::pick_queue(rng, plan, ledger) else { return };
        let queue = |number: u32| MessageQueue {
            broker_name: "broker-a".into(),
            queue_id: number.cast_signed(),
            topic: ledger.topics[to.0].name.clone(),
        };
        let gives_back = rng.percent(25);
        let mq_set = if gives_back { (0..plan.queue_count).map(queue).collect() } else { vec![queue(to.1)] };
        let body = LockBatchBody {
            client_id: format!("remote-{}", self.producer),
            consumer_group: CONSUMERS.into(),
            mq_set,
            only_this_broker: None,
        };
        hold(ledger, to.0);
        let header = if gives_back {
            self.unlocks += 1;
            ledger.locks.let_go(self.producer);
            Header::request(code::UNLOCK_BATCH_MQ, self.number(Unlock { topic: to.0 }))
        } else {
            let lock = Lock { to, sent_ns: now.boot_ns, unlocks: self.unlocks };
            Header::request(code::LOCK_BATCH_MQ, self.number(lock))
        };
        encode_frame(&mut self.outgoing, SerializeType::Json, &header, &body.encode());
    }
}

impl Asked for Lock {
    fn answered(self: Box<Self>, remote: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { to, sent_ns, unlocks } = *self;
        release(told.ledger, to.0);
        if answer.code != Code::SUCCESS || unlocks != remote.unlocks {
            return Ok(());
        }
        let reply = LockBatchReply::decode(answer.body).map_err(|error| error.to_string())?;
        if reply.lock_ok_mq_set.is_empty() {
            return Ok(());
        }
        let (queue, _) = queue_named(told, to)?;
        let given = (remote.producer, sent_ns + HELD_NS);
        let before = told.ledger.locks.by_queue.insert(queue, given);
        match before.filter(|(holder, until_ns)| *holder != remote.producer && *until_ns > told.now.boot_ns) {
            Some((holder, _)) => Err(format!("{queue:?} is locked by {holder} and given to {}", remote.producer)),
            None => Ok(()),
        }
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.to.0);
    }
}

impl Asked for Unlock {
    fn answered(self: Box<Self>, _: &mut Remote, _: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        release(told.ledger, self.topic);
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.topic);
    }
}
