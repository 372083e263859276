//! The segment files: which exist, and making the next one ready before it is needed.
//!
//! A segment must be allocated *and written with zeros* before commits go into it (an overwrite is 2 to 100 times faster
//! than an extending write), and its name must be durable. So files are made as spares, in the background, in slices:
//!
//! 1. create `spare-N` at its full size (on a full disk this step fails, and no later one);
//! 2. write zeros in slices of 128 KiB, few in flight while nobody waits, and between slices whatever commits there are;
//! 3. flush the file, then its directory entry: a spare is ready;
//! 4. rename it to the next segment's name, flush the directory: the next segment is ready.
//!
//! A crash between any two leaves at most a spare that is made again. A segment that retention gives up becomes a spare by
//! rename; its old content is dead, since positions and epochs in it lie below what is expected there.
//!
//! **Reserve.** With the disk full, the ready next segment is the reserve: sends are refused rather than roll into it;
//! offset commits, topic changes and what retention owes may. Creating is tried again every second, so that sends come
//! back without a restart.

use super::limits::{
    RETRY_INTERVAL_NS, SPARE_SEGMENT_COUNT, ZERO_FILL_DEPTH_MAX, ZERO_FILL_PACE_NS, ZERO_FILL_SLICE_BYTES,
};
use super::ops::OpIds;
use crate::disk::{Block, BlockPool, Completion, Directory, DiskErrorKind, DiskOp, DiskOpKind, FileName, OpId};
use crate::mutant::{self, Mutant};
use ringmq_proto::ids::LogPosition;
use std::collections::VecDeque;

/// One segment that holds, or is about to hold, log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first position, and its name.
    pub start: LogPosition,
    /// Behind its last commit, as far as commits were issued.
    pub end: LogPosition,
    /// Store time of its newest message in milliseconds, 0 when it has none.
    pub store_time_ms_max: u64,
}

#[derive(Debug)]
enum Job {
    Idle,
    Create {
        spare: u64,
        op: OpId,
    },
    /// Slices up to `issued_bytes` are written but for those in `ops`.
    Fill {
        spare: u64,
        issued_bytes: u64,
        ops: Vec<OpId>,
        next_at_ns: u64,
    },
    Sync {
        spare: u64,
        op: OpId,
    },
    SyncDir {
        spare: u64,
        op: OpId,
    },
    Rename {
        spare: u64,
        to: LogPosition,
        op: OpId,
    },
    RenameSyncDir {
        to: LogPosition,
        op: OpId,
    },
    /// The flush of the new name failed: it may or may not be durable. Asked again when it is time.
    NameInDoubt {
        to: LogPosition,
    },
}

#[derive(Debug)]
enum Leaving {
    /// Its rename or removal is in flight.
    Going {
        spare: Option<u64>,
        op: OpId,
    },
    SyncDir {
        spare: Option<u64>,
        op: OpId,
    },
}

impl Segment {
    /// Its file.
    pub fn file(&self) -> FileName {
        FileName::Segment(self.start)
    }
}

/// How many slices of zeros may be in flight. None before their time when nobody waits; one while the fill is well ahead of
/// the log; more when the log is about to catch up, since a commit that waits for its segment waits for all of them.
fn fill_depth(is_next: bool, used_percent: u64, filled_percent: u64, is_time: bool) -> usize {
    match is_next {
        true if used_percent >= filled_percent => ZERO_FILL_DEPTH_MAX,
        true if used_percent.saturating_mul(2) >= filled_percent => ZERO_FILL_DEPTH_MAX / 4,
        _ => usize::from(is_time),
    }
}

/// The segments of one log.
#[derive(Debug)]
pub struct Segments {
    size_bytes: u64,
    slice_bytes: usize,
    zeros: Block,
    files: VecDeque<Segment>,
    /// The next segment's file is there, zeroed or recycled, with a durable name.
    next_ready: bool,
    /// Segments that were rolled to and not entered yet.
    rolled_ahead: usize,
    spares: Vec<u64>,
    next_spare: u64,
    job: Job,
    /// Slices in flight of a spare that was given up.
    abandoned: Vec<OpId>,
    leaving: Option<Leaving>,
    full: bool,
    retry_at_ns: u64,
    /// The current segment is the one that was kept in reserve.
    in_reserve: bool,
    recycled_count: u64,
}

