//! The plane that waits for everything on the executor's one ring: sockets, listeners, the log, other threads' messages, time.
//!
//! One loop owns the thread; glommio has given it its place and sees none of it. A pass of the loop:
//!
//! 1. read the clock; give completed operations to their shards (they free the commit that gathers);
//! 2. take other threads' messages, if one of them has woken us;
//! 3. send where there is room again; accept and receive from what is ready, up to [`sockets::PASS_BYTES_MAX`];
//! 4. tick the shards whose time has come, publish each second: in every pass, however busy;
//! 5. turns: a turn runs behind everything that was ready when it was asked for, so either one more look finds nothing new,
//!    or it has waited for one more pass, or there is more than one pass takes anyway;
//! 6. if anything is at hand, look at the ring (a system call only when the kernel says that it owes completions); if not,
//!    submit and sleep in **one** system call, until the next tick, turn, publishing or end of a rest.
//!
//! **Why no wake-up is lost.** The thread sleeps in one place, step 6, in `io_uring_enter` of this ring, and the kernel does
//! not put it to sleep while the completion queue holds an entry that was not taken. So it is enough that at that moment
//! everything that can happen has an entry with the kernel, and that nothing taken is left lying:
//!
//! * a disk operation: in the kernel, or waiting behind a bound for another one that is (`disk::ring`);
//! * a connection: its multishot poll lives until it is unwatched; each end of it (`unwatched`) is answered by a new one in
//!   the same pass. A poll tells of arrivals, not of bytes left: so what may have more (a full buffer, a pass that was full,
//!   a connection that was paused when it was told of) is kept in `again`, and `again` forbids the sleep; resuming puts a
//!   connection there;
//! * a listener: the same; one that rests for want of descriptors is looked at again when its rest is over, which bounds the
//!   sleep;
//! * unsent output: the kernel took less than all, *then* a poll for room was submitted: it ends at once if there is room;
//! * a message of another thread: left first, then counted; we take the count first, then look (`disk::ring`'s `wake`);
//! * what a shard asks for while it is given something: turns and ticks are fields that step 6 reads; the driver reports
//!   drained and closed connections before it returns.
//!
//! Nothing else wakes a shard: no timer, no task, no descriptor outside of this ring. If all of this were wrong, the sleep
//! would still end with the second's publishing.

mod link;
mod sockets;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use self::link::Link;
use self::sockets::SocketTable;
use super::StepMachine;
use super::buffer::ReceiveBuffer;
use super::clock;
use super::driver::{Asks, Driver, Ended};
use super::plane::{Outside, PUBLISH_INTERVAL, REPEAT_NS_MIN, Start, deliver, publish, report_end};
use crate::disk::Completion;
use crate::disk::ring::{RingDisk, ShardSlot};
use crate::now::Now;
use crate::shard::io::{Fatal, Input};

struct Plane<M> {
    ring: RingDisk,
    shards: Vec<Shard<M>>,
    outside: Rc<dyn Outside<M>>,
    sockets: SocketTable,
    /// All connections are received into this one.
    buffer: ReceiveBuffer,
    completions: Vec<(ShardSlot, Completion)>,
    /// Read at the start of a pass and before its turns.
    now: Now,
    /// Number of the pass.
    pass: u64,
    publish_at_boot_ns: u64,
}

struct Shard<M> {
    driver: Driver<M, Link>,
    slot: ShardSlot,
    reported: bool,
    /// The pass in which a turn was asked for.
    turn_asked: Option<u64>,
    /// No turn before: a shard that wants another one although it just had one waits for something, not by taking all the
    /// time.
    turn_from_boot_ns: u64,
    /// No tick before, likewise.
    tick_from_boot_ns: u64,
}

/// Serves until every shard has ended.
pub(super) fn serve<M: StepMachine>(
    ring: RingDisk,
    starts: Vec<Start<M>>,
    outside: Rc<dyn Outside<M>>,
) -> io::Result<()> {
    let now = clock::now();
    let mut plane = Plane {
        ring,
        shards: Vec::new(),
        outside,
        sockets: SocketTable::default(),
        buffer: ReceiveBuffer::new(),
        completions: Vec::new(),
        now,
        pass: 0,
        publish_at_boot_ns: now.boot_ns + interval_ns(PUBLISH_INTERVAL),
    };
    for (index, start) in starts.into_iter().enumerate() {
        plane.shards.push(Shard {
            driver: Driver::new(start.machine, start.slot, start.connection_count_max, start.tls),
            slot: start.slot,
            reported: false,
            turn_asked: None,
            turn_from_boot_ns: 0,
            tick_from_boot_ns: 0,
        });
        for listener in start.listeners {
            plane.listen(index, listener)?;
        }
    }
    plane.ring.hear_wakes();
    // What was left for us before anybody knew whom to wake.
    plane.read_mail();
    for index in 0..plane.shards.len() {
        plane.tick(index);
    }
    while !plane.all_ended() {
        if let Err(error) = plane.pass() {
            plane.fail(&format!("the executor's ring failed: {error}"));
        }
    }
    // The directories and ports are free when this returns.
    plane.ring.close();
    Ok(())
}

fn interval_ns(interval: Duration) -> u64 {
    u64::try_from(interval.as_nanos()).expect("a short interval")
}

impl<M: StepMachine> Plane<M> {
    fn all_ended(&self) -> bool {
        self.shards.iter().all(|shard| shard.driver.ended().is_some())
    }

