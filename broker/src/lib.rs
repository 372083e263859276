//! RingMQ's broker. A shard is a complete broker: its port, its connections, its queues, its commit log.
//!
//! * [`disk`], `net`: the seams and their drivers. All `unsafe` of the project is under `disk`.
//! * [`store`]: the commit log, the queue index, recovery. A state machine: it reads no clock, draws no random number,
//!   opens no file and no socket.
//! * [`shard`]: connections, requests, long polls, acknowledgements; owns its store. A state machine too.
//! * `control`, `server`: executors, listeners, the operations thread.

pub mod control;
pub mod disk;
pub mod mutant;
pub mod net;
pub mod now;
pub mod server;
pub mod shard;
pub mod store;