impl Segments {
    /// The segments as recovery found them: `files` in order (at least one), and ready spares.
    pub fn new(
        pool: &BlockPool,
        size_bytes: u64,
        files: VecDeque<Segment>,
        next_ready: bool,
        spares: Vec<u64>,
        next_spare: u64,
    ) -> Self {
        let slice_bytes = ZERO_FILL_SLICE_BYTES.min(usize::try_from(size_bytes).unwrap_or(usize::MAX));
        let mut zeros = pool.take(slice_bytes);
        zeros.fill(0);
        Self {
            size_bytes,
            slice_bytes,
            zeros: zeros.freeze(),
            files,
            next_ready,
            rolled_ahead: 0,
            spares,
            next_spare,
            job: Job::Idle,
            abandoned: Vec::new(),
            leaving: None,
            full: false,
            retry_at_ns: 0,
            in_reserve: false,
            recycled_count: 0,
        }
    }

    /// The segment that commits go into.
    pub fn current(&self) -> &Segment {
        self.files.back().expect("a log has a segment")
    }

    /// The segment that holds a position that is being written, to note what went in.
    pub fn containing_mut(&mut self, position: LogPosition) -> &mut Segment {
        let index = self.files.partition_point(|segment| segment.start <= position);
        &mut self.files[index.checked_sub(1).expect("commits go into a segment")]
    }

    /// How much of the segment that is being written is used, in percent; 100 when positions beyond it are assigned.
    pub fn used_percent(&self, written_start: LogPosition, appended: LogPosition) -> u64 {
        if self.current().start > written_start {
            return 100;
        }
        appended.get().saturating_sub(written_start.get()) * 100 / self.size_bytes
    }

    /// All segments, oldest first.
    pub fn files(&self) -> &VecDeque<Segment> {
        &self.files
    }

    /// The segment that holds `position`.
    pub fn containing(&self, position: LogPosition) -> Option<&Segment> {
        let index = self.files.partition_point(|segment| segment.start <= position);
        let segment = self.files.get(index.checked_sub(1)?)?;
        (position.since(segment.start) < self.size_bytes).then_some(segment)
    }

    /// Bytes of a segment.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Creating a segment failed for lack of space, and nothing is left but the reserve.
    pub fn is_full(&self) -> bool {
        self.full && self.spares.is_empty()
    }

    /// The current segment is the reserve: nothing but what must not be refused may be appended.
    pub fn in_reserve(&self) -> bool {
        self.in_reserve
    }

    /// Segments that were used again.
    pub fn recycled_count(&self) -> u64 {
        self.recycled_count
    }

    /// The file of the segment behind the current one is ready to be written.
    pub fn next_is_ready(&self) -> bool {
        self.next_ready
    }

    /// The next segment's file was made while the store was opened.
    pub fn made_next(&mut self) {
        self.next_ready = true;
    }

    /// There is, or surely will be, a file for another segment: past its creation nothing can fail for lack of space. A file
    /// that a segment was rolled to already, and not yet entered, is spoken for. With the disk full what is left is the
    /// reserve, for what must not be refused.
    pub fn may_roll(&self, privileged: bool) -> bool {
        // Segments that were rolled to and not yet entered have taken theirs.
        if self.is_full() {
            return privileged && self.rolled_ahead < usize::from(self.next_ready);
        }
        let being_made = !matches!(self.job, Job::Idle | Job::Create { .. });
        let files = usize::from(self.next_ready) + self.spares.len() + usize::from(being_made);
        self.rolled_ahead < files
    }

    /// Moves on to the next segment: positions in it may be assigned. Its file may not be ready yet.
    pub fn roll(&mut self) -> Segment {
        let start = self.current().start.plus(self.size_bytes);
        let segment = Segment { start, end: start, store_time_ms_max: 0 };
        self.in_reserve = self.is_full();
        self.rolled_ahead += 1;
        self.files.push_back(segment);
        segment
    }

