//! The broker's figures and settings (28, 26).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::{Call, Handled};
use crate::now::Now;
use crate::store::FlushMode;
use ringmq_proto::remoting::admin::settings::{BrokerConfigReply, encode_properties};
use ringmq_proto::remoting::header::VERSION_REPORTED;
use ringmq_proto::remoting::lenient;
use ringmq_proto::remoting::namesrv::KvTable;
use ringmq_proto::remoting::registration::DataVersion;
use ringmq_proto::remoting::{ExtFields, ExtHeader};
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

    /// The settings that have a meaning here, under RocketMQ's names.
    pub(super) fn broker_config(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let options = self.store.options();
        let flush = if options.flush == FlushMode::Async { "ASYNC_FLUSH" } else { "SYNC_FLUSH" };
        let reserved_hours = options.retention.age_ms.map(|age_ms| (age_ms / 3_600_000).to_string());
        let settings = [
            ("brokerName", self.settings.broker_name.clone()),
            ("brokerClusterName", options.cluster.clone()),
            ("brokerId", "0".to_owned()),
            ("brokerRole", "ASYNC_MASTER".to_owned()),
            ("brokerIP1", options.advertised.ip().to_string()),
            ("listenPort", options.advertised.port().to_string()),
            ("brokerPermission", "6".to_owned()),
            ("flushDiskType", flush.to_owned()),
            ("autoCreateTopicEnable", self.settings.auto_create_topics.to_string()),
            ("defaultTopicQueueNums", self.settings.topic_queue_count_default.to_string()),
            ("mappedFileSizeCommitLog", options.segment_size_bytes.to_string()),
            ("maxMessageSize", ringmq_proto::limits::BODY_SIZE_BYTES_MAX.to_string()),
        ];
        let all = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let all = all.chain(reserved_hours.as_deref().map(|hours| ("fileReservedTime", hours)));
        let body = encode_properties(all);
        let version = String::from_utf8_lossy(&lenient::encode(&DataVersion::default())).into_owned();
        self.answer_with(connection, call.token, BrokerConfigReply { version: &version }.to_ext(), &body);
        Ok(())
    }
}
