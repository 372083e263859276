//! The glommio tasks of one executor: what waits for sockets, completed operations, time and messages.
//!
//! Per listener a task that accepts; per connection one that sends while the kernel takes nothing; per shard one for the
//! turn and one for the time; per executor one for the ring's event descriptor, which other threads raise too. What
//! arrives is received by a task per connection, which glommio wakes, or by the executor's one, which the ring tells
//! (`sockets`). **A turn runs behind everything that was ready when it was asked for**, so what arrived together is
//! committed together.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future;

use super::StepMachine;
use super::clock::now;
use super::driver::{Asks, Counts, Driver, Ended};
use super::link::Link;
use super::signal::Signal;
use super::sockets::SocketTable;
use crate::disk::Completion;
use crate::disk::ring::{RingDisk, ShardSlot, Waiter, handover};
use crate::shard::io::{ConnectionId, ControlInput, ControlOutput, Fatal, Input};

/// Bytes received from a connection before others have their turn; also the size of the one buffer of an executor.
pub(super) const RECEIVE_BYTES_MAX: usize = 256 << 10;

/// How long accepting rests when the process has no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The least time between two ticks that no input lies between.
const TICK_NS_MIN: u64 = 100_000;

/// Between two snapshots of what the shards count.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// A message from another thread.
#[derive(Debug)]
pub enum Mail {
    /// For the shard.
    Control(ControlInput),
    /// Stop the shard cleanly.
    Stop,
    /// End it at once, as if the process had been killed.
    Kill,
    /// Publish what is counted.
    Publish,
}

/// What an executor knows of the rest of the process. Shards are named by their place on this executor.
pub trait Outside<M> {
    /// Takes the messages for a shard.
    fn mail(&self, shard: usize) -> Vec<Mail>;

    /// Passes on what a shard has to tell.
    fn control(&self, shard: usize, message: ControlOutput);

    /// Passes on what a shard has counted: each second, when asked, and at its end.
    fn publish(&self, shard: usize, machine: &M, counts: &Counts, connection_count: usize);

    /// A shard has ended.
    fn ended(&self, shard: usize, ended: &Ended);
}

/// A recovered shard with its sockets.
pub struct Start<M> {
    /// The shard.
    pub machine: M,
    /// Its files on the executor's ring.
    pub slot: ShardSlot,
    /// Where it is reached.
    pub listeners: Vec<TcpListener>,
    /// Connections at one time. When reached: a new one is closed.
    pub connection_count_max: usize,
}

/// Who says that a connection has something to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// glommio, to a task of the connection.
    Glommio,
    /// The disk's ring, to the executor's one task.
    Ring,
}

pub(super) struct Plane<M> {
    pub(super) ring: RefCell<RingDisk>,
    pub(super) shards: Vec<Shard<M>>,
    outside: Rc<dyn Outside<M>>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    /// When the ring tells.
    pub(super) sockets: Option<SocketTable>,
    completions: RefCell<Vec<(ShardSlot, Completion)>>,
    ended: Signal,
}

pub(super) struct Shard<M> {
    pub(super) driver: RefCell<Driver<M, Link>>,
    slot: ShardSlot,
    turn: Signal,
    time: Signal,
    /// When the time task wakes by itself, in boot nanoseconds.
    armed_boot_ns: Cell<u64>,
    reported: Cell<bool>,
}

/// Serves until every shard has ended. To be called inside the executor that made `ring`.
///
/// # Errors
/// When the executor cannot wait for its ring.
pub async fn serve<M: StepMachine + 'static>(
    ring: RingDisk,
    starts: Vec<Start<M>>,
    outside: Rc<dyn Outside<M>>,
    receiving: Receiving,
) -> io::Result<()> {
    let waiter = ring.wake().waiter()?;
    let mut listeners = Vec::new();
    let mut shards = Vec::new();
    for (index, start) in starts.into_iter().enumerate() {
        listeners.extend(start.listeners.into_iter().map(|listener| (index, listener)));
        shards.push(Shard {
            driver: RefCell::new(Driver::new(start.machine, start.slot, start.connection_count_max)),
            slot: start.slot,
            turn: Signal::default(),
            time: Signal::default(),
            armed_boot_ns: Cell::new(u64::MAX),
            reported: Cell::new(false),
        });
    }
    let plane = Rc::new(Plane {
        ring: RefCell::new(ring),
        shards,
        outside,
        buffer: RefCell::new(vec![0; RECEIVE_BYTES_MAX].into_boxed_slice()),
        sockets: (receiving == Receiving::Ring).then(SocketTable::default),
        completions: RefCell::default(),
        ended: Signal::default(),
    });
    let mut tasks = Vec::new();
    for index in 0..plane.shards.len() {
        tasks.push((index, glommio::spawn_local(Rc::clone(&plane).turns(index))));
        tasks.push((index, glommio::spawn_local(Rc::clone(&plane).time(index))));
    }
    for (index, listener) in listeners {
        tasks.push((index, glommio::spawn_local(Rc::clone(&plane).accept(index, listener))));
    }
    let publisher = glommio::spawn_local(Rc::clone(&plane).publish());
    let events = glommio::spawn_local(Rc::clone(&plane).events(waiter));
    for index in 0..plane.shards.len() {
        plane.tick(index);
    }
    while !plane.all_ended() {
        plane.ended.wait().await;
        // Ports of ended shards are closed with the tasks that listen.
        let (over, going): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|(index, _)| plane.has_ended(*index));
        tasks = going;
        for (_, task) in over {
            task.cancel().await;
        }
    }
    events.cancel().await;
    publisher.cancel().await;
    // Tasks of connections may outlive this one by a turn; the directories must not stay locked as long.
    plane.ring.borrow_mut().close();
    Ok(())
}

