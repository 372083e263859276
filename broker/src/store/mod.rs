//! The store of one shard: its commit log, and everything that is derived from it. A state machine over the disk seam.
//!
//! It knows positions, records, queues and small state. It must never know a connection, a dialect, a clock, a file
//! descriptor, or a random number.
//!
//! A message's way through it: [`append`] encodes a record into the open commit and assigns its position, offset and time;
//! [`commit`] writes and flushes commits, one at a time; the completion moves the [`positions`]; what is confirmed is
//! applied, in order, to the small [`state`] and the [`index`]; [`read`] serves what is visible from the hot [`tail`] or,
//! through the [`cache`], from disk. [`open`] and [`recovery`] bring it back, [`retention`] lets it go.

pub mod append;
pub mod cache;
pub mod check;
pub mod commit;
pub mod error;
pub mod format;
mod groups;
mod hidden;
pub mod index;
mod index_rebuild;
pub mod keys;
pub mod limits;
pub mod metrics;
pub mod open;
pub mod ops;
pub mod pending;
pub mod pipeline;
pub mod positions;
pub mod queues;
pub mod raw;
pub mod read;
pub mod recovery;
pub mod retention;
mod runs;
pub mod scan;
pub mod segments;
pub mod snapshot;
pub mod state;
pub mod superblock;
pub mod tail;

use crate::disk::BlockPool;
use crate::now::Now;
use cache::BlockCache;
use commit::Commits;
use index::Index;
use keys::KeyIndex;
use limits::{BATCH_RECORD_SIZE_BYTES_MAX, COMMIT_SIZE_BYTES_MAX};
use metrics::StoreMetrics;
use ops::OpIds;
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::limits::RECORD_SIZE_BYTES_MAX;
use ringmq_proto::message::Host;
use segments::Segments;
use state::State;
use superblock::{Identity, Superblock};
use tail::HotTail;

pub use append::{Appended, BatchItem, BatchShared, NewMessage};
pub use error::{OpenError, Refusal, StoreFatal};
pub use keys::{KeyKind, KeyQuery, QueryOutcome};
pub use open::{Entropy, RecoveryReport};
pub use positions::{AckMode, Acked, FlushMode, Positions};
pub use queues::Queue;
pub use read::{ReadOutcome, RecordSink, SearchOutcome, ViewOutcome};
pub use state::attributes::Attributes;
pub use state::records::{ExponentialRetry, GroupConfig, GroupRecord, RetryPolicy};
pub use state::{GroupOffset, Topic, TopicChange, TopicEvent};
pub use tail::Piece;

/// May this shard write, and in whose name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes, in the epoch of [`Positions::epoch`]. Alone: after recovery.
    Master,
    /// Copies another's log.
    Slave,
    /// Must not write or answer any more: its disk failed, or somebody else is master.
    Fenced,
}

/// When old segments go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Keep at most about this many bytes of log (whole segments, at least two).
    pub bytes: Option<u64>,
    /// Keep messages for this long, in milliseconds.
    pub age_ms: Option<u64>,
}

