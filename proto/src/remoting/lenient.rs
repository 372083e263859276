//! JSON bodies, in and out.
//!
//! Written is standard JSON (quoted keys, which every client reads), but for [`encode_bare`]. Read is also what fastjson
//! writes: numbers and whole objects as keys, `{0:"a"}` and `{{"queueId":0}:5}`. Such a key becomes a string that holds its
//! text, which is how serde reads numeric keys, and how [`decode`] can be asked again for an object.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::Formatter;

use super::scan::Scanner;
use super::{BodyError, FrameError};
use crate::limits::{BODY_LIST_COUNT_MAX, REQUEST_BODY_SIZE_BYTES_MAX};

/// Reads a JSON body. Standard JSON takes the short way; fastjson's dialect is translated first.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let error = match serde_json::from_slice(bytes) {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    let text = std::str::from_utf8(bytes).ok().filter(|_| error.is_syntax());
    match text.map(standardize) {
        Some(Ok(Cow::Owned(standard))) => serde_json::from_str(&standard).map_err(BodyError::Json),
        _ => Err(BodyError::Json(error)),
    }
}

/// Reads the JSON body of a request, which is bounded: by [`REQUEST_BODY_SIZE_BYTES_MAX`] here, by [`list`] in its lists. A
/// member that is null counts as left out, as in fastjson.
pub fn decode_request<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    if bytes.len() > REQUEST_BODY_SIZE_BYTES_MAX {
        return Err(BodyError::TooMany { what: "bytes", count_max: REQUEST_BODY_SIZE_BYTES_MAX });
    }
    let error = match decode(bytes) {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    match &error {
        BodyError::Json(json) if json.is_data() => {
            let mut value: serde_json::Value = decode(bytes)?;
            remove_nulls(&mut value);
            serde_json::from_value(value).map_err(|_| error)
        }
        _ => Err(error),
    }
}

/// The depth is bounded by serde_json's own limit of 128.
fn remove_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        serde_json::Value::Array(elements) => elements.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Reads a list of at most [`BODY_LIST_COUNT_MAX`]; null is the empty one.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<List<T>>::deserialize(deserializer)?.map_or_else(Vec::new, |list| list.0))
}

/// A number as it may stand in JSON: bare, or in quotes as clients in Go write tag hashes and those in C++ versions too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<T> {
    Bare(T),
    Quoted(String),
}

impl<T: FromStr> Number<T> {
    fn read<E: Error>(self) -> Result<T, E> {
        match self {
            Self::Bare(number) => Ok(number),
            Self::Quoted(text) => text.trim().parse().map_err(|_| E::custom("a number in quotes is none")),
        }
    }
}

/// Reads a number, bare or in quotes.
pub(super) fn number<'de, D: Deserializer<'de>, T: Deserialize<'de> + FromStr>(deserializer: D) -> Result<T, D::Error> {
    Number::deserialize(deserializer)?.read()
}

/// As [`list`], of numbers bare or in quotes.
pub(super) fn numbers<'de, D: Deserializer<'de>, T: Deserialize<'de> + FromStr>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    list::<D, Number<T>>(deserializer)?.into_iter().map(Number::read).collect()
}

struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {BODY_LIST_COUNT_MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == BODY_LIST_COUNT_MAX {
                return Err(A::Error::custom(format_args!("more than {BODY_LIST_COUNT_MAX} elements")));
            }
            list.push(element);
        }
        Ok(List(list))
    }
}

/// Writes a JSON body.
///
/// Panics when `body` has keys that JSON cannot have: no type of this crate does.
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("bodies have keys that JSON can have")
}

/// Writes a JSON body with bare numbers as keys, `{0:"a"}`, as fastjson did for clients before 4.9.4.
///
/// Panics as [`encode`] does.
pub fn encode_bare<T: Serialize>(body: &T) -> Vec<u8> {
    let mut out = Vec::new();
    body.serialize(&mut serde_json::Serializer::with_formatter(&mut out, BareKeys::default()))
        .expect("bodies have keys that JSON can have");
    out
}

/// Leaves out the quotes around keys that are numbers.
#[derive(Default)]
struct BareKeys {
    /// A key's opening quote is due, unless a number follows.
    quote_due: bool,
    in_key: bool,
    bare: bool,
}

impl BareKeys {
    fn quote<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.quote_due) { writer.write_all(b"\"") } else { Ok(()) }
    }
}

impl Formatter for BareKeys {
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.in_key = true;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.quote_due = true;
        self.bare = false;
        if self.in_key { Ok(()) } else { self.quote(writer) }
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.bare = self.in_key;
        self.quote_due = false;
        write!(writer, "{value}")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.quote(writer)?;
        writer.write_all(fragment.as_bytes())
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.bare) {
            return Ok(());
        }
        self.quote(writer)?;
        writer.write_all(b"\"")
    }
}

