//! A scanner over JSON text as RocketMQ's libraries write and read it: strings without copying, and members by their span.
//!
//! It is used for headers, which are on the hot path, and to bring fastjson's dialect into standard JSON
//! ([`super::lenient`]). Nesting is bounded, nothing recurses.

use std::borrow::Cow;

use super::FrameError;

/// Levels of nesting that are read. When reached: the text is refused.
const DEPTH_MAX: u32 = 64;

pub(super) struct Scanner<'a> {
    text: &'a str,
    pub(super) position: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The next byte that is no white space, not taken.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.as_bytes().get(self.position) {
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

    /// Takes a string with its quotes: the text between them, and whether there are escapes in it.
    pub(super) fn raw_string(&mut self) -> Result<(&'a str, bool), FrameError> {
        self.expect(b'"')?;
        let start = self.position;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            self.position += find_string_end(&bytes[self.position.min(bytes.len())..]);
            match bytes.get(self.position) {
                Some(b'"') => break,
                Some(_) => {
                    escaped = true;
                    self.position += 2;
                }
                None => return Err(FrameError::Header("a JSON string does not end")),
            }
        }
        let raw = &self.text[start..self.position];
        self.position += 1;
        Ok((raw, escaped))
    }

    /// Takes a string and undoes its escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, FrameError> {
        let (raw, escaped) = self.raw_string()?;
        if escaped { unescape(raw).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
    }

    /// Takes a number or a literal (or any other run of characters up to the next delimiter).
    pub(super) fn bare(&mut self) -> Result<&'a str, FrameError> {
        self.peek();
        let rest = &self.text[self.position..];
        let is_end =
            |byte: u8| matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"' | b' ' | b'\t' | b'\r' | b'\n');
        let size = rest.bytes().position(is_end).unwrap_or(rest.len());
        if size == 0 {
            return Err(FrameError::Header("a JSON value is missing"));
        }
        self.position += size;
        Ok(&rest[..size])
    }

    /// Takes any value, whatever is in it: its span. Brackets must match; what lies between them is not judged.
    pub(super) fn value(&mut self) -> Result<&'a str, FrameError> {
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
                return Ok(&self.text[start..self.position]);
            }
        }
    }
}

/// Where the first quote or backslash is, or the length of `bytes`. Eight bytes at a time: most strings of a header are
/// short, and there are thirty of them in a send.
fn find_string_end(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = BACKSLASH_OR_QUOTE.find(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let in_rest = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    bytes.len() - rest.len() + in_rest.unwrap_or(rest.len())
}

/// Two bytes to look for in eight at once.
#[derive(Clone, Copy)]
pub(super) struct Either {
    first: u64,
    second: u64,
}

/// What ends a run of plain text in a JSON string.
pub(super) const BACKSLASH_OR_QUOTE: Either =
    Either { first: u64::from_le_bytes([b'"'; 8]), second: u64::from_le_bytes([b'\\'; 8]) };

impl Either {
    /// 0 when `word` has neither; otherwise the lowest bit that is set is the highest of the first byte that is one. Above
    /// it there may be more.
    #[inline]
    pub(super) const fn find(self, word: u64) -> u64 {
        const LOW: u64 = u64::from_le_bytes([0x01; 8]);
        const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
        let (first, second) = (word ^ self.first, word ^ self.second);
        ((first.wrapping_sub(LOW) & !first) | (second.wrapping_sub(LOW) & !second)) & HIGH
    }
}

/// Undoes the escapes of a JSON string. Half surrogate pairs become U+FFFD, as in Java.
fn unescape(raw: &str) -> Result<String, FrameError> {
    let mut out = vec![0; raw.len()];
    let size = unescape_into(raw, &mut out).ok_or(BAD_ESCAPE)?;
    out.truncate(size);
    Ok(String::from_utf8(out).expect("text with its escapes undone is text"))
}

pub(super) const BAD_ESCAPE: FrameError = FrameError::Header("a bad escape in a JSON string");

/// Undoes the escapes of a JSON string into `out`, which has at least the size of `raw`: how many bytes that makes, never
/// more than `raw` has. `None` for a bad escape.
pub(super) fn unescape_into(raw: &str, out: &mut [u8]) -> Option<usize> {
    let bytes = raw.as_bytes();
    let (mut from, mut to) = (0, 0);
    loop {
        let plain = &bytes[from..];
        let size = find_string_end(plain);
        out.get_mut(to..to + size)?.copy_from_slice(&plain[..size]);
        (from, to) = (from + size, to + size);
        let Some(escape) = bytes.get(from + 1) else {
            return (from == bytes.len()).then_some(to);
        };
        // Message properties are full of these two.
        if let Some([b'u', b'0', b'0', b'0', digit @ b'1'..=b'2']) = bytes.get(from + 1..from + 6) {
            *out.get_mut(to)? = digit - b'0';
            (from, to) = (from + 6, to + 1);
            continue;
        }
        let unescaped = match escape {
            same @ (b'"' | b'\\' | b'/' | b'\'') => char::from(*same),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut rest = &raw[from + 2..];
                let unescaped = take_unicode(&mut rest)?;
                from = raw.len() - rest.len() - 2;
                unescaped
            }
            _ => return None,
        };
        from += 2;
        to += unescaped.encode_utf8(out.get_mut(to..)?).len();
    }
}

