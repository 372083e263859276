//! A client's connection in tokio, with TLS or without: what `TcpStream` offers, so that it can stand in its place.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

use crate::error::TlsError;
use crate::session::{ClientSession, Progress};

/// Bytes that one read of the socket takes at most, and one write seals at most.
const PIECE_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub struct ClientStream {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

#[derive(Debug)]
struct Tls {
    session: ClientSession,
    /// Said by the server and not yet read; the first `read_bytes` are.
    plain: Vec<u8>,
    read_bytes: usize,
    /// For the server and not yet with the system; the first `sent_bytes` are.
    sealed: Vec<u8>,
    sent_bytes: usize,
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl ClientStream {
    /// Puts TLS on a connection to `address` (`host:port`), if there is a configuration for it, and shakes hands.
    ///
    /// # Errors
    /// When the server is not trusted, breaks the protocol, or speaks no TLS; those of the socket.
    pub async fn new(stream: TcpStream, address: &str, config: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        let Some(config) = config else { return Ok(Self { stream, tls: None }) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let mut sealed = Vec::new();
        let session = ClientSession::client(config, host, &mut sealed)?;
        let tls = Tls { session, plain: Vec::new(), read_bytes: 0, sealed, sent_bytes: 0 };
        let mut stream = Self { stream, tls: Some(Box::new(tls)) };
        stream.shake_hands().await?;
        Ok(stream)
    }

    async fn shake_hands(&mut self) -> io::Result<()> {
        let Self { stream, tls: Some(tls) } = self else { return Ok(()) };
        loop {
            tls.flush(stream)?;
            let done = tls.session.progress() == Progress::Established;
            if done && tls.sealed.is_empty() {
                return Ok(());
            }
            let interest =
                if tls.sealed.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            if stream.ready(interest).await?.is_readable() {
                match tls.receive(stream) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) => {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake of TLS"));
                    }
                    other => drop(other?),
                }
            }
        }
    }

    /// Waits until one of `interest` may be tried. Nothing is lost when it is dropped while it waits.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn ready(&mut self, interest: Interest) -> io::Result<Ready> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else { return stream.ready(interest).await };
        loop {
            if interest.is_readable() && tls.read_bytes < tls.plain.len() {
                return Ok(Ready::READABLE);
            }
            tls.flush(stream)?;
            let waits = !tls.sealed.is_empty();
            let ready = stream.ready(if waits { interest | Interest::WRITABLE } else { interest }).await?;
            let is_wished = interest.is_writable() && ready.is_writable() && !waits;
            if is_wished || interest.is_readable() && (ready.is_readable() || ready.is_read_closed()) {
                return Ok(ready);
            }
        }
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is; what the server does against the protocol.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else { return stream.try_read(buffer) };
        while tls.read_bytes == tls.plain.len() {
            if tls.receive(stream)? == 0 {
                return Ok(0);
            }
        }
        let rest = &tls.plain[tls.read_bytes..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        tls.read_bytes += count;
        Ok(count)
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; those of the socket.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else { return stream.try_write(bytes) };
        tls.flush(stream)?;
        if !tls.sealed.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        tls.session.seal(piece, &mut tls.sealed)?;
        // What the system does not take now, the next wait for readiness hands over.
        tls.flush(stream)?;
        Ok(piece.len())
    }

    /// Waits for something to read and adds it to `buffer`; 0 at the end.
    ///
    /// # Errors
    /// As [`Self::try_read`].
    pub async fn read_buf(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.ready(Interest::READABLE).await?;
            let start = buffer.len();
            buffer.resize(start + PIECE_BYTES, 0);
            let read = self.try_read(&mut buffer[start..]);
            buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() || self.tls.as_ref().is_some_and(|tls| !tls.sealed.is_empty()) {
            match self.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Tls {
    /// Hands over what the system takes.
    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.sent_bytes < self.sealed.len() {
            match stream.try_write(&self.sealed[self.sent_bytes..]) {
                Ok(count) => self.sent_bytes += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.sealed.clear();
        self.sent_bytes = 0;
        Ok(())
    }

    /// Receives once: how many bytes of the socket that were, 0 at the end.
    fn receive(&mut self, stream: &TcpStream) -> io::Result<usize> {
        if self.session.progress() == Progress::Closed {
            return Ok(0);
        }
        let mut bytes = self.session.kept().to_vec();
        let start = bytes.len();
        bytes.resize(start + PIECE_BYTES, 0);
        let count = stream.try_read(&mut bytes[start..])?;
        bytes.truncate(start + count);
        if self.read_bytes == self.plain.len() {
            self.plain.clear();
            self.read_bytes = 0;
        }
        if count > 0 {
            let result = self.session.receive(&mut bytes, &mut self.plain, &mut self.sealed);
            // An alert, or the answer to a new key.
            self.flush(stream)?;
            result?;
        }
        Ok(count)
    }
}
