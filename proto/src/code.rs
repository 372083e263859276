//! RocketMQ's response codes, shared by both dialects.
//!
//! The numbers are RocketMQ's and never change; a client decides by them whether to retry, to go to another broker or to
//! give up, so each says here what clients make of it.

use std::fmt;

/// How a request ended. Remoting carries it as a decimal i32, native as a u16.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// RocketMQ's name of the code, when it is one of those that RingMQ knows.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        const ALL: &[(Code, u16)] = &[$((Code::$name, $value),)*];
    };
}

codes! {
    /// Done as asked.
    SUCCESS = 0;
    /// Something failed that the client cannot help. Producers retry on another broker.
    SYSTEM_ERROR = 1;
    /// Overloaded. Producers since 5.x retry on another broker.
    SYSTEM_BUSY = 2;
    /// The request's code is not known here.
    REQUEST_CODE_NOT_SUPPORTED = 3;
    /// A transaction could not be ended.
    TRANSACTION_FAILED = 4;
    /// Stored, but not known to be on disk in time. A success with a degraded status.
    FLUSH_DISK_TIMEOUT = 10;
    /// Stored, but no replica was there to copy it. A success with a degraded status.
    SLAVE_NOT_AVAILABLE = 11;
    /// Stored, but not copied to a replica in time. A success with a degraded status.
    FLUSH_SLAVE_TIMEOUT = 12;
    /// The message breaks a limit or a rule. Producers throw at once.
    MESSAGE_ILLEGAL = 13;
    /// Not serving (disk full, a slave, stopping). Producers retry on another broker.
    SERVICE_NOT_AVAILABLE = 14;
    /// The request's version is not spoken here.
    VERSION_NOT_SUPPORTED = 15;
    /// Not allowed here. Producers retry on another broker.
    NO_PERMISSION = 16;
    /// No such topic here. Producers retry on another broker.
    TOPIC_NOT_EXIST = 17;
    /// The topic is there already.
    TOPIC_EXIST_ALREADY = 18;
    /// A pull found nothing (yet). Consumers pull again.
    PULL_NOT_FOUND = 19;
    /// A pull found nothing that passed the filter. Consumers pull again at once, from the next offset.
    PULL_RETRY_IMMEDIATELY = 20;
    /// A pull asked outside of the queue. Consumers go on at the corrected offset.
    PULL_OFFSET_MOVED = 21;
    /// A query (offset, message, key) found nothing.
    QUERY_NOT_FOUND = 22;
    /// The subscription's expression cannot be parsed.
    SUBSCRIPTION_PARSE_FAILED = 23;
    /// The group's subscription is not known: its heartbeat has not been seen.
    SUBSCRIPTION_NOT_EXIST = 24;
    /// The subscription known here is older than the consumer's.
    SUBSCRIPTION_NOT_LATEST = 25;
    /// No such consumer group.
    SUBSCRIPTION_GROUP_NOT_EXIST = 26;
    /// The filter of a consumer is not known.
    FILTER_DATA_NOT_EXIST = 27;
    /// The filter known here is older than the consumer's.
    FILTER_DATA_NOT_LATEST = 28;
    /// A field of the request is out of range.
    INVALID_PARAMETER = 29;
    /// A transaction should be committed.
    TRANSACTION_SHOULD_COMMIT = 200;
    /// A transaction should be rolled back.
    TRANSACTION_SHOULD_ROLLBACK = 201;
    /// The state of a transaction is not known.
    TRANSACTION_STATE_UNKNOW = 202;
    /// The group of a transaction does not match.
    TRANSACTION_STATE_GROUP_WRONG = 203;
    /// The request carries no buyer id.
    NO_BUYER_ID = 204;
    /// The unit is another one.
    NOT_IN_CURRENT_UNIT = 205;
    /// No consumer of the group is connected.
    CONSUMER_NOT_ONLINE = 206;
    /// A message was not consumed in time.
    CONSUME_MSG_TIMEOUT = 207;
    /// No such message (acknowledgement of a pop).
    NO_MESSAGE = 208;
    /// Too many pops wait already.
    POLLING_FULL = 209;
    /// A pop waited and found nothing.
    POLLING_TIMEOUT = 210;
    /// No such broker.
    BROKER_NOT_EXIST = 211;
    /// The broker has not yet indexed what it stored.
    BROKER_DISPATCH_NOT_COMPLETE = 212;
    /// The group consumes by broadcasting: this makes no sense for it.
    BROADCAST_CONSUMPTION = 213;
    /// Slow down. Consumers pull again after 20 ms.
    FLOW_CONTROL = 215;
    /// Another replica leads this queue.
    NOT_LEADER_FOR_QUEUE = 501;
    /// The operation is not allowed in this state.
    ILLEGAL_OPERATION = 604;
    /// The broker is draining: 5.x clients reconnect and ask again.
    GO_AWAY = 1500;
    /// Controller: the master's epoch is an old one.
    CONTROLLER_FENCED_MASTER_EPOCH = 2000;
    /// Controller: the epoch of the replicas in sync is an old one.
    CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001;
    /// Controller: this broker is not the master.
    CONTROLLER_INVALID_MASTER = 2002;
    /// Controller: these replicas are not in the group.
    CONTROLLER_INVALID_REPLICAS = 2003;
    /// Controller: there is no master.
    CONTROLLER_MASTER_NOT_AVAILABLE = 2004;
    /// Controller: the request cannot be carried out.
    CONTROLLER_INVALID_REQUEST = 2005;
    /// Controller: the broker is not alive.
    CONTROLLER_BROKER_NOT_ALIVE = 2006;
    /// Controller: another controller leads.
    CONTROLLER_NOT_LEADER = 2007;
    /// Controller: the group is not known.
    CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008;
    /// Controller: the data to clean is wrong.
    CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009;
    /// Controller: the broker must register first.
    CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010;
    /// Controller: there is a master already.
    CONTROLLER_MASTER_STILL_EXIST = 2011;
    /// Controller: no master could be chosen.
    CONTROLLER_ELECT_MASTER_FAILED = 2012;
    /// Controller: the replicas in sync could not be changed.
    CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013;
    /// Controller: the broker id is taken or wrong.
    CONTROLLER_BROKER_ID_INVALID = 2014;
    /// Controller: its consensus failed.
    CONTROLLER_JRAFT_INTERNAL_ERROR = 2015;
    /// Controller: no sign of life of the broker is known.
    CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016;
    /// No such user.
    USER_NOT_EXIST = 3001;
    /// No such access policy.
    POLICY_NOT_EXIST = 3002;
}

