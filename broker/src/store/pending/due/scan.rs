//! Several runs read side by side in the order of their keys, from a key on: what is soon due, what a leaving segment owes, and
//! what a merge writes.
//!
//! Blocks are read past the block cache, in order, at most [`READS_IN_FLIGHT_MAX`] reads at a time; a block's checksum is
//! verified when it arrives. Of entries with one key the newest run's is given.

use super::entry::{DueKey, Said};
use super::run::{ENTRY_BLOCK_START, Run, entry_in, first_from};
use crate::disk::{Block, Completion, DiskDone, DiskError, DiskOp, DiskOpKind, OpId};
use crate::store::index::block::{self, BLOCK_SIZE_BYTES};
use std::collections::VecDeque;
use std::rc::Rc;

/// Reads of one scan in flight.
const READS_IN_FLIGHT_MAX: usize = 4;

/// Blocks of one run that are held: one in use, one ahead.
pub(super) const BLOCKS_HELD_MAX: usize = 2;

/// Why a scan ends early.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The disk failed: to be tried again.
    Disk(DiskError),
    /// A block of this run does not check.
    Damaged { number: u64 },
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Blocks are being read.
    NotYet,
    /// Nothing more.
    End,
    /// This.
    Entry(DueKey, Said),
}

#[derive(Debug)]
struct Input {
    run: Rc<Run>,
    head: Option<(DueKey, Said)>,
    /// Entries below are not looked at.
    from: DueKey,
    /// The entry block that is in use, and the next entry in it. The first time a block is used, `from` is looked up in it.
    block: u64,
    index: Option<usize>,
    held: VecDeque<Block>,
    reading: Option<OpId>,
}

/// A scan that is going on.
#[derive(Debug)]
pub(super) struct Scan {
    /// The oldest run first.
    inputs: Vec<Input>,
    head: Option<(DueKey, Said)>,
}

impl Scan {
    /// A scan of runs, the oldest first, each with the due time below which all in it is settled.
    pub(super) fn new<'r>(runs: impl Iterator<Item = (&'r Rc<Run>, u64)>, from: DueKey) -> Self {
        let input = |(run, dead_below_ms): (&Rc<Run>, u64)| {
            let from = from.max(DueKey::first_of(dead_below_ms));
            let dead = from.due_ms > run.header.last_due_ms;
            let block = if dead { run.header.entry_block_count() } else { run.block_of(from) as u64 };
            let run = run.clone();
            Input { run, head: None, from, block, index: None, held: VecDeque::new(), reading: None }
        };
        Self { inputs: runs.map(input).collect(), head: None }
    }

    /// The next entry; it stays until [`Scan::pop`].
    pub(super) fn peek(&mut self) -> Head {
        if let Some((key, said)) = self.head {
            return Head::Entry(key, said);
        }
        let mut first: Option<(DueKey, Said)> = None;
        for input in &mut self.inputs {
            if !input.load_head() {
                return Head::NotYet;
            }
            if let Some(head) = input.head
                && first.is_none_or(|(key, _)| head.0 <= key)
            {
                first = Some(head);
            }
        }
        let Some((key, said)) = first else { return Head::End };
        for input in &mut self.inputs {
            input.head.take_if(|(head, _)| *head == key);
        }
        self.head = first;
        Head::Entry(key, said)
    }

    pub(super) fn pop(&mut self) {
        self.head = None;
    }

    /// Starts reads, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        let mut reading = self.inputs.iter().filter(|input| input.reading.is_some()).count();
        for held in 0..BLOCKS_HELD_MAX {
            // What an input cannot go on without comes before what is read ahead.
            for input in &mut self.inputs {
                if *ops_free == 0 || reading == READS_IN_FLIGHT_MAX {
                    return;
                }
                let next = input.block + input.held.len() as u64;
                if input.reading.is_some() || input.held.len() != held || next >= input.run.header.entry_block_count() {
                    continue;
                }
                let id = next_id();
                input.reading = Some(id);
                let offset = (ENTRY_BLOCK_START + next) * BLOCK_SIZE_BYTES as u64;
                let kind = DiskOpKind::Read { file: input.run.header.file(), offset, length: BLOCK_SIZE_BYTES };
                out.push(DiskOp { id, kind });
                *ops_free -= 1;
                reading += 1;
            }
        }
    }

    /// Takes the completion of one of its operations; nothing when it is not of this scan.
    pub(super) fn on_disk(&mut self, completion: &mut Completion) -> Option<Result<(), ScanError>> {
        let input = self.inputs.iter_mut().find(|input| input.reading == Some(completion.id))?;
        input.reading = None;
        Some(match std::mem::replace(&mut completion.result, Ok(DiskDone::Done)) {
            Err(error) => Err(ScanError::Disk(error)),
            Ok(DiskDone::Read { block, length }) => input.loaded(block, length),
            Ok(DiskDone::Done) => Err(input.damaged()),
        })
    }

    /// Operations that are in flight: when it is abandoned their completions are still to come.
    pub(super) fn in_flight(&self) -> Vec<OpId> {
        self.inputs.iter().filter_map(|input| input.reading).collect()
    }

    /// Bytes of blocks that it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        self.inputs.iter().map(|input| input.held.len()).sum::<usize>() * BLOCK_SIZE_BYTES
    }
}

impl Input {
    /// Sees to it that the head is known, unless there are no more. False while its block is not there.
    fn load_head(&mut self) -> bool {
        while self.head.is_none() && self.block < self.run.header.entry_block_count() {
            let Some(block) = self.held.front() else { return false };
            let index = *self.index.get_or_insert_with(|| first_from(block, self.from));
            if index < block::item_count(block) as usize {
                self.head = Some(entry_in(block, index));
                self.index = Some(index + 1);
            } else {
                self.held.pop_front();
                (self.block, self.index) = (self.block + 1, None);
            }
        }
        true
    }

    fn loaded(&mut self, block: Block, length: usize) -> Result<(), ScanError> {
        let index = self.block + self.held.len() as u64;
        if self.run.check(index, &block[..length]).is_err() {
            return Err(self.damaged());
        }
        self.held.push_back(block);
        Ok(())
    }

    fn damaged(&self) -> ScanError {
        ScanError::Damaged { number: self.run.header.number }
    }
}
