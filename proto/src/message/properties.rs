//! The properties string of a message: `name \x01 value \x02 name \x01 value [\x02]`.
//!
//! It is read as RocketMQ's Java client reads it: a pair without a name, without a value or without `\x01` is skipped;
//! the value may itself hold `\x01`; of a name that occurs twice the last one counts; the last `\x02` may be missing
//! (4.9 leaves it out, 5.x writes it).

/// Names of properties that a broker or a client acts on.
pub mod names {
    /// Space-separated keys that a message can be found by.
    pub const KEYS: &str = "KEYS";
    /// The tag that consumers filter by.
    pub const TAGS: &str = "TAGS";
    /// The id that the producer gave.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// `false`: the send need not wait until the message is promised.
    pub const WAIT: &str = "WAIT";
    /// The cluster that stored the message.
    pub const CLUSTER: &str = "CLUSTER";
    /// The region of the broker.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// Whether consumers trace the message.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// The delay level, 1 to 18.
    pub const DELAY: &str = "DELAY";
    /// The topic that a delayed or half message goes to in the end.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// The queue that a delayed or half message goes to in the end.
    pub const REAL_QID: &str = "REAL_QID";
    /// Seconds from now until delivery.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Milliseconds from now until delivery.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// When to deliver, in ms since 1970.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// When a timed message is to be delivered: the broker's own note of it.
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    /// When the broker took a timed message.
    pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
    /// When the broker delivered a timed message.
    pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
    /// Asks to cancel the timed message with this unique key.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// How often the producer of a half message was asked.
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    /// Seconds before the producer of a half message is asked for the first time.
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// The topic that a message to be retried came from.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// How often the client says that consumption failed.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    /// How often consumption may fail.
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// The id that a retried message had at first.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// `true`: a half message.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// The producer group of a half message.
    pub const PGROUP: &str = "PGROUP";
    /// Ties a request to its reply.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    /// The client that waits for a reply.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// When a reply was pushed to who asked, in ms.
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    /// `reply` in the reply to a request.
    pub const MSG_TYPE: &str = "MSG_TYPE";
    /// What a pop gave out; deleted from what clients send.
    pub const POP_CK: &str = "POP_CK";
    /// Keeps messages of one key in one queue.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
}

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Between two pairs.
pub const PROPERTY_SEPARATOR: u8 = 2;

/// A properties string, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Reads `bytes` as a properties string; anything is one.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The string as it is.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its pairs, name and value, in their order; a name may occur twice.
    pub fn iter(&self) -> Pairs<'a> {
        Pairs { rest: self.bytes }
    }

    /// The value of `name`: of the last such pair.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().filter(|(candidate, _)| *candidate == name.as_bytes()).last().map(|(_, value)| value)
    }

    /// The value of `name` when it is text.
    pub fn get_str(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether the producer does not want to wait until the message is promised.
    pub fn is_no_wait(&self) -> bool {
        self.get(names::WAIT).is_some_and(|value| value.eq_ignore_ascii_case(b"false"))
    }

    /// Appends all pairs but those named in `left_out` to `out`, without a separator at the end.
    pub fn append_without(&self, left_out: &[&str], out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            if left_out.iter().all(|candidate| candidate.as_bytes() != name) {
                append_property(out, name, value);
            }
        }
    }
}

/// Appends one pair to a properties string, after a separator when the string needs one.
///
/// A name with a separator in it, or a value with `\x02`, would be read as something else: who lets users choose these
/// checks with [`is_property`] first.
pub fn append_property(properties: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if properties.last().is_some_and(|last| *last != PROPERTY_SEPARATOR) {
        properties.push(PROPERTY_SEPARATOR);
    }
    properties.extend_from_slice(name);
    properties.push(NAME_VALUE_SEPARATOR);
    properties.extend_from_slice(value);
}

/// Whether a pair, once appended, is read as the same pair.
pub fn is_property(name: &[u8], value: &[u8]) -> bool {
    let is_separator = |byte: &u8| *byte == NAME_VALUE_SEPARATOR || *byte == PROPERTY_SEPARATOR;
    !name.is_empty() && !value.is_empty() && !name.iter().any(is_separator) && !value.contains(&PROPERTY_SEPARATOR)
}

/// See [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = match memchr::memchr(PROPERTY_SEPARATOR, self.rest) {
                Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
                None => (self.rest, [].as_slice()),
            };
            self.rest = rest;
            let Some(name_len) = memchr::memchr(NAME_VALUE_SEPARATOR, pair) else { continue };
            let (name, value) = (&pair[..name_len], &pair[name_len + 1..]);
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
        None
    }
}

impl std::iter::FusedIterator for Pairs<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_separator_is_optional() {
        for bytes in [b"a\x015\x02KEYS\x01K1 K2".as_slice(), b"a\x015\x02KEYS\x01K1 K2\x02"] {
            let properties = Properties::new(bytes);
            let pairs: Vec<_> = properties.iter().collect();
            assert_eq!(pairs, [(b"a".as_slice(), b"5".as_slice()), (b"KEYS", b"K1 K2")]);
            assert_eq!(properties.get_str(names::KEYS), Some("K1 K2"));
            assert_eq!(properties.get(names::TAGS), None);
        }
    }

    #[test]
    fn pairs_without_name_or_value_are_skipped() {
        let properties = Properties::new(b"\x02\x01v\x02n\x01\x02alone\x02a\x01b\x02\x02");
        assert_eq!(properties.iter().collect::<Vec<_>>(), [(b"a".as_slice(), b"b".as_slice())]);
    }

    #[test]
    fn the_last_of_two_counts_and_a_value_may_hold_the_inner_separator() {
        let properties = Properties::new(b"TAGS\x01A\x02TAGS\x01B\x01C");
        assert_eq!(properties.get(names::TAGS), Some(b"B\x01C".as_slice()));
    }

    #[test]
    fn appending_separates_with_or_without_a_separator_at_the_end() {
        for before in [b"a\x015".as_slice(), b"a\x015\x02"] {
            let mut bytes = before.to_vec();
            append_property(&mut bytes, b"CLUSTER", b"DefaultCluster");
            assert_eq!(bytes, b"a\x015\x02CLUSTER\x01DefaultCluster");
        }
        let mut bytes = Vec::new();
        append_property(&mut bytes, b"a", b"5");
        assert_eq!(bytes, b"a\x015");
    }

    #[test]
    fn broker_drops_wait_and_adds_cluster_as_rocketmq_does() {
        let mut stored = Vec::new();
        Properties::new(b"KEYS\x01K\x02WAIT\x01true\x02TAGS\x01TagA\x02").append_without(&[names::WAIT], &mut stored);
        append_property(&mut stored, names::CLUSTER.as_bytes(), b"DefaultCluster");
        assert_eq!(stored, b"KEYS\x01K\x02TAGS\x01TagA\x02CLUSTER\x01DefaultCluster");
    }

    #[test]
    fn only_an_explicit_false_is_no_wait() {
        assert!(Properties::new(b"WAIT\x01false\x02").is_no_wait());
        assert!(!Properties::new(b"WAIT\x01true\x02").is_no_wait());
        assert!(!Properties::new(b"").is_no_wait());
    }

    #[test]
    fn a_pair_that_would_be_read_otherwise_is_told() {
        assert!(is_property(b"a", b"b\x01c"));
        for (name, value) in [(b"".as_slice(), b"v".as_slice()), (b"n", b""), (b"n\x01", b"v"), (b"n", b"v\x02w")] {
            assert!(!is_property(name, value));
        }
    }
}
