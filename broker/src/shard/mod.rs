//! The shard: connections, requests, long polls, acknowledgements. A state machine that owns its store.
//!
//! A driver (the server, the simulator, a test) holds it like this:
//!
//! ```text
//! Shard::new(store: Store, settings: Settings, now: Now) -> Shard
//! shard.step(now, input: Input<'_>, fx: &mut Effects)              one input; carry out fx after one or more steps, then empty it
//! shard.take_output(connection, &mut Output)                       for each of fx.output: appends the chunks to send, in order
//! shard.recycle(buffer: Vec<u8>)                                   optional: gives an owned chunk's memory back once sent
//! shard.metrics() -> &Metrics      shard.store() -> &Store         for the operations thread, by a copy
//! ```
//!
//! Bytes are taken and sent in turns: a connection is in `fx.output` once; after `take_output` and the sending of all of
//! it the driver gives `Input::Drained`, and only then is the connection in `fx.output` again. A connection in `fx.close`
//! is offered its output once (if it is in `fx.output` too), closed, and reported with `Input::Closed`.
pub mod io;
pub mod limits;
pub mod settings;
