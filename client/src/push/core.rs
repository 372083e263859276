//! What all parts of a push consumer share: who it is, what it reads at this moment, and its clocks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ringmq_proto::remoting::consumer::LockBatchBody;
use ringmq_proto::remoting::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::PushConsumerConfig;
use super::listener::Listener;
use super::worker::Worker;
use crate::cluster::Cluster;
use crate::consumer::Start;
use crate::error::{Error, Result};
use crate::group::client_id::{client_id, lasting_client_id};
use crate::group::member::{INNER_PRODUCER_GROUP, Identity, Member, Owner, now_ms};
use crate::group::offsets::Offsets;
use crate::message::{Message, MessageQueue};
use crate::namespace::Namespace;
use crate::producer::{Dialect, Producer, ProducerConfig};
use crate::remoting::broker::{own_queue, wire_queue};
use crate::remoting::link::{ASKED_COUNT_MAX, Asked, Heard};
use crate::trace::{Outcome, Tracer};
use crate::unique::{UniqueIds, local_ip};

/// How often locks are renewed, as in RocketMQ; a broker forgets them after 60 s.
const LOCK_INTERVAL: Duration = Duration::from_secs(20);

/// See the module's text.
pub(super) struct Core {
    pub(super) config: PushConsumerConfig,
    pub(super) namespace: Namespace,
    pub(super) listener: Listener,
    pub(super) member: Arc<Member>,
    pub(super) offsets: Offsets,
    /// Who is told what became of messages.
    pub(super) tracer: Option<Tracer>,
    /// Names calls in traces.
    pub(super) unique_ids: UniqueIds,
    /// Calls that may run.
    pub(super) threads: Arc<Semaphore>,
    workers: Mutex<BTreeMap<MessageQueue, Arc<Worker>>>,
    /// Workers whose queues are this member's no more, until they have ended. Locked within `workers`.
    leaving: Mutex<HashMap<MessageQueue, Arc<Worker>>>,
    is_paused: AtomicBool,
    /// The consumer ends in order.
    is_ending: AtomicBool,
    /// Sends to the group's retry topic, when that is ever needed.
    producer: OnceCell<Producer>,
    me: Weak<Self>,
}

impl Core {
    /// `config` names its group and topics as brokers know them.
    pub(super) fn new(
        config: PushConsumerConfig,
        namespace: Namespace,
        listener: Listener,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Heard>)> {
        let outside = |_| Error::Argument("a consumer is started within a tokio runtime");
        tokio::runtime::Handle::try_current().map_err(outside)?;
        let (sender, heard) = mpsc::channel(ASKED_COUNT_MAX);
        let cluster = Arc::new(Cluster::hearing(&config.name_servers, config.tls.as_ref(), Some(sender))?);
        let ip = local_ip(cluster.first_name_server());
        let group: Arc<str> = config.group.as_str().into();
        let instance = config.instance_name.as_deref();
        let (client_id, offsets) = match config.model {
            MessageModel::Clustering => {
                (client_id(ip, instance), Offsets::remote(Arc::clone(&cluster), Arc::clone(&group)))
            }
            MessageModel::Broadcasting => {
                let id = lasting_client_id(ip, instance);
                let directory = config.offsets_directory();
                let offsets = Offsets::local(Arc::clone(&cluster), Arc::clone(&group), &directory, &id)?;
                (id, offsets)
            }
        };
        let identity = Identity {
            client_id: client_id.into(),
            group,
            model: config.model,
            consume_type: ConsumeType::Passively,
            from_where: match config.start {
                Start::First => ConsumeFromWhere::FirstOffset,
                Start::Last => ConsumeFromWhere::LastOffset,
                Start::Time { .. } => ConsumeFromWhere::Timestamp,
            },
            strategy: config.strategy.clone(),
        };
        let member = Member::new(identity, cluster);
        let tracer = if config.trace {
            Some(Tracer::start(&config.name_servers, config.tls.as_ref(), &config.group)?)
        } else {
            None
        };
        let core = Arc::new_cyclic(|me| Self {
            tracer,
            unique_ids: UniqueIds::new(ip),
            threads: Arc::new(Semaphore::new(config.consume_threads)),
            config,
            namespace,
            listener,
            member,
            offsets,
            workers: Mutex::default(),
            leaving: Mutex::default(),
            is_paused: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            producer: OnceCell::new(),
            me: Weak::clone(me),
        });
        Ok((core, heard))
    }

    /// Calls a listener by `call`, and tells before and after, when that is wanted.
    pub(super) async fn traced<T>(
        &self,
        messages: &[Message],
        call: impl Future<Output = T>,
        is_success: impl FnOnce(&T) -> bool,
    ) -> T {
        let Some(tracer) = &self.tracer else { return call.await };
        let (id, group, started) = (self.unique_ids.next(), &self.config.group, Instant::now());
        tracer.consuming(&id, group, now_ms(), messages);
        let result = call.await;
        let outcome = Outcome { took: started.elapsed(), is_success: is_success(&result) };
        tracer.consumed(&id, group, now_ms(), messages, outcome);
        result
    }

    /// The consumer's own producer.
    pub(super) async fn producer(&self) -> Result<&Producer> {
        let config = ProducerConfig {
            name_servers: self.config.name_servers.clone(),
            tls: self.config.tls.clone(),
            group: INNER_PRODUCER_GROUP.into(),
            dialect: Dialect::Remoting,
            ..ProducerConfig::default()
        };
        self.producer.get_or_try_init(|| async { Producer::start(config) }).await
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
        self.workers().values().for_each(|worker| worker.wake());
    }

    pub(super) fn is_clustering(&self) -> bool {
        self.config.model == MessageModel::Clustering
    }

