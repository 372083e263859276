//! A merge: neighbouring runs of one level become one run of the next, in slices.
//!
//! Runs cover parts of the log one after another, so a queue's entries in an older run all come before those in a newer
//! one: the merge goes through the queues in the order of their ids and copies what each input has, oldest first. Entries
//! below the trim position and those of removed queues stay behind. Inputs are read past the block cache, in order, at
//! most [`READS_IN_FLIGHT_MAX`] reads at a time; a block's checksum is verified when it arrives.

mod choose;
mod input;

use std::rc::Rc;

use ringmq_proto::ids::LogPosition;

use super::flush::{SLICE_ENTRY_COUNT, SLICE_QUEUE_COUNT};
use super::recent::RecentTable;
use super::run::{Run, RunWriter, WriterPlan};
use crate::disk::{BlockPool, Completion, DiskDone, DiskError, DiskOp, DiskOpKind, OpId};
use input::{Input, Want};

pub(super) use choose::choose;

/// Reads of one merge in flight.
pub(super) const READS_IN_FLIGHT_MAX: usize = 2;

/// Why a merge ends early.
#[derive(Debug)]
pub(super) enum MergeError {
    /// The disk failed: to be tried again.
    Disk(DiskError),
    /// An input does not check: what is wrong with it.
    Damaged(String),
}

struct Reading {
    id: OpId,
    input: usize,
    want: Want,
}

/// A merge that is going on.
pub(super) struct Merge {
    inputs: Vec<Input>,
    /// The run that is made.
    pub(super) writer: RunWriter,
    reading: Vec<Reading>,
    ended: bool,
}

impl Merge {
    /// A merge of neighbouring runs, in the order of the log, into run `number`.
    pub(super) fn new(pool: &BlockPool, number: u64, runs: &[Rc<Run>]) -> Self {
        let (first, last) = (&runs[0], &runs[runs.len() - 1]);
        let queue_first = runs.iter().map(|run| run.header.queue_first).min().expect("runs are merged");
        let queue_last = runs.iter().map(|run| run.header.queue_last).max().expect("runs are merged");
        let queue_span = u64::from(queue_last.get() - queue_first.get()) + 1;
        let plan = WriterPlan {
            log_id: first.log_id,
            number,
            level: runs.iter().map(|run| run.header.level).max().expect("runs are merged") + 1,
            start: first.header.start,
            end: last.header.end,
            entry_count_max: runs.iter().map(|run| run.header.entry_count).sum(),
            queue_count_max: queue_span.min(runs.iter().map(|run| run.header.queue_count).sum()),
        };
        Self {
            inputs: runs.iter().cloned().map(Input::new).collect(),
            writer: RunWriter::new(pool, plan),
            reading: Vec::new(),
            ended: false,
        }
    }

    /// Numbers of the runs that it replaces.
    pub(super) fn inputs(&self) -> impl Iterator<Item = u64> {
        self.inputs.iter().map(|input| input.run.header.number)
    }

    /// The level of its inputs.
    pub(super) fn level(&self) -> u32 {
        self.inputs[0].run.header.level
    }

    /// Whether it came to its end without an entry: nothing replaces the inputs.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.writer.is_empty()
    }

    /// Bytes of memory that its reads hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.inputs.iter().map(Input::memory_bytes).sum()
    }

    /// One slice of copying. True when the next slice could go on at once.
    pub(super) fn advance(&mut self, recent: &RecentTable, trimmed: LogPosition) -> bool {
        let (mut entries_left, mut records_left) = (SLICE_ENTRY_COUNT, SLICE_QUEUE_COUNT);
        while !self.ended && self.writer.takes_entries() {
            if entries_left == 0 || records_left == 0 {
                return true;
            }
            for input in &mut self.inputs {
                if !input.load_record() {
                    return false;
                }
            }
            let records = self.inputs.iter().enumerate().filter_map(|(index, input)| Some((input.queue()?, index)));
            let Some((queue, index)) = records.min() else {
                self.ended = true;
                if !self.writer.is_empty() {
                    self.writer.finish();
                }
                return false;
            };
            let input = &mut self.inputs[index];
            if recent.is_removed(queue) {
                input.skip_record();
                records_left -= 1;
                continue;
            }
            let Some(copied) = input.copy(&mut self.writer, trimmed, entries_left) else { return false };
            entries_left -= copied;
            records_left -= usize::from(input.queue() != Some(queue));
        }
        false
    }

    /// Starts reads and writes, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        self.writer.drive(next_id, ops_free, out);
        while *ops_free > 0 && self.reading.len() < READS_IN_FLIGHT_MAX {
            // What an input cannot go on without comes before what is read ahead.
            let wanted = (0..=1).find_map(|held| {
                let mut inputs = self.inputs.iter_mut().enumerate();
                inputs.find_map(|(index, input)| input.want(held).map(|want| (index, want)))
            });
            let Some((input, want)) = wanted else { return };
            let id = next_id();
            self.reading.push(Reading { id, input, want });
            let file = self.inputs[input].run.header.file();
            let (offset, length) = want.byte_range();
            out.push(DiskOp { id, kind: DiskOpKind::Read { file, offset, length } });
            *ops_free -= 1;
        }
    }

    /// Takes the completion of one of its operations; nothing when it is not of this merge.
    pub(super) fn on_disk(&mut self, completion: &mut Completion) -> Option<Result<(), MergeError>> {
        if let Some(result) = self.writer.on_disk(completion) {
            return Some(result.map_err(MergeError::Disk));
        }
        let index = self.reading.iter().position(|reading| reading.id == completion.id)?;
        let reading = self.reading.swap_remove(index);
        let result = std::mem::replace(&mut completion.result, Ok(DiskDone::Done));
        let input = &mut self.inputs[reading.input];
        Some(match result {
            Err(error) => Err(MergeError::Disk(error)),
            Ok(DiskDone::Read { block, length }) => {
                input.loaded(reading.want, block, length).map_err(MergeError::Damaged)
            }
            Ok(DiskDone::Done) => Err(MergeError::Damaged(format!("{} gave no bytes", input.run.header.file().path()))),
        })
    }

    /// Operations that are in flight: after a failure their completions are still to come.
    pub(super) fn in_flight(&self) -> Vec<OpId> {
        self.reading.iter().map(|reading| reading.id).chain(self.writer.in_flight()).collect()
    }
}
