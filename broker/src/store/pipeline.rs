//! The store in motion: turns, completions, ticks. What moves the positions, and what happens when they move.

use super::append::OWED;
use super::cache::BlockCache;
use super::commit::{ApplyEntry, WrittenCommit};
use super::error::StoreFatal;
use super::format::{EpochRecord, EpochStart};
use super::index::{IndexEntry, IndexError};
use super::keys::Keyed;
use super::limits::{ASYNC_FLUSH_INTERVAL_NS, MARK_AFTER_IDLE_NS, RETRY_INTERVAL_NS};
use super::positions::FlushMode;
use super::state::RecordPlace;
use super::state::records::{MalformedState, StateRecord};
use super::{Role, Store};
use crate::disk::{Completion, DiskOp, DiskOpKind, FileName, OpId};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::record::{RecordKind, RecordView};

/// What goes on besides commits.
#[derive(Debug, Default)]
pub struct Background {
    /// When the newest commit was issued.
    pub(super) issued_at_ns: u64,
    /// When the newest commit was done, and how long it took.
    completed_at_ns: u64,
    commit_us: u64,
    /// When a mark may follow, if nothing else does.
    mark_at_ns: Option<u64>,
    /// `flush = "async"`: flushes in flight, and what they cover.
    flush_ops: Vec<OpId>,
    flush_target: LogPosition,
    flush_due_ns: Option<u64>,
    /// The superblock's write in flight.
    pub(super) superblock_op: Option<OpId>,
    pub(super) superblock_wanted: bool,
    retry_at_ns: u64,
    index_has_more: bool,
    keys_have_more: bool,
    due_has_more: bool,
    /// When the next slice of a scan for lost keys is due.
    rescan_due_ns: Option<u64>,
    /// What the index's flush in progress covers.
    index_flushes_to: LogPosition,
    /// The index's memory has outgrown its limit by far: its flushes fail or are slower than the appends.
    pub(super) index_is_behind: bool,
    closing: Closing,
}

/// A clean stop in steps: the last commit, its flush, the superblock that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    No,
    Draining,
    Superblock,
    Closed,
}

impl Background {
    /// Appends are no longer taken.
    pub(super) fn is_closing(&self) -> bool {
        self.closing != Closing::No
    }
}

impl Store {
    /// Records wait for a commit that could be issued: a turn is wanted.
    pub fn has_unissued(&self) -> bool {
        self.commits.has_unissued() && !self.commits.is_writing()
    }

    /// Starts the next commit when none is in flight, and what background work there is.
    pub fn turn(&mut self, now: Now, ops: &mut Vec<DiskOp>) {
        if let Some(issued) = self.commits.issue(&mut self.positions, &mut self.segments, &mut self.ids, ops) {
            self.background.issued_at_ns = now.boot_ns;
            self.background.mark_at_ns = None;
            self.metrics.commits += 1;
            self.metrics.commit_bytes += issued.length as u64;
            self.metrics.padding_bytes += issued.padding as u64;
            self.metrics.group_size.saturating_record(u64::from(issued.record_count));
        }
        self.work(now, ops);
    }

    /// Takes a completion; the positions may move, replies may leave, readers may go on.
    ///
    /// # Errors
    /// The log's own write or flush failed: the shard must stop, and answer nothing that waited.
    pub fn on_disk(&mut self, now: Now, mut completion: Completion, ops: &mut Vec<DiskOp>) -> Result<(), StoreFatal> {
        #[cfg(feature = "mutants")]
        if mutant::active(Mutant::FlushFailureRetried) && self.commits.retry(&completion, &mut self.ids, ops) {
            return Ok(());
        }
        if let Some(commit) = self.commits.on_disk(&completion, &mut self.positions)? {
            let elapsed_us = now.boot_ns.saturating_sub(self.background.issued_at_ns) / 1000;
            self.metrics.commit_us.saturating_record(elapsed_us);
            // What gathered while another commit was on its way has waited for that one too.
            let has_gathered = self.background.issued_at_ns == self.background.completed_at_ns;
            let before_us = if has_gathered { self.background.commit_us } else { 0 };
            self.background.completed_at_ns = now.boot_ns;
            self.background.commit_us = elapsed_us;
            let messages = commit.entries.iter().map(|entry| u64::from(entry.count)).sum();
            self.metrics.commit_us_of_messages.saturating_record_n(elapsed_us.max(before_us), messages);
            self.commit_written(now, commit);
            self.turn(now, ops);
            return Ok(());
        }
        if self.cache.on_disk(&mut completion) {
            if self.retention_is_ready() {
                self.retention_work(now, ops);
            }
            self.load_reads(ops);
            return Ok(());
        }
        if self.segments.on_disk(now.boot_ns, &completion, &mut self.ids, ops) {
            self.turn(now, ops);
            return Ok(());
        }
        self.on_background(now, completion, ops)
    }

