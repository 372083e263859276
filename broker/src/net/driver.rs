//! One shard and its effects, without any waiting: the plane says what happened, the driver steps and carries out.
//!
//! Order of carrying out: disk operations go to the ring, and to the kernel at once when there is something to send, so that
//! the device works meanwhile (the plane hands over the others before it waits); then output, closing, pausing. What sending brings about (everything taken, a connection gone) is given to the shard as
//! further inputs until nothing is left. A panic inside the shard is its end, not the executor's.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::io::IoSlice;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ringmq_proto::message::Host;
use ringmq_tls::ServerTls;

use super::StepMachine;
use super::buffer::ReceiveBuffer;
use super::connections::{Connection, Connections};
use super::tls::{Beginning, HANDSHAKE_COST_BYTES, Lane, Outcome, Tls, TlsCounts};
use crate::disk::Completion;
use crate::disk::ring::{RingDisk, ShardSlot};
use crate::now::Now;
use crate::shard::io::{Chunk, CloseReason, ConnectionId, ControlOutput, Effects, Fatal, Input, Output};

/// Pieces given to the kernel in one call. More go with the next.
const SLICES_MAX: usize = 64;

/// Connections sent to between two looks at the ring.
const SENDS_PER_LOOK: usize = 16;

/// A connection's socket, as the plane has it.
pub trait Socket {
    /// Sends without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel takes nothing now; anything else is the end of the connection.
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Nothing must be received until it is resumed.
    fn set_paused(&self, paused: bool);

    /// The connection is over: the plane lets go of it.
    fn close(&self);

    /// The same at once, and in a way that a client notices which waits for answers: RocketMQ's clients before 5.x wait on when
    /// a connection is closed, but not when it is reset, and then ask another broker in time.
    fn abort(&self);
}

/// How a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked to.
    Stopped,
    /// It cannot go on: no waiting reply was sent, its files are as they are.
    Failed(Fatal),
}

/// What the plane has to see to after a call.
#[derive(Debug, Default)]
pub struct Asks {
    /// Give a turn when nothing else is at hand.
    pub turn: bool,
    /// Connections with unsent output, which the kernel did not take.
    pub unsent: Vec<ConnectionId>,
    /// Connections that may be read again.
    pub resumed: Vec<ConnectionId>,
    /// To the control plane.
    pub control: Vec<ControlOutput>,
}

/// What the driver counts, for the operations thread.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Connections accepted.
    pub opened: u64,
    /// Connections refused because there were too many.
    pub refused: u64,
    /// Connections that the client ended.
    pub hung_up: u64,
    /// Connections that the shard ended, by reason.
    pub closed: BTreeMap<CloseReason, u64>,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Of connections of TLS.
    pub tls: TlsCounts,
}

/// See the module.
pub struct Driver<M, S> {
    machine: M,
    slot: ShardSlot,
    connections: Connections<S>,
    connection_count_max: usize,
    tls: Tls,
    effects: Effects,
    asks: Asks,
    ended: Option<Ended>,
    counts: Counts,
    output: Output,
    drained: Vec<ConnectionId>,
    gone: Vec<ConnectionId>,
}

