//! Replaying more than memory holds: what the log says is put down in runs on the way, and these become one when it has ended.
//!
//! 1. When [`DueLimits::recent_entry_count_max`] words are in memory, they are written as a run ([`DueIndex::replayed`]);
//!    [`FAN_IN`] of one level become one of the next.
//! 2. The log has ended, and is durable: all of them and what is recent become the run that follows the last one that was there
//!    ([`DueIndex::end_replay`]).
//!
//! Only at the end is it known what is trimmed, and how much is pending (a copy does not say whether the log tells of its
//! original, too). So what is put down says that it starts [`NOWHERE`]: after a crash before the end of 2 no opening takes it
//! for the index, and removes it.
//!
//! [`DueLimits::recent_entry_count_max`]: super::DueLimits::recent_entry_count_max

use super::run::Run;
use super::scan::{Head, Scan, ScanError};
use super::totals::Totals;
use super::writer::{Plan, Writer};
use super::{DueIndex, DueKey};
use crate::disk::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, OpId};
use crate::store::pending::table::Aside;
use crate::store::runs::remove_files;
use ringmq_proto::ids::{Epoch, LogPosition};
use std::rc::Rc;

/// Runs of one level that become one of the next. Each takes 128 KiB while they do.
const FAN_IN: usize = 16;

/// No run ends here.
const NOWHERE: LogPosition = LogPosition::new(u64::MAX);

/// A run that was put down on the way: how often what it holds was written.
#[derive(Debug)]
pub(super) struct PutDown {
    level: u32,
    run: Rc<Run>,
}

impl DueIndex {
    /// While the log is replayed: all records below `end`, a commit's end, were applied.
    ///
    /// # Errors
    /// When the disk fails.
    pub(in crate::store) fn replayed<D: Disk>(&mut self, disk: &mut D, end: LogPosition) -> Result<(), DiskError> {
        if end <= self.recent_start {
            return Ok(());
        }
        self.applied(end);
        if self.recent.len() < self.limits.recent_entry_count_max {
            return Ok(());
        }
        self.put_down(disk)?;
        let is_full = |row: &[PutDown]| row.len() == FAN_IN && row[0].level == row[FAN_IN - 1].level;
        while let Some(start) = self.put_down.len().checked_sub(FAN_IN)
            && is_full(&self.put_down[start..])
        {
            let level = self.put_down[start].level + 1;
            let row = self.put_down.split_off(start);
            let plan = self.plan(NOWHERE, Epoch::ZERO, count_of(&row));
            let run = Rc::new(merge(disk, Writer::new(&self.pool, plan), &row, Kept::All)?);
            remove(disk, &row)?;
            self.put_down.push(PutDown { level, run });
        }
        Ok(())
    }

    /// What was replayed is durable, up to an end in this epoch: everything is as if it had been applied live.
    ///
    /// # Errors
    /// When the disk fails.
    pub(in crate::store) fn end_replay<D: Disk>(&mut self, disk: &mut D, epoch: Epoch) -> Result<(), DiskError> {
        self.recent.retain(|_, said| said.is_none_or(|entry| entry.position >= self.trimmed));
        if !self.put_down.is_empty() {
            if !self.recent.is_empty() {
                self.put_down(disk)?;
            }
            self.recent_start = self.applied;
            let row = std::mem::take(&mut self.put_down);
            let plan = self.plan(self.runs_end, epoch, count_of(&row));
            let kept = if self.runs.is_empty() {
                Kept::Pending { from: self.trimmed }
            } else {
                Kept::Words { from: self.trimmed }
            };
            let run = merge(disk, Writer::new(&self.pool, plan), &row, kept)?;
            remove(disk, &row)?;
            self.runs_end = run.header.end;
            self.totals = run.header.totals;
            self.install(run);
        } else if self.runs.is_empty() {
            // A copy does not say whether its original was in the part of the log that is still there.
            self.totals = Totals::default();
            self.recent.values().flatten().for_each(|entry| self.totals.add(entry));
        }
        // Without a run, nothing waits for the disk.
        let aside = Aside::default();
        while self.fill_near(&aside) {}
        Ok(())
    }

    /// Writes what is recent as a run that is not the index's yet.
    fn put_down<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        let table = std::mem::take(&mut self.recent);
        let plan = self.plan(NOWHERE, Epoch::ZERO, table.len() as u64);
        let mut words = table.iter();
        let run = write(disk, Writer::new(&self.pool, plan), |_, writer| {
            while writer.takes_entries() {
                match words.next() {
                    Some((key, said)) => writer.push(*key, said),
                    None => writer.finish(),
                }
            }
            Ok(())
        })?;
        self.put_down.push(PutDown { level: 0, run: Rc::new(run) });
        self.recent_start = self.applied;
        Ok(())
    }

    fn plan(&mut self, start: LogPosition, epoch: Epoch, entry_count_max: u64) -> Plan {
        self.run_number_next += 1;
        Plan {
            log_id: self.log_id,
            number: self.run_number_next - 1,
            start,
            end: self.applied,
            epoch,
            entry_count_max,
            floor_ms: 0,
            told: (self.applied, epoch),
            totals: self.totals,
        }
    }
}

