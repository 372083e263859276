//! The JSON header (serialization type 0), by hand: it is on the path of every message of the remoting dialect, and
//! borrows what it can.
//!
//! ```text
//! {"code":310,"extFields":{"a":"p",…},"flag":0,"language":"JAVA","opaque":10,"remark":"…","serializeTypeCurrentRPC":"JSON","version":409}
//! ```
//!
//! Members come in any order, unknown ones are skipped, `remark` and `extFields` may be absent or null. Written are the
//! members in RocketMQ's order, and `extFields` always: several clients read fields of it without looking whether it is
//! there.

use std::borrow::Cow;

use super::FrameError;
use super::ext::ExtFields;
use super::header::{Header, Language};
use super::scan::Scanner;
use crate::limits::REMOTING_EXT_FIELD_COUNT_MAX;

/// Room for the fields of a send, the largest of the frequent headers.
const EXT_FIELD_COUNT_USUAL: usize = 16;

pub(super) fn decode(bytes: &[u8]) -> Result<Header<'_>, FrameError> {
    let mut scanner = Scanner::new(bytes);
    let mut header = Header {
        code: 0,
        language: Language::JAVA,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        ext: ExtFields::new(),
    };
    members(&mut scanner, |scanner, name| {
        match name {
            b"code" => header.code = number(scanner)?,
            b"flag" => header.flag = number(scanner)?,
            b"opaque" => header.opaque = number(scanner)?,
            b"version" => header.version = number(scanner)?,
            b"language" => header.language = language(scanner)?,
            b"remark" => header.remark = text(scanner)?,
            b"extFields" => header.ext = ext_fields(scanner)?,
            _ => drop(scanner.value()?),
        }
        Ok(())
    })?;
    if scanner.peek().is_some() {
        return Err(FrameError::Header("bytes behind the JSON header"));
    }
    Ok(header)
}

/// Takes an object, giving the scanner in front of each value to `member`, with the member's name as it is written.
fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&mut Scanner<'a>, &'a [u8]) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    scanner.expect(b'{')?;
    if scanner.take(b'}') {
        return Ok(());
    }
    loop {
        let name = if scanner.peek() == Some(b'"') { scanner.raw_string()?.0 } else { scanner.bare()? };
        scanner.expect(b':')?;
        member(scanner, name)?;
        if scanner.take(b'}') {
            return Ok(());
        }
        scanner.expect(b',')?;
    }
}

/// A string; null is none; any other value counts as its text, as in fastjson.
fn text<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, str>>, FrameError> {
    if scanner.peek() == Some(b'"') {
        return scanner.string().map(Some);
    }
    let value = scanner.value()?;
    Ok((value != b"null").then(|| String::from_utf8_lossy(value)))
}

/// A number, quoted or not; null is 0, as in fastjson.
fn number(scanner: &mut Scanner<'_>) -> Result<i32, FrameError> {
    let Some(text) = text(scanner)? else {
        return Ok(0);
    };
    text.parse().map_err(|_| FrameError::Header("a member of the header is no 32-bit number"))
}

fn language(scanner: &mut Scanner<'_>) -> Result<Language, FrameError> {
    let is_name = scanner.peek() == Some(b'"');
    Ok(match text(scanner)? {
        None => Language::OTHER,
        Some(name) if is_name => Language::from_name(&name),
        Some(code) => code.parse().map_or(Language::OTHER, Language::from_code),
    })
}

fn ext_fields<'a>(scanner: &mut Scanner<'a>) -> Result<ExtFields<'a>, FrameError> {
    if scanner.peek() != Some(b'{') {
        return match scanner.value()? {
            b"null" => Ok(ExtFields::new()),
            _ => Err(FrameError::Header("extFields is no object")),
        };
    }
    let mut ext = ExtFields::with_capacity(EXT_FIELD_COUNT_USUAL);
    scanner.expect(b'{')?;
    if scanner.take(b'}') {
        return Ok(ext);
    }
    loop {
        let name =
            if scanner.peek() == Some(b'"') { scanner.string()? } else { String::from_utf8_lossy(scanner.bare()?) };
        scanner.expect(b':')?;
        if let Some(value) = text(scanner)? {
            if ext.len() == REMOTING_EXT_FIELD_COUNT_MAX {
                return Err(FrameError::Header("too many extension fields"));
            }
            ext.push(name, value);
        }
        if scanner.take(b'}') {
            return Ok(ext);
        }
        scanner.expect(b',')?;
    }
}

pub(super) fn encode(header: &Header<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    put_number(out, header.code);
    out.extend_from_slice(b",\"extFields\":{");
    for (index, (name, value)) in header.ext.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_string(out, name);
        out.push(b':');
        put_string(out, value);
    }
    out.extend_from_slice(b"},\"flag\":");
    put_number(out, header.flag);
    out.extend_from_slice(b",\"language\":");
    put_string(out, header.language.name());
    out.extend_from_slice(b",\"opaque\":");
    put_number(out, header.opaque);
    if let Some(remark) = &header.remark {
        out.extend_from_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, header.version);
    out.push(b'}');
}

fn put_number(out: &mut Vec<u8>, value: i32) {
    let mut digits = [0; 10];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if !matches!(byte, 0..0x20 | b'"' | b'\\') {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..index]);
        plain_from = index + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}