impl<M: StepMachine, S: Socket> Driver<M, S> {
    /// Drives `machine`, whose files are at `slot` of the executor's ring.
    pub fn new(machine: M, slot: ShardSlot, connection_count_max: usize, tls: Option<Arc<ServerTls>>) -> Self {
        Self {
            machine,
            slot,
            connections: Connections::new(),
            connection_count_max,
            tls: Tls::new(tls),
            effects: Effects::default(),
            asks: Asks::default(),
            ended: None,
            counts: Counts::default(),
            output: Output::default(),
            drained: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// The shard, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts { tls: self.tls.counts.clone(), ..self.counts.clone() }
    }

    /// Connections at present.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// How the shard ended, when it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// When the shard wants to be ticked, in boot nanoseconds.
    pub fn wake_at_boot_ns(&self) -> Option<u64> {
        self.effects.wake_at_boot_ns
    }

    /// What the plane has to see to. Taken after each call.
    pub fn asks(&mut self) -> &mut Asks {
        &mut self.asks
    }

    /// Gives the shard an input that concerns no connection.
    pub fn input(&mut self, now: Now, input: Input<'_>, ring: &mut RingDisk) {
        self.step(now, input);
        self.carry_out(now, ring);
    }

    /// A completed disk operation of this shard.
    pub fn completed(&mut self, now: Now, completion: Completion, ring: &mut RingDisk) {
        self.input(now, Input::Disk(completion), ring);
    }

    /// A client has connected; nothing when there are too many or the shard has ended.
    pub fn open(&mut self, now: Now, socket: S, peer: Host, ring: &mut RingDisk) -> Option<ConnectionId> {
        if self.connections.len() >= self.connection_count_max || self.ended.is_some() {
            self.counts.refused += 1;
            socket.close();
            return None;
        }
        self.counts.opened += 1;
        let connection = self.connections.insert(socket, self.tls.lane(peer));
        self.input(now, Input::Opened { connection, peer }, ring);
        Some(connection)
    }

    /// Bytes of a connection: the first `count` of what `buffer` has received. Returns what serving them cost, in bytes of
    /// an ordinary receive.
    pub(super) fn receive(
        &mut self,
        now: Now,
        connection: ConnectionId,
        buffer: &mut ReceiveBuffer,
        count: usize,
        ring: &mut RingDisk,
    ) -> usize {
        let Some(entry) = self.connections.get_mut(connection) else { return count };
        self.counts.received_bytes += count as u64;
        if let Lane::Plain = entry.lane {
            self.input(now, Input::Received { connection, bytes: buffer.received(count) }, ring);
            return count;
        }
        self.receive_by_lane(now, connection, buffer, count, ring)
    }

    /// The first bytes of a connection, and all of one of TLS.
    #[cold]
    fn receive_by_lane(
        &mut self,
        now: Now,
        connection: ConnectionId,
        buffer: &mut ReceiveBuffer,
        count: usize,
        ring: &mut RingDisk,
    ) -> usize {
        let Some(entry) = self.connections.get_mut(connection) else { return count };
        if let Lane::Undecided(_) = entry.lane {
            match self.tls.begin(now, &mut entry.lane, buffer.received(count)) {
                Beginning::Plain => return self.receive(now, connection, buffer, count, ring),
                Beginning::Secured => self.step(now, Input::Securing { connection }),
                Beginning::Refused => {
                    self.lose(connection);
                    self.carry_out(now, ring);
                    return count;
                }
            }
        }
        let Some(Connection { lane: Lane::Secured(secured), unsent, .. }) = self.connections.get_mut(connection) else {
            return count;
        };
        let Outcome { out, plain, goes_on, shook_hands } = self.tls.receive(now, secured, buffer, count);
        if !out.is_empty() {
            let waited = !unsent.is_empty();
            unsent.push_back(Chunk::Owned(out));
            if !waited {
                self.send(connection);
            }
        }
        // What it said before it ended is still heard.
        if !plain.is_empty() && self.connections.get(connection).is_some() {
            self.input(now, Input::Received { connection, bytes: &plain }, ring);
        }
        self.tls.recycle(plain);
        if !goes_on {
            self.lose(connection);
        }
        self.carry_out(now, ring);
        if shook_hands { count.max(HANDSHAKE_COST_BYTES) } else { count }
    }

    /// The client is gone.
    pub fn hang_up(&mut self, now: Now, connection: ConnectionId, ring: &mut RingDisk) {
        if self.forget(connection, S::close) {
            self.counts.hung_up += 1;
            self.input(now, Input::Closed { connection }, ring);
        }
    }

    /// A connection's socket.
    pub fn socket(&self, connection: ConnectionId) -> Option<&S> {
        self.connections.get(connection).map(|entry| &entry.socket)
    }

    /// The next unsent bytes of a connection; nothing when it is gone or all is sent.
    pub fn unsent(&self, connection: ConnectionId) -> Option<&[u8]> {
        let connection = self.connections.get(connection)?;
        Some(&connection.unsent.front()?.bytes()[connection.sent_bytes..])
    }

    /// The kernel has room for unsent output again.
    pub fn writable(&mut self, now: Now, connection: ConnectionId, ring: &mut RingDisk) {
        if self.connections.get(connection).is_some() {
            self.send(connection);
            self.carry_out(now, ring);
        }
    }

    /// The kernel took `count` of the bytes that [`Self::unsent`] named.
    pub fn sent(&mut self, connection: ConnectionId, count: usize) {
        if let Some(entry) = self.connections.get_mut(connection) {
            self.counts.sent_bytes += count as u64;
            advance(entry, count, &mut self.machine);
        }
    }

    /// Ends the shard at once: all connections are closed, nothing is asked of it any more.
    pub fn end(&mut self, ended: Ended) {
        if self.ended.is_some() {
            return;
        }
        if let Ended::Failed(fatal) = &ended {
            tracing::error!(reason = %fatal, "the shard has failed: its port is closed, its files are kept");
        }
        self.ended = Some(ended);
        for connection in self.connections.ids() {
            *self.counts.closed.entry(CloseReason::Stopping).or_default() += 1;
            self.forget(connection, S::abort);
        }
        self.effects = Effects::default();
    }

    fn forget(&mut self, connection: ConnectionId, how: fn(&S)) -> bool {
        let Some(mut removed) = self.connections.remove(connection) else { return false };
        if let Lane::Secured(_) = removed.lane {
            let last = self.tls.end(&mut removed.lane);
            // Offered once, like all that a closed connection is owed, and behind the rest of it or not at all.
            if removed.unsent.is_empty() && !last.is_empty() && removed.socket.send(&[IoSlice::new(&last)]).is_err() {
                tracing::trace!("the client is gone, or reads nothing");
            }
        }
        how(&removed.socket);
        true
    }

    /// The connection is over by the client's doing; the shard hears of it with [`Self::report`].
    fn lose(&mut self, connection: ConnectionId) {
        if self.forget(connection, S::close) {
            self.counts.hung_up += 1;
            self.gone.push(connection);
        }
    }

    fn step(&mut self, now: Now, input: Input<'_>) {
        if self.ended.is_some() {
            return;
        }
        let (machine, effects) = (&mut self.machine, &mut self.effects);
        // After a panic the machine is never asked again, so that it may be left half-changed.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| machine.step(now, input, effects))) {
            self.effects.fatal = Some(Fatal(format!("broken invariant: {}", panic_message(panic.as_ref()))));
        }
    }

