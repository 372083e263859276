//! One broker's remoting connection in tokio: the sans-IO [`Connection`], the socket, who waits for which response, and who
//! hears what the broker asks. The sister of [`crate::link::Link`]; connecting, backing off and the socket are the same.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::{ExtFields, ExtHeader};
use ringmq_tls::ClientTls;
use tokio::sync::{mpsc, oneshot};

use super::connection::{BrokerRequest, Connection, Event, Fields, ReplyTo, Response, SerializeType};
use crate::connection::{RequestError, RequestId};
use crate::error::{Error, Result};
use crate::link::{Gate, SendRefusal, Served, next_generation, serve};

/// Requests of brokers that wait until their receiver has time. When reached: further ones are thrown away, as when the
/// network had lost them.
pub(crate) const ASKED_COUNT_MAX: usize = 4096;

/// A response, with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    /// RocketMQ version ordinal of the broker.
    pub(crate) version: i32,
    pub(crate) body: Bytes,
    /// Only of responses that are no success.
    pub(crate) remark: String,
    fields: ExtFields<'static>,
    address: Arc<str>,
}

/// What a broker asks, with its bytes.
#[derive(Debug)]
pub(crate) struct Asked {
    /// RocketMQ's request code.
    pub(crate) code: i32,
    pub(crate) fields: ExtFields<'static>,
    pub(crate) body: Bytes,
    reply_to: Option<ReplyTo>,
    link: Arc<RemotingLink>,
    generation: u64,
}

/// What is heard from a broker without having been asked for.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A connection was made: the broker knows nothing of this client yet.
    Connected,
    /// The broker asks.
    Asked(Asked),
}

/// A request whose response somebody waits for, and what to do with it.
pub(crate) trait Exchange: Send {
    /// Writes the request.
    fn encode(&self, connection: &mut Connection) -> std::result::Result<RequestId, RequestError>;

    /// The response, or why there is none. Called exactly once, outside of every lock of the link.
    fn done(self: Box<Self>, reply: Result<Reply>);
}

struct Waiting {
    exchange: Box<dyn Exchange>,
    id: RequestId,
    deadline: Instant,
    since: Instant,
}

struct State {
    connection: Connection,
    /// Of the connection that is ready; 0 while none is.
    generation: u64,
    /// By slot of the request id. `None`: nobody waits (any more).
    waiting: Vec<Option<Waiting>>,
}

/// A broker's address and the remoting connection to it, if there is one.
pub(crate) struct RemotingLink {
    gate: Gate,
    state: Mutex<State>,
    heard: Option<mpsc::Sender<Heard>>,
    me: std::sync::Weak<Self>,
}

impl std::fmt::Debug for RemotingLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemotingLink({})", self.gate.address())
    }
}

impl RemotingLink {
    /// A link to `address`. Its task runs until [`RemotingLink::close`]. What the broker asks goes to `heard`.
    pub(crate) fn spawn(address: Arc<str>, tls: Option<ClientTls>, heard: Option<mpsc::Sender<Heard>>) -> Arc<Self> {
        let connection = Connection::new(SerializeType::Json);
        let state = State { connection, generation: 0, waiting: Vec::new() };
        let link = Arc::new_cyclic(|me| Self {
            gate: Gate::new(address, tls),
            state: Mutex::new(state),
            heard,
            me: std::sync::Weak::clone(me),
        });
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

    /// Whether there is a connection at this moment.
    pub(crate) fn is_connected(&self) -> bool {
        self.gate.generation().is_some()
    }

    /// See [`Gate::ready`].
    pub(crate) async fn ready(&self) -> Result<u64> {
        self.gate.ready().await
    }

    /// Makes a request on the connection of `generation`. The exchange hears of it exactly once, unless it is given back
    /// with an error: then nothing was sent.
    pub(crate) fn submit<X: Exchange + 'static>(
        &self,
        generation: u64,
        exchange: X,
        deadline: Instant,
    ) -> std::result::Result<(), (SendRefusal, X)> {
        let mut state = self.lock();
        if state.generation != generation {
            return Err((SendRefusal::Stale, exchange));
        }
        match exchange.encode(&mut state.connection) {
            Ok(id) => {
                state.wait(id, Box::new(exchange), deadline);
                drop(state);
                self.gate.wake();
                Ok(())
            }
            Err(RequestError::NotReady) => Err((SendRefusal::Stale, exchange)),
            Err(RequestError::TooManyInFlight { .. }) => Err((SendRefusal::Full, exchange)),
            Err(error) => Err((SendRefusal::Error(self.request_error(&error)), exchange)),
        }
    }

