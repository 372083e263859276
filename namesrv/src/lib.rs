//! RingMQ's name server: which brokers live, and which topics they have.
//!
//! It is stateless: all that it knows comes from brokers, which register every 30 s with every name server, and is forgotten
//! when they fall silent or their connection closes. Name servers do not know each other; several stand side by side. It
//! speaks RocketMQ's remoting protocol only, to brokers and clients of both dialects, RocketMQ's own included.
//!
//! [`registry`] holds the routes and [`requests`] turns a request into its answer: neither knows a socket or a clock.
//! [`server`] is the rest, on tokio. It must never know: a message, a log, a file.

mod connection;
pub mod limits;
pub mod registry;
pub mod requests;
pub mod server;
pub mod stats;
mod thread;

pub use server::{Config, Server};
pub use stats::StatsSnapshot;
pub use thread::{Handle, spawn_thread};