    fn carry_out(&mut self, now: Now, ring: &mut RingDisk) {
        loop {
            self.start_disk(ring);
            let mut output = mem::take(&mut self.effects.output);
            for (number, connection) in output.drain(..).enumerate() {
                self.take_and_send(connection);
                if number % SENDS_PER_LOOK == SENDS_PER_LOOK - 1 {
                    self.look(ring);
                }
            }
            self.effects.output = output;
            self.close_and_pause();
            self.asks.turn |= mem::take(&mut self.effects.turn_wanted);
            self.asks.control.append(&mut self.effects.control);
            if let Some(fatal) = self.effects.fatal.take() {
                return self.end(Ended::Failed(fatal));
            }
            if self.effects.stopped {
                return self.end(Ended::Stopped);
            }
            if self.drained.is_empty() && self.gone.is_empty() {
                return;
            }
            self.report(now);
        }
    }

    /// With output to send, the kernel hears of the operations at once; without, by the plane's next call of the ring.
    fn start_disk(&mut self, ring: &mut RingDisk) {
        if self.effects.disk.is_empty() {
            return;
        }
        for op in self.effects.disk.drain(..) {
            ring.submit(self.slot, op);
        }
        if !self.effects.output.is_empty()
            && let Err(error) = ring.enter()
        {
            self.effects.fatal = Some(Fatal(format!("the disk ring failed: {error}")));
        }
    }