    fn on_background(&mut self, now: Now, mut completion: Completion, ops: &mut Vec<DiskOp>) -> Result<(), StoreFatal> {
        if self.background.superblock_op == Some(completion.id) {
            self.background.superblock_op = None;
            if let Err(error) = completion.result {
                return Err(StoreFatal::Superblock(error));
            }
            if self.background.closing == Closing::Superblock {
                self.background.closing = Closing::Closed;
            }
        } else if let Some(index) = self.background.flush_ops.iter().position(|op| *op == completion.id) {
            if let Err(error) = completion.result {
                return Err(StoreFatal::Log(error));
            }
            self.background.flush_ops.swap_remove(index);
            if self.background.flush_ops.is_empty() {
                self.positions.flush_completed(self.background.flush_target);
            }
        } else if self.snapshots.on_disk(&completion, &mut self.ids, ops) {
            if completion.result.is_err() {
                self.metrics.background_failures += 1;
            }
        } else if !self.keys.on_disk(&mut completion) && !self.state.pending.later.on_disk(&mut completion) {
            match self.index.on_disk(&mut completion) {
                Ok(true) => {}
                Ok(false) => return Err(StoreFatal::Driver(format!("{completion:?}"))),
                Err(error) => self.index_failed(&error),
            }
        }
        self.work(now, ops);
        Ok(())
    }

    /// The index is derived: what is wrong with it costs its making anew, not the shard.
    pub(super) fn index_failed(&mut self, _error: &IndexError) {
        self.metrics.background_failures += 1;
    }

    /// A commit is written: memory takes it, and what is confirmed is applied.
    pub(super) fn commit_written(&mut self, now: Now, commit: WrittenCommit) {
        self.background.mark_at_ns = Some(now.boot_ns + MARK_AFTER_IDLE_NS);
        if self.options.flush == FlushMode::Async && self.background.flush_due_ns.is_none() {
            self.background.flush_due_ns = Some(now.boot_ns + ASYNC_FLUSH_INTERVAL_NS);
        }
        let WrittenCommit { block, position, length, crc, entries } = commit;
        self.applied_crc = crc;
        self.tail.append(position, &block[..length]);
        let end = position.plus(length as u64);
        // Alone, what is written is confirmed at once (async) or durable at once (sync): a commit never waits here.
        assert!(
            self.positions.visible() >= end || mutant::active(Mutant::FlushFailureIgnored),
            "applied above confirmed"
        );
        let segment = self.segments.containing_mut(position);
        segment.end = end;
        entries.iter().take(LINES_AHEAD).for_each(|entry| self.prefetch_lines(entry));
        entries.iter().take(ROOM_AHEAD).for_each(|entry| self.index.prefetch_room(entry.queue));
        for (number, entry) in entries.iter().enumerate() {
            if let Some(ahead) = entries.get(number + LINES_AHEAD) {
                self.prefetch_lines(ahead);
            }
            if let Some(ahead) = entries.get(number + ROOM_AHEAD) {
                self.index.prefetch_room(ahead.queue);
            }
            if entry.count > 0 {
                self.apply_messages(position, entry);
                match entry.keyed {
                    Keyed::Nothing => {}
                    Keyed::By(hash) => {
                        self.keys.add_one(hash, position.plus(u64::from(entry.at)), entry.store_time_ms);
                    }
                    Keyed::Look => self.apply_keys(position, entry, &block),
                }
            } else {
                let bytes = &block[entry.at as usize..(entry.at + entry.size_bytes) as usize];
                let (record, _) = RecordView::decode(bytes).expect("encoded by append");
                self.apply_state(position.plus(u64::from(entry.at)), record).expect("encoded by append");
            }
        }
        self.keys.applied(end);
        self.state.pending.later.applied(end);
        if let Some(last) = entries.iter().rev().find(|entry| entry.count > 0) {
            let segment = self.segments.containing_mut(position);
            segment.store_time_ms_max = segment.store_time_ms_max.max(last.store_time_ms);
        }
        self.commits.recycle(entries);
    }

