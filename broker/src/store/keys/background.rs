//! What goes on in the background: flushes, merges, removals; and what their completions do.
//!
//! A flush takes a whole table out of the way of new entries and writes it as a run; the table goes when the run is
//! durable. When something fails the file is given up and the table is written again after [`KeyIndex::retry`].

use super::EMPTY_FLUSH_FACTOR;
use super::KeyIndex;
use super::entry::KeyEntry;
use super::merge::{Merge, MergeError, choose};
use super::run::Run;
use super::table::{Table, Walk};
use super::writer::{Plan, Writer};
use crate::disk::{Completion, DiskError, DiskOp, OpId};
use ringmq_proto::ids::{Epoch, LogPosition};
use std::collections::VecDeque;
use std::rc::Rc;

/// Entries of a table that one slice of work takes.
const SLICE_ENTRY_COUNT: usize = 1024;

/// Merges at a time: a long one must not make the short ones wait.
const MERGES_MAX: usize = 2;

/// A table on its way to the disk.
pub(super) struct Flush {
    pub(super) table: Table,
    pub(super) start: LogPosition,
    pub(super) end: LogPosition,
    pub(super) epoch: Epoch,
    /// Of a scan: its part of the log is a gap until the run is there.
    pub(super) is_rescan: bool,
    /// Nothing before it is started, and after a failure.
    writing: Option<Writing>,
}

struct Writing {
    writer: Writer,
    walk: Walk,
    slice: VecDeque<KeyEntry>,
    ended: bool,
}

impl Flush {
    pub(super) fn new(table: Table, (start, end): (LogPosition, LogPosition), epoch: Epoch, is_rescan: bool) -> Self {
        Self { table, start, end, epoch, is_rescan, writing: None }
    }
}

impl KeyIndex {
    /// Whether [`KeyIndex::start_flush`] should be called.
    pub fn flush_due(&self) -> bool {
        let uncovered_bytes = self.applied.since(self.recent_start);
        let factor = if self.recent.is_empty() { EMPTY_FLUSH_FACTOR } else { 1 };
        self.flush.is_none()
            && !self.suspended
            && (self.recent.len() >= self.limits.recent_entry_count_max
                || uncovered_bytes >= self.limits.uncovered_bytes_max.saturating_mul(factor))
    }

    /// Starts to write what was added so far as a run; `epoch` is the log's. [`KeyIndex::work`] carries it on.
    pub fn start_flush(&mut self, epoch: Epoch) {
        if self.flush.is_none() && self.recent_start < self.applied {
            let table = std::mem::take(&mut self.recent);
            self.flush = Some(Flush::new(table, (self.recent_start, self.applied), epoch, false));
            self.recent_start = self.applied;
        }
    }

    /// Carries flush, merges and removals on, by a bounded amount of work (at most about 64 KiB of output) and at most
    /// `ops_free` new operations. Nothing is written of a part of the log that is not `durable`. True when there is more to
    /// do at once, without waiting for a completion.
    pub fn work(
        &mut self,
        durable: LogPosition,
        next_id: &mut impl FnMut() -> OpId,
        mut ops_free: usize,
        out: &mut Vec<DiskOp>,
    ) -> bool {
        let ops_free = &mut ops_free;
        self.give_up_runs();
        self.start_merge();
        let more = self.flush_slice(durable) || self.merge_slice();
        if let Some(Flush { writing: Some(writing), .. }) = &mut self.flush {
            writing.writer.drive(next_id, ops_free, out);
        }
        for merge in self.merges.iter_mut().rev() {
            merge.drive(next_id, ops_free, out);
        }
        self.garbage.drive(next_id, ops_free, out);
        more
    }

    /// Takes the completion of one of our operations; false when it is not ours. A failed one abandons what it belongs to.
    pub fn on_disk(&mut self, completion: &mut Completion) -> bool {
        if let Some(result) = self.garbage.on_disk(completion) {
            self.failure = result.err().or(self.failure.take());
            return true;
        }
        if let Some(Flush { writing: Some(writing), .. }) = &mut self.flush
            && let Some(result) = writing.writer.on_disk(completion)
        {
            match result {
                Ok(()) => self.finish_flush(),
                Err(error) => self.abandon_flush(error),
            }
            return true;
        }
        for index in 0..self.merges.len() {
            if let Some(result) = self.merges[index].on_disk(completion) {
                match result {
                    Ok(()) => self.finish_merge(index),
                    Err(MergeError::Damaged) => self.abandon_merge(index),
                    Err(MergeError::Disk(error)) => {
                        self.abandon_merge(index);
                        self.fail(error);
                    }
                }
                return true;
            }
        }
        false
    }

    /// Lets what failed be tried again. For the store's tick: about once a second.
    pub fn retry(&mut self) {
        self.suspended = false;
        self.garbage.retry();
    }

    /// The last failure of a background operation, once.
    pub fn take_failure(&mut self) -> Option<DiskError> {
        self.failure.take()
    }

