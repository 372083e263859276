//! What all clones of a producer share: configuration, topics, and the rules of retrying.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use ringmq_proto::remoting::topics;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::job::Job;
use super::topic::{Offered, Topic};
use super::way::{TEMPLATE_QUEUE_COUNT_MAX, Way};
use super::{Dialect, ProducerConfig};
use crate::cluster::{BrokerQueues, Cluster};
use crate::error::{Error, Result};
use crate::fault::Health;
use crate::namespace::Namespace;
use crate::remoting::link::Heard;
use crate::trace::Tracer;
use crate::unique::{UniqueIds, local_ip};

/// How often it is looked for routes to refresh.
const REFRESH_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The pause before a second retry; doubles up to the largest. The first one, on another broker, follows at once.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// See the module's text.
pub(super) struct Core {
    pub(super) config: ProducerConfig,
    pub(super) namespace: Namespace,
    pub(super) cluster: Cluster,
    /// Where tasks run, whatever thread a message comes from.
    pub(super) runtime: Handle,
    /// Bytes that may wait for acknowledgements. Closed with the producer.
    pub(super) room: Arc<Semaphore>,
    /// Who is told what became of messages.
    pub(super) tracer: Option<Tracer>,
    /// Names messages where brokers do not do it.
    pub(super) unique_ids: UniqueIds,
    topics: RwLock<HashMap<Box<str>, Arc<Topic>>>,
    health: Mutex<HashMap<Arc<str>, Arc<Health>>>,
    started: Instant,
}

impl Core {
    /// What brokers ask on remoting connections goes to `heard`.
    pub(super) fn start(mut config: ProducerConfig, heard: Option<mpsc::Sender<Heard>>) -> Result<Arc<Self>> {
        let cluster = Cluster::hearing(&config.name_servers, config.tls.as_ref(), heard)?;
        let namespace = Namespace::new(config.namespace.as_deref())?;
        config.group = namespace.wrap(&config.group).into();
        // A remoting frame holds one message, or one batch.
        config.gather &= config.dialect == Dialect::Native;
        let runtime =
            Handle::try_current().map_err(|_| Error::Argument("a producer is started within a tokio runtime"))?;
        let tracer = if config.trace {
            Some(Tracer::start(&config.name_servers, config.tls.as_ref(), &config.group)?)
        } else {
            None
        };
        let core = Arc::new(Self {
            namespace,
            tracer,
            unique_ids: UniqueIds::new(local_ip(cluster.first_name_server())),
            cluster,
            runtime,
            room: Arc::new(Semaphore::new(config.in_flight_bytes_max as usize)),
            topics: RwLock::default(),
            health: Mutex::default(),
            started: Instant::now(),
            config,
        });
        core.runtime.spawn(refresh(Arc::downgrade(&core)));
        Ok(core)
    }

    /// ms since the producer was started.
    #[inline]
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The link to a broker, in this producer's dialect.
    pub(super) fn way(&self, address: &Arc<str>) -> Way {
        match self.config.dialect {
            Dialect::Native => Way::Native(self.cluster.link(address)),
            Dialect::Remoting => Way::Remoting(self.cluster.remoting(address)),
        }
    }

    /// What is known of a broker's speed.
    pub(super) fn health(&self, broker_name: &Arc<str>) -> Arc<Health> {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(health.entry(Arc::clone(broker_name)).or_default())
    }

