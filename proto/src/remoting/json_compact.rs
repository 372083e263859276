//! The quick way through a JSON header in the form that all known clients write: an object without white space, with
//! quoted names, string values in `extFields`, and plain numbers and strings elsewhere.
//!
//! Anything else (also what is wrong) is `None`: then the header is read again in the general way, which decides. So this
//! reader may refuse what it likes, but what it accepts it must read as the general one does.

use super::direct::{Head, Scratch};
use super::header::Language;
use super::scan::{BACKSLASH_OR_QUOTE, take_unicode};
use crate::limits::REMOTING_EXT_FIELD_COUNT_MAX;

/// Bytes that undoing escapes may write beyond the text: it copies in words.
pub(super) const SLACK_SIZE_BYTES: usize = 8;

/// Reads `json`, giving each extension field to `field`.
#[inline]
pub(super) fn scan<'a>(
    json: &'a str,
    scratch: &mut Scratch<'a>,
    mut field: impl FnMut(&'a str, &'a str),
) -> Option<Head> {
    let mut cursor = Cursor { json, position: 0 };
    let mut head = Head::EMPTY;
    let mut has_fields = false;
    cursor.take(b'{')?;
    loop {
        cursor.take(b'"')?;
        let name = cursor.plain_string()?;
        cursor.take(b':')?;
        match name {
            "code" => head.code = cursor.number()?,
            "flag" => head.flag = cursor.number()?,
            "opaque" => head.opaque = cursor.number()?,
            "version" => head.version = cursor.number()?,
            "language" => {
                cursor.take(b'"')?;
                head.language = Language::from_name(cursor.plain_string()?);
            }
            "extFields" if !has_fields => {
                has_fields = true;
                cursor.ext_fields(scratch, &mut field)?;
            }
            "serializeTypeCurrentRPC" => {
                cursor.take(b'"')?;
                cursor.plain_string()?;
            }
            _ => return None,
        }
        if cursor.is_last()? {
            break;
        }
    }
    (cursor.position == json.len()).then_some(head)
}

struct Cursor<'a> {
    json: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.json.as_bytes().get(self.position) == Some(&byte) {
            self.position += 1;
            return Some(());
        }
        None
    }

    /// Takes what stands behind a member: whether the object ends.
    #[inline]
    fn is_last(&mut self) -> Option<bool> {
        let byte = *self.json.as_bytes().get(self.position)?;
        self.position += 1;
        match byte {
            b',' => Some(false),
            b'}' => Some(true),
            _ => None,
        }
    }

    /// Where the next quote or backslash is.
    #[inline]
    fn find_end(&self) -> Option<usize> {
        let bytes = self.json.as_bytes();
        let mut position = self.position;
        while let Some(word) = bytes.get(position..).and_then(|rest| rest.first_chunk::<8>()) {
            let found = BACKSLASH_OR_QUOTE.find(u64::from_le_bytes(*word));
            if found != 0 {
                return Some(position + found.trailing_zeros() as usize / 8);
            }
            position += 8;
        }
        let rest = bytes.get(position..)?;
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|index| position + index)
    }

    /// Takes a string behind its opening quote, when nothing in it is escaped.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a str> {
        let end = self.find_end()?;
        let text = self.json.get(self.position..end)?;
        self.position = end;
        self.take(b'"')?;
        Some(text)
    }

    /// Takes a string behind its opening quote.
    #[inline]
    fn string(&mut self, scratch: &mut Scratch<'a>) -> Option<&'a str> {
        let end = self.find_end()?;
        if self.json.as_bytes().get(end) == Some(&b'"') {
            let text = self.json.get(self.position..end)?;
            self.position = end + 1;
            return Some(text);
        }
        self.escaped_string(scratch)
    }

    /// Takes a string in which something is escaped, finding its end while the escapes are undone.
    fn escaped_string(&mut self, scratch: &mut Scratch<'a>) -> Option<&'a str> {
        let text = scratch.put_rest(|out| self.unescape_into(out))?;
        std::str::from_utf8(text).ok()
    }

    /// Undoes escapes up to the closing quote, which it takes: how many bytes that made.
    fn unescape_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let (size, end) = undo_escapes(self.json.as_bytes(), self.position, out)?;
        self.position = end;
        Some(size)
    }

    #[inline]
    fn ext_fields(&mut self, scratch: &mut Scratch<'a>, field: &mut impl FnMut(&'a str, &'a str)) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        for _ in 0..REMOTING_EXT_FIELD_COUNT_MAX {
            self.take(b'"')?;
            let name = self.name()?;
            self.take(b':')?;
            self.take(b'"')?;
            field(name, self.string(scratch)?);
            if self.is_last()? {
                return Some(());
            }
        }
        None
    }

    /// A name of one letter, as those of a send are, or any other.
    #[inline]
    fn name(&mut self) -> Option<&'a str> {
        if self.json.as_bytes().get(self.position + 1) == Some(&b'"')
            && let Some(name) = self.json.get(self.position..self.position + 1)
            && !matches!(name, "\\" | "\"")
        {
            self.position += 2;
            return Some(name);
        }
        self.plain_string()
    }

    /// A number of at most 10 digits.
    #[inline]
    fn number(&mut self) -> Option<i32> {
        let is_negative = self.take(b'-').is_some();
        let mut value = 0_i64;
        for count in 0..=10 {
            let digit = self.json.as_bytes().get(self.position)?.wrapping_sub(b'0');
            if digit > 9 {
                return if count == 0 { None } else { i32::try_from(if is_negative { -value } else { value }).ok() };
            }
            value = value * 10 + i64::from(digit);
            self.position += 1;
        }
        None
    }
}

