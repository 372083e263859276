//! Sends: SEND_MESSAGE (10) with long field names, SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320) with short ones, and
//! the replies of request-reply, SEND_REPLY_MESSAGE (324, long) and SEND_REPLY_MESSAGE_V2 (325, short).
//!
//! The body is the message's, or a client batch ([`crate::message::client_batch`]). This is the hot path: a header is read
//! in one pass, without taking memory, and an answer is written in one.

use super::direct::{self, Head};
use super::ext::{ExtFields, ExtHeader, ExtValue, ext_header};
use super::frame::{Frame, SerializeType};
use super::frame_writer::{FRAME_SIZE_BYTES_USUAL, FrameWriter, JSON_END, Numbers, seal};
use super::header::{FLAG_ONEWAY, Language};
use super::json_text::{put_number, put_text};
use super::{FieldError, FrameError, request_code};
use crate::code::Code;
use crate::message::OffsetId;

ext_header! {
    /// The header of a send. As an [`ExtHeader`] it has the long names (10, 324); see [`SendHeader::read_send`] for all.
    /// Answered with [`SendResponse`].
    pub struct SendHeader<'a> {
        /// Who sends.
        producer_group: &'a str = "producerGroup",
        /// Where to.
        topic: &'a str = "topic",
        /// The topic that an unknown one is created like.
        default_topic: &'a str = "defaultTopic",
        /// With how many queues at most.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// Which queue; below 0 for any.
        queue_id: i32 = "queueId",
        /// See [`crate::message::sys_flag`].
        sys_flag: i32 = "sysFlag",
        /// When the client made it, wall time in ms.
        born_timestamp: i64 = "bornTimestamp",
        /// The user's flag.
        flag: i32 = "flag",
        /// The message's properties string.
        properties: Option<&'a str> = "properties",
        /// How often it was consumed in vain, to a %RETRY% topic.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// Whether it belongs to a unit.
        unit_mode: Option<bool> = "unitMode",
        /// How often consumption may fail.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        /// Whether the body is a client batch.
        batch: Option<bool> = "batch",
        /// Name of the broker.
        broker_name: Option<&'a str> = "bname",
    }
}

/// The short names, in the order of the fields.
const SHORT_NAMES: [&str; 14] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];

/// Whether the fields of this code have one letter.
pub const fn has_short_names(code: i32) -> bool {
    matches!(
        code,
        request_code::SEND_MESSAGE_V2 | request_code::SEND_BATCH_MESSAGE | request_code::SEND_REPLY_MESSAGE_V2
    )
}

