//! The ring, waited for: opening, recovery and `check`, before the executor serves.

use super::{RingDisk, ShardSlot, WAITED};
use crate::disk::{
    BlockPool, Completion, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOp, DiskOpKind, FileName,
};

/// One shard's files, waited for.
pub struct ShardDisk<'a> {
    pub(super) ring: &'a mut RingDisk,
    pub(super) shard: ShardSlot,
}

impl Disk for ShardDisk<'_> {
    fn pool(&self) -> BlockPool {
        self.ring.pool.clone()
    }

    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError> {
        self.ring.submit(self.shard, DiskOp { id: WAITED, kind: op });
        loop {
            let mine = |(shard, completion): &(ShardSlot, Completion)| *shard == self.shard && completion.id == WAITED;
            if let Some(index) = self.ring.done.iter().position(mine) {
                return self.ring.done.remove(index).1.result;
            }
            self.ring.wait().map_err(|error| DiskError {
                kind: DiskErrorKind::Io,
                detail: format!("waiting for the ring: {error}"),
            })?;
        }
    }

    fn list(&mut self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        self.ring.shards[self.shard.0].list(directory)
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        self.ring.shards[self.shard.0].free_bytes()
    }
}
