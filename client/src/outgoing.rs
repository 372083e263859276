//! A message on its way to a broker: topic, body, and properties in RocketMQ's string form.

use bytes::Bytes;
use ringmq_proto::limits::{BODY_SIZE_BYTES_MAX, LONG_NAME_SIZE_BYTES_MAX, PROPERTIES_SIZE_BYTES_MAX};
use ringmq_proto::message::properties::{Properties, append_property, is_property, names};

/// Names that brokers and clients act on, refused as names of user properties as RocketMQ's Java client does.
const SYSTEM_NAMES: [&str; 53] = [
    "1ST_POP_TIME",
    "ARRIVE_TIME",
    "BORN_TIMESTAMP",
    "BUYER_ID",
    "CHECK_IMMUNITY_TIME_IN_SECONDS",
    "CLUSTER",
    "CONSUME_START_TIME",
    "CORRECTION_FLAG",
    "CORRELATION_ID",
    "DELAY",
    "DLQ_ORIGIN_MESSAGE_ID",
    "DLQ_ORIGIN_TOPIC",
    "DUP_INFO",
    "EXTEND_UNIQ_INFO",
    "INNER_BASE",
    "INNER_MULTI_DISPATCH",
    "INNER_MULTI_QUEUE_OFFSET",
    "INNER_NUM",
    "INSTANCE_ID",
    "KEYS",
    "MAX_OFFSET",
    "MAX_RECONSUME_TIMES",
    "MIN_OFFSET",
    "MQ2_FLAG",
    "MSG_REGION",
    "MSG_TYPE",
    "ORIGIN_MESSAGE_ID",
    "PGROUP",
    "POP_CK",
    "POP_CK_OFFSET",
    "PROPERTY_FORWARD_QUEUE_ID",
    "PUSH_REPLY_TIME",
    "REAL_QID",
    "REAL_TOPIC",
    "RECONSUME_TIME",
    "REDIRECT",
    "REPLY_TO_CLIENT",
    "RETRY_TOPIC",
    "TAGS",
    "TIMER_DELAY_LEVEL",
    "TIMER_DELAY_MS",
    "TIMER_DELAY_SEC",
    "TIMER_DELIVER_MS",
    "TIMER_DEL_UNIQKEY",
    "TRACE_CONTEXT",
    "TRACE_ON",
    "TRANSACTION_CHECK_TIMES",
    "TRANSFER_FLAG",
    "TRAN_MSG",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TTL",
    "UNIQ_KEY",
    "WAIT",
];

/// The value of MSG_TYPE of the reply to a request.
pub(crate) const REPLY: &[u8] = b"reply";

/// Why a message cannot be sent as it is. Found before anything leaves the client; the same message fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// The topic has no name, or one that no broker takes.
    #[error("a topic is 1 to {LONG_NAME_SIZE_BYTES_MAX} letters, digits, '%', '|', '-', '_': {0:?} is not")]
    Topic(String),
    /// The body is too large.
    #[error("the body has {size_bytes} bytes, more than {BODY_SIZE_BYTES_MAX}")]
    Body {
        /// Bytes of the body.
        size_bytes: usize,
    },
    /// All properties together are too large.
    #[error("the properties take {size_bytes} bytes, more than {PROPERTIES_SIZE_BYTES_MAX}")]
    Properties {
        /// Bytes of names, values and separators.
        size_bytes: usize,
    },
    /// A property's name or value is empty or holds a separator (the bytes 1 and 2).
    #[error("property {0:?}: names and values are not empty, names hold neither byte 1 nor byte 2, values not byte 2")]
    Property(String),
    /// The name means something to brokers.
    #[error("property name {0:?} is RocketMQ's own")]
    SystemName(String),
    /// A batch without messages, or with messages of several topics.
    #[error("a batch holds at least one message, all of one topic")]
    Batch,
}

/// A message to send.
///
/// ```
/// use ringmq_client::OutgoingMessage;
/// let message = OutgoingMessage::new("orders", "ten apples").tag("fruit").key("order-17").property("shop", "Lyon");
/// ```
///
/// What is wrong with a message is said when it is sent.
#[derive(Clone, Debug)]
pub struct OutgoingMessage {
    topic: String,
    properties: Vec<u8>,
    keys: String,
    body: Bytes,
    flag: i32,
    ordered_by: Option<String>,
    sys_flag: i32,
    reconsume_times: Option<i32>,
    max_reconsume_times: Option<i32>,
    invalid: Option<InvalidMessage>,
}

