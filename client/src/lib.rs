//! RingMQ's client for Rust applications.

pub mod admin;
mod cluster;
pub mod connection;
pub mod consumer;
pub mod error;
mod fault;
mod link;
mod message;
mod name_server;
mod outgoing;
pub mod producer;

pub use admin::Admin;
pub use cluster::Broker;
pub use consumer::{PullConsumer, PullConsumerConfig, Start};
pub use error::{Error, ErrorKind, Result};
pub use message::{Message, MessageQueue};
pub use outgoing::{InvalidMessage, OutgoingMessage};
pub use producer::{PendingSend, Producer, ProducerConfig, SendReceipt};