impl<'a> SendHeader<'a> {
    /// Reads the frame of a send with this code, as [`super::peek_code`] told it: see [`ExtHeader::read`].
    ///
    /// # Errors
    /// [`FrameError`] closes the connection; a [`FieldError`] is answered, to the opaque of the [`Head`].
    #[inline]
    pub fn read_send(
        code: i32,
        frame: &Frame<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<(Head, Result<Self, FieldError>), FrameError> {
        if !has_short_names(code) {
            return Self::read(frame, scratch);
        }
        let mut fields = [None; SHORT_NAMES.len()];
        let head = direct::scan(frame, scratch, |name, value| {
            if let [letter] = name.as_bytes()
                && let Some(field) = fields.get_mut(usize::from(letter.wrapping_sub(b'a')))
            {
                *field = Some(value);
            }
        })?;
        Ok((head, Self::from_short(&fields)))
    }

    /// Reads the fields of a send with this code from a header that is decoded already.
    pub fn decode_send(code: i32, ext: &'a ExtFields<'_>) -> Result<Self, FieldError> {
        if !has_short_names(code) {
            return Self::decode(ext);
        }
        Self::from_short(&SHORT_NAMES.map(|name| ext.get(name)))
    }

    /// Adds the fields under the names that this code has.
    pub fn encode_send_into(&self, code: i32, ext: &mut ExtFields<'a>) {
        if !has_short_names(code) {
            return self.encode_into(ext);
        }
        let long = self.to_ext_values();
        for (name, value) in SHORT_NAMES.into_iter().zip(long) {
            if let Some(value) = value {
                ext.push(name, value);
            }
        }
    }

    #[inline]
    fn from_short(fields: &[Option<&'a str>; 14]) -> Result<Self, FieldError> {
        Ok(Self {
            producer_group: ExtValue::from_ext("a", fields[0])?,
            topic: ExtValue::from_ext("b", fields[1])?,
            default_topic: ExtValue::from_ext("c", fields[2])?,
            default_topic_queue_nums: ExtValue::from_ext("d", fields[3])?,
            queue_id: ExtValue::from_ext("e", fields[4])?,
            sys_flag: ExtValue::from_ext("f", fields[5])?,
            born_timestamp: ExtValue::from_ext("g", fields[6])?,
            flag: ExtValue::from_ext("h", fields[7])?,
            properties: fields[8],
            reconsume_times: ExtValue::from_ext("j", fields[9])?,
            unit_mode: ExtValue::from_ext("k", fields[10])?,
            max_reconsume_times: ExtValue::from_ext("l", fields[11])?,
            batch: ExtValue::from_ext("m", fields[12])?,
            broker_name: fields[13],
        })
    }

    /// The values in the order of [`SHORT_NAMES`].
    fn to_ext_values(self) -> [Option<std::borrow::Cow<'a, str>>; 14] {
        [
            self.producer_group.to_ext(),
            self.topic.to_ext(),
            self.default_topic.to_ext(),
            self.default_topic_queue_nums.to_ext(),
            self.queue_id.to_ext(),
            self.sys_flag.to_ext(),
            self.born_timestamp.to_ext(),
            self.flag.to_ext(),
            self.properties.to_ext(),
            self.reconsume_times.to_ext(),
            self.unit_mode.to_ext(),
            self.max_reconsume_times.to_ext(),
            self.batch.to_ext(),
            self.broker_name.to_ext(),
        ]
    }
}

/// Appends the frame of a send with short names, of [`Language::RUST`].
///
/// Panics when the message does not fit into a frame: the sender must have bounded it.
pub fn encode_send_request(
    out: &mut Vec<u8>,
    serialize_type: SerializeType,
    (code, opaque): (i32, i32),
    is_oneway: bool,
    header: &SendHeader<'_>,
    body: &[u8],
) {
    let flag = if is_oneway { FLAG_ONEWAY } else { 0 };
    let mut writer =
        FrameWriter::new(out, serialize_type, Numbers { code, flag, opaque, language: Language::RUST }, "");
    writer.text("a", header.producer_group);
    writer.text("b", header.topic);
    writer.text("c", header.default_topic);
    writer.number("d", header.default_topic_queue_nums.into());
    writer.number("e", header.queue_id.into());
    writer.number("f", header.sys_flag.into());
    writer.number("g", header.born_timestamp);
    writer.number("h", header.flag.into());
    writer.optional_text("i", header.properties);
    writer.optional_number("j", header.reconsume_times.map(i64::from));
    writer.optional_flag("k", header.unit_mode);
    writer.optional_number("l", header.max_reconsume_times.map(i64::from));
    writer.optional_flag("m", header.batch);
    writer.optional_text("n", header.broker_name);
    writer.finish(body.len());
    out.extend_from_slice(body);
}

/// The answer to a stored message, or to a batch.
#[derive(Clone, Copy, Debug)]
pub struct SendResponse<'a> {
    /// 0, 10, 11 or 12.
    pub code: Code,
    /// Offset ids: one, or one for each message of a batch.
    pub offset_ids: &'a [OffsetId],
    /// The queue that it went to.
    pub queue_id: i32,
    /// Its offset there, that of the first for a batch.
    pub queue_offset: i64,
    /// The message's unique id (5.x).
    pub transaction_id: Option<&'a str>,
    /// Whether clients shall trace it.
    pub trace_on: bool,
    /// Name of the broker's region.
    pub region: &'a str,
    /// Of a batch that is stored as one.
    pub batch_uniq_id: Option<&'a str>,
    /// What takes a timed message back (5.x).
    pub recall_handle: Option<&'a str>,
    /// Empty, or what is to be said about a code other than 0.
    pub remark: &'a str,
}

/// Appends the frame that answers a send, without a body. The fields are in the order of RocketMQ 4.9 in either type.
pub fn encode_send_response(
    out: &mut Vec<u8>,
    serialize_type: SerializeType,
    opaque: i32,
    response: &SendResponse<'_>,
) {
    if serialize_type == SerializeType::Json && response.is_usual() {
        return put_usual_response(out, opaque, response);
    }
    put_any_response(out, serialize_type, opaque, response);
}

fn put_any_response(out: &mut Vec<u8>, serialize_type: SerializeType, opaque: i32, response: &SendResponse<'_>) {
    let numbers = Numbers::response(response.code, opaque);
    let mut writer = FrameWriter::new(out, serialize_type, numbers, response.remark);
    let trace_on = if response.trace_on { "true" } else { "false" };
    if serialize_type == SerializeType::Json {
        writer.number("queueId", response.queue_id.into());
        writer.text("TRACE_ON", trace_on);
        writer.text("MSG_REGION", response.region);
        put_ids(&mut writer, response.offset_ids);
        writer.number("queueOffset", response.queue_offset);
    } else {
        put_ids(&mut writer, response.offset_ids);
        writer.number("queueId", response.queue_id.into());
        writer.number("queueOffset", response.queue_offset);
        writer.text("TRACE_ON", trace_on);
        writer.text("MSG_REGION", response.region);
    }
    writer.optional_text("transactionId", response.transaction_id);
    writer.optional_text("batchUniqId", response.batch_uniq_id);
    writer.optional_text("recallHandle", response.recall_handle);
    writer.finish(0);
}

impl SendResponse<'_> {
    /// Whether it says what nearly all say, and no more than that.
    #[inline]
    fn is_usual(&self) -> bool {
        self.code == Code::SUCCESS
            && self.offset_ids.len() == 1
            && self.trace_on
            && self.region == REGION_DEFAULT
            && self.batch_uniq_id.is_none()
            && self.recall_handle.is_none()
            && self.remark.is_empty()
    }
}

