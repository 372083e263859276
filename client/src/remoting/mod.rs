//! RocketMQ's own protocol, as RingMQ's brokers and Apache RocketMQ's speak it alike: the connection without a socket
//! ([`Connection`], which loadgen drives too).

pub(crate) mod broker;
pub mod connection;
pub(crate) mod link;

pub use connection::{BrokerRequest, Connection, Event, ProtocolError, ReplyTo, Response};
