//! Fetching ahead: one task for each assigned queue keeps a long poll at the broker and a bounded buffer of messages.
//!
//! Three offsets: *fetch* (the next to ask the broker for), *position* (the next to give to the application), and what the
//! group committed, which only the broker knows. A seek moves the first two and raises the *turn*: an answer to a request
//! of an earlier turn is thrown away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::reader::{PullSize, Pulled, Reader};
use super::{PullConsumerConfig, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;

/// The pause after an error: RocketMQ 5's.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// The pause when the broker asks to slow down, or answers a long poll at once with nothing: RocketMQ's for code 215.
const FLOW_CONTROL_PAUSE: Duration = Duration::from_millis(20);

/// Where a queue is to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Where the group is; else the configured start.
    Committed,
    Offset(QueueOffset),
    Begin,
    End,
    Time {
        time_ms: u64,
    },
}

/// One assigned queue.
pub(super) struct Fetcher {
    pub(super) reader: Reader,
    config: Arc<PullConsumerConfig>,
    state: Mutex<State>,
    /// The task has something to look at.
    changed: Notify,
    /// The application has something to look at. Shared by all queues of a consumer.
    arrived: Arc<Notify>,
}

struct State {
    turn: u64,
    /// Where to begin; taken once the broker has said which offset that is.
    target: Option<Target>,
    fetch: QueueOffset,
    /// `None` while the target is not resolved.
    position: Option<QueueOffset>,
    committed: Option<QueueOffset>,
    buffer: VecDeque<Message>,
    buffer_size_bytes: usize,
    is_paused: bool,
    is_closed: bool,
    /// To be told by the next poll, behind the buffered messages.
    error: Option<Error>,
    /// Damaged records lie ahead: nothing more is fetched until the application seeks.
    is_halted: bool,
}

impl Fetcher {
    /// Begins to fetch from `target`.
    pub(super) fn spawn(
        runtime: &Handle,
        reader: Reader,
        config: Arc<PullConsumerConfig>,
        arrived: Arc<Notify>,
        target: Target,
    ) -> Arc<Self> {
        let state = State {
            turn: 0,
            target: Some(target),
            fetch: QueueOffset::ZERO,
            position: None,
            committed: None,
            buffer: VecDeque::new(),
            buffer_size_bytes: 0,
            is_paused: false,
            is_closed: false,
            error: None,
            is_halted: false,
        };
        let changed = Notify::new();
        let fetcher = Arc::new(Self { reader, config, state: Mutex::new(state), changed, arrived });
        runtime.spawn(run(Arc::clone(&fetcher)));
        fetcher
    }

    /// Ends the task.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    pub(super) fn seek(&self, target: Target) {
        let mut state = self.lock();
        state.turn += 1;
        state.target = Some(target);
        state.position = None;
        state.buffer.clear();
        state.buffer_size_bytes = 0;
        state.error = None;
        state.is_halted = false;
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn pause(&self, is_paused: bool) {
        self.lock().is_paused = is_paused;
        self.changed.notify_one();
        self.arrived.notify_one();
    }

    pub(super) fn position(&self) -> Option<QueueOffset> {
        self.lock().position
    }

    /// Gives up to `count` messages, in order. The error behind them is told when `out` is empty: else what is in there
    /// would be lost.
    pub(super) fn take(&self, count: usize, out: &mut Vec<Message>) -> Result<()> {
        let mut state = self.lock();
        if state.is_paused {
            return Ok(());
        }
        let taken = state.buffer.len().min(count);
        if taken == 0 {
            return if out.is_empty() { state.error.take().map_or(Ok(()), Err) } else { Ok(()) };
        }
        let messages: Vec<Message> = state.buffer.drain(..taken).collect();
        state.buffer_size_bytes -= messages.iter().map(|message| message.body.len()).sum::<usize>();
        state.position = messages.last().map(|message| message.queue_offset.plus(1));
        drop(state);
        out.extend(messages);
        self.changed.notify_one();
        Ok(())
    }

