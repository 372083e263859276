//! The way of the frequent frames: the numbers and fields of a header in one pass, without taking memory.
//!
//! [`peek_code`] tells the code of a frame from its first bytes; the typed header of that code is then read by
//! [`ExtHeader::read`](super::ExtHeader::read) (or, where it is hotter still, by hand as in [`super::send`]). Both accept
//! exactly what [`super::Header::decode`] accepts, and read the same.
//!
//! Text is borrowed from the frame. What is escaped there (the separators of message properties always are, in JSON) is
//! undone into a scratch buffer of the caller, which grows to the size of a header and no further.

use super::FrameError;
use super::frame::{Frame, SerializeType};
use super::header::{FLAG_ONEWAY, FLAG_RESPONSE, Language};
use super::{binary_header, json_header};

/// The numbers that every header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Request code, or response code when [`Head::is_response`].
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// RocketMQ version ordinal of the sender.
    pub version: i32,
    /// The requester's number for this exchange.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`], [`FLAG_ONEWAY`].
    pub flag: i32,
}

impl Head {
    pub(super) const EMPTY: Self = Self { code: 0, language: Language::JAVA, version: 0, opaque: 0, flag: 0 };

    /// Whether this answers a request.
    pub const fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether this must never be answered.
    pub const fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// The code of a frame. A few nanoseconds where the header begins with it, as those of all known clients do; a pass over
/// the header elsewhere. A response's code is its response code: look at the flag of what is then decoded.
///
/// # Errors
/// When the header cannot be decoded at all: close the connection. The pass of the typed header finds what this one did
/// not look at.
pub fn peek_code(frame: &Frame<'_>) -> Result<i32, FrameError> {
    match frame.serialize_type {
        SerializeType::Binary => binary_header::peek_code(frame.header),
        SerializeType::Json => match json_header::leading_code(frame.header) {
            Some(code) => Ok(code),
            None => Ok(read_head(frame)?.code),
        },
    }
}

/// The numbers of a frame's header; its fields are passed over.
///
/// # Errors
/// When the header cannot be decoded: close the connection.
pub fn read_head(frame: &Frame<'_>) -> Result<Head, FrameError> {
    scan(frame, &mut Vec::new(), |_, _| {})
}

/// Reads the header of `frame` and gives each field to `field`, name and value, in their order; of a name that comes twice
/// the last one counts.
///
/// # Errors
/// When the header cannot be decoded: close the connection. Fields may have been given before that was noticed.
pub fn scan<'a>(
    frame: &Frame<'a>,
    scratch: &'a mut Vec<u8>,
    field: impl FnMut(&'a str, &'a str),
) -> Result<Head, FrameError> {
    match frame.serialize_type {
        SerializeType::Json => json_header::scan(frame.header, scratch, field),
        SerializeType::Binary => binary_header::scan(frame.header, scratch, field),
    }
}

/// The caller's scratch buffer while one header is read. Untouched as long as nothing is escaped.
pub(super) struct Scratch<'a> {
    buffer: Option<&'a mut Vec<u8>>,
    size_bytes: usize,
    room: &'a mut [u8],
}

impl<'a> Scratch<'a> {
    /// Room for `size_bytes` in `buffer`, which keeps its length from one use to the next: it is filled with zeros once.
    pub(super) const fn new(buffer: &'a mut Vec<u8>, size_bytes: usize) -> Self {
        Self { buffer: Some(buffer), size_bytes, room: &mut [] }
    }

    /// This room and no more.
    pub(super) const fn of_room(room: &'a mut [u8]) -> Self {
        Self { buffer: None, size_bytes: 0, room }
    }

    /// Bytes that `fill` writes: it is given all room that is left, and returns how many it wrote. `None` when it cannot.
    #[inline]
    pub(super) fn put_rest(&mut self, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<&'a [u8]> {
        if let Some(buffer) = self.buffer.take() {
            if buffer.len() < self.size_bytes {
                buffer.resize(self.size_bytes, 0);
            }
            self.room = buffer;
        }
        let room = std::mem::take(&mut self.room);
        let size = fill(room)?;
        let (filled, rest) = room.split_at_mut_checked(size)?;
        self.room = rest;
        Some(filled)
    }

    /// Bytes that `fill` writes: it is given exactly `size_bytes_max`, and returns how many it wrote. `None` when it cannot,
    /// or when there is no room left.
    pub(super) fn put(
        &mut self,
        size_bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<&'a [u8]> {
        self.put_rest(|room| fill(room.get_mut(..size_bytes_max)?))
    }
}
