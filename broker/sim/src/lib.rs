//! The simulated world of a RingMQ shard: a disk that tears, clients that speak the native protocol byte by byte, a
//! scheduler that a seed decides, and mutants that prove that the checker sees.
//!
//! The shard under test is the real one, with its real store: only what the driver does is played here. Every failure is
//! reproduced by its seed: `ringmq-sim replay --seed N`. Must never know: a clock, a thread, anything that the
//! seed does not decide (the command line runs histories on many threads, each history on one).

pub mod disk;
pub mod log;
pub mod rng;
pub mod runner;
pub mod scenario;
pub mod world;