    fn pass(&mut self) -> io::Result<()> {
        self.pass += 1;
        self.now = clock::now();
        self.completed()?;
        if self.ring.take_wake()? {
            self.read_mail();
        }
        let is_full = self.serve_sockets()?;
        self.by_time();
        self.now = clock::now();
        self.turns(is_full)?;
        if self.ring.has_news() || self.sockets.has_more() {
            return self.ring.look();
        }
        let until = self.next_boot_ns();
        self.ring.sleep(Duration::from_nanos(until.saturating_sub(self.now.boot_ns)))
    }

    /// Gives completed operations to their shards.
    fn completed(&mut self) -> io::Result<()> {
        let mut completions = std::mem::take(&mut self.completions);
        let reaped = self.ring.reap(&mut completions);
        for (slot, completion) in completions.drain(..) {
            if let Some(index) = self.shards.iter().position(|shard| shard.slot == slot) {
                self.shards[index].driver.completed(self.now, completion, &mut self.ring);
                self.see_to(index)?;
            }
        }
        self.completions = completions;
        // The device works while we receive.
        reaped.and_then(|()| self.ring.enter())
    }

    fn read_mail(&mut self) {
        for index in 0..self.shards.len() {
            for mail in self.outside.mail(index) {
                deliver(mail, index, &mut self.shards[index].driver, self.now, &mut self.ring, &*self.outside);
                self.see_to_or_fail(index);
            }
        }
    }

    /// What the time alone brings about.
    fn by_time(&mut self) {
        let now = self.now.boot_ns;
        for index in 0..self.shards.len() {
            if self.shards[index].tick_at().is_some_and(|at| at <= now) {
                self.tick(index);
            }
        }
        if now >= self.publish_at_boot_ns {
            self.publish_at_boot_ns = now + interval_ns(PUBLISH_INTERVAL);
            for (index, shard) in self.shards.iter().enumerate() {
                publish(index, &shard.driver, &*self.outside);
            }
        }
    }

    fn tick(&mut self, index: usize) {
        let shard = &mut self.shards[index];
        shard.tick_from_boot_ns = self.now.boot_ns + REPEAT_NS_MIN;
        shard.driver.input(self.now, Input::Tick, &mut self.ring);
        self.see_to_or_fail(index);
    }

    /// Runs the turns that nothing belongs before. `is_full`: more is ready than one pass takes.
    fn turns(&mut self, is_full: bool) -> io::Result<()> {
        let (now, pass) = (self.now, self.pass);
        let is_due = |shard: &Shard<M>| shard.turn_at().is_some_and(|at| at <= now.boot_ns);
        let is_fresh = |shard: &Shard<M>| shard.turn_asked == Some(pass);
        if !is_full && self.shards.iter().any(|shard| is_due(shard) && is_fresh(shard)) {
            self.ring.look()?;
        }
        let may_wait = !is_full && self.ring.has_news();
        for index in 0..self.shards.len() {
            let shard = &mut self.shards[index];
            if !is_due(shard) || may_wait && is_fresh(shard) {
                continue;
            }
            shard.turn_asked = None;
            shard.driver.input(now, Input::Turn, &mut self.ring);
            self.see_to(index)?;
            let shard = &mut self.shards[index];
            if shard.turn_asked.is_some() {
                shard.turn_from_boot_ns = now.boot_ns + REPEAT_NS_MIN;
            }
        }
        Ok(())
    }

    /// When the sleep must end by itself.
    fn next_boot_ns(&self) -> u64 {
        let of_shards = self.shards.iter().flat_map(|shard| [shard.tick_at(), shard.turn_at()]).flatten();
        of_shards.chain(self.sockets.rest_until_boot_ns()).fold(self.publish_at_boot_ns, u64::min)
    }

    /// After each call of a shard's driver: what it asks for.
    fn see_to(&mut self, index: usize) -> io::Result<()> {
        let shard = &mut self.shards[index];
        let Asks { turn, unsent, resumed, control } = std::mem::take(shard.driver.asks());
        if turn {
            shard.turn_asked.get_or_insert(self.pass);
            shard.turn_from_boot_ns = 0;
        }
        for message in control {
            self.outside.control(index, message);
        }
        for connection in unsent {
            self.wait_for_room(index, connection)?;
        }
        for connection in resumed {
            self.look_again(index, connection);
        }
        let shard = &mut self.shards[index];
        if report_end(index, &shard.driver, &*self.outside, &mut shard.reported) {
            self.close_listeners(index);
        }
        self.let_go();
        Ok(())
    }

    /// As [`Self::see_to`], where nobody could be told of a failed ring.
    fn see_to_or_fail(&mut self, index: usize) {
        if let Err(error) = self.see_to(index) {
            self.fail(&format!("the executor's ring failed: {error}"));
        }
    }

    /// The end of every shard of this executor.
    fn fail(&mut self, reason: &str) {
        for index in 0..self.shards.len() {
            self.shards[index].driver.end(Ended::Failed(Fatal(reason.to_owned())));
            if self.see_to(index).is_err() {
                tracing::debug!(shard = index, "nothing more is asked of a failed ring");
            }
        }
    }
}

impl<M: StepMachine> Shard<M> {
    /// When the next tick is due.
    fn tick_at(&self) -> Option<u64> {
        let at = self.driver.wake_at_boot_ns()?;
        Some(at.max(self.tick_from_boot_ns))
    }

    /// When the next turn is due.
    fn turn_at(&self) -> Option<u64> {
        self.turn_asked.map(|_| self.turn_from_boot_ns)
    }
}
