//! Sending messages.
//!
//! A [`Producer`] spreads messages over the queues of all brokers that have the topic, in turn. What a broker does not
//! store is tried on another one, within one time limit for everything; brokers that were slow or failed are avoided for a
//! while. An acknowledged message was stored (with a broker's default: on disk). A message whose send *failed* may be
//! stored nevertheless, and one that was retried may be stored twice: give messages a key if that matters.

mod core;
mod job;
mod lane;
pub(crate) mod presence;
mod topic;
mod way;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;
use ringmq_proto::message::properties::names;
use ringmq_proto::remoting::timer::{RecallHandle, RecallMessage};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

pub use job::SendReceipt;

use self::core::Core;
use self::job::{Completion, Job, Payload, Times};
use crate::cluster::Cluster;
use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::namespace::{INSTANCE_ID, Namespace};
use crate::outgoing::{InvalidMessage, OutgoingMessage, Parts};
use crate::remoting::link::Heard;
use ringmq_tls::ClientTls;

/// What a waiting message counts beside its bytes.
const MESSAGE_OVERHEAD_SIZE_BYTES: usize = 256;

/// How messages travel to and from brokers. Groups, transactions and whatever else there is speak remoting always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// RingMQ's own protocol, which packs more messages into a frame. RingMQ's brokers only.
    #[default]
    Native,
    /// RocketMQ's protocol: RingMQ's brokers and Apache RocketMQ's.
    Remoting,
}

/// How a producer behaves.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// The cluster's name servers, `HOST:PORT;HOST:PORT;…`.
    pub name_servers: String,
    /// How name servers and brokers are spoken to; none: without TLS.
    pub tls: Option<ClientTls>,
    /// The namespace of the topics and groups that are named here and in calls: RocketMQ's `namespace`, which goes before
    /// them (`namespace%topic`). Queues are named as brokers name them. None.
    pub namespace: Option<String>,
    /// The producer group, which brokers see with [`Dialect::Remoting`]. `RINGMQ_PRODUCER`.
    pub group: Arc<str>,
    /// How messages travel.
    pub dialect: Dialect,
    /// How long a send may take in all, connecting and retries included. 3 s, as in RocketMQ.
    pub send_timeout: Duration,
    /// On how many other brokers a message is tried when one answers with a code that asks for it, or its connection ends
    /// while the message is on its way. 2, as in RocketMQ. A broker that cannot be reached at all costs none of them.
    pub retries: u32,
    /// Sends to one queue gather while a frame to it is in flight, and leave together in the next one. Never waits for a
    /// timer. Off: each send leaves in a frame of its own, at once. On by default.
    pub gather: bool,
    /// Brokers that answered slowly or not at all are avoided for a while (RocketMQ's `sendLatencyFaultEnable`). On by
    /// default, unlike there: a shard that restarts then costs one slow send and not one in every round.
    pub avoid_slow_brokers: bool,
    /// A topic that no broker has is created by its first send, if the brokers allow that. On, as in RocketMQ.
    pub create_topics: bool,
    /// Which bodies are compressed; none: no body is. As in RocketMQ: from 4 KiB on, by zlib.
    pub compression: Option<Compression>,
    /// Whether each message that was stored is told to RocketMQ's trace topic. No.
    pub trace: bool,
    /// Bytes of messages that may wait for acknowledgements (256 bytes more for each message); then [`Producer::send`]
    /// waits and [`Producer::enqueue`] gives [`Error::Full`]. 64 MiB.
    pub in_flight_bytes_max: u32,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            name_servers: "127.0.0.1:9876".to_owned(),
            tls: None,
            namespace: None,
            group: "RINGMQ_PRODUCER".into(),
            dialect: Dialect::Native,
            send_timeout: Duration::from_secs(3),
            retries: 2,
            gather: true,
            avoid_slow_brokers: true,
            create_topics: true,
            compression: Some(Compression::default()),
            trace: false,
            in_flight_bytes_max: 64 << 20,
        }
    }
}

/// Sends messages; see the [module's text](self). Clones share everything.
#[derive(Clone)]
pub struct Producer {
    core: Arc<Core>,
}

/// An enqueued message on its way: resolves to its receipt. Dropping it does not take the message back.
#[derive(Debug)]
pub struct PendingSend {
    receiver: oneshot::Receiver<Result<SendReceipt>>,
}

impl Future for PendingSend {
    type Output = Result<SendReceipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|received| received.unwrap_or(Err(Error::Closed)))
    }
}

impl Producer {
    /// A producer for the cluster of `config`'s name servers. Connects when it first has something to send. Must be called
    /// within a tokio runtime.
    pub fn start(config: ProducerConfig) -> Result<Self> {
        Self::hearing(config, None)
    }

