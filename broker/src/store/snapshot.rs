//! Snapshots of small state: local files beside the log that shorten recovery, and nothing more.
//!
//! ```text
//! 0 magic u64 "RMQSNAP2" | 8 log id u128 | 24 from u64 | 32 to u64 | 40 epoch u32 | 44 epoch count u32
//! 48 record count u64 | 56 body length u64 | 64 body CRC u32 | 68 CRC of the commit that ends at `from` u32
//! 72 unchanged since u64 | 80 CRC of the header before u32
//! 84 epoch count x { epoch u32, start u64 } | records … | zeros up to 4 KiB
//! record: position u64 | kind u8 | zero x 3 | queue id u32 | payload length u32 | payload
//! ```
//!
//! *Unchanged since*: up to `from`, the log has changed nothing that the index of pending messages by due time, whose runs end
//! there, does not say; all ones when it has. `from` is where the log stood when the walk through the state began, `to` where it ended: recovery replays from `from`
//! on, and does not use a snapshot whose `to` lies beyond the log's end. Written in slices: collect, create, write 1 MiB
//! at a time, flush, flush the directory; only then is the one before the last removed. A crash at any step leaves the
//! older snapshots as they were.

use super::format::EpochStart;
use super::ops::OpIds;
use super::state::State;
use super::state::records::StateRecord;
use super::state::snapshot::Cursor;
use crate::disk::{
    BlockPool, Completion, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOp, DiskOpKind, FileName, OpId,
};
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::{Epoch, LogPosition, QueueId};
use ringmq_proto::record::RecordKind;

const MAGIC: u64 = u64::from_le_bytes(*b"RMQSNAP2");
const HEADER_BYTES: usize = 84;
const HEADER_CRC_AT: usize = 80;
const UNCHANGED_AT: usize = 72;
const RECORD_HEAD_BYTES: usize = 20;
const UNIT_BYTES: usize = 4096;
const WRITE_BYTES: usize = 1 << 20;
/// Steps of the walk in one slice: some tens of microseconds.
const WALK_STEPS: usize = 256;
/// Snapshots that are kept: the newest, and the one before.
const KEPT_COUNT: usize = 2;

#[derive(Debug)]
enum Step {
    Idle,
    Collecting {
        cursor: Cursor,
    },
    /// Until the log is durable up to what was collected.
    Waiting {
        to: LogPosition,
    },
    Creating {
        op: OpId,
    },
    Writing {
        at: usize,
        op: OpId,
    },
    Syncing {
        op: OpId,
    },
    SyncingDir {
        op: OpId,
    },
    Removing {
        op: OpId,
    },
}

/// Makes the snapshots of one shard.
#[derive(Debug)]
pub struct Snapshots {
    log_id: u128,
    step: Step,
    bytes: Vec<u8>,
    record_count: u64,
    from: LogPosition,
    /// No message below `from` was stored later.
    store_time_ms: u64,
    /// Where the runs of pending messages ended, if nothing had changed since.
    unchanged_since: Option<LogPosition>,
    epoch: Epoch,
    number: u64,
    /// Files that exist, oldest first.
    existing: Vec<u64>,
    /// `from` of the newest finished (or tried) one.
    last: LogPosition,
}

/// A snapshot that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Replay from here.
    pub from: LogPosition,
    /// Of no use when the log ends before.
    pub to: LogPosition,
    /// Checksum of the commit that ends at `from`: the log is chained to it.
    pub commit_crc: u32,
    /// Where the runs of pending messages ended that were complete at `from`.
    pub unchanged_since: Option<LogPosition>,
    /// The epoch table's tail at that time.
    pub epochs: Vec<EpochStart>,
    /// What it says, with the positions of the records that said it.
    pub records: Vec<(LogPosition, StateRecord)>,
}