/// What the operator chose for a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// RocketMQ's cluster name.
    pub cluster: String,
    /// The shard's broker name.
    pub broker_name: String,
    /// Which shard of its data directory.
    pub shard_index: u32,
    /// For a log that is made now: 512 or 4096.
    pub alignment_bytes: u32,
    /// The device's logical block: a log with a finer alignment is refused.
    pub device_block_bytes: u32,
    /// For a log that is made now.
    pub segment_size_bytes: u64,
    /// Memory for the newest part of the log.
    pub hot_tail_bytes: usize,
    /// Memory for blocks that cold readers share.
    pub cache_bytes: usize,
    /// When sends are acknowledged.
    pub flush: FlushMode,
    /// When old segments go.
    pub retention: Retention,
    /// STOREHOST of messages: the advertised address.
    pub advertised: Host,
    /// Limits of the index's memory and of recovery.
    pub index: index::IndexLimits,
    /// Limits of the key index's memory, and of what must be scanned again without it.
    pub keys: keys::KeyLimits,
    /// Limits of the memory for pending messages, and of what must be replayed for them.
    pub due: pending::DueLimits,
    /// Log bytes between two snapshots of small state.
    pub checkpoint_interval_bytes: u64,
    /// Seeds hash tables.
    pub hash_seed: u64,
    /// Opened as: a master begins an epoch, a slave begins nothing.
    pub role: Role,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cluster: "DefaultCluster".into(),
            broker_name: "broker-a".into(),
            shard_index: 0,
            alignment_bytes: 512,
            device_block_bytes: 512,
            segment_size_bytes: 1 << 30,
            hot_tail_bytes: 256 << 20,
            cache_bytes: 64 << 20,
            flush: FlushMode::Sync,
            retention: Retention::default(),
            advertised: Host::UNSPECIFIED,
            index: index::IndexLimits {
                uncovered_bytes_max: limits::CHECKPOINT_INTERVAL_BYTES,
                ..index::IndexLimits::default()
            },
            keys: keys::KeyLimits::default(),
            due: pending::DueLimits::default(),
            checkpoint_interval_bytes: limits::CHECKPOINT_INTERVAL_BYTES,
            hash_seed: 0,
            role: Role::Master,
        }
    }
}

/// The store of one shard.
pub struct Store {
    options: StoreOptions,
    identity: Identity,
    superblock: Superblock,
    role: Role,
    positions: Positions,
    commits: Commits,
    segments: Segments,
    tail: HotTail,
    cache: BlockCache,
    index: Index,
    keys: KeyIndex,
    state: State,
    pool: BlockPool,
    ids: OpIds,
    background: pipeline::Background,
    retention: retention::RetentionRun,
    snapshots: snapshot::Snapshots,
    damaged: Vec<recovery::DamagedRange>,
    /// Behind the last applied trim record: what it gives up goes when the log is durable up to here.
    trim_record_end: LogPosition,
    /// Checksum of the last applied commit.
    applied_crc: u32,
    store_time_ms: u64,
    woken: Vec<QueueId>,
    metrics: StoreMetrics,
    scratch: read::Scratch,
    index_rebuild: index_rebuild::IndexRebuild,
}

impl Store {
    /// Who this shard is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the operator chose.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Messages older than this may go from now on; nothing: age is no reason to go.
    pub fn set_retention_age(&mut self, age_ms: Option<u64>) {
        self.options.retention.age_ms = age_ms;
    }

    /// How far the log has come. Readers ask [`Positions::visible`].
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Every append that ends at or below may be answered.
    pub fn acked(&self, mode: AckMode) -> Acked {
        self.positions.acked(mode)
    }

    /// Whether this shard may write.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Takes away or gives the right to write. Appends that are not yet confirmed end as unknown when it is taken.
    pub fn set_role(&mut self, role: Role) {
        self.role = role;
    }

    /// Small state, applied.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A queue, or nothing when it was never made or is deleted.
    #[inline]
    pub fn queue(&self, id: QueueId) -> Option<&Queue> {
        self.state.queues.get(id)
    }

    /// The topic and the number of a queue.
    pub fn queue_name(&self, id: QueueId) -> Option<(&str, u32)> {
        let queue = self.state.queues.get(id)?;
        Some((std::str::from_utf8(self.state.queues.topic_name(queue)).ok()?, queue.number))
    }

    /// Asks for the memory of a queue some hundred nanoseconds before an append to it.
    #[inline]
    pub fn prefetch(&self, id: QueueId) {
        self.state.queues.prefetch(id);
    }

    /// Asks for what else an append to this queue needs: about as long after [`Store::prefetch`] as before the append.
    #[inline]
    pub fn prefetch_topic_name(&self, id: QueueId) {
        self.state.queues.prefetch_topic_name(id);
    }