impl Code {
    /// Names the code `value`, known or not.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The bare number, as native carries it.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number as remoting carries it.
    pub const fn as_i32(self) -> i32 {
        self.0 as i32
    }

    /// Whether the request did what it asked for: 0, and the degraded successes of a send (10, 11, 12).
    pub const fn is_stored(self) -> bool {
        matches!(self, Self::SUCCESS | Self::FLUSH_DISK_TIMEOUT | Self::SLAVE_NOT_AVAILABLE | Self::FLUSH_SLAVE_TIMEOUT)
    }

    /// Whether it is one of the codes of a pull that was carried out: 0, 19, 20, 21.
    pub const fn is_pull_result(self) -> bool {
        matches!(self, Self::SUCCESS | Self::PULL_NOT_FOUND | Self::PULL_RETRY_IMMEDIATELY | Self::PULL_OFFSET_MOVED)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_named_once_and_keeps_its_number() {
        for (index, (code, value)) in ALL.iter().enumerate() {
            assert_eq!(code.get(), *value);
            assert!(code.name().is_some());
            assert!(ALL[..index].iter().all(|(earlier, _)| earlier < code), "{code} is out of order or twice");
        }
        assert_eq!(Code::new(9_999).name(), None);
        assert_eq!(Code::new(9_999).to_string(), "9999");
        assert_eq!(Code::TOPIC_NOT_EXIST.to_string(), "17 TOPIC_NOT_EXIST");
    }

    #[test]
    fn degraded_sends_count_as_stored() {
        assert!([0, 10, 11, 12].into_iter().all(|value| Code::new(value).is_stored()));
        assert!(![1, 2, 13, 14, 17, 19].into_iter().any(|value| Code::new(value).is_stored()));
    }
}
