//! Numbers the disk operations of one shard.

use crate::disk::{DiskOp, DiskOpKind, OpId};

/// The next operation id.
#[derive(Debug, Default)]
pub struct OpIds {
    next: u64,
}

impl OpIds {
    /// A number that was never used.
    pub fn take(&mut self) -> OpId {
        self.next += 1;
        OpId(self.next)
    }

    /// Puts an operation on the list, under a new number.
    pub fn issue(&mut self, kind: DiskOpKind, out: &mut Vec<DiskOp>) -> OpId {
        let id = self.take();
        out.push(DiskOp { id, kind });
        id
    }
}