impl OutgoingMessage {
    /// A message with this body and no properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            properties: Vec::new(),
            keys: String::new(),
            body: body.into(),
            flag: 0,
            ordered_by: None,
            sys_flag: 0,
            reconsume_times: None,
            max_reconsume_times: None,
            invalid: None,
        }
    }

    /// The one tag that consumers filter by (property TAGS).
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.append(names::TAGS, tag);
        self
    }

    /// A key under which the message can be looked up (property KEYS). May be called several times; a key holds no space.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        if key.contains(' ') || !is_property(names::KEYS.as_bytes(), key.as_bytes()) {
            self.refuse(InvalidMessage::Property(format!("{}={key}", names::KEYS)));
        } else {
            if !self.keys.is_empty() {
                self.keys.push(' ');
            }
            self.keys.push_str(key);
        }
        self
    }

    /// A property of the application.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        if SYSTEM_NAMES.binary_search(&name).is_ok() || name.starts_with("__") {
            self.refuse(InvalidMessage::SystemName(name.to_owned()));
        } else {
            self.append(name, value);
        }
        self
    }

    /// The application's own 32 bits, stored and delivered as they are.
    #[must_use]
    pub const fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Messages with an equal key go to the same queue, in the order of sending as long as each send is awaited or
    /// enqueued in order. Such a message is never retried on another broker, since it would overtake or fall behind there.
    #[must_use]
    pub fn ordered_by(mut self, key: &str) -> Self {
        self.append(names::SHARDING_KEY, key);
        self.ordered_by = Some(key.to_owned());
        self
    }

    /// Delivered after one of RocketMQ's fixed delays: level 1 is 1 s, then 5 s, 10 s, 30 s, 1 to 10 minutes, 20 and 30
    /// minutes, 1 h, 2 h (18). A broker may have other ones configured; beyond the last one counts the last one.
    #[must_use]
    pub fn delay_level(self, level: u8) -> Self {
        self.system(names::DELAY, &level.to_string())
    }

    /// Delivered at `time_ms` (ms since 1970, by the broker's clock) and not before; at once when that is over. Brokers of
    /// RocketMQ can do it from 5.0 on, to the second.
    #[must_use]
    pub fn deliver_at(self, time_ms: u64) -> Self {
        self.system(names::TIMER_DELIVER_MS, &time_ms.to_string())
    }

    /// Delivered `delay` after the broker got it. As [`Self::deliver_at`].
    #[must_use]
    pub fn deliver_after(self, delay: std::time::Duration) -> Self {
        self.system(names::TIMER_DELAY_MS, &delay.as_millis().to_string())
    }

    /// Of a message in a transaction: how long its producer is given before it is asked, in whole seconds.
    #[must_use]
    pub fn check_immunity(self, time: std::time::Duration) -> Self {
        self.system(names::CHECK_IMMUNITY_TIME_IN_SECONDS, &time.as_secs().to_string())
    }

    /// A property that means something to brokers.
    pub(crate) fn system(mut self, name: &str, value: &str) -> Self {
        self.append(name, value);
        self
    }

    /// Bits of RocketMQ's sysFlag.
    pub(crate) const fn sys_flag(mut self, bits: i32) -> Self {
        self.sys_flag |= bits;
        self
    }

    /// Of a message that goes to a %RETRY% topic: how often it was consumed in vain, and how often that may be.
    pub(crate) const fn reconsumed(mut self, times: i32, times_max: i32) -> Self {
        (self.reconsume_times, self.max_reconsume_times) = (Some(times), Some(times_max));
        self
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    fn append(&mut self, name: &str, value: &str) {
        if !is_property(name.as_bytes(), value.as_bytes()) {
            return self.refuse(InvalidMessage::Property(format!("{name}={value}")));
        }
        append_property(&mut self.properties, name.as_bytes(), value.as_bytes());
    }

    fn refuse(&mut self, invalid: InvalidMessage) {
        self.invalid.get_or_insert(invalid);
    }

    /// Checks the message and gives its parts.
    pub(crate) fn into_parts(mut self) -> Result<Parts, InvalidMessage> {
        if let Some(invalid) = self.invalid {
            return Err(invalid);
        }
        check_topic(&self.topic)?;
        if self.body.len() > BODY_SIZE_BYTES_MAX {
            return Err(InvalidMessage::Body { size_bytes: self.body.len() });
        }
        if !self.keys.is_empty() {
            append_property(&mut self.properties, names::KEYS.as_bytes(), self.keys.as_bytes());
        }
        if self.properties.len() > PROPERTIES_SIZE_BYTES_MAX {
            return Err(InvalidMessage::Properties { size_bytes: self.properties.len() });
        }
        Ok(Parts {
            topic: self.topic,
            properties: self.properties.into(),
            body: self.body,
            flag: self.flag,
            ordered_by: self.ordered_by,
            sys_flag: self.sys_flag,
            reconsume_times: self.reconsume_times,
            max_reconsume_times: self.max_reconsume_times,
        })
    }
}