/// Quotes the keys that are not quoted. Borrowed when there is none.
fn standardize(text: &str) -> Result<Cow<'_, str>, FrameError> {
    let mut scanner = Scanner::new(text);
    let mut out = String::new();
    let mut copied_to = 0;
    // The brackets around the position. A key stands behind `{`, or behind `,` inside an object.
    let mut open: Vec<u8> = Vec::new();
    while let Some(byte) = scanner.peek() {
        if byte == b'"' {
            scanner.raw_string()?;
            continue;
        }
        match byte {
            b'{' | b'[' => {
                if open.len() == DEPTH_MAX {
                    return Err(FrameError::Header("JSON nested too deeply"));
                }
                open.push(byte);
            }
            b'}' | b']' => drop(open.pop()),
            b',' | b':' => {}
            _ => {
                scanner.bare()?;
                continue;
            }
        }
        scanner.position += 1;
        let key_is_next = byte == b'{' || byte == b',' && open.last() == Some(&b'{');
        if !key_is_next || matches!(scanner.peek(), None | Some(b'"' | b'}')) {
            continue;
        }
        let start = scanner.position;
        let key = scanner.value()?;
        out.push_str(&text[copied_to..start]);
        out.push('"');
        for character in key.chars() {
            if matches!(character, '"' | '\\') {
                out.push('\\');
            }
            out.push(character);
        }
        out.push('"');
        copied_to = scanner.position;
    }
    if copied_to == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[copied_to..]);
    Ok(Cow::Owned(out))
}

/// Levels of nesting that are translated. When reached: the body is refused.
const DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn numeric_keys_are_read_bare_and_quoted() {
        let expected = BTreeMap::from([(0_i64, "a:1".to_owned()), (1, "b:2".to_owned())]);
        for text in [r#"{0:"a:1",1:"b:2"}"#, r#"{"0":"a:1","1":"b:2"}"#, r#"{ 0 : "a:1" , 1:"b:2" }"#] {
            assert_eq!(decode::<BTreeMap<i64, String>>(text.as_bytes()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn numeric_keys_are_written_bare_where_that_is_asked_and_nothing_else_is() {
        let addresses = BTreeMap::from([(-1_i64, "a:1".to_owned()), (0, String::new())]);
        let body = BTreeMap::from([("", (addresses.clone(), 5, "x")), ("7\"", (BTreeMap::new(), 0, "\n"))]);
        let bare = encode_bare(&body);
        assert_eq!(String::from_utf8_lossy(&bare), r#"{"":[{-1:"a:1",0:""},5,"x"],"7\"":[{},0,"\n"]}"#);
        assert_eq!(decode::<serde_json::Value>(&bare).unwrap(), serde_json::to_value(&body).unwrap());
    }

    #[test]
    fn object_keys_are_read_bare_and_as_strings() {
        for text in [r#"{{"brokerName":"b","queueId":0}:5}"#, r#"{"{\"brokerName\":\"b\",\"queueId\":0}":5}"#] {
            let table: BTreeMap<String, i64> = decode(text.as_bytes()).unwrap();
            let (key, value) = table.first_key_value().unwrap();
            assert_eq!((key.as_str(), *value), (r#"{"brokerName":"b","queueId":0}"#, 5));
        }
    }

    #[test]
    fn text_that_looks_like_a_bare_key_stays_text() {
        let text = r#"{"a":"{0:1,","b":[1,2,{3:"\\\""}]}"#;
        let value: serde_json::Value = decode(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::json!({"a": "{0:1,", "b": [1, 2, {"3": "\\\""}]}));
    }

    /// What a Go consumer by tags and a C++ consumer say of a subscription.
    #[test]
    fn numbers_are_read_bare_and_in_quotes() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(deserialize_with = "numbers")]
            hashes: Vec<i32>,
            #[serde(deserialize_with = "number")]
            version: i64,
        }
        let body: Body = decode(br#"{"hashes":["65",-67,"-1797401818"],"version":"1795218653511"}"#).expect("readable");
        assert_eq!(body.hashes, [65, -67, -1_797_401_818]);
        assert_eq!(body.version, 1_795_218_653_511);
        assert!(decode::<Body>(br#"{"hashes":["A"],"version":1}"#).is_err());
    }

    #[test]
    fn null_counts_as_left_out() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            name: String,
            #[serde(deserialize_with = "list")]
            numbers: Vec<i32>,
        }
        let body: Body = decode_request(br#"{"name":null,"numbers":null}"#).unwrap();
        assert_eq!((body.name.as_str(), body.numbers.len()), ("", 0));
        let body: Body = decode_request(br#"{"numbers":[1,2],"name":"a"}"#).unwrap();
        assert_eq!((body.name.as_str(), body.numbers.len()), ("a", 2));
        assert!(decode_request::<Body>(br#"{"name":5}"#).is_err());
    }

    #[test]
    fn request_body_size_bytes_max() {
        let body = |size: usize| format!("\"{}\"", "x".repeat(size - 2)).into_bytes();
        assert!(decode_request::<String>(&body(REQUEST_BODY_SIZE_BYTES_MAX)).is_ok());
        assert!(decode_request::<String>(&body(REQUEST_BODY_SIZE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn broken_bodies_are_refused() {
        for text in ["", "{", "{0:1", "{0:}", "{{:1}", "[}", "{,}", &"{0:".repeat(100)] {
            assert!(decode::<serde_json::Value>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