/// Undoes the escapes of a string that begins at `from`, behind its opening quote: how many bytes that made in `out`, and where
/// what follows the closing quote begins. `out` has [`SLACK_SIZE_BYTES`] more than `bytes`.
#[inline]
pub(super) fn undo_escapes(bytes: &[u8], from: usize, out: &mut [u8]) -> Option<(usize, usize)> {
    let mut from = from;
    let mut to = 0_usize;
    loop {
        let word = bytes.get(from..)?.first_chunk::<8>()?;
        out.get_mut(to..)?.first_chunk_mut::<8>()?.copy_from_slice(word);
        let found = BACKSLASH_OR_QUOTE.find(u64::from_le_bytes(*word));
        if found == 0 {
            from += 8;
            to += 8;
            continue;
        }
        let plain = found.trailing_zeros() as usize / 8;
        from += plain;
        to += plain;
        if bytes[from] == b'"' {
            return Some((to, from + 1));
        }
        let escape = bytes.get(from + 1..)?.first_chunk::<5>()?;
        // The two separators of message properties: nearly all escapes there are.
        if let [b'u', b'0', b'0', b'0', digit @ (b'1' | b'2')] = escape {
            *out.get_mut(to)? = digit - b'0';
            from += 6;
            to += 1;
            continue;
        }
        let (character, size) = escaped_character(bytes.get(from + 1..)?)?;
        from += 1 + size;
        let encoded = out.get_mut(to..).filter(|room| room.len() >= 4)?;
        to += character.encode_utf8(encoded).len();
    }
}

/// The character of an escape behind its backslash, and how many bytes it took.
#[cold]
fn escaped_character(rest: &[u8]) -> Option<(char, usize)> {
    let plain = |character| Some((character, 1));
    match rest.first()? {
        same @ (b'"' | b'\\' | b'/' | b'\'') => plain(char::from(*same)),
        b'b' => plain('\u{8}'),
        b'f' => plain('\u{c}'),
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        b'u' => {
            let mut digits = std::str::from_utf8(&rest[1..]).ok()?;
            let size = rest.len();
            let character = take_unicode(&mut digits)?;
            Some((character, size - digits.len()))
        }
        _ => None,
    }
}
