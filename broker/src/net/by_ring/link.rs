//! One connection as the ring's plane has it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use crate::disk::ring::SocketToken;
use crate::net::driver::Socket;
use crate::net::socket;

/// Tokens of connections that the driver has closed and the plane has not yet let go of.
pub(super) type Over = Rc<RefCell<Vec<SocketToken>>>;

/// Shared by the driver and the plane's table.
#[derive(Clone)]
pub(super) struct Link {
    inner: Rc<Inner>,
}

struct Inner {
    stream: TcpStream,
    token: SocketToken,
    over: Over,
    paused: Cell<bool>,
    closed: Cell<bool>,
    /// The ring has seen the other side's end.
    last: Cell<bool>,
}

impl Link {
    pub(super) fn new(stream: TcpStream, token: SocketToken, over: Over) -> Self {
        let flag = || Cell::new(false);
        Self { inner: Rc::new(Inner { stream, token, over, paused: flag(), closed: flag(), last: flag() }) }
    }

    /// How the ring knows it.
    pub(super) fn token(&self) -> SocketToken {
        self.inner.token
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inner.stream.as_fd()
    }

    /// Whether the connection is over for us.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.closed.get()
    }

    /// Whether nothing must be received now.
    pub(super) fn is_paused(&self) -> bool {
        self.inner.paused.get()
    }

    /// Nothing new will arrive: what is there must be received to its end.
    pub(super) fn set_last(&self) {
        self.inner.last.set(true);
    }

    /// See [`Self::set_last`].
    pub(super) fn is_last(&self) -> bool {
        self.inner.last.get()
    }
}

impl Socket for Link {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(self.fd(), slices)
    }

    fn set_paused(&self, paused: bool) {
        self.inner.paused.set(paused);
    }

    fn close(&self) {
        if !self.inner.closed.replace(true) {
            socket::shut_down(self.fd());
            self.inner.over.borrow_mut().push(self.inner.token);
        }
    }

    fn abort(&self) {
        if !self.inner.closed.replace(true) {
            socket::reset(self.fd());
            self.inner.over.borrow_mut().push(self.inner.token);
        }
    }
}
