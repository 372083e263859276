//! The queue index: where each message of each queue lies in the log.
//!
//! One entry per record ([`IndexEntry`]): a message or a batch. Entries come in log order by [`Index::add`] and stay in
//! memory until a flush has written them into a *run*, a file of entries sorted by queue; runs are merged in the
//! background, so that the entries of one queue lie in few of them. A reader ([`Index::find`]) never waits: what is not in
//! memory comes through the shard's block cache, or the answer is [`Cold::NotYet`].
//!
//! Everything on disk is derived from the log and disposable: when it is damaged or missing, the store adds the entries
//! again. A state machine over the disk seam: it emits [`DiskOp`]s, takes [`Completion`]s, and never waits.

mod entry;
mod recent;

use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};

use super::cache::BlockCache;
use crate::disk::{BlockPool, Completion, Directory, Disk, DiskError, DiskOp, DiskOpKind, OpId};
use recent::RecentTable;

pub use entry::{ENTRY_SIZE_BYTES, IndexEntry, STORE_TIME_MS_MAX};

/// What the index may take.
#[derive(Clone, Copy, Debug)]
pub struct IndexLimits {
    /// Memory of recent entries. When reached: a flush is due.
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
    /// Blocks are being loaded: ask again after [`BlockCache::loads_completed`] has changed.
    NotYet,
    /// A run does not pass its checks: the index must be built anew ([`Index::discard`]).
    Damaged(String),
    /// A read of a run failed. Said once; asking again reads again.
    Failed(DiskError),
}

/// What ends the use of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// A run that is being merged does not pass its checks: the index must be built anew ([`Index::discard`]).
    Damaged(String),
    /// While opening: the disk does not list, remove or read.
    Disk(DiskError),
}

/// The queue index of one shard.
pub struct Index {
    limits: IndexLimits,
    recent: RecentTable,
    covered: LogPosition,
    trimmed: LogPosition,
}

impl Index {
    /// An index without anything in memory or on disk.
    pub fn new(_log_id: u128, _pool: BlockPool, limits: IndexLimits) -> Self {
        Self { limits, recent: RecentTable::default(), covered: LogPosition::ZERO, trimmed: LogPosition::ZERO }
    }

    /// Opens what the last checkpoint says, if it belongs to this log: `log_end` is where the log ends, `valid` whether a
    /// position of the log is of that epoch. Everything else in the index directory is removed. Afterwards the store adds
    /// the records from [`Index::covered`] on.
    ///
    /// # Errors
    /// Only when the disk fails: files that do not check are ignored, for all of it can be built anew.
    pub fn open<D: Disk>(
        disk: &mut D,
        log_id: u128,
        limits: IndexLimits,
        _log_end: LogPosition,
        _valid: impl Fn(LogPosition, Epoch) -> bool,
    ) -> Result<Self, IndexError> {
        for (file, _) in disk.list(Directory::Index).map_err(IndexError::Disk)? {
            disk.execute(DiskOpKind::Remove { file }).map_err(IndexError::Disk)?;
        }
        Ok(Self::new(log_id, disk.pool(), limits))
    }

    /// Adds the entry of a confirmed record. In log order; entries below [`Index::covered`] are already there and must
    /// not be added again.
    #[inline]
    pub fn add(&mut self, queue: QueueId, entry: IndexEntry) {
        self.recent.add(queue, entry);
    }

    /// Asks for the memory that [`Index::add`] to this queue will touch, some hundred nanoseconds ahead.
    #[inline]
    pub fn prefetch(&self, queue: QueueId) {
        self.recent.prefetch(queue);
    }

    /// Appends to `out` up to `entries_max` entries of a queue in order, from the one that covers `from` (or, when none does,
    /// the first one after it); none of them lies wholly below `min_offset`. Fewer do not mean that there are no more:
    /// only an empty answer does.
    ///
    /// # Errors
    /// [`Cold`]; nothing was appended then.
    pub fn find(
        &self,
        _cache: &mut BlockCache,
        queue: QueueId,
        from: QueueOffset,
        min_offset: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), Cold> {
        let from = from.max(min_offset);
        if let Some(recent) = self.recent.get(queue) {
            let below = |entry: &IndexEntry| entry.next_offset() <= from || entry.position < self.trimmed;
            let start = recent.partition_point(below);
            let end = recent.len().min(start.saturating_add(entries_max));
            out.extend((start..end).map(|index| recent.get(index)));
        }
        Ok(())
    }

