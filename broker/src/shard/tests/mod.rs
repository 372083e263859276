//! The shard driven through `step`, with a real store on a disk in memory.

mod administration;
mod bad_input;
mod bounds;
mod figures;
mod later;
mod offsets;
mod pulls;
mod questions;
mod remoting;
mod sends;
mod stops;
mod topics;
mod transactions;
mod world;
