//! The payload of a group's record: what a consumer group may do, in the terms of RocketMQ's SubscriptionGroupConfig.
//!
//! ```text
//! version u64 | group id u32 | flags u8 (2 deleted, 4 configured, 8 offsets dropped) | zero u8 x 3
//! not configured (all is as by default):  name, to the end
//! configured:                             name length u16 | name | configuration
//!
//! configuration: switches u8 (1 consume, 2 from the least offset, 4 broadcast, 8 orderly, 16 notify)
//!                policy u8 (1 exponential is in force, 2 its values follow, 4 customized ones follow) | zero u16
//!                retry queues i32 | retries i32 | broker id u64 | broker id when slow u64 | sys flag i32 | timeout i32
//!                [3 x u64] | [count u16 | count x u64] | attributes
//! ```

use super::attributes::Attributes;
use super::reader::{Reader, encode_text};
use crate::store::limits::RETRY_STEP_COUNT_MAX;

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// Its name.
    pub name: String,
    /// Rises with each change; a deletion is a change.
    pub version: u64,
    /// What offset records call it. A group that is made anew after its offsets were dropped has another.
    pub group_id: u32,
    /// A tombstone.
    pub deleted: bool,
    /// The deletion took the offsets too; else a group of this name goes on with them.
    pub offsets_dropped: bool,
    /// What its members may do.
    pub config: GroupConfig,
}

/// RocketMQ's SubscriptionGroupConfig, but for the name. Its default is RocketMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `consumeEnable`: pulls are served.
    pub consume_enabled: bool,
    /// `consumeFromMinEnable`.
    pub consume_from_min_enabled: bool,
    /// `consumeBroadcastEnable`: pulls of broadcast consumers are served.
    pub consume_broadcast_enabled: bool,
    /// `consumeMessageOrderly`.
    pub consume_message_orderly: bool,
    /// `notifyConsumerIdsChangedEnable`: members are told when others come and go.
    pub notify_consumer_ids_changed_enabled: bool,
    /// `retryQueueNums`: queues of the group's retry topic.
    pub retry_queue_count: i32,
    /// `retryMaxTimes`: failed consumptions before a message goes to the dead letters.
    pub retry_times_max: i32,
    /// `brokerId` that members should pull from.
    pub broker_id: u64,
    /// `whichBrokerWhenConsumeSlowly`: broker id to pull from when far behind.
    pub broker_id_when_slow: u64,
    /// `groupSysFlag`.
    pub sys_flag: i32,
    /// `consumeTimeoutMinute`.
    pub consume_timeout_minutes: i32,
    /// `groupRetryPolicy`.
    pub retry_policy: RetryPolicy,
    /// `attributes`.
    pub attributes: Attributes,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            consume_enabled: true,
            consume_from_min_enabled: true,
            consume_broadcast_enabled: true,
            consume_message_orderly: false,
            notify_consumer_ids_changed_enabled: true,
            retry_queue_count: 1,
            retry_times_max: 16,
            broker_id: 0,
            broker_id_when_slow: 1,
            sys_flag: 0,
            consume_timeout_minutes: 15,
            retry_policy: RetryPolicy::default(),
            attributes: Attributes::default(),
        }
    }
}

/// RocketMQ's GroupRetryPolicy: how long a message waits before its next consumption. Without values of its own, the
/// delay levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `type`: EXPONENTIAL instead of CUSTOMIZED.
    pub is_exponential: bool,
    /// `exponentialRetryPolicy`, if given.
    pub exponential: Option<ExponentialRetry>,
    /// `customizedRetryPolicy.next`, in ms, if given: at most `RETRY_STEP_COUNT_MAX`.
    pub customized_ms: Option<Vec<u64>>,
}

/// RocketMQ's ExponentialRetryPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExponentialRetry {
    /// The first delay, in ms.
    pub initial_ms: u64,
    /// The longest, in ms.
    pub max_ms: u64,
    /// By what each is longer than the one before.
    pub multiplier: u64,
}

impl Default for ExponentialRetry {
    fn default() -> Self {
        Self { initial_ms: 5_000, max_ms: 7_200_000, multiplier: 2 }
    }
}

const DELETED: u8 = 2;
const CONFIGURED: u8 = 4;
const OFFSETS_DROPPED: u8 = 8;

const EXPONENTIAL: u8 = 1;
const HAS_EXPONENTIAL: u8 = 2;
const HAS_CUSTOMIZED: u8 = 4;

fn bits<const N: usize>(switches: [(bool, u8); N]) -> u8 {
    switches.into_iter().filter(|(is_on, _)| *is_on).fold(0, |bits, (_, bit)| bits | bit)
}

impl GroupRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let configured = self.config != GroupConfig::default();
        let flags = bits([(self.deleted, DELETED), (configured, CONFIGURED), (self.offsets_dropped, OFFSETS_DROPPED)]);
        out.extend(self.version.to_le_bytes());
        out.extend(self.group_id.to_le_bytes());
        out.extend([flags, 0, 0, 0]);
        if configured {
            encode_text(&self.name, out);
            self.config.encode(out);
        } else {
            out.extend(self.name.as_bytes());
        }
    }

    pub(super) fn decode(mut reader: Reader<'_>) -> Option<Self> {
        let (version, group_id, [flags, ..]) = (reader.u64()?, reader.u32()?, reader.take::<4>()?);
        let (name, config) = if flags & CONFIGURED == 0 {
            (reader.name()?, GroupConfig::default())
        } else {
            let (name, config) = (reader.text()?, GroupConfig::decode(&mut reader)?);
            reader.end((name, config))?
        };
        let (deleted, offsets_dropped) = (flags & DELETED != 0, flags & OFFSETS_DROPPED != 0);
        Some(Self { name, version, group_id, deleted, offsets_dropped, config })
    }
}

