//! Received bytes to events.

use ringmq_proto::error::DecodeError;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::native::frame::PROTOCOL_VERSION;
use ringmq_proto::native::{
    FRAME_HEADER_SIZE_BYTES, Frame, FrameFlags, Hello, Kind, PREAMBLE_SIZE_BYTES, SendReply, Table, decode_preamble,
    split_frame,
};

use super::cutter::Units;
use super::{Connection, Event, Limits, Phase, RequestId};

/// The server broke the protocol. Close the connection: nothing behind this can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// A preamble, frame or body that does not decode.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// It speaks no version that this client speaks.
    #[error("the server speaks versions {version_min} to {version_max}, this client {PROTOCOL_VERSION}")]
    Version {
        /// The least that the server speaks.
        version_min: u16,
        /// The highest that the server speaks.
        version_max: u16,
    },
    /// A frame that is no reply.
    #[error("the server sent a request of kind {kind}, which clients do not answer")]
    NotAReply {
        /// Its kind.
        kind: u8,
    },
    /// A reply that nobody waits for, or of another kind than its request.
    #[error("a reply of kind {kind} to request {request_id}, which was not asked")]
    NotAsked {
        /// Its request id.
        request_id: u32,
        /// Its kind.
        kind: u8,
    },
    /// The hello was refused.
    #[error("the server refused the hello with code {code}")]
    HelloRefused {
        /// Its code.
        code: u16,
    },
    /// Bytes were received after an earlier error.
    #[error("the connection is broken")]
    Broken,
}

/// What the server sends: a preamble, its hello, replies.
struct Replies<'c, F> {
    connection: &'c mut Connection,
    on: &'c mut F,
}

impl<F: FnMut(Event<'_>)> Units for Replies<'_, F> {
    type Error = ConnectionError;

    fn needed(&self, begun: &[u8]) -> usize {
        match (self.connection.phase, begun.first_chunk::<4>()) {
            (Phase::Preamble, _) => PREAMBLE_SIZE_BYTES,
            (_, None) => 4,
            (_, Some(length)) => (u32::from_le_bytes(*length) as usize).max(FRAME_HEADER_SIZE_BYTES),
        }
    }

    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        self.connection.take_unit(bytes, self.on)
    }
}

impl Connection {
    /// Takes received bytes, however they were cut, and calls `on` for each reply in them. A reply that has not arrived
    /// whole is kept and told when its rest comes.
    ///
    /// # Errors
    /// When the server breaks the protocol. Replies before the offence were told; the connection is of no more use.
    #[inline]
    pub fn received(&mut self, bytes: &[u8], mut on: impl FnMut(Event<'_>)) -> Result<(), ConnectionError> {
        let mut cutter = std::mem::take(&mut self.cutter);
        let result = cutter.cut(bytes, &mut Replies { connection: self, on: &mut on });
        match result {
            Ok(()) => self.cutter = cutter,
            Err(_) => self.phase = Phase::Broken,
        }
        result
    }

    /// Reads the preamble or frame at the start of `bytes`: how many bytes it takes, 0 when it is not whole.
    #[inline]
    fn take_unit(&mut self, bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<usize, ConnectionError> {
        match self.phase {
            Phase::Ready => match split_frame(bytes, FRAME_SIZE_BYTES_MAX)? {
                Some((frame, used)) => {
                    self.reply(&frame, on)?;
                    Ok(used)
                }
                None => Ok(0),
            },
            Phase::Preamble => match bytes.first_chunk::<PREAMBLE_SIZE_BYTES>() {
                Some(preamble) => {
                    decode_preamble(preamble)?;
                    self.phase = Phase::Hello;
                    Ok(PREAMBLE_SIZE_BYTES)
                }
                None => Ok(0),
            },
            Phase::Hello => match split_frame(bytes, FRAME_SIZE_BYTES_MAX)? {
                Some((frame, used)) => {
                    on(Event::Ready(self.hello(&frame)?));
                    Ok(used)
                }
                None => Ok(0),
            },
            Phase::Broken => Err(ConnectionError::Broken),
        }
    }

    #[inline]
    fn reply(&mut self, frame: &Frame<'_>, on: &mut impl FnMut(Event<'_>)) -> Result<(), ConnectionError> {
        let (request_id, kind, code) = (frame.header.request_id, frame.header.kind, frame.header.code);
        if !frame.header.flags.contains(FrameFlags::REPLY) {
            return Err(ConnectionError::NotAReply { kind: kind.0 });
        }
        let request = match self.slots.release(request_id) {
            Some((request, asked)) if asked == kind.0 => request,
            _ => return Err(ConnectionError::NotAsked { request_id, kind: kind.0 }),
        };
        // What comes a million times a second is made in place, without a way through a larger enum.
        if kind == Kind::SEND && code.is_stored() {
            on(Event::Sent { request, code, results: SendReply::decode(frame)? });
            return Ok(());
        }
        on(self.other_reply(request, frame)?);
        Ok(())
    }

    #[inline(never)]
    fn other_reply<'f>(&mut self, request: RequestId, frame: &Frame<'f>) -> Result<Event<'f>, ConnectionError> {
        let event = Event::decode(request, frame)?;
        if let Event::Opened { .. } = event {
            self.handle_count += 1;
        }
        Ok(event)
    }

    fn hello<'f>(&mut self, frame: &Frame<'f>) -> Result<Hello<'f>, ConnectionError> {
        let header = frame.header;
        let is_asked = self.slots.release(header.request_id).is_some_and(|(_, kind)| kind == header.kind.0);
        if header.kind != Kind::HELLO || !header.flags.contains(FrameFlags::REPLY) || !is_asked {
            return Err(ConnectionError::NotAsked { request_id: header.request_id, kind: header.kind.0 });
        }
        if header.code != ringmq_proto::code::Code::SUCCESS {
            return Err(ConnectionError::HelloRefused { code: header.code.get() });
        }
        let hello = Hello::decode(frame.body)?;
        let Hello { version_min, version_max, .. } = hello;
        if !(version_min..=version_max).contains(&PROTOCOL_VERSION) {
            return Err(ConnectionError::Version { version_min, version_max });
        }
        self.limits = Limits::of(&hello);
        self.phase = Phase::Ready;
        Ok(hello)
    }
}
