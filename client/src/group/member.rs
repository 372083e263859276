//! One member of a consumer group: its heartbeats, its view of the other members, and its share of the queues, computed
//! anew every 20 s and at once when a broker says that something changed (40) or a connection was made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmq_proto::remoting::client_push::NotifyConsumerIdsChanged;
use ringmq_proto::remoting::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, EXPRESSION_TAG, HeartbeatData, MessageModel, ProducerData,
    SubscriptionData, UnregisterClient,
};
use ringmq_proto::remoting::request_code as code;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Filter, Strategy};
use crate::cluster::{BrokerQueues, Cluster};
use crate::error::Result;
use crate::message::{MessageQueue, RETRY_PREFIX};
use crate::remoting::link::{Asked, Heard, RemotingLink};

/// RocketMQ's clients say every 30 s that they live; brokers forget them after 120 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// RocketMQ's rebalance interval.
const REBALANCE_INTERVAL: Duration = Duration::from_secs(20);

/// The same when the last one was not complete, and the least between two.
const REBALANCE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The group that every consumer's own producer belongs to.
pub(crate) const INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";

/// What a member does with its share, and with what brokers ask.
pub(crate) trait Owner: Send + Sync + 'static {
    /// These queues of `topic`, and no others, are this member's now.
    fn assigned(&self, topic: &Arc<str>, queues: Vec<MessageQueue>);

    /// A broker asks something else than to rebalance. Must not block.
    fn asked(&self, asked: Asked);
}

/// Who a member is, unchanged as long as it lives.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) client_id: Arc<str>,
    pub(crate) group: Arc<str>,
    pub(crate) model: MessageModel,
    pub(crate) consume_type: ConsumeType,
    pub(crate) from_where: ConsumeFromWhere,
    pub(crate) strategy: Strategy,
}

/// See the module's text.
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) cluster: Arc<Cluster>,
    subscriptions: Mutex<BTreeMap<Arc<str>, SubscriptionData>>,
    /// The last route of each topic: a name server that is away changes nothing.
    routes: Mutex<BTreeMap<Arc<str>, Arc<[BrokerQueues]>>>,
    /// Brokers that know this client: they are told when it leaves.
    told: Mutex<BTreeSet<Arc<str>>>,
    /// Rebalance soon.
    changed: Notify,
    is_closed: AtomicBool,
}

impl Member {
    /// A member that nobody knows of yet.
    pub(crate) fn new(identity: Identity, cluster: Arc<Cluster>) -> Arc<Self> {
        let member = Self {
            identity,
            cluster,
            subscriptions: Mutex::default(),
            routes: Mutex::default(),
            told: Mutex::default(),
            changed: Notify::new(),
            is_closed: AtomicBool::new(false),
        };
        if member.identity.model == MessageModel::Clustering {
            member.put_subscription(&member.retry_topic(), &Filter::All);
        }
        Arc::new(member)
    }

    /// The topic in which the group gets again what it gave back.
    pub(crate) fn retry_topic(&self) -> Arc<str> {
        format!("{RETRY_PREFIX}{}", self.identity.group).into()
    }

    /// Reads a topic from now on; known to brokers by the next heartbeat.
    fn put_subscription(&self, topic: &Arc<str>, filter: &Filter) {
        let data = filter.subscription(topic, now_ms());
        lock(&self.subscriptions).insert(Arc::clone(topic), data);
    }

    /// Reads a topic from now on. A filter that is more than tags is shown to the brokers first.
    ///
    /// # Errors
    /// When the topic has no route, or a broker does not understand the filter (23) or evaluates none (1).
    pub(crate) async fn subscribe(&self, topic: &Arc<str>, filter: &Filter) -> Result<()> {
        let route = self.route(topic).await;
        if let Filter::Sql(_) = filter {
            let data = filter.subscription(topic, now_ms());
            for broker in route?.iter() {
                let link = self.cluster.remoting(&broker.address);
                link.check_subscription(&self.identity.client_id, &self.identity.group, data.clone()).await?;
            }
        }
        self.put_subscription(topic, filter);
        self.changed.notify_one();
        Ok(())
    }

