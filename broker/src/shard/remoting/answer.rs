//! Answers of the remoting dialect: a [`Response`] becomes the extension fields and body that its request code wants.

use super::super::request::{Response, Token};
use ringmq_proto::code::Code;
use ringmq_proto::remoting::header::FLAG_RESPONSE;
use ringmq_proto::remoting::query::QueryMessageReply;
use ringmq_proto::remoting::{
    ExtFields, ExtHeader, Header, Language, SerializeType, encode_frame, request_code as code,
};
use ringmq_proto::remoting::{header::VERSION_REPORTED, split_frame};
use std::borrow::Cow;

/// A header that answers `token`.
pub(in crate::shard) fn header(token: Token, response_code: Code) -> Header<'static> {
    Header {
        code: response_code.as_i32(),
        language: Language::JAVA,
        version: VERSION_REPORTED,
        opaque: token.id.cast_signed(),
        flag: FLAG_RESPONSE,
        remark: None,
        ext: ExtFields::new(),
    }
}

/// Appends the frame that answers a request.
pub(in crate::shard) fn encode(
    out: &mut Vec<u8>,
    token: Token,
    serialize_type: SerializeType,
    response: &Response<'_>,
) {
    let mut header: Header<'_> = header(token, Code::SUCCESS);
    let mut body: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    match response {
        Response::Done => {}
        Response::Failed(rejection) => {
            header.code = rejection.code.as_i32();
            header = header.with_remark(&*rejection.remark);
        }
        Response::Offset(offset) => header.ext.push("offset", offset.get().to_string()),
        Response::QueueState { min, max, earliest_store_time_ms } => match token.code {
            code::GET_MIN_OFFSET => header.ext.push("offset", min.get().to_string()),
            code::GET_EARLIEST_MSG_STORETIME if *earliest_store_time_ms == 0 => header.ext.push("timestamp", "-1"),
            code::GET_EARLIEST_MSG_STORETIME => header.ext.push("timestamp", earliest_store_time_ms.to_string()),
            _ => header.ext.push("offset", max.get().to_string()),
        },
        Response::Message(message) => body = Cow::Borrowed(message),
        Response::Keyed(found) => {
            let fields = QueryMessageReply {
                index_last_update_timestamp: i64::try_from(found.indexed_to_ms).unwrap_or(i64::MAX),
                index_last_update_phyoffset: i64::try_from(found.indexed_to.get()).unwrap_or(i64::MAX),
            };
            header.ext = fields.to_ext();
            body = Cow::Borrowed(&found.bytes);
        }
        Response::Remoting(fields, bytes) => {
            header.ext = fields.clone();
            body = Cow::Borrowed(bytes);
        }
        Response::PassedOn(theirs, bytes) => {
            header.code = theirs.code;
            header.remark = theirs.remark.clone();
            header.ext = theirs.ext.clone();
            body = Cow::Borrowed(bytes);
        }
        Response::Opened(_) | Response::Topics(_) | Response::TopicStats(_) => {
            unreachable!("{response:?} answers no code of this dialect")
        }
    }
    encode_frame(out, serialize_type, &header, &body);
}

/// The same frames, but what says success says `code`: stored, but not as safely as was promised.
pub(in crate::shard) fn degrade(frames: &[u8], code: Code) -> Vec<u8> {
    let mut degraded = Vec::with_capacity(frames.len() + 64);
    let mut rest = frames;
    while let Ok(Some((frame, size_bytes))) = split_frame(rest, usize::MAX) {
        match frame.decode_header() {
            Ok(mut header) if header.code == Code::SUCCESS.as_i32() => {
                header.code = code.as_i32();
                encode_frame(&mut degraded, frame.serialize_type, &header, frame.body);
            }
            _ => degraded.extend_from_slice(&rest[..size_bytes]),
        }
        rest = &rest[size_bytes..];
    }
    degraded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_frames_keep_everything_but_the_code() {
        let frame = |opaque, code: Code| {
            let mut out = Vec::new();
            let mut header = Header::response(code, opaque);
            header.ext.push("msgId", "7F00000100002A9F0000000000000000");
            encode_frame(&mut out, SerializeType::Binary, &header, b"");
            out
        };
        let frames = [frame(1, Code::SUCCESS), frame(2, Code::SYSTEM_BUSY), frame(3, Code::SUCCESS)].concat();
        let expected =
            [frame(1, Code::FLUSH_DISK_TIMEOUT), frame(2, Code::SYSTEM_BUSY), frame(3, Code::FLUSH_DISK_TIMEOUT)];
        assert_eq!(degrade(&frames, Code::FLUSH_DISK_TIMEOUT), expected.concat());
    }
}
