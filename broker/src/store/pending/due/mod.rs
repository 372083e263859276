//! The index of delayed and timed messages by due time: what is due, and what a leaving segment owes.
//!
//! Millions may be pending, so most of what is known of them lies on disk, as runs sorted by (due time, origin) ([`run`]).
//! In memory there are
//!
//! * *recent*: what the log said since the last flush, and, while it is written as a run, what it said before;
//! * *near*: all that is pending with a key below the *horizon*, from wherever, read ahead in the order of due times
//!   ([`near`]). What is due is found there alone, without waiting for the disk.
//!
//! A message that was taken and settled between two flushes leaves nothing behind. For others the newest word counts: a
//! copy by retention, or "settled". **Deliveries cost no such word**: they happen in the order of due times, so the run
//! that a flush writes says below which due time nothing is left in older runs (its *floor*).
//!
//! Everything on disk is derived and disposable. A run says which part of the log made it; recovery replays the log from
//! where the runs end, or from its beginning when one is missing, in bounded memory ([`rebuild`]). A run that is found damaged takes the older ones with it:
//! what they hold is delivered after the next start, which builds the index anew; until then no segment leaves.

mod background;
mod entry;
mod find;
mod merge;
mod near;
mod open;
mod owed;
mod rebuild;
mod run;
mod scan;
mod totals;
mod writer;

use super::record::{Pending, Settled};
use super::table::Aside;
use crate::disk::{BlockPool, DiskError};
use crate::store::runs::Garbage;
use background::Flush;
use merge::Merge;
use owed::Owed;
use rebuild::PutDown;
use ringmq_proto::ids::LogPosition;
use run::Run;
use scan::Scan;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub use entry::DUE_ENTRY_SIZE_BYTES;
pub(in crate::store) use entry::DueKey;
pub use find::DueFound;
pub(in crate::store) use owed::OwedNext;
pub(in crate::store) use totals::Totals;
pub(super) use totals::owed_bytes;

use entry::Said;

/// What the index by due time may take.
#[derive(Clone, Copy, Debug)]
pub struct DueLimits {
    /// Words about messages in memory, about 100 bytes each, before a flush is due. While one is written, more gather beside
    /// it; at [`BEHIND_FACTOR`] times as many, delayed sends are refused as busy.
    pub recent_entry_count_max: usize,
    /// Messages that are soon due, held in memory, about 100 bytes each.
    pub near_entry_count_max: usize,
    /// Messages that retention copies in the order of the log before it looks for more, about 100 bytes each.
    pub owed_entry_count_max: usize,
    /// Log bytes that no run covers. When reached: a flush is due, unless nothing was said.
    pub uncovered_bytes_max: u64,
}

impl Default for DueLimits {
    fn default() -> Self {
        Self {
            recent_entry_count_max: 1 << 16,
            near_entry_count_max: 1 << 16,
            owed_entry_count_max: 1 << 16,
            uncovered_bytes_max: crate::store::limits::CHECKPOINT_INTERVAL_BYTES,
        }
    }
}

/// How many times the words of one flush may be in memory, those that are being written included, before delayed sends are
/// refused.
pub const BEHIND_FACTOR: usize = 3;

/// Words about messages, in memory.
type Table = BTreeMap<DueKey, Said>;

/// The index by due time of one shard.
pub(in crate::store) struct DueIndex {
    log_id: u128,
    pool: BlockPool,
    limits: DueLimits,
    /// What the log said from `recent_start` to `applied`.
    recent: Table,
    recent_start: LogPosition,
    applied: LogPosition,
    flush: Option<Flush>,
    /// In the order of the log, from 0 to `runs_end`.
    runs: Vec<Rc<Run>>,
    runs_end: LogPosition,
    run_number_next: u64,
    /// While the log is replayed: what it said behind `runs_end`, as far as it is not recent.
    put_down: Vec<PutDown>,
    /// Runs were lost: not all that is pending is known until the next start.
    incomplete: bool,
    /// Pending with a key below `horizon`, and nothing is under way for it.
    near: BTreeMap<DueKey, Pending>,
    /// Pending below `horizon`, but set aside. They count for the floor.
    held: BTreeSet<DueKey>,
    horizon: DueKey,
    /// Stands at `horizon`.
    near_scan: Option<Scan>,
    /// `near` is being filled.
    is_filling: bool,
    owed: Option<Owed>,
    merge: Option<Merge>,
    /// Runs have changed since it was last seen what should be merged.
    is_merge_wanted: bool,
    totals: Totals,
    trimmed: LogPosition,
    garbage: Garbage,
    /// Something failed: nothing new is started until [`DueIndex::retry`].
    suspended: bool,
    failure: Option<DiskError>,
}

impl DueIndex {
    /// An index without anything in memory or on disk.
    pub(in crate::store) fn new(log_id: u128, pool: BlockPool, limits: DueLimits) -> Self {
        Self {
            log_id,
            pool,
            limits,
            recent: Table::new(),
            recent_start: LogPosition::ZERO,
            applied: LogPosition::ZERO,
            flush: None,
            runs: Vec::new(),
            runs_end: LogPosition::ZERO,
            run_number_next: 0,
            put_down: Vec::new(),
            incomplete: false,
            near: BTreeMap::new(),
            held: BTreeSet::new(),
            horizon: DueKey::MAX,
            near_scan: None,
            is_filling: false,
            owed: None,
            merge: None,
            is_merge_wanted: true,
            totals: Totals::default(),
            trimmed: LogPosition::ZERO,
            garbage: Garbage::default(),
            suspended: false,
            failure: None,
        }
    }

