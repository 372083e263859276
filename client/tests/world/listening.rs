//! Listeners that remember what they have seen, and consumers and producers for RocketMQ's protocol.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmq_broker::shard::settings::{DelayLevels, Features};
use ringmq_client::{
    Consumed, ConsumedInOrder, Dialect, Filter, Listener, Message, Producer, ProducerConfig, PushConsumer,
    PushConsumerConfig, Start,
};

use super::{WAIT, World, bodies};

/// What a listener has seen, in the order of the calls.
#[derive(Clone, Default)]
pub struct Seen(pub Arc<Mutex<Vec<Message>>>);

impl Seen {
    pub fn add(&self, messages: &[Message]) {
        self.0.lock().expect("not poisoned").extend_from_slice(messages);
    }

    pub fn all(&self) -> Vec<Message> {
        self.0.lock().expect("not poisoned").clone()
    }

    pub fn bodies(&self) -> Vec<String> {
        bodies(&self.all())
    }

    /// Waits for `count` messages.
    pub async fn wait(&self, count: usize) -> Vec<Message> {
        let started = Instant::now();
        while started.elapsed() < WAIT {
            let all = self.all();
            if all.len() >= count {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {count} messages came: {:?}", self.all().len(), self.bodies());
    }

    pub fn concurrent(&self) -> Listener {
        let seen = self.clone();
        Listener::concurrent(move |messages| {
            seen.add(&messages);
            async { Consumed::Success }
        })
    }

    pub fn orderly(&self) -> Listener {
        let seen = self.clone();
        Listener::orderly(move |messages| {
            seen.add(&messages);
            async { ConsumedInOrder::Success }
        })
    }
}

pub fn short_delays() -> Features {
    Features { delay_levels: DelayLevels::parse("1s 1s 1s 1s 1s 1s").expect("levels"), ..Features::default() }
}

pub fn producer(world: &World) -> Producer {
    world.producer_with(ProducerConfig { dialect: Dialect::Remoting, ..ProducerConfig::default() })
}

pub fn config(world: &World, group: &str, topic: &str) -> PushConsumerConfig {
    PushConsumerConfig {
        name_servers: world.address(),
        group: group.to_owned(),
        subscriptions: vec![(topic.to_owned(), Filter::All)],
        start: Start::First,
        ..PushConsumerConfig::default()
    }
}

pub async fn push(world: &World, group: &str, topic: &str, listener: Listener) -> PushConsumer {
    PushConsumer::start(config(world, group, topic), listener).await.expect("started")
}

pub fn sorted(mut bodies: Vec<String>) -> Vec<String> {
    bodies.sort_by_key(|body| body.parse::<u32>().unwrap_or(u32::MAX));
    bodies
}
