//! The broker's settings under RocketMQ's names: told (26), and those changed that can change while the broker runs (25).
//!
//! A change holds until the process ends; what is to stay is said in its configuration. No setting here is a path, an
//! address or a credential, and none can be made one: what is not in [`SETTINGS`] with a way to change it is refused.

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::io::{ControlOutput, Effects};
use super::super::super::request::{Rejection, Response};
use super::super::super::settings::DelayLevels;
use super::super::{Call, Handled};
use crate::store::FlushMode;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::admin::settings::{BrokerConfigReply, decode_properties, encode_properties};
use ringmq_proto::remoting::lenient;
use ringmq_proto::remoting::registration::DataVersion;
use ringmq_proto::remoting::topics;
use std::str::FromStr;

/// Why a value cannot be used: what would be one.
type Wrong = &'static str;

/// Changes a setting.
type Change = fn(&mut Shard, &str) -> Result<(), Wrong>;

struct Setting {
    /// RocketMQ's name.
    name: &'static str,
    /// Nothing when it has no value.
    tell: fn(&Shard) -> Option<String>,
    /// How it is changed; nothing when it cannot be while the broker runs.
    change: Option<Change>,
}

const fn fixed(name: &'static str, tell: fn(&Shard) -> Option<String>) -> Setting {
    Setting { name, tell, change: None }
}

const fn changeable(name: &'static str, tell: fn(&Shard) -> Option<String>, change: Change) -> Setting {
    Setting { name, tell, change: Some(change) }
}

const MS_OF_HOUR: u64 = 3_600_000;

const SETTINGS: &[Setting] = &[
    fixed("brokerName", |shard| Some(shard.settings.broker_name.clone())),
    fixed("brokerClusterName", |shard| Some(shard.store.options().cluster.clone())),
    fixed("brokerId", |_| Some("0".into())),
    fixed("brokerRole", |_| Some("ASYNC_MASTER".into())),
    fixed("brokerIP1", |shard| Some(shard.store.options().advertised.ip().to_string())),
    fixed("listenPort", |shard| Some(shard.store.options().advertised.port().to_string())),
    changeable(
        "brokerPermission",
        |shard| Some(shard.settings.broker_perm.to_string()),
        |shard, text| {
            let perm = Some(read::<u32>(text, PERM)?).filter(|perm| [2, 4, 6].contains(perm));
            shard.settings.broker_perm = perm.ok_or(PERM)?;
            Ok(())
        },
    ),
    fixed("flushDiskType", |shard| {
        let is_async = shard.store.options().flush == FlushMode::Async;
        Some(if is_async { "ASYNC_FLUSH" } else { "SYNC_FLUSH" }.into())
    }),
    fixed("mappedFileSizeCommitLog", |shard| Some(shard.store.options().segment_size_bytes.to_string())),
    fixed("maxMessageSize", |_| Some(ringmq_proto::limits::BODY_SIZE_BYTES_MAX.to_string())),
    fixed("longPollingEnable", |_| Some("true".into())),
    fixed("timerWheelEnable", |_| Some("true".into())),
    fixed("traceOn", |_| Some("true".into())),
    fixed("msgTraceTopicName", |_| Some(topics::TRACE.into())),
    fixed("slaveReadEnable", |_| Some("false".into())),
    fixed("filterServerNums", |_| Some("0".into())),
    // Of the client in RocketMQ's brokers; who may come with TLS is tls.server.mode's to say.
    fixed("useTLS", |_| Some("false".into())),
    fixed("regionId", |_| Some(super::super::send::REGION.into())),
    fixed("traceTopicEnable", |shard| {
        Some(shard.settings.system_topics.iter().any(|topic| topic.name == topics::TRACE).to_string())
    }),
    changeable(
        "autoCreateTopicEnable",
        |shard| Some(shard.settings.auto_create_topics.to_string()),
        |shard, text| set(&mut shard.settings.auto_create_topics, text, BOOL),
    ),
    changeable(
        "defaultTopicQueueNums",
        |shard| Some(shard.settings.topic_queue_count_default.to_string()),
        |shard, text| {
            let max = shard.settings.limits.topic_queue_count_max;
            let count = Some(read::<u32>(text, NUMBER)?).filter(|count| (1..=max).contains(count));
            shard.settings.topic_queue_count_default = count.ok_or("a number of queues that a topic may have")?;
            Ok(())
        },
    ),
    changeable(
        "autoCreateSubscriptionGroup",
        |shard| Some(shard.settings.features.auto_create_groups.to_string()),
        |shard, text| set(&mut shard.settings.features.auto_create_groups, text, BOOL),
    ),
    changeable(
        "enablePropertyFilter",
        |shard| Some(shard.settings.features.property_filter.to_string()),
        |shard, text| set(&mut shard.settings.features.property_filter, text, BOOL),
    ),
    changeable(
        "recallMessageEnable",
        |shard| Some(shard.settings.features.recall_messages.to_string()),
        |shard, text| set(&mut shard.settings.features.recall_messages, text, BOOL),
    ),
    changeable(
        "useServerSideResetOffset",
        |shard| Some(shard.settings.features.server_side_reset.to_string()),
        |shard, text| set(&mut shard.settings.features.server_side_reset, text, BOOL),
    ),
    changeable(
        "messageDelayLevel",
        |shard| Some(shard.settings.features.delay_levels.to_string()),
        |shard, text| {
            let levels = DelayLevels::parse(text).map_err(|_| "a list of times like 1s 5m 2h 1d")?;
            // Each level has a queue, which is made at the start.
            if levels.count() > shard.settings.features.delay_levels.count().max(18) {
                return Err("a list of at most as many times as the broker was started with, or 18");
            }
            shard.settings.features.delay_levels = levels;
            Ok(())
        },
    ),
    changeable(
        "timerMaxDelaySec",
        |shard| Some((shard.settings.features.timer_max_delay_ms / 1000).to_string()),
        |shard, text| {
            shard.settings.features.timer_max_delay_ms = read::<u64>(text, NUMBER)?.saturating_mul(1000);
            Ok(())
        },
    ),
    changeable(
        "transactionTimeOut",
        |shard| Some(shard.settings.features.transaction_timeout_ms.to_string()),
        |shard, text| set(&mut shard.settings.features.transaction_timeout_ms, text, NUMBER),
    ),
    changeable(
        "transactionCheckInterval",
        |shard| Some(shard.settings.features.transaction_check_interval_ms.to_string()),
        |shard, text| set(&mut shard.settings.features.transaction_check_interval_ms, text, NUMBER),
    ),
    changeable(
        "transactionCheckMax",
        |shard| Some(shard.settings.features.transaction_check_max.to_string()),
        |shard, text| set(&mut shard.settings.features.transaction_check_max, text, NUMBER),
    ),
    changeable(
        "fileReservedTime",
        |shard| {
            // RocketMQ knows no retention by size alone: that is "never" in hours.
            let hours = shard
                .store
                .options()
                .retention
                .age_ms
                .map_or(i32::MAX.unsigned_abs().into(), |age_ms| age_ms / MS_OF_HOUR);
            Some(hours.to_string())
        },
        |shard, text| {
            let hours =
                Some(read::<u64>(text, NUMBER)?).filter(|hours| *hours > 0).ok_or("a number of hours, 1 or more")?;
            shard.store.set_retention_age(Some(hours.saturating_mul(MS_OF_HOUR)));
            Ok(())
        },
    ),
];