    /// The rolled-to segment is now being written: its file is used up, the next one is wanted.
    pub fn entered(&mut self) {
        assert!(self.next_ready, "a commit was issued into a segment that is not ready");
        self.next_ready = false;
        self.rolled_ahead -= 1;
    }

    /// Starts what background work there is. `written_start`: the segment of the last issued commit. `urgency`: the share
    /// of it that is used, in percent.
    pub fn work(
        &mut self,
        now_ns: u64,
        written_start: LogPosition,
        used_percent: u64,
        ids: &mut OpIds,
        out: &mut Vec<DiskOp>,
    ) {
        let wanted = self.wanted();
        match &mut self.job {
            Job::Idle if !self.next_ready && !self.spares.is_empty() && now_ns >= self.retry_at_ns => {
                let spare = self.spares.remove(0);
                let to = written_start.plus(self.size_bytes);
                let op = ids.issue(DiskOpKind::Rename { from: FileName::Spare(spare), to: FileName::Segment(to) }, out);
                self.job = Job::Rename { spare, to, op };
            }
            Job::Idle if wanted && now_ns >= self.retry_at_ns => {
                let spare = self.next_spare;
                self.next_spare += 1;
                let kind = DiskOpKind::Create { file: FileName::Spare(spare), size_bytes: self.size_bytes };
                self.job = Job::Create { spare, op: ids.issue(kind, out) };
            }
            Job::NameInDoubt { to } if now_ns >= self.retry_at_ns => {
                let to = *to;
                let op = ids.issue(DiskOpKind::SyncDir { directory: Directory::Log }, out);
                self.job = Job::RenameSyncDir { to, op };
            }
            Job::Fill { spare, issued_bytes, ops, next_at_ns } => {
                let filled_percent = *issued_bytes * 100 / self.size_bytes;
                let depth = fill_depth(!self.next_ready, used_percent, filled_percent, now_ns >= *next_at_ns);
                while ops.len() < depth && *issued_bytes < self.size_bytes {
                    let left = usize::try_from(self.size_bytes - *issued_bytes).unwrap_or(usize::MAX);
                    let length = self.slice_bytes.min(left);
                    let kind = DiskOpKind::Write {
                        file: FileName::Spare(*spare),
                        offset: *issued_bytes,
                        block: self.zeros.clone(),
                        start: 0,
                        length,
                        sync: false,
                    };
                    ops.push(ids.issue(kind, out));
                    *issued_bytes += length as u64;
                    *next_at_ns = now_ns + ZERO_FILL_PACE_NS;
                }
            }
            _ => {}
        }
    }

    fn wanted(&self) -> bool {
        usize::from(self.next_ready) + self.spares.len() < SPARE_SEGMENT_COUNT
    }

    /// When `work` has something to do that waits for time alone.
    pub fn next_wake_ns(&self) -> Option<u64> {
        match &self.job {
            Job::Fill { ops, next_at_ns, .. } if ops.is_empty() => Some(*next_at_ns),
            Job::NameInDoubt { .. } => Some(self.retry_at_ns),
            Job::Idle if self.wanted() || !self.next_ready => Some(self.retry_at_ns),
            _ => None,
        }
    }

