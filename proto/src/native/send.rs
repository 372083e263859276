//! SEND: many messages, of any queues that the connection has opened, in one frame.
//!
//! ```text
//! request   header (count = n) | n x SendMessage 24 B | properties 0 | body 0 | properties 1 | body 1 | ...
//! reply     header (count = r) | r x SendResult 24 B
//!
//! SendMessage   born time ms u64 | handle u32 | body length u32 | flag i32 | properties length u16 | sysFlag u16
//! SendResult    queue offset u64 | position u64 | handle u32 | count u32
//! ```
//!
//! The lengths fill the frame exactly. One SendResult stands for the record that a run of messages became.

use crate::code::Code;
use crate::error::DecodeError;
use crate::ids::{LogPosition, QueueOffset};
use crate::limits::{BODY_SIZE_BYTES_MAX, FRAME_MESSAGE_COUNT_MAX, PROPERTIES_SIZE_BYTES_MAX};
use crate::message::sys_flag;
use crate::native::frame::{FRAME_HEADER_SIZE_BYTES, Frame, FrameFlags, FrameHeader, Kind, frame_len};
use crate::native::generated::wire;

/// Bytes of a message's fixed part.
pub const SEND_MESSAGE_SIZE_BYTES: usize = 24;
/// Bytes of one result.
pub const SEND_RESULT_SIZE_BYTES: usize = 24;

const _: () = assert!(size_of::<wire::SendMessage>() == SEND_MESSAGE_SIZE_BYTES);
const _: () = assert!(size_of::<wire::SendResult>() == SEND_RESULT_SIZE_BYTES);

#[expect(clippy::cast_possible_truncation, reason = "the bits lie below 16")]
const PRODUCER_BITS: u16 = sys_flag::PRODUCER_BITS as u16;

/// One message of a SEND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendItem<'a> {
    /// Names the queue on this connection.
    pub handle: u32,
    /// When the client made it, in ms.
    pub born_time_ms: u64,
    /// The user's own flag.
    pub flag: i32,
    /// RocketMQ's sysFlag: only [`sys_flag::PRODUCER_BITS`].
    pub sys_flag: u16,
    /// Its properties string.
    pub properties: &'a [u8],
    /// Its body.
    pub body: &'a [u8],
}

impl SendItem<'_> {
    /// Bytes that the message takes in a frame.
    pub const fn encoded_len(&self) -> usize {
        SEND_MESSAGE_SIZE_BYTES + self.properties.len() + self.body.len()
    }

    /// The fixed part. Panics when a length is beyond its field: callers have checked the limits.
    fn head(&self) -> [u8; SEND_MESSAGE_SIZE_BYTES] {
        let body_length = u32::try_from(self.body.len()).expect("a body is within its limit");
        let properties_length = u16::try_from(self.properties.len()).expect("properties are within their limit");
        let (time, sys_flag) = (self.born_time_ms, self.sys_flag);
        wire::SendMessage::new(time, self.handle, body_length, self.flag, properties_length, sys_flag).0
    }
}

/// The messages of a SEND, whose lengths have been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendFrame<'a> {
    heads: &'a [[u8; SEND_MESSAGE_SIZE_BYTES]],
    payload: &'a [u8],
}

