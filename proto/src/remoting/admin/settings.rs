//! A broker's configuration (25, 26), figures (28), replicas (907) and half messages to check again (323).
//!
//! Configuration travels as text in the form of Java's properties, a `name=value` a line.

use serde::{Deserialize, Serialize};

use crate::limits::{BODY_LIST_COUNT_MAX, REQUEST_BODY_SIZE_BYTES_MAX};
use crate::remoting::BodyError;
use crate::remoting::ext::ext_header;
use crate::remoting::json_body::json_body;
use crate::remoting::lenient;

ext_header! {
    /// The answer to GET_BROKER_CONFIG (26), whose body is [`encode_properties`].
    pub struct BrokerConfigReply<'a> {
        /// A [`crate::remoting::registration::DataVersion`] as JSON.
        version: &'a str = "version",
    }
}

ext_header! {
    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckHalfMessage<'a> {
        /// Name of the topic (5.x).
        topic: Option<&'a str> = "topic",
        /// Offset id of the message.
        msg_id: Option<&'a str> = "msgId",
    }
}

/// Writes the text of a configuration.
pub fn encode_properties<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in settings {
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    out
}

/// Reads the text of a configuration: names and values in their order. Lines that are empty or begin with `#` or `!` are
/// left out; a value begins behind the first `=` or `:`, and may go on in the next line behind a `\`.
///
/// # Errors
/// When it is no text, or beyond a limit.
pub fn decode_properties(body: &[u8]) -> Result<Vec<(String, String)>, BodyError> {
    if body.len() > REQUEST_BODY_SIZE_BYTES_MAX {
        return Err(BodyError::TooMany { what: "bytes", count_max: REQUEST_BODY_SIZE_BYTES_MAX });
    }
    let text = std::str::from_utf8(body).map_err(|_| BodyError::Content("a configuration that is no UTF-8"))?;
    let mut settings = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = String::new();
        let mut part = line;
        while let Some(begun) = part.strip_suffix('\\').filter(|begun| !ends_escaped(begun)) {
            logical.push_str(begun);
            part = lines.next().unwrap_or_default();
        }
        logical.push_str(part);
        if settings.len() == BODY_LIST_COUNT_MAX {
            return Err(BodyError::TooMany { what: "settings", count_max: BODY_LIST_COUNT_MAX });
        }
        let (name, value) = logical.split_once(['=', ':']).unwrap_or((&logical, ""));
        settings.push((unescape(name.trim()), unescape(value.trim())));
    }
    Ok(settings)
}

/// Whether a backslash behind this text would itself be escaped.
fn ends_escaped(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Undoes `\\`, `\=`, `\:`, `\n`, …; a backslash before any other character is dropped, as Java does. `\uXXXX` too.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let value = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(value.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// One slave of [`HaRuntimeInfo`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaConnectionInfo {
    /// `ip:port`.
    pub addr: String,
    /// Bytes that it is behind.
    pub diff: i64,
    /// Whether that counts as in sync.
    pub in_sync: bool,
    /// Up to where it has acknowledged.
    pub slave_ack_offset: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
    /// Up to where it was sent.
    pub transfer_from_where: i64,
}

/// A slave's own view in [`HaRuntimeInfo`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaClientInfo {
    /// Whether it replicates at all.
    pub activated: bool,
    /// Wall time of the last bytes, in ms.
    pub last_read_timestamp: i64,
    /// Wall time of the last report, in ms.
    pub last_write_timestamp: i64,
    /// Where it replicates from.
    pub master_addr: String,
    /// Up to where it was acknowledged.
    pub master_flush_offset: i64,
    /// Up to where it has.
    pub max_offset: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// The body that answers GET_BROKER_HA_STATUS (907, 5.x).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaRuntimeInfo {
    /// Of a slave.
    pub ha_client_runtime_info: HaClientInfo,
    /// Of a master: its slaves.
    #[serde(deserialize_with = "lenient::list")]
    pub ha_connection_info: Vec<HaConnectionInfo>,
    /// How many of them keep up.
    pub in_sync_slave_nums: i32,
    /// Whether this is the master.
    pub master: bool,
    /// Behind the last byte of its log.
    pub master_commit_log_max_offset: i64,
}

json_body!(answer: HaRuntimeInfo);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        decode_properties(text.as_bytes()).unwrap()
    }

    #[test]
    fn configuration_is_read_as_java_reads_it() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1\nb = 2 \r\n# c=3\n\n!d=4\n"), [pair("a", "1"), pair("b", "2")]);
        assert_eq!(read("path=c\\:\\\\x\\=y\nk:v=w"), [pair("path", "c:\\x=y"), pair("k", "v=w")]);
        assert_eq!(read("levels=1s \\\n   5s\nname"), [pair("levels", "1s 5s"), pair("name", "")]);
        assert_eq!(read("a=\\u0041\\n\\\\\nb=1"), [pair("a", "A\n\\"), pair("b", "1")]);
    }

    #[test]
    fn configuration_is_read_as_it_was_written() {
        let settings = [("brokerName", "broker-a"), ("messageDelayLevel", "1s 5s")];
        let body = encode_properties(settings);
        assert_eq!(body, b"brokerName=broker-a\nmessageDelayLevel=1s 5s\n");
        let read = decode_properties(&body).unwrap();
        assert_eq!(read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), settings);
    }

    #[test]
    fn beyond_a_limit_configuration_is_refused() {
        assert!(decode_properties(&[b'#'; REQUEST_BODY_SIZE_BYTES_MAX]).is_ok());
        assert!(decode_properties(&[b'#'; REQUEST_BODY_SIZE_BYTES_MAX + 1]).is_err());
        assert!(decode_properties("a\n".repeat(BODY_LIST_COUNT_MAX).as_bytes()).is_ok());
        assert!(decode_properties("a\n".repeat(BODY_LIST_COUNT_MAX + 1).as_bytes()).is_err());
        assert!(decode_properties(b"a=\xff").is_err());
    }
}
