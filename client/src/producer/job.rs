//! What a producer remembers of messages until they are acknowledged: enough to send them again elsewhere.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::properties::{Properties, names};
use ringmq_proto::message::stored::sys_flag::TRANSACTION_PREPARED;
use ringmq_proto::message::{Host, OffsetId, batch_entry_len};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::connection::{SendItem, SendResult};
use crate::error::{Error, Result};
use crate::message::MessageQueue;
use crate::trace::{Sent, SentKind, Tracer};

/// A message that a broker has stored.
#[derive(Clone, Debug)]
pub struct SendReceipt {
    /// Where it is.
    pub queue: MessageQueue,
    /// Its ordinal in the queue.
    pub queue_offset: QueueOffset,
    /// Where it lies in the broker's log.
    pub position: LogPosition,
    /// [`Code::SUCCESS`]; or 10, 11, 12: stored, but not as safely as the broker is configured to (RocketMQ's degraded
    /// send status).
    pub status: Code,
    /// The message's unique id (UNIQ_KEY), when it has one: always with [`Dialect::Remoting`](super::Dialect::Remoting).
    pub unique_id: Option<Box<str>>,
    /// What takes a timed message back ([`Producer::recall`](super::Producer::recall)), when the broker said so.
    pub recall_handle: Option<Box<str>>,
    address: Arc<str>,
}

impl SendReceipt {
    /// The broker's address.
    pub(crate) const fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// RocketMQ's offset message id, with the address that this client knows the broker by; `None` when that is a host
    /// name.
    pub fn message_id(&self) -> Option<String> {
        let address: std::net::SocketAddr = self.address.parse().ok()?;
        let store_host = Host::new(address.ip(), address.port().into());
        Some(OffsetId { store_host, position: self.position }.to_string())
    }
}

/// Who is told how it ended.
pub(super) enum Completion {
    /// A future.
    One(oneshot::Sender<Result<SendReceipt>>),
    /// The future of a batch.
    Batch(oneshot::Sender<Result<Vec<SendReceipt>>>),
    /// A callback.
    Callback(Box<dyn FnOnce(Result<SendReceipt>) + Send>),
}

impl Completion {
    /// Tells who waits. `next` gives the result of each of the job's `count` messages in turn.
    fn complete(self, count: usize, mut next: impl FnMut() -> Result<SendReceipt>) {
        match self {
            // A future that was dropped does not want to know.
            Self::One(sender) => drop(sender.send(next())),
            Self::Batch(sender) => drop(sender.send((0..count).map(|_| next()).collect())),
            Self::Callback(call) => call_safely(call, next()),
        }
    }
}

/// A callback that panics must not take the connection's task with it, and all that wait there.
fn call_safely(call: Box<dyn FnOnce(Result<SendReceipt>) + Send>, result: Result<SendReceipt>) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(result))).is_err() {
        tracing::error!("a send's callback has panicked");
    }
}

/// One message of a job.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) properties: Bytes,
    pub(super) body: Bytes,
    pub(super) flag: i32,
    /// RocketMQ's sysFlag: bits of transactions.
    pub(super) sys_flag: i32,
    /// To a %RETRY% topic: how often it was consumed in vain, and how often that may be.
    pub(super) reconsume_times: Option<i32>,
    pub(super) max_reconsume_times: Option<i32>,
}

impl Payload {
    /// Bytes that it takes in a frame, about.
    pub(super) fn size_bytes(&self) -> usize {
        self.properties.len() + self.body.len() + 24
    }
}

/// Messages that travel together, to one queue in one frame: a single message, or a batch that the application made.
pub(super) struct Job {
    /// At least one; more only for a batch. A single message does not pay for a vector.
    first: Payload,
    rest: Vec<Payload>,
    pub(super) born_time_ms: u64,
    /// The key that chooses the queue, if the application gave one.
    pub(super) ordered_by: Option<String>,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    /// How many more brokers may be tried when this one's answer was not good.
    pub(super) retries_left: u32,
    /// How often it failed so far.
    pub(super) failure_count: u32,
    /// Must not share a frame: a frame that it was in was refused as illegal.
    pub(super) is_alone: bool,
    completion: Completion,
    /// Its share of what the producer may hold.
    room: OwnedSemaphorePermit,
}

impl Job {
    /// A job for `payloads`, of which there is at least one.
    pub(super) fn new(
        mut payloads: Vec<Payload>,
        ordered_by: Option<String>,
        times: Times,
        retries_left: u32,
        completion: Completion,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let rest = payloads.split_off(1);
        let first = payloads.pop().expect("a job has a message");
        Self::assemble(first, rest, ordered_by, times, retries_left, completion, room)
    }

    /// A job for one message.
    pub(super) fn single(
        payload: Payload,
        ordered_by: Option<String>,
        times: Times,
        retries_left: u32,
        completion: Completion,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self::assemble(payload, Vec::new(), ordered_by, times, retries_left, completion, room)
    }

    fn assemble(
        first: Payload,
        rest: Vec<Payload>,
        ordered_by: Option<String>,
        times: Times,
        retries_left: u32,
        completion: Completion,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let Times { started, deadline, born_time_ms } = times;
        let (failure_count, is_alone) = (0, false);
        Self {
            first,
            rest,
            born_time_ms,
            ordered_by,
            started,
            deadline,
            retries_left,
            failure_count,
            is_alone,
            completion,
            room,
        }
    }