impl<'a> SendFrame<'a> {
    /// Reads the body of a SEND request.
    ///
    /// # Errors
    /// When the count is 0 or over its limit, or a body or its properties are over theirs (`OutOfRange`, worth a reply
    /// with 13); when the lengths do not fill the frame exactly, or a sysFlag has bits that no producer may set.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let count = frame.header.count as usize;
        if count == 0 || count > FRAME_MESSAGE_COUNT_MAX {
            let (value, max) = (frame.header.count.into(), FRAME_MESSAGE_COUNT_MAX as u64);
            return Err(DecodeError::OutOfRange { what: "messages of a send", value, min: 1, max });
        }
        let (chunks, _) = frame.body.as_chunks::<SEND_MESSAGE_SIZE_BYTES>();
        let Some(heads) = chunks.get(..count) else {
            let (needed, available) = (count * SEND_MESSAGE_SIZE_BYTES, frame.body.len());
            return Err(DecodeError::Truncated { what: "messages of a send", needed, available });
        };
        let payload = &frame.body[count * SEND_MESSAGE_SIZE_BYTES..];
        let lengths = Lengths::of(heads);
        if lengths.total != payload.len() as u64 {
            let (stated, actual) = (lengths.total, payload.len() as u64);
            return Err(DecodeError::Mismatch { what: "lengths of a send's messages", stated, actual });
        }
        lengths.check()?;
        Ok(Self { heads, payload })
    }

    /// How many messages: at least 1.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Never: a send has at least one message.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The handles of the messages in order, for looking ahead (prefetch, runs of one queue).
    pub fn handles(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.heads.iter().map(|head| wire::SendMessage(*head).handle())
    }

    /// The messages in order.
    #[inline]
    pub fn items(&self) -> SendItems<'a> {
        SendItems { heads: self.heads.iter(), payload: self.payload }
    }
}

/// What one pass over the heads finds out, without a branch per message.
struct Lengths {
    total: u64,
    body_max: u32,
    properties_max: u16,
    sys_flags: u16,
}

impl Lengths {
    #[inline]
    fn of(heads: &[[u8; SEND_MESSAGE_SIZE_BYTES]]) -> Self {
        let mut lengths = Self { total: 0, body_max: 0, properties_max: 0, sys_flags: 0 };
        for head in heads {
            let head = wire::SendMessage(*head);
            // At most 65 535 messages of less than 2^33 bytes: no overflow.
            lengths.total += u64::from(head.body_length()) + u64::from(head.properties_length());
            lengths.body_max = lengths.body_max.max(head.body_length());
            lengths.properties_max = lengths.properties_max.max(head.properties_length());
            lengths.sys_flags |= head.sys_flag();
        }
        lengths
    }

    #[inline]
    fn check(&self) -> Result<(), DecodeError> {
        if self.body_max as usize > BODY_SIZE_BYTES_MAX {
            let (value, max) = (self.body_max.into(), BODY_SIZE_BYTES_MAX as u64);
            return Err(DecodeError::OutOfRange { what: "length of a body", value, min: 0, max });
        }
        if usize::from(self.properties_max) > PROPERTIES_SIZE_BYTES_MAX {
            let (value, max) = (self.properties_max.into(), PROPERTIES_SIZE_BYTES_MAX as u64);
            return Err(DecodeError::OutOfRange { what: "length of a message's properties", value, min: 0, max });
        }
        let foreign = self.sys_flags & !PRODUCER_BITS;
        if foreign != 0 {
            return Err(DecodeError::Unknown { what: "sysFlag of a sent message", value: foreign.into() });
        }
        Ok(())
    }
}

/// See [`SendFrame::items`].
#[derive(Clone, Debug)]
pub struct SendItems<'a> {
    heads: std::slice::Iter<'a, [u8; SEND_MESSAGE_SIZE_BYTES]>,
    payload: &'a [u8],
}

