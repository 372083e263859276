//! Whoever has a connection to the shard, whatever it speaks.

use super::ledger::Ledger;
use super::plan::Plan;
use crate::rng::Rng;
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::ConnectionId;
use ringmq_broker::store::Store;

/// A client, as the world sees it.
pub(super) trait Peer {
    /// Its number among the producers.
    fn producer(&self) -> u32;

    /// Its connection.
    fn connection(&self) -> Option<ConnectionId>;

    /// Bytes on their way to the shard.
    fn outgoing(&mut self) -> &mut Vec<u8>;

    /// There are such bytes.
    fn has_outgoing(&self) -> bool;

    /// Requests that wait.
    fn pending_count(&self) -> usize;

    /// What waits, for a report.
    fn describe_pending(&self) -> String;

    /// It may end its connection without leaving the books in doubt about a topic.
    fn may_leave(&self) -> bool;

    /// A connection is there: it greets.
    fn connect(&mut self, connection: ConnectionId);

    /// The connection is gone. Whatever waited has an unknown outcome.
    fn disconnect(&mut self, ledger: &mut Ledger);

    /// Bytes came from the shard, whose store is `store`.
    fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger, store: &Store, now: Now);

    /// Asks one thing that the seed chooses.
    fn act(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now);
}
