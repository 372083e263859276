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
use super::ext::{EXT_FIELD_COUNT_USUAL, ExtFields};
use super::header::{Header, Language};
use super::scan::Scanner;
use crate::limits::REMOTING_EXT_FIELD_COUNT_MAX;

pub(super) fn decode(bytes: &[u8]) -> Result<Header<'_>, FrameError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => decode_text(text),
        // Java replaces what is no UTF-8, and so must we.
        Err(_) => decode_text(&String::from_utf8_lossy(bytes)).map(Header::into_owned),
    }
}

fn decode_text(json: &str) -> Result<Header<'_>, FrameError> {
    let mut scanner = Scanner::new(json);
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
            "code" => header.code = number(scanner)?,
            "flag" => header.flag = number(scanner)?,
            "opaque" => header.opaque = number(scanner)?,
            "version" => header.version = number(scanner)?,
            "language" => header.language = language(scanner)?,
            "remark" => header.remark = text(scanner)?,
            "extFields" => header.ext = ext_fields(scanner)?,
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
    mut member: impl FnMut(&mut Scanner<'a>, &'a str) -> Result<(), FrameError>,
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
    Ok((value != "null").then_some(Cow::Borrowed(value)))
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
            "null" => Ok(ExtFields::new()),
            _ => Err(FrameError::Header("extFields is no object")),
        };
    }
    let mut ext = ExtFields::with_capacity(EXT_FIELD_COUNT_USUAL);
    scanner.expect(b'{')?;
    if scanner.take(b'}') {
        return Ok(ext);
    }
    loop {
        let name = if scanner.peek() == Some(b'"') { scanner.string()? } else { Cow::Borrowed(scanner.bare()?) };
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
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(index) = rest.iter().position(|byte| NEEDS_ESCAPE[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..index]);
        put_escaped(out, rest[index]);
        rest = &rest[index + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

const NEEDS_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

fn put_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}