    /// Takes a completion if it is one of ours. A failure is no disaster: the spare is abandoned and another is tried later.
    pub fn on_disk(&mut self, now_ns: u64, completion: &Completion, ids: &mut OpIds, out: &mut Vec<DiskOp>) -> bool {
        if self.on_leaving(completion, ids, out) {
            return true;
        }
        if let Some(index) = self.abandoned.iter().position(|op| *op == completion.id) {
            self.abandoned.swap_remove(index);
            return true;
        }
        let failed = completion.result.is_err();
        let job = std::mem::replace(&mut self.job, Job::Idle);
        self.job = match job {
            Job::Create { spare, op } if op == completion.id => {
                if let Err(error) = &completion.result {
                    self.full = error.kind == DiskErrorKind::Full;
                    return self.abandon(now_ns);
                }
                self.full = false;
                Job::Fill { spare, issued_bytes: 0, ops: Vec::new(), next_at_ns: now_ns }
            }
            Job::Fill { spare, issued_bytes, mut ops, next_at_ns } if ops.contains(&completion.id) => {
                ops.retain(|op| *op != completion.id);
                if failed {
                    self.abandoned.append(&mut ops);
                    return self.abandon(now_ns);
                }
                if issued_bytes < self.size_bytes || !ops.is_empty() {
                    Job::Fill { spare, issued_bytes, ops, next_at_ns }
                } else {
                    Job::Sync { spare, op: ids.issue(DiskOpKind::Sync { file: FileName::Spare(spare) }, out) }
                }
            }
            Job::Sync { spare, op } if op == completion.id => {
                if failed {
                    return self.abandon(now_ns);
                }
                Job::SyncDir { spare, op: ids.issue(DiskOpKind::SyncDir { directory: Directory::Log }, out) }
            }
            Job::SyncDir { spare, op } if op == completion.id => {
                if failed {
                    return self.abandon(now_ns);
                }
                self.spares.push(spare);
                self.in_reserve = false;
                Job::Idle
            }
            Job::Rename { spare, to, op } if op == completion.id => {
                if failed {
                    self.spares.push(spare);
                    return self.abandon(now_ns);
                }
                if mutant::active(Mutant::SegmentNameNotSynced) {
                    (self.next_ready, self.job) = (true, Job::Idle);
                    return true;
                }
                Job::RenameSyncDir { to, op: ids.issue(DiskOpKind::SyncDir { directory: Directory::Log }, out) }
            }
            Job::RenameSyncDir { to, op } if op == completion.id => {
                if failed {
                    self.retry_at_ns = now_ns + RETRY_INTERVAL_NS;
                    Job::NameInDoubt { to }
                } else {
                    self.next_ready = true;
                    self.in_reserve = false;
                    Job::Idle
                }
            }
            other => {
                self.job = other;
                return false;
            }
        };
        true
    }

    fn abandon(&mut self, now_ns: u64) -> bool {
        self.job = Job::Idle;
        self.retry_at_ns = now_ns + RETRY_INTERVAL_NS;
        true
    }

    /// A segment is on its way out: one at a time.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Gives up the oldest segment, which nothing needs any more: it becomes a spare, or goes when there are enough.
    pub fn release_oldest(&mut self, ids: &mut OpIds, out: &mut Vec<DiskOp>) {
        assert!(self.leaving.is_none() && self.files.len() > 1, "the current segment never leaves");
        let start = self.files.pop_front().expect("checked").start;
        let file = FileName::Segment(start);
        // Recycled ones come on top of those being made: without a limit, retention would turn into spares.
        let spare = (self.spares.len() < SPARE_SEGMENT_COUNT).then_some(self.next_spare);
        let kind = match spare {
            Some(spare) => {
                self.next_spare += 1;
                DiskOpKind::Rename { from: file, to: FileName::Spare(spare) }
            }
            None => DiskOpKind::Remove { file },
        };
        self.leaving = Some(Leaving::Going { spare, op: ids.issue(kind, out) });
    }

    fn on_leaving(&mut self, completion: &Completion, ids: &mut OpIds, out: &mut Vec<DiskOp>) -> bool {
        match self.leaving {
            Some(Leaving::Going { spare, op }) if op == completion.id => {
                // A file that could not be renamed or removed stays behind, below the trim position: recovery removes it.
                self.leaving = completion.result.is_ok().then(|| Leaving::SyncDir {
                    spare,
                    op: ids.issue(DiskOpKind::SyncDir { directory: Directory::Log }, out),
                });
                true
            }
            Some(Leaving::SyncDir { spare, op }) if op == completion.id => {
                self.leaving = None;
                if let (Some(spare), Ok(_)) = (spare, &completion.result) {
                    self.spares.push(spare);
                    // What failed before may succeed now: a log that waits for its next segment waits for this.
                    self.retry_at_ns = 0;
                    self.recycled_count += 1;
                    self.full = false;
                    self.in_reserve = false;
                }
                true
            }
            _ => false,
        }
    }
}