    /// How much is pending.
    pub(in crate::store) fn totals(&self) -> Totals {
        self.totals
    }

    /// Applies a PENDING record that lies at `at`; what runs cover is ignored.
    pub(in crate::store) fn apply_pending(&mut self, at: LogPosition, entry: Pending, aside: &Aside) {
        if at < self.recent_start {
            return;
        }
        let key = DueKey::of(&entry);
        if entry.position == entry.origin {
            self.totals.add(&entry);
        }
        self.recent.insert(key, Some(entry));
        self.owed_no_more(key);
        self.place(entry, aside);
    }

    /// Applies a SETTLED record that lies at `at`; what runs cover is ignored.
    pub(in crate::store) fn apply_settled(&mut self, at: LogPosition, settled: &Settled) {
        if at < self.recent_start {
            return;
        }
        let key = DueKey::of_settled(settled);
        // What is not here is in a run, unless there is none: damage may have hidden how it began.
        let is_known = match self.recent.get(&key) {
            Some(said) => said.is_some(),
            None => settled.origin < self.recent_start,
        };
        if is_known {
            self.totals.take(settled);
        }
        if settled.origin >= self.recent_start {
            self.recent.remove(&key);
        } else {
            self.recent.insert(key, None);
        }
        self.near.remove(&key);
        self.held.remove(&key);
        self.owed_no_more(key);
    }

    /// All records below `end`, a commit's end, were applied.
    #[inline]
    pub(in crate::store) fn applied(&mut self, end: LogPosition) {
        self.applied = end;
    }

    /// What lies below `position` is pending no more: retention has copied or seen settled all that was. Never falls.
    pub(in crate::store) fn trim(&mut self, position: LogPosition) {
        self.trimmed = self.trimmed.max(position);
    }

    /// Up to where of the log runs cover it: recovery replays from here.
    pub(in crate::store) fn covered(&self) -> LogPosition {
        self.recent_start
    }

    /// Where the runs end, if the log has changed nothing since: a snapshot remembers it.
    pub(in crate::store) fn unchanged_since(&self) -> Option<LogPosition> {
        (self.recent.is_empty() && self.flush.is_none() && !self.incomplete).then_some(self.runs_end)
    }

    /// More is said than the disk takes: delayed sends should be refused.
    pub(in crate::store) fn is_behind(&self) -> bool {
        let frozen = self.frozen().map_or(0, Table::len);
        self.recent.len() + frozen >= BEHIND_FACTOR * self.limits.recent_entry_count_max
    }

    /// Bytes of memory in all, without the block cache; those of tables as they are when they are half full.
    pub(in crate::store) fn memory_bytes(&self) -> usize {
        const NODE_ENTRY_BYTES: usize = 2 * (size_of::<DueKey>() + size_of::<Said>());
        let flush = self.flush.as_ref().map_or(0, |flush| flush.table.len());
        let owed = self.owed.as_ref().map_or(0, |owed| owed.batch.len());
        let entries = self.recent.len() + flush + self.near.len() + self.held.len() + owed;
        let scans = [self.near_scan.as_ref(), self.owed.as_ref().and_then(|owed| owed.scan.as_ref())];
        let scans: usize = scans.into_iter().flatten().map(Scan::memory_bytes).sum();
        let merge = self.merge.as_ref().map_or(0, Merge::memory_bytes);
        let fences: usize = self.runs.iter().map(|run| run.fences.len() * size_of::<DueKey>()).sum();
        entries * NODE_ENTRY_BYTES + scans + merge + fences
    }

    /// The due time below which nothing in this run counts.
    fn dead_below_ms(&self, index: usize) -> u64 {
        self.runs[index + 1..].iter().map(|run| run.header.floor_ms).max().unwrap_or(0)
    }

    /// A scan of all runs.
    fn scan_from(&self, from: DueKey) -> Scan {
        let mut floor_ms = 0;
        let mut inputs: Vec<(&Rc<Run>, u64)> = Vec::new();
        for run in self.runs.iter().rev() {
            inputs.push((run, floor_ms));
            floor_ms = floor_ms.max(run.header.floor_ms);
        }
        Scan::new(inputs.into_iter().rev(), from)
    }

    fn frozen(&self) -> Option<&Table> {
        self.flush.as_ref().map(|flush| &flush.table)
    }
}

impl Default for DueIndex {
    fn default() -> Self {
        Self::new(0, BlockPool::new(0), DueLimits::default())
    }
}

impl std::fmt::Debug for DueIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (runs, recent, near) = (self.runs.len(), self.recent.len(), self.near.len());
        write!(f, "DueIndex({runs} runs to {}, {recent} recent, {near} near, {:?})", self.runs_end, self.totals)
    }
}
