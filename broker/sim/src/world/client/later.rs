//! Messages for later, sent natively: one by one, to a queue that a handle names.

use super::{Client, Operation, Told};
use crate::rng::Rng;
use crate::world::later::{Kind, LEVELS_MS, Waiting};
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_broker::now::Now;
use ringmq_checker::{MessageId, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::native::{Frame, FrameFlags, SendItem, SendReply, encode_send};

/// A message that was sent for later.
#[derive(Debug)]
struct Delayed {
    message: MessageId,
    queue: QueueIndex,
}

impl Client {
    /// Sends one message that is to come after the time of a level.
    pub(super) fn delay_one(
        &mut self,
        rng: &mut Rng,
        plan: &Plan,
        ledger: &mut Ledger,
        now: Now,
        (handle, queue): (u32, QueueIndex),
    ) {
        let message = MessageId::new(self.producer, self.sequence);
        self.sequence += 1;
        let size = usize::try_from(rng.between(10, plan.body_bytes_max.max(10))).unwrap_or(10);
        let mut body = vec![0; size];
        ledger.run.stamp(message, &mut body);
        ledger.judge.send(message);
        let level = rng.index(LEVELS_MS.len());
        let not_before_ms = ledger.later.counted(now.wall_ms, LEVELS_MS[level]);
        let to = (ledger.queue(queue).topic, ledger.queue(queue).number);
        ledger.later.sent(message, Waiting::new(Kind::Delay, to, now.wall_ms, not_before_ms));
        let properties = format!("DELAY\u{1}{}\u{2}", level + 1);
        let item = SendItem {
            handle,
            born_time_ms: now.wall_ms,
            flag: 0,
            sys_flag: 0,
            properties: properties.as_bytes(),
            body: &body,
        };
        let id = self.number(Delayed { message, queue });
        encode_send(&mut self.outgoing, id, FrameFlags::NONE, &[item]);
    }
}

impl Operation for Delayed {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { message, queue } = *self;
        let refused = [
            Code::MESSAGE_ILLEGAL,
            Code::NO_PERMISSION,
            Code::TOPIC_NOT_EXIST,
            Code::INVALID_PARAMETER,
            Code::SYSTEM_BUSY,
            Code::SERVICE_NOT_AVAILABLE,
        ];
        let waiting = told.ledger.later.get(message).ok_or("a message that was not sent for later")?;
        if reply.header.code != Code::SUCCESS {
            waiting.refused = refused.contains(&reply.header.code);
            return Ok(());
        }
        (waiting.accepted, waiting.queue) = (true, Some(queue));
        told.ledger.later_accepted += 1;
        let results = SendReply::decode(reply).map_err(|error| error.to_string())?;
        let proven = told.store.positions().durable().get();
        for result in results.results() {
            told.ledger.judge.acknowledged_at(result.position.get() + 1, proven);
        }
        Ok(())
    }
}
