//! Opening a shard's directory for appending: make it or recover it, then begin a new epoch.
//!
//! The order of writes, and what a crash between them leaves:
//!
//! 1. (a new directory) segment 0, the superblock's file, both its slots, and last the identity: without an identity a
//!    directory is new, whatever else lies in it.
//! 2. The tail that was found is flushed: what was merely written before kill -9 becomes what it is taken for. Only now may a
//!    derived file rest on it.
//! 3. Sound commits that the cut drops are copied to quarantine.
//! 4. The superblock, both slots, each flushed: the new epoch, the cut, one more incarnation, not clean. From here on
//!    commits of older epochs beyond the cut are dead.
//! 5. The epoch's first commit, flushed. Only now is anything appended.
//!
//! A crash after any step: the next start finds the same log and does the rest again, in an epoch that is higher still.

use super::append::Appended;
use super::cache::BlockCache;
use super::commit::{Commits, LogConstants};
use super::error::OpenError;
use super::format::{BadCommit, EpochStart};
use super::hidden::Hidden;
use super::index::{Index, IndexEntry, IndexError};
use super::keys::KeyIndex;
use super::limits::{SPARE_SEGMENT_COUNT, ZERO_FILL_SLICE_BYTES};
use super::ops::OpIds;
use super::pending::table::PendingTable;
use super::pipeline::{Background, decode_state};
use super::positions::Positions;
use super::raw::index_entry;
use super::recovery::{Cut, DamagedRange, LogReader, RecordVisitor, Walk, Walked, segments_of};
use super::segments::{Segment, Segments};
use super::snapshot::{self, Loaded, Snapshots};
use super::state::records::StateRecord;
use super::state::{RecordPlace, State};
use super::superblock::{Identity, Superblock};
use super::tail::HotTail;
use super::{Role, Store, StoreOptions};
use crate::disk::{Completion, Directory, Disk, DiskErrorKind, DiskOpKind, FileName};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};
use ringmq_proto::record::RecordView;
use std::collections::BTreeMap;

/// Random numbers for a directory that is made now.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// The new log's id.
    pub log_id: u128,
    /// The new directory's id.
    pub disk_id: u128,
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was new.
    pub created: bool,
    /// The last stop was clean.
    pub clean: bool,
    /// How often the shard has been started.
    pub incarnation: u32,
    /// The epoch that begins.
    pub epoch: Epoch,
    /// Where the walk through the log began.
    pub scanned_from: LogPosition,
    /// Where the log ends.
    pub end: LogPosition,
    /// Sound commits on the way.
    pub commit_count: u64,
    /// How the end was found, and what lay behind it.
    pub cut: Cut,
    /// Promised parts that cannot be read.
    pub damaged: Vec<DamagedRange>,
}

/// The state that the walk makes.
struct Replay {
    state: State,
    index: Index,
    keys: KeyIndex,
    /// The topic of a keyed batch was not known when it was read.
    keys_missed: bool,
    covered: LogPosition,
    segment_size_bytes: u64,
    store_times: BTreeMap<LogPosition, u64>,
    malformed: Option<LogPosition>,
}

impl Replay {
    fn messages(&mut self, position: LogPosition, queue: QueueId, entry: IndexEntry) {
        let count = u32::from(entry.count());
        if self.state.apply_messages(queue, position, entry.offset, count).is_some() && position >= self.covered {
            self.index.add(queue, entry);
        }
        let segment = LogPosition::new(position.get() / self.segment_size_bytes * self.segment_size_bytes);
        let newest = self.store_times.entry(segment).or_insert(0);
        *newest = (*newest).max(entry.store_time_ms());
    }
}

impl RecordVisitor for Replay {
    fn record(&mut self, position: LogPosition, record: RecordView<'_>) -> Result<(), OpenError> {
        if record.header.kind.is_messages() {
            let queues = &self.state.queues;
            let topic_of = |queue| queues.get(queue).map(|queue| queues.topic_name(queue));
            self.keys_missed |= self.keys.add(record, position, topic_of).is_err();
        }
        match index_entry(record, position) {
            Ok(Some((queue, entry))) => self.messages(position, queue, entry),
            Err(_) => self.malformed = Some(position),
            Ok(None) => match decode_state(position, record) {
                Ok(Some((place, state))) => self.state.apply(place, state),
                Ok(None) => {}
                Err(_) => self.malformed = Some(position),
            },
        }
        Ok(())
    }

