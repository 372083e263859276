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
use super::direct::{Head, Scratch};
use super::ext::{EXT_FIELD_COUNT_USUAL, ExtFields};
use super::header::{Header, Language};
use super::json_compact::{self, SLACK_SIZE_BYTES};
use super::json_text::{put_number, put_string};
use super::scan::{BAD_ESCAPE, Scanner, unescape_into};
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
    let mut has_fields = false;
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
            "extFields" => {
                once(&mut has_fields)?;
                header.ext = ext_fields(scanner)?;
            }
            _ => drop(scanner.value()?),
        }
        Ok(())
    })?;
    if scanner.peek().is_some() {
        return Err(FrameError::Header("bytes behind the JSON header"));
    }
    Ok(header)
}

/// Two lists of fields in one header mean nothing that anybody could rely on.
fn once(seen: &mut bool) -> Result<(), FrameError> {
    if std::mem::replace(seen, true) { Err(FrameError::Header("extFields comes twice")) } else { Ok(()) }
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

/// Whether the header begins with its code, and which. Anything else is left to [`scan`].
pub(super) fn leading_code(bytes: &[u8]) -> Option<i32> {
    let digits = bytes.strip_prefix(b"{\"code\":")?;
    let mut code = 0_i32;
    for (index, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => code = code.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?,
            b',' | b'}' if index > 0 => return Some(code),
            _ => return None,
        }
    }
    None
}

/// Reads a header without keeping it: see [`super::direct`].
pub(super) fn scan<'a>(
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
    field: impl FnMut(&'a str, &'a str),
) -> Result<Head, FrameError> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return scan_text(text, Scratch::new(scratch, SCRATCH_FACTOR * text.len() + SLACK_SIZE_BYTES), field);
    }
    let replaced = String::from_utf8_lossy(bytes);
    let size = replaced.len();
    scratch.resize(scratch.len().max(size + SCRATCH_FACTOR * size + SLACK_SIZE_BYTES), 0);
    let (text, room) = scratch.split_at_mut(size);
    text.copy_from_slice(replaced.as_bytes());
    let text = std::str::from_utf8(text).expect("replaced above");
    scan_text(text, Scratch::of_room(room), field)
}

/// Escapes never make text longer, and may have to be undone twice.
const SCRATCH_FACTOR: usize = 2;

fn scan_text<'a>(
    json: &'a str,
    mut scratch: Scratch<'a>,
    mut field: impl FnMut(&'a str, &'a str),
) -> Result<Head, FrameError> {
    // What the quick way gave before it gave up, the general one gives again.
    match json_compact::scan(json, &mut scratch, &mut field) {
        Some(head) => Ok(head),
        None => scan_any(json, &mut scratch, field),
    }
}

#[cold]
fn scan_any<'a>(
    json: &'a str,
    scratch: &mut Scratch<'a>,
    mut field: impl FnMut(&'a str, &'a str),
) -> Result<Head, FrameError> {
    let mut scanner = Scanner::new(json);
    let mut has_fields = false;
    let mut head = Head::EMPTY;
    members(&mut scanner, |scanner, name| {
        match name {
            "extFields" => {
                once(&mut has_fields)?;
                scan_ext_fields(scanner, scratch, &mut field)?;
            }
            "code" => head.code = number(scanner)?,
            "flag" => head.flag = number(scanner)?,
            "opaque" => head.opaque = number(scanner)?,
            "version" => head.version = number(scanner)?,
            "language" => head.language = language(scanner)?,
            "remark" => drop(text(scanner)?),
            _ => drop(scanner.value()?),
        }
        Ok(())
    })?;
    if scanner.peek().is_some() {
        return Err(FrameError::Header("bytes behind the JSON header"));
    }
    Ok(head)
}

fn scan_ext_fields<'a>(
    scanner: &mut Scanner<'a>,
    scratch: &mut Scratch<'a>,
    field: &mut impl FnMut(&'a str, &'a str),
) -> Result<(), FrameError> {
    if scanner.peek() != Some(b'{') {
        return ext_fields(scanner).map(drop);
    }
    scanner.expect(b'{')?;
    if scanner.take(b'}') {
        return Ok(());
    }
    let mut count = 0;
    loop {
        let name = if scanner.peek() == Some(b'"') { string_into(scanner, scratch)? } else { scanner.bare()? };
        scanner.expect(b':')?;
        let value = if scanner.peek() == Some(b'"') {
            Some(string_into(scanner, scratch)?)
        } else {
            Some(scanner.value()?).filter(|value| *value != "null")
        };
        if let Some(value) = value {
            if count == REMOTING_EXT_FIELD_COUNT_MAX {
                return Err(TOO_MANY_FIELDS);
            }
            count += 1;
            field(name, value);
        }
        if scanner.take(b'}') {
            return Ok(());
        }
        scanner.expect(b',')?;
    }
}

/// A string, its escapes undone into `scratch`.
#[inline]
fn string_into<'a>(scanner: &mut Scanner<'a>, scratch: &mut Scratch<'a>) -> Result<&'a str, FrameError> {
    let (raw, escaped) = scanner.raw_string()?;
    if !escaped {
        return Ok(raw);
    }
    let text = scratch.put(raw.len(), |out| unescape_into(raw, out)).ok_or(BAD_ESCAPE)?;
    std::str::from_utf8(text).map_err(|_| BAD_ESCAPE)
}

const TOO_MANY_FIELDS: FrameError = FrameError::Header("too many extension fields");

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
                return Err(TOO_MANY_FIELDS);
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
    put_number(out, header.code.into());
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
    put_number(out, header.flag.into());
    out.extend_from_slice(b",\"language\":");
    put_string(out, header.language.name());
    out.extend_from_slice(b",\"opaque\":");
    put_number(out, header.opaque.into());
    if let Some(remark) = &header.remark {
        out.extend_from_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, header.version.into());
    out.push(b'}');
}
