//! Sockets on the disk's ring: one entry per socket says, for its whole life, when there is something to receive (or, of a
//! listener, to accept); one more, when asked for, that there is room to send.
//!
//! A multishot poll completes with each arrival, without being asked again. It names the socket by a token that is never used
//! again, so that a late completion of a closed connection is nobody's. What arrives together is seen together, by one look
//! at the completion queue, and costs no task and no system call of its own. When the kernel ends a poll by itself (it does
//! when completions overflow), it says so, and the socket is watched anew.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{cqueue, opcode, squeue, types};

use super::RingDisk;

/// Marks completions of polls for something to receive.
const POLL: u64 = 2 << 56;

/// Marks completions of their ends.
const END: u64 = 3 << 56;

/// Marks completions of polls for room to send.
const ROOM: u64 = 4 << 56;

/// Marks the completion of the end of everything.
const END_ALL: u64 = 6 << 56;

/// Marks completions of the poll for other threads' messages.
pub(super) const WAKE: u64 = 5 << 56;

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
    writable: Vec<SocketToken>,
    /// Another thread has counted up.
    pub(super) woken: bool,
    /// Tokens given so far.
    tokens: u64,
    /// Polls that have been asked for and have not ended.
    pub(super) polls: usize,
    /// Nothing is watched any more, and what was is cancelled.
    closed: bool,
}

impl Sockets {
    /// Takes a completion if it is of a socket.
    pub(super) fn completed(&mut self, user_data: u64, result: i32, flags: u32) -> bool {
        let token = SocketToken(user_data & !KIND);
        let ended = !cqueue::more(flags);
        // An end that was asked for is no event.
        let cancelled = result == -libc::ECANCELED;
        match user_data & KIND {
            POLL => {
                self.polls = self.polls.saturating_sub(usize::from(ended));
                if !cancelled {
                    let last = result < 0 || result & LAST_EVENTS != 0;
                    self.ready.push(Ready { token, last, unwatched: ended });
                }
            }
            ROOM => {
                self.polls = self.polls.saturating_sub(1);
                if !cancelled {
                    self.writable.push(token);
                }
            }
            WAKE => {
                self.polls = self.polls.saturating_sub(1);
                self.woken |= !cancelled;
            }
            END => {}
            // Before Linux 5.19 polls end with the ring alone, and nobody waits for them.
            END_ALL if result < 0 && result != -libc::ENOENT => self.polls = 0,
            END_ALL => {}
            _ => return false,
        }
        true
    }

    pub(super) fn has_news(&self) -> bool {
        self.woken || !self.ready.is_empty() || !self.writable.is_empty()
    }

    /// Whether entries have found no room in the submission queue.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends every poll, so that the kernel lets go of the sockets. To be called when nothing else is with the kernel: it
    /// would be cancelled too.
    pub(super) fn forget(&mut self) {
        if !mem::replace(&mut self.closed, true) && self.polls > 0 {
            self.waiting.clear();
            let all = types::CancelBuilder::any();
            self.waiting.push_back(opcode::AsyncCancel2::new(all).build().user_data(END_ALL));
        }
    }

    /// Whether the kernel has nothing more to say of sockets.
    pub(super) fn is_silent(&self) -> bool {
        self.polls == 0
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
        self.poll(poll.user_data(POLL | token.0))
    }

    /// Tells once, by [`RingDisk::take_writable`], when the kernel has room for more of a socket's output. Ends with the
    /// connection's shutdown, if not before.
    ///
    /// # Errors
    /// When the ring itself has failed.
    pub fn watch_room(&mut self, socket: BorrowedFd<'_>, token: SocketToken) -> io::Result<()> {
        let poll = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), libc::POLLOUT as u32).build();
        self.poll(poll.user_data(ROOM | token.0))
    }

    fn poll(&mut self, entry: squeue::Entry) -> io::Result<()> {
        self.sockets.polls += 1;
        self.sockets.waiting.push_back(entry);
        // At once: the entry names its socket by a number, which means another one as soon as the socket is closed.
        self.enter()
    }

    /// Ends the watching, with what is submitted next; without it the kernel keeps the connection open.
    pub fn unwatch(&mut self, token: SocketToken) {
        let end = opcode::AsyncCancel::new(POLL | token.0).build().user_data(END);
        self.sockets.waiting.push_back(end);
    }

    /// Moves sockets that may have something to receive, seen so far, into `ready`.
    pub fn take_ready(&mut self, ready: &mut Vec<Ready>) {
        ready.append(&mut self.sockets.ready);
    }

    /// Moves sockets that have room for output into `writable`.
    pub fn take_writable(&mut self, writable: &mut Vec<SocketToken>) {
        writable.append(&mut self.sockets.writable);
    }
}
