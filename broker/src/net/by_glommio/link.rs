//! One connection as glommio has it: the stream, and whether its task may receive.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;

use crate::disk::ring::handover;
use crate::net::driver::Socket;
use crate::net::socket;

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
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            inner: Rc::new(Inner {
                stream: RefCell::new(stream),
                paused: Cell::new(false),
                closed: Cell::new(false),
                receiver: RefCell::default(),
                sender: RefCell::default(),
            }),
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
        socket::send(handover::descriptor(&self.inner.stream.borrow()), slices)
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
        socket::shut_down(handover::descriptor(&self.inner.stream.borrow()));
        wake(&self.inner.receiver);
        wake(&self.inner.sender);
    }

    fn abort(&self) {
        if self.inner.closed.replace(true) {
            return;
        }
        socket::reset(handover::descriptor(&self.inner.stream.borrow()));
        wake(&self.inner.receiver);
        wake(&self.inner.sender);
    }
}