impl GroupConfig {
    fn encode(&self, out: &mut Vec<u8>) {
        let policy = &self.retry_policy;
        let switches = bits([
            (self.consume_enabled, 1),
            (self.consume_from_min_enabled, 2),
            (self.consume_broadcast_enabled, 4),
            (self.consume_message_orderly, 8),
            (self.notify_consumer_ids_changed_enabled, 16),
        ]);
        let policy_bits = bits([
            (policy.is_exponential, EXPONENTIAL),
            (policy.exponential.is_some(), HAS_EXPONENTIAL),
            (policy.customized_ms.is_some(), HAS_CUSTOMIZED),
        ]);
        out.extend([switches, policy_bits, 0, 0]);
        out.extend(self.retry_queue_count.to_le_bytes());
        out.extend(self.retry_times_max.to_le_bytes());
        out.extend(self.broker_id.to_le_bytes());
        out.extend(self.broker_id_when_slow.to_le_bytes());
        out.extend(self.sys_flag.to_le_bytes());
        out.extend(self.consume_timeout_minutes.to_le_bytes());
        if let Some(ExponentialRetry { initial_ms, max_ms, multiplier }) = policy.exponential {
            out.extend([initial_ms, max_ms, multiplier].into_iter().flat_map(u64::to_le_bytes));
        }
        if let Some(steps) = &policy.customized_ms {
            out.extend(u16::try_from(steps.len()).expect("steps are bounded").to_le_bytes());
            out.extend(steps.iter().flat_map(|step| step.to_le_bytes()));
        }
        self.attributes.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let [switches, policy, ..] = reader.take::<4>()?;
        let on = |bit: u8| switches & bit != 0;
        let config = Self {
            consume_enabled: on(1),
            consume_from_min_enabled: on(2),
            consume_broadcast_enabled: on(4),
            consume_message_orderly: on(8),
            notify_consumer_ids_changed_enabled: on(16),
            retry_queue_count: reader.i32()?,
            retry_times_max: reader.i32()?,
            broker_id: reader.u64()?,
            broker_id_when_slow: reader.u64()?,
            sys_flag: reader.i32()?,
            consume_timeout_minutes: reader.i32()?,
            ..Self::default()
        };
        let mut retry_policy =
            RetryPolicy { is_exponential: policy & EXPONENTIAL != 0, exponential: None, customized_ms: None };
        if policy & HAS_EXPONENTIAL != 0 {
            let (initial_ms, max_ms, multiplier) = (reader.u64()?, reader.u64()?, reader.u64()?);
            retry_policy.exponential = Some(ExponentialRetry { initial_ms, max_ms, multiplier });
        }
        if policy & HAS_CUSTOMIZED != 0 {
            let count = reader.u16()?;
            retry_policy.customized_ms = Some((0..count).map(|_| reader.u64()).collect::<Option<_>>()?);
        }
        Some(Self { retry_policy, attributes: Attributes::decode(reader)?, ..config })
    }

    /// Whether a record can hold it: the retry policy's steps are bounded (attributes bound themselves).
    pub(super) fn fits(&self) -> bool {
        self.retry_policy.customized_ms.as_ref().is_none_or(|steps| steps.len() <= RETRY_STEP_COUNT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back(record: &GroupRecord) -> usize {
        let mut payload = Vec::new();
        record.encode(&mut payload);
        assert_eq!(GroupRecord::decode(Reader(&payload)).as_ref(), Some(record));
        payload.len()
    }

    #[test]
    fn group_of_defaults_costs_its_name_and_sixteen_bytes() {
        let config = GroupConfig::default();
        let (deleted, offsets_dropped) = (false, false);
        let record = GroupRecord { name: "g".into(), version: 1, group_id: 4, deleted, offsets_dropped, config };
        assert_eq!(reads_back(&record), 17);
        reads_back(&GroupRecord { deleted: true, offsets_dropped: true, ..record });
    }

    #[test]
    fn every_field_of_a_configuration_is_kept() {
        let mut attributes = Attributes::default();
        attributes.set("priority.factor", "1").expect("short");
        let config = GroupConfig {
            consume_enabled: false,
            consume_from_min_enabled: false,
            consume_broadcast_enabled: false,
            consume_message_orderly: true,
            notify_consumer_ids_changed_enabled: false,
            retry_queue_count: 3,
            retry_times_max: -1,
            broker_id: 1,
            broker_id_when_slow: 2,
            sys_flag: 4,
            consume_timeout_minutes: 1,
            retry_policy: RetryPolicy {
                is_exponential: true,
                exponential: Some(ExponentialRetry::default()),
                customized_ms: Some(vec![10, 20]),
            },
            attributes,
        };
        let (deleted, offsets_dropped) = (false, false);
        let record = GroupRecord { name: "g".into(), version: 2, group_id: 4, deleted, offsets_dropped, config };
        reads_back(&record);
        let mut payload = Vec::new();
        record.encode(&mut payload);
        for length in 0..payload.len() {
            assert_eq!(GroupRecord::decode(Reader(&payload[..length])), None, "cut at {length}");
        }
    }
}
