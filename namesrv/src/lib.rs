//! RingMQ's name server: which brokers live, and which topics they have.
//!
//! Its routes are stateless: all that it knows of them comes from brokers, which register every 30 s with every name server,
//! and is forgotten when they fall silent or their connection closes. Only the key-value configuration is kept in a file. Name
//! servers do not know each other; several stand side by side. It speaks RocketMQ's remoting protocol only, to brokers and
//! clients of both dialects, RocketMQ's own included.
//!
//! [`state`] is all that is known ([`registry`]: routes, [`kv`]: configuration, [`options`]), and [`requests`] turns a request
//! into its answer: none of them knows a socket, a clock or a file. [`server`] is the rest, on tokio. It must never know: a
//! message, a log.

mod connection;
pub mod kv;
mod kv_file;
pub mod limits;
pub mod options;
pub mod registry;
pub mod requests;
pub mod server;
pub mod state;
pub mod stats;
mod thread;

pub use server::{Config, Server, StartError};
pub use stats::StatsSnapshot;
pub use thread::{Handle, spawn_thread};