    /// Makes a request and waits for its response, whatever its code.
    pub(crate) async fn exchange<E>(&self, what: &'static str, deadline: Instant, encode: E) -> Result<Reply>
    where
        E: Fn(&mut Connection) -> std::result::Result<RequestId, RequestError> + Send + 'static,
    {
        let started = Instant::now();
        let timed_out = || Error::Timeout { what, after: started.elapsed() };
        let generation = tokio::time::timeout_at(deadline.into(), self.ready()).await.map_err(|_| timed_out())??;
        let (sender, receiver) = oneshot::channel();
        self.submit(generation, Call { encode, sender }, deadline).map_err(|(refusal, _)| match refusal {
            SendRefusal::Stale => self.gate.disconnected(io::ErrorKind::NotConnected.into()),
            SendRefusal::Full => {
                Error::Full { what: "requests in flight", limit: crate::connection::REQUESTS_IN_FLIGHT_MAX }
            }
            SendRefusal::Error(error) => error,
        })?;
        match receiver.await {
            Ok(Err(Error::Timeout { .. })) => Err(timed_out()),
            Ok(reply) => reply,
            Err(_) => Err(Error::Closed),
        }
    }

    /// Makes a request of extension fields and a body, and waits for its response, whatever its code.
    pub(crate) async fn call(
        &self,
        (code, what): (i32, &'static str),
        fields: ExtFields<'_>,
        body: impl Into<Bytes>,
        deadline: Instant,
    ) -> Result<Reply> {
        let (fields, body) = (fields.into_owned(), body.into());
        self.exchange(what, deadline, move |connection| connection.request(code, &fields, &body)).await
    }

    /// Makes a request that is never answered. Waits for a connection until `deadline`.
    pub(crate) async fn tell(&self, code: i32, fields: &ExtFields<'_>, deadline: Instant) -> Result<()> {
        let started = Instant::now();
        let timed_out = |_| Error::Timeout { what: "connecting", after: started.elapsed() };
        tokio::time::timeout_at(deadline.into(), self.ready()).await.map_err(timed_out)??;
        self.write(|connection| connection.request_oneway(code, fields, b""))
    }

    /// Writes something that nobody waits for.
    pub(crate) fn write<T>(
        &self,
        encode: impl FnOnce(&mut Connection) -> std::result::Result<T, RequestError>,
    ) -> Result<T> {
        let written = encode(&mut self.lock().connection).map_err(|error| self.request_error(&error))?;
        self.gate.wake();
        Ok(written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request_error(&self, error: &RequestError) -> Error {
        match *error {
            RequestError::NotReady => self.gate.disconnected(io::ErrorKind::NotConnected.into()),
            source => Error::BeyondLimits { address: Arc::clone(self.address()), source },
        }
    }

    fn tell_heard(&self, heard: Heard) {
        if let Some(sender) = &self.heard
            && sender.try_send(heard).is_err()
        {
            tracing::debug!(address = %self.address(), "a broker's request is thrown away");
        }
    }

    fn asked(&self, request: &BrokerRequest<'_>, generation: u64) -> Option<Heard> {
        let fields = own(request.fields());
        let (code, reply_to, body) = (request.code, request.reply_to, Bytes::copy_from_slice(request.body));
        Some(Heard::Asked(Asked { code, fields, body, reply_to, link: self.me.upgrade()?, generation }))
    }
}

impl Served for RemotingLink {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn connected(&self) {
        let generation = next_generation();
        self.lock().generation = generation;
        self.gate.set_ready(generation);
        self.tell_heard(Heard::Connected);
    }

    fn swap_output(&self, out: &mut Vec<u8>) {
        self.lock().connection.swap_output(out);
    }

    fn received(&self, bytes: &[u8]) -> Result<()> {
        let (mut finished, mut heard) = (Vec::new(), Vec::new());
        let result = {
            let State { connection, generation, waiting } = &mut *self.lock();
            connection.received(bytes, |event| match event {
                Event::Response(response) => {
                    if let Some(waiting) = waiting.get_mut(response.request.slot()).and_then(Option::take) {
                        finished.push((waiting.exchange, Reply::new(&response, self.address())));
                    }
                }
                Event::Request(request) => heard.extend(self.asked(&request, *generation)),
            })
        };
        for (exchange, reply) in finished {
            exchange.done(Ok(reply));
        }
        heard.into_iter().for_each(|heard| self.tell_heard(heard));
        result.map_err(|source| Error::RemotingProtocol { address: Arc::clone(self.address()), source })
    }

    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let expired: Vec<Waiting> = {
            let State { connection, waiting, .. } = &mut *self.lock();
            let is_over = |slot: &mut Option<Waiting>| slot.take_if(|waiting| waiting.deadline <= now);
            let expired: Vec<_> = waiting.iter_mut().filter_map(is_over).collect();
            expired.iter().for_each(|waiting| connection.forget(waiting.id));
            expired
        };
        let earliest = expired.iter().map(|waiting| waiting.since).min();
        for waiting in expired {
            let after = now.duration_since(waiting.since);
            waiting.exchange.done(Err(Error::Timeout { what: "a request", after }));
        }
        earliest
    }

    fn reset(&self, error: &Error) {
        let waiting = {
            let mut state = self.lock();
            state.generation = 0;
            state.connection = Connection::new(SerializeType::Json);
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting.into_iter().flatten() {
            waiting.exchange.done(Err(error.clone()));
        }
    }
}

impl State {
    fn wait(&mut self, id: RequestId, exchange: Box<dyn Exchange>, deadline: Instant) {
        if self.waiting.len() <= id.slot() {
            self.waiting.resize_with(id.slot() + 1, || None);
        }
        self.waiting[id.slot()] = Some(Waiting { exchange, id, deadline, since: Instant::now() });
    }
}

/// A request that a future waits for.
struct Call<E> {
    encode: E,
    sender: oneshot::Sender<Result<Reply>>,
}

impl<E> Exchange for Call<E>
where
    E: Fn(&mut Connection) -> std::result::Result<RequestId, RequestError> + Send,
{
    fn encode(&self, connection: &mut Connection) -> std::result::Result<RequestId, RequestError> {
        (self.encode)(connection)
    }

    fn done(self: Box<Self>, reply: Result<Reply>) {
        // The future may have been dropped.
        drop(self.sender.send(reply));
    }
}

impl Reply {
    fn new(response: &Response<'_>, address: &Arc<str>) -> Self {
        Self {
            code: response.code,
            version: response.version,
            body: Bytes::copy_from_slice(response.body),
            remark: if response.code == Code::SUCCESS { String::new() } else { response.remark() },
            fields: own(response.fields()),
            address: Arc::clone(address),
        }
    }

    /// The response, when its code is one of `codes`; an error otherwise.
    pub(crate) fn expect(self, codes: &[Code]) -> Result<Self> {
        if codes.contains(&self.code) {
            return Ok(self);
        }
        Err(Error::Refused { code: self.code, remark: self.remark, address: self.address })
    }

    /// The response, when it says success.
    pub(crate) fn success(self) -> Result<Self> {
        self.expect(&[Code::SUCCESS])
    }

    /// The typed header.
    pub(crate) fn read<'r, H: ExtHeader<'r>>(&'r self) -> Result<H> {
        H::decode(&self.fields).map_err(|_| self.bad("an answer without the fields that it must have"))
    }

    /// The answer decodes and makes no sense.
    pub(crate) fn bad(&self, what: &'static str) -> Error {
        Error::BadReply { address: Arc::clone(&self.address), what }
    }
}

impl Asked {
    /// The broker that asks.
    pub(crate) fn address(&self) -> &Arc<str> {
        self.link.address()
    }

    /// The link to the broker that asks.
    pub(crate) const fn link(&self) -> &Arc<RemotingLink> {
        &self.link
    }

    /// The typed header of the code.
    pub(crate) fn read<'r, H: ExtHeader<'r>>(&'r self) -> Option<H> {
        H::decode(&self.fields).ok()
    }

    /// Answers that this is nothing that this client does.
    pub(crate) fn refuse(&self) {
        let remark = ringmq_proto::remoting::common::not_supported_remark(self.code);
        self.answer(Code::REQUEST_CODE_NOT_SUPPORTED, Some(&remark), b"");
    }

    /// Answers, if an answer is wanted and the connection is still the same.
    pub(crate) fn answer(&self, code: Code, remark: Option<&str>, body: &[u8]) {
        let Some(reply_to) = self.reply_to else { return };
        let mut state = self.link.lock();
        if state.generation != self.generation {
            return;
        }
        if let Err(error) = state.connection.answer(reply_to, code, remark, &ExtFields::new(), body) {
            tracing::warn!(%error, "an answer is too large for a broker");
        }
        drop(state);
        self.link.gate.wake();
    }
}

fn own(fields: &Fields<'_>) -> ExtFields<'static> {
    fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
