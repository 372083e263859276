//! One broker's connection in tokio: the sans-IO [`Connection`], the socket, and who waits for which reply.
//!
//! A caller encodes its request straight into the connection's output under a short lock and wakes the link's task, which
//! alone touches the socket: it takes the whole output at once, so requests of many callers leave in one write. Replies
//! are converted under the lock and handed out after it, so that no application code runs while it is held.
//!
//! A link connects when somebody wants it and not before. After a failure it answers with that failure at once until a
//! back-off has passed (callers go to another broker meanwhile), then tries again. Every connection has a *generation*:
//! handles opened on one mean nothing on the next.

mod gate;
mod task;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ringmq_proto::code::Code;
use ringmq_tls::ClientTls;
use tokio::sync::oneshot;

use crate::connection::{Connection, Event, RequestError, RequestId, SendItem, SendOptions, SendResult};
use crate::error::{Error, Result};

pub(crate) use gate::{Gate, Served, next_generation};
pub(crate) use task::serve;

/// What came of a send frame.
#[derive(Debug)]
pub(crate) struct SendReply {
    /// How it ended: one of the codes of a stored message.
    pub(crate) code: Code,
    /// One result a record that the frame became.
    pub(crate) results: Vec<SendResult>,
}

/// A send frame: what goes into it, and who waits for the reply.
pub(crate) trait FrameDone: Send {
    /// Its messages.
    fn items(&self) -> Vec<SendItem<'_>>;

    /// The reply, or why there is none. Called exactly once, outside of every lock of the link.
    fn done(self: Box<Self>, reply: Result<SendReply>);
}

/// Why a frame was not sent.
#[derive(Debug)]
pub(crate) enum SendRefusal {
    /// The connection is another one by now: open the queue again.
    Stale,
    /// As much is in flight as the server takes: send it after some replies.
    Full,
    /// It can never be sent like this.
    Error(Error),
}

/// Who waits for a reply.
enum Waiter {
    Frame(Box<dyn FrameDone>),
    Ask(Answer),
}

