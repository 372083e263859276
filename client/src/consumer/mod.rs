//! Receiving messages.
//!
//! A [`PullConsumer`] reads the queues that the application assigns to it ([`PullConsumer::assign`]), or its share of them as
//! a member of its group ([`PullConsumer::subscribe`]). Messages are fetched ahead in the background;
//! [`PullConsumer::poll`] gives them out, queue by queue in order. [`PullConsumer::commit`] stores with the broker how far
//! its group has come: whoever assigns the queue next goes on from there. A message may be given out again after a crash
//! between `poll` and `commit`; none is left out, unless retention took it (a warning is logged then).

mod fetcher;
mod membership;
mod reader;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ringmq_proto::ids::QueueOffset;
use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use self::fetcher::{Fetcher, Target};
use self::reader::Reader;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::group::member::{self, Member};
use crate::group::{Filter, Strategy};
use crate::message::{Message, MessageQueue};
use crate::namespace::Namespace;
use crate::outgoing::check_topic;
use crate::producer::Dialect;
use crate::remoting::link::{ASKED_COUNT_MAX, Heard};
use ringmq_tls::ClientTls;

/// Where a group begins in a queue in which it never committed an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message that is still there.
    First,
    /// Behind the newest message: only what comes from now on. RocketMQ's default.
    Last,
    /// At the first message stored at this time or later, in ms since 1970 by the broker's clock.
    Time {
        /// The time.
        time_ms: u64,
    },
}

/// How a consumer behaves.
#[derive(Clone, Debug)]
pub struct PullConsumerConfig {
    /// The cluster's name servers, `HOST:PORT;HOST:PORT;…`.
    pub name_servers: String,
    /// How name servers and brokers are spoken to; none: without TLS.
    pub tls: Option<ClientTls>,
    /// The namespace of the topics and groups that are named here and in calls: RocketMQ's `namespace`, which goes before
    /// them (`namespace%topic`). Queues are named as brokers name them. None.
    pub namespace: Option<String>,
    /// How messages travel.
    pub dialect: Dialect,
    /// The consumer group: whose offsets are read and committed.
    pub group: String,
    /// Where the group begins in a queue in which it never committed. [`Start::Last`], as in RocketMQ.
    pub start: Start,
    /// Messages that [`PullConsumer::poll`] gives at most. 1024.
    pub poll_messages_max: usize,
    /// Messages that one request to a broker asks for. 4096; a batch is delivered whole, also when that makes it more.
    pub pull_messages_max: u32,
    /// Bytes that one request to a broker asks for. 1 MiB; one record is delivered in any case.
    pub pull_bytes_max: u32,
    /// How queues are divided among members that subscribe. [`Strategy::Average`].
    pub strategy: Strategy,
    /// How often what polls gave out is committed by itself. Never, unlike RocketMQ's lite pull consumer: commit when it is
    /// done with.
    pub auto_commit: Option<Duration>,
    /// How long a broker may keep a request for messages that are still to come. 15 s, as in RocketMQ.
    pub long_poll: Duration,
    /// Messages of one queue that are fetched ahead; one request may go beyond it. 8192.
    pub buffer_messages_max: usize,
    /// Bytes of one queue that are fetched ahead; one request may go beyond it. 4 MiB.
    pub buffer_bytes_max: usize,
}

impl Default for PullConsumerConfig {
    fn default() -> Self {
        Self {
            name_servers: "127.0.0.1:9876".to_owned(),
            tls: None,
            namespace: None,
            dialect: Dialect::Native,
            group: String::new(),
            start: Start::Last,
            poll_messages_max: 1024,
            pull_messages_max: 4096,
            pull_bytes_max: 1 << 20,
            strategy: Strategy::Average,
            auto_commit: None,
            long_poll: Duration::from_secs(15),
            buffer_messages_max: 8192,
            buffer_bytes_max: 4 << 20,
        }
    }
}

/// Reads messages; see the [module's text](self).
pub struct PullConsumer {
    inner: Arc<Inner>,
}

struct Inner {
    /// Names the group as brokers know it.
    config: Arc<PullConsumerConfig>,
    namespace: Namespace,
    cluster: Arc<Cluster>,
    runtime: Handle,
    assigned: Mutex<Vec<Arc<Fetcher>>>,
    /// Some queue has messages, or an error.
    arrived: Arc<Notify>,
    /// Which queue gives first; moves on, so that a busy queue does not starve the others.
    turn: AtomicUsize,
    /// Of a consumer that subscribes.
    member: OnceLock<Arc<Member>>,
    /// What brokers ask, until a member listens.
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
}