    /// Whether queues are read under the brokers' locks.
    pub(super) fn locks_queues(&self) -> bool {
        self.listener.is_orderly() && self.is_clustering()
    }

    pub(super) fn assignment(&self) -> Vec<MessageQueue> {
        self.workers().keys().cloned().collect()
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, BTreeMap<MessageQueue, Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads no queue of `topic` any more.
    pub(super) fn drop_topic(&self, topic: &str) {
        self.retain(topic, &[]);
    }

    /// Somebody moved the group in these queues: they are read again from there on.
    pub(super) fn move_to(&self, offsets: &BTreeMap<MessageQueue, i64>) {
        let Some(core) = self.me.upgrade() else { return };
        let mut workers = self.workers();
        for (queue, offset) in offsets {
            if let Some(worker) = workers.remove(queue) {
                worker.abandon();
                self.offsets.set(queue, *offset);
                workers.insert(queue.clone(), Worker::spawn(&core, queue.clone(), Some(*offset), Some(worker)));
            }
        }
    }

    /// Stops reading queues of `topic` but for those that are `kept`.
    fn retain(&self, topic: &str, kept: &[MessageQueue]) {
        self.workers().retain(|queue, worker| {
            let stays = *queue.topic != *topic || kept.contains(queue);
            if !stays {
                worker.close();
                self.leaving().insert(queue.clone(), Arc::clone(worker));
            }
            stays
        });
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<MessageQueue, Arc<Worker>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has ended: the next one of its queue need not wait for it.
    pub(super) fn has_left(&self, worker: &Arc<Worker>) {
        let mut leaving = self.leaving();
        if leaving.get(&worker.queue).is_some_and(|left| Arc::ptr_eq(left, worker)) {
            leaving.remove(&worker.queue);
        }
    }

    /// Renews the locks of all queues, broker by broker.
    async fn renew_locks(&self) {
        let mut by_broker: HashMap<Arc<str>, Vec<Arc<Worker>>> = HashMap::new();
        for worker in self.workers().values() {
            by_broker.entry(Arc::clone(&worker.queue.broker_name)).or_default().push(Arc::clone(worker));
        }
        for (broker_name, workers) in by_broker {
            let Some(first) = workers.first() else { continue };
            let body = self.lock_body(workers.iter().map(|worker| &worker.queue));
            let link = self.member.cluster.remoting_of(&first.queue.topic, &broker_name).await;
            let locked = match link {
                Ok(link) => link.lock_queues(&body).await,
                Err(error) => Err(error),
            };
            match locked {
                Ok(locked) => {
                    let locked: Vec<MessageQueue> = locked.iter().filter_map(own_queue).collect();
                    workers.iter().for_each(|worker| worker.set_locked(locked.contains(&worker.queue)));
                }
                // What was locked stays so until its time is over.
                Err(error) => tracing::warn!(broker = %broker_name, %error, "cannot renew the locks of queues"),
            }
        }
    }

    /// The body that locks or unlocks `queues`.
    pub(super) fn lock_body<'q>(&self, queues: impl Iterator<Item = &'q MessageQueue>) -> LockBatchBody {
        LockBatchBody {
            client_id: self.member.identity.client_id.to_string(),
            consumer_group: self.config.group.clone(),
            mq_set: queues.map(wire_queue).collect(),
            only_this_broker: None,
        }
    }

    /// Ends everything without waiting.
    pub(super) fn close(&self) {
        self.member.close();
        let workers = std::mem::take(&mut *self.workers());
        workers.values().for_each(|worker| worker.abandon());
        self.leaving().values().for_each(|worker| worker.abandon());
    }

    /// Ends everything in order.
    pub(super) async fn shutdown(&self) {
        self.member.close();
        self.is_ending.store(true, Ordering::Release);
        let deadline = Instant::now() + self.config.shutdown_timeout;
        let mut workers: Vec<Arc<Worker>> = std::mem::take(&mut *self.workers()).into_values().collect();
        workers.extend(self.leaving().values().map(Arc::clone));
        workers.iter().for_each(|worker| worker.close());
        for worker in &workers {
            if tokio::time::timeout_at(deadline, worker.ended()).await.is_err() {
                tracing::warn!(queue = ?worker.queue, "still being consumed when its consumer ends");
            }
        }
        self.offsets.commit(true).await;
        self.member.leave().await;
        self.member.cluster.close();
        if let Some(producer) = self.producer.get() {
            producer.clone().close().await;
        }
    }
}

impl Owner for Core {
    fn assigned(&self, topic: &Arc<str>, queues: Vec<MessageQueue>) {
        let Some(core) = self.me.upgrade() else { return };
        if self.member.subscription(topic).is_none() {
            return;
        }
        self.retain(topic, &queues);
        let mut workers = self.workers();
        for queue in queues {
            let before = |queue: &MessageQueue| self.leaving().get(queue).map(Arc::clone);
            workers.entry(queue).or_insert_with_key(|queue| Worker::spawn(&core, queue.clone(), None, before(queue)));
        }
    }

    fn asked(&self, asked: Asked) {
        if let Some(core) = self.me.upgrade() {
            super::answers::answer(core, asked);
        }
    }
}

/// The clocks of a consumer: offsets and locks.
pub(super) async fn keep(core: Weak<Core>) {
    let Some(commit_interval) = core.upgrade().map(|core| core.config.commit_interval) else { return };
    let (mut commits, mut locks) = (interval(commit_interval), interval(LOCK_INTERVAL));
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    locks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let must_lock = tokio::select! {
            _ = commits.tick() => false,
            _ = locks.tick() => true,
        };
        let Some(core) = core.upgrade() else { return };
        if !must_lock {
            core.offsets.commit(false).await;
        } else if core.locks_queues() {
            core.renew_locks().await;
        }
    }
}
