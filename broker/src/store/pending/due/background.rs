//! What goes on in the background: flushes, merges, reading ahead, removals; and what their completions do.
//!
//! A flush takes a whole table out of the way of new words and writes it as a run; the table goes when the run is durable.
//! When something fails the file is given up and the table is written again after [`DueIndex::retry`].

use super::run::Run;
use super::scan::{Scan, ScanError};
use super::totals::Totals;
use super::writer::{Plan, Writer};
use super::{DueIndex, DueKey, Table};
use crate::disk::{Completion, DiskError, DiskErrorKind, DiskOp, OpId};
use crate::mutant::{self, Mutant};
use crate::store::pending::table::Aside;
use ringmq_proto::ids::{Epoch, LogPosition};
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

/// Words of a table that one slice of work takes.
const SLICE_ENTRY_COUNT: usize = 1364;

/// A table on its way to the disk.
pub(super) struct Flush {
    pub(super) table: Table,
    start: LogPosition,
    end: LogPosition,
    epoch: Epoch,
    floor_ms: u64,
    totals: Totals,
    /// Nothing before it is started, and after a failure.
    writing: Option<Writing>,
}

struct Writing {
    writer: Writer,
    /// The last word that was looked at.
    last: Option<DueKey>,
    ended: bool,
}

impl DueIndex {
    /// Whether [`DueIndex::start_flush`] should be called.
    pub(in crate::store) fn flush_due(&self) -> bool {
        self.recent.len() >= self.limits.recent_entry_count_max
            || (!self.recent.is_empty() && self.applied.since(self.recent_start) >= self.limits.uncovered_bytes_max)
    }

    /// Starts to write what was said so far as a run, unless nothing was, or the run before is not there yet; `epoch` is the
    /// log's. [`DueIndex::work`] carries it on.
    pub(in crate::store) fn start_flush(&mut self, epoch: Epoch) {
        if self.flush.is_some() || self.recent.is_empty() || self.recent_start >= self.applied {
            return;
        }
        let floor_ms = self.floor_ms();
        let table = std::mem::take(&mut self.recent);
        let (start, end, totals) = (self.runs_end, self.applied, self.totals);
        self.flush = Some(Flush { table, start, end, epoch, floor_ms, totals, writing: None });
        self.recent_start = self.applied;
    }

    /// Carries everything on, by a bounded amount of work and at most `ops_free` new operations. Nothing is written of a part
    /// of the log that is not `durable`. True when there is more to do at once, without waiting for a completion.
    pub(in crate::store) fn work(
        &mut self,
        durable: LogPosition,
        aside: &Aside,
        next_id: &mut impl FnMut() -> OpId,
        mut ops_free: usize,
        out: &mut Vec<DiskOp>,
    ) -> bool {
        let ops_free = &mut ops_free;
        self.start_merge();
        let more = self.fill_near(aside) || self.flush_slice(durable) || self.collect_owed() || self.merge_slice();
        let owed = self.owed.as_mut().filter(|owed| !owed.is_collected).and_then(|owed| owed.scan.as_mut());
        let near = self.near_scan.as_mut().filter(|_| self.is_filling);
        for scan in [near, owed].into_iter().flatten() {
            scan.drive(next_id, ops_free, out);
        }
        if let Some(Flush { writing: Some(writing), .. }) = &mut self.flush {
            writing.writer.drive(next_id, ops_free, out);
        }
        if let Some(merge) = &mut self.merge {
            merge.writer.drive(next_id, ops_free, out);
            merge.scan.drive(next_id, ops_free, out);
        }
        self.garbage.drive(next_id, ops_free, out);
        more
    }

    /// Takes the completion of one of our operations; false when it is not ours. A failed one abandons what it belongs to.
    pub(in crate::store) fn on_disk(&mut self, completion: &mut Completion) -> bool {
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
        if let Some(merge) = &mut self.merge
            && let Some(result) = merge.writer.on_disk(completion)
        {
            match result {
                Ok(()) => self.finish_merge(),
                Err(error) => {
                    self.abandon_merge();
                    self.fail(error);
                }
            }
            return true;
        }
        self.scan_on_disk(completion)
    }

