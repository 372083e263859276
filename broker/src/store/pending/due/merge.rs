//! A merge: neighbouring runs become one that covers what they covered, in slices.
//!
//! What is below the floors of newer runs, what retention has seen leave, and, when no older run is left, the words that
//! something is settled stay behind.
//!
//! Which runs, and when: a run is of the class of its size, in words of a flush (below 2, 8, 32, 128 times as many, more), and
//! as soon as [`FAN_IN`] neighbours of one class are there they become one. So an entry is written once per class. A run half
//! of which is dead is written again alone: what was delivered does not stay on disk.

use super::run::Run;
use super::scan::{BLOCKS_HELD_MAX, Head, Scan};
use super::writer::{Plan, Writer};
use super::{DueIndex, DueKey};
use crate::store::index::block::BLOCK_SIZE_BYTES;
use crate::store::runs::FILE_BYTES_MAX;
use ringmq_proto::ids::LogPosition;
use std::ops::Range;
use std::rc::Rc;

/// Runs of one class that become one.
const FAN_IN: usize = 4;

/// Neighbours of one class and below that are merged although no class has enough: something cut their rows short.
const NEIGHBOURS_MAX: usize = 12;

/// Classes below the largest.
const CLASS_COUNT: u32 = 4;

/// Entries that one slice of work takes: a block's worth of output.
const SLICE_ENTRY_COUNT: usize = 1364;

/// A merge that is going on.
pub(super) struct Merge {
    pub(super) scan: Scan,
    pub(super) writer: Writer,
    /// Numbers of the runs that it replaces.
    pub(super) inputs: Vec<u64>,
    /// There are older runs.
    keeps_settled: bool,
    ended: bool,
}

impl Merge {
    /// One slice of work. True when the next slice could go on at once.
    fn advance(&mut self, trimmed: LogPosition) -> bool {
        for _ in 0..SLICE_ENTRY_COUNT {
            if self.ended || !self.writer.takes_entries() {
                return false;
            }
            match self.scan.peek() {
                Head::NotYet => return false,
                Head::End => {
                    self.ended = true;
                    self.writer.finish();
                }
                Head::Entry(key, said) => {
                    self.scan.pop();
                    if said.map_or(self.keeps_settled, |entry| entry.position >= trimmed) {
                        self.writer.push(key, &said);
                    }
                }
            }
        }
        true
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.inputs.len() * BLOCKS_HELD_MAX * BLOCK_SIZE_BYTES + FILE_BYTES_MAX
    }
}

fn class(entry_count: u64, flush_entry_count: u64) -> u32 {
    (0..CLASS_COUNT).find(|class| entry_count < (2 * flush_entry_count) << (2 * class)).unwrap_or(CLASS_COUNT)
}

/// The neighbours that should become one, by the numbers of their entries.
fn choose(entry_counts: &[u64], flush_entry_count: u64) -> Option<Range<usize>> {
    let classes: Vec<u32> = entry_counts.iter().map(|count| class(*count, flush_entry_count)).collect();
    (0..CLASS_COUNT).find_map(|limit| {
        let mut start = 0;
        for row in classes.chunk_by(|left, right| (*left <= limit) == (*right <= limit)) {
            let exact = row.iter().filter(|class| **class == limit).count();
            if row[0] <= limit && (exact >= FAN_IN || row.len() >= NEIGHBOURS_MAX) {
                return Some(start..start + row.len().min(NEIGHBOURS_MAX));
            }
            start += row.len();
        }
        None
    })
}

impl DueIndex {
    pub(super) fn start_merge(&mut self) {
        if self.suspended || self.merge.is_some() || !std::mem::take(&mut self.is_merge_wanted) {
            return;
        }
        let counts: Vec<u64> = self.runs.iter().map(|run| run.header.entry_count).collect();
        let chosen = choose(&counts, self.limits.recent_entry_count_max as u64);
        let Some(range) = chosen.or_else(|| self.half_dead()) else { return };
        let (first, last) = (&self.runs[range.start].header, &self.runs[range.end - 1].header);
        // What is left out because of a newer run's floor must stay dead without that run.
        let tellers = || self.runs[range.start..].iter().map(|run| &run.header);
        let told = tellers().max_by_key(|header| header.told_to).unwrap_or(last);
        let plan = Plan {
            log_id: self.log_id,
            number: self.run_number_next,
            start: first.start,
            end: last.end,
            epoch: last.epoch,
            entry_count_max: self.runs[range.clone()].iter().map(|run| run.header.entry_count).sum(),
            floor_ms: tellers().map(|header| header.floor_ms).max().unwrap_or(0),
            told: (told.told_to, told.told_epoch),
            totals: last.totals,
        };
        let inputs = range.clone().map(|index| (&self.runs[index], self.dead_below_ms(index)));
        self.merge = Some(Merge {
            scan: Scan::new(inputs, DueKey::MIN),
            writer: Writer::new(&self.pool, plan),
            inputs: self.runs[range.clone()].iter().map(|run| run.header.number).collect(),
            keeps_settled: plan.start > LogPosition::ZERO,
            ended: false,
        });
        self.run_number_next += 1;
    }

    /// A run at least half of whose blocks hold nothing that counts.
    fn half_dead(&self) -> Option<Range<usize>> {
        let is_half_dead = |index: &usize| {
            let (run, floor_ms) = (&self.runs[*index], self.dead_below_ms(*index));
            if run.header.last_due_ms < floor_ms {
                return run.header.entry_count > 0;
            }
            let dead = run.block_of(DueKey::first_of(floor_ms));
            dead > 0 && 2 * dead >= run.fences.len()
        };
        (0..self.runs.len()).find(is_half_dead).map(|index| index..index + 1)
    }

    /// One slice of the merge. True when there is more to do at once.
    pub(super) fn merge_slice(&mut self) -> bool {
        let trimmed = self.trimmed;
        self.merge.as_mut().is_some_and(|merge| merge.advance(trimmed))
    }

    pub(super) fn finish_merge(&mut self) {
        let Some(merge) = self.merge.take_if(|merge| merge.writer.is_done()) else { return };
        let (gone, kept) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition::<Vec<Rc<Run>>, _>(|run| merge.inputs.contains(&run.header.number));
        self.runs = kept;
        for run in gone {
            self.garbage.push(run.header.file());
        }
        self.install(merge.writer.into_run());
    }

    pub(super) fn abandon_merge(&mut self) {
        let Some(merge) = self.merge.take() else { return };
        self.garbage.orphan(merge.scan.in_flight());
        self.garbage.orphan(merge.writer.in_flight());
        self.garbage.push(merge.writer.file());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_class_are_merged_when_there_are_enough() {
        assert_eq!(choose(&[0; 3], 10), None);
        assert_eq!(choose(&[5; 4], 10), Some(0..4));
        assert_eq!(choose(&[20, 5, 5, 5, 5], 10), Some(1..5), "the large one is written again with its equals only");
        assert_eq!(choose(&[20, 20, 20, 20, 5], 10), Some(0..5));
        assert_eq!(choose(&[5, 5, 20, 5, 5], 10), None);
        assert_eq!(choose(&[u64::MAX; 30], 10), None, "the largest stay as they are");
    }
}
