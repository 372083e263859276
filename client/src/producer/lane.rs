//! A lane: the way of one producer to one message queue.
//!
//! A lane has at most one frame in flight when it gathers: what is sent meanwhile waits and leaves together in the next
//! frame, when the reply comes. So a lone message leaves at once, a stream of them fills frames by itself, and no timer
//! delays anything. Without gathering each job leaves in a frame of its own, at once.
//!
//! The queue's handle belongs to one connection. After another one was made, or the topic was deleted, the lane opens the
//! queue again before it sends what waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ringmq_proto::code::Code;

use super::core::Core;
use super::job::{Job, Places};
use super::topic::Topic;
use super::way::{Stored, Target, Way};
use crate::connection::Event;
use crate::error::{Error, Result};
use crate::fault::Health;
use crate::link::SendRefusal;
use crate::message::MessageQueue;

/// Bytes of messages that one gathered frame takes: beyond it a frame gets no cheaper per message, only later.
const FRAME_GATHER_SIZE_BYTES: usize = 512 << 10;

/// Messages that one gathered frame takes, whatever the server allows.
const FRAME_GATHER_COUNT: usize = 4096;

/// How long to wait when the connection has all in flight that the server takes.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// How long to wait before a queue that jobs are bound to is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(50);

/// See the module's text.
pub(super) struct Lane {
    pub(super) queue: MessageQueue,
    pub(super) way: Way,
    /// Of the broker; shared by its lanes.
    pub(super) health: Arc<Health>,
    /// The producer's group, and whether it lets brokers create topics.
    group: Arc<str>,
    creates_topics: bool,
    core: Weak<Core>,
    topic: Weak<Topic>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    handle: Handle,
    in_flight_count: usize,
    /// The connection was full, or the broker not there: a task will look again.
    is_paused: bool,
    /// The next ones to leave.
    waiting: VecDeque<Job>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Handle {
    #[default]
    None,
    Opening,
    Open {
        generation: u64,
        handle: u32,
    },
}

/// A frame in flight.
pub(super) struct LaneFrame {
    pub(super) lane: Arc<Lane>,
    pub(super) handle: u32,
    pub(super) jobs: Vec<Job>,
    sent_at: Instant,
}

impl Lane {
    pub(super) fn new(
        queue: MessageQueue,
        way: Way,
        health: Arc<Health>,
        core: &Arc<Core>,
        topic: Weak<Topic>,
    ) -> Arc<Self> {
        let (group, creates_topics) = (Arc::clone(&core.config.group), core.config.create_topics);
        let (core, state) = (Arc::downgrade(core), Mutex::default());
        Arc::new(Self { queue, way, health, group, creates_topics, core, topic, state })
    }

    /// What a remoting send says of this lane.
    pub(super) fn target(&self) -> Target<'_> {
        let (topic, queue_id) = (&*self.queue.topic, self.queue.queue_id);
        Target { group: &self.group, topic, queue_id, create_topic: self.creates_topics }
    }

    /// Takes a job: it leaves at once, or with others in the next frame.
    pub(super) fn push(self: &Arc<Self>, job: Job, core: &Arc<Core>) {
        let mut state = self.lock();
        state.waiting.push_back(job);
        self.flush(core, state);
    }