    /// Messages.
    pub(super) fn count(&self) -> usize {
        1 + self.rest.len()
    }

    /// Bytes in a frame, about.
    pub(super) fn size_bytes(&self) -> usize {
        self.payloads().map(Payload::size_bytes).sum()
    }

    /// Its messages.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &Payload> + Clone {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Its messages as they go into a frame.
    pub(super) fn items(&self, handle: u32) -> impl Iterator<Item = SendItem<'_>> {
        self.payloads().map(move |payload| payload.item(handle, self.born_time_ms))
    }

    /// The same job, to be sent in a frame of its own.
    pub(super) fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// Its time is over.
    pub(super) fn time_out(self) {
        let after = self.started.elapsed();
        self.fail(Error::Timeout { what: "a send", after });
    }

    /// It did not work out.
    pub(super) fn fail(self, error: Error) {
        // Whoever hears of it may want the room.
        drop(self.room);
        self.completion.complete(1, || Err(error.clone()));
    }

    /// Tells that its messages were stored.
    pub(super) fn trace(
        &self,
        tracer: &Tracer,
        places: &Places<'_>,
        group: &str,
        queue: &MessageQueue,
        address: &Arc<str>,
    ) {
        let mut places = places.clone();
        let store_host =
            address.parse().ok().map(|address: std::net::SocketAddr| Host::new(address.ip(), address.port().into()));
        for payload in self.payloads() {
            let properties = Properties::new(&payload.properties);
            let id_at = |(_, position)| store_host.map(|store_host| OffsetId { store_host, position }.to_string());
            let offset_id = places.next(payload).and_then(id_at).unwrap_or_default();
            tracer.sent(&Sent {
                time_ms: self.born_time_ms,
                group,
                topic: &queue.topic,
                unique_id: payload.unique_id().unwrap_or(&offset_id),
                tag: properties.get_str(names::TAGS).unwrap_or_default(),
                keys: properties.get_str(names::KEYS).unwrap_or_default(),
                broker_address: address,
                body_size_bytes: payload.body.len(),
                took: self.started.elapsed(),
                kind: payload.kind(),
                offset_id: &offset_id,
                is_success: true,
            });
        }
    }

    /// Takes its receipts off `places` and tells who waits.
    pub(super) fn succeed(
        self,
        places: &mut Places<'_>,
        (status, recall_handle): (Code, Option<&str>),
        queue: &MessageQueue,
        address: &Arc<str>,
    ) {
        let count = self.count();
        let Self { first, rest, completion, room, .. } = self;
        drop(room);
        let mut payloads = std::iter::once(&first).chain(&rest);
        completion.complete(count, || {
            let payload = payloads.next();
            let place = payload.and_then(|payload| places.next(payload));
            let (queue_offset, position) = place.ok_or_else(|| Error::BadReply {
                address: Arc::clone(address),
                what: "fewer results than messages were sent",
            })?;
            Ok(SendReceipt {
                queue: queue.clone(),
                queue_offset,
                position,
                status,
                unique_id: payload.and_then(Payload::unique_id).map(Box::from),
                recall_handle: recall_handle.map(Box::from),
                address: Arc::clone(address),
            })
        });
    }
}

/// When a job began, when it must be over, and the application's wall clock then.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) born_time_ms: u64,
}

impl Payload {
    /// What a trace calls it.
    fn kind(&self) -> SentKind {
        let properties = Properties::new(&self.properties);
        let is_delayed = [names::DELAY, names::TIMER_DELAY_MS, names::TIMER_DELAY_SEC, names::TIMER_DELIVER_MS];
        if self.sys_flag & TRANSACTION_PREPARED != 0 {
            SentKind::TransactionHalf
        } else if is_delayed.into_iter().any(|name| properties.get(name).is_some()) {
            SentKind::Delayed
        } else {
            SentKind::Normal
        }
    }
}

/// Gives the messages of a frame their offsets and positions, in order. A result covers a record: one message, or several
/// that became a batch record, whose entries follow each other.
#[derive(Clone)]
pub(super) struct Places<'r> {
    results: std::slice::Iter<'r, SendResult>,
    left: u32,
    queue_offset: QueueOffset,
    position: LogPosition,
}

impl<'r> Places<'r> {
    pub(super) fn new(results: &'r [SendResult]) -> Self {
        Self { results: results.iter(), left: 0, queue_offset: QueueOffset::ZERO, position: LogPosition::ZERO }
    }

    /// The place of the next message, which is `payload`; `None` when the broker gave too few results.
    fn next(&mut self, payload: &Payload) -> Option<(QueueOffset, LogPosition)> {
        while self.left == 0 {
            let result = self.results.next()?;
            self.left = result.count;
            self.queue_offset = result.queue_offset;
            self.position = result.position;
        }
        let place = (self.queue_offset, self.position);
        self.left -= 1;
        let entry = batch_entry_len(payload.properties.len(), payload.body.len()) as u64;
        self.queue_offset = QueueOffset::new(self.queue_offset.get().checked_add(1)?);
        self.position = LogPosition::new(self.position.get().checked_add(entry)?);
        Some(place)
    }
}