/// What a merge does not leave behind.
#[derive(Clone, Copy)]
enum Kept {
    All,
    /// Of messages, those that lie here or above.
    Words {
        from: LogPosition,
    },
    /// The same, and not what is settled: no older run is there. They are all that is pending, so they are counted.
    Pending {
        from: LogPosition,
    },
}

fn count_of(row: &[PutDown]) -> u64 {
    row.iter().map(|put_down| put_down.run.header.entry_count).sum()
}

/// Merges runs that follow each other in the log.
fn merge<D: Disk>(disk: &mut D, writer: Writer, row: &[PutDown], kept: Kept) -> Result<Run, DiskError> {
    let mut scan = Scan::new(row.iter().map(|put_down| (&put_down.run, 0)), DueKey::MIN);
    let mut totals = Totals::default();
    write(disk, writer, |disk, writer| {
        while writer.takes_entries() {
            let (key, said) = match scan.peek() {
                Head::NotYet => {
                    load(disk, &mut scan)?;
                    continue;
                }
                Head::End => {
                    if matches!(kept, Kept::Pending { .. }) {
                        writer.set_totals(totals);
                    }
                    writer.finish();
                    return Ok(());
                }
                Head::Entry(key, said) => (key, said),
            };
            scan.pop();
            let is_kept = match (kept, &said) {
                (Kept::All, _) | (Kept::Words { .. }, None) => true,
                (Kept::Pending { .. }, None) => false,
                (Kept::Words { from } | Kept::Pending { from }, Some(entry)) => entry.position >= from,
            };
            if is_kept {
                said.iter().for_each(|entry| totals.add(entry));
                writer.push(key, &said);
            }
        }
        Ok(())
    })
}

/// Writes a run, waiting for each operation; `fill` gives it entries while it takes them, and ends it.
fn write<D: Disk>(
    disk: &mut D,
    mut writer: Writer,
    mut fill: impl FnMut(&mut D, &mut Writer) -> Result<(), DiskError>,
) -> Result<Run, DiskError> {
    while !writer.is_done() {
        fill(disk, &mut writer)?;
        for completion in execute(disk, |mut next_id, ops_free, ops| writer.drive(&mut next_id, ops_free, ops)) {
            writer.on_disk(&completion).transpose()?;
        }
    }
    Ok(writer.into_run())
}

fn load<D: Disk>(disk: &mut D, scan: &mut Scan) -> Result<(), DiskError> {
    for mut completion in execute(disk, |mut next_id, ops_free, ops| scan.drive(&mut next_id, ops_free, ops)) {
        match scan.on_disk(&mut completion).transpose() {
            Ok(_) => {}
            Err(ScanError::Disk(error)) => return Err(error),
            Err(ScanError::Damaged { number }) => {
                let detail = format!("run {number} of pending messages, written just now, does not match its checksum");
                return Err(DiskError { kind: DiskErrorKind::Io, detail });
            }
        }
    }
    Ok(())
}

/// Carries out what is driven, one operation after the other.
fn execute<D: Disk>(
    disk: &mut D,
    drive: impl FnOnce(&mut dyn FnMut() -> OpId, &mut usize, &mut Vec<DiskOp>),
) -> Vec<Completion> {
    let (mut id, mut ops) = (0, Vec::new());
    let mut next_id = || {
        id += 1;
        OpId(id)
    };
    let mut ops_free = usize::MAX;
    drive(&mut next_id, &mut ops_free, &mut ops);
    ops.into_iter().map(|op| Completion { id: op.id, result: disk.execute(op.kind) }).collect()
}

fn remove<D: Disk>(disk: &mut D, row: &[PutDown]) -> Result<(), DiskError> {
    let files: Vec<_> = row.iter().map(|put_down| put_down.run.header.file()).collect();
    remove_files(disk, &files)
}

#[cfg(test)]
mod tests {
    use super::super::DueLimits;
    use super::*;
    use crate::disk::{Directory, FileName};
    use crate::store::index::tests::disk::TestDisk;
    use crate::store::pending::record::{Pending, PendingKind, SettledBy};
    use ringmq_proto::ids::{QueueId, QueueOffset};
    use std::collections::BTreeMap;

    const LIMIT: usize = 50;
    const COMMIT_RECORD_COUNT: usize = 10;

