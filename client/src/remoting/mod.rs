//! RocketMQ's own protocol, as RingMQ's brokers and Apache RocketMQ's speak it alike: the connection without a socket
//! ([`Connection`], which loadgen drives too).

pub mod connection;

pub use connection::{BrokerRequest, Connection, Event, ProtocolError, ReplyTo, Response};
