//! Sends: for now, after a delay, at a time, and first halves of transactions.

use super::{Answer, Asked, PRODUCERS, Remote, Told, hold, queue_named, release};
use crate::rng::Rng;
use crate::world::later::{Kind, LEVELS_MS, Waiting};
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_broker::now::Now;
use ringmq_checker::{MessageId, Outcome};
use ringmq_proto::code::Code;
use ringmq_proto::message::stored::sys_flag;
use ringmq_proto::remoting::send::{SendHeader, SendReply, encode_send_request};
use ringmq_proto::remoting::{ExtHeader, SerializeType, request_code as code};

/// A message that was sent: for now, or for later.
#[derive(Debug)]
struct Send {
    message: MessageId,
    to: (usize, u32),
    later: Option<Kind>,
}

/// What a message's properties say of its time.
struct Wish {
    kind: Kind,
    properties: String,
    not_before_ms: u64,
}

fn wish(rng: &mut Rng, ledger: &Ledger, now: Now) -> Option<Wish> {
    let wall_ms = now.wall_ms;
    let kind = rng.pick(&[
        None,
        Some(Kind::Delay),
        Some(Kind::Delay),
        Some(Kind::Timer),
        Some(Kind::Timer),
        Some(Kind::Half),
    ])?;
    let wish = match kind {
        Kind::Delay => {
            let level = rng.index(LEVELS_MS.len());
            let not_before_ms = ledger.later.counted(wall_ms, LEVELS_MS[level]);
            Wish { kind, properties: format!("DELAY\u{1}{}\u{2}", level + 1), not_before_ms }
        }
        Kind::Timer => {
            let wait_ms = rng.pick(&[1, 50, 900, 5000, 40_000]);
            let not_before_ms = ledger.later.counted(wall_ms, wait_ms);
            let (properties, not_before_ms) = match rng.below(3) {
                0 => (format!("TIMER_DELAY_MS\u{1}{wait_ms}\u{2}"), not_before_ms),
                1 => (format!("TIMER_DELIVER_MS\u{1}{}\u{2}", wall_ms + wait_ms), wall_ms + wait_ms),
                _ => (format!("TIMER_DELAY_SEC\u{1}{}\u{2}", wait_ms / 1000 + 1), not_before_ms),
            };
            Wish { kind, properties, not_before_ms }
        }
        Kind::Half => {
            let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{PRODUCERS}\u{2}");
            Wish { kind, properties, not_before_ms: 0 }
        }
    };
    Some(wish)
}

impl Remote {
    pub(super) fn send_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        let Some(to) = Self::pick_queue(rng, plan, ledger) else { return };
        let message = MessageId::new(self.producer, self.sequence);
        self.sequence += 1;
        let wish = wish(rng, ledger, now);
        let mut properties = format!("UNIQ_KEY\u{1}U{message}\u{2}");
        if rng.percent(25) {
            properties.push_str("KEYS\u{1}k\u{2}");
        }
        let half = wish.as_ref().is_some_and(|wish| wish.kind == Kind::Half);
        properties.push_str(wish.as_ref().map_or("", |wish| &wish.properties));
        let size = usize::try_from(rng.between(10, plan.body_bytes_max.max(10))).unwrap_or(10);
        let mut body = vec![0; size];
        ledger.run.stamp(message, &mut body);
        ledger.judge.send(message);
        let later = wish.as_ref().map(|wish| wish.kind);
        if let Some(Wish { kind, not_before_ms, .. }) = wish {
            ledger.later.sent(message, Waiting::new(kind, to, now.wall_ms, not_before_ms));
        }
        // One that nobody waits for could find its topic deleted, and make it anew.
        let one_way = !half && plan.topic_percent == 0 && rng.percent(8);
        let opaque = if one_way {
            if later.is_none() {
                ledger.judge.outcome(message, Outcome::Unknown);
            }
            0
        } else {
            hold(ledger, to.0);
            self.number(Send { message, to, later })
        };
        let header = SendHeader {
            producer_group: PRODUCERS,
            topic: &ledger.topics[to.0].name,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: to.1.cast_signed(),
            sys_flag: if half { sys_flag::TRANSACTION_PREPARED } else { 0 },
            born_timestamp: now.wall_ms.cast_signed(),
            flag: 0,
            properties: Some(&properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: None,
        };
        let serialize_type = rng.pick(&[SerializeType::Json, SerializeType::Binary]);
        let codes = (code::SEND_MESSAGE_V2, opaque);
        encode_send_request(&mut self.outgoing, serialize_type, codes, one_way, &header, &body);
    }
}

impl Asked for Send {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        release(told.ledger, self.to.0);
        if answer.code == Code::SUCCESS {
            return self.acknowledged(answer, told);
        }
        let refused = [
            Code::MESSAGE_ILLEGAL,
            Code::NO_PERMISSION,
            Code::TOPIC_NOT_EXIST,
            Code::INVALID_PARAMETER,
            Code::SYSTEM_BUSY,
            Code::SERVICE_NOT_AVAILABLE,
        ];
        let refused = refused.contains(&answer.code);
        match self.later {
            Some(_) => {
                if let Some(waiting) = told.ledger.later.get(self.message) {
                    waiting.refused = refused;
                }
            }
            None => {
                let outcome = if refused { Outcome::Failed } else { Outcome::Unknown };
                told.ledger.judge.outcome(self.message, outcome);
            }
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.to.0);
        if self.later.is_none() {
            ledger.judge.outcome(self.message, Outcome::Unknown);
        }
    }
}

impl Send {
    fn acknowledged(&self, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let reply = SendReply::decode(&answer.header.ext).map_err(|error| error.to_string())?;
        let position = reply.msg_id.get(16..).and_then(|position| u64::from_str_radix(position, 16).ok());
        let position = position.ok_or_else(|| format!("an id without a position: {}", reply.msg_id))?;
        let offset = reply.queue_offset.cast_unsigned();
        let (queue, _) = queue_named(told, self.to)?;
        let proven = told.store.positions().durable().get();
        told.ledger.judge.acknowledged_at(position + 1, proven);
        if self.later.is_none() {
            told.ledger.acknowledged(self.message, queue, offset, Some(position));
            return Ok(());
        }
        let waiting = told.ledger.later.get(self.message).ok_or("a message that was not sent for later")?;
        waiting.accepted = true;
        waiting.queue = Some(queue);
        match waiting.kind {
            Kind::Delay => {}
            Kind::Timer => waiting.handle = reply.recall_handle.map(str::to_owned),
            Kind::Half => {
                let numbers = (position, offset);
                if waiting.origin.is_some_and(|origin| origin != numbers) {
                    return Err(format!("a half that was asked about as {:?}", waiting.origin));
                }
                waiting.origin = Some(numbers);
            }
        }
        told.ledger.later_accepted += 1;
        Ok(())
    }
}
