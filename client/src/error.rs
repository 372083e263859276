//! Everything that can go wrong for an application, by whose fault it is and whether to try again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_tls::TlsError;

use crate::connection::{ConnectionError, RequestError};
use crate::outgoing::InvalidMessage;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong, and wrong again when repeated.
    Reject,
    /// The other side cannot do it now: repeat it later or elsewhere. What was sent may or may not have been done.
    Unavailable,
    /// Bytes that were delivered are damaged; what lies beside them can still be had.
    Damaged,
    /// The other side breaks the protocol, or this client was closed: repeating does not help.
    Fatal,
}

/// What went wrong. Cheap to clone: one failed connection fails many requests.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message was not sent, because no broker would take it.
    #[error("the message cannot be sent: {0}")]
    Invalid(#[from] InvalidMessage),
    /// A configuration or an argument that cannot be used.
    #[error("{0}")]
    Argument(&'static str),
    /// Certificates or keys that cannot be used.
    #[error("TLS: {0}")]
    Tls(Arc<TlsError>),
    /// A broker answered with a code other than success.
    #[error("{address} answered with code {code}: {remark}")]
    Refused {
        /// RocketMQ's response code.
        code: Code,
        /// The broker's one sentence.
        remark: String,
        /// Who answered.
        address: Arc<str>,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: Arc<str>,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The connection ended while the request was on its way: it may or may not have been carried out.
    #[error("the connection to {address} ended: {source}")]
    Disconnected {
        /// Where to.
        address: Arc<str>,
        /// The system's answer; `UnexpectedEof` when the other side closed it.
        source: Arc<io::Error>,
    },
    /// No answer in time: the request may or may not have been carried out.
    #[error("no answer to {what} within {} ms", after.as_millis())]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited, retries included.
        after: Duration,
    },
    /// No name server knows a broker that has the topic (with the permission that is needed).
    #[error("no broker has topic {topic}: {remark}")]
    NoRoute {
        /// The topic.
        topic: String,
        /// What the name server says.
        remark: String,
    },
    /// None of the name servers gave a usable answer; the last one's error.
    #[error("no name server of {addresses} answers: {last}")]
    NameServers {
        /// Those that were asked.
        addresses: Arc<str>,
        /// The last one's error.
        #[source]
        last: Box<Error>,
    },
    /// More is waiting already than this client was configured to hold. Wait for earlier sends.
    #[error("{what} is at its limit: {limit}")]
    Full {
        /// What is full.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The request is beyond the limits that the broker states.
    #[error("{address} does not take this: {source}")]
    BeyondLimits {
        /// Who.
        address: Arc<str>,
        /// Which limit.
        source: RequestError,
    },
    /// A broker's answer that decodes and makes no sense.
    #[error("{address} gave {what}")]
    BadReply {
        /// Who.
        address: Arc<str>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A record that was delivered does not decode.
    #[error("damaged record in queue {queue_id} of {topic}: {source}")]
    Damaged {
        /// The topic.
        topic: String,
        /// Its queue.
        queue_id: u32,
        /// What is wrong with it.
        source: ringmq_proto::error::DecodeError,
    },
    /// The other side breaks the protocol. The connection was closed.
    #[error("{address} breaks the protocol: {source}")]
    Protocol {
        /// Who.
        address: Arc<str>,
        /// How.
        source: ConnectionError,
    },
    /// The other side breaks RocketMQ's protocol. The connection was closed.
    #[error("{address} breaks the protocol: {source}")]
    RemotingProtocol {
        /// Who.
        address: Arc<str>,
        /// How.
        source: crate::remoting::ProtocolError,
    },
    /// A name server's answer does not decode.
    #[error("name server {address} gave an answer that cannot be read: {reason}")]
    BadRoute {
        /// Who.
        address: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The producer or consumer was closed.
    #[error("the client was closed")]
    Closed,
}

impl Error {
    /// Whose fault it is, and with it whether to try again.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Argument(_) | Self::Tls(_) | Self::BeyondLimits { .. } => ErrorKind::Reject,
            Self::Refused { code, .. } => kind_of_code(*code),
            Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::Timeout { .. }
            | Self::NoRoute { .. }
            | Self::NameServers { .. }
            | Self::Full { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Protocol { .. }
            | Self::RemotingProtocol { .. }
            | Self::BadReply { .. }
            | Self::BadRoute { .. }
            | Self::Closed => ErrorKind::Fatal,
        }
    }

    /// The broker's code, when a broker answered.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether a producer should try the same message on another broker: RocketMQ's rule per response code, and every
    /// failure of a connection.
    pub(crate) const fn retry_on_another_broker(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_retried_elsewhere(*code),
            Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::Protocol { .. }
            | Self::RemotingProtocol { .. } => true,
            _ => false,
        }
    }
}

/// The codes after which RocketMQ's producer goes to another broker: 17, 14, 1, 2 (since 5.x), 16, 204, 205, 1500.
const fn is_retried_elsewhere(code: Code) -> bool {
    matches!(
        code,
        Code::TOPIC_NOT_EXIST
            | Code::SERVICE_NOT_AVAILABLE
            | Code::SYSTEM_ERROR
            | Code::SYSTEM_BUSY
            | Code::NO_PERMISSION
            | Code::NO_BUYER_ID
            | Code::NOT_IN_CURRENT_UNIT
            | Code::GO_AWAY
    )
}

const fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::SYSTEM_ERROR
        | Code::SYSTEM_BUSY
        | Code::FLUSH_DISK_TIMEOUT
        | Code::SLAVE_NOT_AVAILABLE
        | Code::FLUSH_SLAVE_TIMEOUT
        | Code::SERVICE_NOT_AVAILABLE
        | Code::FLOW_CONTROL
        | Code::NOT_LEADER_FOR_QUEUE
        | Code::GO_AWAY => ErrorKind::Unavailable,
        _ => ErrorKind::Reject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Error {
        Error::Refused { code: Code::new(code), remark: String::new(), address: "127.0.0.1:1".into() }
    }

    #[test]
    fn another_broker_is_tried_after_exactly_rocketmqs_codes() {
        let retried: Vec<u16> = (0..2_000).filter(|code| refused(*code).retry_on_another_broker()).collect();
        assert_eq!(retried, [1, 2, 14, 16, 17, 204, 205, 1500]);
    }

    #[test]
    fn an_illegal_message_is_the_applications_fault_and_a_busy_broker_is_not() {
        assert_eq!(refused(13).kind(), ErrorKind::Reject);
        assert_eq!(refused(29).kind(), ErrorKind::Reject);
        assert_eq!(refused(2).kind(), ErrorKind::Unavailable);
        assert_eq!(refused(14).kind(), ErrorKind::Unavailable);
    }
}
