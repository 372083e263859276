//! What a connection sends: cut into frames across receives, and told by its first bytes.
//!
//! Whole frames are carried out where they were received. Only the start of a frame whose rest has not come is copied, into
//! a buffer of the connection's own; it grows by what has really come, never by what a length claims, up to the frame
//! limit, and all of them together up to a limit of the shard.

use super::Shard;
use super::connection::{Connection, Phase};
use super::io::{CloseReason, ConnectionId, Effects};
use super::metrics::ForeignProtocol;
use crate::now::Now;
use ringmq_proto::first_bytes::{FIRST_BYTES_SIZE_MAX, FirstBytes};
use ringmq_proto::native::{FRAME_HEADER_SIZE_BYTES, PREAMBLE_SIZE_BYTES, decode_preamble, encode_preamble};
use ringmq_proto::remoting::frame::FRAME_HEAD_SIZE_BYTES;

impl Shard {
    pub(super) fn received(&mut self, now: &Now, id: ConnectionId, bytes: &[u8], fx: &mut Effects) {
        let Some(mut connection) = self.connections.lend(id) else { return };
        if connection.phase != Phase::Closing {
            self.metrics.received_bytes += bytes.len() as u64;
            if matches!(connection.phase, Phase::Native | Phase::Remoting) {
                connection.heard_at_ns = now.boot_ns;
            }
            self.take_in(now, &mut connection, bytes, fx);
            self.close_drafts(now, &mut connection, fx);
            if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
                self.check_unread(&mut connection, fx);
            }
            connection.announce_output(fx);
        }
        self.connections.give_back(connection);
    }

    /// Carries out what is whole, keeps the rest.
    fn take_in(&mut self, now: &Now, connection: &mut Connection, bytes: &[u8], fx: &mut Effects) {
        let mut rest = bytes;
        if !connection.input.is_empty() {
            rest = self.complete_kept(now, connection, rest, fx);
        }
        if !rest.is_empty() && connection.phase != Phase::Closing {
            let consumed = self.carry_out_whole(now, connection, rest, fx);
            rest = &rest[consumed..];
        }
        if !rest.is_empty() && connection.phase != Phase::Closing {
            self.keep(connection, rest, fx);
        }
    }

    /// Completes the kept start of a frame with as many bytes as it lacks, and carries it out. Returns what follows.
    fn complete_kept<'a>(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        bytes: &'a [u8],
        fx: &mut Effects,
    ) -> &'a [u8] {
        let mut rest = bytes;
        while !rest.is_empty() && !connection.input.is_empty() && connection.phase != Phase::Closing {
            let wanted = bytes_wanted(connection.phase, &connection.input);
            let lacking = wanted.saturating_sub(connection.input.len()).clamp(1, rest.len());
            let (part, after) = rest.split_at(lacking);
            self.keep(connection, part, fx);
            rest = after;
            // The kept bytes are looked at outside of the connection, which is changed by what they ask.
            let input = std::mem::take(&mut connection.input);
            let consumed = self.carry_out_whole(now, connection, &input, fx);
            connection.input = input;
            self.drop_kept(connection, consumed);
        }
        rest
    }

    /// Returns how many bytes of `bytes` were whole.
    fn carry_out_whole(&mut self, now: &Now, connection: &mut Connection, bytes: &[u8], fx: &mut Effects) -> usize {
        let mut at = 0;
        if connection.phase == Phase::FirstBytes {
            at = self.first_bytes(connection, bytes, fx);
        }
        if matches!(connection.phase, Phase::NativeHello | Phase::Native) {
            at += self.native_frames(now, connection, &bytes[at..], fx);
        } else if connection.phase == Phase::Remoting {
            at += self.remoting_frames(now, connection, &bytes[at..], fx);
        }
        at
    }

    fn keep(&mut self, connection: &mut Connection, bytes: &[u8], fx: &mut Effects) {
        if connection.input.capacity() == 0 {
            connection.input = self.spare.take();
        }
        connection.input.extend_from_slice(bytes);
        self.count_input(connection);
        if self.input_bytes > self.settings.limits.input_bytes_max {
            self.close(connection, CloseReason::InputFull, fx);
        }
    }

    fn drop_kept(&mut self, connection: &mut Connection, consumed: usize) {
        if consumed < connection.input.len() && connection.phase != Phase::Closing {
            connection.input.drain(..consumed);
        } else {
            self.spare.give(std::mem::take(&mut connection.input));
        }
        self.count_input(connection);
    }

    /// Keeps the shard's sum of kept bytes right.
    pub(super) fn count_input(&mut self, connection: &mut Connection) {
        let bytes = connection.input.capacity();
        self.input_bytes = self.input_bytes - connection.input_counted_bytes + bytes;
        connection.input_counted_bytes = bytes;
    }

    /// A new connection says what it speaks. Returns how many bytes that took.
    fn first_bytes(&mut self, connection: &mut Connection, bytes: &[u8], fx: &mut Effects) -> usize {
        let foreign = match FirstBytes::of(bytes) {
            FirstBytes::Undecided => return 0,
            FirstBytes::Native => return self.preamble(connection, bytes, fx),
            FirstBytes::Http => {
                let answer = http_answer(self.settings.operations_address.as_deref());
                connection.output.append(&mut self.spare, |out| out.extend_from_slice(answer.as_bytes()));
                self.metrics.foreign(ForeignProtocol::Http);
                self.close(connection, CloseReason::Answered, fx);
                return 0;
            }
            FirstBytes::Remoting => {
                connection.phase = Phase::Remoting;
                return 0;
            }
            FirstBytes::Tls => ForeignProtocol::Tls,
            FirstBytes::Proxy => ForeignProtocol::Proxy,
            FirstBytes::Unknown => ForeignProtocol::Unknown,
        };
        self.metrics.foreign(foreign);
        self.close(connection, CloseReason::UnknownProtocol, fx);
        0
    }

    fn preamble(&mut self, connection: &mut Connection, bytes: &[u8], fx: &mut Effects) -> usize {
        let Some(preamble) = bytes.first_chunk::<PREAMBLE_SIZE_BYTES>() else { return 0 };
        if decode_preamble(preamble).is_err() {
            // Ours tells the client which version it should have spoken.
            connection.output.append(&mut self.spare, |out| out.extend_from_slice(&encode_preamble()));
            self.metrics.foreign(ForeignProtocol::NativeVersion);
            self.close(connection, CloseReason::UnknownProtocol, fx);
            return 0;
        }
        connection.phase = Phase::NativeHello;
        PREAMBLE_SIZE_BYTES
    }
}