    fn scan_on_disk(&mut self, completion: &mut Completion) -> bool {
        let on_disk = |scan: Option<&mut Scan>, completion: &mut Completion| scan?.on_disk(completion);
        let merge = self.merge.as_mut().map(|merge| &mut merge.scan);
        if let Some(result) = on_disk(merge, completion) {
            if result.is_err() {
                self.abandon_merge();
            }
            self.scanned(result);
            return true;
        }
        if let Some(result) = on_disk(self.near_scan.as_mut(), completion) {
            if result.is_err() {
                self.drop_near_scan();
            }
            self.scanned(result);
            return true;
        }
        let owed = self.owed.as_mut().and_then(|owed| owed.scan.as_mut());
        let Some(result) = on_disk(owed, completion) else { return false };
        if result.is_err() {
            self.drop_owed_scan();
        }
        self.scanned(result);
        true
    }

    fn scanned(&mut self, result: Result<(), ScanError>) {
        match result {
            Ok(()) => {}
            Err(ScanError::Disk(error)) => self.fail(error),
            Err(ScanError::Damaged { number }) => self.give_up_to(number),
        }
    }

    /// A run is damaged: it goes, and so do the older ones, of whose words it may have said that they count no more. The next
    /// start finds them missing.
    pub(super) fn give_up_to(&mut self, number: u64) {
        let Some(index) = self.runs.iter().position(|run| run.header.number == number) else { return };
        self.incomplete = true;
        let detail = format!("{} is damaged: restart the broker to rebuild it", self.runs[index].header.file().path());
        self.failure = Some(DiskError { kind: DiskErrorKind::Io, detail });
        self.abandon_merge();
        self.drop_near_scan();
        self.drop_owed_scan();
        for run in self.runs.drain(..=index) {
            self.garbage.push(run.header.file());
        }
    }

    /// Lets what failed be tried again. For the store's tick: about once a second.
    pub(in crate::store) fn retry(&mut self) {
        (self.suspended, self.is_merge_wanted) = (false, true);
        self.garbage.retry();
    }

    /// The last failure of a background operation, once.
    pub(in crate::store) fn take_failure(&mut self) -> Option<DiskError> {
        self.failure.take()
    }

    /// Files of runs that are lost are still there: a clean stop waits until they are not, so that the next start knows.
    pub(in crate::store) fn is_noting_damage(&self) -> bool {
        self.incomplete && !self.suspended && !self.garbage.is_idle()
    }

    fn fail(&mut self, error: DiskError) {
        self.failure = Some(error);
        self.suspended = true;
    }

    /// One slice of the flush. True when there is more to do at once.
    fn flush_slice(&mut self, durable: LogPosition) -> bool {
        let Some(flush) = &mut self.flush else { return false };
        if flush.writing.is_none() && !self.suspended && durable >= flush.end {
            let plan = Plan {
                log_id: self.log_id,
                number: self.run_number_next,
                start: flush.start,
                end: flush.end,
                epoch: flush.epoch,
                entry_count_max: flush.table.len() as u64,
                floor_ms: flush.floor_ms,
                told: (flush.end, flush.epoch),
                totals: flush.totals,
            };
            self.run_number_next += 1;
            let writer = Writer::new(&self.pool, plan);
            flush.writing = Some(Writing { writer, last: None, ended: false });
        }
        let Some(Writing { writer, last, ended }) = &mut flush.writing else { return false };
        if *ended {
            return false;
        }
        let from = last.map_or(Unbounded, Excluded);
        let mut words = flush.table.range((from, Unbounded));
        for _ in 0..SLICE_ENTRY_COUNT {
            if !writer.takes_entries() {
                return false;
            }
            let Some((key, said)) = words.next() else {
                *ended = true;
                writer.finish();
                return false;
            };
            *last = Some(*key);
            // The floor says of older runs that it is settled.
            let is_forgotten = said.is_none() && mutant::active(Mutant::SettledComesBack);
            if !is_forgotten && said.map_or(key.due_ms >= flush.floor_ms, |entry| entry.position >= self.trimmed) {
                writer.push(*key, said);
            }
        }
        true
    }

    fn finish_flush(&mut self) {
        let is_done = |flush: &mut Flush| flush.writing.as_ref().is_some_and(|writing| writing.writer.is_done());
        let Some(Flush { writing: Some(writing), end, .. }) = self.flush.take_if(is_done) else { return };
        self.runs_end = end;
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

    pub(super) fn install(&mut self, run: Run) {
        self.runs.push(Rc::new(run));
        self.runs.sort_by_key(|run| run.header.start);
        self.is_merge_wanted = true;
        self.drop_near_scan();
        self.drop_owed_scan();
    }
}