    /// What the kernel has done of an operation may need the ring's thread to go on: a flush that follows a write.
    fn look(&mut self, ring: &mut RingDisk) {
        if let Err(error) = ring.look() {
            self.effects.fatal = Some(Fatal(format!("the disk ring failed: {error}")));
        }
    }

    /// Tells the shard which connections have been drained or are gone.
    fn report(&mut self, now: Now) {
        let mut drained = mem::take(&mut self.drained);
        for connection in drained.drain(..) {
            if self.connections.get(connection).is_some() {
                self.step(now, Input::Drained { connection });
            }
        }
        self.drained = drained;
        for connection in mem::take(&mut self.gone) {
            self.step(now, Input::Closed { connection });
        }
    }

    fn take_and_send(&mut self, connection: ConnectionId) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        let (machine, output) = (&mut self.machine, &mut self.output);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| machine.take_output(connection, output))) {
            self.effects.fatal = Some(Fatal(format!("broken invariant: {}", panic_message(panic.as_ref()))));
            return;
        }
        let waited = !entry.unsent.is_empty();
        let chunks = self.output.chunks.drain(..).filter(|chunk| !chunk.bytes().is_empty());
        if let Lane::Secured(secured) = &mut entry.lane {
            let sealed = self.tls.seal(secured, chunks, &mut entry.unsent, |buffer| self.machine.recycle(buffer));
            if let Err(error) = sealed {
                tracing::debug!(%error, "a connection of TLS ends");
                return self.lose(connection);
            }
        } else {
            entry.unsent.extend(chunks);
        }
        // A connection that waits for the kernel keeps its order: its task sends.
        if !waited {
            self.send(connection);
        }
    }

    /// Sends what the kernel takes; the plane waits for the rest.
    fn send(&mut self, connection: ConnectionId) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        while !entry.unsent.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&entry.unsent) {
                *slice = IoSlice::new(&chunk.bytes()[if count == 0 { entry.sent_bytes } else { 0 }..]);
                count += 1;
            }
            match entry.socket.send(&slices[..count]) {
                Ok(sent) => {
                    self.counts.sent_bytes += sent as u64;
                    advance(entry, sent, &mut self.machine);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.asks.unsent.push(connection);
                    return;
                }
                Err(_) => return self.lose(connection),
            }
        }
        self.drained.push(connection);
    }

    fn close_and_pause(&mut self) {
        for (connection, reason) in mem::take(&mut self.effects.close) {
            let how = if reason == CloseReason::Stopping { S::abort } else { S::close };
            if self.forget(connection, how) {
                *self.counts.closed.entry(reason).or_default() += 1;
                self.gone.push(connection);
            }
        }
        let pauses = mem::take(&mut self.effects.pause).into_iter().map(|connection| (connection, true));
        let resumes = mem::take(&mut self.effects.resume).into_iter().map(|connection| (connection, false));
        for (connection, paused) in pauses.chain(resumes) {
            if let Some(entry) = self.connections.get(connection) {
                entry.socket.set_paused(paused);
                if !paused {
                    self.asks.resumed.push(connection);
                }
            }
        }
    }
}

/// Lets go of `count` sent bytes.
fn advance<S>(entry: &mut Connection<S>, count: usize, machine: &mut impl StepMachine) {
    let mut rest = entry.sent_bytes + count;
    while let Some(first) = entry.unsent.front() {
        let size_bytes = first.bytes().len();
        if rest < size_bytes {
            break;
        }
        rest -= size_bytes;
        if let Some(Chunk::Owned(buffer)) = entry.unsent.pop_front() {
            machine.recycle(buffer);
        }
    }
    entry.sent_bytes = rest;
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}
