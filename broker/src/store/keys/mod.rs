//! The key index: which messages have a key, or the id that a producer gave.
//!
//! For each word of a message's KEYS and for its UNIQ_KEY there is an entry: a hash of topic and key, where the message
//! lies, when it was stored. Entries are made when a record is applied, from its bytes, live and in recovery alike; a
//! message without properties makes none and costs nothing here. They gather in memory ([`table`]) and are written as
//! runs, sorted by hash ([`run`]), which are merged in the background ([`merge`]). A question ([`query`]) collects
//! candidates, newest first, reads each message and compares: hashes may collide, messages may be gone.
//!
//! **What is not covered is known.** A run says which part of the log it holds the entries of. What no run and no table
//! covers (a run was lost or damaged, memory was full while the disk failed, the index was deleted) is a *gap*: the log
//! is scanned again there, in the background and at a bounded pace ([`rescan`]), as far as it is retained. Until that is
//! through, a question that finds nothing says so instead of "no such message".
//!
//! Everything on disk is derived and disposable. A state machine over the disk seam, as the queue index is.

mod background;
mod entry;
mod extract;
mod hash;
mod merge;
mod open;
mod query;
mod rescan;
mod run;
mod table;
mod writer;

use crate::disk::{BlockPool, DiskError};
use crate::mutant::{self, Mutant};
use crate::store::runs::{FILE_BYTES_MAX, Garbage};
use background::Flush;
use entry::KeyEntry;
use extract::entries_of;
use hash::KeyHasher;
use merge::Merge;
use rescan::Rescan;
use ringmq_proto::ids::{Epoch, LogPosition, QueueId};
use ringmq_proto::record::RecordView;
use run::Run;
use std::ops::Range;
use std::rc::Rc;
use table::Table;

pub use entry::{KEY_ENTRY_SIZE_BYTES, KEY_TIME_MS_MAX};
pub(super) use extract::UnknownTopic;
pub use extract::{Keyed, MESSAGE_KEY_COUNT_MAX};
pub use hash::KeyKind;
pub use query::{KeyQuery, QueryOutcome};
pub use rescan::RESCAN_RUN_BYTES;
pub use table::KEY_SLOT_SIZE_BYTES;

/// What the key index may take.
#[derive(Clone, Copy, Debug)]
pub struct KeyLimits {
    /// Entries in memory, [`KEY_SLOT_SIZE_BYTES`] each, before a flush is due. While one is written, as many may gather
    /// beside it. When that is reached too: they are dropped, and their part of the log is scanned again later.
    pub recent_entry_count_max: usize,
    /// Entries of a scan that are held before they are written, beside those.
    pub rescan_entry_count_max: usize,
    /// Log bytes that no run covers. When reached: a flush is due (without any entry: at [`EMPTY_FLUSH_FACTOR`] times as many).
    pub uncovered_bytes_max: u64,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self { recent_entry_count_max: 1 << 20, rescan_entry_count_max: 1 << 18, uncovered_bytes_max: 192 << 20 }
    }
}

/// A run that says "no keys here" costs the disk as much as a small one: it may wait.
pub const EMPTY_FLUSH_FACTOR: u64 = 4;

/// The key index of one shard.
pub struct KeyIndex {
    log_id: u128,
    hasher: KeyHasher,
    pool: BlockPool,
    limits: KeyLimits,
    /// Entries of the log from `recent_start` to `applied`.
    recent: Table,
    recent_start: LogPosition,
    applied: LogPosition,
    /// Memory is full: entries are dropped until the commit ends.
    overflowed: bool,
    flush: Option<Flush>,
    rescan: Option<Rescan>,
    /// Parts of gaps that the disk fails to read, in order: they stay gaps until the next start.
    unreadable: Vec<Range<LogPosition>>,
    /// In the order of the log.
    runs: Vec<Rc<Run>>,
    run_number_next: u64,
    merges: Vec<Merge>,
    garbage: Garbage,
    trimmed: LogPosition,
    /// Something failed: nothing new is started until [`KeyIndex::retry`].
    suspended: bool,
    failure: Option<DiskError>,
}

