//! The generator's threads: each owns a poll, a timer and its connections, and shares nothing with the others but the counters.
//!
//! A [`Link`] is a socket with a sans-IO [`Wire`]; a [`Role`] decides what is said on it: [`producer`] or [`reader`]. One
//! receive gives the role all its events, then the role fills the output up to its window, then one write takes it away: two
//! system calls for as many messages as are in flight. In open loop the threads wake in ticks (`event_loop`).

mod event_loop;
mod link;
pub mod opener;
pub mod producer;
pub mod reader;
mod timer;
pub mod wire;

pub use event_loop::{Ended, EventLoop, Member, TICK};
pub use link::Link;
use wire::{Heard, Wire};

/// What is said on a connection.
pub trait Role {
    /// What all roles of a thread share.
    type Shared;

    /// One answer arrived at `now_ns`. An error ends the connection.
    fn hear(&mut self, shared: &mut Self::Shared, heard: Heard<'_>, now_ns: u64) -> Result<(), String>;

    /// Puts into the output what can be said now. An error ends the connection.
    fn pump(&mut self, shared: &mut Self::Shared, wire: &mut Wire, now_ns: u64) -> Result<(), String>;

    /// The connection is gone with everything that was unanswered; a fresh one follows.
    fn lost(&mut self, shared: &mut Self::Shared);

    /// When [`Role::pump`] has something to do by the time alone, nanoseconds of [`crate::clock`].
    fn due_ns(&self) -> Option<u64>;

    /// Whether there is nothing more to do.
    fn is_done(&self, shared: &Self::Shared) -> bool;
}
