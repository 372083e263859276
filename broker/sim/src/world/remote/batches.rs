//! Batches for one queue (320): acknowledged as a whole, with an id for each message.

use super::{Answer, Asked, PRODUCERS, Remote, Told, hold, queue_named, release};
use crate::rng::Rng;
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_broker::now::Now;
use ringmq_checker::{MessageId, Outcome};
use ringmq_proto::code::Code;
use ringmq_proto::message::ClientBatchMessage;
use ringmq_proto::remoting::send::{SendHeader, SendReply, encode_send_request};
use ringmq_proto::remoting::{ExtHeader, SerializeType, request_code as code};

/// Messages of one batch, at most.
const MESSAGES_MAX: u64 = 8;

/// A batch that was sent.
#[derive(Debug)]
struct Batch {
    messages: Vec<MessageId>,
    to: (usize, u32),
}

impl Remote {
    pub(super) fn batch_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        let Some(to) = Self::pick_queue(rng, plan, ledger) else { return };
        let mut messages = Vec::new();
        let mut body = Vec::new();
        for _ in 0..rng.between(1, MESSAGES_MAX) {
            let message = MessageId::new(self.producer, self.sequence);
            self.sequence += 1;
            let size = usize::try_from(rng.between(10, plan.body_bytes_max.max(10))).unwrap_or(10);
            let mut one = vec![0; size];
            ledger.run.stamp(message, &mut one);
            ledger.judge.send(message);
            let properties = format!("UNIQ_KEY\u{1}U{message}\u{2}");
            ClientBatchMessage { flag: 0, body: &one, properties: properties.as_bytes() }.append_to(&mut body);
            messages.push(message);
        }
        let name = ledger.topics[to.0].name.clone();
        hold(ledger, to.0);
        let opaque = self.number(Batch { messages, to });
        let header = SendHeader {
            producer_group: PRODUCERS,
            topic: &name,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: to.1.cast_signed(),
            sys_flag: 0,
            born_timestamp: now.wall_ms.cast_signed(),
            flag: 0,
            properties: Some(""),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(true),
            broker_name: None,
        };
        let codes = (code::SEND_BATCH_MESSAGE, opaque);
        encode_send_request(&mut self.outgoing, SerializeType::Json, codes, false, &header, &body);
    }
}

impl Asked for Batch {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { messages, to } = *self;
        release(told.ledger, to.0);
        if answer.code != Code::SUCCESS {
            // Checked before the first message is appended; anything else may have stopped in the middle.
            let refused_whole =
                [Code::MESSAGE_ILLEGAL, Code::NO_PERMISSION, Code::TOPIC_NOT_EXIST, Code::INVALID_PARAMETER];
            let outcome = if refused_whole.contains(&answer.code) { Outcome::Failed } else { Outcome::Unknown };
            messages.into_iter().for_each(|message| told.ledger.judge.outcome(message, outcome));
            return Ok(());
        }
        let reply = SendReply::decode(&answer.header.ext).map_err(|error| error.to_string())?;
        let position = |id: &str| id.get(16..).and_then(|position| u64::from_str_radix(position, 16).ok());
        let positions: Vec<u64> = reply.msg_id.split(',').filter_map(position).collect();
        if positions.len() != messages.len() {
            return Err(format!("{} ids for {} messages", positions.len(), messages.len()));
        }
        let (queue, _) = queue_named(told, to)?;
        let proven = told.store.positions().durable().get();
        let first = reply.queue_offset.cast_unsigned();
        for ((message, position), offset) in messages.into_iter().zip(positions).zip(first..) {
            told.ledger.judge.acknowledged_at(position + 1, proven);
            told.ledger.acknowledged(message, queue, offset, Some(position));
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.to.0);
        self.messages.into_iter().for_each(|message| ledger.judge.outcome(message, Outcome::Unknown));
    }
}
