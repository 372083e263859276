//! Frames that are frequent, written in one go: no list of fields is made, nothing is asked twice.
//!
//! What is written is what [`super::encode_frame`] writes for the same fields in the same order.

use super::frame::{FRAME_HEAD_SIZE_BYTES, SerializeType};
use super::header::{FLAG_RESPONSE, Language, VERSION_REPORTED};
use super::json_text::{NUMBER_SIZE_BYTES_MAX, number_text, put_number, put_text};
use crate::code::Code;
use crate::limits::{REMOTING_HEADER_SIZE_BYTES_MAX, REMOTING_REMARK_SIZE_BYTES_MAX};

/// The numbers that a header begins and ends with.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) code: i32,
    pub(super) flag: i32,
    pub(super) opaque: i32,
    pub(super) language: Language,
}

impl Numbers {
    /// Those of an answer.
    pub(super) const fn response(code: Code, opaque: i32) -> Self {
        Self { code: code.as_i32(), flag: FLAG_RESPONSE, opaque, language: Language::JAVA }
    }
}

/// Writes one frame. Fields first, then [`FrameWriter::finish`].
pub(super) struct FrameWriter<'o> {
    out: &'o mut Vec<u8>,
    serialize_type: SerializeType,
    numbers: Numbers,
    remark: &'o str,
    start: usize,
    /// Where the fields begin: behind `{`, or behind their length.
    fields_start: usize,
}

/// Room that nearly every answer fits into.
pub(super) const FRAME_SIZE_BYTES_USUAL: usize = 384;

impl<'o> FrameWriter<'o> {
    /// Begins a frame. An empty remark is none; a long one is cut.
    #[inline]
    pub(super) fn new(out: &'o mut Vec<u8>, serialize_type: SerializeType, numbers: Numbers, remark: &'o str) -> Self {
        out.reserve(FRAME_SIZE_BYTES_USUAL);
        let start = out.len();
        let remark = &remark[..remark.floor_char_boundary(REMOTING_REMARK_SIZE_BYTES_MAX)];
        // A code beyond 16 bits travels as JSON.
        let narrow = i16::try_from(numbers.code);
        let serialize_type = if narrow.is_ok() { serialize_type } else { SerializeType::Json };
        out.extend_from_slice(&[0; FRAME_HEAD_SIZE_BYTES]);
        match (serialize_type, narrow) {
            (SerializeType::Binary, Ok(code)) => {
                out.extend_from_slice(&code.to_be_bytes());
                out.push(numbers.language.code());
                out.extend_from_slice(&VERSION_BINARY.to_be_bytes());
                out.extend_from_slice(&numbers.opaque.to_be_bytes());
                out.extend_from_slice(&numbers.flag.to_be_bytes());
                put_chunk(out, remark.as_bytes());
                out.extend_from_slice(&[0; 4]);
            }
            _ => {
                out.extend_from_slice(b"{\"code\":");
                put_number(out, numbers.code.into());
                out.extend_from_slice(b",\"extFields\":{");
            }
        }
        let fields_start = out.len();
        Self { out, serialize_type, numbers, remark, start, fields_start }
    }

    /// Adds a field whose name needs no escapes.
    #[inline]
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.field(name, |out, is_json| match is_json {
            true => put_text(out, value.as_bytes()),
            false => out.extend_from_slice(value.as_bytes()),
        });
    }

    /// Adds a field that holds a number.
    #[inline]
    pub(super) fn number(&mut self, name: &str, value: i64) {
        let mut text = [0; NUMBER_SIZE_BYTES_MAX];
        let text = number_text(value, &mut text);
        self.field(name, |out, _| out.extend_from_slice(text));
    }

    /// Adds a field when there is one.
    #[inline]
    pub(super) fn optional_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Adds a number when there is one.
    #[inline]
    pub(super) fn optional_number(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// Adds `true` or `false` when there is one.
    #[inline]
    pub(super) fn optional_flag(&mut self, name: &str, value: Option<bool>) {
        self.optional_text(name, value.map(|value| if value { "true" } else { "false" }));
    }

    /// Adds a field whose value is what `put` appends, escaped by itself when it is told that this is JSON.
    #[inline]
    pub(super) fn field(&mut self, name: &str, put: impl FnOnce(&mut Vec<u8>, bool)) {
        let out = &mut *self.out;
        match self.serialize_type {
            SerializeType::Json => {
                out.extend_from_slice(if out.len() > self.fields_start { b",\"" } else { b"\"" });
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":\"");
                put(out, true);
                out.push(b'"');
            }
            SerializeType::Binary => {
                let name_length = i16::try_from(name.len()).expect("names of fields are short");
                out.extend_from_slice(&name_length.to_be_bytes());
                out.extend_from_slice(name.as_bytes());
                let value_start = out.len() + 4;
                out.extend_from_slice(&[0; 4]);
                put(out, false);
                patch_length(out, value_start);
            }
        }
    }

    /// Ends the header, for a body of `body_size_bytes` that the caller puts behind it.
    #[inline]
    pub(super) fn finish(self, body_size_bytes: usize) {
        let Self { out, serialize_type, numbers, remark, start, fields_start } = self;
        match serialize_type {
            SerializeType::Json => {
                if numbers.flag == FLAG_RESPONSE && numbers.language == Language::JAVA {
                    out.extend_from_slice(b"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
                } else {
                    out.extend_from_slice(b"},\"flag\":");
                    put_number(out, numbers.flag.into());
                    out.extend_from_slice(b",\"language\":\"");
                    out.extend_from_slice(numbers.language.name().as_bytes());
                    out.extend_from_slice(b"\",\"opaque\":");
                }
                put_number(out, numbers.opaque.into());
                if !remark.is_empty() {
                    out.extend_from_slice(b",\"remark\":\"");
                    put_text(out, remark.as_bytes());
                    out.push(b'"');
                }
                out.extend_from_slice(JSON_END.as_bytes());
            }
            SerializeType::Binary => patch_length(out, fields_start),
        }
        seal(out, start, serialize_type, body_size_bytes);
    }
}

/// Writes the head of the frame that begins at `start` and whose header ends `out`.
#[inline]
pub(super) fn seal(out: &mut [u8], start: usize, serialize_type: SerializeType, body_size_bytes: usize) {
    let header_size = out.len() - start - FRAME_HEAD_SIZE_BYTES;
    assert!(header_size <= REMOTING_HEADER_SIZE_BYTES_MAX, "a header of {header_size} bytes");
    let length = i32::try_from(4 + header_size + body_size_bytes).expect("a frame's length is an i32");
    let header_word = u32::try_from(header_size).expect("bounded above") | u32::from(serialize_type as u8) << 24;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&header_word.to_be_bytes());
}

const VERSION_BINARY: i16 = 479;
/// How a JSON header ends behind its opaque and remark.
pub(super) const JSON_END: &str = ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}";
const _: () = assert!(VERSION_REPORTED == 479 && FLAG_RESPONSE == 1, "the numbers that are written out above");

fn put_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_word(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Writes the length of what follows `start` in front of it.
fn patch_length(out: &mut [u8], start: usize) {
    let length = length_word(out.len() - start);
    out[start - 4..start].copy_from_slice(&length);
}

fn length_word(size: usize) -> [u8; 4] {
    i32::try_from(size).expect("a header is far smaller than 2 GiB").to_be_bytes()
}
