//! Frames of the remoting protocol: where one begins and ends, and what kind of header it carries.
//!
//! ```text
//! 0        4               5              8                8+h                 4+length
//! +--------+---------------+--------------+----------------+-------------------+
//! | length | serialization | header bytes | header (h)     | body (the rest)   |
//! | i32    | u8            | u24          | JSON or binary | as the code wants |
//! +--------+---------------+--------------+----------------+-------------------+
//! ```
//!
//! Integers are big endian; `length` counts everything after itself. There is no handshake, no magic and no resync: bytes
//! that are no frame end the connection. Who owns the bytes: the caller; a [`Frame`] borrows from its receive buffer.

use super::FrameError;
use super::header::Header;
use crate::limits::REMOTING_HEADER_SIZE_BYTES_MAX;

/// Bytes before the header: length, serialization type, header length.
pub const FRAME_HEAD_SIZE_BYTES: usize = 8;

/// How a frame's header is written. Each frame says it for itself; a reply uses the type of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SerializeType {
    /// A JSON object: RocketMQ's default, and the only one that carries codes beyond 16 bits.
    #[default]
    Json = 0,
    /// RocketMQ's binary header.
    Binary = 1,
}

/// One frame, borrowed from the receive buffer: the header is not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// How `header` is written.
    pub serialize_type: SerializeType,
    /// The header's bytes.
    pub header: &'a [u8],
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Decodes the header.
    pub fn decode_header(&self) -> Result<Header<'a>, FrameError> {
        Header::decode(self.serialize_type, self.header)
    }
}

/// Takes the first frame off `bytes`: the frame and how many bytes it takes, or `None` when more bytes must arrive.
/// `frame_size_bytes_max` bounds the whole frame, its length field included. A wrong length or type is refused as soon as
/// its bytes are there, before the rest has been waited for.
pub fn split_frame(bytes: &[u8], frame_size_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    let rest_size = usize::try_from(length).map_err(|_| FrameError::Length { length })?;
    if rest_size < FRAME_HEAD_SIZE_BYTES - 4 {
        return Err(FrameError::Length { length });
    }
    if rest_size > frame_size_bytes_max.saturating_sub(4) {
        return Err(FrameError::TooLarge { size: rest_size.saturating_add(4), size_max: frame_size_bytes_max });
    }
    let Some((head, _)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let serialize_type = match head[0] {
        0 => SerializeType::Json,
        1 => SerializeType::Binary,
        other => return Err(FrameError::SerializeType(other)),
    };
    let header_size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
    if header_size > rest_size - 4 {
        return Err(FrameError::HeaderLength { size: header_size, room: rest_size - 4 });
    }
    if header_size > REMOTING_HEADER_SIZE_BYTES_MAX {
        return Err(FrameError::HeaderTooLarge { size: header_size });
    }
    let Some(content) = rest.get(4..rest_size) else {
        return Ok(None);
    };
    let (header, body) = content.split_at(header_size);
    Ok(Some((Frame { serialize_type, header, body }, 4 + rest_size)))
}

/// Appends one frame to `out`. A code that the binary header cannot carry is sent as JSON: every receiver takes both.
///
/// Panics when header and body do not fit into a frame: its sender must have bounded them.
pub fn encode_frame(out: &mut Vec<u8>, serialize_type: SerializeType, header: &Header<'_>, body: &[u8]) {
    encode_frame_head(out, serialize_type, header, body.len());
    out.extend_from_slice(body);
}

/// Appends a frame up to its body, which the caller sends itself right behind it (slices of the log, for instance) in
/// exactly `body_size_bytes` bytes.
///
/// Panics as [`encode_frame`] does.
pub fn encode_frame_head(
    out: &mut Vec<u8>,
    serialize_type: SerializeType,
    header: &Header<'_>,
    body_size_bytes: usize,
) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_SIZE_BYTES]);
    let used = header.encode(serialize_type, out);
    let header_size = out.len() - start - FRAME_HEAD_SIZE_BYTES;
    assert!(header_size <= REMOTING_HEADER_SIZE_BYTES_MAX, "a header of {header_size} bytes");
    let length = i32::try_from(4 + header_size + body_size_bytes).expect("a frame's length is an i32");
    let header_word = u32::try_from(header_size).expect("bounded above") | u32::from(used as u8) << 24;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&header_word.to_be_bytes());
}

const _: () = assert!(REMOTING_HEADER_SIZE_BYTES_MAX < 1 << 24, "a header's length is a u24");
