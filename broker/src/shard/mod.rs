//! The shard: connections, requests, long polls, acknowledgements. A state machine that owns its store.
//!
//! A driver (the server, the simulator, a test) holds it like this:
//!
//! ```text
//! Shard::new(store: Store, settings: Settings, now: Now) -> Shard
//! shard.step(now, input: Input<'_>, fx: &mut Effects)              one input; carry out fx after one or more steps, then empty it
//! shard.take_output(connection, &mut Output)                       for each of fx.output: appends the chunks to send, in order
//! shard.recycle(buffer: Vec<u8>)                                   optional: gives an owned chunk's memory back once sent
//! shard.metrics() -> Metrics      shard.store() -> &Store          for the operations thread, by a copy
//! ```
//!
//! Bytes are taken and sent in turns: a connection is in `fx.output` once; after `take_output` and the sending of all of
//! it the driver gives `Input::Drained`, and only then is the connection in `fx.output` again. A connection in `fx.close`
//! is offered its output once (if it is in `fx.output` too), closed, and reported with `Input::Closed`.
//!
//! **The way of a request**: `input` cuts frames off what was received; a dialect (`native`) decodes them; [`Shard`]
//! carries them out (`send`, `pull`, `topics`, `offsets`, `queries`); the answer is encoded by the dialect into what may
//! leave (`output`), or into what is held until the log is acknowledged (`gate`, `acks`), or the request waits
//! (`waiting`) until something that it needs has happened. What is for later (`schedule`, `transactions`) comes back by
//! itself.

mod acks;
mod clients;
mod connection;
mod counts;
mod delay_levels;
mod filter;
mod gate;
mod handles;
mod input;
pub mod io;
mod lifecycle;
pub mod limits;
mod locks;
pub mod metrics;
pub(crate) mod names;
mod native;
mod offsets;
mod output;
mod parked;
mod pull;
mod queries;
mod rates;
mod recall;
mod remoting;
mod request;
mod retry;
mod schedule;
mod send;
pub mod settings;
mod soon;
mod timers;
mod topics;
mod transactions;
mod waiting;

#[cfg(test)]
mod tests;

pub use metrics::Metrics;
pub use settings::Settings;

use crate::now::Now;
use crate::store::cache::Place;
use crate::store::{Store, TopicEvent};
use clients::Clients;
use connection::{Connection, Connections, Phase};
use counts::Counts;
use gate::Gate;
use io::{ConnectionId, DiskSpace, Effects, Input, Output};
use locks::Locks;
use output::Spare;
use parked::Parked;
use rates::Rates;
use remoting::Handovers;
use request::{Rejection, Request, Response, Token};
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::native::SendResult;
use schedule::Schedule;
use send::{Draft, Scratch};
use soon::Soon;
use std::collections::BTreeMap;
use timers::Timers;
use topics::TopicChanges;
use waiting::{Wait, WaitId, Waiting, What};

/// Who armed a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimerOwner {
    Connection(ConnectionId),
    Wait(WaitId),
}

/// How far the shard's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serving,
    /// Asked to stop: what was appended is still to be acknowledged.
    Stopping,
    /// All replies have left; the store writes its last.
    ClosingStore,
    Stopped,
    /// The log has failed.
    Failed,
}

/// One shard: a complete broker on one core.
#[derive(Debug)]
pub struct Shard {
    store: Store,
    settings: Settings,
    life: Life,
    connections: Connections,
    waiting: Waiting,
    timers: Timers<TimerOwner>,
    gate: Gate,
    /// What this receive has appended, by mode.
    drafts: [Draft; 2],
    changes: TopicChanges,
    /// One-way offset commits that wait to be written together.
    coalesced: BTreeMap<(Box<str>, QueueId), QueueOffset>,
    /// Since when the oldest of them waits, in boot nanoseconds.
    coalesced_since_ns: Option<u64>,
    /// Requests that wait for a read of the disk.
    parked: Parked,
    ended_loads: Vec<Place>,
    /// Connections that are not read from until the disk has caught up.
    held_back: Vec<ConnectionId>,
    /// Memory of all half-received frames.
    input_bytes: usize,
    /// Memory of frames that wait for a topic.
    kept_frame_bytes: usize,
    clients: Clients,
    locks: Locks,
    /// Offsets that administrators have set and no pull of the group has followed yet.
    resets: BTreeMap<(Box<str>, QueueId), QueueOffset>,
    rates: Rates,
    counts: Counts,
    disk_space: DiskSpace,
    /// When the shard began to serve, in ms.
    started_ms: u64,
    /// How often an administrator has changed settings since.
    settings_changed: u64,
    /// Groups whose members have changed in this step.
    changed_groups: Vec<Box<str>>,
    schedule: Schedule,
    soon: Soon,
    handovers: Handovers,
    metrics: Metrics,
    spare: Spare,
    scratch: Scratch,
    /// Memory for one record that lies in pieces.
    record: Vec<u8>,
    /// Memory for the properties of one message.
    properties: Vec<u8>,
    /// What is added to the properties of every message that comes by remoting.
    broker_properties: Vec<u8>,
    /// Memory for the text of one remoting header.
    header_scratch: Vec<u8>,
    send_results: Vec<SendResult>,
    woken: Vec<QueueId>,
    wait_ids: Vec<WaitId>,
    topic_events: Vec<TopicEvent>,
}

