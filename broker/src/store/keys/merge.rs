//! A merge: neighbouring runs become one that covers what they covered, in slices.
//!
//! Entries below the trim position stay behind. Inputs are read past the block cache, in order, at most
//! [`READS_IN_FLIGHT_MAX`] reads at a time; a block's checksum is verified when it arrives.
//!
//! Which runs, and when: a run is of the class of its size (below 1 Mi entries, below 8 Mi, below 64 Mi, larger), and as
//! soon as [`FAN_IN`] neighbours of one class are there they become one, usually of the next. So an entry is written once
//! per class, and n entries lie in at most 7 runs of each class and n / 64 Mi large ones.

use super::entry::{KEY_ENTRY_SIZE_BYTES, KeyEntry};
use super::run::{BLOCK_ENTRY_COUNT, ENTRY_BLOCK_START, Run, entry_in};
use super::writer::{Plan, Writer};
use crate::disk::{Block, BlockPool, Completion, DiskDone, DiskError, DiskOp, DiskOpKind, OpId};
use crate::store::index::block::{self, BLOCK_SIZE_BYTES, Kind};
use ringmq_proto::ids::LogPosition;
use std::collections::VecDeque;
use std::rc::Rc;

/// Runs of one class that become one.
const FAN_IN: usize = 8;

/// Neighbours of one class and below that are merged although no class has enough: something cut their rows short.
const NEIGHBOURS_MAX: usize = 24;

/// Classes below the largest.
const CLASS_COUNT: u32 = 3;

/// Entries of a run of the lowest class are fewer.
const CLASS_ENTRY_COUNT: u64 = 1 << 20;

/// Reads of one merge in flight.
const READS_IN_FLIGHT_MAX: usize = 2;

/// Blocks of one input that are held: one in use, one ahead.
const BLOCKS_HELD_MAX: usize = 2;

/// Entries that one slice of work takes: a block's worth of output.
const SLICE_ENTRY_COUNT: usize = 2728;

/// Bytes that one merge holds besides its writer's.
pub(super) const MERGE_BYTES_MAX: usize = NEIGHBOURS_MAX * BLOCKS_HELD_MAX * BLOCK_SIZE_BYTES;

/// Why a merge ends early.
#[derive(Debug)]
pub(super) enum MergeError {
    /// The disk failed: to be tried again.
    Disk(DiskError),
    /// An input does not check, and says so itself.
    Damaged,
}

struct Input {
    run: Rc<Run>,
    head: Option<KeyEntry>,
    /// Entries that were used up, the head included.
    taken: u64,
    /// The next block to read.
    next: u64,
    held: VecDeque<Block>,
    reading: Option<OpId>,
}

/// A merge that is going on.
pub(super) struct Merge {
    inputs: Vec<Input>,
    pub(super) writer: Writer,
    pub(super) class: u32,
    ended: bool,
}

fn class(entry_count: u64) -> u32 {
    (0..CLASS_COUNT).find(|class| entry_count < CLASS_ENTRY_COUNT << (3 * class)).unwrap_or(CLASS_COUNT)
}

/// The runs for the next merge, in the order of the log, and their class, which is below `class_end`.
pub(super) fn choose(runs: &[Rc<Run>], free: impl Fn(&Run) -> bool, class_end: u32) -> Option<(Vec<Rc<Run>>, u32)> {
    let class_of = |run: &Rc<Run>| class(run.header.entry_count);
    let small = |run: &Rc<Run>, limit: u32| free(run) && class_of(run) <= limit;
    (0..CLASS_COUNT.min(class_end)).find_map(|limit| {
        let rows = runs
            .chunk_by(|left, right| small(left, limit) && small(right, limit) && left.header.end == right.header.start);
        let mut rows = rows.filter(|row| {
            let exact = row.iter().filter(|run| class_of(run) == limit).count();
            small(&row[0], limit) && (exact >= FAN_IN || row.len() >= NEIGHBOURS_MAX)
        });
        rows.next().map(|row| (row[..row.len().min(NEIGHBOURS_MAX)].to_vec(), limit))
    })
}

impl Merge {
    pub(super) fn new(pool: &BlockPool, number: u64, runs: &[Rc<Run>], class: u32) -> Self {
        let (first, last) = (&runs[0], &runs[runs.len() - 1]);
        let times = || runs.iter().map(|run| &run.header).filter(|header| header.entry_count > 0);
        let plan = Plan {
            log_id: first.log_id,
            number,
            start: first.header.start,
            end: last.header.end,
            epoch: last.header.epoch,
            entry_count_max: runs.iter().map(|run| run.header.entry_count).sum(),
            first_time_ms: times().map(|header| header.first_time_ms).min().unwrap_or(0),
            last_time_ms: times().map(|header| header.last_time_ms).max().unwrap_or(0),
        };
        let input = |run: &Rc<Run>| Input {
            run: run.clone(),
            head: None,
            taken: 0,
            next: 0,
            held: VecDeque::new(),
            reading: None,
        };
        let writer = Writer::new(pool, plan);
        Self { inputs: runs.iter().map(input).collect(), writer, class, ended: false }
    }

    /// Numbers of the runs that it replaces.
    pub(super) fn inputs(&self) -> impl Iterator<Item = u64> {
        self.inputs.iter().map(|input| input.run.header.number)
    }

