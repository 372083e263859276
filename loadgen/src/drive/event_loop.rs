//! One thread's loop over its links: woken by what arrives and by a timer to the microsecond, or, in open loop, by ticks.
//!
//! **Ticks.** Woken for each message and each answer, a generator at 70 000 messages a second spends 20 µs of processor time on
//! each, more than the broker that it measures, and makes the broker pay for waking it. In open loop the thread sleeps from tick
//! to tick instead: it takes all answers that have arrived, then sends all that is due. A message counts from when it was *due*
//! and an answer from when it was *seen*, so that the ticks' own length is part of every latency: a tick at most on either
//! side, half of one on average.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::timer::{Timer, be_punctual, sleep_until};
use super::{Link, Role};
use crate::clock::now_ns;
use crate::count::{Board, add};
use crate::resources::own_cpu_ns;

/// What one receive takes at most, bytes.
const RECEIVE_SIZE_BYTES: usize = 512 << 10;

/// The loop looks at the wish to stop at least so often.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);

/// From tick to tick in open loop.
pub const TICK: Duration = Duration::from_micros(50);

const TIMER: Token = Token(usize::MAX - 1);

/// A link with its role.
pub struct Member<R> {
    /// The connection.
    pub link: Link,
    /// What is said on it.
    pub role: R,
}

/// What a loop leaves behind.
pub struct Ended<R: Role> {
    /// Its connections.
    pub members: Vec<Member<R>>,
    /// What they shared.
    pub shared: R::Shared,
    /// CPU time of the thread, nanoseconds.
    pub cpu_ns: u64,
}

/// The loop of one thread.
pub struct EventLoop<R: Role> {
    poll: Poll,
    timer: Timer,
    members: Vec<Member<R>>,
    shared: R::Shared,
    board: Arc<Board>,
    thread: usize,
    buffer: Vec<u8>,
    /// Members that have received and not yet spoken, in ticks.
    heard: Vec<usize>,
}

impl<R: Role> EventLoop<R> {
    /// A loop over `members` that counts as thread number `thread` of `board`.
    pub fn new(members: Vec<Member<R>>, shared: R::Shared, board: Arc<Board>, thread: usize) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let mut members = members;
        for (index, member) in members.iter_mut().enumerate() {
            member.link.set_token(Token(index));
        }
        Ok(Self { poll, timer, members, shared, board, thread, buffer: vec![0; RECEIVE_SIZE_BYTES], heard: Vec::new() })
    }

    /// Runs until every role is done or the run is aborted; gives back what the roles and the thread know.
    pub fn run(mut self) -> std::io::Result<Ended<R>> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.by_time(now_ns())?;
            if self.is_over() {
                return Ok(self.end());
            }
            match self.poll.poll(&mut events, Some(POLL_TIMEOUT)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                if event.token() != TIMER && self.hear(event.token().0, event.is_writable()) {
                    self.speak(event.token().0, now_ns());
                }
            }
        }
    }

    /// As [`Self::run`], woken by ticks alone.
    pub fn run_in_ticks(mut self) -> std::io::Result<Ended<R>> {
        let mut events = Events::with_capacity(1024);
        be_punctual();
        let tick_ns = u64::try_from(TICK.as_nanos()).expect("a short time");
        let mut next_ns = now_ns();
        loop {
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let index = event.token().0;
                if event.token() != TIMER && self.hear(index, event.is_writable()) {
                    self.heard.push(index);
                }
            }
            // One word for what the answers allow and what is due: one system call.
            let now = now_ns();
            let mut heard = std::mem::take(&mut self.heard);
            for index in heard.drain(..) {
                self.speak(index, now);
            }
            self.heard = heard;
            self.what_is_due(now);
            if self.is_over() {
                return Ok(self.end());
            }
            // A tick that is late is not made up for by others: what was due meanwhile is sent in the next one.
            next_ns = (next_ns + tick_ns).max(now_ns());
            sleep_until(next_ns);
        }
    }

    fn end(self) -> Ended<R> {
        Ended { members: self.members, shared: self.shared, cpu_ns: own_cpu_ns() }
    }

    fn is_over(&self) -> bool {
        self.board.abort.load(Ordering::Relaxed) || self.members.iter().all(|member| member.role.is_done(&self.shared))
    }

    /// Everything that is due by the time alone; then sets the timer to what is due next.
    fn by_time(&mut self, now: u64) -> std::io::Result<()> {
        let next_ns = self.what_is_due(now);
        if next_ns != u64::MAX { self.timer.set(next_ns, now) } else { Ok(()) }
    }

    /// Does it; says when the next is due.
    fn what_is_due(&mut self, now: u64) -> u64 {
        let mut next_ns = u64::MAX;
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if member.link.look_after(self.poll.registry(), now) {
                member.role.lost(&mut self.shared);
            }
            if member.link.is_up() && member.role.due_ns().is_some_and(|due_ns| due_ns <= now) {
                self.speak(index, now);
            }
            let member = &self.members[index];
            let role_due = if member.link.is_up() { member.role.due_ns() } else { None };
            next_ns = next_ns.min(member.link.due_ns().unwrap_or(u64::MAX)).min(role_due.unwrap_or(u64::MAX));
        }
        next_ns
    }

    /// The socket of member `index` has something: reads all; true when the member may speak.
    fn hear(&mut self, index: usize, is_writable: bool) -> bool {
        let Some(member) = self.members.get_mut(index) else { return false };
        let (link, role, shared) = (&mut member.link, &mut member.role, &mut self.shared);
        let mut result = if is_writable { link.writable() } else { Ok(()) };
        let mut now = 0;
        if result.is_ok() {
            let mut told = Ok(());
            // The first answer's time stands for all of one receive: they arrived together.
            result = link.receive(&mut self.buffer, |heard| {
                if now == 0 {
                    now = now_ns();
                }
                if told.is_ok() {
                    told = role.hear(shared, heard, now);
                }
            });
            result = result.and(told);
        }
        result.map_err(|reason| self.lose(index, reason)).is_ok()
    }

    fn speak(&mut self, index: usize, now: u64) {
        let member = &mut self.members[index];
        let mut result = Ok(());
        if member.link.is_up() {
            result = member.role.pump(&mut self.shared, member.link.wire(), now);
        }
        if let Err(reason) = result.and_then(|()| member.link.flush()) {
            self.lose(index, reason);
        }
    }

    fn lose(&mut self, index: usize, reason: String) {
        let member = &mut self.members[index];
        let was_up = member.link.is_up();
        member.link.lose(reason, now_ns());
        member.role.lost(&mut self.shared);
        if was_up {
            let counters = self.board.of(self.thread);
            add(&counters.errors, 1);
            add(&counters.reconnects, 1);
        }
    }
}
