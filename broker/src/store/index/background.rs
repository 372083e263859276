//! What goes on in the background: flush, merges, checkpoints, removals; and what their completions do.

use std::collections::VecDeque;
use std::rc::Rc;

use super::checkpoint::{Checkpoint, RUN_COUNT_MAX};
use super::entry::ENTRY_SIZE_BYTES;
use super::flush::{Cursor, Flush, Stage, drop_slice};
use super::install::{Edit, Installed, apply};
use super::merge::{Merge, MergeError, choose};
use super::rebuild::Rebuild;
use super::run::{Run, RunWriter, WriterPlan};
use super::{Index, IndexError};
use crate::disk::{Completion, DiskDone, DiskError, DiskOp, DiskOpKind, FileName, OpId};
use ringmq_proto::ids::{Epoch, LogPosition};

/// How much memory recent entries take at most, by what they fill, before a flush is due.
const SPARE_ROOM_FACTOR_MAX: usize = 2;

/// Merges at a time: a long one must not make the short ones of lower levels wait.
const MERGES_MAX: usize = 2;

/// Files that nothing names any more.
#[derive(Default)]
pub(super) struct Garbage {
    waiting: VecDeque<FileName>,
    removing: Option<(OpId, FileName)>,
    /// Could not be removed; tried again after [`Index::retry`].
    stuck: Vec<FileName>,
}

impl Garbage {
    fn push(&mut self, file: FileName) {
        self.waiting.push_back(file);
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.removing.is_none()
    }

    fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        if *ops_free == 0 || self.removing.is_some() {
            return;
        }
        let Some(file) = self.waiting.pop_front() else { return };
        let id = next_id();
        self.removing = Some((id, file));
        out.push(DiskOp { id, kind: DiskOpKind::Remove { file } });
        *ops_free -= 1;
    }

    fn on_disk(&mut self, completion: &Completion) -> Option<Option<DiskError>> {
        let (_, file) = self.removing.take_if(|(id, _)| *id == completion.id)?;
        let error = completion.result.as_ref().err().cloned();
        if error.is_some() {
            self.stuck.push(file);
        }
        Some(error)
    }
}

impl Index {
    /// Whether [`Index::start_flush`] should be called: the memory or the log bytes without coverage reach their limit
    /// (`applied` is the end of what was added), no flush is going on and none failed since the last [`Index::retry`].
    pub fn flush_due(&self, applied: LogPosition) -> bool {
        // Queues of few entries take more room than they fill: runs should not become small by that alone.
        let entry_bytes = self.recent.entry_count() * ENTRY_SIZE_BYTES;
        let memory_is_full = entry_bytes >= self.limits.recent_bytes_max
            || self.recent.entry_bytes() >= self.limits.recent_bytes_max.saturating_mul(SPARE_ROOM_FACTOR_MAX);
        let uncovered_bytes = applied.get().saturating_sub(self.covered.get());
        self.flush.is_none()
            && !self.suspended
            && self.runs.len() < RUN_COUNT_MAX
            && (memory_is_full || uncovered_bytes >= self.limits.uncovered_bytes_max)
    }

    /// Starts to write all recent entries into a run that covers the log up to `up_to`: the end of what was added (every
    /// entry so far lies below it, every later one at or above it), which is of `epoch`. [`Index::work`] carries it on.
    /// False when a flush is going on already.
    ///
    /// # Panics
    /// When an entry at or above `up_to` was added: the run would claim what it does not hold.
    pub fn start_flush(&mut self, up_to: LogPosition, epoch: Epoch) -> bool {
        if self.flush.is_some() || self.runs.len() >= RUN_COUNT_MAX {
            return false;
        }
        assert!(up_to >= self.add_floor, "flush up to {up_to}, but entries were added below {}", self.add_floor);
        self.add_floor = up_to;
        let stage = if self.recent.entry_count() == 0 {
            self.installer.push(Edit { covered: Some((up_to, epoch)), ..Edit::default() });
            Stage::Installing
        } else {
            let plan = WriterPlan {
                log_id: self.log_id,
                number: self.take_run_number(),
                level: 0,
                start: self.covered,
                end: up_to,
                entry_count_max: self.recent.entry_count() as u64,
                queue_count_max: self.recent.queue_count() as u64,
            };
            Stage::Writing(Box::new(RunWriter::new(&self.pool, plan)), Cursor::default())
        };
        self.flush = Some(Flush { up_to, epoch, stage });
        true
    }

