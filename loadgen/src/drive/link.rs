//! One connection to a broker: socket, sans-IO state, and what to do when it breaks. After a broker's restart it comes back by
//! itself.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::wire::{Heard, Wire};
use crate::cli::Dialect;

/// Wait before the first try to connect again, nanoseconds; doubled up to [`RETRY_NS_MAX`].
const RETRY_NS_MIN: u64 = 20_000_000;

/// Longest wait between two tries, nanoseconds.
const RETRY_NS_MAX: u64 = 500_000_000;

/// A connection may take so long from connecting to the server's hello, nanoseconds. When reached: it is tried anew.
const HANDSHAKE_NS_MAX: u64 = 5_000_000_000;

/// A socket and its state.
pub struct Link {
    address: SocketAddr,
    token: Token,
    socket: Option<TcpStream>,
    dialect: Dialect,
    wire: Wire,
    is_up: bool,
    /// With a socket: when its handshake must have ended. Without: when to connect.
    deadline_ns: u64,
    retry_ns: u64,
    /// The kernel took less than all: wait until it can take more.
    output_waits: bool,
    opened_count: u64,
    last_error: Option<String>,
}

impl Link {
    /// A link that connects as soon as it is looked after.
    pub fn new(address: SocketAddr, dialect: Dialect) -> Self {
        Self {
            address,
            token: Token(usize::MAX),
            socket: None,
            dialect,
            wire: Wire::new(dialect),
            is_up: false,
            deadline_ns: 0,
            retry_ns: RETRY_NS_MIN,
            output_waits: false,
            opened_count: 0,
            last_error: None,
        }
    }

    pub(super) fn set_token(&mut self, token: Token) {
        self.token = token;
    }

    /// Why the connection broke last, when it did.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// How often it was opened beyond the first time.
    pub fn reconnect_count(&self) -> u64 {
        self.opened_count.saturating_sub(1)
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Connected, and the handshake is over where there is one.
    fn note_up(&mut self) {
        if !self.is_up && !self.output_waits && self.wire.is_ready() {
            self.is_up = true;
            self.opened_count += 1;
            self.retry_ns = RETRY_NS_MIN;
        }
    }

    /// When something is to be done by the time alone.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (!self.is_up).then_some(self.deadline_ns)
    }

    /// Connects when it is time to; gives up a handshake that takes too long. True when the connection was lost by that.
    pub(super) fn look_after(&mut self, registry: &Registry, now_ns: u64) -> bool {
        if now_ns < self.deadline_ns || self.is_up() {
            return false;
        }
        if self.socket.is_some() {
            self.lose("no hello in time".into(), now_ns);
            return true;
        }
        match self.connect(registry) {
            Ok(()) => self.deadline_ns = now_ns + HANDSHAKE_NS_MAX,
            Err(error) => self.lose(error.to_string(), now_ns),
        }
        false
    }

    fn connect(&mut self, registry: &Registry) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(self.address)?;
        registry.register(&mut socket, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.socket = Some(socket);
        self.wire = Wire::new(self.dialect);
        self.output_waits = true;
        Ok(())
    }

    /// Forgets the socket and everything that was unanswered.
    pub(super) fn lose(&mut self, reason: String, now_ns: u64) {
        tracing::debug!("{}: {reason}", self.address);
        self.last_error = Some(reason);
        self.socket = None;
        self.wire = Wire::new(self.dialect);
        self.is_up = false;
        self.output_waits = false;
        self.deadline_ns = now_ns + self.retry_ns;
        self.retry_ns = (self.retry_ns * 2).min(RETRY_NS_MAX);
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The kernel can take bytes again (also: the connection is established). Edges of the other direction say so too, so this is
    /// cheap when nothing waits.
    pub(super) fn writable(&mut self) -> Result<(), String> {
        let Some(socket) = self.socket.as_ref().filter(|_| self.output_waits) else { return Ok(()) };
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return Err(error.to_string());
        }
        if let Ok(peer) = socket.peer_addr() {
            // Small frames are not to wait for each other's acknowledgement.
            let _ = socket.set_nodelay(true);
            // Where BBR is the default it shrinks the window to four packets for 200 ms now and then: there is no path to
            // probe inside one machine, and the pause would be taken for the broker's.
            if peer.ip().is_loopback() {
                let _ = rustix::net::sockopt::set_tcp_congestion(socket, "reno");
            }
            self.output_waits = false;
            self.note_up();
        }
        Ok(())
    }

    /// Reads what is there and tells `on` each answer. `buffer` is the thread's; a receive that does not fill it was the last.
    pub(super) fn receive(&mut self, buffer: &mut [u8], mut on: impl FnMut(Heard<'_>)) -> Result<(), String> {
        loop {
            let Some(socket) = &mut self.socket else { return Ok(()) };
            match socket.read(buffer) {
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(size) => {
                    self.wire.received(&buffer[..size], &mut on)?;
                    self.note_up();
                    if size < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Writes as much of the output as the kernel takes.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while !self.output_waits && !self.wire.output().is_empty() {
            match socket.write(self.wire.output()) {
                Ok(size) => self.wire.consume(size),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.output_waits = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Bytes that wait for the kernel.
    pub fn output_bytes(&self) -> usize {
        self.wire.output().len()
    }
}