    /// One slice of work. True when the next slice could go on at once.
    pub(super) fn advance(&mut self, trimmed: LogPosition) -> bool {
        let mut left = SLICE_ENTRY_COUNT;
        while !self.ended && self.writer.takes_entries() {
            if left == 0 {
                return true;
            }
            for input in &mut self.inputs {
                if !input.load_head() {
                    return false;
                }
            }
            let heads = self.inputs.iter().enumerate();
            let heads = heads.filter_map(|(index, input)| Some((input.head?.order(), index)));
            let Some((_, index)) = heads.min() else {
                self.ended = true;
                self.writer.finish();
                return false;
            };
            if let Some(entry) = self.inputs[index].head.take().filter(|entry| entry.position >= trimmed) {
                self.writer.push(&entry);
            }
            left -= 1;
        }
        false
    }

    /// Starts reads and writes, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        self.writer.drive(next_id, ops_free, out);
        for held in 0..BLOCKS_HELD_MAX {
            // What an input cannot go on without comes before what is read ahead.
            for index in 0..self.inputs.len() {
                let reading = self.inputs.iter().filter(|input| input.reading.is_some()).count();
                if *ops_free == 0 || reading == READS_IN_FLIGHT_MAX {
                    return;
                }
                let input = &mut self.inputs[index];
                let blocks = input.run.header.entry_block_count();
                if input.reading.is_none() && input.held.len() == held && input.next < blocks {
                    let id = next_id();
                    input.reading = Some(id);
                    let offset = (ENTRY_BLOCK_START + input.next) * BLOCK_SIZE_BYTES as u64;
                    let kind = DiskOpKind::Read { file: input.run.header.file(), offset, length: BLOCK_SIZE_BYTES };
                    out.push(DiskOp { id, kind });
                    *ops_free -= 1;
                }
            }
        }
    }

    /// Takes the completion of one of its operations; nothing when it is not of this merge.
    pub(super) fn on_disk(&mut self, completion: &mut Completion) -> Option<Result<(), MergeError>> {
        if let Some(result) = self.writer.on_disk(completion) {
            return Some(result.map_err(MergeError::Disk));
        }
        let input = self.inputs.iter_mut().find(|input| input.reading == Some(completion.id))?;
        input.reading = None;
        Some(match std::mem::replace(&mut completion.result, Ok(DiskDone::Done)) {
            Err(error) => Err(MergeError::Disk(error)),
            Ok(DiskDone::Read { block, length }) => input.loaded(block, length),
            Ok(DiskDone::Done) => Err(input.damaged()),
        })
    }

    /// Operations that are in flight: after a failure their completions are still to come.
    pub(super) fn in_flight(&self) -> Vec<OpId> {
        self.inputs.iter().filter_map(|input| input.reading).chain(self.writer.in_flight()).collect()
    }
}

impl Input {
    /// Sees to it that the head is known, unless there are no more. False while its block is not there.
    fn load_head(&mut self) -> bool {
        if self.head.is_some() || self.taken == self.run.header.entry_count {
            return true;
        }
        let index = usize::try_from(self.taken % BLOCK_ENTRY_COUNT).expect("less than a block");
        let Some(block) = self.held.front() else { return false };
        self.head = Some(entry_in(block, index));
        self.taken += 1;
        if self.taken.is_multiple_of(BLOCK_ENTRY_COUNT) {
            self.held.pop_front();
        }
        true
    }

    fn loaded(&mut self, block: Block, length: usize) -> Result<(), MergeError> {
        let number = ENTRY_BLOCK_START + self.next;
        let left = self.run.header.entry_count - self.next * BLOCK_ENTRY_COUNT;
        let label = self.run.label(number, Kind::KeyEntries);
        let sound = block::check(&block[..length], label, KEY_ENTRY_SIZE_BYTES).is_ok();
        if !sound || u64::from(block::item_count(&block)) != left.min(BLOCK_ENTRY_COUNT) {
            return Err(self.damaged());
        }
        self.next += 1;
        self.held.push_back(block);
        Ok(())
    }

    fn damaged(&self) -> MergeError {
        self.run.damaged.set(true);
        MergeError::Damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::run::RunHeader;
    use ringmq_proto::ids::Epoch;
    use std::cell::Cell;

    fn runs(counts: &[u64]) -> Vec<Rc<Run>> {
        let run = |(number, entry_count): (u64, &u64)| {
            let header = RunHeader {
                number,
                start: LogPosition::new(number * 10),
                end: LogPosition::new(number * 10 + 10),
                entry_count: *entry_count,
                first_time_ms: 0,
                last_time_ms: 0,
                fence_start: 1,
                block_count: 1,
                epoch: Epoch::ZERO,
            };
            Rc::new(Run { log_id: 1, header, fences: Vec::new(), damaged: Cell::new(false) })
        };
        (0..).zip(counts).map(run).collect()
    }

    fn chosen(counts: &[u64]) -> Option<Vec<u64>> {
        let chosen = choose(&runs(counts), |_| true, u32::MAX)?.0;
        Some(chosen.iter().map(|run| run.header.number).collect())
    }

    #[test]
    fn neighbours_of_one_class_are_merged_when_there_are_enough() {
        let large = CLASS_ENTRY_COUNT;
        assert_eq!(chosen(&[0; 7]), None);
        assert_eq!(chosen(&[0; 8]), Some((0..8).collect()));
        assert_eq!(chosen(&[&[large], &[5; 7][..]].concat()), None, "the large one is rewritten with its equals only");
        assert_eq!(chosen(&[&[large; 8], &[5; 3][..]].concat()), Some((0..11).collect()));
        assert_eq!(chosen(&[5, 5, 5, 5, large, 5, 5, 5, 5]), None);
        assert_eq!(chosen(&[u64::MAX; 30]), None, "the largest stay as they are");
    }

    #[test]
    fn runs_with_a_gap_between_them_are_not_merged() {
        let mut runs = runs(&[0; 9]);
        runs.remove(4);
        assert!(choose(&runs, |_| true, u32::MAX).is_none());
    }
}
