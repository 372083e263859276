//! Sockets on the disk's ring: one entry per connection says, for its whole life, when there is something to receive.
//!
//! A multishot poll completes with each arrival, without being asked again. It names the socket by a token that is never used
//! again, so that a late completion of a closed connection is nobody's. What arrives together is seen together, by one look
//! at the completion queue, and costs no task and no system call of its own.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{cqueue, opcode, squeue, types};

use super::RingDisk;

/// Marks completions of polls.
const POLL: u64 = 2 << 56;

/// Marks completions of their ends.
const END: u64 = 3 << 56;

/// The bits that tell whose a completion is.
const KIND: u64 = 0xff << 56;

/// Something to receive, the other side's end, or an error.
const EVENTS: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;

/// Events after which no more arrive: what is there must be received to its end.
const LAST_EVENTS: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

/// A watched socket. Never used again while the ring lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketToken(pub u64);

/// A socket that may have something to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which.
    pub token: SocketToken,
    /// Nothing follows: receive until there is no more.
    pub last: bool,
    /// The watch is over: [`RingDisk::watch`] it again, if it is still wanted.
    pub unwatched: bool,
}

/// The part of the ring that knows sockets.
#[derive(Default)]
pub(super) struct Sockets {
    pub(super) waiting: VecDeque<squeue::Entry>,
    ready: Vec<Ready>,
    /// Tokens given so far.
    tokens: u64,
}

impl Sockets {
    /// Takes a completion if it is of a socket.
    pub(super) fn completed(&mut self, user_data: u64, result: i32, flags: u32) -> bool {
        match user_data & KIND {
            POLL => {
                let unwatched = !cqueue::more(flags);
                // An end that was asked for is no event.
                if result != -libc::ECANCELED {
                    let last = result < 0 || result & LAST_EVENTS != 0;
                    self.ready.push(Ready { token: SocketToken(user_data & !KIND), last, unwatched });
                }
                true
            }
            END => true,
            _ => false,
        }
    }
}

impl RingDisk {
    /// A token for a socket.
    pub fn socket_token(&mut self) -> SocketToken {
        self.sockets.tokens += 1;
        SocketToken(self.sockets.tokens)
    }

    /// Watches a socket: from now on [`RingDisk::take_ready`] tells when it may have something to receive. The kernel has
    /// heard of it when this returns, so the descriptor may be closed at any time; the connection ends with
    /// [`RingDisk::unwatch`].
    ///
    /// # Errors
    /// When the ring itself has failed.
    pub fn watch(&mut self, socket: BorrowedFd<'_>, token: SocketToken) -> io::Result<()> {
        let poll = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), EVENTS).multi(true).build();
        self.sockets.waiting.push_back(poll.user_data(POLL | token.0));
        while !self.sockets.waiting.is_empty() {
            self.enter()?;
        }
        Ok(())
    }

    /// Ends the watching; without it the kernel keeps the connection open.
    ///
    /// # Errors
    /// When the ring itself has failed.
    pub fn unwatch(&mut self, token: SocketToken) -> io::Result<()> {
        let end = opcode::AsyncCancel::new(POLL | token.0).build().user_data(END);
        self.sockets.waiting.push_back(end);
        self.enter()
    }

    /// Moves sockets that may have something to receive, seen by the last [`RingDisk::reap`], into `ready`.
    pub fn take_ready(&mut self, ready: &mut Vec<Ready>) {
        ready.append(&mut self.sockets.ready);
    }

    /// Turns the event descriptor's wake-ups off while somebody looks at the ring anyway, and on before he sleeps. After
    /// turning them on he looks once more.
    pub fn set_wakeups(&mut self, on: bool) {
        let queue = self.ring.completion();
        if on { queue.enable_eventfd() } else { queue.disable_eventfd() }
    }
}
