//! TLS between the sockets and a shard, which knows plain bytes only: what the driver keeps for it.
//!
//! ```text
//! accepted ─► Undecided ─ first byte ─┬─ 16, unless disabled ──► Secured ─► the shard's input, decrypted
//!                                     ├─ other, enforcing ─────► closed
//!                                     └─ other ────────────────► Plain ───► the shard's input, as received
//! ```

#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;

use ringmq_proto::first_bytes::FirstBytes;
use ringmq_proto::message::Host;
use ringmq_tls::limits::{HANDSHAKE_COUNT_MAX, RECORD_BYTES_MAX};
use ringmq_tls::{Mode, Progress, Seldom, ServerSession, ServerTls, TlsError};

use super::buffer::ReceiveBuffer;
use crate::now::Now;
use crate::shard::io::Chunk;

/// What a receive that belongs to a handshake counts as, in bytes: so that many clients that come at once leave the
/// others their turns.
pub(super) const HANDSHAKE_COST_BYTES: usize = 128 << 10;

/// Bytes of records that one piece of output has, about: it is given back when it is sent.
const PIECE_BYTES: usize = 256 << 10;

/// How the bytes of a connection are to be understood.
pub(super) enum Lane {
    /// As they are.
    Plain,
    /// The first one tells.
    Undecided(Host),
    /// By TLS.
    Secured(Box<Secured>),
}

/// A connection of TLS.
pub(super) struct Secured {
    session: ServerSession,
    peer: Host,
    /// It counts among the handshakes under way.
    shakes_hands: bool,
}

/// What a receive came to.
pub(super) struct Outcome {
    /// To be sent, even when the connection is over.
    pub(super) out: Vec<u8>,
    /// What the client says.
    pub(super) plain: Vec<u8>,
    /// The connection goes on.
    pub(super) goes_on: bool,
    /// It was about keys.
    pub(super) shook_hands: bool,
}

/// What a connection was found to begin with.
pub(super) enum Beginning {
    Plain,
    Secured,
    Refused,
}

/// One shard's.
pub(super) struct Tls {
    source: Option<Arc<ServerTls>>,
    handshake_count: usize,
    seldom: Seldom,
    /// Memory for what one receive says.
    plain: Vec<u8>,
    /// Memory for small pieces that go into one record.
    gathered: Vec<u8>,
    pub(super) counts: TlsCounts,
}

/// What is counted, for the operations thread.
#[derive(Clone, Debug, Default)]
pub struct TlsCounts {
    /// Handshakes begun.
    pub begun: u64,
    /// Connections on which TLS failed, or for which there was no place.
    pub failed: u64,
    /// Connections refused because they began without TLS where that is enforced.
    pub refused_plain: u64,
}

impl Tls {
    pub(super) fn new(source: Option<Arc<ServerTls>>) -> Self {
        let (plain, gathered) = (Vec::new(), Vec::new());
        Self { source, handshake_count: 0, seldom: Seldom::default(), plain, gathered, counts: TlsCounts::default() }
    }

    /// Of a new connection.
    pub(super) fn lane(&self, peer: Host) -> Lane {
        if self.source.is_some() { Lane::Undecided(peer) } else { Lane::Plain }
    }

    /// Decides on a connection by what is received first.
    pub(super) fn begin(&mut self, now: Now, lane: &mut Lane, received: &[u8]) -> Beginning {
        let (Lane::Undecided(peer), Some(source)) = (&*lane, &self.source) else { return Beginning::Plain };
        let peer = *peer;
        if FirstBytes::of(received) != FirstBytes::Tls {
            if source.mode() != Mode::Enforcing {
                *lane = Lane::Plain;
                return Beginning::Plain;
            }
            self.counts.refused_plain += 1;
            if let Some(unsaid) = self.seldom.say(now.boot_ns / 1_000_000) {
                tracing::warn!(%peer, unsaid, "a connection without TLS was refused: tls.server.mode is enforcing");
            }
            return Beginning::Refused;
        }
        self.counts.begun += 1;
        if self.handshake_count >= HANDSHAKE_COUNT_MAX {
            self.complain(now, peer, &TlsError::TooMany(HANDSHAKE_COUNT_MAX));
            return Beginning::Refused;
        }
        match ServerSession::server(source.config()) {
            Ok(session) => {
                self.handshake_count += 1;
                *lane = Lane::Secured(Box::new(Secured { session, peer, shakes_hands: true }));
                Beginning::Secured
            }
            Err(error) => {
                self.complain(now, peer, &error);
                Beginning::Refused
            }
        }
    }