    fn open(disk: &mut TestDisk) -> DueIndex {
        let limits = DueLimits { recent_entry_count_max: LIMIT, near_entry_count_max: 40, ..DueLimits::default() };
        DueIndex::open(disk, 7, limits, true).expect("it lists")
    }

    fn taken(origin: u64) -> Pending {
        Pending {
            origin: LogPosition::new(origin),
            position: LogPosition::new(origin),
            size_bytes: 100,
            queue: QueueId::new(1),
            first_offset: QueueOffset::ZERO,
            due_ms: origin.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40,
            kind: PendingKind::Timer,
            checks: 0,
            proof: 0,
        }
    }

    /// Replays a log that tells of so many messages; gives what is pending in the end, and the most that was in memory.
    fn replay(
        disk: &mut TestDisk,
        index: &mut DueIndex,
        count: u64,
    ) -> (BTreeMap<DueKey, Pending>, usize, LogPosition) {
        let (mut model, mut held_max, aside) = (BTreeMap::new(), 0, Aside::default());
        let mut at = 0;
        let mut before: Option<Pending> = None;
        for number in 0..count {
            at += 100;
            let entry = taken(at);
            index.apply_pending(entry.position, entry, &aside);
            model.insert(DueKey::of(&entry), entry);
            if let Some(old) = before.filter(|_| number % 7 == 0) {
                at += 100;
                index.apply_settled(LogPosition::new(at), &old.settled(SettledBy::Delivered));
                model.remove(&DueKey::of(&old));
            } else if let Some(old) = before.filter(|_| number % 5 == 0) {
                at += 100;
                let copy = Pending { position: LogPosition::new(at), ..old };
                index.apply_pending(copy.position, copy, &aside);
                model.insert(DueKey::of(&copy), copy);
            }
            // Now and then, what comes next is about what was said many runs ago.
            before = Some(if number % 35 == 34 { taken(100 + 100 * (number / 40)) } else { entry });
            if number % COMMIT_RECORD_COUNT as u64 == 0 {
                index.replayed(disk, LogPosition::new(at + 100)).expect("it does not fail");
            }
            held_max = held_max.max(index.recent.len() + index.near.len() + index.held.len());
        }
        (model, held_max, LogPosition::new(at + 100))
    }

    fn all(disk: &mut TestDisk, index: &DueIndex) -> Vec<(DueKey, Pending)> {
        let mut scan = index.scan_from(DueKey::MIN);
        let mut found = Vec::new();
        loop {
            match scan.peek() {
                Head::NotYet => load(disk, &mut scan).expect("sound"),
                Head::End => return found,
                Head::Entry(key, said) => {
                    scan.pop();
                    found.push((key, said.expect("the only run tells of nothing that is settled")));
                }
            }
        }
    }

    #[test]
    fn log_that_tells_of_many_is_replayed_in_bounded_memory() {
        let mut disk = TestDisk::new(1);
        let mut index = open(&mut disk);
        let (mut model, held_max, end) = replay(&mut disk, &mut index, 20_000);
        assert!(held_max <= LIMIT + 2 * COMMIT_RECORD_COUNT, "{held_max} words in memory");
        assert!(index.put_down.iter().any(|put_down| put_down.level > 1), "levels are merged");
        let trim = LogPosition::new(end.get() / 4);
        assert!(index.begin(end, trim, &|_, _| true));
        index.end_replay(&mut disk, Epoch::new(3)).expect("it does not fail");
        model.retain(|_, entry| entry.position >= trim);
        let mut totals = Totals::default();
        model.values().for_each(|entry| totals.add(entry));
        assert_eq!((index.totals(), index.runs.len(), index.recent.len()), (totals, 1, 0));
        assert_eq!(all(&mut disk, &index), model.into_iter().collect::<Vec<_>>());
        let files = disk.list(Directory::Index).expect("it lists");
        assert_eq!(files.len(), 1, "nothing is left of the way: {files:?}");
        let again = open(&mut disk);
        assert_eq!((again.totals(), again.covered()), (totals, end), "the next start needs no replay");
    }

    #[test]
    fn what_was_put_down_before_a_crash_is_nothing_to_the_next_start() {
        let mut disk = TestDisk::new(1);
        let mut index = open(&mut disk);
        let (_, _, _) = replay(&mut disk, &mut index, 2000);
        let is_run = |(file, _): &(FileName, u64)| matches!(file, FileName::DueRun(_));
        assert!(disk.list(Directory::Index).expect("it lists").iter().filter(|file| is_run(file)).count() > 2);
        let index = open(&mut disk);
        assert_eq!((index.covered(), index.runs.len()), (LogPosition::ZERO, 0));
        assert_eq!(disk.list(Directory::Index).expect("it lists"), [], "it is removed");
    }
}
