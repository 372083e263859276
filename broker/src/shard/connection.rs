//! What a shard keeps for one connection, and the table of them.
//!
//! A silent connection costs this struct, a timer and nothing else: every buffer in it is empty until bytes come, and is
//! given back when it is empty again.

use super::handles::Handles;
use super::io::{ConnectionId, Effects};
use super::output::{Held, OutputQueue};
use super::remoting::{Peer, Sends};
use super::timers::TimerId;
use super::waiting::WaitId;
use crate::store::AckMode;
use ringmq_proto::message::Host;
use std::collections::VecDeque;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is known of it: the first bytes say which protocol it speaks.
    FirstBytes,
    /// The native preamble was exchanged; the hello must come.
    NativeHello,
    /// The native dialect.
    Native,
    /// RocketMQ's remoting.
    Remoting,
    /// It is being closed: what it says is ignored.
    Closing,
}

/// Why a connection is not read from. A connection is read from when no reason is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PauseReason {
    /// Too many of its bytes are appended but not acknowledged.
    InFlight = 1,
    /// The same of the whole shard.
    ShardInFlight = 2,
    /// It does not read its replies.
    Output = 4,
    /// The shard is stopping.
    Stopping = 8,
}

/// Replies that wait for the gate, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct HeldByMode {
    promised: Held,
    written: Held,
}

impl HeldByMode {
    pub(super) fn of(&mut self, mode: AckMode) -> &mut Held {
        match mode {
            AckMode::Promised => &mut self.promised,
            AckMode::Written => &mut self.written,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) peer: Host,
    pub(super) phase: Phase,
    paused: u8,
    /// It is in `Effects::output`, or its output is on the way to the kernel: until `Drained`.
    pub(super) output_pending: bool,
    /// The start of a frame whose rest has not come.
    pub(super) input: Vec<u8>,
    /// Bytes of memory of `input` that the shard's sum counts.
    pub(super) input_counted_bytes: usize,
    /// What may leave.
    pub(super) output: OutputQueue,
    /// What the driver has taken and not yet handed to the kernel, in bytes.
    pub(super) taken_bytes: usize,
    /// Replies that wait for the gate, by mode.
    pub(super) held: HeldByMode,
    /// Appended and not acknowledged.
    pub(super) in_flight_bytes: u64,
    /// The queues that it has opened.
    pub(super) handles: Handles,
    /// Who speaks remoting here.
    pub(super) peer_client: Option<Box<Peer>>,
    /// What the headers of its sends have in common.
    pub(super) sends: Sends,
    /// Where in the store the topic of its last send was found.
    pub(super) topic_hint: u32,
    /// When it was last heard, in boot nanoseconds.
    pub(super) heard_at_ns: u64,
    pub(super) timer: TimerId,
    /// The first of its requests that wait.
    pub(super) waiting_head: u32,
    pub(super) waiting_count: u32,
    /// Pulls that wait until it has read its replies, in their order.
    pub(super) blocked: VecDeque<WaitId>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, peer: Host, now_ns: u64, timer: TimerId) -> Self {
        Self {
            id,
            peer,
            phase: Phase::FirstBytes,
            paused: 0,
            output_pending: false,
            input: Vec::new(),
            input_counted_bytes: 0,
            output: OutputQueue::default(),
            taken_bytes: 0,
            held: HeldByMode::default(),
            in_flight_bytes: 0,
            handles: Handles::default(),
            peer_client: None,
            sends: Sends::default(),
            topic_hint: 0,
            heard_at_ns: now_ns,
            timer,
            waiting_head: super::waiting::NONE,
            waiting_count: 0,
            blocked: VecDeque::new(),
        }
    }

    /// Bytes of replies that the client has not read, as far as the shard knows.
    pub(super) fn unread_bytes(&self) -> usize {
        self.output.bytes() + self.taken_bytes
    }

    #[cfg(test)]
    pub(super) fn buffer_bytes(&mut self) -> usize {
        let held = self.held.of(AckMode::Promised).capacity() + self.held.of(AckMode::Written).capacity();
        held + self.input.capacity() + self.output.capacity() + self.handles.capacity_bytes()
    }

    /// No more is read from it, for `reason` among others. Says whether that is new.
    pub(super) fn pause(&mut self, reason: PauseReason, fx: &mut Effects) -> bool {
        if self.paused == 0 && self.phase != Phase::Closing {
            put_or_take_back(self.id, &mut fx.pause, &mut fx.resume);
        }
        let before = self.paused;
        self.paused |= reason as u8;
        before != self.paused
    }

    /// `reason` is gone; it is read from again when it was the last.
    pub(super) fn resume(&mut self, reason: PauseReason, fx: &mut Effects) {
        let before = self.paused;
        self.paused &= !(reason as u8);
        if before != 0 && self.paused == 0 && self.phase != Phase::Closing {
            put_or_take_back(self.id, &mut fx.resume, &mut fx.pause);
        }
    }

    /// Tells the driver that there are bytes to take, once.
    pub(super) fn announce_output(&mut self, fx: &mut Effects) {
        if !self.output_pending && self.output.bytes() > 0 {
            self.output_pending = true;
            fx.output.push(self.id);
        }
    }
}

/// The driver has not yet seen what is in `opposite`: what takes it back is said by leaving it out.
fn put_or_take_back(id: ConnectionId, list: &mut Vec<ConnectionId>, opposite: &mut Vec<ConnectionId>) {
    match opposite.iter().position(|other| *other == id) {
        Some(index) => {
            opposite.remove(index);
        }
        None => list.push(id),
    }
}

/// All connections of a shard, by the driver's slots.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Box<Connection>>>,
    count: usize,
}

impl Connections {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds one. A slot has one user at a time.
    pub(super) fn insert(&mut self, connection: Connection) {
        let slot = connection.id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "slot {slot} has a connection");
        self.slots[slot] = Some(Box::new(connection));
        self.count += 1;
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot as usize)?.as_deref_mut().filter(|connection| connection.id == id)
    }

    /// Lends one out of the table, so that it and the shard can be worked on together; [`Self::give_back`] ends that.
    pub(super) fn lend(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.take_if(|connection| connection.id == id)
    }

    pub(super) fn give_back(&mut self, connection: Box<Connection>) {
        let slot = connection.id.slot as usize;
        self.slots[slot] = Some(connection);
    }

    /// Removes one that is lent out.
    pub(super) fn remove(&mut self, connection: Box<Connection>) {
        drop(connection);
        self.count -= 1;
    }

    /// All of them, in the order of their slots.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots.iter().flatten().map(|connection| connection.id)
    }
}

const _: () = assert!(size_of::<Connection>() <= 512, "10 000 silent connections cost little");
