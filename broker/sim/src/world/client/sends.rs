//! Sends: what goes to the judge before it leaves, and what an answer, or none, means for it.

use super::{Client, Operation, Told};
use crate::rng::Rng;
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_broker::now::Now;
use ringmq_checker::{MessageId, Outcome};
use ringmq_proto::code::Code;
use ringmq_proto::native::{Frame, FrameFlags, SendItem, SendReply, encode_send};

/// Messages that were sent in one frame, each with its handle.
#[derive(Debug)]
struct Send {
    messages: Vec<(MessageId, u32)>,
}

impl Client {
    pub(super) fn send_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now, handle: u32) {
        let count = rng.between(1, plan.batch_max);
        let flags =
            rng.pick(&[FrameFlags::NONE, FrameFlags::NONE, FrameFlags::NONE, FrameFlags::NO_WAIT, FrameFlags::ONEWAY]);
        let elsewhere = rng.percent(20);
        let mut messages = Vec::new();
        let mut bodies = Vec::new();
        for _ in 0..count {
            let handle = if elsewhere { rng.pick(&self.handles).0 } else { handle };
            let message = MessageId::new(self.producer, self.sequence);
            self.sequence += 1;
            let size = usize::try_from(rng.between(10, plan.body_bytes_max.max(10))).unwrap_or(10);
            let mut body = vec![0; size];
            ledger.run.stamp(message, &mut body);
            ledger.judge.send(message);
            messages.push((message, handle));
            bodies.push(body);
        }
        let items: Vec<SendItem<'_>> = messages
            .iter()
            .zip(&bodies)
            .map(|((_, handle), body)| SendItem {
                handle: *handle,
                born_time_ms: if rng.percent(5) { now.wall_ms - 1 } else { now.wall_ms },
                flag: 0,
                sys_flag: 0,
                properties: if rng.percent(25) { b"TAGS\x01blue\x02KEYS\x01k\x02" } else { b"" },
                body,
            })
            .collect();
        self.send(ledger, flags, messages, &items);
    }

    fn send(
        &mut self,
        ledger: &mut Ledger,
        flags: FrameFlags,
        messages: Vec<(MessageId, u32)>,
        items: &[SendItem<'_>],
    ) {
        let id = if flags == FrameFlags::ONEWAY {
            if self.trace {
                eprintln!("  client {} one-way send {messages:?}", self.producer);
            }
            for (message, _) in &messages {
                ledger.judge.outcome(*message, Outcome::Unknown);
            }
            0
        } else {
            self.number(Send { messages })
        };
        encode_send(&mut self.outgoing, id, flags, items);
    }

    /// Sends one small message that waits for its promise.
    pub(in crate::world) fn probe(&mut self, ledger: &mut Ledger, handle: u32, now: Now) {
        let message = MessageId::new(self.producer, self.sequence);
        self.sequence += 1;
        let mut body = vec![0; 16];
        ledger.run.stamp(message, &mut body);
        ledger.judge.send(message);
        let item = SendItem { handle, born_time_ms: now.wall_ms, flag: 0, sys_flag: 0, properties: b"", body: &body };
        self.send(ledger, FrameFlags::NONE, vec![(message, handle)], &[item]);
    }
}

impl Operation for Send {
    fn answered(self: Box<Self>, client: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let (messages, ledger) = (&self.messages, &mut *told.ledger);
        if reply.header.code == Code::SUCCESS {
            return self.acknowledged(client, reply, told);
        }
        // Checked before the first message is appended; anything else may have stopped in the middle.
        let refused_whole =
            [Code::MESSAGE_ILLEGAL, Code::NO_PERMISSION, Code::TOPIC_NOT_EXIST, Code::INVALID_PARAMETER]
                .contains(&reply.header.code);
        let refused =
            [Code::SYSTEM_BUSY, Code::SERVICE_NOT_AVAILABLE].contains(&reply.header.code) && messages.len() == 1;
        for (message, _) in messages {
            let outcome = if refused_whole || refused { Outcome::Failed } else { Outcome::Unknown };
            ledger.judge.outcome(*message, outcome);
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        for (message, _) in self.messages {
            ledger.judge.outcome(message, Outcome::Unknown);
        }
    }
}

impl Send {
    fn acknowledged(&self, client: &Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let (messages, ledger, store) = (&self.messages, &mut *told.ledger, told.store);
        let proven = store.positions().durable().max(store.positions().written());
        let mut placed = vec![false; messages.len()];
        let results = SendReply::decode(reply).map_err(|error| error.to_string())?;
        for result in results.results() {
            // The record lies wholly below the next commit boundary, and proofs are boundaries.
            ledger.judge.acknowledged_at(result.position.get() + 1, proven.get());
            let index = client.handles.iter().find(|(handle, _)| *handle == result.handle).map(|(_, index)| *index);
            let index = index.ok_or_else(|| format!("a result for handle {}", result.handle))?;
            let mut left = result.count;
            for (at, (message, handle)) in messages.iter().enumerate() {
                if left > 0 && !placed[at] && *handle == result.handle {
                    let nth = u64::from(result.count - left);
                    let position = (nth == 0).then_some(result.position.get());
                    ledger.acknowledged(*message, index, result.queue_offset.get() + nth, position);
                    placed[at] = true;
                    left -= 1;
                }
            }
            if left > 0 {
                return Err(format!("{left} results too many for handle {}", result.handle));
            }
        }
        if placed.contains(&false) { Err("a message without a result".into()) } else { Ok(()) }
    }
}
