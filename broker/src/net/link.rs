//! One connection as glommio has it: the stream, and whether its task may receive.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use super::driver::Socket;
use crate::disk::ring::{RingDisk, SocketToken, handover};

/// Shared by the driver, the task that receives, and sometimes one that waits to send.
#[derive(Clone)]
pub(super) struct Link {
    inner: Rc<Inner>,
}

struct Inner {
    stream: RefCell<TcpStream>,
    paused: Cell<bool>,
    closed: Cell<bool>,
    receiver: RefCell<Option<Waker>>,
    sender: RefCell<Option<Waker>>,
    watched: Option<Watched>,
    /// The ring has seen the other side's end.
    last: Cell<bool>,
}

/// How the ring knows the connection, and who is told that it is over.
pub(super) struct Watched {
    pub(super) token: SocketToken,
    pub(super) over: Rc<RefCell<Vec<SocketToken>>>,
}

impl Link {
    pub(super) fn new(stream: TcpStream, watched: Option<Watched>) -> Self {
        Self {
            inner: Rc::new(Inner {
                stream: RefCell::new(stream),
                paused: Cell::new(false),
                closed: Cell::new(false),
                receiver: RefCell::default(),
                sender: RefCell::default(),
                watched,
                last: Cell::new(false),
            }),
        }
    }

    /// How the ring knows it.
    pub(super) fn token(&self) -> Option<SocketToken> {
        self.inner.watched.as_ref().map(|watched| watched.token)
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

    /// Receives what is there.
    pub(super) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = self.inner.stream.borrow();
        let (count, _) = rustix::net::recv(handover::descriptor(&stream), buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    /// Has the ring watch it.
    pub(super) fn watch(&self, ring: &mut RingDisk) -> io::Result<()> {
        match self.token() {
            Some(token) => ring.watch(handover::descriptor(&self.inner.stream.borrow()), token),
            None => Ok(()),
        }
    }

    /// Receives into `buffer`; zero when the connection is over, by whoever's doing.
    pub(super) fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let inner = &*self.inner;
        if inner.closed.get() {
            return Poll::Ready(0);
        }
        if !inner.paused.get()
            && let Poll::Ready(result) = Pin::new(&mut *inner.stream.borrow_mut()).poll_read(context, buffer)
        {
            return Poll::Ready(result.unwrap_or(0));
        }
        remember(&inner.receiver, context);
        Poll::Pending
    }

    /// Sends some of `bytes` once the kernel has room; zero when the connection is over.
    pub(super) fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let inner = &*self.inner;
        if inner.closed.get() {
            return Poll::Ready(Ok(0));
        }
        let sent = Pin::new(&mut *inner.stream.borrow_mut()).poll_write(context, bytes);
        if sent.is_pending() {
            remember(&inner.sender, context);
        }
        sent
    }
}

fn remember(place: &RefCell<Option<Waker>>, context: &Context<'_>) {
    let mut place = place.borrow_mut();
    if !place.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
        *place = Some(context.waker().clone());
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = place.borrow().as_ref() {
        waker.wake_by_ref();
    }
}

impl Socket for Link {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let stream = self.inner.stream.borrow();
        let socket = handover::descriptor(&stream);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match slices {
            [bytes] => rustix::net::send(socket, bytes, flags),
            _ => rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags),
        };
        Ok(sent?)
    }

    fn set_paused(&self, paused: bool) {
        self.inner.paused.set(paused);
        if !paused {
            wake(&self.inner.receiver);
        }
    }

    fn close(&self) {
        if self.inner.closed.replace(true) {
            return;
        }
        if let Some(watched) = &self.inner.watched {
            watched.over.borrow_mut().push(watched.token);
        }
        // What was sent is delivered before the end; the descriptor is closed with the last holder.
        let stream = self.inner.stream.borrow();
        if let Err(errno) = rustix::net::shutdown(handover::descriptor(&stream), rustix::net::Shutdown::Both) {
            tracing::trace!(%errno, "the client was gone already");
        }
        wake(&self.inner.receiver);
        wake(&self.inner.sender);
    }
}