    #[inline]
    fn prefetch_lines(&self, entry: &ApplyEntry) {
        self.prefetch(entry.queue);
        self.index.prefetch(entry.queue);
        if let Keyed::By(hash) = entry.keyed {
            self.keys.prefetch(hash);
        }
    }

    #[inline]
    fn apply_messages(&mut self, commit: LogPosition, entry: &ApplyEntry) {
        let position = commit.plus(u64::from(entry.at));
        match self.state.apply_messages(entry.queue, position, entry.offset, u32::from(entry.count)) {
            Some(true) => self.woken.push(entry.queue),
            Some(false) => {}
            None => return,
        }
        if mutant::active(Mutant::IndexForgetsAtRoll) && position < self.segments.current().start {
            return;
        }
        self.index.add(
            entry.queue,
            IndexEntry::new(entry.offset, entry.count, position, entry.size_bytes, entry.store_time_ms, entry.tag_hash),
        );
    }

    /// Not inlined: records without properties must not pay for it.
    #[inline(never)]
    fn apply_keys(&mut self, commit: LogPosition, entry: &ApplyEntry, block: &[u8]) {
        let bytes = &block[entry.at as usize..(entry.at + entry.size_bytes) as usize];
        let (record, _) = RecordView::decode(bytes).expect("encoded by append");
        let queues = &self.state.queues;
        let topic_of = |queue| queues.get(queue).map(|queue| queues.topic_name(queue));
        // A batch of an unknown queue: its topic was deleted before it was confirmed.
        let _deleted = self.keys.add(record, commit.plus(u64::from(entry.at)), topic_of);
    }

    /// Applies a confirmed state record: the same function for what was just appended and for what recovery reads.
    pub(super) fn apply_state(&mut self, position: LogPosition, record: RecordView<'_>) -> Result<(), MalformedState> {
        if let Some((place, state)) = decode_state(position, record)? {
            if matches!(state, StateRecord::Trim(_)) {
                self.trim_record_end = position.plus(u64::from(record.header.length));
            }
            self.state.apply(place, state);
            for queue in self.state.drain_removed() {
                self.index.remove_queue(queue);
            }
        } else if record.header.kind == RecordKind::EPOCH
            && let Some(epoch) = EpochRecord::decode(record.payload)
        {
            self.commits.note_epoch(EpochStart { epoch: epoch.epoch, start: epoch.start });
        }
        Ok(())
    }

    /// Time passes: marks, async flushes, retention, retries.
    pub fn tick(&mut self, now: Now, ops: &mut Vec<DiskOp>) {
        if self.background.mark_at_ns.is_some_and(|at| now.boot_ns >= at) {
            self.background.mark_at_ns = None;
            let closing = self.background.is_closing();
            if self.role == Role::Master && !closing && self.commits.wants_mark(&self.positions) {
                self.commits.push_mark(&self.segments);
            }
        }
        if self.background.flush_due_ns.is_some_and(|at| now.boot_ns >= at) {
            self.start_async_flush(ops);
        }
        if now.boot_ns >= self.background.retry_at_ns {
            self.background.retry_at_ns = now.boot_ns + RETRY_INTERVAL_NS;
            self.index.retry();
            self.keys.retry();
            self.state.pending.later.retry();
            self.consider_retention(now);
        }
        self.turn(now, ops);
    }

