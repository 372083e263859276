//! The sockets of an executor's shards, and the loop that gives a shard its inputs and carries out its effects.
//!
//! ```text
//! bytes of a connection ─┐                         ┌─► disk operations ─► the executor's ring
//! completed operation ───┤                         ├─► output ─► the socket, at once
//! control message ───────┼─► Driver ─► step ─► fx ─┼─► close, pause, resume
//! turn, tick, stop ──────┘                         └─► turn, time, control
//! ```
//!
//! * [`driver`]: one shard, without any waiting: what happens in which order.
//! * [`plane`]: what an executor waits with for sockets, completions, time and messages: `by_ring` on its one ring,
//!   `by_glommio` with glommio's tasks.
//! * [`tls`]: what stands between socket and shard where a client speaks TLS; the shard knows plain bytes only.
//!
//! Everything of one executor happens on its thread. A connection that is silent costs its socket and little more, no buffer:
//! all connections are received into one.

mod buffer;
mod by_glommio;
mod by_ring;
pub mod clock;
mod connections;
pub mod driver;
pub mod listen;
pub mod plane;
mod socket;
#[cfg(test)]
mod tests;
pub mod tls;

use crate::now::Now;
use crate::shard::io::{ConnectionId, Effects, Input, Output};

/// What the driver drives: [`crate::shard`]'s shard, or a stand-in in tests and measurements.
pub trait StepMachine {
    /// Takes one input and adds to `fx` what it asks for.
    fn step(&mut self, now: Now, input: Input<'_>, fx: &mut Effects);

    /// Adds the chunks that a connection of `fx.output` has to send.
    fn take_output(&mut self, connection: ConnectionId, output: &mut Output);

    /// Gives the memory of a sent chunk back.
    fn recycle(&mut self, buffer: Vec<u8>);
}