    /// The topic of this name, known or not.
    pub(super) fn topic(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(topic);
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let first = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            now.subsec_nanos() as usize
        };
        Arc::clone(topics.entry(name.into()).or_insert_with(|| Topic::new(name, first())))
    }

    /// Sends `job` to a queue of `topic`; not to broker `avoid` when there is another.
    pub(super) fn submit(self: &Arc<Self>, topic: &Arc<Topic>, job: Job, avoid: Option<&str>) {
        match topic.offer(self, job, avoid) {
            Offered::Lane(lane, job) => lane.push(job, self),
            Offered::Waits { must_resolve: true } => {
                self.runtime.spawn(resolve(Arc::clone(self), Arc::clone(topic)));
            }
            Offered::Waits { must_resolve: false } => {}
        }
    }

    /// Sends a job again that `broker_name` did not store, as RocketMQ's rules and its own time allow. With `was_sent` the
    /// broker has refused it or may have it; else it never left.
    pub(super) fn retry_or_fail(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        mut job: Job,
        broker_name: &str,
        error: &Error,
        was_sent: bool,
    ) {
        let is_bound = job.ordered_by.is_some();
        let is_spent = was_sent && (is_bound || job.retries_left == 0 || !error.retry_on_another_broker());
        if is_spent || Instant::now() >= job.deadline {
            return job.fail(error.clone());
        }
        // A broker that was not reached costs time but no try: it may be restarting, and nothing can have been stored twice.
        job.retries_left -= u32::from(was_sent);
        job.failure_count += 1;
        let has_other = topic.lanes().iter().any(|lane| &*lane.queue.broker_name != broker_name);
        if job.failure_count == 1 && has_other && !is_bound {
            return self.submit(topic, job, Some(broker_name));
        }
        let pause = RETRY_PAUSE_MIN.saturating_mul(1 << job.failure_count.min(10)).min(RETRY_PAUSE_MAX);
        let (core, topic, error) = (Arc::clone(self), Arc::clone(topic), error.clone());
        let broker_name = broker_name.to_owned();
        self.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            if Instant::now() >= job.deadline {
                job.fail(error);
            } else {
                core.submit(&topic, job, Some(&broker_name));
            }
        });
    }

    /// Asks where `topic` is; of the brokers that would create it when it is nowhere. True: it is nowhere yet.
    async fn route(&self, topic: &str) -> Result<(Vec<BrokerQueues>, bool)> {
        match self.cluster.route(topic).await {
            Err(unknown @ Error::NoRoute { .. }) if self.config.create_topics => {
                let mut template = self.cluster.route(topics::TEMPLATE).await.map_err(|_| unknown)?;
                for broker in &mut template {
                    broker.write_count = broker.write_count.min(TEMPLATE_QUEUE_COUNT_MAX);
                }
                Ok((template, true))
            }
            route => Ok((route?, false)),
        }
    }

    /// Asks for the route of `topic` and takes it, when it has a queue that may be written.
    pub(super) async fn update_route(self: &Arc<Self>, topic: &Arc<Topic>) -> Result<()> {
        let (route, is_from_template) = self.route(&topic.name).await?;
        if route.iter().all(|broker| broker.write_count == 0) {
            let remark = "its queues cannot be written".to_owned();
            return Err(Error::NoRoute { topic: topic.name.to_string(), remark });
        }
        topic.set_route(self, &route, is_from_template);
        Ok(())
    }
}

/// Asks for a route, then sends on what has waited for it.
async fn resolve(core: Arc<Core>, topic: Arc<Topic>) {
    let known = tokio::time::timeout(core.config.send_timeout, core.update_route(&topic)).await;
    let known = known.unwrap_or(Err(Error::Timeout { what: "the route of a topic", after: core.config.send_timeout }));
    match known {
        Ok(()) => {
            while let Some((lane, job)) = topic.next_waiting(&core) {
                lane.push(job, &core);
            }
        }
        Err(error) => topic.give_up().into_iter().for_each(|job| job.fail(error.clone())),
    }
}

/// Asks for routes again, regularly and after errors, as long as the producer lives.
async fn refresh(core: Weak<Core>) {
    loop {
        tokio::time::sleep(REFRESH_LOOK_INTERVAL).await;
        let Some(core) = core.upgrade() else { return };
        let now = Instant::now();
        let topics: Vec<_> = core.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for topic in topics.into_iter().filter(|topic| topic.wants_refresh(now)) {
            if let Err(error) = core.update_route(&topic).await {
                tracing::debug!(topic = %topic.name, %error, "cannot refresh the route");
                topic.keep_route();
            }
        }
    }
}