impl KeyIndex {
    /// An index without anything in memory or on disk.
    pub fn new(log_id: u128, pool: BlockPool, limits: KeyLimits) -> Self {
        Self {
            log_id,
            hasher: KeyHasher::new(log_id),
            pool,
            limits,
            recent: Table::default(),
            recent_start: LogPosition::ZERO,
            applied: LogPosition::ZERO,
            overflowed: false,
            flush: None,
            rescan: None,
            unreadable: Vec::new(),
            runs: Vec::new(),
            run_number_next: 0,
            merges: Vec::new(),
            garbage: Garbage::default(),
            trimmed: LogPosition::ZERO,
            suspended: false,
            failure: None,
        }
    }

    /// Adds the entries of an applied record, in log order. Records below what is covered are ignored.
    ///
    /// # Errors
    /// A batch with keys, of a queue that `topic_of` does not know: nothing was added.
    pub(super) fn add<'t>(
        &mut self,
        record: RecordView<'_>,
        position: LogPosition,
        topic_of: impl FnOnce(QueueId) -> Option<&'t [u8]>,
    ) -> Result<(), UnknownTopic> {
        if position < self.recent_start || self.overflowed {
            return Ok(());
        }
        let recent = &mut self.recent;
        entries_of(&self.hasher, record, position, topic_of, |entry| recent.push(entry))?;
        self.check_room();
        Ok(())
    }

    /// What a message of `topic` will be found by, before it is applied.
    #[inline]
    pub(super) fn keyed(&self, topic: &[u8], properties: &[u8]) -> Keyed {
        extract::keyed(&self.hasher, topic, properties)
    }

    /// As [`KeyIndex::add`], of a message with one key, whose hash [`KeyIndex::keyed`] gave.
    #[inline]
    pub(super) fn add_one(&mut self, hash: u64, position: LogPosition, store_time_ms: u64) {
        if position >= self.recent_start && !self.overflowed {
            self.recent.push(KeyEntry::new(hash, position, 0, store_time_ms));
            self.check_room();
        }
    }

    /// [`KeyIndex::add_one`] with this hash follows soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.recent.prefetch(hash);
    }

    #[inline]
    fn check_room(&mut self) {
        if self.recent.len() >= 2 * self.limits.recent_entry_count_max {
            self.recent = Table::default();
            self.overflowed = true;
        }
    }

    /// All records below `end`, a commit's end, were added.
    #[inline]
    pub(super) fn applied(&mut self, end: LogPosition) {
        self.applied = end;
        if self.overflowed {
            (self.recent_start, self.overflowed) = (end, false);
        }
    }

    /// Forgets entries below `position`: the log was trimmed to it. Never falls.
    pub fn trim(&mut self, position: LogPosition) {
        self.trimmed = self.trimmed.max(position);
    }

    /// Up to where of the log entries are in runs or gaps: what is added begins here.
    pub fn covered(&self) -> LogPosition {
        self.recent_start
    }

    /// Parts of the retained log whose entries are nowhere, in order.
    pub fn gaps(&self) -> impl Iterator<Item = Range<LogPosition>> + '_ {
        let held = match &self.flush {
            Some(flush) if !flush.is_rescan => flush.start,
            _ => self.recent_start,
        };
        let runs = self.runs.iter().filter(|run| !run.damaged.get()).map(|run| (run.header.start, run.header.end));
        let mut at = self.trimmed;
        let gaps = runs.chain(std::iter::once((held, held))).map(move |(start, end)| {
            let gap = at..start.min(held);
            at = at.max(end);
            gap
        });
        gaps.filter(|gap| !gap.is_empty() && !mutant::active(Mutant::KeyRunNotRebuilt))
    }

    /// Runs on disk.
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

    /// Bytes of memory in all, without the block cache.
    pub fn memory_bytes(&self) -> usize {
        let fences: usize = self.runs.iter().map(|run| size_of::<Run>() + run.fences.capacity() * 4).sum();
        let flush = self.flush.as_ref().map_or(0, |flush| flush.table.memory_bytes() + FILE_BYTES_MAX);
        let rescan = self.rescan.as_ref().map_or(0, |rescan| rescan.table.memory_bytes());
        let merging = self.merges.len() * (merge::MERGE_BYTES_MAX + FILE_BYTES_MAX);
        self.recent.memory_bytes() + fences + flush + rescan + merging
    }

    fn take_run_number(&mut self) -> u64 {
        self.run_number_next += 1;
        self.run_number_next - 1
    }
}

/// Whether a position may be where a run of that epoch ends, as far as the log's table of epochs tells.
pub(in crate::store) type EpochHolds<'a> = &'a dyn Fn(LogPosition, Epoch) -> bool;