    /// Commits the position, when it is known and not committed yet.
    pub(super) async fn commit(&self) -> Result<()> {
        let position = {
            let state = self.lock();
            state.position.filter(|position| state.committed != Some(*position))
        };
        let Some(position) = position else { return Ok(()) };
        self.reader.commit(&self.config.group, position).await?;
        self.lock().committed = Some(position);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the task should do next; `None`: wait for a change.
    fn next_step(&self) -> Option<Step> {
        let state = self.lock();
        if state.is_closed {
            return Some(Step::End);
        }
        if state.is_halted {
            return None;
        }
        let turn = state.turn;
        if let Some(target) = state.target {
            return Some(Step::Resolve { turn, target });
        }
        let is_full = state.buffer.len() >= self.config.buffer_messages_max
            || state.buffer_size_bytes >= self.config.buffer_bytes_max;
        (!state.is_paused && !is_full).then_some(Step::Pull { turn, offset: state.fetch })
    }

    /// Does `step` unless a seek makes it needless. Gives the pause before the next one.
    async fn carry_out(&self, step: Step) -> Option<Duration> {
        match step {
            Step::End => None,
            Step::Resolve { turn, target } => {
                let resolved = self.unless_changed(turn, self.resolve(target)).await?;
                self.resolved(turn, resolved)
            }
            Step::Pull { turn, offset } => {
                let PullConsumerConfig { pull_messages_max, pull_bytes_max, long_poll, .. } = *self.config;
                let size = PullSize { messages_max: pull_messages_max, bytes_max: pull_bytes_max, wait: long_poll };
                let started = Instant::now();
                let pulled = self.unless_changed(turn, self.reader.pull(offset, size)).await?;
                let was_instant = started.elapsed() < FLOW_CONTROL_PAUSE && !long_poll.is_zero();
                self.pulled(turn, offset, pulled, was_instant)
            }
        }
    }

    /// The result of `work`, or `None` when a seek or the end comes first.
    async fn unless_changed<T>(&self, turn: u64, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Some(result),
                () = self.changed.notified() => {
                    let state = self.lock();
                    if state.turn != turn || state.is_closed {
                        return None;
                    }
                }
            }
        }
    }

    async fn resolve(&self, target: Target) -> Result<QueueOffset> {
        match target {
            Target::Offset(offset) => Ok(offset),
            Target::Begin => Ok(self.reader.ends().await?.0),
            Target::End => Ok(self.reader.ends().await?.1),
            Target::Time { time_ms } => self.reader.offset_at(time_ms).await,
            Target::Committed => match self.reader.committed(&self.config.group).await? {
                Some(offset) => Ok(offset),
                None => match self.config.start {
                    Start::First => Ok(self.reader.ends().await?.0),
                    Start::Last => Ok(self.reader.ends().await?.1),
                    Start::Time { time_ms } => self.reader.offset_at(time_ms).await,
                },
            },
        }
    }

    fn resolved(&self, turn: u64, resolved: Result<QueueOffset>) -> Option<Duration> {
        match resolved {
            Ok(offset) => {
                let mut state = self.lock();
                if state.turn == turn {
                    state.target = None;
                    state.fetch = offset;
                    state.position = Some(offset);
                }
                None
            }
            Err(error) => self.failed(turn, error),
        }
    }

    fn pulled(&self, turn: u64, offset: QueueOffset, pulled: Result<Pulled>, was_instant: bool) -> Option<Duration> {
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(error) => return self.failed(turn, error),
        };
        let mut messages = Vec::new();
        let decoded = pulled.decode(&self.reader.queue, offset, &mut messages);
        messages.retain(|message| self.reader.is_meant(message));
        let mut state = self.lock();
        if state.turn != turn {
            return None;
        }
        let is_empty = messages.is_empty();
        if pulled.code == Code::PULL_OFFSET_MOVED {
            tracing::warn!(queue = ?self.reader.queue, %offset, next = %pulled.next_offset, "offset outside of the queue");
            if state.buffer.is_empty() {
                state.position = Some(pulled.next_offset);
            }
        }
        state.fetch = decoded.as_ref().map_or(None, |rest_at| *rest_at).unwrap_or(pulled.next_offset);
        state.buffer_size_bytes += messages.iter().map(|message| message.body.len()).sum::<usize>();
        state.buffer.extend(messages);
        if let Err(source) = decoded {
            state.is_halted = true;
            let (topic, queue_id) = (self.reader.queue.topic.to_string(), self.reader.queue.queue_id);
            state.error = Some(Error::Damaged { topic, queue_id, source });
        }
        drop(state);
        if !is_empty {
            self.arrived.notify_one();
        }
        (pulled.code == Code::PULL_NOT_FOUND && is_empty && was_instant).then_some(FLOW_CONTROL_PAUSE)
    }

    /// What the application can do nothing about is tried again, and only logged.
    fn failed(&self, turn: u64, error: Error) -> Option<Duration> {
        if error.code() == Some(Code::FLOW_CONTROL) {
            return Some(FLOW_CONTROL_PAUSE);
        }
        tracing::warn!(queue = ?self.reader.queue, %error, "cannot pull");
        if error.kind() != ErrorKind::Unavailable {
            let mut state = self.lock();
            if state.turn == turn {
                state.error = Some(error);
            }
            drop(state);
            self.arrived.notify_one();
        }
        Some(ERROR_PAUSE)
    }
}

#[derive(Clone, Copy)]
enum Step {
    End,
    Resolve { turn: u64, target: Target },
    Pull { turn: u64, offset: QueueOffset },
}

/// The task of a queue.
async fn run(fetcher: Arc<Fetcher>) {
    loop {
        match fetcher.next_step() {
            Some(Step::End) => return,
            None => fetcher.changed.notified().await,
            Some(step) => {
                if let Some(pause) = fetcher.carry_out(step).await {
                    // A seek need not wait for the end of the pause.
                    let _ = tokio::time::timeout(pause, fetcher.changed.notified()).await;
                }
            }
        }
    }
}