    /// Carries flush, merges and removals on, by a bounded amount of work (at most about 64 KiB of output) and at most
    /// `ops_free` new operations. True when there is more to do at once, without waiting for a completion.
    pub fn work(&mut self, next_id: &mut impl FnMut() -> OpId, mut ops_free: usize, out: &mut Vec<DiskOp>) -> bool {
        let ops_free = &mut ops_free;
        self.remember_damage();
        self.remove_trimmed_runs();
        if !self.merges_suspended {
            self.start_merge();
        }
        let more = self.flush_slice() || self.merge_slice() || self.rebuild_slice();
        if !self.suspended {
            self.start_install();
        }
        self.installer.drive(next_id, ops_free, out);
        if let Some(Flush { stage: Stage::Writing(writer, _), .. }) = &mut self.flush {
            writer.drive(next_id, ops_free, out);
        }
        if let Some(writer) = self.rebuild.as_mut().and_then(Rebuild::writer_mut) {
            writer.drive(next_id, ops_free, out);
        }
        for merge in self.merges.iter_mut().rev() {
            merge.drive(next_id, ops_free, out);
        }
        if self.orphans.is_empty() {
            self.garbage.drive(next_id, ops_free, out);
        }
        more
    }

    /// Takes the completion of one of our operations; false when it is not ours. A failed one abandons the flush or merge it
    /// belongs to, to be tried again after [`Index::retry`].
    ///
    /// # Errors
    /// [`IndexError::Damaged`] when a run that is merged does not check.
    pub fn on_disk(&mut self, completion: &mut Completion) -> Result<bool, IndexError> {
        if let Some(index) = self.orphans.iter().position(|id| *id == completion.id) {
            self.orphans.swap_remove(index);
            completion.result = Ok(DiskDone::Done);
            return Ok(true);
        }
        if let Some(error) = self.garbage.on_disk(completion) {
            self.failure = error.or(self.failure.take());
            return Ok(true);
        }
        if let Some(installed) = self.installer.on_disk(completion) {
            self.installed(installed);
            return Ok(true);
        }
        if self.flush_on_disk(completion) || self.rebuild_on_disk(completion) {
            return Ok(true);
        }
        self.merge_on_disk(completion)
    }

    /// Lets a failed flush or merge be tried again. For the store's tick: about once a second.
    pub fn retry(&mut self) {
        (self.suspended, self.merges_suspended) = (false, false);
        self.garbage.waiting.extend(self.garbage.stuck.drain(..));
    }

    /// The last failure of a background operation, once: for the log and the metrics.
    pub fn take_failure(&mut self) -> Option<DiskError> {
        self.failure.take()
    }

    /// Whether nothing is going on in the background, and nothing will before the next [`Index::start_flush`],
    /// [`Index::trim`] or [`Index::retry`].
    pub fn is_idle(&self) -> bool {
        let waits = self.suspended && self.installer.edits().next().is_some() && self.orphans.is_empty();
        self.flush.is_none()
            && self.merges.is_empty()
            && self.rebuild.is_none()
            && self.orphans.is_empty()
            && self.garbage.is_idle()
            && (self.installer.is_idle() || waits)
            && (self.merges_suspended || self.next_merge().is_none())
    }

    /// Forgets everything, in memory and on disk: it is damaged. The store adds the records again from where the log
    /// begins; what was covered is zero.
    pub fn discard(&mut self) {
        if let Some(Flush { stage: Stage::Writing(writer, _), .. }) = self.flush.take() {
            self.abandon(writer.file(), writer.in_flight());
        }
        for merge in std::mem::take(&mut self.merges) {
            self.abandon(merge.writer.file(), merge.in_flight());
        }
        self.abandon_rebuild();
        for edit in self.installer.edits() {
            self.garbage.waiting.extend(edit.add.iter().map(|run| run.header.file()));
        }
        if let Some((file, in_flight)) = self.installer.discard() {
            self.abandon(file, in_flight.into_iter().collect());
        }
        if let Some(number) = self.checkpoint.take() {
            self.garbage.push(FileName::Checkpoint(number));
        }
        for run in std::mem::take(&mut self.runs) {
            self.garbage.push(run.header.file());
        }
        self.recent.clear();
        self.retry();
        (self.covered, self.covered_epoch, self.add_floor) = (LogPosition::ZERO, Epoch::ZERO, LogPosition::ZERO);
    }