const BOOL: Wrong = "true or false";
const NUMBER: Wrong = "a whole number";
const PERM: Wrong = "2 (write), 4 (read) or 6 (both)";

fn read<T: FromStr>(text: &str, wanted: Wrong) -> Result<T, Wrong> {
    text.parse().map_err(|_| wanted)
}

fn set<T: FromStr>(setting: &mut T, text: &str, wanted: Wrong) -> Result<(), Wrong> {
    *setting = read(text, wanted)?;
    Ok(())
}

impl Shard {
    pub(super) fn broker_config(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let told: Vec<_> = SETTINGS.iter().filter_map(|setting| Some((setting.name, (setting.tell)(self)?))).collect();
        let others = self.settings.told.iter().map(|(name, value)| (*name, value.as_str()));
        let body = encode_properties(told.iter().map(|(name, value)| (*name, value.as_str())).chain(others));
        let version = DataVersion { counter: self.settings_changed.cast_signed(), ..DataVersion::default() };
        let version = String::from_utf8_lossy(&lenient::encode(&version)).into_owned();
        self.answer_with(connection, call.token, BrokerConfigReply { version: &version }.to_ext(), &body);
        Ok(())
    }

    /// All that is named is changed, or nothing.
    pub(super) fn update_broker_config(
        &mut self,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Handled {
        let wanted = decode_properties(call.body())?;
        if wanted.is_empty() {
            return Err(NOTHING_NAMED.into());
        }
        let mut changes = Vec::with_capacity(wanted.len());
        for (name, value) in &wanted {
            let change = SETTINGS.iter().find(|setting| setting.name == name).and_then(|setting| setting.change);
            changes.push((name, value, change.ok_or_else(|| fixed_setting(name))?));
        }
        let before = (self.settings.clone(), self.store.options().retention.age_ms);
        for (name, value, change) in changes {
            if let Err(wanted) = change(self, value) {
                self.settings = before.0;
                self.store.set_retention_age(before.1);
                let remark = format!("{:?} is no value of {name}: give {wanted}", value.escape_default().to_string());
                return Err(Rejection::because(Code::INVALID_PARAMETER, remark).into());
            }
        }
        self.settings_changed += 1;
        if self.settings.broker_perm != before.0.broker_perm {
            fx.control.push(ControlOutput::Permission(self.settings.broker_perm));
        }
        self.respond(connection, call.token, &Response::Done);
        Ok(())
    }
}

fn fixed_setting(name: &str) -> Rejection {
    let remark = format!(
        "the setting {} cannot be changed while the broker runs: change its configuration and restart it",
        name.escape_default()
    );
    Rejection::because(Code::NO_PERMISSION, remark)
}

const NOTHING_NAMED: Rejection =
    Rejection::new(Code::SYSTEM_ERROR, "the request names no setting: give NAME=VALUE, a line each");