    fn commit<D: Disk>(&mut self, end: LogPosition, disk: &mut D) -> Result<(), OpenError> {
        Ok(self.state.pending.later.replayed(disk, end)?)
    }
}

/// Everything that was read before the first write.
struct Found {
    walked: Walked,
    replay: Replay,
    snapshot_from: LogPosition,
    snapshot_files: Vec<u64>,
    /// The walk began with all state there was: at a snapshot, or at the very beginning of the log.
    knew_all: bool,
    /// Trimmed segments before a gap, which the walk has passed over.
    passed_over: Vec<LogPosition>,
}

impl Store {
    /// Opens the shard for appending; makes it when the directory is new.
    ///
    /// # Errors
    /// One sentence for the operator. Nothing was appended then.
    pub fn open<D: Disk>(
        disk: &mut D,
        options: StoreOptions,
        entropy: Entropy,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        check_options(&options)?;
        let found = Identity::read(disk)?;
        let created = found.is_none();
        let identity = match found {
            Some(identity) => identity,
            None => make_directory(disk, &options, entropy)?,
        };
        let superblock = Superblock::read(disk)?.ok_or(OpenError::Damaged { what: "the superblock" })?;
        check_identity(&identity, &superblock, &options)?;
        let starts = segment_starts(disk, superblock.segment_size_bytes)?;
        let (found, starts) = find_behind_gap(disk, &options, &superblock, starts)?;
        Self::begin(disk, options, identity, superblock, starts, found, created, now)
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one opening, used once")]
    fn begin<D: Disk>(
        disk: &mut D,
        options: StoreOptions,
        identity: Identity,
        mut superblock: Superblock,
        starts: Vec<LogPosition>,
        found: Found,
        created: bool,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let Found { walked, mut replay, snapshot_from, snapshot_files, knew_all, passed_over } = found;
        let end = walked.end;
        flush_tail(disk, &walked, &starts, superblock.segment_size_bytes)?;
        quarantine(disk, &walked, &superblock, &starts)?;
        let previous_epoch = walked.epoch.unwrap_or(Epoch::ZERO);
        replay.state.pending.end_replay(disk, previous_epoch)?;
        let mut epoch = previous_epoch.max(superblock.promised_epoch).plus(1);
        let is_slave = options.role == Role::Slave;
        if is_slave || (mutant::active(Mutant::OldEpochContinued) && walked.epoch.is_some()) {
            epoch = previous_epoch;
        }
        let report = RecoveryReport {
            created,
            clean: superblock.clean,
            incarnation: superblock.incarnation + 1,
            epoch,
            scanned_from: walked.from,
            end,
            commit_count: walked.commit_count,
            cut: walked.cut,
            damaged: walked.damaged.clone(),
        };
        superblock.incarnation += 1;
        superblock.clean = false;
        if !is_slave {
            superblock.promised_epoch = epoch;
            (superblock.cut_position, superblock.cut_epoch) = (end, epoch);
        }
        superblock.confirm_floor = superblock.confirm_floor.max(end);
        let floors = if is_slave {
            Vec::new()
        } else {
            Hidden::new(&walked.damaged, snapshot_from, knew_all, superblock.skipped_to).floors(&replay.state)
        };
        for (_, next_offset) in &floors {
            superblock.skipped_to = superblock.skipped_to.max(*next_offset);
        }
        if !mutant::active(Mutant::SuperblockNotFlushedFirst) {
            superblock.write_both(disk)?;
        }
        if !walked.damaged.is_empty() {
            replay.state.skip_ids(IDS_SKIPPED_AFTER_DAMAGE);
        }
        for start in passed_over {
            disk.execute(DiskOpKind::Remove { file: FileName::Segment(start) })?;
        }
        let segments = open_segments(disk, &walked, &starts, &replay, superblock.segment_size_bytes)?;
        let constants = LogConstants {
            log_id: identity.log_id,
            alignment_bytes: superblock.alignment_bytes as usize,
            segment_size_bytes: superblock.segment_size_bytes,
            flush: options.flush,
        };
        let pool = disk.pool();
        let current = segments.current().start;
        let commits = Commits::new(constants, pool.clone(), end, current, walked.previous_crc, walked.epochs.clone());
        let store_time_ms = replay.store_times.values().copied().fold(replay.state.store_time_ms(), u64::max);
        let mut store = Self {
            role: options.role,
            positions: Positions::recovered(options.flush, epoch, end),
            commits,
            segments,
            tail: HotTail::new(pool.clone(), options.hot_tail_bytes, end),
            cache: BlockCache::new(options.cache_bytes, options.hash_seed),
            index: replay.index,
            keys: replay.keys,
            state: replay.state,
            pool,
            ids: OpIds::default(),
            background: Background::default(),
            retention: super::retention::RetentionRun::default(),
            snapshots: Snapshots::new(identity.log_id, snapshot_files, snapshot_from),
            damaged: walked.damaged,
            trim_record_end: LogPosition::ZERO,
            applied_crc: walked.previous_crc,
            store_time_ms,
            woken: Vec::new(),
            metrics: super::metrics::StoreMetrics::default(),
            scratch: super::read::Scratch::default(),
            index_rebuild: super::index_rebuild::IndexRebuild::default(),
            options,
            identity,
            superblock,
        };
        store.index.trim(store.state.trim());
        store.keys.trim(store.log_start());
        store.state.pending.later.trim(store.state.trim());
        let mut discarded = Vec::new();
        store.state.drain_events(&mut discarded);
        for queue in store.state.drain_removed() {
            store.index.remove_queue(queue);
        }
        if !is_slave {
            store.begin_epoch(disk, previous_epoch, now)?;
            store.write_floors(disk, floors, now)?;
            store.write_damage(disk, now)?;
        }
        Ok((store, report))
    }

    /// Step 5: the epoch's first commit, waited for.
    fn begin_epoch<D: Disk>(&mut self, disk: &mut D, previous: Epoch, now: Now) -> Result<(), OpenError> {
        if !self.commits.epoch_fits(&self.segments) {
            if !self.segments.next_is_ready() {
                self.make_next_segment(disk)?;
            }
            self.commits.roll_for_epoch(&mut self.segments);
        }
        let epoch = self.positions.epoch();
        self.commits.push_epoch(epoch, previous, &self.segments);
        self.write_out(disk, now)
    }

    /// The file of the segment behind the one that is written, made while nothing is served yet.
    fn make_next_segment<D: Disk>(&mut self, disk: &mut D) -> Result<(), OpenError> {
        let start = self.commits.written_segment().plus(self.segments.size_bytes());
        make_segment(disk, start, self.segments.size_bytes())?;
        self.segments.made_next();
        Ok(())
    }

    /// Writes what is queued, waiting for each commit.
    fn write_out<D: Disk>(&mut self, disk: &mut D, now: Now) -> Result<(), OpenError> {
        let mut ops = Vec::new();
        while self.commits.has_unissued() {
            let issued = self.commits.issue(&mut self.positions, &mut self.segments, &mut self.ids, &mut ops);
            if issued.is_none() {
                assert!(!self.segments.next_is_ready(), "an opening store waits for nothing but a segment");
                self.make_next_segment(disk)?;
            }
            for op in ops.drain(..) {
                let done = disk.execute(op.kind)?;
                let completion = Completion { id: op.id, result: Ok(done) };
                let written = self.commits.on_disk(&completion, &mut self.positions);
                let commit = written.expect("checked by execute").expect("the only operation");
                self.commit_written(now, commit);
            }
        }
        if self.positions.durable() < self.positions.written() {
            disk.execute(DiskOpKind::Sync { file: self.segments.current().file() })?;
            self.positions.flush_completed(self.positions.written());
        }
        Ok(())
    }

    /// What was found damaged is said in the log: the next start may not look there again. On a full disk only this one
    /// knows.
    fn write_damage<D: Disk>(&mut self, disk: &mut D, now: Now) -> Result<(), OpenError> {
        for range in self.damaged.clone() {
            if !self.segments.next_is_ready() {
                self.make_next_segment(disk)?;
            }
            self.say_damage(range.from..range.to);
            if self.commits.waiting_bytes() > 0 {
                self.write_out(disk, now)?;
            }
        }
        self.write_out(disk, now)
    }

    /// After damage: queues go on behind the offsets that hidden messages may have had.
    fn write_floors<D: Disk>(
        &mut self,
        disk: &mut D,
        floors: Vec<(QueueId, QueueOffset)>,
        now: Now,
    ) -> Result<(), OpenError> {
        for (queue, next_offset) in floors {
            if !self.segments.next_is_ready() {
                self.make_next_segment(disk)?;
            }
            let appended = self.append_state(&StateRecord::Floor { queue, next_offset }, None);
            let Appended { .. } = appended.map_err(|_| OpenError::Damaged { what: "the log, on a full disk," })?;
            if self.commits.waiting_bytes() > 0 {
                self.write_out(disk, now)?;
            }
        }
        self.write_out(disk, now)
    }
}

/// Ids that records in a damaged part may have taken.
const IDS_SKIPPED_AFTER_DAMAGE: u32 = 65_536;

fn check_options(options: &StoreOptions) -> Result<(), OpenError> {
    let (alignment_bytes, segment_size_bytes) = (options.alignment_bytes, options.segment_size_bytes);
    if alignment_bytes != 512 && alignment_bytes != 4096 {
        return Err(OpenError::Alignment(alignment_bytes));
    }
    let whole = segment_size_bytes.is_multiple_of(4096);
    if !whole || !((64 << 10)..=(16 << 30)).contains(&segment_size_bytes) {
        return Err(OpenError::SegmentSize { segment_size_bytes, alignment_bytes: 4096 });
    }
    Ok(())
}

fn check_identity(identity: &Identity, superblock: &Superblock, options: &StoreOptions) -> Result<(), OpenError> {
    let name = |cluster: &str, broker: &str, shard: u32| format!("{cluster}/{broker} (shard {shard})");
    let found = name(&identity.cluster, &identity.broker_name, identity.shard_index);
    let asked = name(&options.cluster, &options.broker_name, options.shard_index);
    if found != asked {
        return Err(OpenError::OtherShard { found, asked });
    }
    if identity.log_id != superblock.log_id || identity.disk_id != superblock.disk_id {
        return Err(OpenError::MixedFiles);
    }
    if superblock.alignment_bytes < options.device_block_bytes {
        return Err(OpenError::CoarserDevice {
            log_bytes: superblock.alignment_bytes,
            device_bytes: options.device_block_bytes,
        });
    }
    Ok(())
}

/// Step 1.
fn make_directory<D: Disk>(disk: &mut D, options: &StoreOptions, entropy: Entropy) -> Result<Identity, OpenError> {
    for directory in [Directory::Log, Directory::Index, Directory::Snapshot] {
        for (file, _) in disk.list(directory)? {
            disk.execute(DiskOpKind::Remove { file })?;
        }
    }
    make_segment(disk, LogPosition::ZERO, options.segment_size_bytes)?;
    Superblock::make(disk)?;
    let Entropy { log_id, disk_id } = entropy;
    let mut superblock = Superblock {
        log_id,
        disk_id,
        sequence: 0,
        incarnation: 0,
        clean: true,
        promised_epoch: Epoch::ZERO,
        confirm_floor: LogPosition::ZERO,
        cut_position: LogPosition::ZERO,
        cut_epoch: Epoch::ZERO,
        skipped_to: QueueOffset::ZERO,
        alignment_bytes: options.alignment_bytes.max(options.device_block_bytes),
        segment_size_bytes: options.segment_size_bytes,
    };
    superblock.write_both(disk)?;
    let identity = Identity {
        cluster: options.cluster.clone(),
        broker_name: options.broker_name.clone(),
        shard_index: options.shard_index,
        log_id,
        disk_id,
    };
    identity.write(disk)?;
    Ok(identity)
}

/// Makes a segment's file, zero-filled, durable.
fn make_segment<D: Disk>(disk: &mut D, start: LogPosition, size_bytes: u64) -> Result<(), OpenError> {
    let file = FileName::Segment(start);
    match disk.execute(DiskOpKind::Create { file, size_bytes }) {
        // One that was made ahead of a log that ends before it (what was sound in it is in quarantine by now).
        Err(error) if error.kind == DiskErrorKind::Exists => {
            disk.execute(DiskOpKind::Remove { file })?;
            disk.execute(DiskOpKind::Create { file, size_bytes })?;
        }
        other => drop(other?),
    }
    let slice = usize::try_from(size_bytes).unwrap_or(usize::MAX).min(8 * ZERO_FILL_SLICE_BYTES);
    let mut zeros = disk.pool().take(slice);
    zeros.fill(0);
    let zeros = zeros.freeze();
    let mut offset = 0;
    while offset < size_bytes {
        let length = slice.min(usize::try_from(size_bytes - offset).unwrap_or(usize::MAX));
        disk.execute(DiskOpKind::Write { file, offset, block: zeros.clone(), start: 0, length, sync: false })?;
        offset += length as u64;
    }
    disk.execute(DiskOpKind::Sync { file })?;
    disk.execute(DiskOpKind::SyncDir { directory: Directory::Log })?;
    Ok(())
}

fn segment_starts<D: Disk>(disk: &mut D, segment_size_bytes: u64) -> Result<Vec<LogPosition>, OpenError> {
    let mut starts = Vec::new();
    for (file, _) in disk.list(Directory::Log)? {
        if let FileName::Segment(start) = file
            && start.get().is_multiple_of(segment_size_bytes)
        {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}

/// Trimmed segments go one by one, and on a failing disk, or through a power cut, a later one may be gone before an earlier one:
/// what is left before the gap is of no use, and must not end the log. Gives what was found, and the segments that count.
fn find_behind_gap<D: Disk>(
    disk: &mut D,
    options: &StoreOptions,
    superblock: &Superblock,
    starts: Vec<LogPosition>,
) -> Result<(Found, Vec<LogPosition>), OpenError> {
    let follows = |pair: &[LogPosition]| pair[1].since(pair[0]) == superblock.segment_size_bytes;
    let gap = starts.windows(2).rposition(|pair| !follows(pair)).map(|last| last + 1);
    if let Some(gap) = gap {
        match find_in(disk, options, superblock, &starts[gap..]) {
            Err(OpenError::Disk(error)) => return Err(error.into()),
            Ok(found) if found.replay.state.trim() >= starts[gap] => {
                return Ok((Found { passed_over: starts[..gap].to_vec(), ..found }, starts[gap..].to_vec()));
            }
            // Nothing says that what is missing was given up: it is damage.
            _ => {}
        }
    }
    Ok((find_in(disk, options, superblock, &starts)?, starts))
}

fn find_in<D: Disk>(
    disk: &mut D,
    options: &StoreOptions,
    superblock: &Superblock,
    starts: &[LogPosition],
) -> Result<Found, OpenError> {
    match find(disk, options, superblock, starts, true)? {
        Some(found) => Ok(found),
        // A derived file tells of log that is not there (an asynchronous flush was lost): do without all of them.
        None => Ok(find(disk, options, superblock, starts, false)?.expect("nothing derived is used")),
    }
}

/// Reads derived files and walks the log. `None`: a derived file tells of log that is not there.
fn find<D: Disk>(
    disk: &mut D,
    options: &StoreOptions,
    superblock: &Superblock,
    starts: &[LogPosition],
    use_derived: bool,
) -> Result<Option<Found>, OpenError> {
    let log_id = superblock.log_id;
    let (loaded, snapshot_files) = snapshot::load_newest(disk, log_id, |_| use_derived)?;
    let epochs = loaded.as_ref().map_or_else(Vec::new, |loaded| loaded.epochs.clone());
    let valid = |position: LogPosition, epoch: Epoch| use_derived && epoch_holds(&epochs, position, epoch);
    let index = Index::open(disk, log_id, options.index, LogPosition::new(u64::MAX), valid);
    let index = index.map_err(|error| match error {
        IndexError::Disk(error) => OpenError::Disk(error),
        IndexError::Damaged(_) => OpenError::Damaged { what: "the queue index" },
    })?;
    let covered = index.covered();
    let keys = KeyIndex::open(disk, log_id, options.keys, use_derived)?;
    let first = starts.first().copied().unwrap_or(LogPosition::ZERO);
    let knew_all = loaded.is_some() || first == LogPosition::ZERO;
    let loaded_from = loaded.as_ref().map(|loaded| loaded.from);
    let mut pending = PendingTable::open(disk, log_id, options.due, use_derived)?;
    if let Some(loaded) = &loaded
        && let Some(base) = loaded.unchanged_since
    {
        pending.later.skip_unchanged(base, loaded.from);
    }
    if pending.later.covered() < first {
        // What was settled between the two is not told again.
        pending.later.discard(disk)?;
    }
    let known_to = covered.min(pending.later.covered());
    let from = loaded.as_ref().map_or(first, |loaded| loaded.from.min(known_to).max(first));
    let state = State::with_pending(pending);
    let mut replay = Replay {
        state,
        index,
        keys,
        keys_missed: false,
        covered,
        segment_size_bytes: superblock.segment_size_bytes,
        store_times: BTreeMap::new(),
        malformed: None,
    };
    let chain = loaded.as_ref().filter(|loaded| loaded.from == from).map(|loaded| loaded.commit_crc);
    let (snapshot_from, snapshot_to) =
        loaded.as_ref().map_or((LogPosition::ZERO, LogPosition::ZERO), |l| (l.from, l.to));
    if let Some(Loaded { records, .. }) = loaded {
        for (position, record) in records {
            replay.state.apply(RecordPlace { position, as_of: position }, record);
        }
    }
    let alignment = superblock.alignment_bytes as usize;
    replay.state.begin_replay();
    let mut reader = LogReader::new(disk, superblock.segment_size_bytes, alignment, starts.to_vec());
    // The snapshot may be younger than where the walk begins: what lies between is of the epochs of its own time.
    let known = epochs.iter().copied().filter(|line| line.start < from).collect();
    let mut walked = Walk::new(&mut reader, superblock, from, known).chained_to(chain).run(&mut replay)?;
    replay.state.end_replay();
    // Segments below the trim go in any order: one that is missing there is missed by nobody.
    walked.damaged.retain(|range| range.to > replay.state.trim());
    if replay.state.trim() < first {
        let missing = DamagedRange { from: replay.state.trim(), to: first, why: BadCommit::Short };
        walked.damaged.insert(0, missing);
    }
    if walked.end < covered || walked.end < snapshot_to {
        return Ok(None);
    }
    let holds = |position, epoch| epoch_holds(&walked.epochs, position, epoch);
    let trim = replay.state.trim();
    if !replay.state.pending.begin(walked.end, trim, &holds) {
        return Ok(None);
    }
    // With all state known, a queue that is not was deleted. A snapshot that is older than the log's first segment does not know
    // what was said between the two, and said again later.
    let knew_topics = loaded_from.map_or(first == LogPosition::ZERO, |from| from >= first);
    let missed = replay.keys_missed && !knew_topics;
    replay.keys.begin(walked.from, walked.end, missed, &holds);
    Ok(Some(Found { walked, replay, snapshot_from, snapshot_files, knew_all, passed_over: Vec::new() }))
}

/// Whether `position` was written in `epoch`, as far as the table tells.
fn epoch_holds(epochs: &[EpochStart], position: LogPosition, epoch: Epoch) -> bool {
    let index = epochs.partition_point(|line| line.start <= position);
    // The position is the end of what is covered: it may lie exactly where the next epoch starts.
    let at = index.checked_sub(1).map(|index| epochs[index]);
    let before = index.checked_sub(2).map(|index| epochs[index]);
    let ends_before = at.is_some_and(|at| at.start == position) && before.is_some_and(|line| line.epoch == epoch);
    at.is_none_or(|at| at.epoch == epoch) || ends_before || epochs.last().is_some_and(|last| last.epoch < epoch)
}

/// Step 2.
fn flush_tail<D: Disk>(
    disk: &mut D,
    walked: &Walked,
    starts: &[LogPosition],
    segment_size_bytes: u64,
) -> Result<(), OpenError> {
    for &start in starts {
        if start.plus(segment_size_bytes) > walked.promised && start <= walked.end {
            disk.execute(DiskOpKind::Sync { file: FileName::Segment(start) })?;
        }
    }
    Ok(())
}

/// Step 3.
fn quarantine<D: Disk>(
    disk: &mut D,
    walked: &Walked,
    superblock: &Superblock,
    starts: &[LogPosition],
) -> Result<(), OpenError> {
    let Cut { at, commits_dropped, dropped_end, .. } = walked.cut;
    if commits_dropped == 0 { Ok(()) } else { quarantine_range(disk, superblock, starts, at, dropped_end) }
}

/// Copies `[from, to)` of the log into quarantine, durably. Run again after a crash it makes the copy again.
pub(super) fn quarantine_range<D: Disk>(
    disk: &mut D,
    superblock: &Superblock,
    starts: &[LogPosition],
    from: LogPosition,
    to: LogPosition,
) -> Result<(), OpenError> {
    let file = FileName::Quarantine(from, superblock.incarnation);
    let size_bytes = to.since(from).next_multiple_of(4096);
    match disk.execute(DiskOpKind::Create { file, size_bytes }) {
        Err(error) if error.kind != DiskErrorKind::Exists => return Err(error.into()),
        _ => {}
    }
    let mut offset = 0;
    while offset < size_bytes {
        let length = usize::try_from(size_bytes - offset).unwrap_or(usize::MAX).min(1 << 20);
        let mut block = disk.pool().take(length);
        block.fill(0);
        let alignment = superblock.alignment_bytes as usize;
        let mut reader = LogReader::new(disk, superblock.segment_size_bytes, alignment, starts.to_vec());
        let bytes = reader.bytes(from.plus(offset), length)?;
        block[..bytes.len()].copy_from_slice(bytes);
        disk.execute(DiskOpKind::Write { file, offset, block: block.freeze(), start: 0, length, sync: false })?;
        offset += length as u64;
    }
    disk.execute(DiskOpKind::Sync { file })?;
    disk.execute(DiskOpKind::SyncDir { directory: Directory::Quarantine })?;
    Ok(())
}

/// The segments and spares to go on with; removes segments that a trim gave up and spares that are not whole.
fn open_segments<D: Disk>(
    disk: &mut D,
    walked: &Walked,
    starts: &[LogPosition],
    replay: &Replay,
    size_bytes: u64,
) -> Result<Segments, OpenError> {
    let trim = replay.state.trim();
    let mut files = std::collections::VecDeque::new();
    for mut segment in segments_of(walked, starts, size_bytes) {
        if segment.start.plus(size_bytes) <= trim {
            disk.execute(DiskOpKind::Remove { file: segment.file() })?;
            continue;
        }
        segment.store_time_ms_max = replay.store_times.get(&segment.start).copied().unwrap_or(0);
        files.push_back(segment);
    }
    if files.is_empty() {
        let start = LogPosition::new(walked.end.get() / size_bytes * size_bytes);
        make_segment(disk, start, size_bytes)?;
        files.push_back(Segment { start, end: start, store_time_ms_max: 0 });
    }
    let next = files.back().map_or(LogPosition::ZERO, |last| last.start.plus(size_bytes));
    let mut next_ready = false;
    let (mut spares, mut next_spare) = (Vec::new(), 0);
    for (file, size) in disk.list(Directory::Log)? {
        let kept = match file {
            FileName::Segment(start) if start == next => {
                next_ready = size == size_bytes;
                next_ready
            }
            FileName::Spare(number) => {
                next_spare = next_spare.max(number + 1);
                let kept = size == size_bytes && spares.len() < SPARE_SEGMENT_COUNT;
                spares.extend(kept.then_some(number));
                kept
            }
            _ => continue,
        };
        // Its making may have been cut short: a wrong size is made anew, and the right one may be in memory alone.
        let kind = if kept { DiskOpKind::Sync { file } } else { DiskOpKind::Remove { file } };
        disk.execute(kind)?;
    }
    disk.execute(DiskOpKind::SyncDir { directory: Directory::Log })?;
    Ok(Segments::new(&disk.pool(), size_bytes, files, next_ready, spares, next_spare))
}
