//! PULL: the messages of a queue from an offset on, as records of the log.
//!
//! ```text
//! request   header (count 1) | offset u64 | handle u32 | messages max u32 | bytes max u32 | wait ms u32
//! reply     header (count = records) | next offset u64 | min offset u64 | max offset u64 | record | record | ...
//! ```
//!
//! A record is given whole. A batch that holds the asked offset may begin before it: who reads skips what lies below.

use crate::code::Code;
use crate::error::{DecodeError, split_array};
use crate::ids::QueueOffset;
use crate::native::frame::{FRAME_HEADER_SIZE_BYTES, Frame, FrameFlags, FrameHeader, Kind, frame_len};
use crate::native::generated::wire;
use crate::record::{RECORD_HEADER_SIZE_BYTES, Records, records};

/// Bytes of a pull reply's fixed part.
pub const PULL_RESULT_SIZE_BYTES: usize = 24;
const PULL_REQUEST_SIZE_BYTES: usize = 24;

const _: () = assert!(size_of::<wire::PullRequest>() == PULL_REQUEST_SIZE_BYTES);
const _: () = assert!(size_of::<wire::PullResult>() == PULL_RESULT_SIZE_BYTES);

/// What a consumer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Names the queue on this connection.
    pub handle: u32,
    /// The first message wanted.
    pub offset: QueueOffset,
    /// Stop after the record with which so many messages are reached.
    pub messages_max: u32,
    /// Stop before the record with which more bytes would be reached; one record is given in any case.
    pub bytes_max: u32,
    /// How long to wait for a first message, in ms; 0: answer at once.
    pub wait_ms: u32,
}

impl PullRequest {
    /// Reads the body of a PULL request.
    ///
    /// # Errors
    /// When it has another length, or the count is not 1.
    #[inline]
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        let (bytes, rest) = split_array::<PULL_REQUEST_SIZE_BYTES>("pull request", frame.body)?;
        if !rest.is_empty() || frame.header.count != 1 {
            return Err(DecodeError::Malformed { what: "a pull asks once, in 24 bytes" });
        }
        let request = wire::PullRequest(*bytes);
        Ok(Self {
            handle: request.handle(),
            offset: QueueOffset::new(request.offset()),
            messages_max: request.messages_max(),
            bytes_max: request.bytes_max(),
            wait_ms: request.wait_ms(),
        })
    }
}

/// Appends a PULL frame.
pub fn encode_pull(out: &mut Vec<u8>, request_id: u32, request: &PullRequest) {
    let (length, kind) = (frame_len(PULL_REQUEST_SIZE_BYTES), Kind::PULL);
    let (flags, code) = (FrameFlags::NONE, Code::SUCCESS);
    out.extend_from_slice(&FrameHeader { length, kind, flags, code, request_id, count: 1 }.encode());
    let PullRequest { handle, offset, messages_max, bytes_max, wait_ms } = *request;
    out.extend_from_slice(&wire::PullRequest::new(offset.get(), handle, messages_max, bytes_max, wait_ms).0);
}

/// Where the reader stands after a pull, and what the queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullResult {
    /// Where to go on.
    pub next_offset: QueueOffset,
    /// The least offset that is still there.
    pub min_offset: QueueOffset,
    /// One beyond the last message that may be read.
    pub max_offset: QueueOffset,
}

/// The first 40 bytes of the reply to a PULL; `records_len` bytes with `record_count` records are to follow.
///
/// Panics when the frame would be longer than 4 GiB.
#[inline]
pub fn encode_pull_reply_head(
    request_id: u32,
    code: Code,
    result: &PullResult,
    record_count: u32,
    records_len: usize,
) -> [u8; FRAME_HEADER_SIZE_BYTES + PULL_RESULT_SIZE_BYTES] {
    let length = frame_len(PULL_RESULT_SIZE_BYTES + records_len);
    let (kind, flags, count) = (Kind::PULL, FrameFlags::REPLY, record_count);
    let header = FrameHeader { length, kind, flags, code, request_id, count };
    let PullResult { next_offset, min_offset, max_offset } = *result;
    let mut bytes = [0; FRAME_HEADER_SIZE_BYTES + PULL_RESULT_SIZE_BYTES];
    bytes[..FRAME_HEADER_SIZE_BYTES].copy_from_slice(&header.encode());
    bytes[FRAME_HEADER_SIZE_BYTES..]
        .copy_from_slice(&wire::PullResult::new(next_offset.get(), min_offset.get(), max_offset.get()).0);
    bytes
}

