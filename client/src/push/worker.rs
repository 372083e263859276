//! One queue of a push consumer: its life from assignment to hand-over.
//!
//! ```text
//! [wait for the worker before] → [lock] → where to begin → pull, pull, … → closed: [wait for the call] → commit → [unlock]
//! ```
//!
//! A queue may come back while its last worker is still ending. The next one begins behind its end: a call in order never
//! runs beside another, and the lock that is given back is never that of the next.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

use super::concurrent::begin_all;
use super::core::Core;
use super::listener::Messages;
use super::process_queue::ProcessQueue;
use crate::consumer::Start;
use crate::error::Result;
use crate::message::{MessageQueue, RETRY_PREFIX};
use crate::remoting::broker::own_queue;

/// For how long a lock counts without renewal, as in RocketMQ: half of what the broker gives.
const LOCK_LIFE: Duration = Duration::from_secs(30);

/// The pause before something that failed is tried again: RocketMQ 5's.
pub(super) const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Worker {
    pub(super) queue: MessageQueue,
    pub(super) core: Weak<Core>,
    process: Mutex<ProcessQueue>,
    /// When the broker last said that this member holds the queue.
    locked_at: Mutex<Option<Instant>>,
    /// Whether a task calls the listener in order.
    pub(super) is_consuming: AtomicBool,
    /// Batches for concurrent calls, in order; no more than `process` holds.
    batches: mpsc::UnboundedSender<Messages>,
    /// Concurrent calls of the listener, and what follows from them.
    running_count: AtomicUsize,
    is_closed: AtomicBool,
    /// What is consumed from now on is not committed: the queue is another's. Changes under the lock of `process`.
    is_abandoned: AtomicBool,
    /// The task has something to look at.
    changed: Notify,
    ended: watch::Sender<bool>,
}

impl Worker {
    /// Begins to read `queue`: at `from`, or where the group is. Waits for the end of the worker `before`.
    pub(super) fn spawn(
        core: &Arc<Core>,
        queue: MessageQueue,
        from: Option<i64>,
        before: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let (batches, waiting) = mpsc::unbounded_channel();
        let worker = Arc::new(Self {
            queue,
            core: Arc::downgrade(core),
            process: Mutex::default(),
            locked_at: Mutex::default(),
            is_consuming: AtomicBool::new(false),
            batches,
            running_count: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            changed: Notify::new(),
            ended: watch::Sender::new(false),
        });
        if !core.listener.is_orderly() {
            tokio::spawn(begin_all(Arc::downgrade(&worker), waiting));
        }
        tokio::spawn(run(Arc::clone(&worker), from, before));
        worker
    }

    /// What was pulled.
    pub(super) fn process(&self) -> MutexGuard<'_, ProcessQueue> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pulls and calls no more; what is done is committed, the lock given back.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Pulls, calls and commits no more.
    pub(super) fn abandon(&self) {
        self.let_go();
        self.close();
    }

    /// What is consumed from now on is not committed.
    fn let_go(&self) {
        let _process = self.process();
        self.is_abandoned.store(true, Ordering::Release);
    }

    /// Has the listener called with a batch when its turn comes.
    pub(super) fn to_consume(&self, batch: Messages) {
        // Whoever would take it is there as long as this worker, or the consumer has ended.
        drop(self.batches.send(batch));
    }

    /// Counts a concurrent call as running until it is dropped.
    pub(super) fn running(&self) -> Running<'_> {
        self.running_count.fetch_add(1, Ordering::AcqRel);
        Running(self)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Has the task look again.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits for the end of the task.
    pub(super) async fn ended(&self) {
        // An error means that the sender is gone, and with it the task.
        drop(self.ended.subscribe().wait_for(|ended| *ended).await);
    }

    /// Waits, at most for `pause`, for a change.
    pub(super) async fn pause(&self, pause: Duration) {
        drop(tokio::time::timeout(pause, self.changed.notified()).await);
    }

