//! The queue index: where each message of each queue lies in the log.
//!
//! One entry per record ([`IndexEntry`]): a message or a batch. Entries come in log order by [`Index::add`] and stay in
//! memory until a flush has written them into a *run*, a file of entries sorted by queue; runs are merged in the
//! background, so that the entries of one queue lie in few of them. A reader ([`Index::find`]) never waits: what is not in
//! memory comes through the shard's block cache, or the answer is [`Cold::NotYet`].
//!
//! Everything on disk is derived from the log and disposable: when it is damaged or missing, the store adds the entries
//! again. A state machine over the disk seam: it emits [`DiskOp`]s, takes [`Completion`]s, and never waits.

mod background;
pub(super) mod block;
mod checkpoint;
mod entry;
mod flush;
mod install;
mod merge;
mod open;
mod query;
mod rebuild;
mod recent;
mod run;
#[cfg(test)]
pub(in crate::store) mod tests;

use std::rc::Rc;

use ringmq_proto::ids::{Epoch, LogPosition, QueueId};

use crate::disk::{BlockPool, DiskError, OpId};
use background::Garbage;
use flush::{Flush, Stage};
use install::Installer;
use merge::Merge;
use rebuild::Rebuild;
use recent::RecentTable;
use run::Run;

pub use entry::{ENTRY_SIZE_BYTES, IndexEntry, STORE_TIME_MS_MAX};

/// What the index may take.
#[derive(Clone, Copy, Debug)]
pub struct IndexLimits {
    /// Bytes of recent entries; with the spare room of queues that have few, twice as many. When reached: a flush is due.
    pub recent_bytes_max: usize,
    /// Log bytes that no run covers. When reached: a flush is due, so that recovery adds no more than these again.
    pub uncovered_bytes_max: u64,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { recent_bytes_max: 32 << 20, uncovered_bytes_max: 256 << 20 }
    }
}

/// Why a question has no answer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cold {
    /// Blocks are being loaded: ask again after [`super::cache::BlockCache::loads_completed`] has changed.
    NotYet,
    /// A run does not pass its checks. It is made again from the log ([`Index::rebuild_wants`]); until then all else is
    /// answered.
    Damaged(String),
    /// A read of a run failed. Said once; asking again reads again.
    Failed(DiskError),
}

/// What ends the use of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// A run does not pass its checks. As [`Cold::Damaged`].
    Damaged(String),
    /// While opening: the disk does not list or remove.
    Disk(DiskError),
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "the queue index is damaged and must be built anew: {why}"),
            Self::Disk(error) => write!(f, "the queue index cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for IndexError {}

/// The queue index of one shard.
pub struct Index {
    log_id: u128,
    pool: BlockPool,
    limits: IndexLimits,
    recent: RecentTable,
    /// The next entry lies at or above.
    add_floor: LogPosition,
    /// In the order of the log.
    runs: Vec<Rc<Run>>,
    run_number_next: u64,
    covered: LogPosition,
    covered_epoch: Epoch,
    /// The checkpoint that names [`Index::runs`].
    checkpoint: Option<u64>,
    trimmed: LogPosition,
    flush: Option<Flush>,
    /// Those of lower levels last.
    merges: Vec<Merge>,
    /// A damaged run that is made again.
    rebuild: Option<Rebuild>,
    installer: Installer,
    garbage: Garbage,
    /// Operations of what was abandoned; removals wait for them.
    orphans: Vec<OpId>,
    /// A flush or checkpoint failed: no other is started until [`Index::retry`].
    suspended: bool,
    /// The same for merges.
    merges_suspended: bool,
    failure: Option<DiskError>,
    /// A checkpoint was asked for that says which runs are damaged, if any is.
    damage_remembered: bool,
}

impl Index {
    /// An index without anything in memory or on disk.
    pub fn new(log_id: u128, pool: BlockPool, limits: IndexLimits) -> Self {
        Self {
            log_id,
            pool,
            limits,
            recent: RecentTable::default(),
            add_floor: LogPosition::ZERO,
            runs: Vec::new(),
            run_number_next: 0,
            covered: LogPosition::ZERO,
            covered_epoch: Epoch::ZERO,
            checkpoint: None,
            trimmed: LogPosition::ZERO,
            flush: None,
            merges: Vec::new(),
            rebuild: None,
            installer: Installer::new(0),
            garbage: Garbage::default(),
            orphans: Vec::new(),
            suspended: false,
            merges_suspended: false,
            failure: None,
            damage_remembered: false,
        }
    }

    /// Adds the entry of a confirmed record, in log order. The entries of a removed queue are ignored.
    ///
    /// # Panics
    /// When it lies below one that was added before or that is covered: a queue would have it twice or out of order.
    #[inline(always)] // An entry that goes through memory is read in wider words than it was written in, which stalls.
    pub fn add(&mut self, queue: QueueId, entry: IndexEntry) {
        assert!(entry.position >= self.add_floor, "entry {entry:?} of {queue} below {}", self.add_floor);
        self.add_floor = entry.position.plus(1);
        self.recent.add(queue, entry);
    }

    /// Asks for the memory that [`Index::add`] to this queue will touch, some hundred nanoseconds ahead.
    #[inline]
    pub fn prefetch(&self, queue: QueueId) {
        self.recent.prefetch(queue);
    }

    /// Asks for the memory that the queue's next entry will be written to: about as long after [`Index::prefetch`] as before
    /// [`Index::add`].
    #[inline]
    pub fn prefetch_room(&self, queue: QueueId) {
        self.recent.prefetch_room(queue);
    }

    /// Forgets entries below `position`: the log was trimmed to it. Never falls.
    pub fn trim(&mut self, position: LogPosition) {
        self.trimmed = self.trimmed.max(position);
    }

    /// Forgets a queue for good: its id is never used again. Not remembered over a restart; the store says it again for
    /// the queues that it does not know, or leaves their entries to the next trims.
    pub fn remove_queue(&mut self, queue: QueueId) {
        self.recent.remove(queue);
    }

    /// Up to where of the log the runs hold the entries, durably: recovery adds the records from here on.
    pub fn covered(&self) -> LogPosition {
        self.covered
    }

    /// Runs on disk: more than about ten for long means that merges have fallen behind.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Entries in runs, those that were trimmed and not yet merged away included.
    pub fn run_entry_count(&self) -> u64 {
        self.runs.iter().map(|run| run.header.entry_count).sum()
    }

    /// Bytes of the files of all runs.
    pub fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.header.size_bytes()).sum()
    }

    /// Bytes of memory of the recent entries, their spare room included. Grows beyond its limit while flushes fail or the
    /// disk is slower than the appends: the store refuses appends then.
    pub fn recent_bytes(&self) -> usize {
        self.recent.entry_bytes()
    }

    /// Bytes of memory in all, without the block cache.
    pub fn memory_bytes(&self) -> usize {
        let tops: usize = self.runs.iter().map(|run| size_of::<Run>() + run.tops.capacity() * 4).sum();
        let writing = matches!(&self.flush, Some(Flush { stage: Stage::Writing(..), .. }));
        let merging: usize = self.merges.iter().map(Merge::memory_bytes).sum();
        let rebuilding = self.rebuild.as_ref().map_or(0, Rebuild::memory_bytes);
        let writers = usize::from(writing) + self.merges.len() + usize::from(self.rebuild.is_some());
        rebuilding + self.recent.memory_bytes() + tops + merging + writers * run::WRITER_BYTES_MAX
    }
}
