//! Messages that could not be consumed are sent back: they come again after a delay, or go to the dead letters.

use super::pulls::Seen;
use super::{Answer, Asked, CONSUMERS, Remote, Told};
use crate::rng::Rng;
use crate::world::later::LEVELS_MS;
use crate::world::ledger::Ledger;
use crate::world::plan::Plan;
use ringmq_broker::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::consumer::SendMessageBack;
use ringmq_proto::remoting::request_code as code;

/// The level of the first attempt when the consumer leaves it to the broker.
const FIRST_LEVEL: usize = 3;

/// A message that was sent back.
#[derive(Debug)]
struct Back {
    seen: Seen,
    attempt: usize,
}

impl Remote {
    pub(super) fn send_one_back(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        if self.remembered.is_empty() {
            return;
        }
        let seen = self.remembered[rng.index(self.remembered.len())];
        let delay_level = rng.pick(&[0, 1, 1, 2, -1]);
        let attempts_max = if plan.groups { rng.pick(&[0, 1, 2, 1000]) } else { 1000 };
        let gives_up = delay_level < 0 || seen.attempts >= attempts_max;
        let wait_ms = match usize::try_from(delay_level) {
            Err(_) => 0,
            Ok(_) if gives_up => 0,
            Ok(0) => {
                let level = FIRST_LEVEL + usize::try_from(seen.attempts).unwrap_or(0);
                LEVELS_MS[level.min(LEVELS_MS.len()) - 1]
            }
            Ok(level) => LEVELS_MS[level - 1],
        };
        let not_before_ms = ledger.later.counted(now.wall_ms, wait_ms);
        let attempt = ledger.later.sent_back(seen.message, not_before_ms, gives_up);
        let request = SendMessageBack {
            offset: seen.position.cast_signed(),
            group: CONSUMERS,
            delay_level,
            origin_msg_id: None,
            origin_topic: None,
            unit_mode: Some(false),
            max_reconsume_times: Some(attempts_max),
        };
        self.ask(Back { seen, attempt }, code::CONSUMER_SEND_MSG_BACK, &request, &[]);
    }
}

impl Asked for Back {
    fn answered(self: Box<Self>, _: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let Self { seen, attempt } = *self;
        let nothing_done =
            [Code::SYSTEM_BUSY, Code::SERVICE_NOT_AVAILABLE, Code::SUBSCRIPTION_GROUP_NOT_EXIST].contains(&answer.code);
        let not_found = answer.code == Code::SYSTEM_ERROR && answer.remark().starts_with("look message");
        if answer.code == Code::SUCCESS {
            told.ledger.later.back_answered(seen.message, attempt, true);
            told.ledger.ends_accepted += 1;
        } else if nothing_done || not_found {
            told.ledger.later.back_answered(seen.message, attempt, false);
        }
        let retained = seen.position >= told.store.log_start().get() && !told.ledger.queue(seen.queue).deleted;
        let topic = told.ledger.queue(seen.queue).topic;
        if not_found && retained && !told.ledger.damaged && !told.ledger.topics[topic].changing {
            return Err(format!("{seen:?} is retained and cannot be sent back"));
        }
        Ok(())
    }
}