    pub(super) fn take_run_number(&mut self) -> u64 {
        self.run_number_next += 1;
        self.run_number_next - 1
    }

    /// Lets go of a file that is of no use, as soon as nothing of it is in flight.
    pub(super) fn abandon(&mut self, file: FileName, in_flight: Vec<OpId>) {
        self.orphans.extend(in_flight);
        self.garbage.push(file);
    }

    pub(super) fn fail(&mut self, error: DiskError) {
        self.failure = Some(error);
        self.suspended = true;
    }

    /// One slice of the flush. True when there is more to do at once.
    fn flush_slice(&mut self) -> bool {
        let Some(flush) = &mut self.flush else { return false };
        match &mut flush.stage {
            Stage::Writing(writer, cursor) => {
                if writer.takes_entries() {
                    cursor.fill(&self.recent, self.trimmed, flush.up_to, writer);
                }
                if !cursor.is_ended() {
                    return writer.takes_entries();
                }
                let covered = Some((flush.up_to, flush.epoch));
                if writer.is_empty() {
                    let (file, in_flight) = (writer.file(), writer.in_flight());
                    flush.stage = Stage::Installing;
                    self.installer.push(Edit { covered, ..Edit::default() });
                    self.abandon(file, in_flight);
                } else if writer.is_done() {
                    let Stage::Writing(writer, _) = std::mem::replace(&mut flush.stage, Stage::Installing) else {
                        unreachable!("matched above")
                    };
                    let add = Some(Rc::new(writer.into_run()));
                    self.installer.push(Edit { add, covered, ..Edit::default() });
                }
                false
            }
            Stage::Installing => false,
            Stage::Dropping { next, room_bytes_max } => {
                match drop_slice(&mut self.recent, *next, flush.up_to, *room_bytes_max) {
                    Some(place) => {
                        *next = place;
                        true
                    }
                    None => {
                        self.flush = None;
                        false
                    }
                }
            }
        }
    }

    /// One slice of one merge, of the lowest level that can go on. True when there is more to do at once.
    fn merge_slice(&mut self) -> bool {
        for index in (0..self.merges.len()).rev() {
            let merge = &mut self.merges[index];
            let more = merge.advance(&self.recent, self.trimmed);
            if merge.is_empty() {
                let merge = self.abandon_merge(index);
                self.installer.push(Edit { remove: merge.inputs().collect(), ..Edit::default() });
                return true;
            }
            if merge.writer.is_done() {
                let merge = self.merges.remove(index);
                // What was read ahead of queues that turned out to be removed may still be on its way.
                self.orphans.extend(merge.in_flight());
                let remove = merge.inputs().collect();
                let add = Some(Rc::new(merge.writer.into_run()));
                self.installer.push(Edit { add, remove, covered: None });
                return true;
            }
            if more {
                return true;
            }
        }
        false
    }

    fn abandon_merge(&mut self, index: usize) -> Merge {
        let merge = self.merges.remove(index);
        self.abandon(merge.writer.file(), merge.in_flight());
        merge
    }

    /// Whether a run takes part in nothing that is going on.
    pub(super) fn is_free(&self, run: &Run) -> bool {
        let number = run.header.number;
        !self.merges.iter().any(|merge| merge.inputs().any(|input| input == number))
            && !self.rebuild.as_ref().is_some_and(|rebuild| rebuild.is_of(number))
            && !self.installer.edits().any(|edit| edit.remove.contains(&number))
    }

    fn next_merge(&self) -> Option<Vec<Rc<Run>>> {
        let level_end = self.merges.iter().map(Merge::level).min().unwrap_or(u32::MAX);
        if self.merges.len() == MERGES_MAX {
            return None;
        }
        choose(&self.runs, |run| !run.damaged.get() && self.is_free(run), level_end)
    }

