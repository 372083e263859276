//! What a producer knows of one topic: its lanes, whose turn it is, and the jobs that wait until its route is known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringmq_proto::message::tag_hash;

use super::core::Core;
use super::job::Job;
use super::lane::Lane;
use crate::cluster::BrokerQueues;
use crate::message::MessageQueue;

/// How often a route is asked for again: RocketMQ's `pollNameServerInterval`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// The same after an error, and while the topic is only about to be created.
const REFRESH_INTERVAL_DISTRUSTED: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    state: Mutex<State>,
}

struct State {
    /// In the order of broker name and queue number. Empty: not known.
    lanes: Arc<[Arc<Lane>]>,
    /// The topic is not there yet: these are the brokers that create topics, by their template topic.
    is_from_template: bool,
    /// A send failed since the route was asked for.
    is_distrusted: bool,
    refreshed_at: Instant,
    /// A task asks for the route; what is sent meanwhile waits here, in order.
    is_resolving: bool,
    waiting: VecDeque<Job>,
    /// Whose turn it is.
    next: usize,
}

/// What became of a job that was offered to a topic.
#[expect(clippy::large_enum_variant, reason = "handed on at once, on the way of every message: a box would be dearer")]
pub(super) enum Offered {
    /// It goes to this lane.
    Lane(Arc<Lane>, Job),
    /// It waits for the route.
    Waits {
        /// Nobody asks for the route yet: the caller must.
        must_resolve: bool,
    },
}

impl Topic {
    /// A topic that nothing is known of. Queues are used in turn, beginning with the `first`-th: producers that start
    /// together should not all begin with the same one.
    pub(super) fn new(name: &str, first: usize) -> Arc<Self> {
        let state = State {
            lanes: Arc::new([]),
            is_from_template: false,
            is_distrusted: false,
            refreshed_at: Instant::now(),
            is_resolving: false,
            waiting: VecDeque::new(),
            next: first,
        };
        Arc::new(Self { name: name.into(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a broker must create the topic when its queue is opened.
    pub(super) fn is_from_template(&self) -> bool {
        self.lock().is_from_template
    }

    /// The lanes, if they are known.
    pub(super) fn lanes(&self) -> Arc<[Arc<Lane>]> {
        Arc::clone(&self.lock().lanes)
    }

    /// Finds a lane for `job`, or keeps it until the route is known. A lane of broker `avoid` is chosen only when there is
    /// no other, a lane of a broker that is slow or down only when all are.
    pub(super) fn offer(&self, core: &Core, job: Job, avoid: Option<&str>) -> Offered {
        let mut state = self.lock();
        if state.is_resolving || state.lanes.is_empty() {
            let must_resolve = !state.is_resolving;
            state.is_resolving = true;
            state.waiting.push_back(job);
            return Offered::Waits { must_resolve };
        }
        let lane = state.choose(core, &job, avoid);
        Offered::Lane(lane, job)
    }

    /// The next job that waits for the route, with its lane; `None` ends the resolving. Called by its task alone.
    pub(super) fn next_waiting(&self, core: &Core) -> Option<(Arc<Lane>, Job)> {
        let mut state = self.lock();
        if let Some(job) = state.waiting.pop_front() {
            let lane = state.choose(core, &job, None);
            return Some((lane, job));
        }
        state.is_resolving = false;
        None
    }

    /// The route could not be had: gives the jobs that wait for it, and ends the resolving.
    pub(super) fn give_up(&self) -> VecDeque<Job> {
        let mut state = self.lock();
        state.is_resolving = false;
        std::mem::take(&mut state.waiting)
    }

    /// A one-way send chooses a lane.
    pub(super) fn choose_any(&self, core: &Core, ordered_by: Option<&str>) -> Option<Arc<Lane>> {
        let mut state = self.lock();
        if state.lanes.is_empty() { None } else { Some(state.choose_for(core, ordered_by, None)) }
    }

    /// Something failed: ask for the route again soon. With `is_gone` a broker says that the topic is not there: forget
    /// the route, and ask before the next send.
    pub(super) fn distrust(&self, is_gone: bool) {
        let mut state = self.lock();
        state.is_distrusted = true;
        if is_gone && !state.is_resolving {
            state.lanes = Arc::new([]);
        }
    }

    /// Whether it is time to ask for the route again.
    pub(super) fn wants_refresh(&self, now: Instant) -> bool {
        let state = self.lock();
        let is_urgent = state.is_distrusted || state.is_from_template;
        let interval = if is_urgent { REFRESH_INTERVAL_DISTRUSTED } else { REFRESH_INTERVAL };
        !state.is_resolving && !state.lanes.is_empty() && now.duration_since(state.refreshed_at) >= interval
    }

    /// Takes a route. Lanes of queues that were there before stay what they are, with all that waits in them.
    pub(super) fn set_route(self: &Arc<Self>, core: &Arc<Core>, route: &[BrokerQueues], is_from_template: bool) {
        let before = self.lanes();
        let before: HashMap<_, _> =
            before.iter().map(|lane| ((&*lane.queue.broker_name, lane.queue.queue_id), lane)).collect();
        let mut lanes: Vec<Arc<Lane>> = Vec::new();
        for broker in route {
            let (way, health) = (core.way(&broker.address), core.health(&broker.broker_name));
            for queue_id in 0..broker.write_count {
                let same = before.get(&(&*broker.broker_name, queue_id));
                let same = same.filter(|lane| lane.way.is_same(&way)).map(|lane| Arc::clone(lane));
                let lane = same.unwrap_or_else(|| {
                    let (topic, broker_name) = (Arc::clone(&self.name), Arc::clone(&broker.broker_name));
                    let queue = MessageQueue { topic, broker_name, queue_id };
                    let (core, topic) = (core, Arc::downgrade(self));
                    Lane::new(queue, way.clone(), Arc::clone(&health), core, topic)
                });
                lanes.push(lane);
            }
        }
        let mut state = self.lock();
        state.refreshed_at = Instant::now();
        state.is_distrusted = false;
        state.is_from_template = is_from_template;
        state.lanes = lanes.into();
    }

    /// The route was asked for in vain: what is known stays, and is tried again later.
    pub(super) fn keep_route(&self) {
        self.lock().refreshed_at = Instant::now();
    }
}

impl State {
    fn choose(&mut self, core: &Core, job: &Job, avoid: Option<&str>) -> Arc<Lane> {
        self.choose_for(core, job.ordered_by.as_deref(), avoid)
    }

    /// Panics when there is no lane.
    fn choose_for(&mut self, core: &Core, ordered_by: Option<&str>, avoid: Option<&str>) -> Arc<Lane> {
        let count = self.lanes.len();
        if let Some(key) = ordered_by {
            // As RocketMQ's SelectMessageQueueByHash, over queues in the same order: Java producers choose the same.
            let hash = tag_hash(key).unsigned_abs() as usize;
            return Arc::clone(&self.lanes[hash % count]);
        }
        let first = self.next;
        self.next = self.next.wrapping_add(1);
        let in_turn = || (0..count).map(|step| &self.lanes[first.wrapping_add(step) % count]);
        let is_other = |lane: &&Arc<Lane>| avoid != Some(&*lane.queue.broker_name);
        let now_ms = core.now_ms();
        let is_good = |lane: &&Arc<Lane>| !core.config.avoid_slow_brokers || !lane.health.is_avoided(now_ms);
        let chosen = in_turn().filter(is_other).find(is_good).or_else(|| in_turn().find(is_other));
        Arc::clone(chosen.unwrap_or(&self.lanes[first % count]))
    }
}