    /// Takes what was received on a connection of TLS.
    pub(super) fn receive(
        &mut self,
        now: Now,
        secured: &mut Secured,
        buffer: &mut ReceiveBuffer,
        count: usize,
    ) -> Outcome {
        let mut outcome = Outcome {
            out: Vec::new(),
            plain: mem::take(&mut self.plain),
            goes_on: true,
            shook_hands: secured.shakes_hands,
        };
        let bytes = buffer.behind(secured.session.kept(), count);
        match secured.session.receive(bytes, &mut outcome.plain, &mut outcome.out) {
            Ok(Progress::Handshaking) => {}
            Ok(Progress::Established) => self.end_handshake(secured),
            Ok(Progress::Closed) => outcome.goes_on = false,
            Err(error) => {
                self.complain(now, secured.peer, &error);
                outcome.plain.clear();
                outcome.goes_on = false;
            }
        }
        outcome
    }

    /// Gives the memory of [`Outcome::plain`] back.
    pub(super) fn recycle(&mut self, mut plain: Vec<u8>) {
        plain.clear();
        self.plain = plain;
    }

    /// Turns what the shard says into records behind `unsent`; the shard's buffers are for `recycle`.
    pub(super) fn seal(
        &mut self,
        secured: &mut Secured,
        chunks: impl Iterator<Item = Chunk>,
        unsent: &mut impl Extend<Chunk>,
        mut recycle: impl FnMut(Vec<u8>),
    ) -> Result<(), TlsError> {
        let mut out = Vec::new();
        let mut gathered = mem::take(&mut self.gathered);
        for chunk in chunks {
            let bytes = chunk.bytes();
            if gathered.len() + bytes.len() > RECORD_BYTES_MAX {
                secured.session.seal(&gathered, &mut out)?;
                gathered.clear();
            }
            if bytes.len() < RECORD_BYTES_MAX / 2 {
                gathered.extend_from_slice(bytes);
            } else {
                secured.session.seal(&gathered, &mut out)?;
                gathered.clear();
                secured.session.seal(bytes, &mut out)?;
            }
            if let Chunk::Owned(buffer) = chunk {
                recycle(buffer);
            }
            if out.len() >= PIECE_BYTES {
                unsent.extend([Chunk::Owned(mem::take(&mut out))]);
            }
        }
        secured.session.seal(&gathered, &mut out)?;
        gathered.clear();
        self.gathered = gathered;
        unsent.extend((!out.is_empty()).then_some(Chunk::Owned(out)));
        Ok(())
    }

    /// A connection is let go of: the last word that it is owed, if there is one.
    pub(super) fn end(&mut self, lane: &mut Lane) -> Vec<u8> {
        let mut out = Vec::new();
        if let Lane::Secured(secured) = lane {
            self.end_handshake(secured);
            secured.session.close(&mut out);
        }
        out
    }

    fn end_handshake(&mut self, secured: &mut Secured) {
        if mem::take(&mut secured.shakes_hands) {
            self.handshake_count -= 1;
        }
    }

    fn complain(&mut self, now: Now, peer: Host, error: &TlsError) {
        self.counts.failed += 1;
        if let Some(unsaid) = self.seldom.say(now.boot_ns / 1_000_000) {
            tracing::warn!(%peer, %error, unsaid, "TLS with a client failed");
        }
    }
}