impl<'a> Iterator for SendItems<'a> {
    type Item = SendItem<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let head = wire::SendMessage(*self.heads.next()?);
        // `decode` has summed the lengths: the payload never ends early.
        let (properties, rest) = self.payload.split_at_checked(head.properties_length().into())?;
        let (body, rest) = rest.split_at_checked(head.body_length() as usize)?;
        self.payload = rest;
        Some(SendItem {
            handle: head.handle(),
            born_time_ms: head.born_time_ms(),
            flag: head.flag(),
            sys_flag: head.sys_flag(),
            properties,
            body,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.heads.size_hint()
    }
}

impl ExactSizeIterator for SendItems<'_> {}
impl std::iter::FusedIterator for SendItems<'_> {}

/// Appends a SEND frame with `items`.
///
/// Panics when there is no item or a limit is exceeded: who takes messages from users checks first, or uses
/// [`SendFrameBuilder`].
pub fn encode_send(out: &mut Vec<u8>, request_id: u32, flags: FrameFlags, items: &[SendItem<'_>]) {
    assert!(!items.is_empty() && items.len() <= FRAME_MESSAGE_COUNT_MAX, "{} messages in one send", items.len());
    let body_len = items.iter().map(SendItem::encoded_len).sum();
    let count = u32::try_from(items.len()).expect("checked above");
    out.reserve(FRAME_HEADER_SIZE_BYTES + body_len);
    out.extend_from_slice(&send_header(request_id, flags, count, body_len).encode());
    for item in items {
        out.extend_from_slice(&item.head());
    }
    for item in items {
        out.extend_from_slice(item.properties);
        out.extend_from_slice(item.body);
    }
}

fn send_header(request_id: u32, flags: FrameFlags, count: u32, body_len: usize) -> FrameHeader {
    let (kind, code) = (Kind::SEND, Code::SUCCESS);
    FrameHeader { length: frame_len(body_len), kind, flags, code, request_id, count }
}

/// Gathers messages into SEND frames, message by message; keeps its buffers from frame to frame.
#[derive(Debug)]
pub struct SendFrameBuilder {
    heads: Vec<u8>,
    payload: Vec<u8>,
    frame_size_bytes_max: usize,
    message_count_max: usize,
}

/// A message does not go into this frame: send the frame and begin the next. When the frame is empty the message is
/// over a limit and goes into none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame is full, or the message is over a limit")]
pub struct SendFrameFull;

impl SendFrameBuilder {
    /// Frames of at most these bytes and messages, as the server's hello says.
    pub fn new(frame_size_bytes_max: usize, message_count_max: usize) -> Self {
        let message_count_max = message_count_max.min(FRAME_MESSAGE_COUNT_MAX);
        Self { heads: Vec::new(), payload: Vec::new(), frame_size_bytes_max, message_count_max }
    }

    /// Messages gathered so far.
    pub fn len(&self) -> usize {
        self.heads.len() / SEND_MESSAGE_SIZE_BYTES
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of the frame so far.
    pub fn frame_len(&self) -> usize {
        FRAME_HEADER_SIZE_BYTES + self.heads.len() + self.payload.len()
    }

    /// Adds a message.
    ///
    /// # Errors
    /// When the frame would be over its limits or the message is over its own; nothing is added.
    pub fn push(&mut self, item: &SendItem<'_>) -> Result<(), SendFrameFull> {
        if item.body.len() > BODY_SIZE_BYTES_MAX
            || item.properties.len() > PROPERTIES_SIZE_BYTES_MAX
            || self.len() >= self.message_count_max
            || self.frame_len() + item.encoded_len() > self.frame_size_bytes_max
        {
            return Err(SendFrameFull);
        }
        self.heads.extend_from_slice(&item.head());
        self.payload.extend_from_slice(item.properties);
        self.payload.extend_from_slice(item.body);
        Ok(())
    }

    /// Appends the frame to `out` and begins the next.
    ///
    /// Panics when no message was gathered.
    pub fn finish(&mut self, out: &mut Vec<u8>, request_id: u32, flags: FrameFlags) {
        assert!(!self.is_empty(), "a send has at least one message");
        let count = u32::try_from(self.len()).expect("push has checked the count");
        let body_len = self.heads.len() + self.payload.len();
        out.extend_from_slice(&send_header(request_id, flags, count, body_len).encode());
        out.extend_from_slice(&self.heads);
        out.extend_from_slice(&self.payload);
        self.heads.clear();
        self.payload.clear();
    }
}

/// The record that a run of messages of one SEND became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// The queue, as in the request.
    pub handle: u32,
    /// Messages of the run, at least 1.
    pub count: u32,
    /// The offset of the first; the others follow it.
    pub queue_offset: QueueOffset,
    /// Where the first lies: its record, or its entry in a batch record.
    pub position: LogPosition,
}

/// Appends the reply to a SEND: `code` is 0, or 10, 11, 12 for a degraded success.
///
/// Panics when there are more results than a send has messages.
#[inline]
pub fn encode_send_reply(out: &mut Vec<u8>, request_id: u32, code: Code, results: &[SendResult]) {
    assert!(results.len() <= FRAME_MESSAGE_COUNT_MAX, "{} results of one send", results.len());
    let count = u32::try_from(results.len()).expect("checked above");
    let length = frame_len(results.len() * SEND_RESULT_SIZE_BYTES);
    let header = FrameHeader { length, kind: Kind::SEND, flags: FrameFlags::REPLY, code, request_id, count };
    out.reserve(length as usize);
    out.extend_from_slice(&header.encode());
    for result in results {
        let (offset, position) = (result.queue_offset.get(), result.position.get());
        out.extend_from_slice(&wire::SendResult::new(offset, position, result.handle, result.count).0);
    }
}

/// The results of a SEND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendReply<'a> {
    results: &'a [[u8; SEND_RESULT_SIZE_BYTES]],
}

impl<'a> SendReply<'a> {
    /// Reads the body of a reply whose code [is stored](Code::is_stored); with any other it is a
    /// [`Failure`](crate::native::Failure).
    ///
    /// # Errors
    /// When the results do not fill the frame exactly.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let (results, rest) = frame.body.as_chunks::<SEND_RESULT_SIZE_BYTES>();
        if !rest.is_empty() || results.len() as u64 != u64::from(frame.header.count) {
            let (stated, actual) = (frame.header.count.into(), results.len() as u64);
            return Err(DecodeError::Mismatch { what: "results of a send", stated, actual });
        }
        Ok(Self { results })
    }