    /// The next confirmed message of this queue will show in [`Store::drain_woken`].
    pub fn watch(&mut self, id: QueueId) {
        if let Some(queue) = self.state.queues.get_mut(id) {
            queue.watched = true;
        }
    }

    /// Nobody waits for this queue any more.
    pub fn unwatch(&mut self, id: QueueId) {
        if let Some(queue) = self.state.queues.get_mut(id) {
            queue.watched = false;
        }
    }

    /// Watched queues that got visible messages since the last call. Each is no longer watched.
    pub fn drain_woken(&mut self, out: &mut Vec<QueueId>) {
        out.append(&mut self.woken);
    }

    /// Topic changes that were applied since the last call.
    pub fn drain_topic_events(&mut self, out: &mut Vec<TopicEvent>) {
        self.state.drain_events(out);
    }

    /// The load that the read which has just answered "not yet" waits for.
    pub fn take_awaited_load(&mut self) -> Option<cache::Place> {
        self.cache.take_awaited()
    }

    /// Loads that ended since the last call: reads that wait for them may be tried again.
    pub fn drain_ended_loads(&mut self, out: &mut Vec<cache::Place>) {
        self.cache.drain_ended(out);
    }

    /// Bytes of the largest record: an append of a larger one is refused with code 13.
    pub fn record_size_bytes_max(&self) -> usize {
        let quarter = usize::try_from(self.commits.constants().segment_size_bytes / 4).unwrap_or(usize::MAX);
        RECORD_SIZE_BYTES_MAX.min(quarter)
    }

    /// Bytes of the largest batch record that a batch from the network should become.
    pub fn batch_size_bytes_max(&self) -> usize {
        BATCH_RECORD_SIZE_BYTES_MAX.min(self.record_size_bytes_max()).min(COMMIT_SIZE_BYTES_MAX / 2)
    }

    /// Bytes of commits that wait for the disk: from `WAITING_COMMITS_BYTES_HIGH` on, stop reading from senders.
    pub fn waiting_bytes(&self) -> usize {
        self.commits.waiting_bytes()
    }

    /// Sends are refused for lack of space.
    pub fn is_full(&self) -> bool {
        self.segments.is_full()
    }

    /// Parts of the log that were promised and cannot be read.
    pub fn damaged(&self) -> &[recovery::DamagedRange] {
        &self.damaged
    }

    /// Counters and histograms.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// Bytes of memory, by part: hot tail, block cache, indexes of queues, keys and due times.
    pub fn memory_bytes(&self) -> (usize, usize, usize) {
        let index_bytes =
            self.index.memory_bytes() + self.keys.memory_bytes() + self.state.pending.later.memory_bytes();
        (self.tail.memory_bytes(), self.cache.resident_bytes(), index_bytes)
    }

    /// Bytes of memory of the index of pending messages by due time.
    pub fn pending_memory_bytes(&self) -> usize {
        self.state.pending.later.memory_bytes()
    }

    /// The index of messages' keys.
    pub fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// The first retained position.
    pub fn log_start(&self) -> LogPosition {
        self.segments.files().front().map_or(LogPosition::ZERO, |segment| segment.start).max(self.state.trim())
    }

    /// When the oldest part of the log that is left was complete, in ms: older messages may be left, newer ones surely are.
    /// Nothing while that is not known.
    pub fn kept_since_ms(&self) -> Option<u64> {
        self.segments.files().iter().map(|segment| segment.store_time_ms_max).find(|time_ms| *time_ms > 0)
    }

    /// Segments that were used again since the start.
    pub fn recycled_segment_count(&self) -> u64 {
        self.segments.recycled_count()
    }

    /// The newest store time so far, in ms.
    pub fn store_time_ms(&self) -> u64 {
        self.store_time_ms
    }

    fn store_time(&mut self, now: Now) -> u64 {
        self.store_time_ms = self.store_time_ms.max(now.wall_ms);
        self.store_time_ms
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} shard {}, {:?})", self.identity.broker_name, self.identity.shard_index, self.positions)
    }
}