    /// The same, and what brokers ask on remoting connections goes to `heard`.
    pub(crate) fn hearing(config: ProducerConfig, heard: Option<mpsc::Sender<Heard>>) -> Result<Self> {
        if config.group.is_empty() || config.group.len() > LONG_NAME_SIZE_BYTES_MAX {
            return Err(Error::Argument("a producer's group has a name, of at most 255 bytes"));
        }
        if config.send_timeout.is_zero() {
            return Err(Error::Argument("a send needs some time: send_timeout is zero"));
        }
        if config.in_flight_bytes_max == 0 {
            return Err(Error::Argument("a producer needs some room: in_flight_bytes_max is zero"));
        }
        if config.compression.is_some_and(|compression| !compression.is_possible()) {
            return Err(Error::Argument("zlib has levels 1 to 9, ZSTD 1 to 22"));
        }
        Ok(Self { core: Core::start(config, heard)? })
    }

    /// Sends a message and waits until it is stored.
    pub async fn send(&self, message: OutgoingMessage) -> Result<SendReceipt> {
        let times = self.times();
        let mut parts = self.parts(message)?;
        let payload = self.compressed(&mut parts);
        let room = self.room(cost(&payload), times).await?;
        let (sender, receiver) = oneshot::channel();
        let job = self.job(payload, parts.ordered_by, times, Completion::One(sender), room);
        self.core.submit(&self.core.topic(&parts.topic), job, None);
        PendingSend { receiver }.await
    }

    /// Takes a message for sending, without waiting; the receipt comes later. Messages that are enqueued in order for the
    /// same queue (see [`OutgoingMessage::ordered_by`]) are stored in order.
    ///
    /// # Errors
    /// [`Error::Full`] when too much waits already.
    pub fn enqueue(&self, message: OutgoingMessage) -> Result<PendingSend> {
        let (sender, receiver) = oneshot::channel();
        self.take(message, Completion::One(sender))?;
        Ok(PendingSend { receiver })
    }

    /// Takes a message for sending and calls `done` with the result, on a thread of the runtime: it must not block.
    ///
    /// # Errors
    /// [`Error::Full`] when too much waits already; `done` is then not called.
    pub fn send_with(
        &self,
        message: OutgoingMessage,
        done: impl FnOnce(Result<SendReceipt>) + Send + 'static,
    ) -> Result<()> {
        self.take(message, Completion::Callback(Box::new(done)))
    }

    /// Sends messages of one topic to one queue in one frame: they are stored together, with successive offsets, or not at
    /// all. All are ordered by the first one's key, if it has one.
    pub async fn send_batch(&self, messages: impl IntoIterator<Item = OutgoingMessage>) -> Result<Vec<SendReceipt>> {
        let times = self.times();
        let (mut topic, mut ordered_by, mut payloads) = (String::new(), None, Vec::new());
        for message in messages {
            let mut parts = self.parts(message)?;
            // Batches are never compressed, as in RocketMQ.
            payloads.push(self.payload(&mut parts));
            if payloads.len() == 1 {
                (topic, ordered_by) = (parts.topic, parts.ordered_by);
            } else if topic != parts.topic {
                return Err(InvalidMessage::Batch.into());
            }
        }
        if payloads.is_empty() {
            return Err(InvalidMessage::Batch.into());
        }
        let room = self.room(payloads.iter().map(cost).sum(), times).await?;
        let (sender, receiver) = oneshot::channel();
        let retries = self.core.config.retries;
        let job = Job::new(payloads, ordered_by, times, retries, Completion::Batch(sender), room);
        self.core.submit(&self.core.topic(&topic), job, None);
        receiver.await.unwrap_or(Err(Error::Closed))
    }

    /// Sends a message that is never acknowledged nor retried: it may be lost, and nobody hears of it. An error means that
    /// it certainly was not sent.
    pub async fn send_oneway(&self, message: OutgoingMessage) -> Result<()> {
        let times = self.times();
        let mut parts = self.parts(message)?;
        let topic = self.core.topic(&parts.topic);
        if topic.lanes().is_empty() {
            self.core.update_route(&topic).await?;
        }
        let lane = topic.choose_any(&self.core, parts.ordered_by.as_deref()).ok_or(Error::Closed)?;
        let open = lane.handle(&self.core, times.deadline).await?;
        lane.way.send_oneway(open, &lane.target(), &self.compressed(&mut parts), times.born_time_ms)
    }

    /// Takes a timed message back before its time: `handle` is that of its receipt. Gives its unique id. Brokers of
    /// RocketMQ allow it from 5.3.2 on when `recallMessageEnable` is set.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 604 for a handle that is none, or whose time has come.
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<String> {
        let topic = &*self.core.namespace.wrap(topic);
        let read = RecallHandle::decode(handle).map_err(|_| Error::Argument("not the handle of a timed message"))?;
        let link = self.core.cluster.remoting_of(&topic.into(), &read.broker_name).await?;
        let producer_group = Some(&*self.core.config.group);
        link.recall(&RecallMessage { producer_group, topic, recall_handle: handle }).await
    }

