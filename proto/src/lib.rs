//! RingMQ's bytes: everything that is on the wire, and the payloads that the wire shares with the log.
//!
//! Knows: the stored message (RocketMQ's layout), records and batch records, the native protocol, RocketMQ's remoting
//! protocol. Must never know: a socket, a clock, a file, a random number. Every decoder takes untrusted bytes: it
//! returns an error that says what is wrong, never panics, and never allocates by a length that the peer claims.

pub mod build_info;
pub mod code;
pub mod error;
pub mod first_bytes;
pub mod ids;
pub mod limits;
pub mod message;
pub mod native;
pub mod record;
pub mod remoting;