/// Takes the four digits behind `\u`, and the second half of a pair when `rest` goes on with it.
pub(super) fn take_unicode(rest: &mut &str) -> Option<char> {
    let first = take_hex4(rest)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    let Some(mut behind) = rest.strip_prefix("\\u") else {
        return Some(char::REPLACEMENT_CHARACTER);
    };
    let second = take_hex4(&mut behind)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Some(char::REPLACEMENT_CHARACTER);
    }
    *rest = behind;
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn take_hex4(rest: &mut &str) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(4)?;
    *rest = behind;
    digits.chars().try_fold(0, |sum, digit| Some(sum << 4 | digit.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_as_java_does() {
        let text = |text: &'static str| Scanner::new(text).string();
        assert_eq!(text(r#""a\u0001b\u0002""#).unwrap(), "a\u{1}b\u{2}");
        assert_eq!(text(r#""\"\\\/\b\f\n\r\t""#).unwrap(), "\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(text(r#""\ud83d\ude00!""#).unwrap(), "\u{1f600}!");
        assert_eq!(text(r#""\ud83d""#).unwrap(), "\u{fffd}");
        assert_eq!(text(r#""\ud83d\u0041""#).unwrap(), "\u{fffd}A");
        assert_eq!(text(r#""\ude00""#).unwrap(), "\u{fffd}");
        for bad in ["\"\\", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\u\u{e9}\u{e9}\"", "\"abc", "abc", ""]
        {
            assert!(Scanner::new(bad).string().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_is() {
        for size in 0..40 {
            let mut text = "!\u{e9}#[]!".repeat(10).into_bytes();
            text.truncate(size);
            assert_eq!(find_string_end(&text), size);
            for at in 0..size {
                for end in [b'"', b'\\'] {
                    let mut text = text.clone();
                    text[at] = end;
                    assert_eq!(find_string_end(&text), at);
                    text[size - 1] = b'"';
                    assert_eq!(find_string_end(&text), at);
                }
            }
        }
    }

    #[test]
    fn a_value_is_skipped_as_a_whole() {
        for value in [r#"{"a":[1,{"b":"]}\""}],"c":null}"#, "[]", "-1.5e3", "null", r#""x\\""#, "\u{e9}"] {
            let text = format!(" {value} ,next");
            let mut scanner = Scanner::new(&text);
            assert_eq!(scanner.value().unwrap(), value);
            assert!(scanner.take(b','));
        }
    }

    #[test]
    fn nesting_is_bounded_and_brackets_match() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Scanner::new(&deep(64)).value().is_ok());
        assert!(Scanner::new(&deep(65)).value().is_err());
        for bad in ["[}", "{]", "[", "{\"a\":", "}", "]", "", ",", ":"] {
            assert!(Scanner::new(bad).value().is_err(), "{bad}");
        }
    }
}
