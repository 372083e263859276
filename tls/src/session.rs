//! One connection's TLS: received bytes in; what the peer says, and what is to be sent, out.
//!
//! ```text
//! received ─► [kept | received] ─► receive ─┬─► plain: what the peer says
//!                 ▲          rest ──┘       └─► out:   handshake, alerts
//! said by us ─► seal ─► out: records
//! ```
//! What is not whole yet is *kept*, and whoever receives puts it before what comes next; a session that has nothing kept
//! holds no buffer. Records are decrypted where they lie.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, ServerConfig};

use crate::error::TlsError;
use crate::limits::{KEPT_BYTES_MAX, RECORD_BYTES_MAX};

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The keys are not agreed on yet.
    Handshaking,
    /// Both sides may speak.
    Established,
    /// The peer has said that it will say nothing more.
    Closed,
}

/// A side of TLS, as rustls has it.
pub trait Side {
    /// What differs between them.
    type Data;

    /// Takes the next step with what was received.
    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }
}

/// See the module.
pub struct Session<S> {
    side: S,
    kept: Vec<u8>,
    progress: Progress,
}

impl<S> fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept_bytes = self.kept.len();
        f.debug_struct("Session")
            .field("progress", &self.progress)
            .field("kept_bytes", &kept_bytes)
            .finish_non_exhaustive()
    }
}

/// A server's.
pub type ServerSession = Session<UnbufferedServerConnection>;

/// A client's.
pub type ClientSession = Session<UnbufferedClientConnection>;

impl ServerSession {
    /// A connection that is about to shake hands.
    ///
    /// # Errors
    /// When rustls refuses its configuration.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::of(UnbufferedServerConnection::new(config)?))
    }
}

impl ClientSession {
    /// A connection to `host`, a name or an address without a port; adds its first message to `out`.
    ///
    /// # Errors
    /// When `host` is neither, or rustls refuses its configuration.
    pub fn client(config: Arc<ClientConfig>, host: &str, out: &mut Vec<u8>) -> Result<Self, TlsError> {
        let unusable = |_| TlsError::Settings(format!("{host:?} is neither a name nor an address"));
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(unusable)?;
        let mut session = Self::of(UnbufferedClientConnection::new(config, name)?);
        session.receive(&mut [], &mut Vec::new(), out)?;
        Ok(session)
    }
}

impl<S: Side> Session<S> {
    fn of(side: S) -> Self {
        Self { side, kept: Vec::new(), progress: Progress::Handshaking }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What must stand before the bytes that are received next. At most [`KEPT_BYTES_MAX`].
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Takes `bytes`: what was [`kept`](Self::kept), then what was received. They are overwritten. Adds what the peer says to `plain`
    /// and what is to be sent to `out`.
    ///
    /// # Errors
    /// When the peer breaks the protocol, or is not accepted. `out` then may end with an alert that tells it so; nothing
    /// more is to be received, and nothing in `plain` of this call is to be believed.
    pub fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Progress, TlsError> {
        // What is below reads bytes of strangers: if it panics, that is the end of this connection alone.
        let result = catch_unwind(AssertUnwindSafe(|| self.process(bytes, plain, out)));
        result.unwrap_or(Err(TlsError::Panicked)).inspect_err(|_| {
            self.progress = Progress::Closed;
            self.kept = Vec::new();
        })
    }

    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Progress, TlsError> {
        let mut start = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.side.process(&mut bytes[start..]);
            let mut goes_on = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.progress = Progress::Closed;
                    goes_on = false;
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    if self.progress == Progress::Handshaking {
                        self.progress = Progress::Established;
                    }
                    goes_on = false;
                }
                Ok(_) => goes_on = false,
                Err(error) => {
                    // The peer is told why, if there is a word for it.
                    let rest = &mut bytes[start + discard..];
                    if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.side.process(rest).state {
                        encode(&mut data, out);
                    }
                    return Err(error.into());
                }
            }
            start += discard;
            if !goes_on {
                return self.keep(&bytes[start..]);
            }
        }
    }

    fn keep(&mut self, rest: &[u8]) -> Result<Progress, TlsError> {
        if rest.is_empty() || self.progress == Progress::Closed {
            self.kept = Vec::new();
        } else if rest.len() > KEPT_BYTES_MAX {
            return Err(TlsError::TooLong(KEPT_BYTES_MAX));
        } else {
            self.kept.clear();
            self.kept.extend_from_slice(rest);
        }
        Ok(self.progress)
    }

    /// Adds the records of `plain` to `out`.
    ///
    /// # Errors
    /// When the handshake is not over, or the keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        out.reserve(plain.len() + plain.len().div_ceil(RECORD_BYTES_MAX) * RECORD_OVERHEAD_BYTES);
        let seal = AssertUnwindSafe(|| {
            let mut pieces = plain.chunks(RECORD_BYTES_MAX);
            pieces.try_for_each(|piece| self.write(piece.len(), out, |traffic, space| traffic.encrypt(piece, space)))
        });
        catch_unwind(seal).unwrap_or(Err(TlsError::Panicked))
    }

    /// Adds to `out` that nothing more will be said; nothing where there are no keys to say it with.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let Err(error) = self.write(0, out, |traffic, space| traffic.queue_close_notify(space)) {
            tracing::trace!(%error, "ends without a word");
        }
    }

    fn write(
        &mut self,
        size_bytes: usize,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        if self.progress != Progress::Established {
            return Err(TlsError::NotEstablished);
        }
        loop {
            // rustls knows places in what it has seen: it must see that again.
            let UnbufferedStatus { discard, state } = self.side.process(&mut self.kept);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let mut exhausted = false;
                    grow(out, size_bytes + RECORD_OVERHEAD_BYTES, |space| match write(&mut traffic, space) {
                        Err(EncryptError::InsufficientSize(size)) => Err(size),
                        Err(EncryptError::EncryptExhausted) => {
                            exhausted = true;
                            Ok(0)
                        }
                        Ok(count) => Ok(count),
                    });
                    self.kept.drain(..discard);
                    return if exhausted { Err(rustls::Error::EncryptError.into()) } else { Ok(()) };
                }
                // A new key that the peer has asked for, or that this much plaintext needs, is said first.
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(TlsError::NotEstablished),
            }
            self.kept.drain(..discard);
        }
    }
}

/// Header, tag, type and explicit nonce of a record.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Adds a message of the handshake, or an alert, to `out`.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    grow(out, 0, |space| match data.encode(space) {
        Err(EncodeError::InsufficientSize(size)) => Err(size),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
        Ok(count) => Ok(count),
    });
}

/// Lets `write` add to `out`: at first into `guess` bytes, then into as many as it says that it needs.
fn grow(out: &mut Vec<u8>, guess: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, InsufficientSizeError>) {
    let start = out.len();
    let mut size_bytes = guess;
    loop {
        out.resize(start + size_bytes, 0);
        match write(&mut out[start..]) {
            Ok(count) => return out.truncate(start + count),
            Err(InsufficientSizeError { required_size }) => {
                assert!(
                    required_size > size_bytes,
                    "{required_size} bytes are asked for where {size_bytes} were given"
                );
                size_bytes = required_size;
            }
        }
    }
}
