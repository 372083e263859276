//! What carries bytes, completed operations, time and messages to the shards of one executor, and their effects away.
//!
//! There are two, and the rest of the process does not notice which: `by_ring` waits for everything on the executor's one
//! ring and nowhere else; `by_glommio` has a glommio task for everything that is waited for. **In both a turn runs behind
//! everything that was ready when it was asked for**, so that what arrived together is committed together.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringmq_tls::ServerTls;

use super::driver::{Counts, Driver, Ended, Socket};
use super::{StepMachine, by_glommio, by_ring};
use crate::disk::ring::{RingDisk, ShardSlot};
use crate::now::Now;
use crate::shard::io::{ControlInput, ControlOutput, Input};

/// Bytes received from a connection before others have their turn; also the size of the one buffer of an executor.
pub(super) const RECEIVE_BYTES_MAX: usize = 256 << 10;

/// How long accepting rests when the process has no descriptor left.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The least time between two ticks, or two turns, that no input lies between, in nanoseconds.
pub(super) const REPEAT_NS_MIN: u64 = 100_000;

/// Between two snapshots of what the shards count.
pub(super) const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// A message from another thread.
#[derive(Debug)]
pub enum Mail {
    /// For the shard.
    Control(ControlInput),
    /// Stop the shard cleanly.
    Stop,
    /// End it at once, as if the process had been killed.
    Kill,
    /// Publish what is counted.
    Publish,
}

/// What an executor knows of the rest of the process. Shards are named by their place on this executor.
pub trait Outside<M> {
    /// Takes the messages for a shard. Whoever leaves one wakes the executor afterwards.
    fn mail(&self, shard: usize) -> Vec<Mail>;

    /// Passes on what a shard has to tell.
    fn control(&self, shard: usize, message: ControlOutput);

    /// Passes on what a shard has counted: each second, when asked, and at its end.
    fn publish(&self, shard: usize, machine: &M, counts: &Counts, connection_count: usize);

    /// A shard has ended.
    fn ended(&self, shard: usize, ended: &Ended);
}

/// A recovered shard with its sockets.
pub struct Start<M> {
    /// The shard.
    pub machine: M,
    /// Its files on the executor's ring.
    pub slot: ShardSlot,
    /// Where it is reached.
    pub listeners: Vec<TcpListener>,
    /// Connections at one time. When reached: a new one is closed.
    pub connection_count_max: usize,
    /// What it shows to clients of TLS; none: it has no TLS.
    pub tls: Option<Arc<ServerTls>>,
}

/// What an executor waits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// glommio, a task for each thing.
    Glommio,
    /// The disk's ring, one loop for all.
    Ring,
}

/// Serves until every shard has ended. To be called inside the executor that made `ring`.
///
/// # Errors
/// When the executor cannot wait for its ring.
pub async fn serve<M: StepMachine + 'static>(
    ring: RingDisk,
    starts: Vec<Start<M>>,
    outside: Rc<dyn Outside<M>>,
    receiving: Receiving,
) -> io::Result<()> {
    match receiving {
        Receiving::Ring if ring.can_sleep() => by_ring::serve(ring, starts, outside),
        _ => by_glommio::serve(ring, starts, outside).await,
    }
}

/// Gives a message of another thread to its shard.
pub(super) fn deliver<M: StepMachine, S: Socket>(
    mail: Mail,
    shard: usize,
    driver: &mut Driver<M, S>,
    now: Now,
    ring: &mut RingDisk,
    outside: &dyn Outside<M>,
) {
    match mail {
        Mail::Control(message) => driver.input(now, Input::Control(message), ring),
        Mail::Stop => driver.input(now, Input::Stop, ring),
        Mail::Kill => driver.end(Ended::Stopped),
        Mail::Publish => publish(shard, driver, outside),
    }
}

/// Publishes what a shard has counted, while it serves.
pub(super) fn publish<M: StepMachine, S: Socket>(shard: usize, driver: &Driver<M, S>, outside: &dyn Outside<M>) {
    if driver.ended().is_none() {
        outside.publish(shard, driver.machine(), &driver.counts(), driver.connection_count());
    }
}

/// Tells, once, that a shard has ended; true when it has.
pub(super) fn report_end<M: StepMachine, S: Socket>(
    shard: usize,
    driver: &Driver<M, S>,
    outside: &dyn Outside<M>,
    reported: &mut bool,
) -> bool {
    let Some(ended) = driver.ended().filter(|_| !std::mem::replace(reported, true)) else { return false };
    outside.publish(shard, driver.machine(), &driver.counts(), 0);
    outside.ended(shard, ended);
    true
}