    /// Reads a topic no more.
    pub(crate) fn unsubscribe(&self, topic: &str) {
        lock(&self.subscriptions).remove(topic);
        self.changed.notify_one();
    }

    /// What is read of `topic`.
    pub(crate) fn subscription(&self, topic: &str) -> Option<SubscriptionData> {
        lock(&self.subscriptions).get(topic).cloned()
    }

    /// All that is read.
    pub(crate) fn subscriptions(&self) -> Vec<SubscriptionData> {
        lock(&self.subscriptions).values().cloned().collect()
    }

    /// Rebalance soon.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Ends [`run`].
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The last known route, asked for again.
    async fn route(&self, topic: &Arc<str>) -> Result<Arc<[BrokerQueues]>> {
        match self.cluster.recent_route(topic).await {
            Ok(route) => {
                lock(&self.routes).insert(Arc::clone(topic), Arc::clone(&route));
                Ok(route)
            }
            Err(error) => lock(&self.routes).get(topic).cloned().ok_or(error),
        }
    }

    /// Tells all brokers of the subscribed topics who is here and what it reads.
    pub(crate) async fn heartbeat(&self) {
        let topics: Vec<Arc<str>> = lock(&self.subscriptions).keys().cloned().collect();
        let mut addresses = BTreeSet::new();
        for topic in topics {
            if let Ok(route) = self.route(&topic).await {
                addresses.extend(route.iter().map(|broker| Arc::clone(&broker.address)));
            }
        }
        let data = Arc::new(self.heartbeat_data());
        let mut beats = JoinSet::new();
        for address in addresses {
            let (link, data) = (self.cluster.remoting(&address), Arc::clone(&data));
            beats.spawn(async move { (link.heartbeat(&data).await, address) });
        }
        while let Some(Ok((beat, address))) = beats.join_next().await {
            match beat {
                Ok(_) => drop(lock(&self.told).insert(address)),
                Err(error) => tracing::debug!(%address, %error, "cannot say that this client lives"),
            }
        }
    }

    fn heartbeat_data(&self) -> HeartbeatData {
        let Identity { client_id, group, model, consume_type, from_where, .. } = &self.identity;
        let consumer = ConsumerData {
            consume_from_where: *from_where,
            consume_type: *consume_type,
            group_name: group.to_string(),
            message_model: *model,
            subscription_data_set: self.subscriptions(),
            unit_mode: false,
        };
        HeartbeatData {
            client_id: client_id.to_string(),
            consumer_data_set: vec![consumer],
            producer_data_set: vec![ProducerData { group_name: INNER_PRODUCER_GROUP.to_owned() }],
            ..HeartbeatData::default()
        }
    }

    /// Leaves the group: the brokers tell the others at once.
    pub(crate) async fn leave(&self) {
        let told = std::mem::take(&mut *lock(&self.told));
        let mut leaving = JoinSet::new();
        for address in told {
            let link = self.cluster.remoting(&address);
            let (client_id, group) = (Arc::clone(&self.identity.client_id), Arc::clone(&self.identity.group));
            leaving.spawn(async move {
                let request = UnregisterClient {
                    client_id: &client_id,
                    producer_group: Some(INNER_PRODUCER_GROUP),
                    consumer_group: Some(&group),
                };
                link.unregister(&request).await
            });
        }
        while let Some(left) = leaving.join_next().await {
            if let Ok(Err(error)) = left {
                tracing::debug!(%error, "a broker was not told that this client leaves");
            }
        }
    }

    /// Divides the queues of all topics. Whether that could be done for all of them.
    async fn rebalance(&self, owner: &impl Owner) -> bool {
        let topics: Vec<Arc<str>> = lock(&self.subscriptions).keys().cloned().collect();
        let mut is_complete = true;
        for topic in topics {
            match self.share_of(&topic).await {
                Ok(Some(queues)) => owner.assigned(&topic, queues),
                Ok(None) => is_complete = false,
                Err(error) => {
                    // The retry topic comes to be with the first heartbeat that a broker hears.
                    is_complete = false;
                    tracing::debug!(%topic, %error, "cannot divide the queues");
                }
            }
        }
        is_complete
    }

