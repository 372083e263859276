//! The judge of histories: nothing acknowledged is lost, nothing appears that nobody sent, offsets are dense and never
//! name two messages.
//!
//! The crate knows what was *sent*, what was *answered* and what was *read*, and nothing about how a broker works; it has no
//! dependency, so that it cannot share a mistake with what it judges. It does no I/O, reads no clock, draws no random
//! number. It must never learn about segments, commits or frames.
//!
//! * [`identity`]: ten bytes by which a message is known again, and a filler that makes every further byte checkable.
//! * [`Judge`]: small histories with every kind of event (the simulator, process and disk torture). Reusable without
//!   allocation, linear in the number of events, told event by event.
//! * [`compact`]: hundreds of millions of messages at two bits and a little each (the load generator).
//! * [`RollingHash`]: H(n) = hash(H(n−1), message), to compare whole queues by one number.
//!
//! What is reported is an [`Anomaly`]; [`AnomalyKind`] says in words what each one means. Every kind has a planted bad
//! history in `tests/` that must be reported, else the judge proves nothing.

mod anomaly;
mod chain;
pub mod compact;
pub mod identity;
mod judge;

pub use anomaly::{Anomalies, Anomaly, AnomalyKind};
pub use chain::RollingHash;
pub use identity::{MessageId, RunSeed};
pub use judge::{Content, Judge, Outcome, Polled, QueueIndex, Rules};
