//! The binary header (serialization type 1).
//!
//! ```text
//! code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark: i32 length, bytes | fields: i32 length, bytes
//! a field: name: i16 length, bytes | value: i32 length, bytes
//! ```
//!
//! Big endian; a length of 0 means "not there", for a remark as for a field's value. Text is UTF-8; like RocketMQ's
//! decoder, this one replaces what is not.

use std::borrow::Cow;

use super::FrameError;
use super::direct::{Head, Scratch};
use super::ext::{EXT_FIELD_COUNT_USUAL, ExtFields};
use super::header::{Header, Language};
use crate::limits::REMOTING_EXT_FIELD_COUNT_MAX;

/// Whether code and version fit their 16 bits, and every field name its length.
pub(super) fn can_carry(header: &Header<'_>) -> bool {
    i16::try_from(header.code).is_ok()
        && i16::try_from(header.version).is_ok()
        && header.ext.iter().all(|(name, _)| i16::try_from(name.len()).is_ok())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Header<'_>, FrameError> {
    let mut input = Input { bytes };
    let code = i32::from(i16::from_be_bytes(input.array()?));
    let [language] = input.array()?;
    let version = i32::from(i16::from_be_bytes(input.array()?));
    let opaque = i32::from_be_bytes(input.array()?);
    let flag = i32::from_be_bytes(input.array()?);
    let remark = input.long_chunk()?;
    let fields = input.long_chunk()?;
    if !input.bytes.is_empty() {
        return Err(BYTES_BEHIND);
    }
    Ok(Header {
        code,
        language: Language::from_code(language),
        version,
        opaque,
        flag,
        remark: (!remark.is_empty()).then(|| text(remark)),
        ext: decode_fields(fields)?,
    })
}

/// The code, at its fixed place.
pub(super) fn peek_code(bytes: &[u8]) -> Result<i32, FrameError> {
    Ok(i32::from(i16::from_be_bytes(Input { bytes }.array()?)))
}

/// Reads a header without keeping it: see [`super::direct`].
pub(super) fn scan<'a>(
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
    mut field: impl FnMut(&'a str, &'a str),
) -> Result<Head, FrameError> {
    let mut input = Input { bytes };
    let mut head = Head::EMPTY;
    head.code = i32::from(i16::from_be_bytes(input.array()?));
    head.language = Language::from_code(u8::from_be_bytes(input.array()?));
    head.version = i32::from(i16::from_be_bytes(input.array()?));
    head.opaque = i32::from_be_bytes(input.array()?);
    head.flag = i32::from_be_bytes(input.array()?);
    input.long_chunk()?; // remark
    let fields = input.long_chunk()?;
    if !input.bytes.is_empty() {
        return Err(BYTES_BEHIND);
    }
    // A replaced byte makes three.
    let mut scratch = Scratch::new(scratch, 3 * fields.len());
    let mut input = Input { bytes: fields };
    let mut count = 0;
    while !input.bytes.is_empty() {
        let name = input.short_chunk()?;
        let value = input.long_chunk()?;
        if value.is_empty() {
            continue;
        }
        if count == REMOTING_EXT_FIELD_COUNT_MAX {
            return Err(TOO_MANY_FIELDS);
        }
        count += 1;
        field(text_into(name, &mut scratch), text_into(value, &mut scratch));
    }
    Ok(head)
}

/// Text, what is none of it replaced in `scratch`.
#[inline]
fn text_into<'a>(bytes: &'a [u8], scratch: &mut Scratch<'a>) -> &'a str {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text;
    }
    let replaced = String::from_utf8_lossy(bytes);
    let fill = |out: &mut [u8]| {
        out.copy_from_slice(replaced.as_bytes());
        Some(replaced.len())
    };
    let copy = scratch.put(replaced.len(), fill).expect("the scratch has three times the size of all fields");
    std::str::from_utf8(copy).expect("replaced above")
}

const BYTES_BEHIND: FrameError = FrameError::Header("bytes behind the binary header");
const TOO_MANY_FIELDS: FrameError = FrameError::Header("too many extension fields");

fn decode_fields(bytes: &[u8]) -> Result<ExtFields<'_>, FrameError> {
    let mut input = Input { bytes };
    let mut ext = if bytes.is_empty() { ExtFields::new() } else { ExtFields::with_capacity(EXT_FIELD_COUNT_USUAL) };
    while !input.bytes.is_empty() {
        let name = input.short_chunk()?;
        let value = input.long_chunk()?;
        if value.is_empty() {
            continue;
        }
        if ext.len() == REMOTING_EXT_FIELD_COUNT_MAX {
            return Err(TOO_MANY_FIELDS);
        }
        ext.push(text(name), text(value));
    }
    Ok(ext)
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    // Several times as fast as the lossy conversion where nothing is lost.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

pub(super) fn encode(header: &Header<'_>, out: &mut Vec<u8>) {
    let narrow = |value: i32| i16::try_from(value).expect("can_carry was asked").to_be_bytes();
    out.extend_from_slice(&narrow(header.code));
    out.push(header.language.code());
    out.extend_from_slice(&narrow(header.version));
    out.extend_from_slice(&header.opaque.to_be_bytes());
    out.extend_from_slice(&header.flag.to_be_bytes());
    put_long_chunk(out, header.remark.as_deref().unwrap_or_default().as_bytes());
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value) in header.ext.iter() {
        let name_length = i16::try_from(name.len()).expect("can_carry was asked");
        out.extend_from_slice(&name_length.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        put_long_chunk(out, value.as_bytes());
    }
    let size = out.len() - start - 4;
    out[start..start + 4].copy_from_slice(&length_word(size));
}

fn put_long_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_word(bytes.len()));
    out.extend_from_slice(bytes);
}

fn length_word(size: usize) -> [u8; 4] {
    i32::try_from(size).expect("a header is far smaller than 2 GiB").to_be_bytes()
}

/// The bytes that are not read yet.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(FrameError::Header("the binary header ends early"))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn short_chunk(&mut self) -> Result<&'a [u8], FrameError> {
        let length = i16::from_be_bytes(self.array()?);
        self.chunk(usize::try_from(length).ok())
    }

    fn long_chunk(&mut self) -> Result<&'a [u8], FrameError> {
        let length = i32::from_be_bytes(self.array()?);
        self.chunk(usize::try_from(length).ok())
    }

    fn chunk(&mut self, length: Option<usize>) -> Result<&'a [u8], FrameError> {
        let length = length.ok_or(FrameError::Header("a negative length in the binary header"))?;
        let (chunk, rest) =
            self.bytes.split_at_checked(length).ok_or(FrameError::Header("a length beyond the binary header"))?;
        self.bytes = rest;
        Ok(chunk)
    }
}