    /// The open handle with its connection, opening the queue when needed. For one-way sends, which do not wait in line.
    pub(super) async fn handle(&self, core: &Core, deadline: Instant) -> Result<(u64, u32)> {
        let open = match self.lock().handle {
            Handle::Open { generation, handle } => Some((generation, handle)),
            Handle::None | Handle::Opening => None,
        };
        match open {
            Some((generation, handle)) if self.way.ready().await? == generation => Ok((generation, handle)),
            _ => {
                let (generation, handle) = self.open(core, deadline).await?;
                self.lock().handle = Handle::Open { generation, handle };
                Ok((generation, handle))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what may be sent now.
    fn flush<'s>(self: &'s Arc<Self>, core: &Arc<Core>, mut state: MutexGuard<'s, State>) {
        while !state.waiting.is_empty() && !state.is_paused && (state.in_flight_count == 0 || !core.config.gather) {
            let (generation, handle) = match state.handle {
                Handle::Open { generation, handle } => (generation, handle),
                Handle::Opening => return,
                Handle::None => {
                    state.handle = Handle::Opening;
                    let deadline = deadline_of(&state.waiting);
                    core.runtime.spawn(Arc::clone(self).open_and_flush(Arc::clone(core), deadline));
                    return;
                }
            };
            let now = Instant::now();
            let (jobs, late): (Vec<_>, Vec<_>) =
                take_jobs(&mut state.waiting, core.config.gather).into_iter().partition(|job| job.deadline > now);
            if !late.is_empty() {
                put_back(&mut state.waiting, jobs);
                drop(state);
                late.into_iter().for_each(Job::time_out);
                state = self.lock();
                continue;
            }
            let deadline = deadline_of(&jobs);
            let frame = LaneFrame { lane: Arc::clone(self), handle, jobs, sent_at: now };
            // The reply may come before this lock is free again; it then waits for it in `done`.
            state.in_flight_count += 1;
            let Err((refusal, frame)) = self.way.send(generation, frame, deadline) else { continue };
            state.in_flight_count -= 1;
            state = self.refused(core, state, frame.jobs, refusal);
        }
    }

    /// The connection did not take a frame.
    fn refused<'s>(
        self: &'s Arc<Self>,
        core: &Arc<Core>,
        mut state: MutexGuard<'s, State>,
        jobs: Vec<Job>,
        refusal: SendRefusal,
    ) -> MutexGuard<'s, State> {
        match refusal {
            SendRefusal::Stale => {
                put_back(&mut state.waiting, jobs);
                state.handle = Handle::None;
            }
            SendRefusal::Full => {
                put_back(&mut state.waiting, jobs);
                state.is_paused = true;
                core.runtime.spawn(Arc::clone(self).flush_later(Arc::clone(core), FULL_PAUSE));
            }
            SendRefusal::Error(error) => {
                drop(state);
                jobs.into_iter().for_each(|job| job.fail(error.clone()));
                state = self.lock();
            }
        }
        state
    }

    async fn flush_later(self: Arc<Self>, core: Arc<Core>, pause: Duration) {
        tokio::time::sleep(pause).await;
        let mut state = self.lock();
        state.is_paused = false;
        self.flush(&core, state);
    }

    async fn open_and_flush(self: Arc<Self>, core: Arc<Core>, deadline: Instant) {
        match self.open(&core, deadline).await {
            Ok((generation, handle)) => {
                let mut state = self.lock();
                state.handle = Handle::Open { generation, handle };
                self.flush(&core, state);
            }
            Err(error) => self.open_failed(&core, &error),
        }
    }

    /// The queue could not be opened, so nothing of what waits was sent. Jobs that are bound to this queue by a key stay in
    /// line as long as the broker gives no answer: elsewhere, or each by itself, they would overtake each other. The others
    /// go elsewhere.
    fn open_failed(self: &Arc<Self>, core: &Arc<Core>, error: &Error) {
        tracing::debug!(queue = ?self.queue, %error, "cannot open the queue");
        let (was_answered, now) = (error.code().is_some(), Instant::now());
        let mut state = self.lock();
        state.handle = Handle::None;
        let jobs = std::mem::take(&mut state.waiting);
        let stays = |job: &Job| job.ordered_by.is_some() && !was_answered && job.deadline > now;
        let (stay, go): (Vec<_>, Vec<_>) = jobs.into_iter().partition(stays);
        if !stay.is_empty() {
            state.is_paused = true;
            core.runtime.spawn(Arc::clone(self).flush_later(Arc::clone(core), REOPEN_PAUSE));
        }
        state.waiting = stay.into();
        drop(state);
        self.failed(core, go, error, was_answered);
    }

    async fn open(&self, core: &Core, deadline: Instant) -> Result<(u64, u32)> {
        let started = Instant::now();
        let ready = tokio::time::timeout_at(deadline.into(), self.way.ready()).await;
        let timed_out = |_| Error::Timeout { what: "connecting for a send", after: started.elapsed() };
        let generation = ready.map_err(timed_out)??;
        let Way::Native(link) = &self.way else {
            // Each remoting send names its queue.
            return Ok((generation, 0));
        };
        let create = core.config.create_topics && self.topic.upgrade().is_some_and(|topic| topic.is_from_template());
        let queue_id = i32::try_from(self.queue.queue_id).unwrap_or(i32::MAX);
        let topic = Arc::clone(&self.queue.topic);
        let opened = link.ask(
            "opening a queue",
            Some(generation),
            deadline,
            |connection| connection.open_queue(&topic, queue_id, create),
            |event| match event {
                Event::Opened { queue, .. } => Some(queue.handle),
                _ => None,
            },
        );
        Ok((generation, opened.await?))
    }

