//! RingMQ's client for Rust applications: send messages, receive them, administer topics.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use ringmq_client::{OutgoingMessage, Producer, ProducerConfig, PullConsumer, PullConsumerConfig, Start};
//!
//! # async fn example() -> ringmq_client::Result<()> {
//! let name_servers = "127.0.0.1:9876".to_owned();
//! let producer = Producer::start(ProducerConfig { name_servers: name_servers.clone(), ..Default::default() })?;
//! let receipt = producer.send(OutgoingMessage::new("orders", "ten apples").tag("fruit").key("order-17")).await?;
//! println!("stored at offset {} of queue {}", receipt.queue_offset, receipt.queue.queue_id);
//!
//! let config = PullConsumerConfig { name_servers, group: "kitchen".to_owned(), start: Start::First, ..Default::default() };
//! let consumer = PullConsumer::start(config)?;
//! consumer.assign(consumer.queues("orders").await?);
//! for message in consumer.poll(Duration::from_secs(5)).await? {
//!     println!("{:?}: {:?}", message.tag(), message.body);
//! }
//! consumer.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! * [`Producer`] spreads messages over all brokers (shards) that have the topic, retries and avoids slow ones.
//! * [`PullConsumer`] reads the queues that it is assigned, ahead of the application, and commits offsets for its group.
//! * [`Admin`] creates, deletes, lists and inspects topics; the program `ringmq-admin` is made of it.
//! * [`connection::Connection`] is the native protocol without a socket, for who brings an event loop of his own.
//!
//! Knows: name servers (remoting 105 and 106), routes, connections, retries, and the native protocol of brokers. Must
//! never know: how a broker stores anything, and any broker's name that a name server did not tell. Everything is bounded:
//! what a producer holds unacknowledged, what a consumer fetches ahead, what one connection has in flight. Errors say whose
//! fault they are ([`Error::kind`]).

pub mod admin;
mod cluster;
pub mod compression;
pub mod connection;
pub mod consumer;
pub mod error;
mod fault;
pub mod group;
mod link;
mod message;
mod name_server;
mod namespace;
mod outgoing;
pub mod producer;
pub mod push;
pub mod remoting;
pub mod request_reply;
mod trace;
pub mod transaction;
mod unique;
#[doc(hidden)]
pub mod untrusted;

pub use admin::Admin;
pub use cluster::Broker;
pub use compression::{Compression, CompressionKind};
pub use consumer::{PullConsumer, PullConsumerConfig, Start};
pub use error::{Error, ErrorKind, Result};
pub use group::{Filter, MessageModel, Rooms, Strategy};
pub use message::{Message, MessageQueue};
pub use outgoing::{InvalidMessage, OutgoingMessage};
pub use producer::{Dialect, PendingSend, Producer, ProducerConfig, SendReceipt};
pub use push::{Consumed, ConsumedInOrder, Listener, PushConsumer, PushConsumerConfig};
pub use request_reply::{Requester, reply_to};
pub use ringmq_tls::{ClientTls, Identity, Trust};
pub use transaction::{TransactionProducer, TransactionState};
