//! The preamble, the frame header, and cutting frames off what a connection received.

use crate::code::Code;
use crate::error::DecodeError;
use crate::native::generated::wire;
use std::fmt;

/// Bytes in front of every frame's body.
pub const FRAME_HEADER_SIZE_BYTES: usize = 16;

/// Bytes that each side sends first.
pub const PREAMBLE_SIZE_BYTES: usize = 8;

/// The version of the protocol that is spoken here.
pub const PROTOCOL_VERSION: u16 = 1;

/// The first four bytes of a connection; the first one alone tells the native protocol from all others of a port.
pub const MAGIC: [u8; 4] = [0xB1, 0x52, 0x4D, 0x51];

const _: () = assert!(size_of::<wire::FrameHeader>() == FRAME_HEADER_SIZE_BYTES);

/// What each side sends first.
pub const fn encode_preamble() -> [u8; PREAMBLE_SIZE_BYTES] {
    let version = PROTOCOL_VERSION.to_le_bytes();
    [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], version[0], version[1], 0, 0]
}

/// Reads what the other side sent first, and gives its version: [`PROTOCOL_VERSION`].
///
/// # Errors
/// When the magic, the version or the reserved field is another.
pub fn decode_preamble(bytes: &[u8; PREAMBLE_SIZE_BYTES]) -> Result<u16, DecodeError> {
    if bytes[..4] != MAGIC {
        let value = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into();
        return Err(DecodeError::Unknown { what: "preamble's magic", value });
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != PROTOCOL_VERSION {
        return Err(DecodeError::Unknown { what: "preamble's version", value: version.into() });
    }
    let reserved = u16::from_le_bytes([bytes[6], bytes[7]]);
    if reserved != 0 {
        return Err(DecodeError::Unknown { what: "preamble's reserved field", value: reserved.into() });
    }
    Ok(version)
}

/// What a frame asks for, or answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// The first frame in either direction.
    pub const HELLO: Self = Self(1);
    /// Store messages.
    pub const SEND: Self = Self(2);
    /// Give messages of a queue.
    pub const PULL: Self = Self(3);
    /// Give a handle for a queue.
    pub const OPEN_QUEUE: Self = Self(4);
    /// A group has consumed up to here.
    pub const COMMIT_OFFSET: Self = Self(5);
    /// How far has a group consumed?
    pub const QUERY_OFFSET: Self = Self(6);
    /// The ends of a queue.
    pub const QUEUE_STATE: Self = Self(7);
    /// The offset at a time.
    pub const SEARCH_OFFSET: Self = Self(8);
    /// One message by its position.
    pub const VIEW_MESSAGE: Self = Self(9);
    /// Create a topic or change it.
    pub const CREATE_TOPIC: Self = Self(10);
    /// Delete a topic with its messages.
    pub const DELETE_TOPIC: Self = Self(11);
    /// Topics in name order.
    pub const LIST_TOPICS: Self = Self(12);
    /// The queues of a topic.
    pub const TOPIC_STATS: Self = Self(13);
    /// Are you there?
    pub const PING: Self = Self(14);

    /// The kind's name, when it is one that this version knows.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::HELLO => "HELLO",
            Self::SEND => "SEND",
            Self::PULL => "PULL",
            Self::OPEN_QUEUE => "OPEN_QUEUE",
            Self::COMMIT_OFFSET => "COMMIT_OFFSET",
            Self::QUERY_OFFSET => "QUERY_OFFSET",
            Self::QUEUE_STATE => "QUEUE_STATE",
            Self::SEARCH_OFFSET => "SEARCH_OFFSET",
            Self::VIEW_MESSAGE => "VIEW_MESSAGE",
            Self::CREATE_TOPIC => "CREATE_TOPIC",
            Self::DELETE_TOPIC => "DELETE_TOPIC",
            Self::LIST_TOPICS => "LIST_TOPICS",
            Self::TOPIC_STATS => "TOPIC_STATS",
            Self::PING => "PING",
            _ => return None,
        })
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}

/// Bits of a frame header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FrameFlags(pub u8);

impl FrameFlags {
    /// No bit.
    pub const NONE: Self = Self(0);
    /// This is the answer to the request with the same id.
    pub const REPLY: Self = Self(1);
    /// No answer is wanted, whatever happens.
    pub const ONEWAY: Self = Self(2);
    /// A send is answered when written, not when promised: RocketMQ's WAIT=false.
    pub const NO_WAIT: Self = Self(4);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for FrameFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#05b}", self.0)
    }
}

/// What is in front of every frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the whole frame, this header included.
    pub length: u32,
    /// What it is about.
    pub kind: Kind,
    /// Its bits.
    pub flags: FrameFlags,
    /// How the request ended; in requests 0.
    pub code: Code,
    /// Chosen by who asks; the reply carries the same.
    pub request_id: u32,
    /// Messages, results or records that follow.
    pub count: u32,
}

