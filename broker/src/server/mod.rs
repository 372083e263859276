//! The broker process: what the operator chose, the executors with their shards, and their beginning and end.
//!
//! ```text
//! Embedded::start(Config) -> Result<Embedded, StartError>    recovered, bound, registered (or 3 s waited for it)
//!   .shards() -> &[ShardAddress { name, address, advertised }]    the real ports, in order of shards
//!   .wait() -> Ended        .stop() -> clean stop, joined      .kill() -> no clean stop, as if the process had been killed
//! ```
//! The threads of the executors are named `shard-K`, K being the first of their shards.

pub mod config;
pub mod settings;
pub mod units;
