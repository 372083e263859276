//! Opening: the newest checkpoint that holds, and nothing else.
//!
//! 1. List the directory. Take the newest checkpoint that is whole, belongs to this log at a position and epoch that the
//!    log has, says of no damage, and whose runs are all there with the headers that it names. If none is: an empty index.
//! 2. Remove all other files, sync the directory. A crash before leaves the same choice to the next start.

use std::cell::Cell;
use std::rc::Rc;

use ringmq_proto::ids::{Epoch, LogPosition};

use super::block::{self, BLOCK_SIZE_BYTES, Kind};
use super::checkpoint::Checkpoint;
use super::run::{BLOCK_TOP_COUNT, HEADER_SIZE_BYTES, Run, RunHeader, TOP_SIZE_BYTES};
use super::{Index, IndexError, IndexLimits};
use crate::disk::{Block, Directory, Disk, DiskDone, DiskOpKind, FileName};

impl Index {
    /// Opens what the last checkpoint says, if it belongs to this log: `log_end` is where the log ends, `valid` whether a
    /// position of the log is of that epoch. Everything else in the index directory is removed. Afterwards the store adds
    /// the records from [`Index::covered`] on.
    ///
    /// # Errors
    /// Only when the disk fails to list or remove: files that do not check or cannot be read are ignored, for all of it can
    /// be built anew.
    pub fn open<D: Disk>(
        disk: &mut D,
        log_id: u128,
        limits: IndexLimits,
        log_end: LogPosition,
        valid: impl Fn(LogPosition, Epoch) -> bool,
    ) -> Result<Self, IndexError> {
        let files = disk.list(Directory::Index).map_err(IndexError::Disk)?;
        let mut checkpoints: Vec<u64> = Vec::new();
        let mut index = Self::new(log_id, disk.pool(), limits);
        let mut checkpoint_next = 0;
        for (file, _) in &files {
            match file {
                FileName::Checkpoint(number) => {
                    checkpoints.push(*number);
                    checkpoint_next = checkpoint_next.max(number.saturating_add(1));
                }
                FileName::Run(number) => index.run_number_next = index.run_number_next.max(number.saturating_add(1)),
                _ => {}
            }
        }
        index.installer = super::install::Installer::new(checkpoint_next);
        checkpoints.sort_unstable();
        for number in checkpoints.into_iter().rev() {
            let Some(checkpoint) = read_checkpoint(disk, log_id, number) else { continue };
            if checkpoint.damaged {
                break; // An older one may have come back with a power cut, and knows nothing of the damage.
            }
            if checkpoint.covered > log_end || !valid(checkpoint.covered, checkpoint.epoch) {
                continue;
            }
            let Some(runs) = read_runs(disk, log_id, &files, &checkpoint) else { continue };
            index.runs = runs;
            index.checkpoint = Some(number);
            (index.covered, index.covered_epoch) = (checkpoint.covered, checkpoint.epoch);
            index.add_floor = checkpoint.covered;
            break;
        }
        index.remove_leftovers(disk, &files)?;
        Ok(index)
    }

    fn remove_leftovers<D: Disk>(&self, disk: &mut D, files: &[(FileName, u64)]) -> Result<(), IndexError> {
        let is_used = |file: &FileName| match file {
            FileName::Checkpoint(number) => self.checkpoint == Some(*number),
            FileName::Run(number) => self.runs.iter().any(|run| run.header.number == *number),
            _ => true,
        };
        let leftovers: Vec<_> = files.iter().map(|(file, _)| *file).filter(|file| !is_used(file)).collect();
        for file in &leftovers {
            disk.execute(DiskOpKind::Remove { file: *file }).map_err(IndexError::Disk)?;
        }
        if !leftovers.is_empty() {
            disk.execute(DiskOpKind::SyncDir { directory: Directory::Index }).map_err(IndexError::Disk)?;
        }
        Ok(())
    }
}

/// Reads block `number`, whole.
fn read<D: Disk>(disk: &mut D, file: FileName, number: u64) -> Option<Block> {
    let offset = number * BLOCK_SIZE_BYTES as u64;
    match disk.execute(DiskOpKind::Read { file, offset, length: BLOCK_SIZE_BYTES }) {
        Ok(DiskDone::Read { block, length: BLOCK_SIZE_BYTES }) => Some(block),
        _ => None,
    }
}

fn read_checkpoint<D: Disk>(disk: &mut D, log_id: u128, number: u64) -> Option<Checkpoint> {
    let bytes = read(disk, FileName::Checkpoint(number), 0)?;
    Checkpoint::decode(&bytes, log_id, number).ok()
}

fn read_runs<D: Disk>(
    disk: &mut D,
    log_id: u128,
    files: &[(FileName, u64)],
    checkpoint: &Checkpoint,
) -> Option<Vec<Rc<Run>>> {
    let run = |(header, checksum): &(RunHeader, u32)| {
        let size_bytes = files.iter().find(|(file, _)| *file == header.file())?.1;
        if size_bytes < header.size_bytes() {
            return None;
        }
        read_run(disk, log_id, header, *checksum).map(Rc::new)
    };
    checkpoint.runs.iter().map(run).collect()
}

fn read_run<D: Disk>(disk: &mut D, log_id: u128, header: &RunHeader, header_checksum: u32) -> Option<Run> {
    let bytes = read(disk, header.file(), 0)?;
    block::check(&bytes, header.label(log_id, 0, Kind::Header), HEADER_SIZE_BYTES).ok()?;
    if block::checksum(&bytes) != header_checksum {
        return None;
    }
    let mut tops = Vec::new();
    let directory_block_count = header.directory_block_count();
    for number in 0..directory_block_count.div_ceil(BLOCK_TOP_COUNT) {
        let number = header.top_start + number;
        let bytes = read(disk, header.file(), number)?;
        block::check(&bytes, header.label(log_id, number, Kind::Top), TOP_SIZE_BYTES).ok()?;
        let items = 0..block::item_count(&bytes) as usize;
        tops.extend(items.map(|index| block::u32_at(block::item(&bytes, index, TOP_SIZE_BYTES), 0)));
    }
    let is_whole = tops.len() as u64 == directory_block_count;
    is_whole.then_some(Run { log_id, header: *header, header_checksum, tops, damaged: Cell::new(false) })
}