/// A checked message.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) topic: String,
    pub(crate) properties: Bytes,
    pub(crate) body: Bytes,
    pub(crate) flag: i32,
    pub(crate) ordered_by: Option<String>,
    pub(crate) sys_flag: i32,
    pub(crate) reconsume_times: Option<i32>,
    pub(crate) max_reconsume_times: Option<i32>,
}

impl Parts {
    /// Whether it is named already.
    pub(crate) fn has_unique_id(&self) -> bool {
        Properties::new(&self.properties).get(names::UNIQ_KEY).is_some()
    }

    /// Whether it is the reply to a request.
    pub(crate) fn is_reply(&self) -> bool {
        Properties::new(&self.properties).get(names::MSG_TYPE) == Some(REPLY)
    }

    /// Adds a property that means something to brokers.
    pub(crate) fn append(&mut self, name: &str, value: &str) {
        let mut properties = std::mem::take(&mut self.properties).to_vec();
        append_property(&mut properties, name.as_bytes(), value.as_bytes());
        self.properties = properties.into();
    }
}

/// Refuses names that no broker takes. A broker may still refuse a longer one than it allows for ordinary topics.
pub(crate) fn check_topic(topic: &str) -> Result<(), InvalidMessage> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'-' | b'_');
    if topic.is_empty() || topic.len() > LONG_NAME_SIZE_BYTES_MAX || !topic.bytes().all(is_legal) {
        return Err(InvalidMessage::Topic(topic.chars().take(LONG_NAME_SIZE_BYTES_MAX).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_rocketmqs_string() {
        let message = OutgoingMessage::new("T", "body").tag("A").key("k1").property("shop", "Lyon").key("k2");
        let parts = message.into_parts().expect("valid");
        assert_eq!(&parts.properties[..], b"TAGS\x01A\x02shop\x01Lyon\x02KEYS\x01k1 k2");
    }

    #[test]
    fn what_would_forge_a_property_is_refused() {
        let forged = OutgoingMessage::new("T", "").property("a", "b\x02REAL_TOPIC\x01X");
        assert!(matches!(forged.into_parts(), Err(InvalidMessage::Property(_))));
        assert!(matches!(OutgoingMessage::new("T", "").key("a b").into_parts(), Err(InvalidMessage::Property(_))));
        for name in ["UNIQ_KEY", "DELAY", "__SHARDINGKEY"] {
            let message = OutgoingMessage::new("T", "").property(name, "x");
            assert_eq!(message.into_parts().err(), Some(InvalidMessage::SystemName(name.to_owned())));
        }
    }

    #[test]
    fn the_system_names_are_sorted_for_the_search() {
        assert!(SYSTEM_NAMES.is_sorted());
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused_before_sending() {
        let body = vec![0; BODY_SIZE_BYTES_MAX + 1];
        assert!(matches!(OutgoingMessage::new("T", body).into_parts(), Err(InvalidMessage::Body { .. })));
        let value = "v".repeat(PROPERTIES_SIZE_BYTES_MAX);
        let message = OutgoingMessage::new("T", "").property("p", &value);
        assert!(matches!(message.into_parts(), Err(InvalidMessage::Properties { .. })));
        for topic in ["", "a b", "ü", &"x".repeat(256)] {
            assert!(matches!(OutgoingMessage::new(topic, "").into_parts(), Err(InvalidMessage::Topic(_))), "{topic}");
        }
    }
}