    /// Whether nothing is going on in the background, and nothing will before something is added, asked or retried.
    pub fn is_idle(&self) -> bool {
        let stuck = self.suspended && self.flush.as_ref().is_none_or(|flush| flush.writing.is_none());
        (self.flush.is_none() || stuck) && self.merges.is_empty() && self.rescan.is_none() && self.garbage.is_idle()
    }

    fn fail(&mut self, error: DiskError) {
        self.failure = Some(error);
        self.suspended = true;
    }

    /// Lets runs go that are trimmed, or damaged: the part of the log that those covered is a gap from now on.
    fn give_up_runs(&mut self) {
        let is_over = |run: &Rc<Run>| run.damaged.get() || run.header.end <= self.trimmed;
        if !self.runs.iter().any(is_over) {
            return;
        }
        let (over, kept) = std::mem::take(&mut self.runs).into_iter().partition::<Vec<_>, _>(is_over);
        self.runs = kept;
        for run in over {
            let number = run.header.number;
            // A merge of it ends: what it read of the run may be damaged, and its output would cover what is not there.
            if let Some(index) = self.merges.iter().position(|merge| merge.inputs().any(|input| input == number)) {
                self.abandon_merge(index);
            }
            self.garbage.push(run.header.file());
        }
    }

    fn start_merge(&mut self) {
        if self.suspended || self.merges.len() == MERGES_MAX {
            return;
        }
        let class_end = self.merges.iter().map(|merge| merge.class).min().unwrap_or(u32::MAX);
        let is_free = |run: &Run| {
            let number = run.header.number;
            !self.merges.iter().any(|merge| merge.inputs().any(|input| input == number))
        };
        if let Some((runs, class)) = choose(&self.runs, is_free, class_end) {
            let number = self.take_run_number();
            self.merges.push(Merge::new(&self.pool, number, &runs, class));
        }
    }

    /// One slice of the flush. True when there is more to do at once.
    fn flush_slice(&mut self, durable: LogPosition) -> bool {
        let Some(flush) = &mut self.flush else { return false };
        if flush.writing.is_none() && !self.suspended && durable >= flush.end {
            let (first_time_ms, last_time_ms) = flush.table.times_ms();
            let plan = Plan {
                log_id: self.log_id,
                number: self.run_number_next,
                start: flush.start,
                end: flush.end,
                epoch: flush.epoch,
                entry_count_max: flush.table.len() as u64,
                first_time_ms,
                last_time_ms,
            };
            self.run_number_next += 1;
            let writer = Writer::new(&self.pool, plan);
            flush.writing = Some(Writing { writer, walk: Walk::default(), slice: VecDeque::new(), ended: false });
        }
        let Some(writing) = &mut flush.writing else { return false };
        let Writing { writer, walk, slice, ended } = writing;
        if !writer.takes_entries() || *ended {
            return false;
        }
        if slice.is_empty() {
            let mut entries = Vec::new();
            let more = walk.next(&flush.table, SLICE_ENTRY_COUNT, &mut entries);
            *ended = !more && entries.is_empty();
            slice.extend(entries.into_iter().filter(|entry| entry.position >= self.trimmed));
        }
        while writer.takes_entries()
            && let Some(entry) = slice.pop_front()
        {
            writer.push(&entry);
        }
        if *ended {
            writer.finish();
        }
        !*ended && writer.takes_entries()
    }

    fn finish_flush(&mut self) {
        let is_done = |flush: &mut Flush| flush.writing.as_ref().is_some_and(|writing| writing.writer.is_done());
        let Some(Flush { writing: Some(writing), .. }) = self.flush.take_if(is_done) else { return };
        self.install(writing.writer.into_run());
    }

    fn abandon_flush(&mut self, error: DiskError) {
        let writing = self.flush.as_mut().and_then(|flush| flush.writing.take());
        if let Some(Writing { writer, .. }) = writing {
            self.garbage.orphan(writer.in_flight());
            self.garbage.push(writer.file());
        }
        self.fail(error);
    }

    /// One slice of one merge, of the lowest class that can go on. True when there is more to do at once.
    fn merge_slice(&mut self) -> bool {
        self.merges.iter_mut().rev().any(|merge| merge.advance(self.trimmed))
    }

    fn finish_merge(&mut self, index: usize) {
        if !self.merges[index].writer.is_done() {
            return;
        }
        let merge = self.merges.remove(index);
        let replaced: Vec<u64> = merge.inputs().collect();
        let (gone, kept) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition::<Vec<_>, _>(|run| replaced.contains(&run.header.number));
        self.runs = kept;
        for run in gone {
            self.garbage.push(run.header.file());
        }
        self.install(merge.writer.into_run());
    }

    fn abandon_merge(&mut self, index: usize) {
        let merge = self.merges.remove(index);
        self.garbage.orphan(merge.in_flight());
        self.garbage.push(merge.writer.file());
    }

    fn install(&mut self, run: Run) {
        self.runs.push(Rc::new(run));
        self.runs.sort_by_key(|run| run.header.start);
    }
}