impl PullConsumer {
    /// A consumer without queues. Must be called within a tokio runtime.
    pub fn start(mut config: PullConsumerConfig) -> Result<Self> {
        if config.group.is_empty() || config.group.len() > LONG_NAME_SIZE_BYTES_MAX {
            return Err(Error::Argument("a consumer needs the name of its group, of at most 255 bytes"));
        }
        if config.poll_messages_max == 0 || config.buffer_messages_max == 0 || config.buffer_bytes_max == 0 {
            return Err(Error::Argument("a consumer that may hold no message gets none"));
        }
        let outside = |_| Error::Argument("a consumer is started within a tokio runtime");
        let runtime = Handle::try_current().map_err(outside)?;
        let namespace = Namespace::new(config.namespace.as_deref())?;
        config.group = namespace.wrap(&config.group).into_owned();
        let auto_commit = config.auto_commit;
        let (sender, heard) = mpsc::channel(ASKED_COUNT_MAX);
        let inner = Arc::new(Inner {
            runtime,
            cluster: Arc::new(Cluster::hearing(&config.name_servers, config.tls.as_ref(), Some(sender))?),
            config: Arc::new(config),
            namespace,
            assigned: Mutex::default(),
            arrived: Arc::default(),
            turn: AtomicUsize::new(0),
            member: OnceLock::new(),
            heard: Mutex::new(Some(heard)),
        });
        if let Some(every) = auto_commit {
            inner.runtime.spawn(membership::auto_commit(Arc::downgrade(&inner), every));
        }
        Ok(Self { inner })
    }

    /// Joins the group and reads its share of a topic's queues, which changes as members come and go. A queue that goes to
    /// another member is committed where this one is. Filters by tags are applied in any dialect; by SQL with remoting.
    ///
    /// # Errors
    /// A filter that cannot be used; what the brokers say of it.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<()> {
        check_topic(topic)?;
        if matches!(filter, Filter::Sql(_)) && self.inner.config.dialect == Dialect::Native {
            return Err(Error::Argument("filters by SQL need a consumer with the remoting dialect"));
        }
        let member = self.inner.member.get_or_init(|| membership::member(&self.inner));
        member.subscribe(&self.inner.namespace.wrap(topic).into(), &filter).await?;
        let heard = self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(heard) = heard {
            self.inner.runtime.spawn(member::run(Arc::downgrade(&self.inner), Arc::clone(member), heard));
        }
        Ok(())
    }

    /// The queues of a topic on all brokers, by broker name and number.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>> {
        let topic: Arc<str> = self.inner.namespace.wrap(topic).into();
        let route = self.inner.cluster.route(&topic).await?;
        let queues_of = |broker: &crate::cluster::BrokerQueues| {
            let (topic, broker_name) = (Arc::clone(&topic), Arc::clone(&broker.broker_name));
            let queue = move |queue_id| MessageQueue {
                topic: Arc::clone(&topic),
                broker_name: Arc::clone(&broker_name),
                queue_id,
            };
            (0..broker.read_count).map(queue)
        };
        Ok(route.iter().flat_map(queues_of).collect())
    }

    /// Reads exactly these queues from now on. A queue that was assigned before goes on where it is; a new one begins
    /// where the group is.
    pub fn assign(&self, queues: impl IntoIterator<Item = MessageQueue>) {
        self.inner.assign(queues);
    }

    /// The queues that are assigned.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.inner.assignment()
    }

    /// Goes on at `offset`. Like every seek: what was fetched ahead is dropped, and an offset outside of the queue becomes
    /// the nearest one inside.
    pub fn seek(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<()> {
        self.seek_to(queue, Target::Offset(offset))
    }

    /// Goes on at the oldest message that is still there.
    pub fn seek_to_begin(&self, queue: &MessageQueue) -> Result<()> {
        self.seek_to(queue, Target::Begin)
    }

    /// Goes on behind the newest message.
    pub fn seek_to_end(&self, queue: &MessageQueue) -> Result<()> {
        self.seek_to(queue, Target::End)
    }

    /// Goes on at the first message stored at `time_ms` or later (ms since 1970, by the broker's clock).
    pub fn seek_to_time(&self, queue: &MessageQueue, time_ms: u64) -> Result<()> {
        self.seek_to(queue, Target::Time { time_ms })
    }

    /// The offset of the next message of `queue` that a poll will give; `None` while the broker has not yet said where
    /// the group is (or the seek leads).
    pub fn position(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>> {
        Ok(self.inner.fetcher(queue)?.position())
    }

    /// Gives no messages of `queue` until it is resumed; what was fetched ahead is kept.
    pub fn pause(&self, queue: &MessageQueue) -> Result<()> {
        self.inner.fetcher(queue)?.pause(true);
        Ok(())
    }

    /// Gives messages of `queue` again.
    pub fn resume(&self, queue: &MessageQueue) -> Result<()> {
        self.inner.fetcher(queue)?.pause(false);
        Ok(())
    }

    /// Waits up to `timeout` for messages, and gives those that are there: in order within each queue, none when the time
    /// is over.
    ///
    /// # Errors
    /// What the application must know of: a queue whose topic was deleted (code 17), damaged records (then the queue
    /// stands still until a seek leads past them). Brokers that cannot be reached are tried again and only logged.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<Message>> {
        let deadline = Instant::now() + timeout;
        loop {
            let arrived = self.inner.arrived.notified();
            let messages = self.inner.take()?;
            if !messages.is_empty() || timeout_at(deadline, arrived).await.is_err() {
                return Ok(messages);
            }
        }
    }

    /// Commits what was given out: for each assigned queue the offset behind the last message of it that a poll gave.
    ///
    /// # Errors
    /// The first error; the other queues are committed nevertheless.
    pub async fn commit(&self) -> Result<()> {
        self.inner.commit().await
    }

    /// Commits `offset` as the group's next one in `queue`, assigned or not.
    pub async fn commit_offset(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<()> {
        match self.inner.fetcher(queue) {
            Ok(fetcher) => fetcher.reader.commit(&self.inner.config.group, offset).await,
            Err(_) => self.inner.reader(queue.clone()).commit(&self.inner.config.group, offset).await,
        }
    }

    /// What the group has committed in `queue`, assigned or not; `None` when it never did.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>> {
        self.inner.reader(queue.clone()).committed(&self.inner.config.group).await
    }

    /// The least offset that is still there in `queue`, and the one behind its newest message.
    pub async fn ends(&self, queue: &MessageQueue) -> Result<(QueueOffset, QueueOffset)> {
        self.inner.reader(queue.clone()).ends().await
    }

    /// Stops fetching and closes the connections. Commits nothing. A member of a group should [`Self::leave`].
    pub fn close(self) {
        drop(self);
    }

    /// Commits what was given out, leaves the group and closes the connections: the others take over at once.
    ///
    /// # Errors
    /// Of the commit; the group was left nevertheless.
    pub async fn leave(self) -> Result<()> {
        let committed = self.commit().await;
        if let Some(member) = self.inner.member.get() {
            member.close();
            member.leave().await;
        }
        committed
    }

    fn seek_to(&self, queue: &MessageQueue, target: Target) -> Result<()> {
        self.inner.fetcher(queue)?.seek(target);
        Ok(())
    }
}

