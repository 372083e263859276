//! Counters (315): of what comes into a topic, what a group gets of it, and of the broker.
//!
//! What comes into a topic is not counted anywhere: its index knows when each message was stored, so what came since a time
//! is a subtraction of offsets, right after a restart too.

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::counts::{Come, Span, Totals};
use super::super::super::request::Rejection;
use super::super::{Call, Handled, Stop};
use super::found;
use crate::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueId;
use ringmq_proto::remoting::admin::progress::{BrokerStats, StatsItem, ViewBrokerStats};
use ringmq_proto::remoting::{ExtFields, ExtHeader};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

impl Shard {
    pub(super) fn counters(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = ViewBrokerStats::decode(&call.header.ext)?;
        let (name, key) = (request.stats_name, request.stats_key);
        let stats = match name {
            "TOPIC_PUT_NUMS" => match self.queues_of(key) {
                Some(queues) => Some(self.put_into(now, &queues)?),
                None => None,
            },
            "GROUP_GET_NUMS" => self.of_pair(key, |totals| totals.messages),
            "GROUP_GET_SIZE" => self.of_pair(key, |totals| totals.bytes),
            "SNDBCK_PUT_NUMS" => self.of_pair(key, |totals| totals.sent_back),
            "BROKER_PUT_NUMS" if key == self.store.options().cluster => {
                Some(each(|span| item(&self.counts.broker_put(span), |totals| totals.messages)))
            }
            "BROKER_GET_NUMS" if key == self.store.options().cluster => {
                Some(each(|span| item(&self.counts.broker_got(span), |totals| totals.messages)))
            }
            _ => None,
        };
        let Some(stats) = stats else {
            let remark = format!("The stats <{}> <{}> not exist", name.escape_default(), key.escape_default());
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
        self.answer_with(connection, call.token, ExtFields::new(), &stats.encode());
        Ok(())
    }

    fn of_pair(&self, key: &str, count: fn(&Totals) -> u64) -> Option<BrokerStats> {
        self.counts.of_pair(key, Span::Minute)?;
        Some(each(|span| self.counts.of_pair(key, span).map(|come| item(&come, count)).unwrap_or_default()))
    }

    fn put_into(&mut self, now: &Now, queues: &[QueueId]) -> Result<BrokerStats, Stop> {
        let mut stats = BrokerStats::default();
        let spans =
            [(MINUTE_MS, &mut stats.stats_minute), (HOUR_MS, &mut stats.stats_hour), (DAY_MS, &mut stats.stats_day)];
        for (span_ms, item) in spans {
            let from_ms = now.wall_ms.saturating_sub(span_ms);
            for queue in queues {
                let Some(visible) = self.store.queue(*queue).map(|queue| queue.visible_offset) else { continue };
                let first = found(self.store.search_offset(*queue, from_ms, false))?;
                item.sum += visible.get().saturating_sub(first.get()).cast_signed();
            }
            item.tps = item.sum as f64 * 1000.0 / span_ms as f64;
            item.avgpt = if item.sum > 0 { 1.0 } else { 0.0 };
        }
        Ok(stats)
    }
}

fn each(stats: impl Fn(Span) -> StatsItem) -> BrokerStats {
    BrokerStats { stats_day: stats(Span::Day), stats_hour: stats(Span::Hour), stats_minute: stats(Span::Minute) }
}

fn item(come: &Come, count: impl Fn(&Totals) -> u64) -> StatsItem {
    let sum = count(&come.totals);
    let avgpt = if come.totals.answers == 0 { 0.0 } else { sum as f64 / come.totals.answers as f64 };
    StatsItem { avgpt, sum: sum.cast_signed(), tps: come.per_second(sum) }
}
