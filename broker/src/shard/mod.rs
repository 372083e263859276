//! The shard.
pub mod io;
