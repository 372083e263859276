//! Consumer groups, as RocketMQ has them: members say who they are by heartbeats, learn of each other from the brokers,
//! and each computes its share of the queues ([`rebalance`]). The group's progress is one offset a queue, kept by the
//! broker (clustering), or in a file of each member (broadcasting).
//!
//! Nobody decides: for some seconds after a change two members may read the same queue. Orderly consumers therefore lock
//! their queues with the brokers.

pub(crate) mod client_id;
pub(crate) mod member;
pub(crate) mod offsets;
pub mod rebalance;
pub(crate) mod subscription;

pub use rebalance::{Rooms, Strategy};
pub use ringmq_proto::remoting::heartbeat::MessageModel;
pub use subscription::Filter;
