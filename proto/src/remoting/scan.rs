//! A scanner over JSON text as RocketMQ's libraries write and read it: strings without copying, and members by their span.
//!
//! It is used for headers, which are on the hot path, and to bring fastjson's dialect into standard JSON
//! ([`super::lenient`]). Nesting is bounded, nothing recurses.

use std::borrow::Cow;

use super::FrameError;

/// Levels of nesting that are read. When reached: the text is refused.
const DEPTH_MAX: u32 = 64;

pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) position: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next byte that is no white space, not taken.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.position) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.position += 1;
        }
        None
    }

    /// Takes `byte` when it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.position += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), FrameError> {
        if self.take(byte) { Ok(()) } else { Err(FrameError::Header("not the JSON object it should be")) }
    }

    /// Takes a string with its quotes: the bytes between them, and whether there are escapes among them.
    pub(super) fn raw_string(&mut self) -> Result<(&'a [u8], bool), FrameError> {
        self.expect(b'"')?;
        let start = self.position;
        let mut escaped = false;
        loop {
            match self.bytes.get(self.position) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.position += 2;
                }
                Some(_) => self.position += 1,
                None => return Err(FrameError::Header("a JSON string does not end")),
            }
        }
        let raw = &self.bytes[start..self.position];
        self.position += 1;
        Ok((raw, escaped))
    }

    /// Takes a string and undoes its escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, FrameError> {
        let (raw, escaped) = self.raw_string()?;
        if escaped { unescape(raw).map(Cow::Owned) } else { Ok(String::from_utf8_lossy(raw)) }
    }

    /// Takes a number or a literal (or any other run of bytes up to the next delimiter).
    pub(super) fn bare(&mut self) -> Result<&'a [u8], FrameError> {
        self.peek();
        let rest = &self.bytes[self.position.min(self.bytes.len())..];
        let is_end =
            |byte: &u8| matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"' | b' ' | b'\t' | b'\r' | b'\n');
        let size = rest.iter().position(is_end).unwrap_or(rest.len());
        if size == 0 {
            return Err(FrameError::Header("a JSON value is missing"));
        }
        self.position += size;
        Ok(&rest[..size])
    }

    /// Takes any value, whatever is in it: its span. Brackets must match; what lies between them is not judged.
    pub(super) fn value(&mut self) -> Result<&'a [u8], FrameError> {
        self.peek();
        let start = self.position;
        // One bit a level: 1 an object, 0 an array.
        let mut kinds = 0_u64;
        let mut depth = 0_u32;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return Err(FrameError::Header("JSON nested too deeply"));
                    }
                    depth += 1;
                    kinds = kinds << 1 | u64::from(open == b'{');
                    self.position += 1;
                }
                Some(close @ (b'}' | b']')) => {
                    if depth == 0 || (kinds & 1 == 1) != (close == b'}') {
                        return Err(FrameError::Header("JSON brackets do not match"));
                    }
                    depth -= 1;
                    kinds >>= 1;
                    self.position += 1;
                }
                Some(b',' | b':') if depth > 0 => self.position += 1,
                Some(b'"') => drop(self.raw_string()?),
                _ => drop(self.bare()?),
            }
            if depth == 0 {
                return Ok(&self.bytes[start..self.position]);
            }
        }
    }
}

/// Undoes the escapes of a JSON string. Half surrogate pairs and bytes that are no UTF-8 become U+FFFD, as in Java.
fn unescape(raw: &[u8]) -> Result<String, FrameError> {
    const BAD: FrameError = FrameError::Header("a bad escape in a JSON string");
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        out.push_str(&String::from_utf8_lossy(&rest[..backslash]));
        let (escape, behind) = rest[backslash + 1..].split_first().ok_or(BAD)?;
        rest = behind;
        out.push(match escape {
            b'"' | b'\\' | b'/' | b'\'' => char::from(*escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => take_unicode(&mut rest).ok_or(BAD)?,
            _ => return Err(BAD),
        });
    }
    out.push_str(&String::from_utf8_lossy(rest));
    Ok(out)
}

/// Takes the four digits behind `\u`, and the second half of a pair when `rest` goes on with it.
fn take_unicode(rest: &mut &[u8]) -> Option<char> {
    let first = take_hex4(rest)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    let Some(mut behind) = rest.strip_prefix(b"\\u") else {
        return Some(char::REPLACEMENT_CHARACTER);
    };
    let second = take_hex4(&mut behind)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Some(char::REPLACEMENT_CHARACTER);
    }
    *rest = behind;
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn take_hex4(rest: &mut &[u8]) -> Option<u32> {
    let (digits, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_as_java_does() {
        let text = |bytes: &'static [u8]| Scanner::new(bytes).string();
        assert_eq!(text(br#""a\u0001b\u0002""#).unwrap(), "a\u{1}b\u{2}");
        assert_eq!(text(br#""\"\\\/\b\f\n\r\t""#).unwrap(), "\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(text(br#""\ud83d\ude00!""#).unwrap(), "\u{1f600}!");
        assert_eq!(text(br#""\ud83d""#).unwrap(), "\u{fffd}");
        assert_eq!(text(br#""\ud83d\u0041""#).unwrap(), "\u{fffd}A");
        assert_eq!(text(br#""\ude00""#).unwrap(), "\u{fffd}");
        assert_eq!(text(b"\"\xff\"").unwrap(), "\u{fffd}");
        for bad in [&b"\"\\"[..], b"\"\\\"", b"\"\\x\"", b"\"\\u12\"", b"\"\\u12g4\"", b"\"abc", b"abc", b""] {
            assert!(Scanner::new(bad).string().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_value_is_skipped_as_a_whole() {
        for value in [&br#"{"a":[1,{"b":"]}\""}],"c":null}"#[..], b"[]", b"-1.5e3", b"null", br#""x\\""#] {
            let mut text = b" ".to_vec();
            text.extend_from_slice(value);
            text.extend_from_slice(b" ,next");
            let mut scanner = Scanner::new(&text);
            assert_eq!(scanner.value().unwrap(), value);
            assert!(scanner.take(b','));
        }
    }

    #[test]
    fn nesting_is_bounded_and_brackets_match() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Scanner::new(deep(64).as_bytes()).value().is_ok());
        assert!(Scanner::new(deep(65).as_bytes()).value().is_err());
        for bad in ["[}", "{]", "[", "{\"a\":", "}", "]", "", ",", ":"] {
            assert!(Scanner::new(bad.as_bytes()).value().is_err(), "{bad}");
        }
    }
}