    /// Flushes every segment that holds written bytes that are not durable.
    fn start_async_flush(&mut self, ops: &mut Vec<DiskOp>) {
        self.background.flush_due_ns = None;
        if !self.background.flush_ops.is_empty() || self.positions.durable() == self.positions.written() {
            return;
        }
        self.background.flush_target = self.positions.written();
        let (durable, written) = (self.positions.durable(), self.positions.written());
        for segment in self.segments.files() {
            let end = segment.start.plus(self.segments.size_bytes());
            if end > durable && segment.start < written {
                let op = self.ids.issue(DiskOpKind::Sync { file: FileName::Segment(segment.start) }, ops);
                self.background.flush_ops.push(op);
            }
        }
    }

    /// When the store next wants a tick, in boot nanoseconds.
    pub fn next_wake_boot_ns(&self) -> Option<u64> {
        let background = &self.background;
        let has_more = background.index_has_more
            || background.keys_have_more
            || background.due_has_more
            || self.retention_wants_tick();
        let index_more = has_more.then_some(background.issued_at_ns);
        let scans = [background.rescan_due_ns, self.index_rebuild.due_ns()];
        [background.mark_at_ns, background.flush_due_ns, self.segments.next_wake_ns(), index_more]
            .into_iter()
            .chain(scans)
            .flatten()
            .chain(std::iter::once(background.retry_at_ns))
            .min()
    }

    /// Background work in small steps.
    fn work(&mut self, now: Now, ops: &mut Vec<DiskOp>) {
        let written = self.commits.written_segment();
        let used = self.segments.used_percent(written, self.positions.appended());
        self.segments.work(now.boot_ns, written, used, &mut self.ids, ops);
        self.load_reads(ops);
        self.checkpoint_work(ops);
        self.keys_work(now, ops);
        self.rebuild_index(now);
        self.load_reads(ops);
        self.retention_work(now, ops);
        self.due_index_work(ops);
        self.superblock_work(ops);
        self.close_work(now, ops);
    }

    /// Issues the loads that readers want.
    pub(super) fn load_reads(&mut self, ops: &mut Vec<DiskOp>) {
        if self.cache.has_wanted() {
            let ids = &mut self.ids;
            self.cache.take_ops(&mut || ids.take(), ops);
        }
    }

    /// Runs and snapshots. Recovery begins where they end and looks at nothing before: what they cover must be durable
    /// before they are (with `flush = "async"` they wait for the log's next flush).
    fn checkpoint_work(&mut self, ops: &mut Vec<DiskOp>) {
        let (visible, durable) = (self.positions.visible(), self.positions.durable());
        if self.index.flush_due(visible) && self.index.start_flush(visible, self.positions.epoch()) {
            self.background.superblock_wanted = true;
            self.background.index_flushes_to = visible;
        }
        if durable >= self.background.index_flushes_to {
            let ids = &mut self.ids;
            self.background.index_has_more = self.index.work(&mut || ids.take(), INDEX_OPS_MAX, ops);
        }
        let limit = self.options.index.recent_bytes_max.saturating_mul(INDEX_MEMORY_FACTOR_MAX);
        self.background.index_is_behind = self.index.recent_bytes() > limit;
        if self.index.take_failure().is_some() {
            self.metrics.background_failures += 1;
        }
        if self.snapshots.due(visible, self.options.checkpoint_interval_bytes) {
            let crc = if mutant::active(Mutant::SnapshotForgetsChecksum) { 0 } else { self.applied_crc };
            let (epoch, epochs) = (self.positions.epoch(), self.commits.epochs());
            let later = &mut self.state.pending.later;
            let unchanged_since = later.unchanged_since();
            self.snapshots.start((visible, crc), self.store_time_ms, unchanged_since, epoch, epochs);
            // Recovery replays from the older of the two.
            later.start_flush(epoch);
        }
        self.snapshots.work(&self.state, (visible, durable), &self.pool, &mut self.ids, ops);
    }

    /// The key index's runs and merges, and the scan for what it lost.
    fn keys_work(&mut self, now: Now, ops: &mut Vec<DiskOp>) {
        if self.keys.flush_due() {
            self.keys.start_flush(self.positions.epoch());
        }
        let (durable, ids) = (self.positions.durable(), &mut self.ids);
        self.background.keys_have_more = self.keys.work(durable, &mut || ids.take(), KEY_OPS_MAX, ops);
        if self.keys.take_failure().is_some() {
            self.metrics.background_failures += 1;
        }
        self.background.rescan_due_ns = self.rescan_keys(now, self.background.rescan_due_ns);
        self.load_reads(ops);
    }

