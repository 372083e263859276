//! A disk that is done at once, for measuring everything else.

use ringmq_broker::disk::{BlockPool, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOpKind, FileName};

/// Takes every write and keeps the superblock alone: the store must read nothing else.
#[derive(Debug)]
pub struct NullDisk {
    pool: BlockPool,
    superblock: Vec<u8>,
}

impl Default for NullDisk {
    fn default() -> Self {
        Self { pool: BlockPool::new(64 << 20), superblock: vec![0; 8192] }
    }
}

impl Disk for NullDisk {
    fn pool(&self) -> BlockPool {
        self.pool.clone()
    }

    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError> {
        match op {
            DiskOpKind::Write { file: FileName::Superblock, offset, block, length, .. } => {
                let at = usize::try_from(offset).expect("two slots");
                self.superblock[at..at + length].copy_from_slice(&block[..length]);
                Ok(DiskDone::Done)
            }
            DiskOpKind::Read { file: FileName::Superblock, length, .. } => {
                let mut block = self.pool.take(length);
                block[..length].copy_from_slice(&self.superblock);
                Ok(DiskDone::Read { block: block.freeze(), length })
            }
            DiskOpKind::Read { file: FileName::Identity, .. } => {
                Err(DiskError { kind: DiskErrorKind::NotFound, detail: "a new directory".into() })
            }
            DiskOpKind::Read { length, .. } => Ok(DiskDone::Read { block: self.pool.take(length).freeze(), length: 0 }),
            _ => Ok(DiskDone::Done),
        }
    }

    fn list(&mut self, _directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        Ok(Vec::new())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }
}