    /// The offset of the first message that was stored at `time_ms` or later; with `upper`, of the last one that was
    /// stored at `time_ms` or earlier. Nothing when there is none.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn find_by_time(
        &self,
        _cache: &mut BlockCache,
        queue: QueueId,
        time_ms: u64,
        upper: bool,
    ) -> Result<Option<QueueOffset>, Cold> {
        let Some(recent) = self.recent.get(queue) else { return Ok(None) };
        let first = recent.partition_point(|entry| entry.position < self.trimmed);
        let index = recent.partition_point(|entry| {
            if upper { entry.store_time_ms() <= time_ms } else { entry.store_time_ms() < time_ms }
        });
        if upper {
            return Ok((index > first).then(|| QueueOffset::new(recent.get(index - 1).next_offset().get() - 1)));
        }
        let index = index.max(first);
        Ok((index < recent.len()).then(|| recent.get(index).offset))
    }

    /// The first entry of a queue at or after a position of the log: after a trim, where the queue begins.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn first_at_or_after_position(
        &self,
        _cache: &mut BlockCache,
        queue: QueueId,
        position: LogPosition,
    ) -> Result<Option<IndexEntry>, Cold> {
        let Some(recent) = self.recent.get(queue) else { return Ok(None) };
        let position = position.max(self.trimmed);
        let index = recent.partition_point(|entry| entry.position < position);
        Ok((index < recent.len()).then(|| recent.get(index)))
    }

    /// The newest entry of a queue that is not trimmed; its `next_offset()` is the queue's next offset.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn newest(&self, _cache: &mut BlockCache, queue: QueueId) -> Result<Option<IndexEntry>, Cold> {
        Ok(self.recent.get(queue).and_then(|recent| recent.last()).filter(|entry| entry.position >= self.trimmed))
    }

    /// The next offset of a queue as far as its entries (also trimmed ones that are not gone yet) tell: nothing when it
    /// has none.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn next_offset(&self, _cache: &mut BlockCache, queue: QueueId) -> Result<Option<QueueOffset>, Cold> {
        Ok(self.recent.get(queue).and_then(|recent| recent.last()).map(|entry| entry.next_offset()))
    }

    /// Calls `visit(queue, first offset, next offset)` for every queue and every run that holds entries of it: the queue's
    /// next offset is the greatest. Reads all directories, for recovery.
    ///
    /// # Errors
    /// When a directory cannot be read or does not check.
    pub fn visit_queues<D: Disk>(
        &self,
        _disk: &mut D,
        _visit: impl FnMut(QueueId, QueueOffset, QueueOffset),
    ) -> Result<(), IndexError> {
        Ok(())
    }

    /// Whether [`Index::start_flush`] should be called: the memory or the log bytes without coverage reach their limit
    /// (`applied` is the end of what was added), no flush is going on and none failed since the last [`Index::retry`].
    pub fn flush_due(&self, applied: LogPosition) -> bool {
        self.recent.entry_bytes() >= self.limits.recent_bytes_max
            || applied.get().saturating_sub(self.covered.get()) >= self.limits.uncovered_bytes_max
    }

    /// Starts to write all recent entries into a run that covers the log up to `up_to`: the end of what was added (every
    /// entry so far lies below it, every later one at or above it), which is of `epoch`. [`Index::work`] carries it on.
    /// False when a flush is going on already.
    pub fn start_flush(&mut self, up_to: LogPosition, _epoch: Epoch) -> bool {
        assert!(up_to >= self.covered);
        false
    }

    /// Carries flush, merges and removals on, by a bounded amount of work (at most about 64 KiB of output) and at most
    /// `ops_free` new operations. True when there is more to do at once, without waiting for a completion.
    pub fn work(&mut self, _next_id: &mut impl FnMut() -> OpId, _ops_free: usize, _out: &mut Vec<DiskOp>) -> bool {
        false
    }

    /// Takes the completion of one of our operations; false when it is not ours. A failed one abandons the flush or merge it
    /// belongs to, to be tried again after [`Index::retry`].
    ///
    /// # Errors
    /// [`IndexError::Damaged`] when a run that is merged does not check.
    pub fn on_disk(&mut self, _completion: &mut Completion) -> Result<bool, IndexError> {
        Ok(false)
    }

    /// Lets a failed flush or merge be tried again. For the store's tick: about once a second.
    pub fn retry(&mut self) {}

    /// The last failure of a background operation, once: for the log and the metrics.
    pub fn take_failure(&mut self) -> Option<DiskError> {
        None
    }

    /// Whether nothing is going on in the background (a failed flush or merge counts as nothing).
    pub fn is_idle(&self) -> bool {
        true
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

    /// Forgets everything, in memory and on disk: it is damaged. The store adds the records again from where the log
    /// begins; what was covered is zero.
    pub fn discard(&mut self) {
        self.recent = RecentTable::default();
        self.covered = LogPosition::ZERO;
    }

    /// Up to where of the log the runs hold the entries, durably: recovery adds the records from here on.
    pub fn covered(&self) -> LogPosition {
        self.covered
    }

    /// Bytes of memory of the recent entries, their spare room included. Grows beyond its limit while flushes fail or the
    /// disk is slower than the appends: the store refuses appends then.
    pub fn recent_bytes(&self) -> usize {
        self.recent.entry_bytes()
    }

    /// Bytes of memory in all, without the block cache.
    pub fn memory_bytes(&self) -> usize {
        self.recent.memory_bytes()
    }
}