    /// The runs of pending messages, their merges, and what is soon due.
    fn due_index_work(&mut self, ops: &mut Vec<DiskOp>) {
        let (epoch, durable) = (self.positions.epoch(), self.positions.durable());
        let (later, aside) = self.state.pending.split();
        if later.flush_due() {
            later.start_flush(epoch);
        }
        let ids = &mut self.ids;
        self.background.due_has_more = later.work(durable, aside, &mut || ids.take(), DUE_OPS_MAX, ops);
        if later.take_failure().is_some() {
            self.metrics.background_failures += 1;
        }
    }

    /// The superblock's floor follows the durable position, so that recovery knows what must be there.
    fn superblock_work(&mut self, ops: &mut Vec<DiskOp>) {
        if !self.background.superblock_wanted || self.background.superblock_op.is_some() {
            return;
        }
        self.background.superblock_wanted = false;
        self.superblock.confirm_floor = self.superblock.confirm_floor.max(self.positions.durable());
        let kind = self.superblock.next_write(&self.pool);
        self.background.superblock_op = Some(self.ids.issue(kind, ops));
    }

    /// Begins a clean stop: nothing more is appended; what is there is written, flushed and marked.
    pub fn close(&mut self, now: Now, ops: &mut Vec<DiskOp>) {
        if self.background.closing == Closing::No {
            self.background.closing = Closing::Draining;
        }
        self.turn(now, ops);
    }

    /// The clean stop is complete.
    pub fn is_closed(&self) -> bool {
        self.background.closing == Closing::Closed
    }

    fn close_work(&mut self, _now: Now, ops: &mut Vec<DiskOp>) {
        let idle =
            !self.commits.has_unissued() && !self.commits.is_writing() && self.background.superblock_op.is_none();
        if self.background.closing != Closing::Draining || !idle {
            return;
        }
        if self.positions.durable() < self.positions.written() {
            self.start_async_flush(ops);
            return;
        }
        // Readers were told that a restart rebuilds the index: the next start must know of it.
        if self.index.is_noting_damage() || self.state.pending.later.is_noting_damage() {
            return;
        }
        self.superblock.clean = true;
        self.superblock.confirm_floor = self.positions.durable();
        let kind = self.superblock.next_write(&self.pool);
        self.background.superblock_op = Some(self.ids.issue(kind, ops));
        self.background.closing = Closing::Superblock;
    }

    /// The cache that all cold readers share.
    pub fn cache(&self) -> &BlockCache {
        &self.cache
    }
}

/// How many records before its turn the lines of a record's queue are asked for, so that with many queues the walk over a
/// commit never waits for memory: those of the queue itself first, ...
const LINES_AHEAD: usize = 24;

/// ... and, when they tell where it is, the place of its next index entry.
const ROOM_AHEAD: usize = 8;

/// How many times its limit the index's memory may take before sends are refused as busy.
const INDEX_MEMORY_FACTOR_MAX: usize = 4;

/// New operations that the index may have at once.
const INDEX_OPS_MAX: usize = 4;

/// New operations that the index of pending messages may have at once.
const DUE_OPS_MAX: usize = 8;

/// New operations that the key index may have at once.
const KEY_OPS_MAX: usize = 4;

/// Decodes a state record, the owed ones too. `None`: not a kind of small state.
pub(super) fn decode_state(
    position: LogPosition,
    record: RecordView<'_>,
) -> Result<Option<(RecordPlace, StateRecord)>, MalformedState> {
    let malformed = MalformedState { kind: record.header.kind };
    let (as_of, payload) = if record.header.flags.contains(OWED) {
        let (as_of, payload) = record.payload.split_first_chunk::<8>().ok_or(malformed)?;
        (LogPosition::new(u64::from_le_bytes(*as_of)), payload)
    } else {
        (position, record.payload)
    };
    let state = StateRecord::decode(record.header.kind, record.header.queue_id, payload)?;
    Ok(state.map(|state| (RecordPlace { position, as_of }, state)))
}
