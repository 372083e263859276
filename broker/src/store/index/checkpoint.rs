//! A checkpoint: which runs there are, and how far they cover the log.
//!
//! A file of one 64 KiB block (`block.rs` draws what is common) with one item:
//!
//! ```text
//! 0   covered u64            the runs hold all entries below this log position
//! 8   epoch u32              of the log at that position
//! 12  run count u16
//! 14  flags u16              1: a run was found damaged
//! 16  runs, 88 B each, in the order of the log:
//!     0   run number u64
//!     8   header checksum u32    of the run's block 0
//!     12  0 u32
//!     16  header             72 B, as in the run's block 0
//! ```
//! The newest checkpoint that is whole, belongs to this log, says of no damage and whose runs are all there is the state;
//! all others, and all runs that it does not name, are leftovers. A checkpoint that says of damage makes the next start
//! build the index anew: what opening looks at of a run may be whole while an entry is not.

use std::rc::Rc;

use ringmq_proto::ids::{Epoch, LogPosition};

use super::block::{self, BLOCK_ITEM_BYTES, Filling, Kind, Label};
use super::run::{HEADER_SIZE_BYTES, Run, RunHeader};
use crate::disk::{Block, BlockPool};

const HEAD_SIZE_BYTES: usize = 16;
const RUN_SIZE_BYTES: usize = 16 + HEADER_SIZE_BYTES;

/// Runs that a checkpoint can name. When reached: no flush starts until merges have made them fewer.
pub(super) const RUN_COUNT_MAX: usize = (BLOCK_ITEM_BYTES - HEAD_SIZE_BYTES) / RUN_SIZE_BYTES;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The runs hold all entries below.
    pub(super) covered: LogPosition,
    /// Of the log there.
    pub(super) epoch: Epoch,
    /// A run was found damaged.
    pub(super) damaged: bool,
    /// The runs with the checksums of their headers, in the order of the log.
    pub(super) runs: Vec<(RunHeader, u32)>,
}

impl Checkpoint {
    /// What is to be said of these runs.
    pub(super) fn of(covered: LogPosition, epoch: Epoch, runs: &[Rc<Run>]) -> Self {
        let damaged = runs.iter().any(|run| run.damaged.get());
        Self { covered, epoch, damaged, runs: runs.iter().map(|run| (run.header, run.header_checksum)).collect() }
    }

    /// The block of checkpoint `number`.
    pub(super) fn encode(&self, pool: &BlockPool, log_id: u128, number: u64) -> Block {
        assert!(self.runs.len() <= RUN_COUNT_MAX, "{} runs", self.runs.len());
        let mut filling = Filling::new(pool);
        let bytes = filling.push(1, HEAD_SIZE_BYTES + self.runs.len() * RUN_SIZE_BYTES);
        let (head, runs) = bytes.split_at_mut(HEAD_SIZE_BYTES);
        head[0..8].copy_from_slice(&self.covered.get().to_le_bytes());
        head[8..12].copy_from_slice(&self.epoch.get().to_le_bytes());
        let run_count = u16::try_from(self.runs.len()).expect("few runs");
        head[12..14].copy_from_slice(&run_count.to_le_bytes());
        head[14..16].copy_from_slice(&u16::from(self.damaged).to_le_bytes());
        for (bytes, (header, checksum)) in runs.chunks_exact_mut(RUN_SIZE_BYTES).zip(&self.runs) {
            bytes[0..8].copy_from_slice(&header.number.to_le_bytes());
            bytes[8..16].copy_from_slice(&u64::from(*checksum).to_le_bytes());
            header.encode(&mut bytes[16..]);
        }
        filling.seal(Label { log_id, number, block: 0, kind: Kind::Checkpoint })
    }

    /// From the block of checkpoint `number` of log `log_id`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(bytes: &[u8], log_id: u128, number: u64) -> Result<Self, String> {
        block::check(bytes, Label { log_id, number, block: 0, kind: Kind::Checkpoint }, HEAD_SIZE_BYTES)?;
        let item = block::item(bytes, 0, BLOCK_ITEM_BYTES);
        let run_count = usize::from(u16::from_le_bytes([item[12], item[13]]));
        if run_count > RUN_COUNT_MAX {
            return Err(format!("checkpoint {number} names {run_count} runs"));
        }
        let runs = item[HEAD_SIZE_BYTES..].chunks_exact(RUN_SIZE_BYTES).take(run_count);
        let runs =
            runs.map(|bytes| (RunHeader::decode(block::u64_at(bytes, 0), &bytes[16..]), block::u32_at(bytes, 8)));
        Ok(Self {
            covered: LogPosition::new(block::u64_at(item, 0)),
            epoch: Epoch::new(block::u32_at(item, 8)),
            damaged: item[14] != 0,
            runs: runs.collect(),
        })
    }
}
