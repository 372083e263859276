//! Timed messages (5.x): RECALL_MESSAGE (370) takes one back, by the handle that its send was answered with.
//!
//! ```text
//! handle = base64url( "v1 topic brokerName deliverTimeMs uniqueKey" )
//! ```

use super::BodyError;
use super::base64url;
use super::ext::ext_header;
use crate::limits::{LONG_NAME_SIZE_BYTES_MAX, RECALL_HANDLE_SIZE_BYTES_MAX};

ext_header! {
    /// RECALL_MESSAGE (370). Answered with [`RecallReply`], 16 when recalling is off, 604 for a handle that is none or whose
    /// time has come.
    pub struct RecallMessage<'a> {
        /// Name of the producer's group.
        producer_group: Option<&'a str> = "producerGroup",
        /// Name of the topic.
        topic: &'a str = "topic",
        /// See [`RecallHandle`].
        recall_handle: &'a str = "recallHandle",
    }
}

ext_header! {
    /// The answer to 370.
    pub struct RecallReply<'a> {
        /// The message's unique id.
        msg_id: &'a str = "msgId",
    }
}

/// What names a timed message to its producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    /// Name of the topic.
    pub topic: String,
    /// Name of the broker that keeps it.
    pub broker_name: String,
    /// When it is delivered, wall time in ms.
    pub deliver_time_ms: i64,
    /// Its unique id.
    pub unique_key: String,
}

const HANDLE_VERSION: &str = "v1";

impl RecallHandle {
    /// The handle as text.
    pub fn encode(&self) -> String {
        let Self { topic, broker_name, deliver_time_ms, unique_key } = self;
        base64url::encode(format!("{HANDLE_VERSION} {topic} {broker_name} {deliver_time_ms} {unique_key}").as_bytes())
    }

    /// Reads a handle; what follows its five parts is left alone, as in RocketMQ.
    ///
    /// # Errors
    /// In RocketMQ's words, for text that is no handle of this version.
    pub fn decode(handle: &str) -> Result<Self, BodyError> {
        const BAD: BodyError = BodyError::Content("a recall handle that is invalid");
        if handle.len() > RECALL_HANDLE_SIZE_BYTES_MAX {
            return Err(BAD);
        }
        let text = String::from_utf8(base64url::decode(handle).ok_or(BAD)?).map_err(|_| BAD)?;
        let mut parts = text.split(' ');
        let mut next = || parts.next().filter(|part| !part.is_empty() && part.len() <= LONG_NAME_SIZE_BYTES_MAX);
        if next() != Some(HANDLE_VERSION) {
            return Err(BAD);
        }
        Ok(Self {
            topic: next().ok_or(BAD)?.to_owned(),
            broker_name: next().ok_or(BAD)?.to_owned(),
            deliver_time_ms: next().and_then(|time| time.parse().ok()).ok_or(BAD)?,
            unique_key: next().ok_or(BAD)?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `base64` of coreutils, its alphabet changed.
    #[test]
    fn a_handle_is_the_documented_text() {
        let handle = RecallHandle {
            topic: "TopicT".into(),
            broker_name: "broker-a".into(),
            deliver_time_ms: 1_795_218_652_421,
            unique_key: "C00002027F035FFD2B2766F6D5050000".into(),
        };
        let text = "djEgVG9waWNUIGJyb2tlci1hIDE3OTUyMTg2NTI0MjEgQzAwMDAyMDI3RjAzNUZGRDJCMjc2NkY2RDUwNTAwMDA=";
        assert_eq!(handle.encode(), text);
        assert_eq!(RecallHandle::decode(text).unwrap(), handle);
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let refused = |text: &str| RecallHandle::decode(&base64url::encode(text.as_bytes())).is_err();
        assert!(refused("v2 T b 1 k") && refused("v1 T b 1") && refused("v1 T b x k") && refused("v1  b 1 k"));
        assert!(!refused("v1 T b 1 k"));
        assert!(RecallHandle::decode("?").is_err() && RecallHandle::decode("").is_err());
    }

    #[test]
    fn recall_handle_size_bytes_max() {
        let with_rest = |size: usize| base64url::encode(format!("{:size$}", "v1 T b 1 k ").as_bytes());
        let size = RECALL_HANDLE_SIZE_BYTES_MAX / 4 * 3;
        assert!(RecallHandle::decode(&with_rest(size)).is_ok());
        assert!(RecallHandle::decode(&with_rest(size + 1)).is_err());
    }
}
