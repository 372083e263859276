//! A name server and brokers in this process, on loopback ports and in directories of their own, and clients of them.

#![allow(unreachable_pub, dead_code, reason = "shared by several tests, each of which uses a part")]

pub mod listening;

use std::net::SocketAddr;
use std::time::Duration;

use ringmq_broker::server::config::Config;
use ringmq_broker::server::{Embedded, StartError};
use ringmq_broker::shard::settings::Features;
use ringmq_client::admin::NewTopic;
use ringmq_client::{
    Admin, Message, OutgoingMessage, Producer, ProducerConfig, PullConsumer, PullConsumerConfig, Start,
};
use tempfile::TempDir;

pub const WAIT: Duration = Duration::from_secs(10);
pub const SHORT: Duration = Duration::from_millis(300);

/// A name server, and where its brokers live.
pub struct World {
    names: Option<ringmq_namesrv::Handle>,
    address: SocketAddr,
    directory: TempDir,
}

impl World {
    pub fn new() -> Self {
        let names = ringmq_namesrv::spawn_thread(ringmq_namesrv::Config::default()).expect("a name server");
        let address = names.addr;
        Self { names: Some(names), address, directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The name server is gone.
    pub async fn end_names(&mut self) {
        let names = self.names.take();
        tokio::task::spawn_blocking(move || drop(names)).await.expect("no panic");
    }

    /// It is there again, and knows nothing.
    pub async fn start_names(&mut self) {
        let config = ringmq_namesrv::Config { listen: self.address, ..ringmq_namesrv::Config::default() };
        let names = tokio::task::spawn_blocking(move || ringmq_namesrv::spawn_thread(config)).await.expect("no panic");
        self.names = Some(names.expect("the port is free again"));
    }

    /// Starts the broker of this name, or starts it again with what it has on disk.
    pub async fn broker(&self, name: &str, shards: u32, listen: Option<SocketAddr>) -> Embedded {
        self.broker_with(name, shards, listen, Features::default()).await
    }

    /// The same, with features of its own: delays, transactions, filters.
    pub async fn broker_with(
        &self,
        name: &str,
        shards: u32,
        listen: Option<SocketAddr>,
        features: Features,
    ) -> Embedded {
        let config = Config {
            features,
            name: name.to_owned(),
            namesrv: vec![self.address()],
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            data: self.directory.path().join(name),
            shards: Some(shards),
            hot_tail_bytes: 16 << 20,
            cache_bytes: 8 << 20,
            segment_size_bytes: 32 << 20,
            ..Config::default()
        };
        tokio::task::spawn_blocking(move || start(&config)).await.expect("no panic")
    }

    pub async fn topic(&self, name: &str, queue_count: u32) {
        let admin = Admin::start(&self.address()).expect("valid");
        let masters = admin.masters(None).await.expect("answered");
        let topic = NewTopic { name: name.to_owned(), queue_count, perm: 6, ordered: false };
        for outcome in admin.create_topic(&masters, &topic).await.expect("a legal name") {
            outcome.result.expect("created");
        }
        self.route(name, queue_count as usize * masters.len()).await;
    }

    /// Waits until the name server has heard from the brokers of so many queues.
    pub async fn route(&self, topic: &str, queue_count: usize) {
        let consumer = self.consumer("waits");
        for _ in 0..100 {
            if consumer.queues(topic).await.is_ok_and(|queues| queues.len() == queue_count) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the route of {topic} never came: {:?}", consumer.queues(topic).await);
    }

    pub fn producer(&self) -> Producer {
        self.producer_with(ProducerConfig::default())
    }

    pub fn producer_with(&self, config: ProducerConfig) -> Producer {
        Producer::start(ProducerConfig { name_servers: self.address(), ..config }).expect("valid")
    }

    /// A consumer without queues.
    pub fn consumer(&self, group: &str) -> PullConsumer {
        let (name_servers, group) = (self.address(), group.to_owned());
        let config = PullConsumerConfig { name_servers, group, start: Start::First, ..PullConsumerConfig::default() };
        PullConsumer::start(config).expect("valid")
    }

    /// A consumer with all queues of a topic.
    pub async fn reading(&self, group: &str, topic: &str) -> PullConsumer {
        let consumer = self.consumer(group);
        consumer.assign(consumer.queues(topic).await.expect("a route"));
        consumer
    }
}

/// The kernel takes the port of a ring's listening socket back a moment after its thread has ended.
fn start(config: &Config) -> Embedded {
    for _ in 0..50 {
        match Embedded::start(config) {
            Ok(broker) => return broker,
            Err(StartError::Listen(_)) => std::thread::sleep(Duration::from_millis(100)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{} stays taken", config.listen);
}

pub async fn end(broker: Embedded) {
    tokio::task::spawn_blocking(|| drop(broker.stop())).await.expect("no panic");
}

pub async fn kill(broker: Embedded) {
    tokio::task::spawn_blocking(|| drop(broker.kill())).await.expect("no panic");
}

pub fn message(topic: &str, body: impl ToString) -> OutgoingMessage {
    OutgoingMessage::new(topic, body.to_string())
}

/// Polls until there are `count` messages.
pub async fn take(consumer: &PullConsumer, count: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    while messages.len() < count {
        let more = consumer.poll(WAIT).await.expect("no error");
        assert!(!more.is_empty(), "{} of {count} messages came", messages.len());
        messages.extend(more);
    }
    messages
}

pub fn bodies(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

pub fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
