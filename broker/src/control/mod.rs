//! The control plane of a process: messages between its shards, and the operations thread. Never on the way of a send or a
//! pull.
//!
//! ```text
//! shard (its executor) ── Event ──►  operations thread (tokio) ──► name servers, /metrics, /healthz, /readyz
//!        ▲                               │ siblings, registration
//!        └────────── Mail ───────────────┘
//! ```
//!
//! * [`hub`]: the mailboxes. * [`handovers`]: answers for askers of another shard. * [`siblings`]: which shard has to hear of which topic. * [`registration`]: what name servers are
//!   told, [`namesrv`] who tells them, [`registered`] who waits for it. * [`operations`]: the thread. * [`http`] and
//!   [`metrics`]: its port.

pub mod handovers;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod namesrv;
pub mod operations;
pub mod registered;
pub mod registration;
pub mod siblings;
#[cfg(test)]
mod tests;