impl FrameHeader {
    /// Reads a header. Any 16 bytes are one: [`split_frame`] checks the length, decoders of bodies the count.
    #[inline]
    pub fn decode(bytes: &[u8; FRAME_HEADER_SIZE_BYTES]) -> Self {
        let header = wire::FrameHeader(*bytes);
        Self {
            length: header.length(),
            kind: Kind(header.kind()),
            flags: FrameFlags(header.flags()),
            code: Code::new(header.code()),
            request_id: header.request_id(),
            count: header.count(),
        }
    }

    /// The header as it is on the wire.
    #[inline]
    pub fn encode(&self) -> [u8; FRAME_HEADER_SIZE_BYTES] {
        let (kind, flags, code) = (self.kind.0, self.flags.0, self.code.get());
        wire::FrameHeader::new(self.length, kind, flags, code, self.request_id, self.count).0
    }

    /// The header of the answer to this request, for a body of `body_len` bytes.
    ///
    /// Panics when the frame would be longer than 4 GiB.
    #[inline]
    #[must_use]
    pub fn reply(&self, code: Code, count: u32, body_len: usize) -> Self {
        Self { length: frame_len(body_len), flags: FrameFlags::REPLY, code, count, ..*self }
    }
}

/// Bytes of a frame with a body of `body_len` bytes.
///
/// Panics when that is 4 GiB or more: what is sent is far below, by the limits of what may be in it.
#[inline]
pub(crate) fn frame_len(body_len: usize) -> u32 {
    u32::try_from(FRAME_HEADER_SIZE_BYTES + body_len).expect("a frame is shorter than 4 GiB")
}

/// One whole frame, borrowed from what a connection received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// What follows the header: `header.length - 16` bytes.
    pub body: &'a [u8],
}

/// Cuts the first frame off `bytes`: the frame and how many bytes it took, or `None` when more bytes are needed.
///
/// # Errors
/// When the frame says that it is shorter than its header or longer than `frame_size_bytes_max`; this is told as soon
/// as its first four bytes are there, so that nothing is kept of a frame that is refused.
#[inline]
pub fn split_frame(bytes: &[u8], frame_size_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, DecodeError> {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length < FRAME_HEADER_SIZE_BYTES || length > frame_size_bytes_max {
        let (min, max) = (FRAME_HEADER_SIZE_BYTES as u64, frame_size_bytes_max as u64);
        return Err(DecodeError::OutOfRange { what: "frame length", value: length as u64, min, max });
    }
    let Some(frame) = bytes.get(..length) else { return Ok(None) };
    let Some((header, body)) = frame.split_first_chunk::<FRAME_HEADER_SIZE_BYTES>() else { return Ok(None) };
    Ok(Some((Frame { header: FrameHeader::decode(header), body }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: FrameHeader = FrameHeader {
        length: 20,
        kind: Kind::PULL,
        flags: FrameFlags::REPLY,
        code: Code::PULL_NOT_FOUND,
        request_id: 0x0102_0304,
        count: 5,
    };

    fn bytes() -> Vec<u8> {
        [HEADER.encode().as_slice(), b"body"].concat()
    }

    #[test]
    fn header_is_on_the_wire_as_drawn() {
        assert_eq!(bytes()[..16], [20, 0, 0, 0, 3, 1, 19, 0, 4, 3, 2, 1, 5, 0, 0, 0]);
        assert_eq!(FrameHeader::decode(&HEADER.encode()), HEADER);
    }

    #[test]
    fn a_frame_is_cut_off_only_when_it_is_whole() {
        let twice = [bytes(), bytes()].concat();
        for length in 0..20 {
            assert_eq!(split_frame(&twice[..length], 1024), Ok(None), "{length} bytes");
        }
        for length in 20..=40 {
            let (frame, consumed) = split_frame(&twice[..length], 1024).unwrap().unwrap();
            assert_eq!((frame.header, frame.body, consumed), (HEADER, b"body".as_slice(), 20));
        }
    }

    #[test]
    fn a_length_out_of_range_is_told_by_its_first_four_bytes() {
        for length in [0u32, 15, 1025, u32::MAX] {
            assert!(matches!(split_frame(&length.to_le_bytes(), 1024), Err(DecodeError::OutOfRange { .. })));
        }
        assert_eq!(split_frame(&1024u32.to_le_bytes(), 1024), Ok(None));
    }

    #[test]
    fn preamble_of_another_protocol_or_version_is_refused() {
        let preamble = encode_preamble();
        assert_eq!(preamble, [0xb1, 0x52, 0x4d, 0x51, 1, 0, 0, 0]);
        assert_eq!(decode_preamble(&preamble), Ok(1));
        for index in 0..8 {
            let mut other = preamble;
            other[index] ^= 0x80;
            assert!(decode_preamble(&other).is_err(), "byte {index}");
        }
    }

    #[test]
    fn every_kind_of_the_drawing_has_a_name() {
        assert!((1..=14).all(|kind| Kind(kind).name().is_some()));
        assert!([0, 15, 255].into_iter().all(|kind| Kind(kind).name().is_none()));
    }
}