impl Inner {
    /// Reads exactly these queues from now on. Gives those that were read before and are no more.
    fn assign(&self, queues: impl IntoIterator<Item = MessageQueue>) -> Vec<Arc<Fetcher>> {
        let mut wanted: Vec<MessageQueue> = queues.into_iter().collect();
        wanted.sort();
        wanted.dedup();
        let mut assigned = self.assigned();
        let (stay, left): (Vec<_>, Vec<_>) =
            assigned.drain(..).partition(|fetcher| wanted.binary_search(&fetcher.reader.queue).is_ok());
        left.iter().for_each(|fetcher| fetcher.close());
        *assigned = stay;
        for queue in wanted {
            if !assigned.iter().any(|fetcher| fetcher.reader.queue == queue) {
                let reader = self.reader(queue);
                let (config, arrived) = (Arc::clone(&self.config), Arc::clone(&self.arrived));
                assigned.push(Fetcher::spawn(&self.runtime, reader, config, arrived, Target::Committed));
            }
        }
        left
    }

    fn assignment(&self) -> Vec<MessageQueue> {
        self.assigned().iter().map(|fetcher| fetcher.reader.queue.clone()).collect()
    }

    async fn commit(&self) -> Result<()> {
        let fetchers = self.assigned().clone();
        let mut result = Ok(());
        for fetcher in fetchers {
            result = result.and(fetcher.commit().await);
        }
        result
    }

    fn take(&self) -> Result<Vec<Message>> {
        let assigned = self.assigned();
        let mut messages = Vec::new();
        if assigned.is_empty() {
            return Ok(messages);
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for step in 0..assigned.len() {
            let fetcher = &assigned[first.wrapping_add(step) % assigned.len()];
            let room = self.config.poll_messages_max - messages.len();
            fetcher.take(room, &mut messages)?;
            if messages.len() >= self.config.poll_messages_max {
                break;
            }
        }
        if self.namespace.name().is_some() {
            messages.iter_mut().for_each(|message| message.namespace = self.namespace.clone());
        }
        Ok(messages)
    }

    fn reader(&self, queue: MessageQueue) -> Reader {
        {
            let subscription = self.member.get().and_then(|member| member.subscription(&queue.topic));
            let (dialect, group) = (self.config.dialect, &self.config.group);
            Reader::new(dialect, group, Arc::clone(&self.cluster), queue, subscription)
        }
    }

    fn fetcher(&self, queue: &MessageQueue) -> Result<Arc<Fetcher>> {
        let assigned = self.assigned();
        let found = assigned.iter().find(|fetcher| fetcher.reader.queue == *queue);
        found.map(Arc::clone).ok_or(Error::Argument("the queue is not assigned to this consumer"))
    }

    fn assigned(&self) -> MutexGuard<'_, Vec<Arc<Fetcher>>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PullConsumer {
    fn drop(&mut self) {
        self.inner.assigned().iter().for_each(|fetcher| fetcher.close());
        if let Some(member) = self.inner.member.get() {
            member.close();
        }
        self.inner.cluster.close();
    }
}
