//! The plane that has a glommio task for everything that is waited for.
//!
//! Per listener a task that accepts; per connection one that receives, and one that sends while the kernel takes nothing;
//! per shard one for the turn and one for the time; per executor one for the ring's event descriptor, which other threads
//! raise too, and one that is [`nudge`]d.

mod link;
mod nudge;
mod signal;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future;
use glommio::{Latency, Shares};

use self::link::Link;
use self::nudge::Nudge;
use self::signal::Signal;
use super::buffer::ReceiveBuffer;
use super::clock::now;
use super::driver::{Asks, Driver, Ended};
use super::plane::{ACCEPT_REST, Outside, PUBLISH_INTERVAL, REPEAT_NS_MIN, Start, deliver, publish, report_end};
use super::tls::HANDSHAKE_COST_BYTES;
use super::{StepMachine, socket};
use crate::disk::Completion;
use crate::disk::ring::{RingDisk, ShardSlot, Waiter, handover};
use crate::shard::io::{ConnectionId, Fatal, Input};

/// How long tasks run before timers and sockets are looked at. glommio's default of 100 ms starves them.
const PREEMPT_INTERVAL: Duration = Duration::from_millis(1);

struct Plane<M> {
    ring: RefCell<RingDisk>,
    shards: Vec<Shard<M>>,
    outside: Rc<dyn Outside<M>>,
    buffer: RefCell<ReceiveBuffer>,
    completions: RefCell<Vec<(ShardSlot, Completion)>>,
    ended: Signal,
}

struct Shard<M> {
    driver: RefCell<Driver<M, Link>>,
    slot: ShardSlot,
    turn: Signal,
    time: Signal,
    /// When the time task wakes by itself, in boot nanoseconds.
    armed_boot_ns: Cell<u64>,
    reported: Cell<bool>,
}

/// Serves until every shard has ended.
///
/// The tasks are in a task queue of their own, and are nudged before the first of them begins: the preemption timer rings for
/// them only, never for what makes or ends them, over which glommio would fall asleep with nobody to wake it.
pub(super) async fn serve<M: StepMachine + 'static>(
    ring: RingDisk,
    starts: Vec<Start<M>>,
    outside: Rc<dyn Outside<M>>,
) -> io::Result<()> {
    let latency = Latency::Matters(PREEMPT_INTERVAL);
    let queue = glommio::executor().create_task_queue(Shares::default(), latency, "plane");
    let nudge = Nudge::start()?;
    let nudged = glommio::spawn_local_into(async move { nudge.be_nudged().await }, queue)?;
    let served = glommio::spawn_local_into(serve_in_queue(ring, starts, outside), queue)?.await;
    nudged.cancel().await;
    served
}

/// Serves; every task is spawned into the queue that this one is in.
async fn serve_in_queue<M: StepMachine + 'static>(
    ring: RingDisk,
    starts: Vec<Start<M>>,
    outside: Rc<dyn Outside<M>>,
) -> io::Result<()> {
    let waiter = ring.waiter()?;
    let mut listeners = Vec::new();
    let mut shards = Vec::new();
    for (index, start) in starts.into_iter().enumerate() {
        listeners.extend(start.listeners.into_iter().map(|listener| (index, listener)));
        shards.push(Shard {
            driver: RefCell::new(Driver::new(start.machine, start.slot, start.connection_count_max, start.tls)),
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
        buffer: RefCell::new(ReceiveBuffer::new()),
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
    fn call<R>(self: &Rc<Self>, index: usize, call: impl FnOnce(&mut Driver<M, Link>, &mut RingDisk) -> R) -> R {
        let shard = &self.shards[index];
        let mut driver = shard.driver.borrow_mut();
        let result = call(&mut driver, &mut self.ring.borrow_mut());
        if let Err(error) = self.ring.borrow_mut().enter() {
            driver.end(Ended::Failed(Fatal(format!("the disk ring failed: {error}"))));
        }
        if let Some(at) = driver.wake_at_boot_ns()
            && at < shard.armed_boot_ns.get()
        {
            shard.armed_boot_ns.set(at);
            shard.time.raise();
        }
        let Asks { turn, unsent, control, .. } = std::mem::take(driver.asks());
        let mut reported = shard.reported.get();
        if report_end(index, &driver, &*self.outside, &mut reported) {
            shard.reported.set(true);
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
        for message in control {
            self.outside.control(index, message);
        }
        result
    }

    async fn events(self: Rc<Self>, waiter: Waiter) {
        loop {
            let busy = self.reap();
            self.read_mail();
            if busy {
                glommio::executor().yield_now().await;
            } else if let Err(error) = waiter.wait().await {
                // Whatever ends, also between the look and the wait, has been counted: the wait ends at once then.
                return self.fail(&format!("the executor's ring failed: {error}"));
            }
        }
    }

    /// Gives completed operations to their shards; true when there were any. Costs a look at memory when there are none.
    fn reap(self: &Rc<Self>) -> bool {
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
                self.call(index, |driver, ring| deliver(mail, index, driver, now(), ring, &*self.outside));
            }
        }
    }

    /// The end of every shard of this executor.
    fn fail(self: &Rc<Self>, reason: &str) {
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
                glommio::timer::sleep(Duration::from_nanos(REPEAT_NS_MIN)).await;
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
                let slept = glommio::timer::sleep(Duration::from_nanos(rest.max(REPEAT_NS_MIN)));
                future::or(slept, shard.time.wait()).await;
                // Later than the wish that was slept for, or a new wish: looked at anew.
                continue;
            }
            self.tick(index);
            if shard.driver.borrow().wake_at_boot_ns().is_some_and(|at| at <= now().boot_ns) {
                glommio::timer::sleep(Duration::from_nanos(REPEAT_NS_MIN)).await;
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
            socket::prepare(handover::descriptor(&stream));
            let link = Link::new(stream);
            let opened = self.call(index, |driver, ring| driver.open(now(), link.clone(), peer.into(), ring));
            if let Some(connection) = opened {
                glommio::spawn_local(Rc::clone(&self).receive(index, connection, link)).detach();
            }
        }
    }

    async fn receive(self: Rc<Self>, index: usize, connection: ConnectionId, link: Link) {
        loop {
            let count = poll_fn(|context| link.poll_receive(context, self.buffer.borrow_mut().space())).await;
            if count == 0 {
                self.call(index, |driver, ring| driver.hang_up(now(), connection, ring));
                return;
            }
            let cost = self.call(index, |driver, ring| {
                driver.receive(now(), connection, &mut self.buffer.borrow_mut(), count, ring)
            });
            self.reap();
            // A full buffer, or a handshake.
            if cost >= HANDSHAKE_COST_BYTES {
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
                publish(index, &*shard.driver.borrow(), &*self.outside);
            }
        }
    }
}