impl Shard {
    /// A shard that serves what `store` holds.
    pub fn new(store: Store, settings: Settings, now: Now) -> Self {
        let broker_properties = remoting::broker_properties(&store.options().cluster);
        let mut shard = Self {
            store,
            life: Life::Serving,
            connections: Connections::default(),
            waiting: Waiting::new(settings.hash_seed),
            timers: Timers::new(now.boot_ns),
            gate: Gate::default(),
            drafts: Default::default(),
            changes: TopicChanges::default(),
            coalesced: BTreeMap::new(),
            coalesced_since_ns: None,
            parked: Parked::new(settings.hash_seed),
            ended_loads: Vec::new(),
            held_back: Vec::new(),
            input_bytes: 0,
            kept_frame_bytes: 0,
            clients: Clients::default(),
            locks: Locks::default(),
            resets: BTreeMap::new(),
            rates: Rates::default(),
            counts: Counts::default(),
            disk_space: DiskSpace::default(),
            started_ms: now.wall_ms,
            settings_changed: 0,
            changed_groups: Vec::new(),
            record: Vec::new(),
            properties: Vec::new(),
            broker_properties,
            header_scratch: Vec::new(),
            schedule: Schedule::default(),
            soon: Soon::default(),
            handovers: Handovers::default(),
            metrics: Metrics::new(),
            spare: Spare::default(),
            scratch: Scratch::default(),
            send_results: Vec::new(),
            woken: Vec::new(),
            wait_ids: Vec::new(),
            topic_events: Vec::new(),
            settings,
        };
        shard.create_system_topics(&now);
        shard
    }

    /// One thing that happened; what it asks for is added to `fx`.
    pub fn step(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        if self.life == Life::Failed {
            if let Input::Closed { connection } = input {
                self.closed(connection, fx);
            }
            return;
        }
        let receives = matches!(input, Input::Received { .. });
        match input {
            Input::Received { connection, bytes } => self.received(&now, connection, bytes, fx),
            Input::Drained { connection } => self.drained(connection, fx),
            Input::Disk(completion) => match self.store.on_disk(now, completion, &mut fx.disk) {
                Ok(()) => self.log_moved(&now, fx),
                Err(fatal) => return self.fail(fatal.to_string(), fx),
            },
            Input::Turn => {
                self.store.turn(now, &mut fx.disk);
                self.log_moved(&now, fx);
            }
            Input::Opened { connection, peer } => self.opened(&now, connection, peer, fx),
            Input::Securing { connection } => self.securing(&now, connection),
            Input::Closed { connection } => self.closed(connection, fx),
            Input::Tick => self.store.tick(now, &mut fx.disk),
            Input::Control(input) => self.control(&now, input, fx),
            Input::Stop => self.stop(&now, fx),
        }
        if !receives {
            self.due_work(&now);
            self.ask_producers(fx);
        }
        self.expire(&now, fx);
        if self.rates.is_due(now.wall_ms) {
            let (put, got) = (self.metrics.messages_appended, self.metrics.messages_pulled);
            self.rates.sample(now.wall_ms, put, got);
            self.counts.tick(now.wall_ms, put, got);
        }
        if !self.changed_groups.is_empty() {
            self.notify_changed_groups(fx);
        }
        if self.life != Life::Serving {
            self.go_on_stopping(&now, fx);
        }
        fx.turn_wanted |= self.store.has_unissued() || self.store.cache().has_wanted();
        let wakes = [
            self.timers.wake_at_ns(),
            self.gate_wake_at_ns(),
            self.store.next_wake_boot_ns(),
            self.due_wake_at_ns(&now),
        ];
        fx.wake_at_boot_ns = wakes.into_iter().flatten().min();
    }

    /// Appends what may leave on `connection` to `into`, in order. The driver gives [`Input::Drained`] when all of it is
    /// with the kernel.
    pub fn take_output(&mut self, connection: ConnectionId, into: &mut Output) {
        if self.life == Life::Failed {
            return;
        }
        let Some(connection) = self.connections.get_mut(connection) else { return };
        let bytes = connection.output.take(&mut into.chunks);
        connection.taken_bytes += bytes;
        self.metrics.sent_bytes += bytes as u64;
    }