impl Snapshots {
    /// Goes on behind the files that exist; the newest one that was used began at `last`.
    pub fn new(log_id: u128, existing: Vec<u64>, last: LogPosition) -> Self {
        let number = existing.last().map_or(0, |newest| newest + 1);
        Self {
            log_id,
            step: Step::Idle,
            bytes: Vec::new(),
            record_count: 0,
            from: last,
            store_time_ms: 0,
            unchanged_since: None,
            epoch: Epoch::ZERO,
            number,
            existing,
            last,
        }
    }

    /// Enough log has come since the last one.
    pub fn due(&self, visible: LogPosition, interval_bytes: u64) -> bool {
        matches!(self.step, Step::Idle) && visible.get().saturating_sub(self.last.get()) >= interval_bytes
    }

    /// Begins one of the state as of `visible` or later; the commit that ends there has the checksum `commit_crc`, and no
    /// message before was stored later than at `store_time_ms`. `unchanged_since`: where the runs of pending messages end, if
    /// nothing has changed since.
    pub fn start(
        &mut self,
        (visible, commit_crc): (LogPosition, u32),
        store_time_ms: u64,
        unchanged_since: Option<LogPosition>,
        epoch: Epoch,
        epochs: &[EpochStart],
    ) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        let tail = &epochs[epochs.len().saturating_sub(super::format::EPOCH_TABLE_COUNT_MAX)..];
        for line in tail {
            self.bytes.extend(line.epoch.get().to_le_bytes());
            self.bytes.extend(line.start.get().to_le_bytes());
        }
        self.bytes[44..48].copy_from_slice(&u32::try_from(tail.len()).expect("at most 64").to_le_bytes());
        self.bytes[68..72].copy_from_slice(&commit_crc.to_le_bytes());
        self.record_count = 0;
        (self.from, self.epoch, self.last) = (visible, epoch, visible);
        (self.store_time_ms, self.unchanged_since) = (store_time_ms, unchanged_since);
        self.step = Step::Collecting { cursor: Cursor::start() };
    }

    /// The next slice, when it does not wait for the disk.
    pub fn work(
        &mut self,
        state: &State,
        (visible, durable): (LogPosition, LogPosition),
        pool: &BlockPool,
        ids: &mut OpIds,
        ops: &mut Vec<DiskOp>,
    ) {
        match &mut self.step {
            Step::Collecting { cursor } => {
                let (bytes, count) = (&mut self.bytes, &mut self.record_count);
                state.walk(cursor, WALK_STEPS, LogPosition::new(u64::MAX), |position, record| {
                    encode(bytes, position, &record);
                    *count += 1;
                });
                if *cursor == Cursor::Done {
                    // Not part of the walk, which also says what retention owes: a trim is never owed.
                    let trim =
                        if mutant::active(Mutant::SnapshotForgetsTrim) { LogPosition::ZERO } else { state.trim() };
                    encode(bytes, visible, &StateRecord::Trim(state.trim_record(trim, self.store_time_ms)));
                    *count += 1;
                    self.seal(visible);
                    self.step = Step::Waiting { to: visible };
                }
            }
            Step::Writing { op: OpId(0), .. } => self.write_next(pool, ids, ops),
            _ => {}
        }
        if matches!(self.step, Step::Waiting { to } if durable >= to) {
            let size_bytes = self.bytes.len() as u64;
            let kind = DiskOpKind::Create { file: FileName::Snapshot(self.number), size_bytes };
            self.step = Step::Creating { op: ids.issue(kind, ops) };
        }
    }

    fn pending_write(&self) -> bool {
        matches!(self.step, Step::Writing { op: OpId(0), .. })
    }

    fn write_next(&mut self, pool: &BlockPool, ids: &mut OpIds, ops: &mut Vec<DiskOp>) {
        let Step::Writing { at, op } = &mut self.step else { return };
        let length = (self.bytes.len() - *at).min(WRITE_BYTES);
        let mut block = pool.take(length);
        block[..length].copy_from_slice(&self.bytes[*at..*at + length]);
        let kind = DiskOpKind::Write {
            file: FileName::Snapshot(self.number),
            offset: *at as u64,
            block: block.freeze(),
            start: 0,
            length,
            sync: false,
        };
        *op = ids.issue(kind, ops);
        *at += length;
    }

    fn seal(&mut self, to: LogPosition) {
        let body_length = self.bytes.len() - HEADER_BYTES;
        let body_crc = crc32fast::hash(&self.bytes[HEADER_BYTES..]);
        let bytes = &mut self.bytes;
        bytes[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.from.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&to.get().to_le_bytes());
        bytes[40..44].copy_from_slice(&self.epoch.get().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[56..64].copy_from_slice(&(body_length as u64).to_le_bytes());
        bytes[64..68].copy_from_slice(&body_crc.to_le_bytes());
        let unchanged_since = self.unchanged_since.map_or(u64::MAX, LogPosition::get);
        bytes[UNCHANGED_AT..UNCHANGED_AT + 8].copy_from_slice(&unchanged_since.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let padded = bytes.len().next_multiple_of(UNIT_BYTES);
        bytes.resize(padded, 0);
    }

    /// Takes a completion if it is one of ours. A failed snapshot is given up; the next one is due as usual.
    pub fn on_disk(&mut self, completion: &Completion, ids: &mut OpIds, ops: &mut Vec<DiskOp>) -> bool {
        let file = FileName::Snapshot(self.number);
        let (op, next) = match &self.step {
            Step::Creating { op } => (*op, Step::Writing { at: 0, op: OpId(0) }),
            Step::Writing { at, op } if *at < self.bytes.len() => (*op, Step::Writing { at: *at, op: OpId(0) }),
            Step::Writing { op, .. } => (*op, Step::Syncing { op: OpId(0) }),
            Step::Syncing { op } => (*op, Step::SyncingDir { op: OpId(0) }),
            Step::SyncingDir { op } => (*op, Step::Removing { op: OpId(0) }),
            Step::Removing { op } => (*op, Step::Idle),
            Step::Idle | Step::Collecting { .. } | Step::Waiting { .. } => return false,
        };
        if op != completion.id {
            return false;
        }
        if completion.result.is_err() {
            self.step = Step::Idle;
            self.number += 1;
            return true;
        }
        self.step = match next {
            Step::Syncing { .. } => Step::Syncing { op: ids.issue(DiskOpKind::Sync { file }, ops) },
            Step::SyncingDir { .. } => {
                Step::SyncingDir { op: ids.issue(DiskOpKind::SyncDir { directory: Directory::Snapshot }, ops) }
            }
            Step::Removing { .. } => self.finish(ids, ops),
            other => other,
        };
        true
    }

    fn finish(&mut self, ids: &mut OpIds, ops: &mut Vec<DiskOp>) -> Step {
        self.existing.push(self.number);
        self.number += 1;
        self.bytes = Vec::new();
        if self.existing.len() <= KEPT_COUNT {
            return Step::Idle;
        }
        let file = FileName::Snapshot(self.existing.remove(0));
        Step::Removing { op: ids.issue(DiskOpKind::Remove { file }, ops) }
    }

    /// A snapshot is being made.
    pub fn is_busy(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// A slice can be worked on without waiting for the disk.
    pub fn has_more(&self) -> bool {
        matches!(self.step, Step::Collecting { .. }) || self.pending_write()
    }
}

fn encode(out: &mut Vec<u8>, position: LogPosition, record: &StateRecord) {
    out.extend(position.get().to_le_bytes());
    out.extend([record.kind().0, 0, 0, 0]);
    out.extend(record.queue_id().get().to_le_bytes());
    let length_at = out.len();
    out.extend([0; 4]);
    record.encode(out);
    let length = u32::try_from(out.len() - length_at - 4).expect("a state record is small");
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Reads a snapshot file; `None` when it is not whole, or not of this log.
pub fn load(bytes: &[u8], log_id: u128) -> Option<Loaded> {
    if bytes.len() < HEADER_BYTES || u64::from_le_bytes(array(bytes, 0)) != MAGIC {
        return None;
    }
    if crc32fast::hash(&bytes[..HEADER_CRC_AT]) != u32::from_le_bytes(array(bytes, HEADER_CRC_AT)) {
        return None;
    }
    let body_length = usize::try_from(u64::from_le_bytes(array(bytes, 56))).ok()?;
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(body_length)?)?;
    let same_log = u128::from_le_bytes(array(bytes, 8)) == log_id;
    if !same_log || crc32fast::hash(body) != u32::from_le_bytes(array(bytes, 64)) {
        return None;
    }
    let epoch_count = u32::from_le_bytes(array(bytes, 44)) as usize;
    let (lines, mut rest) = body.split_at_checked(epoch_count.checked_mul(12)?)?;
    let epochs = lines.chunks_exact(12).map(|line| EpochStart {
        epoch: Epoch::new(u32::from_le_bytes(array(line, 0))),
        start: LogPosition::new(u64::from_le_bytes(array(line, 4))),
    });
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(RECORD_HEAD_BYTES)?;
        let (payload, tail) = tail.split_at_checked(u32::from_le_bytes(array(head, 16)) as usize)?;
        let queue = QueueId::new(u32::from_le_bytes(array(head, 12)));
        let record = StateRecord::decode(RecordKind(head[8]), queue, payload).ok()??;
        records.push((LogPosition::new(u64::from_le_bytes(array(head, 0))), record));
        rest = tail;
    }
    Some(Loaded {
        from: LogPosition::new(u64::from_le_bytes(array(bytes, 24))),
        to: LogPosition::new(u64::from_le_bytes(array(bytes, 32))),
        commit_crc: u32::from_le_bytes(array(bytes, 68)),
        unchanged_since: Some(u64::from_le_bytes(array(bytes, UNCHANGED_AT)))
            .filter(|since| *since < u64::MAX)
            .map(LogPosition::new),
        epochs: epochs.collect(),
        records,
    })
}

/// Reads the snapshots of a shard, the newest sound one first. Gives all file numbers too, oldest first.
///
/// # Errors
/// Only when the simulated machine is gone: a snapshot that cannot be read is as good as none.
pub fn load_newest<D: Disk>(
    disk: &mut D,
    log_id: u128,
    usable: impl Fn(&Loaded) -> bool,
) -> Result<(Option<Loaded>, Vec<u64>), DiskError> {
    let mut numbers = Vec::new();
    let mut sizes = Vec::new();
    for (file, size_bytes) in disk.list(Directory::Snapshot)? {
        if let FileName::Snapshot(number) = file {
            numbers.push(number);
            sizes.push(size_bytes);
        }
    }
    for (number, size_bytes) in numbers.iter().zip(&sizes).rev() {
        let Some(bytes) = read_file(disk, FileName::Snapshot(*number), *size_bytes)? else { continue };
        if let Some(loaded) = load(&bytes, log_id).filter(&usable) {
            return Ok((Some(loaded), numbers));
        }
    }
    Ok((None, numbers))
}

fn read_file<D: Disk>(disk: &mut D, file: FileName, size_bytes: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let mut bytes = Vec::new();
    let mut offset = 0;
    while offset < size_bytes {
        let length = usize::try_from(size_bytes - offset).unwrap_or(usize::MAX).min(WRITE_BYTES);
        match disk.execute(DiskOpKind::Read { file, offset, length: length.next_multiple_of(UNIT_BYTES) }) {
            Ok(DiskDone::Read { block, length }) if length > 0 => {
                bytes.extend_from_slice(&block[..length]);
                offset += length as u64;
            }
            Err(error) if error.kind == DiskErrorKind::Crashed => return Err(error),
            _ => return Ok(None),
        }
    }
    Ok(Some(bytes))
}