impl<M: StepMachine + 'static> Plane<M> {
    fn has_ended(&self, index: usize) -> bool {
        self.shards[index].driver.borrow().ended().is_some()
    }

    fn all_ended(&self) -> bool {
        (0..self.shards.len()).all(|index| self.has_ended(index))
    }

    /// Calls a shard's driver, then sees to what it asks.
    pub(super) fn call<R>(
        self: &Rc<Self>,
        index: usize,
        call: impl FnOnce(&mut Driver<M, Link>, &mut RingDisk) -> R,
    ) -> R {
        let shard = &self.shards[index];
        let mut driver = shard.driver.borrow_mut();
        let result = call(&mut driver, &mut self.ring.borrow_mut());
        if let Some(at) = driver.wake_at_boot_ns()
            && at < shard.armed_boot_ns.get()
        {
            shard.armed_boot_ns.set(at);
            shard.time.raise();
        }
        let Asks { turn, unsent, resumed, control } = std::mem::take(driver.asks());
        if let Some(ended) = driver.ended()
            && !shard.reported.replace(true)
        {
            self.outside.publish(index, driver.machine(), driver.counts(), 0);
            self.outside.ended(index, ended);
            self.ended.raise();
        }
        // A task runs as soon as it is spawned: the driver must be free.
        drop(driver);
        if turn {
            shard.turn.raise();
        }
        for connection in unsent {
            glommio::spawn_local(Rc::clone(self).send_rest(index, connection)).detach();
        }
        if self.sockets.is_some() {
            self.after_call(index, &resumed);
        }
        for message in control {
            self.outside.control(index, message);
        }
        result
    }

    async fn events(self: Rc<Self>, waiter: Waiter) {
        loop {
            let mut busy = self.reap() | self.receive_ready();
            self.read_mail();
            if !busy {
                // Whatever ends from here on wakes; what has ended just before is seen by one more look.
                self.ring.borrow_mut().set_wakeups(true);
                busy = self.reap() | self.receive_ready();
                if !busy && let Err(error) = waiter.wait().await {
                    return self.fail(&format!("the executor's ring failed: {error}"));
                }
                self.ring.borrow_mut().set_wakeups(self.sockets.is_none());
            }
            if busy {
                glommio::executor().yield_now().await;
            }
        }
    }

    /// Gives completed operations to their shards; true when there were any. Costs a look at memory when there are none.
    pub(super) fn reap(self: &Rc<Self>) -> bool {
        let mut completions = std::mem::take(&mut *self.completions.borrow_mut());
        if let Err(error) = self.ring.borrow_mut().reap(&mut completions) {
            self.fail(&format!("the disk ring failed: {error}"));
        }
        let any = !completions.is_empty();
        if any {
            let now = now();
            for (slot, completion) in completions.drain(..) {
                if let Some(index) = self.shards.iter().position(|shard| shard.slot == slot) {
                    self.call(index, |driver, ring| driver.completed(now, completion, ring));
                }
            }
        }
        *self.completions.borrow_mut() = completions;
        any
    }

    fn read_mail(self: &Rc<Self>) {
        for index in 0..self.shards.len() {
            for mail in self.outside.mail(index) {
                self.call(index, |driver, ring| match mail {
                    Mail::Control(message) => driver.input(now(), Input::Control(message), ring),
                    Mail::Stop => driver.input(now(), Input::Stop, ring),
                    Mail::Kill => driver.end(Ended::Stopped),
                    Mail::Publish => {
                        self.outside.publish(index, driver.machine(), driver.counts(), driver.connection_count());
                    }
                });
            }
        }
    }

    /// The end of every shard of this executor.
    pub(super) fn fail(self: &Rc<Self>, reason: &str) {
        for index in 0..self.shards.len() {
            self.call(index, |driver, _| driver.end(Ended::Failed(Fatal(reason.to_owned()))));
        }
    }

    fn tick(self: &Rc<Self>, index: usize) {
        self.call(index, |driver, ring| driver.input(now(), Input::Tick, ring));
    }

    async fn turns(self: Rc<Self>, index: usize) {
        let turn = &self.shards[index].turn;
        loop {
            turn.wait().await;
            // Completions that are there already belong before the turn: they may free the commit that it starts.
            self.reap();
            self.call(index, |driver, ring| driver.input(now(), Input::Turn, ring));
            // A shard that wants another turn although it just had one waits for something: not by taking all the time.
            if turn.is_raised() {
                glommio::timer::sleep(Duration::from_nanos(TICK_NS_MIN)).await;
            }
        }
    }

    async fn time(self: Rc<Self>, index: usize) {
        let shard = &self.shards[index];
        loop {
            let wanted = shard.driver.borrow().wake_at_boot_ns();
            shard.armed_boot_ns.set(wanted.unwrap_or(u64::MAX));
            let Some(at) = wanted else {
                shard.time.wait().await;
                continue;
            };
            let rest = at.saturating_sub(now().boot_ns);
            if rest > 0 {
                let slept = glommio::timer::sleep(Duration::from_nanos(rest.max(TICK_NS_MIN)));
                future::or(slept, shard.time.wait()).await;
                // Later than the wish that was slept for, or a new wish: looked at anew.
                continue;
            }
            self.tick(index);
            if shard.driver.borrow().wake_at_boot_ns().is_some_and(|at| at <= now().boot_ns) {
                glommio::timer::sleep(Duration::from_nanos(TICK_NS_MIN)).await;
            }
        }
    }

    async fn accept(self: Rc<Self>, index: usize, listener: TcpListener) {
        let listener = handover::listener(listener);
        loop {
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    glommio::timer::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let peer: SocketAddr = match stream.peer_addr() {
                Ok(peer) => peer,
                // Gone before it was looked at.
                Err(_) => continue,
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection that waits for small replies");
            }
            if self.sockets.is_some() {
                self.open_watched(index, stream, peer);
                continue;
            }
            let link = Link::new(stream, None);
            let opened = self.call(index, |driver, ring| driver.open(now(), link.clone(), peer.into(), ring));
            if let Some(connection) = opened {
                glommio::spawn_local(Rc::clone(&self).receive(index, connection, link)).detach();
            }
        }
    }

    async fn receive(self: Rc<Self>, index: usize, connection: ConnectionId, link: Link) {
        loop {
            let count = poll_fn(|context| link.poll_receive(context, &mut self.buffer.borrow_mut())).await;
            if count == 0 {
                self.call(index, |driver, ring| driver.hang_up(now(), connection, ring));
                return;
            }
            self.call(index, |driver, ring| {
                driver.receive(now(), connection, &self.buffer.borrow()[..count], ring);
            });
            self.reap();
            if count == RECEIVE_BYTES_MAX {
                glommio::executor().yield_now().await;
            }
        }
    }

    async fn send_rest(self: Rc<Self>, index: usize, connection: ConnectionId) {
        let Some(link) = self.shards[index].driver.borrow().socket(connection).cloned() else { return };
        loop {
            let sent = poll_fn(|context| {
                let driver = self.shards[index].driver.borrow();
                match driver.unsent(connection) {
                    Some(bytes) => link.poll_send(context, bytes).map(Some),
                    None => Poll::Ready(None),
                }
            })
            .await;
            match sent {
                Some(Ok(count)) if count > 0 => {
                    self.call(index, |driver, _| driver.sent(connection, count));
                }
                Some(_) => return self.call(index, |driver, ring| driver.hang_up(now(), connection, ring)),
                None => return self.call(index, |driver, ring| driver.writable(now(), connection, ring)),
            }
        }
    }

    async fn publish(self: Rc<Self>) {
        loop {
            glommio::timer::sleep(PUBLISH_INTERVAL).await;
            for (index, shard) in self.shards.iter().enumerate() {
                let driver = shard.driver.borrow();
                if driver.ended().is_none() {
                    self.outside.publish(index, driver.machine(), driver.counts(), driver.connection_count());
                }
            }
        }
    }
}
