//! Bodies that are FlatBuffers tables: control and admin requests, where 0.3 µs more do not matter.
//!
//! A field that is missing has its default, as in any FlatBuffers table: newer sides may leave out and add fields. Text
//! is checked against its limit here and borrowed from the frame; only lists allocate, by what was verified to be there.

use crate::code::Code;
use crate::error::DecodeError;
use crate::native::frame::{FRAME_HEADER_SIZE_BYTES, Frame, FrameFlags, FrameHeader, Kind, frame_len};
use crate::native::generated::wire;
use flatbuffers::{FlatBufferBuilder, Follow, Verifiable, VerifierOptions};

/// A body that is a table.
pub trait Table<'a>: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// `OutOfRange` when a text or a list is over its limit, else when it is no such table.
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError>;

    /// Appends it to `out`.
    fn append_to(&self, out: &mut Vec<u8>);
}

/// Verifies `body` and gives its root.
pub(crate) fn root<'a, T>(body: &'a [u8]) -> Result<T::Inner, DecodeError>
where
    T: 'a + Follow<'a> + Verifiable,
{
    // Tables may share parts, so that a small body could stand for much more than its own bytes: what a table of our
    // builder takes is counted less than four times (its vtable with each of its tables).
    let options =
        VerifierOptions { max_depth: 4, max_apparent_size: 4 * body.len() + 1024, ..VerifierOptions::default() };
    flatbuffers::root_with_opts::<T>(&options, body).map_err(|_| DecodeError::Malformed { what: "not a valid table" })
}

/// The text of a field, at most `size_bytes_max` long; missing is empty.
pub(crate) fn text<'a>(
    what: &'static str,
    text: Option<&'a str>,
    size_bytes_max: usize,
) -> Result<&'a str, DecodeError> {
    let text = text.unwrap_or_default();
    if text.len() > size_bytes_max {
        let (value, max) = (text.len() as u64, size_bytes_max as u64);
        return Err(DecodeError::OutOfRange { what, value, min: 0, max });
    }
    Ok(text)
}

/// Appends the table that `build` makes and finishes.
pub(crate) fn append(out: &mut Vec<u8>, build: impl FnOnce(&mut FlatBufferBuilder<'_>)) {
    let mut builder = FlatBufferBuilder::new();
    build(&mut builder);
    out.extend_from_slice(builder.finished_data());
}

/// Appends a request whose body is a table.
pub fn encode_request<'a>(out: &mut Vec<u8>, kind: Kind, request_id: u32, flags: FrameFlags, body: &impl Table<'a>) {
    let header = FrameHeader { length: 0, kind, flags, code: Code::SUCCESS, request_id, count: 1 };
    append_frame(out, header, |out| body.append_to(out));
}

/// Appends the reply to a request that succeeded, with a table for a body.
pub fn encode_reply<'a>(out: &mut Vec<u8>, kind: Kind, request_id: u32, body: &impl Table<'a>) {
    let (flags, code) = (FrameFlags::REPLY, Code::SUCCESS);
    let header = FrameHeader { length: 0, kind, flags, code, request_id, count: 1 };
    append_frame(out, header, |out| body.append_to(out));
}

/// Appends the reply to a request that succeeded and has nothing more to say (also to a PING).
pub fn encode_empty_reply(out: &mut Vec<u8>, kind: Kind, request_id: u32) {
    let (flags, code) = (FrameFlags::REPLY, Code::SUCCESS);
    append_frame(out, FrameHeader { length: 0, kind, flags, code, request_id, count: 0 }, |_| {});
}

/// Appends a PING.
pub fn encode_ping(out: &mut Vec<u8>, request_id: u32) {
    let (kind, flags, code) = (Kind::PING, FrameFlags::NONE, Code::SUCCESS);
    append_frame(out, FrameHeader { length: 0, kind, flags, code, request_id, count: 0 }, |_| {});
}

/// Appends the reply to a request that failed.
pub fn encode_failure(out: &mut Vec<u8>, kind: Kind, request_id: u32, code: Code, remark: &str) {
    let header = FrameHeader { length: 0, kind, flags: FrameFlags::REPLY, code, request_id, count: 0 };
    append_frame(out, header, |out| Failure { remark }.append_to(out));
}

/// Appends `header`, what `body` appends, and sets the length.
pub(crate) fn append_frame(out: &mut Vec<u8>, header: FrameHeader, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&header.encode());
    body(out);
    let length = frame_len(out.len() - start - FRAME_HEADER_SIZE_BYTES);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// One sentence that says what to do.
    pub remark: &'a str,
}

impl<'a> Failure<'a> {
    /// What a reply that says no has to say; a body that cannot be read says nothing.
    pub fn of(frame: &Frame<'a>) -> Self {
        Self::decode(frame.body).unwrap_or(Self { remark: "" })
    }
}

impl<'a> Table<'a> for Failure<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self { remark: root::<wire::Failure<'_>>(body)?.remark().unwrap_or_default() })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let remark = Some(builder.create_string(self.remark));
            let table = wire::Failure::create(builder, &wire::FailureArgs { remark });
            builder.finish_minimal(table);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::frame::split_frame;

    #[test]
    fn failure_carries_its_sentence() {
        let mut out = b"before".to_vec();
        encode_failure(&mut out, Kind::SEND, 7, Code::MESSAGE_ILLEGAL, "send less than 4 MiB");
        let (frame, consumed) = split_frame(&out[6..], 1024).unwrap().unwrap();
        assert_eq!(consumed, out.len() - 6);
        assert_eq!(frame.header.code, Code::MESSAGE_ILLEGAL);
        assert_eq!((frame.header.kind, frame.header.flags), (Kind::SEND, FrameFlags::REPLY));
        assert_eq!(Failure::of(&frame).remark, "send less than 4 MiB");
        assert_eq!(Failure::of(&Frame { body: b"rubbish", ..frame }).remark, "");
    }

    #[test]
    fn ping_and_its_answer_are_headers_alone() {
        let mut out = Vec::new();
        encode_ping(&mut out, 3);
        encode_empty_reply(&mut out, Kind::PING, 3);
        assert_eq!(out[..16], [16, 0, 0, 0, 14, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[16..], [16, 0, 0, 0, 14, 1, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    }
}