    /// The result of `work`, or `None` when the worker is closed before it.
    pub(super) async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            if self.is_closed() {
                return None;
            }
            tokio::select! {
                result = &mut work => return Some(result),
                () = self.changed.notified() => {}
            }
        }
    }

    /// Whether this member may consume in order now.
    pub(super) fn is_locked(&self) -> bool {
        self.locked().is_some_and(|at| at.elapsed() < LOCK_LIFE)
    }

    /// The broker says whether this member holds the queue.
    pub(super) fn set_locked(&self, is_locked: bool) {
        *self.locked() = is_locked.then(Instant::now);
    }

    fn locked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.locked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the queue below `offset` was consumed.
    pub(super) fn advance(&self, core: &Core, offset: Option<u64>) {
        let _process = self.process();
        if let Some(offset) = offset
            && !self.is_abandoned.load(Ordering::Acquire)
        {
            core.offsets.advance(&self.queue, i64::try_from(offset).unwrap_or(i64::MAX));
        }
    }

    /// Asks the broker for the lock of this queue.
    pub(super) async fn lock(&self, core: &Core) -> Result<bool> {
        let body = core.lock_body(std::iter::once(&self.queue));
        let link = core.member.cluster.remoting_of(&self.queue.topic, &self.queue.broker_name).await?;
        let locked = link.lock_queues(&body).await?;
        let is_locked = locked.iter().filter_map(own_queue).any(|queue| queue == self.queue);
        self.set_locked(is_locked);
        Ok(is_locked)
    }

    async fn unlock(&self, core: &Core) -> Result<()> {
        let body = core.lock_body(std::iter::once(&self.queue));
        let link = core.member.cluster.remoting_of(&self.queue.topic, &self.queue.broker_name).await?;
        link.unlock_queues(&body).await
    }

    /// Where the group is in this queue, or begins.
    async fn start_offset(&self, core: &Core) -> Result<i64> {
        if let Some(offset) = core.offsets.stored(&self.queue).await? {
            return Ok(offset.max(0));
        }
        let link = core.member.cluster.remoting_of(&self.queue.topic, &self.queue.broker_name).await?;
        let is_retry = self.queue.topic.starts_with(RETRY_PREFIX);
        match core.config.start {
            // The broker corrects it when older messages are gone.
            Start::First => Ok(0),
            // What was given back must not be left out, however new the group is.
            Start::Last | Start::Time { .. } if is_retry => Ok(0),
            Start::Last => link.max_offset(&self.queue).await,
            Start::Time { time_ms } => link.offset_at(&self.queue, time_ms).await,
        }
    }

    /// Locks the queue, when that is asked for; tries until it can be. `None`: closed before.
    async fn take_over(&self) -> Option<()> {
        loop {
            let core = self.core.upgrade()?;
            if !core.locks_queues() {
                return Some(());
            }
            match self.unless_closed(self.lock(&core)).await? {
                Ok(true) => return Some(()),
                Ok(false) => tracing::debug!(queue = ?self.queue, "another member holds the queue"),
                Err(error) => tracing::warn!(queue = ?self.queue, %error, "cannot lock the queue"),
            }
            drop(core);
            self.pause(ERROR_PAUSE).await;
        }
    }

    async fn begin(&self) -> Option<i64> {
        loop {
            let core = self.core.upgrade()?;
            match self.unless_closed(self.start_offset(&core)).await? {
                Ok(offset) => return Some(offset),
                Err(error) => tracing::warn!(queue = ?self.queue, %error, "where is the group?"),
            }
            drop(core);
            self.pause(ERROR_PAUSE).await;
        }
    }

    /// Hands the queue over to its next reader.
    async fn end(&self) {
        // In order, a call that is running belongs to this reader: the next must not begin before it has ended.
        while self.is_consuming.load(Ordering::Acquire) {
            self.pause(ERROR_PAUSE).await;
        }
        let Some(core) = self.core.upgrade() else { return };
        // Nobody waits for the concurrent calls of a queue that another member has already. When the consumer ends, others
        // hear of it behind this.
        while core.is_ending() && self.running_count.load(Ordering::Acquire) > 0 {
            self.pause(ERROR_PAUSE).await;
        }
        if self.is_abandoned.load(Ordering::Acquire) {
            return;
        }
        self.let_go();
        core.offsets.commit_queue(&self.queue).await;
        core.offsets.forget(&self.queue);
        if core.locks_queues()
            && let Err(error) = self.unlock(&core).await
        {
            tracing::debug!(queue = ?self.queue, %error, "cannot unlock the queue; it unlocks itself");
        }
    }
}

/// A concurrent call that runs.
pub(super) struct Running<'w>(&'w Worker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running_count.fetch_sub(1, Ordering::AcqRel);
        self.0.wake();
    }
}

async fn run(worker: Arc<Worker>, from: Option<i64>, before: Option<Arc<Worker>>) {
    if let Some(before) = before {
        before.ended().await;
    }
    if worker.take_over().await.is_some() {
        let offset = match from {
            Some(offset) => Some(offset),
            None => worker.begin().await,
        };
        if let Some(offset) = offset {
            worker.pull_all(offset).await;
        }
    }
    worker.end().await;
    if let Some(core) = worker.core.upgrade() {
        core.has_left(&worker);
    }
    worker.ended.send_replace(true);
}