    /// The results in the order of the messages.
    pub fn results(&self) -> impl ExactSizeIterator<Item = SendResult> + Clone + 'a {
        self.results.iter().map(|result| {
            let result = wire::SendResult(*result);
            SendResult {
                handle: result.handle(),
                count: result.count(),
                queue_offset: QueueOffset::new(result.queue_offset()),
                position: LogPosition::new(result.position()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::frame::split_frame;

    fn item<'a>(handle: u32, properties: &'a [u8], body: &'a [u8]) -> SendItem<'a> {
        SendItem { handle, born_time_ms: 1_795_219_784_965, flag: -7, sys_flag: 0x301, properties, body }
    }

    fn split(bytes: &[u8]) -> Frame<'_> {
        let (frame, consumed) = split_frame(bytes, 1 << 24).unwrap().unwrap();
        assert_eq!(consumed, bytes.len());
        frame
    }

    fn encoded() -> Vec<u8> {
        let mut out = Vec::new();
        encode_send(&mut out, 9, FrameFlags::NO_WAIT, &[item(1, b"", b"0123456789"), item(2, b"a\x01b", b"x")]);
        out
    }

    #[test]
    fn a_message_is_on_the_wire_as_drawn() {
        let bytes = encoded();
        assert_eq!(bytes[4..16], [2, 4, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[16..24], 1_795_219_784_965u64.to_le_bytes());
        assert_eq!(bytes[24..32], [1, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(bytes[32..36], (-7i32).to_le_bytes());
        assert_eq!(bytes[36..40], [0, 0, 0x01, 0x03]);
        assert_eq!(&bytes[64..], b"0123456789a\x01bx");
    }

    #[test]
    fn messages_come_back_in_order() {
        let bytes = encoded();
        let send = SendFrame::decode(&split(&bytes)).unwrap();
        assert_eq!(send.handles().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(send.items().collect::<Vec<_>>(), [item(1, b"", b"0123456789"), item(2, b"a\x01b", b"x")]);
        assert_eq!((send.len(), send.items().len(), send.is_empty()), (2, 2, false));
    }

    #[test]
    fn builder_makes_the_same_frame_and_begins_anew() {
        let mut builder = SendFrameBuilder::new(1 << 20, 100);
        for _ in 0..2 {
            builder.push(&item(1, b"", b"0123456789")).unwrap();
            builder.push(&item(2, b"a\x01b", b"x")).unwrap();
            assert_eq!((builder.len(), builder.frame_len()), (2, encoded().len()));
            let mut out = Vec::new();
            builder.finish(&mut out, 9, FrameFlags::NO_WAIT);
            assert_eq!(out, encoded());
        }
    }

    #[test]
    fn builder_keeps_to_the_limits() {
        let mut by_count = SendFrameBuilder::new(1 << 20, 1);
        by_count.push(&item(1, b"", b"")).unwrap();
        assert_eq!(by_count.push(&item(1, b"", b"")), Err(SendFrameFull));
        let mut by_size = SendFrameBuilder::new(16 + 24 + 10, 100);
        assert_eq!(by_size.push(&item(1, b"", b"01234567890")), Err(SendFrameFull));
        by_size.push(&item(1, b"", b"0123456789")).unwrap();
        let mut by_properties = SendFrameBuilder::new(1 << 20, 100);
        assert_eq!(by_properties.push(&item(1, &vec![b'x'; 32_768], b"")), Err(SendFrameFull));
    }

    #[test]
    fn lengths_must_fill_the_frame_exactly() {
        for (at, change) in [(28, 11), (28, 9), (36, 1), (12, 1), (12, 3)] {
            let mut bytes = encoded();
            bytes[at] = change;
            assert!(SendFrame::decode(&split(&bytes)).is_err(), "byte {at} = {change}");
        }
    }

    #[test]
    fn limits_are_told_as_out_of_range() {
        let mut bytes = encoded();
        bytes[12..16].copy_from_slice(&65_536u32.to_le_bytes());
        assert!(matches!(SendFrame::decode(&split(&bytes)), Err(DecodeError::OutOfRange { value: 65_536, .. })));
        bytes[12..16].copy_from_slice(&0u32.to_le_bytes());
        assert!(matches!(SendFrame::decode(&split(&bytes)), Err(DecodeError::OutOfRange { value: 0, .. })));

        let body = vec![0; BODY_SIZE_BYTES_MAX + 1];
        let mut large = Vec::new();
        encode_send(&mut large, 1, FrameFlags::NONE, &[item(1, b"", &body)]);
        assert!(matches!(SendFrame::decode(&split(&large)), Err(DecodeError::OutOfRange { .. })));
        large.clear();
        encode_send(&mut large, 1, FrameFlags::NONE, &[item(1, &body[..32_768], b"")]);
        assert!(matches!(SendFrame::decode(&split(&large)), Err(DecodeError::OutOfRange { .. })));
    }

    #[test]
    fn a_producer_cannot_claim_a_transaction_or_an_ipv6_host() {
        for bits in [0x4u16, 0x8, 0x10, 0x20, 0x40, 0x80, 0x8000] {
            let mut out = Vec::new();
            let claimed = SendItem { sys_flag: bits, ..item(1, b"", b"x") };
            encode_send(&mut out, 1, FrameFlags::NONE, &[item(1, b"", b""), claimed]);
            assert!(matches!(SendFrame::decode(&split(&out)), Err(DecodeError::Unknown { .. })), "{bits:#x}");
        }
    }

    #[test]
    fn results_come_back_in_order() {
        let results = [
            SendResult { handle: 1, count: 3, queue_offset: QueueOffset::new(7), position: LogPosition::new(1 << 40) },
            SendResult { handle: 2, count: 1, queue_offset: QueueOffset::new(0), position: LogPosition::new(80) },
        ];
        let mut out = Vec::new();
        encode_send_reply(&mut out, 5, Code::FLUSH_DISK_TIMEOUT, &results);
        let frame = split(&out);
        assert_eq!((frame.header.code, frame.header.count), (Code::FLUSH_DISK_TIMEOUT, 2));
        assert_eq!(SendReply::decode(&frame).unwrap().results().collect::<Vec<_>>(), results);
        assert_eq!(out[16..24], 7u64.to_le_bytes());
        let wrong = Frame { header: FrameHeader { count: 3, ..frame.header }, ..frame };
        assert!(SendReply::decode(&wrong).is_err());
    }
}