/// Converts an event and passes it on; must not run application code.
type Answer = Box<dyn FnOnce(Result<Event<'_>>) + Send>;

struct Waiting {
    waiter: Waiter,
    deadline: Instant,
    since: Instant,
}

/// A reply or failure on its way to a [`FrameDone`].
type Finished = (Box<dyn FrameDone>, Result<SendReply>);

struct State {
    connection: Connection,
    /// Of the connection that is ready; 0 while none is.
    generation: u64,
    /// By slot of the request id. `None`: nobody waits (any more).
    waiting: Vec<Option<Waiting>>,
}

/// A broker's address and the connection to it, if there is one.
pub(crate) struct Link {
    gate: Gate,
    state: Mutex<State>,
}

impl Link {
    /// A link to `address`. Its task runs until [`Link::close`].
    pub(crate) fn spawn(address: Arc<str>, tls: Option<ClientTls>) -> Arc<Self> {
        let state = State { connection: Connection::new(), generation: 0, waiting: Vec::new() };
        let link = Arc::new(Self { gate: Gate::new(address, tls), state: Mutex::new(state) });
        tokio::spawn(serve(Arc::clone(&link)));
        link
    }

    /// Where to.
    pub(crate) const fn address(&self) -> &Arc<str> {
        self.gate.address()
    }

    /// Ends the connection and the task; all that wait get [`Error::Closed`].
    pub(crate) fn close(&self) {
        self.gate.close();
    }

    /// See [`Gate::ready`].
    pub(crate) async fn ready(&self) -> Result<u64> {
        self.gate.ready().await
    }

    /// The generation of the connection that is ready now, if one is.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.gate.generation()
    }

    /// Sends the messages of `frame` on the connection of `generation`. The frame hears of it exactly once, unless it is
    /// given back with an error: then nothing was sent.
    pub(crate) fn send_frame<F: FrameDone + 'static>(
        &self,
        generation: u64,
        frame: F,
        deadline: Instant,
    ) -> std::result::Result<(), (SendRefusal, F)> {
        let mut state = self.lock();
        if state.generation != generation {
            return Err((SendRefusal::Stale, frame));
        }
        match state.connection.send_batch(&frame.items(), SendOptions::default()) {
            Ok(id) => {
                state.wait(id, Waiter::Frame(Box::new(frame)), deadline);
                drop(state);
                self.gate.wake();
                Ok(())
            }
            Err(error) => Err((self.send_refusal(&error), frame)),
        }
    }

    /// Sends one message that is never answered.
    pub(crate) fn send_oneway(&self, generation: u64, item: &SendItem<'_>) -> Result<()> {
        let mut state = self.lock();
        if state.generation != generation {
            return Err(self.gate.disconnected(io::ErrorKind::NotConnected.into()));
        }
        let options = SendOptions { oneway: true, ..SendOptions::default() };
        state.connection.send(item, options).map_err(|error| self.request_error(&error))?;
        drop(state);
        self.gate.wake();
        Ok(())
    }

    fn send_refusal(&self, error: &RequestError) -> SendRefusal {
        match error {
            RequestError::NotReady => SendRefusal::Stale,
            RequestError::TooManyInFlight { .. } | RequestError::InFlightBytes { .. } => SendRefusal::Full,
            other => SendRefusal::Error(self.request_error(other)),
        }
    }

    /// Makes a request on the connection of `generation` (any when `None`) and waits for what `read` makes of the reply.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        generation: Option<u64>,
        deadline: Instant,
        encode: impl FnOnce(&mut Connection) -> std::result::Result<RequestId, RequestError>,
        read: impl FnOnce(Event<'_>) -> Option<T> + Send + 'static,
    ) -> Result<T> {
        let started = Instant::now();
        let timed_out = || Error::Timeout { what, after: started.elapsed() };
        let ready = tokio::time::timeout_at(deadline.into(), self.ready()).await.map_err(|_| timed_out())??;
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.generation != generation.unwrap_or(ready) {
                return Err(self.gate.disconnected(io::ErrorKind::NotConnected.into()));
            }
            let id = encode(&mut state.connection).map_err(|error| self.request_error(&error))?;
            let address = Arc::clone(self.gate.address());
            let answer = move |event: Result<Event<'_>>| {
                let value = event.and_then(|event| read_reply(&address, event, read));
                // Nobody may be waiting any more: the caller's future was dropped.
                drop(sender.send(value));
            };
            state.wait(id, Waiter::Ask(Box::new(answer)), deadline);
        }
        self.gate.wake();
        match receiver.await {
            Ok(Err(Error::Timeout { .. })) => Err(timed_out()),
            Ok(value) => value,
            Err(_) => Err(Error::Closed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request_error(&self, error: &RequestError) -> Error {
        match *error {
            RequestError::NotReady => self.gate.disconnected(io::ErrorKind::NotConnected.into()),
            RequestError::TooManyInFlight { count_max } => Error::Full { what: "requests in flight", limit: count_max },
            RequestError::InFlightBytes { bytes_max } => Error::Full { what: "bytes in flight", limit: bytes_max },
            source => Error::BeyondLimits { address: Arc::clone(self.gate.address()), source },
        }
    }
}

impl Served for Link {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn swap_output(&self, out: &mut Vec<u8>) {
        self.lock().connection.swap_output(out);
    }

    /// Takes received bytes and hands out the replies in them.
    fn received(&self, bytes: &[u8]) -> Result<()> {
        let mut finished = Vec::new();
        let mut became_ready = false;
        let result = {
            let state = &mut *self.lock();
            let waiting = &mut state.waiting;
            state.connection.received(bytes, |event| {
                if matches!(event, Event::Ready(_)) {
                    became_ready = true;
                } else if let Some(waiting) = event.request().and_then(|id| waiting.get_mut(id.slot())?.take()) {
                    waiting.waiter.answer(self.gate.address(), event, &mut finished);
                }
            })
        };
        if became_ready {
            let generation = next_generation();
            self.lock().generation = generation;
            self.gate.set_ready(generation);
        }
        for (waiter, reply) in finished {
            waiter.done(reply);
        }
        result.map_err(|source| Error::Protocol { address: Arc::clone(self.gate.address()), source })
    }

    /// Answers requests whose time is over. Their slots stay taken until the late replies come. Gives the time when the
    /// earliest of them was made.
    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let expired: Vec<Waiting> = {
            let mut state = self.lock();
            let is_over = |slot: &mut Option<Waiting>| slot.take_if(|waiting| waiting.deadline <= now);
            state.waiting.iter_mut().filter_map(is_over).collect()
        };
        let earliest = expired.iter().map(|waiting| waiting.since).min();
        for waiting in expired {
            let after = now.duration_since(waiting.since);
            waiting.waiter.fail(Error::Timeout { what: "a request", after });
        }
        earliest
    }

    /// Forgets the connection; all that wait get `error`.
    fn reset(&self, error: &Error) {
        let waiting = {
            let mut state = self.lock();
            state.generation = 0;
            state.connection = Connection::new();
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting.into_iter().flatten() {
            waiting.waiter.fail(error.clone());
        }
    }
}

impl State {
    fn wait(&mut self, id: RequestId, waiter: Waiter, deadline: Instant) {
        if self.waiting.len() <= id.slot() {
            self.waiting.resize_with(id.slot() + 1, || None);
        }
        self.waiting[id.slot()] = Some(Waiting { waiter, deadline, since: Instant::now() });
    }
}

impl Waiter {
    fn answer(self, address: &Arc<str>, event: Event<'_>, finished: &mut Vec<Finished>) {
        match self {
            Self::Ask(answer) => answer(Ok(event)),
            Self::Frame(on) => {
                let read = |event: Event<'_>| match event {
                    Event::Sent { code, results, .. } => Some(SendReply { code, results: results.results().collect() }),
                    _ => None,
                };
                finished.push((on, read_reply(address, event, read)));
            }
        }
    }

    fn fail(self, error: Error) {
        match self {
            Self::Ask(answer) => answer(Err(error)),
            Self::Frame(on) => on.done(Err(error)),
        }
    }
}

fn read_reply<T>(address: &Arc<str>, event: Event<'_>, read: impl FnOnce(Event<'_>) -> Option<T>) -> Result<T> {
    if let Event::Failed { code, remark, .. } = event {
        return Err(Error::Refused { code, remark: remark.to_owned(), address: Arc::clone(address) });
    }
    // The connection has checked that a reply has the kind of its request.
    Ok(read(event).expect("a reply of the request's own kind"))
}
