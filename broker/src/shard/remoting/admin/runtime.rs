//! The broker's figures (28).
//!
//! `brokerStatus` and `clusterList` show them; dashboards and RocketMQ's exporter for Prometheus read them by name and fail
//! where one is missing. What has no meaning here is told as what it is: a queue in front of a thread pool that does not
//! exist is empty.

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::{Call, Handled};
use crate::now::Now;
use ringmq_proto::remoting::ExtFields;
use ringmq_proto::remoting::header::VERSION_REPORTED;
use ringmq_proto::remoting::namesrv::KvTable;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Upper ends of RocketMQ's classes of the time that a send takes, in ms, with their names; the last has none.
const SEND_TIME_CLASSES: [(u64, &str); 13] = [
    (0, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1_000, "[500ms~1s]"),
    (2_000, "[1~2s]"),
    (3_000, "[2~3s]"),
    (4_000, "[3~4s]"),
    (5_000, "[4~5s]"),
    (10_000, "[5~10s]"),
    (u64::MAX, "[10s~]"),
];

/// RocketMQ's thread pools: here there are none, and nothing waits for one.
const THREAD_POOLS: [&str; 5] = ["send", "pull", "litePull", "query", "ack"];

const NS_OF_MS: u64 = 1_000_000;

/// Figures by name.
type Table = BTreeMap<String, String>;

fn say(table: &mut Table, name: &str, value: impl ToString) {
    table.insert(name.to_owned(), value.to_string());
}

impl Shard {
    pub(super) fn runtime_info(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let mut table = Table::new();
        self.say_who(now, &mut table);
        self.say_messages(&mut table);
        self.say_log(&mut table);
        self.say_sends(&mut table);
        for pool in THREAD_POOLS {
            say(&mut table, &format!("{pool}ThreadPoolQueueSize"), 0);
            say(&mut table, &format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), 0);
            say(&mut table, &format!("{pool}ThreadPoolQueueCapacity"), self.settings.limits.waiting_count_max);
        }
        say(&mut table, "EndTransactionQueueSize", 0);
        say(&mut table, "EndTransactionThreadPoolQueueCapacity", self.settings.limits.waiting_count_max);
        let body = KvTable { table }.encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }

    fn say_who(&self, now: &Now, table: &mut Table) {
        let seconds = now.wall_ms.saturating_sub(self.started_ms) / 1000;
        let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400);
        let runtime = format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60);
        say(table, "brokerVersion", VERSION_REPORTED);
        // Scripts cut clusterList's lines at blanks.
        say(table, "brokerVersionDesc", self.settings.software.replace(' ', "-"));
        say(table, "bootTimestamp", self.started_ms);
        say(table, "startAcceptSendRequestTimeStamp", self.started_ms);
        say(table, "runtime", runtime);
        say(table, "brokerActive", true);
        say(table, "brokerRole", "ASYNC_MASTER");
        let metrics = self.metrics();
        say(table, "connections", metrics.connections);
        say(table, "pullsHeld", metrics.waiting);
    }

    /// Both spellings of "transferred" are in use.
    fn say_messages(&self, table: &mut Table) {
        let (put, got) = (self.metrics.messages_appended, self.metrics.messages_pulled);
        let got_rates = self.rates.got_per_second();
        let today = self.rates.days();
        say(table, "putTps", self.rates.put_per_second());
        for name in ["getTransferedTps", "getTransferredTps", "getTotalTps", "getFoundTps"] {
            say(table, name, &got_rates);
        }
        // A pull that finds nothing is held until there is something: none misses.
        say(table, "getMissTps", "0.0 0.0 0.0");
        say(table, "msgPutTotalTodayNow", put);
        say(table, "msgPutTotalTodayMorning", today.put_at_midnight);
        say(table, "msgPutTotalYesterdayMorning", today.put_at_last_midnight);
        say(table, "msgGetTotalTodayNow", got);
        say(table, "msgGetTotalTodayMorning", today.got_at_midnight);
        say(table, "msgGetTotalYesterdayMorning", today.got_at_last_midnight);
        let pending = self.store.pending_counts();
        say(table, "timerReadBehind", 0);
        say(table, "timerOffsetBehind", 0);
        say(table, "timerCongestNum", pending.timers);
        say(table, "timerEnqueueTps", 0.0);
        say(table, "timerDequeueTps", 0.0);
    }

    fn say_log(&self, table: &mut Table) {
        let (store, positions) = (&self.store, self.store.positions());
        say(table, "commitLogMinOffset", store.log_start().get());
        say(table, "commitLogMaxOffset", positions.visible().get());
        say(table, "dispatchBehindBytes", positions.appended().since(positions.visible()));
        say(table, "dispatchMaxBuffer", 0);
        say(table, "remainHowManyDataToFlush", format!("{} B", positions.appended().since(positions.durable())));
        say(table, "segmentSizeBytes", store.options().segment_size_bytes);
        say(table, "earliestMessageTimeStamp", store.kept_since_ms().unwrap_or_else(|| store.store_time_ms()));
        say(table, "remainTransientStoreBufferNumbs", i32::MAX);
        say(table, "pageCacheLockTimeMills", 0);
        let disk = self.disk_space;
        let ratio = format!("{:.2}", disk.used_ratio());
        say(table, "commitLogDiskRatio", &ratio);
        say(table, "consumeQueueDiskRatio", &ratio);
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let capacity = format!("Total : {:.1} GiB, Free : {:.1} GiB.", gib(disk.total_bytes), gib(disk.free_bytes));
        say(table, "commitLogDirCapacity", capacity);
    }

    fn say_sends(&self, table: &mut Table) {
        let metrics = &self.metrics;
        let (messages, bytes) = (metrics.messages_appended, metrics.appended_bytes);
        let times = &metrics.acknowledge_ns;
        let ms = |ns: u64| ns as f64 / NS_OF_MS as f64;
        say(table, "putMessageTimesTotal", messages);
        say(table, "putMessageSizeTotal", bytes);
        say(table, "putMessageAverageSize", if messages == 0 { 0.0 } else { bytes as f64 / messages as f64 });
        say(table, "putMessageFailedTimes", metrics.rejections.values().sum::<u64>());
        say(table, "putMessageEntireTimeMax", times.max() / NS_OF_MS);
        say(table, "putLatency99", format!("{:.2}", ms(times.value_at_quantile(0.99))));
        say(table, "putLatency999", format!("{:.2}", ms(times.value_at_quantile(0.999))));
        say(table, "getMessageEntireTimeMax", 0);
        let mut classes = String::new();
        let mut from_ns = 0;
        for (to_ms, name) in SEND_TIME_CLASSES {
            // The first class is RocketMQ's for less than a millisecond.
            let to_ns = if to_ms == 0 { NS_OF_MS } else { to_ms.saturating_mul(NS_OF_MS) };
            // The exporter reads an i32.
            let count = times.count_between(from_ns, to_ns.saturating_sub(1)).min(i32::MAX.unsigned_abs().into());
            from_ns = to_ns;
            let space = if classes.is_empty() { "" } else { " " };
            write!(classes, "{space}{name}:{count}").expect("a string takes all");
        }
        say(table, "putMessageDistributeTime", classes);
    }
}