    /// Takes back the memory of a chunk that was sent.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.give(buffer);
    }

    /// The shard's store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The shard's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A copy of all counters and gauges.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        metrics.connections = self.connections.count() as u64;
        metrics.waiting = self.waiting.count() as u64;
        metrics.in_flight_bytes = self.gate.in_flight_bytes();
        metrics
    }

    /// Bytes of buffers that a connection holds.
    #[cfg(test)]
    fn buffer_bytes(&mut self, id: ConnectionId) -> usize {
        self.connections.get_mut(id).map_or(0, |connection| connection.buffer_bytes())
    }

    fn is_stopping(&self) -> bool {
        self.life != Life::Serving
    }

    /// Carries out a request but a send.
    fn carry_out(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        request: Request<'_>,
        fx: &mut Effects,
    ) {
        if self.is_stopping() {
            return self.reject(connection, token, &request::STOPPING);
        }
        match request {
            Request::Ping => self.respond(connection, token, &Response::Done),
            Request::Pull(pull) => self.pull(now, connection, token, pull, fx),
            Request::OpenQueue { topic, number, create } => {
                self.open_queue(now, connection, token, (topic, number, create));
            }
            Request::CommitOffset { queue, group, offset } => {
                self.commit_offset(now, connection, token, (queue, group, offset));
            }
            Request::QueryOffset { queue, group } => self.query_offset(now, connection, token, queue, group),
            Request::QueueState { queue } => self.ask(now, connection, token, What::QueueState { queue }),
            Request::SearchOffset { queue, store_time_ms, upper } => {
                self.ask(now, connection, token, What::Search { queue, store_time_ms, upper });
            }
            Request::ViewMessage { position } => self.ask(now, connection, token, What::View { position }),
            Request::TopicStats { topic } => self.ask(now, connection, token, What::Stats { topic: topic.into() }),
            Request::CreateTopic(wish) => self.create_topic(now, connection, token, wish),
            Request::DeleteTopic { topic } => self.delete_topic(now, connection, token, topic),
            Request::ListTopics { after, topics_max } => self.list_topics(connection, token, after, topics_max),
        }
        if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
            self.check_unread(connection, fx);
        }
    }

    /// Answers now.
    fn respond(&mut self, connection: &mut Connection, token: Token, response: &Response<'_>) {
        if !token.oneway && connection.phase != Phase::Closing {
            connection.output.append(&mut self.spare, |out| response.encode(out, token));
        }
    }

    fn reject(&mut self, connection: &mut Connection, token: Token, rejection: &Rejection) {
        self.metrics.rejected(rejection.code);
        self.respond(connection, token, &Response::Failed(rejection));
    }

    /// Lets a request wait for at most `wait_ns`. Nothing when too many wait already.
    fn wait(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        what: What,
        wait_ns: u64,
    ) -> Option<WaitId> {
        let limits = &self.settings.limits;
        if connection.waiting_count >= limits.connection_waiting_count_max
            || self.waiting.count() >= limits.waiting_count_max as usize
        {
            return None;
        }
        let deadline_ns = now.boot_ns + wait_ns;
        let wait = Wait { connection: connection.id, token, what, deadline_ns };
        let id = self.waiting.insert(wait, &mut connection.waiting_head);
        connection.waiting_count += 1;
        let timer = self.timers.arm(deadline_ns, TimerOwner::Wait(id));
        self.waiting.set_timer(id, Some(timer));
        Some(id)
    }

    /// A waiting request waits no more.
    fn forget_wait(&mut self, connection: &mut Connection, id: WaitId) -> Option<Wait> {
        let removed = self.waiting.remove(id, &mut connection.waiting_head)?;
        connection.waiting_count -= 1;
        if let Some(timer) = removed.timer {
            self.timers.disarm(timer);
        }
        if let Some(queue) = removed.unwatched {
            self.store.unwatch(queue);
        }
        if let What::Frame(kept) = &removed.wait.what {
            self.kept_frame_bytes -= kept.size_bytes();
        }
        Some(removed.wait)
    }

    /// Ends the wait of a request and lets `finish` answer it.
    fn with_waiting(
        &mut self,
        id: WaitId,
        fx: &mut Effects,
        finish: impl FnOnce(&mut Self, &mut Connection, Token, What, &mut Effects),
    ) {
        let Some(asker) = self.waiting.get(id).map(|wait| wait.connection) else { return };
        let Some(mut connection) = self.connections.lend(asker) else { return };
        if let Some(wait) = self.forget_wait(&mut connection, id) {
            finish(self, &mut connection, wait.token, wait.what, fx);
        }
        connection.announce_output(fx);
        self.connections.give_back(connection);
    }
}