    /// What to do after `error` with jobs that it concerns. `was_sent`: the broker has refused them, or may have them.
    fn failed(&self, core: &Arc<Core>, jobs: Vec<Job>, error: &Error, was_sent: bool) {
        let is_gone = error.code() == Some(Code::TOPIC_NOT_EXIST);
        if error.retry_on_another_broker() || matches!(error, Error::Timeout { .. }) {
            self.health.failed(core.now_ms());
        }
        let Some(topic) = self.topic.upgrade() else {
            return jobs.into_iter().for_each(|job| job.fail(Error::Closed));
        };
        topic.distrust(is_gone);
        for job in jobs {
            core.retry_or_fail(&topic, job, &self.queue.broker_name, error, was_sent);
        }
    }

    /// A frame came back with an error.
    fn frame_failed(self: &Arc<Self>, core: &Arc<Core>, jobs: Vec<Job>, error: &Error) {
        let is_illegal = error.code() == Some(Code::MESSAGE_ILLEGAL);
        if is_illegal && jobs.len() > 1 {
            // One of them is to blame; the others must not suffer. Each goes alone, in the same order, before the rest.
            let mut state = self.lock();
            put_back(&mut state.waiting, jobs.into_iter().map(Job::alone).collect());
            return self.flush(core, state);
        }
        if error.code() == Some(Code::TOPIC_NOT_EXIST) {
            // The handle names a queue that is gone.
            let mut state = self.lock();
            if state.handle != Handle::Opening {
                state.handle = Handle::None;
            }
        }
        self.failed(core, jobs, error, true);
    }
}

impl LaneFrame {
    /// The frame came back.
    pub(super) fn finish(self, reply: Result<Stored>) {
        let Self { lane, jobs, sent_at, .. } = self;
        let Some(core) = lane.core.upgrade() else {
            return jobs.into_iter().for_each(|job| job.fail(Error::Closed));
        };
        {
            // The next frame first: it travels while the application hears of this one.
            let mut state = lane.lock();
            state.in_flight_count -= 1;
            lane.flush(&core, state);
        }
        match reply {
            Ok(reply) => {
                lane.health.answered(core.now_ms(), sent_at.elapsed());
                let mut places = Places::new(&reply.results);
                for job in jobs {
                    let status = (reply.code, reply.recall_handle.as_deref());
                    if let Some(tracer) = &core.tracer {
                        job.trace(tracer, &places, &core.config.group, &lane.queue, lane.way.address());
                    }
                    job.succeed(&mut places, status, &lane.queue, lane.way.address());
                }
            }
            Err(error) => lane.frame_failed(&core, jobs, &error),
        }
    }
}

/// The jobs of the next frame: the first, and with gathering those after it that fit.
fn take_jobs(waiting: &mut VecDeque<Job>, gather: bool) -> Vec<Job> {
    let (mut size_bytes, mut count, mut jobs) = (0, 0, 0);
    for job in waiting.iter() {
        let fits =
            size_bytes + job.size_bytes() <= FRAME_GATHER_SIZE_BYTES && count + job.count() <= FRAME_GATHER_COUNT;
        if jobs > 0 && (!gather || !fits || job.is_alone) {
            break;
        }
        size_bytes += job.size_bytes();
        count += job.count();
        jobs += 1;
        if job.is_alone {
            break;
        }
    }
    waiting.drain(..jobs).collect()
}

/// When the first of `jobs` must be over.
fn deadline_of<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> Instant {
    jobs.into_iter().map(|job| job.deadline).min().unwrap_or_else(Instant::now)
}

fn put_back(waiting: &mut VecDeque<Job>, jobs: Vec<Job>) {
    jobs.into_iter().rev().for_each(|job| waiting.push_front(job));
}
