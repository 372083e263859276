//! How a push consumer behaves.

use std::path::PathBuf;
use std::time::Duration;

use crate::consumer::Start;
use crate::error::{Error, Result};
use crate::group::{Filter, MessageModel, Strategy};
use ringmq_tls::ClientTls;

/// How a push consumer behaves. The defaults are RocketMQ's.
#[derive(Clone, Debug)]
pub struct PushConsumerConfig {
    /// The cluster's name servers, `HOST:PORT;HOST:PORT;…`.
    pub name_servers: String,
    /// How name servers and brokers are spoken to; none: without TLS.
    pub tls: Option<ClientTls>,
    /// The namespace of the topics and groups that are named here and in calls: RocketMQ's `namespace`, which goes before
    /// them (`namespace%topic`). Queues are named as brokers name them. None.
    pub namespace: Option<String>,
    /// The consumer group.
    pub group: String,
    /// What is read: topics and filters. All members of a group must say the same.
    pub subscriptions: Vec<(String, Filter)>,
    /// Whether members share the messages, or each gets all. Clustering.
    pub model: MessageModel,
    /// Where the group begins in a queue in which it never committed. [`Start::Last`].
    pub start: Start,
    /// How queues are divided. [`Strategy::Average`].
    pub strategy: Strategy,
    /// The part of the client id behind the address. By default unique; of broadcasting members `DEFAULT`, because their
    /// offsets are found again by it.
    pub instance_name: Option<String>,
    /// Calls of the listener at once, over all queues. 20.
    pub consume_threads: usize,
    /// Messages that one call gets at most. 1.
    pub consume_batch_max: usize,
    /// Messages that one request to a broker asks for. 32.
    pub pull_batch_max: u32,
    /// The pause between two requests for one queue. None.
    pub pull_interval: Duration,
    /// How long a broker may keep a request for messages that are still to come. 15 s.
    pub long_poll: Duration,
    /// Messages of one queue that are fetched and not consumed; one request may go beyond it. 1000.
    pub queue_messages_max: usize,
    /// Their bytes. 100 MiB.
    pub queue_bytes_max: usize,
    /// How far the last of them may be ahead of the first, when consumption is concurrent. 2000.
    pub queue_span_max: u64,
    /// How often a message may fail before it goes to the dead letters. 16 for concurrent consumption; in order never.
    pub max_reconsume_times: Option<u32>,
    /// The pause before a message that failed is tried again in order. 1 s.
    pub suspend_time: Duration,
    /// A call that takes longer counts as failed, and its future is dropped. 15 minutes.
    pub consume_timeout: Duration,
    /// How often offsets are committed. 5 s.
    pub commit_interval: Duration,
    /// How long [`PushConsumer::shutdown`](super::PushConsumer::shutdown) waits for running calls. 10 s.
    pub shutdown_timeout: Duration,
    /// Where broadcasting members keep their offsets. `~/.rocketmq_offsets`.
    pub offsets_directory: Option<PathBuf>,
    /// Whether each message's consumption is told to RocketMQ's trace topic. No.
    pub trace: bool,
}

impl Default for PushConsumerConfig {
    fn default() -> Self {
        Self {
            name_servers: "127.0.0.1:9876".to_owned(),
            tls: None,
            namespace: None,
            group: String::new(),
            subscriptions: Vec::new(),
            model: MessageModel::Clustering,
            start: Start::Last,
            strategy: Strategy::Average,
            instance_name: None,
            consume_threads: 20,
            consume_batch_max: 1,
            pull_batch_max: 32,
            pull_interval: Duration::ZERO,
            long_poll: Duration::from_secs(15),
            queue_messages_max: 1000,
            queue_bytes_max: 100 << 20,
            queue_span_max: 2000,
            max_reconsume_times: None,
            suspend_time: Duration::from_secs(1),
            consume_timeout: Duration::from_secs(15 * 60),
            commit_interval: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
            offsets_directory: None,
            trace: false,
        }
    }
}

impl PushConsumerConfig {
    pub(super) fn check(&self) -> Result<()> {
        let counts = [self.consume_threads, self.consume_batch_max, self.queue_messages_max, self.queue_bytes_max];
        if counts.contains(&0) || self.pull_batch_max == 0 || self.commit_interval.is_zero() {
            return Err(Error::Argument(
                "a consumer whose threads, batches, queues or intervals are zero does nothing",
            ));
        }
        Ok(())
    }

    /// Where the offsets of broadcasting members are.
    pub(super) fn offsets_directory(&self) -> PathBuf {
        self.offsets_directory.clone().unwrap_or_else(|| {
            let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
            home.join(".rocketmq_offsets")
        })
    }
}
