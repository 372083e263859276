//! Pulls: what a reader gets goes to the judge, message by message; a refusal must have its reason.

use super::{Client, Operation, Told};
use crate::log::{messages, position_said};
use crate::world::ledger::Ledger;
use crate::world::pulled::{self, Pulled};
use ringmq_checker::{Polled, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::native::{Failure, Frame, PullReply, PullRequest, encode_pull};

/// A pull, and what was known of its queue when it left.
#[derive(Debug)]
struct Pull {
    queue: QueueIndex,
    from: u64,
    /// The deletion of its topic was acknowledged before.
    deleted: bool,
    /// Behind the last offset that was known then.
    known_end: u64,
}

/// What a pull of this client ended with, for who drives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::world) struct PullEnd {
    /// The queue.
    pub queue: QueueIndex,
    /// Where to go on.
    pub next: u64,
    /// The queue's first offset.
    pub min: u64,
    /// Behind its last visible offset.
    pub max: u64,
    /// How it ended.
    pub code: Code,
}

impl Client {
    /// Pulls at most `(messages, bytes)`.
    pub(in crate::world) fn pull(
        &mut self,
        ledger: &Ledger,
        handle: u32,
        queue: QueueIndex,
        from: u64,
        (messages_max, bytes_max): (u32, u32),
        wait_ms: u32,
    ) {
        let deleted = ledger.queue(queue).deleted;
        let known_end = ledger.queue(queue).known_end;
        let id = self.number(Pull { queue, from, deleted, known_end });
        let offset = QueueOffset::new(from);
        encode_pull(&mut self.outgoing, id, &PullRequest { handle, offset, messages_max, bytes_max, wait_ms });
    }

    /// The queue was seen to end at `max`.
    pub(super) fn saw_end(&mut self, queue: QueueIndex, max: u64, ledger: &mut Ledger) {
        let before = self.max_seen.insert(queue, max).unwrap_or(0);
        if max < before && !ledger.queue(queue).deleted {
            ledger.wrong(|| format!("client {} saw {queue:?} end at {before} and then at {max}", self.producer));
        }
    }
}

impl Operation for Pull {
    fn answered(self: Box<Self>, client: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { queue, from, deleted, known_end } = *self;
        if !reply.header.code.is_pull_result() {
            return refused(client, reply, queue, from, told.ledger);
        }
        let (ledger, store) = (&mut *told.ledger, told.store);
        if deleted {
            return Err(format!("a queue whose topic was deleted before the pull is read: {queue:?}"));
        }
        let pulled = PullReply::decode(reply).map_err(|error| error.to_string())?;
        let result = pulled.result;
        let id = ledger.queue(queue).id;
        let min = store.queue(id).map_or(u64::MAX, |queue| queue.min_offset.get());
        ledger.trimmed(queue, min, store.log_start());
        let mut polled = Vec::new();
        for record in pulled.records() {
            let record = record.map_err(|error| error.to_string())?;
            if record.header.queue_id != id {
                return Err(format!("a record of {:?} in a pull of {id:?}", record.header.queue_id));
            }
            let mut position = position_said(&record);
            messages(&record, |(offset, store_time_ms, body)| {
                if let Some(position) = position.take() {
                    ledger.queue_mut(queue).seen_positions.insert(offset, position.get());
                }
                if offset >= from {
                    let message = Polled { offset, content: ledger.content(body) };
                    ledger.saw(queue, &message, store_time_ms);
                    polled.push(message);
                }
            })?;
        }
        let pulled = Pulled {
            queue,
            from,
            known_end,
            code: reply.header.code,
            next: result.next_offset.get(),
            max: result.max_offset.get(),
            polled,
        };
        pulled.judge(ledger, store)?;
        client.next_pull.insert(queue, result.next_offset.get());
        client.saw_end(queue, result.max_offset.get(), ledger);
        client.pull_end = Some(PullEnd {
            queue,
            next: result.next_offset.get(),
            min: result.min_offset.get(),
            max: result.max_offset.get(),
            code: reply.header.code,
        });
        Ok(())
    }
}

/// A refused pull: damage says where to go on.
fn refused(
    client: &mut Client,
    reply: &Frame<'_>,
    queue: QueueIndex,
    from: u64,
    ledger: &mut Ledger,
) -> Result<(), String> {
    let code = reply.header.code;
    let next = pulled::refused(code, Failure::of(reply).remark, (queue, from), ledger)?;
    if let Some(next) = next {
        client.next_pull.insert(queue, next);
    }
    client.pull_end = Some(PullEnd { queue, next: next.unwrap_or(from), min: 0, max: 0, code });
    Ok(())
}