/// Appends the whole reply to a PULL with the records in one piece.
pub fn encode_pull_reply(
    out: &mut Vec<u8>,
    request_id: u32,
    code: Code,
    result: &PullResult,
    record_count: u32,
    records: &[u8],
) {
    out.extend_from_slice(&encode_pull_reply_head(request_id, code, result, record_count, records.len()));
    out.extend_from_slice(records);
}

/// The answer to a PULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullReply<'a> {
    /// Where to go on, and what the queue holds.
    pub result: PullResult,
    /// Records that follow.
    pub record_count: u32,
    records: &'a [u8],
}

impl<'a> PullReply<'a> {
    /// Reads the body of a reply whose code [is that of a pull](Code::is_pull_result); with any other it is a
    /// [`Failure`](crate::native::Failure).
    ///
    /// # Errors
    /// When the fixed part is not complete, or so many records cannot be in it. The records themselves are checked as
    /// they are read.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let (bytes, records) = split_array::<PULL_RESULT_SIZE_BYTES>("pull result", frame.body)?;
        let record_count = frame.header.count;
        let max = (records.len() / RECORD_HEADER_SIZE_BYTES) as u64;
        if u64::from(record_count) > max {
            let (what, value) = ("records of a pull", record_count.into());
            return Err(DecodeError::OutOfRange { what, value, min: 0, max });
        }
        if record_count == 0 && !records.is_empty() {
            return Err(DecodeError::Malformed { what: "a pull without records ends after its result" });
        }
        let result = wire::PullResult(*bytes);
        let result = PullResult {
            next_offset: QueueOffset::new(result.next_offset()),
            min_offset: QueueOffset::new(result.min_offset()),
            max_offset: QueueOffset::new(result.max_offset()),
        };
        Ok(Self { result, record_count, records })
    }

    /// The records as they lie in the log.
    pub fn records(&self) -> Records<'a> {
        records(self.records)
    }

    /// Their bytes.
    pub fn record_bytes(&self) -> &'a [u8] {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LogPosition, QueueId};
    use crate::native::frame::split_frame;
    use crate::record::{RecordFlags, RecordKind, seal_record};

    const RESULT: PullResult = PullResult {
        next_offset: QueueOffset::new(12),
        min_offset: QueueOffset::new(3),
        max_offset: QueueOffset::new(99),
    };

    fn split(bytes: &[u8]) -> Frame<'_> {
        let (frame, consumed) = split_frame(bytes, 1 << 20).unwrap().unwrap();
        assert_eq!(consumed, bytes.len());
        frame
    }

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut bytes = [&[0; 16], payload].concat();
        seal_record(&mut bytes, RecordKind::MESSAGE, RecordFlags::NONE, QueueId::new(1), 2, LogPosition::new(3));
        bytes
    }

    #[test]
    fn request_is_on_the_wire_as_drawn() {
        let offset = QueueOffset::new(7);
        let request = PullRequest { handle: 1, offset, messages_max: 2, bytes_max: 3, wait_ms: 4 };
        let mut out = Vec::new();
        encode_pull(&mut out, 5, &request);
        assert_eq!(out[..16], [40, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(out[16..], [7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
        let frame = split(&out);
        assert_eq!(PullRequest::decode(&frame), Ok(request));
        for body in [&frame.body[..23], &out[15..40]] {
            assert!(PullRequest::decode(&Frame { body, ..frame }).is_err());
        }
        assert!(PullRequest::decode(&Frame { header: FrameHeader { count: 2, ..frame.header }, ..frame }).is_err());
    }

    #[test]
    fn records_come_back_as_they_lay() {
        let log = [record(b"first"), record(b"second")].concat();
        let mut out = Vec::new();
        encode_pull_reply(&mut out, 5, Code::SUCCESS, &RESULT, 2, &log);
        let reply = PullReply::decode(&split(&out)).unwrap();
        assert_eq!((reply.result, reply.record_count, reply.record_bytes()), (RESULT, 2, log.as_slice()));
        let payloads: Vec<_> = reply.records().map(|record| record.unwrap().payload).collect();
        assert_eq!(payloads, [b"first".as_slice(), b"second"]);
    }

    #[test]
    fn an_empty_pull_has_its_offsets_and_nothing_else() {
        let mut out = Vec::new();
        encode_pull_reply(&mut out, 5, Code::PULL_OFFSET_MOVED, &RESULT, 0, &[]);
        let frame = split(&out);
        assert_eq!((frame.header.code, out.len()), (Code::PULL_OFFSET_MOVED, 40));
        assert_eq!(PullReply::decode(&frame).unwrap().result, RESULT);
        assert!(PullReply::decode(&Frame { header: FrameHeader { count: 1, ..frame.header }, ..frame }).is_err());
    }
}
