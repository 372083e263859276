//! A producer that brokers know: those whom a broker asks something back (transactions, replies) say by heartbeats that
//! they are there.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringmq_proto::remoting::heartbeat::{HeartbeatData, ProducerData, UnregisterClient};
use ringmq_proto::remoting::route::MASTER_ID;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Producer;
use crate::remoting::link::{Asked, Heard, RemotingLink};

/// RocketMQ's clients say every 30 s that they live; brokers forget them after 120 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// A producer that brokers ask.
pub(crate) trait Present: Send + Sync + 'static {
    /// Who it is.
    fn producer(&self) -> &Producer;

    /// Under which id.
    fn client_id(&self) -> &str;

    /// Whether all brokers must know it, or only those that it is connected to.
    fn is_known_to_all(&self) -> bool;

    /// A broker asks something. Must not block.
    fn asked(&self, asked: Asked);
}

/// Says regularly, and on each new connection, that `present` is there, until it is no more.
pub(crate) async fn keep<P: Present>(present: Weak<P>, mut heard: mpsc::Receiver<Heard>) {
    let mut heartbeats = interval(HEARTBEAT_INTERVAL);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let something = tokio::select! {
            _ = heartbeats.tick() => Heard::Connected,
            something = heard.recv() => match something {
                Some(something) => something,
                None => return,
            },
        };
        let Some(present) = present.upgrade() else { return };
        match something {
            Heard::Asked(asked) => present.asked(asked),
            // Several connections are made at once: one round tells all brokers.
            Heard::Connected if heard.is_empty() => say(&*present).await,
            Heard::Connected => {}
        }
    }
}

/// Tells the brokers who is there.
pub(crate) async fn say(present: &impl Present) {
    let data = Arc::new(HeartbeatData {
        client_id: present.client_id().to_owned(),
        producer_data_set: vec![ProducerData { group_name: present.producer().group().to_string() }],
        ..HeartbeatData::default()
    });
    let mut beats = JoinSet::new();
    for link in links(present).await {
        let data = Arc::clone(&data);
        beats.spawn(async move {
            if let Err(error) = link.heartbeat(&data).await {
                tracing::debug!(address = %link.address(), %error, "cannot say that this client lives");
            }
        });
    }
    while beats.join_next().await.is_some() {}
}

/// Tells the brokers that it goes.
pub(crate) async fn leave(present: &impl Present) {
    for link in present.producer().cluster().remoting_links() {
        let group = Some(&**present.producer().group());
        let request = UnregisterClient { client_id: present.client_id(), producer_group: group, consumer_group: None };
        if let Err(error) = link.unregister(&request).await {
            tracing::debug!(address = %link.address(), %error, "a broker was not told that this client leaves");
        }
    }
}

async fn links(present: &impl Present) -> Vec<Arc<RemotingLink>> {
    let cluster = present.producer().cluster();
    let mut links: BTreeMap<Arc<str>, Arc<RemotingLink>> =
        cluster.remoting_links().into_iter().map(|link| (Arc::clone(link.address()), link)).collect();
    if present.is_known_to_all() {
        for broker in cluster.brokers().await.unwrap_or_default() {
            if broker.id == MASTER_ID {
                let address: Arc<str> = broker.address.into();
                links.insert(Arc::clone(&address), cluster.remoting(&address));
            }
        }
    }
    links.into_values().collect()
}