/// How long the kept bytes must be before it makes sense to look at them again.
fn bytes_wanted(phase: Phase, kept: &[u8]) -> usize {
    match phase {
        Phase::FirstBytes if FirstBytes::of(kept) == FirstBytes::Native => PREAMBLE_SIZE_BYTES,
        Phase::FirstBytes => FIRST_BYTES_SIZE_MAX,
        Phase::Remoting => match kept.first_chunk::<4>() {
            None => FRAME_HEAD_SIZE_BYTES,
            Some(length) => (u32::from_be_bytes(*length) as usize).saturating_add(4).max(FRAME_HEAD_SIZE_BYTES),
        },
        _ => match kept.first_chunk::<4>() {
            None => FRAME_HEADER_SIZE_BYTES,
            Some(length) => (u32::from_le_bytes(*length) as usize).max(FRAME_HEADER_SIZE_BYTES),
        },
    }
}

/// One sentence for a browser or a health check at the wrong port.
fn http_answer(operations_address: Option<&str>) -> String {
    let sentence = match operations_address {
        Some(address) => {
            format!("This port speaks RingMQ's and RocketMQ's protocols; HTTP is answered at {address}.\n")
        }
        None => "This port speaks RingMQ's and RocketMQ's protocols; start the broker with --ops for HTTP.\n".into(),
    };
    format!(
        "HTTP/1.1 421 Misdirected Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{sentence}",
        sentence.len()
    )
}
