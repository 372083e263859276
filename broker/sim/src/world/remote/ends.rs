//! Ends of what waits: transactions are committed or rolled back, timed messages recalled.

use super::{Answer, Asked, PRODUCERS, Remote, Told, hold, is_usable, queue_named, release};
use crate::rng::Rng;
use crate::world::ledger::Ledger;
use ringmq_broker::now::Now;
use ringmq_checker::MessageId;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::request_code as code;
use ringmq_proto::remoting::timer::RecallMessage;
use ringmq_proto::remoting::transaction::{COMMIT, EndTransaction, ROLLBACK, UNKNOWN};

/// An end of a transaction, as its producer sees it.
#[derive(Debug)]
struct End {
    message: MessageId,
    to: (usize, u32),
    verdict: i32,
}

/// A timed message is to be forgotten.
#[derive(Debug)]
struct Recall {
    message: MessageId,
    /// Not due before, wall ms.
    due_ms: u64,
    /// Nobody else has tried.
    is_first: bool,
}

impl Remote {
    /// Ends a transaction: one that the broker asked about, or another; also one that has ended.
    pub(super) fn end_some(&mut self, rng: &mut Rng, ledger: &mut Ledger, now: Now) {
        let asked = self.questions.pop();
        let known: Vec<MessageId> = ledger.later.halves().map(|(message, _)| message).collect();
        let Some(message) = asked.or_else(|| (!known.is_empty()).then(|| rng.pick(&known))) else { return };
        let verdict = rng.pick(&[COMMIT, COMMIT, COMMIT, ROLLBACK, ROLLBACK, UNKNOWN]);
        let one_way = rng.percent(30);
        let Some(half) = ledger.later.get(message) else { return };
        let Some((position, offset)) = half.origin else { return };
        let to = half.to;
        if !is_usable(ledger, to.0) {
            // Nobody could say which queue a commit means.
            return;
        }
        let first_commit_ms = ledger.later.counted(now.wall_ms, 0);
        if let Some(half) = ledger.later.get(message) {
            half.ends_left += u32::from(verdict != UNKNOWN);
            if verdict == COMMIT {
                half.commits_left += 1;
                if half.commits_left == 1 {
                    half.not_before_ms = first_commit_ms;
                }
            }
        }
        let key = format!("U{message}");
        let name = ledger.topics[to.0].name.clone();
        let request = EndTransaction {
            producer_group: PRODUCERS,
            tran_state_table_offset: offset.cast_signed(),
            commit_log_offset: position.cast_signed(),
            commit_or_rollback: verdict,
            from_transaction_check: Some(asked.is_some()),
            msg_id: &key,
            transaction_id: Some(&key),
            topic: Some(&name),
        };
        if one_way {
            if self.trace {
                eprintln!("  remote {} one-way end {verdict} of {message}", self.producer);
            }
            return self.tell(code::END_TRANSACTION, &request);
        }
        hold(ledger, to.0);
        self.ask(End { message, to, verdict }, code::END_TRANSACTION, &request, &[]);
    }

    pub(super) fn recall_some(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let known: Vec<MessageId> = ledger.later.timers().map(|(message, _)| message).collect();
        if known.is_empty() {
            return;
        }
        let message = rng.pick(&known);
        let Some(timer) = ledger.later.get(message) else { return };
        let Some(handle) = timer.handle.clone() else { return };
        let topic = timer.to.0;
        let is_first = timer.recalls_in_doubt == 0 && !timer.cancelled;
        let due_ms = timer.not_before_ms;
        timer.recalls_in_doubt += 1;
        let name = ledger.topics[topic].name.clone();
        let request = RecallMessage { producer_group: Some(PRODUCERS), topic: &name, recall_handle: &handle };
        self.ask(Recall { message, due_ms, is_first }, code::RECALL_MESSAGE, &request, &[]);
    }
}

impl Asked for End {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { message, to, verdict } = *self;
        release(told.ledger, to.0);
        if answer.code == Code::SUCCESS {
            match verdict {
                COMMIT => {
                    let (queue, _) = queue_named(told, to)?;
                    told.ledger.committed(message, queue);
                }
                ROLLBACK => told.ledger.cancelled(message),
                _ => return Ok(()),
            }
            told.ledger.ends_accepted += 1;
            return Ok(());
        }
        let not_found = answer.code == Code::SYSTEM_ERROR && answer.remark().starts_with("Find prepared");
        let ours = u32::from(verdict != UNKNOWN);
        if not_found && told.ledger.later.must_be_pending(message, ours, told.now.wall_ms) {
            return Err(format!("{message} is pending, and was not found: {:?}", told.ledger.later.get(message)));
        }
        Ok(())
    }

    fn abandoned(self: Box<Self>, ledger: &mut Ledger) {
        release(ledger, self.to.0);
    }
}

impl Asked for Recall {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { message, due_ms, is_first } = *self;
        let Some(timer) = told.ledger.later.get(message) else { return Ok(()) };
        if answer.code == Code::SUCCESS {
            told.ledger.cancelled(message);
            told.ledger.ends_accepted += 1;
        } else if [Code::ILLEGAL_OPERATION, Code::SYSTEM_BUSY, Code::SERVICE_NOT_AVAILABLE].contains(&answer.code) {
            timer.recalls_in_doubt -= 1;
            let in_doubt = timer.recalls_in_doubt > 0 || timer.cancelled;
            let too_early = is_first && !in_doubt && told.now.wall_ms < due_ms;
            let doubtless = told.ledger.later.clock_is_sound() && !told.ledger.later.is_in_doubt();
            if answer.code == Code::ILLEGAL_OPERATION && too_early && doubtless {
                return Err(format!("{message} is not due before {due_ms}, and cannot be recalled"));
            }
        }
        Ok(())
    }
}