    /// Lets a checkpoint say that a run is damaged, so that the next start builds the index anew. Until then the store may
    /// go on with what is whole.
    fn remember_damage(&mut self) {
        let damaged = self.runs.iter().any(|run| run.damaged.get());
        if damaged && !self.damage_remembered {
            self.installer.push(Edit::default());
        }
        self.damage_remembered = damaged;
    }

    /// A run is damaged, and the checkpoint that says so is not durable yet (nor is it stuck behind a failing disk).
    pub fn is_noting_damage(&self) -> bool {
        let damaged = self.runs.iter().any(|run| run.damaged.get());
        damaged && !self.suspended && (!self.damage_remembered || !self.installer.is_idle())
    }

    fn start_merge(&mut self) {
        if let Some(runs) = self.next_merge() {
            let number = self.take_run_number();
            self.merges.push(Merge::new(&self.pool, number, &runs));
        }
    }

    fn remove_trimmed_runs(&mut self) {
        let trimmed = self.runs.iter().take_while(|run| run.header.end <= self.trimmed);
        let remove: Vec<u64> = trimmed.filter(|run| self.is_free(run)).map(|run| run.header.number).collect();
        if !remove.is_empty() {
            self.installer.push(Edit { remove, ..Edit::default() });
        }
    }

    fn start_install(&mut self) {
        let (runs, pool, log_id) = (&self.runs, &self.pool, self.log_id);
        let before = (self.covered, self.covered_epoch);
        self.installer.start(|edits, number| {
            let (covered, epoch) = edits.iter().filter_map(|edit| edit.covered).next_back().unwrap_or(before);
            Checkpoint::of(covered, epoch, &apply(runs, edits)).encode(pool, log_id, number)
        });
    }

    fn installed(&mut self, installed: Installed) {
        match installed {
            Installed::Going => {}
            Installed::Failed(file, error) => {
                self.garbage.push(file);
                self.fail(error);
            }
            Installed::Done(number, edits) => {
                self.runs = apply(&self.runs, &edits);
                if let Some(old) = self.checkpoint.replace(number) {
                    self.garbage.push(FileName::Checkpoint(old));
                }
                for edit in &edits {
                    self.garbage.waiting.extend(edit.remove.iter().map(|number| FileName::Run(*number)));
                    let Some((covered, epoch)) = edit.covered else { continue };
                    assert!(covered >= self.covered, "coverage falls from {} to {covered}", self.covered);
                    (self.covered, self.covered_epoch) = (covered, epoch);
                    let room_bytes_max = self.room_bytes_max();
                    let flush = self.flush.as_mut().expect("coverage moves by a flush");
                    flush.stage = Stage::Dropping { next: 0, room_bytes_max };
                }
            }
        }
    }

    /// Room for entries that stays when they are dropped: most of what may be taken before a flush is due, but none when
    /// it is filled so sparsely that flushes would be due by room alone.
    fn room_bytes_max(&self) -> usize {
        let filled_bytes = self.recent.entry_count() * ENTRY_SIZE_BYTES;
        let is_dense = filled_bytes * SPARE_ROOM_FACTOR_MAX >= self.recent.entry_bytes();
        if is_dense { self.limits.recent_bytes_max / 2 * 3 } else { 0 }
    }

    fn flush_on_disk(&mut self, completion: &Completion) -> bool {
        let Some(Flush { stage: Stage::Writing(writer, _), .. }) = &mut self.flush else { return false };
        match writer.on_disk(completion) {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let (file, in_flight) = (writer.file(), writer.in_flight());
                self.flush = None;
                self.abandon(file, in_flight);
                self.fail(error);
            }
        }
        true
    }

    fn merge_on_disk(&mut self, completion: &mut Completion) -> Result<bool, IndexError> {
        for index in 0..self.merges.len() {
            match self.merges[index].on_disk(completion) {
                None => continue,
                Some(Ok(())) => {}
                Some(Err(MergeError::Disk(error))) => {
                    self.abandon_merge(index);
                    // A merge needs space that a flush may still find: flushes go on.
                    self.failure = Some(error);
                    self.merges_suspended = true;
                }
                Some(Err(MergeError::Damaged(why))) => {
                    self.abandon_merge(index);
                    return Err(IndexError::Damaged(why));
                }
            }
            return Ok(true);
        }
        Ok(false)
    }
}
