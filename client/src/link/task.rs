//! The task of a link: it alone touches the socket. It connects when somebody wants it, serves until the connection ends,
//! and backs off.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmq_tls::{ClientStream, ClientTls};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::gate::{Gate, Served};
use crate::error::{Error, Result};

/// How long connecting and the exchange of hellos may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is looked for requests whose time is over: the resolution of all timeouts.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(50);

/// Back-off after the first failure; doubles up to the largest.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(3);

/// Bytes that one read of the socket takes at most.
const RECEIVE_SIZE_BYTES: usize = 256 << 10;

/// The task of a link: connects when wanted, serves, backs off.
pub(crate) async fn serve<L: Served>(link: Arc<L>) {
    let mut backoff = BACKOFF_MIN;
    let gate = link.gate();
    while !gate.is_closed() {
        if !gate.is_wanted() {
            gate.woken().await;
            continue;
        }
        let error = match connect(gate).await {
            Ok(stream) => {
                link.connected();
                let (error, was_ready) = run(&*link, stream).await;
                if was_ready {
                    backoff = BACKOFF_MIN;
                }
                error
            }
            Err(error) => error,
        };
        tracing::debug!(address = %gate.address(), %error, "connection ended");
        gate.set_failed(error.clone(), backoff);
        link.reset(&error);
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    link.reset(&Error::Closed);
}

async fn connect(gate: &Gate) -> Result<ClientStream> {
    let address = gate.address();
    let error = |source: io::Error| Error::Connect { address: Arc::clone(address), source: source.into() };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&**address)).await;
    let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(error)?;
    stream.set_nodelay(true).map_err(error)?;
    // On one machine, a port of the ephemeral range that nobody listens on may be connected with itself, which moreover
    // keeps a broker that restarts from listening there.
    if stream.local_addr().map_err(error)? == stream.peer_addr().map_err(error)? {
        return Err(error(io::ErrorKind::ConnectionRefused.into()));
    }
    let tls = gate.tls().map(ClientTls::config).transpose().map_err(|source| error(source.into()))?;
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, ClientStream::new(stream, address, tls)).await;
    stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(error)
}

/// Serves one connection to its end: why it ended, and whether it was ever ready.
async fn run(link: &impl Served, stream: ClientStream) -> (Error, bool) {
    let hello_deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut socket = Socket::new(stream);
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let gate = link.gate();
        let is_ready = gate.generation().is_some();
        if gate.is_closed() {
            return (Error::Closed, is_ready);
        }
        if !is_ready && Instant::now() >= hello_deadline {
            let source = Arc::new(io::Error::new(io::ErrorKind::TimedOut, "no hello: is it a RingMQ broker?"));
            return (Error::Connect { address: Arc::clone(gate.address()), source }, false);
        }
        let step = tokio::select! {
            step = socket.step(link) => step,
            () = gate.woken() => Ok(()),
            _ = expiry.tick() => match link.expire() {
                // Nothing at all came since a request that is overdue: the other side may be gone without a word.
                Some(since) if socket.heard_at < since => Err(gate.disconnected(io::ErrorKind::TimedOut.into())),
                _ => Ok(()),
            }
        };
        if let Err(error) = step {
            return (error, is_ready);
        }
    }
}

/// The socket and what is between it and the connection.
struct Socket {
    stream: ClientStream,
    /// Taken from the connection; `written` bytes of it are with the system.
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    /// When something was received last.
    heard_at: Instant,
}

impl Socket {
    fn new(stream: ClientStream) -> Self {
        let input = vec![0; RECEIVE_SIZE_BYTES];
        Self { stream, output: Vec::new(), written: 0, input, heard_at: Instant::now() }
    }

    /// Waits for the socket and does what it is ready for. Nothing is lost when it is dropped while it waits.
    async fn step(&mut self, link: &impl Served) -> Result<()> {
        self.write(link)?;
        let is_blocked = self.written < self.output.len();
        let interest = if is_blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = self.stream.ready(interest).await.map_err(|error| link.gate().disconnected(error))?;
        if ready.is_readable() {
            match self.stream.try_read(&mut self.input) {
                Ok(0) => return Err(link.gate().disconnected(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.heard_at = Instant::now();
                    link.received(&self.input[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(link.gate().disconnected(error)),
            }
        }
        Ok(())
    }

    /// Writes until everything is written or the socket is full.
    fn write(&mut self, link: &impl Served) -> Result<()> {
        loop {
            if self.written == self.output.len() {
                self.output.clear();
                self.written = 0;
                link.swap_output(&mut self.output);
                if self.output.is_empty() {
                    return Ok(());
                }
            }
            match self.stream.try_write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(link.gate().disconnected(error)),
            }
        }
    }
}