/// The region of a broker that is configured with none.
pub const REGION_DEFAULT: &str = "DefaultRegion";

/// Appends a usual answer in JSON: the bytes that the general way writes, in as few pieces as there are.
#[inline]
fn put_usual_response(out: &mut Vec<u8>, opaque: i32, response: &SendResponse<'_>) {
    out.reserve(FRAME_SIZE_BYTES_USUAL);
    let start = out.len();
    out.extend_from_slice(b"\0\0\0\0\0\0\0\0{\"code\":0,\"extFields\":{\"queueId\":\"");
    put_number(out, response.queue_id.into());
    out.extend_from_slice(b"\",\"TRACE_ON\":\"true\",\"MSG_REGION\":\"DefaultRegion\",\"msgId\":\"");
    response.offset_ids[0].append_to(out);
    out.extend_from_slice(b"\",\"queueOffset\":\"");
    put_number(out, response.queue_offset);
    if let Some(id) = response.transaction_id {
        out.extend_from_slice(b"\",\"transactionId\":\"");
        put_text(out, id.as_bytes());
    }
    out.extend_from_slice(b"\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    put_number(out, opaque.into());
    out.extend_from_slice(JSON_END.as_bytes());
    seal(out, start, SerializeType::Json, 0);
}

/// Digits and commas need no escapes.
#[inline]
fn put_ids(writer: &mut FrameWriter<'_>, ids: &[OffsetId]) {
    writer.field("msgId", |out, _| {
        for (index, id) in ids.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            id.append_to(out);
        }
    });
}

ext_header! {
    /// The fields of a send's answer, as a client reads them.
    pub struct SendReply<'a> {
        /// Offset ids with commas between them.
        msg_id: &'a str = "msgId",
        /// The queue that it went to.
        queue_id: i32 = "queueId",
        /// Its offset there, that of the first for a batch.
        queue_offset: i64 = "queueOffset",
        /// The message's unique id (5.x).
        transaction_id: Option<&'a str> = "transactionId",
        /// Of a batch that is stored as one.
        batch_uniq_id: Option<&'a str> = "batchUniqId",
        /// What takes a timed message back (5.x).
        recall_handle: Option<&'a str> = "recallHandle",
        /// Name of the broker's region.
        region: Option<&'a str> = "MSG_REGION",
        /// Whether to trace it.
        trace_on: Option<bool> = "TRACE_ON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogPosition;
    use crate::message::Host;

    #[test]
    fn a_usual_answer_is_written_as_any_other() {
        let ids: [OffsetId; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()]
            .map(|ip| OffsetId { store_host: Host::new(ip, 10_911), position: LogPosition::new(u64::MAX >> 1) });
        for (number, id) in [0, 7, i32::MAX, -1].into_iter().zip(ids.into_iter().cycle()) {
            for transaction_id in [None, Some("C00002027F035FFD"), Some("\" \\ \u{1} \u{e9}")] {
                let response = SendResponse {
                    code: Code::SUCCESS,
                    offset_ids: &[id],
                    queue_id: number,
                    queue_offset: i64::from(number) << 31,
                    transaction_id,
                    trace_on: true,
                    region: REGION_DEFAULT,
                    batch_uniq_id: None,
                    recall_handle: None,
                    remark: "",
                };
                assert!(response.is_usual());
                let (mut usual, mut any) = (b"before".to_vec(), b"before".to_vec());
                encode_send_response(&mut usual, SerializeType::Json, number, &response);
                put_any_response(&mut any, SerializeType::Json, number, &response);
                assert_eq!(String::from_utf8_lossy(&usual), String::from_utf8_lossy(&any));
            }
        }
    }
}
