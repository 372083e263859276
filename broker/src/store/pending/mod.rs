//! Pending messages: delayed and timed ones, and first halves of transactions. One mechanism for all.
//!
//! A pending message is an ordinary message record in a queue of a system topic (so that tools see it), followed in one
//! group by a state record PENDING that says when it is due. A state record SETTLED ends it:
//!
//! ```text
//! [message in a system queue][PENDING origin]           taken: a delayed send, a half message
//! [PENDING origin, next due, checks + 1]                a producer is asked about its half message
//! [message copy][PENDING origin, new position]          retention took the segment that it was in
//! [message in its real queue][SETTLED origin]           delivered, committed, or given up
//! [SETTLED origin]                                      rolled back, recalled, or lost
//! ```
//!
//! The *origin* is the position of the message as it was first stored. It names the pending message for ever, wherever a
//! copy of it lies: an END_TRANSACTION or a recall with an old position still resolves.
//!
//! **Exactly once.** A group is all or none, and what is pending changes only by applying confirmed records. What is
//! appended and not yet applied is remembered beside it ([`table`]), so that nothing is settled a second time meanwhile,
//! and retention does not say anew what is just being settled.
//!
//! Due times are wall-clock milliseconds: a clock that is set moves them with it, a restart does not.

mod append;
mod due;
mod halves;
mod owed;
mod read;
pub mod record;
pub mod table;

pub use append::NewPending;
pub(in crate::store) use due::OwedNext;
pub use due::{BEHIND_FACTOR, DUE_ENTRY_SIZE_BYTES, DueFound, DueLimits};
pub(super) use owed::Paid;
pub use read::PendingRead;
pub use record::{Pending, PendingKind, Settled, SettledBy};
pub use table::PendingCounts;
