//! What the operator chose for a shard's clients.

use super::limits::Limits;

pub use super::delay_levels::{BadDelayLevels, DelayLevels};

/// What clients may ask for beside sending and pulling, and how it behaves; RocketMQ's names are in the descriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// How long each delay level waits. RocketMQ's `messageDelayLevel`.
    pub delay_levels: DelayLevels,
    /// How far away the time of a timed message may lie, in ms. RocketMQ's `timerMaxDelaySec`.
    pub timer_max_delay_ms: u64,
    /// Timed messages can be recalled. RocketMQ's `recallMessageEnable`, which is off there by default: here a recall
    /// costs nobody anything who does not ask for it.
    pub recall_messages: bool,
    /// When the producer of an open transaction is asked for the first time, in ms. RocketMQ's `transactionTimeOut`.
    pub transaction_timeout_ms: u64,
    /// Time between two questions about one transaction, in ms. RocketMQ's `transactionCheckInterval`.
    pub transaction_check_interval_ms: u64,
    /// Questions about one transaction. When reached: it is given up. RocketMQ's `transactionCheckMax`.
    pub transaction_check_max: u32,
    /// Consumers may filter by properties (SQL92). RocketMQ's `enablePropertyFilter`, which is off there by default: here a
    /// filter costs nobody anything who does not ask for it.
    pub property_filter: bool,
    /// A reset of offsets is carried out here, and running consumers hear of it with their next pull; else they are told to
    /// do it themselves, for which they stop ten seconds. RocketMQ's `useServerSideResetOffset`.
    pub server_side_reset: bool,
    /// A group is made when its first consumer says that it lives. RocketMQ's `autoCreateSubscriptionGroup`.
    pub auto_create_groups: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            delay_levels: DelayLevels::default(),
            timer_max_delay_ms: 3 * 24 * 3_600_000,
            recall_messages: true,
            transaction_timeout_ms: 6000,
            transaction_check_interval_ms: 30_000,
            transaction_check_max: 15,
            property_filter: true,
            server_side_reset: true,
            auto_create_groups: true,
        }
    }
}

/// Settings of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The shard's own broker name, told in the hello.
    pub broker_name: String,
    /// Name and version of this program, told in the hello.
    pub software: String,
    /// Where HTTP is answered, for who sends HTTP to this port.
    pub operations_address: Option<String>,
    /// Opening a queue of a topic that does not exist may create the topic.
    pub auto_create_topics: bool,
    /// Queues that an automatically created topic gets over all shards of the broker.
    pub topic_queue_count_default: u32,
    /// Other shards of this process that share topics with this one.
    pub sibling_count: u32,
    /// There are name servers: who makes a topic is answered when they know it.
    pub awaits_registration: bool,
    /// What clients may ask for beside sending and pulling.
    pub features: Features,
    /// What else administrators are told, by name: settings that are not a shard's, and mean nothing to it.
    pub told: Vec<(&'static str, String)>,
    /// Topics that the broker needs itself: created at the start when they are not there.
    pub system_topics: Vec<SystemTopic>,
    /// Seeds the hash tables.
    pub hash_seed: u64,
    /// What the broker may be used for: RocketMQ's permission bits (2 write, 4 read). Its `brokerPermission`, by which
    /// operators drain a broker: producers go elsewhere as soon as they have read the route again.
    pub broker_perm: u32,
    /// Bounds.
    pub limits: Limits,
}

/// A topic that the broker needs itself, for reading and writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemTopic {
    /// Its name.
    pub name: String,
    /// Queues on this shard.
    pub queue_count: u32,
}

impl Settings {
    /// Queues that an automatically created topic gets on this shard: max(1, total / shards).
    pub fn topic_queue_count_per_shard(&self) -> u32 {
        (self.topic_queue_count_default / (self.sibling_count + 1)).max(1)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker_name: "broker-a".into(),
            software: concat!("ringmq-broker ", env!("CARGO_PKG_VERSION")).into(),
            operations_address: None,
            auto_create_topics: true,
            topic_queue_count_default: 8,
            sibling_count: 0,
            awaits_registration: false,
            features: Features::default(),
            told: Vec::new(),
            system_topics: Vec::new(),
            hash_seed: 0,
            broker_perm: 6,
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_topic_has_eight_queues_over_all_shards_and_at_least_one_on_each() {
        let per_shard =
            |shards: u32| Settings { sibling_count: shards - 1, ..Settings::default() }.topic_queue_count_per_shard();
        assert_eq!([1, 2, 3, 8, 9, 64].map(per_shard), [8, 4, 2, 1, 1, 1]);
    }
}