    /// This member's queues of a topic; `None` when no broker knows who the members are.
    async fn share_of(&self, topic: &Arc<str>) -> Result<Option<Vec<MessageQueue>>> {
        let route = self.route(topic).await?;
        let mut queues: Vec<MessageQueue> = route.iter().flat_map(|broker| queues_of(topic, broker)).collect();
        queues.sort();
        if self.identity.model == MessageModel::Broadcasting {
            return Ok(Some(queues));
        }
        let Some(members) = self.members(&route).await else { return Ok(None) };
        Ok(Some(self.identity.strategy.allocate(&self.identity.client_id, &queues, &members)))
    }

    /// The members of the group, sorted, as the first broker that answers knows them.
    async fn members(&self, route: &[BrokerQueues]) -> Option<Vec<String>> {
        for broker in route {
            let link: Arc<RemotingLink> = self.cluster.remoting(&broker.address);
            match link.consumer_ids(&self.identity.group).await {
                Ok(members) if members.is_empty() => {}
                Ok(mut members) => {
                    members.sort();
                    members.dedup();
                    return Some(members);
                }
                Err(error) => tracing::debug!(broker = %broker.broker_name, %error, "who else is there?"),
            }
        }
        None
    }

    /// Whether this heard something makes the shares change.
    fn is_change(&self, asked: &Asked) -> bool {
        asked.code == code::NOTIFY_CONSUMER_IDS_CHANGED
            && asked
                .read::<NotifyConsumerIdsChanged<'_>>()
                .is_none_or(|notified| *notified.consumer_group == *self.identity.group)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// The life of a member, until it is closed or its owner is gone. Begins with a heartbeat and a rebalance.
pub(crate) async fn run<O: Owner>(owner: Weak<O>, member: Arc<Member>, mut heard: mpsc::Receiver<Heard>) {
    let mut heartbeats = interval(HEARTBEAT_INTERVAL);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rebalance_at = Instant::now();
    let mut must_tell = true;
    loop {
        tokio::select! {
            _ = heartbeats.tick() => must_tell = true,
            () = tokio::time::sleep_until(rebalance_at) => {}
            () = member.changed.notified() => {
                must_tell = true;
                rebalance_at = Instant::now();
            }
            something = heard.recv() => match something {
                Some(Heard::Connected) => {
                    must_tell = true;
                    rebalance_at = Instant::now();
                }
                Some(Heard::Asked(asked)) if member.is_change(&asked) => rebalance_at = Instant::now(),
                Some(Heard::Asked(asked)) => {
                    let Some(owner) = owner.upgrade() else { return };
                    owner.asked(asked);
                    continue;
                }
                None => return,
            },
        }
        if !heard.is_empty() {
            // Several connections are made at once: one heartbeat tells all brokers.
            continue;
        }
        let Some(owner) = owner.upgrade() else { return };
        if member.is_closed() {
            return;
        }
        if std::mem::take(&mut must_tell) {
            member.heartbeat().await;
        }
        if Instant::now() >= rebalance_at {
            let is_complete = member.rebalance(&*owner).await;
            let pause = if is_complete { REBALANCE_INTERVAL } else { REBALANCE_INTERVAL_MIN };
            rebalance_at = Instant::now() + pause;
        }
    }
}

fn queues_of(topic: &Arc<str>, broker: &BrokerQueues) -> impl Iterator<Item = MessageQueue> {
    let (topic, broker_name) = (Arc::clone(topic), Arc::clone(&broker.broker_name));
    (0..broker.read_count).map(move |queue_id| MessageQueue {
        topic: Arc::clone(&topic),
        broker_name: Arc::clone(&broker_name),
        queue_id,
    })
}

/// Wall time in ms.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Whether the broker evaluates this subscription on properties.
pub(crate) fn is_expression(data: &SubscriptionData) -> bool {
    data.expression_type != EXPRESSION_TAG
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