    /// The topics' and groups' namespace.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.core.namespace
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.core.cluster
    }

    pub(crate) fn group(&self) -> &Arc<str> {
        &self.core.config.group
    }

    /// A name that no other message has.
    pub(crate) fn unique_id(&self) -> String {
        self.core.unique_ids.next()
    }

    /// Waits until every send so far has succeeded or failed.
    pub async fn flush(&self) -> Result<()> {
        let everything = self.core.config.in_flight_bytes_max;
        self.core.room.acquire_many(everything).await.map(drop).map_err(|_| Error::Closed)
    }

    /// Takes no more messages, waits until those that were taken have succeeded or failed, and closes the connections.
    pub async fn close(self) {
        // Each send has its time limit, and so has this.
        let result = self.flush().await;
        self.core.room.close();
        self.core.cluster.close();
        if let Err(error) = result {
            tracing::debug!(%error, "closed before");
        }
    }

    fn take(&self, message: OutgoingMessage, completion: Completion) -> Result<()> {
        let times = self.times();
        let mut parts = self.parts(message)?;
        let payload = self.compressed(&mut parts);
        let room = Arc::clone(&self.core.room).try_acquire_many_owned(self.weight(cost(&payload)));
        let room = room.map_err(|error| match error {
            tokio::sync::TryAcquireError::Closed => Error::Closed,
            tokio::sync::TryAcquireError::NoPermits => self.full(),
        })?;
        let job = self.job(payload, parts.ordered_by, times, completion, room);
        self.core.submit(&self.core.topic(&parts.topic), job, None);
        Ok(())
    }

    /// A checked message, with its topic as brokers know it.
    fn parts(&self, message: OutgoingMessage) -> Result<Parts> {
        let mut parts = message.into_parts()?;
        // The topic of a reply is the cluster's.
        if let Some(namespace) = self.core.namespace.name()
            && !parts.is_reply()
        {
            parts.topic = self.core.namespace.wrap(&parts.topic).into_owned();
            parts.append(INSTANCE_ID, namespace);
        }
        Ok(parts)
    }

    /// What is sent of a message that travels alone: its body compressed, when it is to be.
    fn compressed(&self, parts: &mut Parts) -> Payload {
        let compression = self.core.config.compression.as_ref();
        if let Some((body, bits)) = compression.and_then(|compression| compression.compress(&parts.body)) {
            parts.body = body;
            parts.sys_flag |= bits;
        }
        self.payload(parts)
    }

    /// What is sent of a message; with remoting it gets its unique id.
    fn payload(&self, parts: &mut Parts) -> Payload {
        if self.core.config.dialect == Dialect::Remoting && !parts.has_unique_id() {
            parts.append(names::UNIQ_KEY, &self.core.unique_ids.next());
        }
        Payload {
            properties: parts.properties.clone(),
            body: parts.body.clone(),
            flag: parts.flag,
            sys_flag: parts.sys_flag,
            reconsume_times: parts.reconsume_times,
            max_reconsume_times: parts.max_reconsume_times,
        }
    }

    fn job(
        &self,
        payload: Payload,
        ordered_by: Option<String>,
        times: Times,
        completion: Completion,
        room: OwnedSemaphorePermit,
    ) -> Job {
        Job::single(payload, ordered_by, times, self.core.config.retries, completion, room)
    }

    /// Waits for room for messages that count `cost`.
    async fn room(&self, cost: usize, times: Times) -> Result<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.core.room).acquire_many_owned(self.weight(cost));
        match tokio::time::timeout_at(times.deadline.into(), room).await {
            Ok(room) => room.map_err(|_| Error::Closed),
            Err(_) => Err(self.full()),
        }
    }

    /// What is larger than all the room there is takes all of it, and is sent alone.
    fn weight(&self, cost: usize) -> u32 {
        u32::try_from(cost).unwrap_or(u32::MAX).min(self.core.config.in_flight_bytes_max)
    }

    fn full(&self) -> Error {
        Error::Full {
            what: "bytes that wait for acknowledgements",
            limit: self.core.config.in_flight_bytes_max as usize,
        }
    }

    fn times(&self) -> Times {
        let started = Instant::now();
        let born = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let born_time_ms = u64::try_from(born.as_millis()).unwrap_or(u64::MAX);
        Times { started, deadline: started + self.core.config.send_timeout, born_time_ms }
    }
}

fn cost(payload: &Payload) -> usize {
    payload.size_bytes() + MESSAGE_OVERHEAD_SIZE_BYTES
}
