//! The broker's figures (28).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::{Call, Handled};
use crate::now::Now;
use ringmq_proto::remoting::ExtFields;
use ringmq_proto::remoting::header::VERSION_REPORTED;
use ringmq_proto::remoting::namesrv::KvTable;
use std::collections::BTreeMap;

impl Shard {
    /// What `brokerStatus` and `clusterList` show, under RocketMQ's names. Both spellings of "transferred" are in use.
    pub(super) fn runtime_info(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let metrics = self.metrics();
        let store = &self.store;
        let positions = store.positions();
        let options = store.options();
        let (put, got) = (metrics.messages_appended, metrics.messages_pulled);
        let put_rates = self.rates.put_per_second();
        let got_rates = self.rates.got_per_second();
        let today = self.rates.days();
        let mut table = BTreeMap::new();
        let mut say = |name: &str, value: String| {
            table.insert(name.to_owned(), value);
        };
        say("brokerVersion", VERSION_REPORTED.to_string());
        say("brokerVersionDesc", self.settings.software.clone());
        say("bootTimestamp", self.started_ms.to_string());
        say("runtime", format!("{} s", now.wall_ms.saturating_sub(self.started_ms) / 1000));
        say("putTps", put_rates.clone());
        say("getTransferedTps", got_rates.clone());
        say("getTransferredTps", got_rates.clone());
        say("getTotalTps", got_rates.clone());
        say("getFoundTps", got_rates);
        say("msgPutTotalTodayNow", put.to_string());
        say("msgPutTotalTodayMorning", today.put_at_midnight.to_string());
        say("msgPutTotalYesterdayMorning", today.put_at_last_midnight.to_string());
        say("msgGetTotalTodayNow", got.to_string());
        say("msgGetTotalTodayMorning", today.got_at_midnight.to_string());
        say("msgGetTotalYesterdayMorning", today.got_at_last_midnight.to_string());
        say("commitLogMinOffset", store.log_start().get().to_string());
        say("commitLogMaxOffset", positions.visible().get().to_string());
        say("dispatchBehindBytes", positions.appended().since(positions.visible()).to_string());
        say("segmentSizeBytes", options.segment_size_bytes.to_string());
        say("brokerActive", "true".to_owned());
        say("brokerRole", "SYNC_MASTER".to_owned());
        say("consumeQueueDiskRatio", "0.0".to_owned());
        say("connections", metrics.connections.to_string());
        say("sendThreadPoolQueueSize", "0".to_owned());
        say("sendThreadPoolQueueHeadWaitTimeMills", "0".to_owned());
        say("pullThreadPoolQueueSize", metrics.waiting.to_string());
        say("pullThreadPoolQueueHeadWaitTimeMills", "0".to_owned());
        say("remainHowManyDataToFlush", format!("{} B", positions.appended().since(positions.durable())));
        let body = KvTable { table }.encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }
}
