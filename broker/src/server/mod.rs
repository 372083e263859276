//! The broker process: what the operator chose, the executors with their shards, and their beginning and end.
//!
//! ```text
//! Embedded::start(&Config) -> Result<Embedded, StartError>      recovered, bound, registered (or 3 s waited for it)
//!   .shards() -> &[ShardAddress { name, address, advertised }]  the real ports, in order of shards
//!   .wait() -> how each shard ended      .stopper().stop() from another thread
//!   .stop() -> clean stop, joined        .kill() -> no clean stop, as if the process had been killed
//! ```
//! The threads of the executors are named `shard-K`, K being the first of their shards; a configuration without `cores` has
//! one unpinned executor per shard.

pub mod check;
pub mod config;
mod embedded;
mod error;
mod executor;
pub mod logging;
mod machine;
pub mod settings;
mod snapshot;
pub mod units;

pub use embedded::{Embedded, ShardAddress};
pub use error::StartError;
