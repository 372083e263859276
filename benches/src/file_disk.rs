//! A disk of ordinary files in the page cache, each operation carried out at once; and the clock to measure beside it.

use ringmq_broker::disk::{BlockPool, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOpKind, FileName};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// A moment by the thread's processor time: neighbours on a busy machine do not count.
#[derive(Debug)]
pub struct Moment(rustix::time::Timespec);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
    }

    /// Since then.
    pub fn elapsed(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let nanoseconds = (now.tv_sec - self.0.tv_sec) * 1_000_000_000 + now.tv_nsec - self.0.tv_nsec;
        Duration::from_nanos(nanoseconds.unsigned_abs())
    }
}

/// Files in a directory of their own, removed at the end. Nothing is flushed.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    files: BTreeMap<FileName, File>,
    pool: BlockPool,
    /// Bytes of all writes.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
}

impl FileDisk {
    /// A new directory under the system's temporary one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("ringmq-bench-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        for directory in Directory::ALL {
            fs::create_dir_all(root.join(directory.path())).expect("a directory");
        }
        Self { root, files: BTreeMap::new(), pool: BlockPool::new(4 << 20), written_bytes: 0, reads: 0 }
    }

    fn create(&mut self, name: FileName, size_bytes: u64) -> Result<(), Error> {
        let path = self.root.join(name.path());
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(size_bytes)?;
        self.files.insert(name, file);
        Ok(())
    }

    fn file(&self, name: FileName) -> Result<&File, Error> {
        self.files.get(&name).ok_or_else(|| Error::from(ErrorKind::NotFound))
    }

    fn read(&self, name: FileName, bytes: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut length = 0;
        while length < bytes.len() {
            match self.file(name)?.read_at(&mut bytes[length..], offset + length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        Ok(length)
    }

    fn carry_out(&mut self, kind: DiskOpKind) -> Result<DiskDone, Error> {
        match kind {
            DiskOpKind::Write { file, offset, block, start, length, .. } => {
                self.written_bytes += length as u64;
                self.file(file)?.write_all_at(&block[start..start + length], offset)?;
            }
            DiskOpKind::Read { file, offset, length } => {
                self.reads += 1;
                let mut block = self.pool.take(length);
                let length = self.read(file, &mut block[..length], offset)?;
                return Ok(DiskDone::Read { block: block.freeze(), length });
            }
            DiskOpKind::Create { file, size_bytes } => self.create(file, size_bytes)?,
            DiskOpKind::Rename { from, to } => {
                fs::rename(self.root.join(from.path()), self.root.join(to.path()))?;
                if let Some(file) = self.files.remove(&from) {
                    self.files.insert(to, file);
                }
            }
            DiskOpKind::Remove { file } => {
                if self.files.remove(&file).is_some() {
                    fs::remove_file(self.root.join(file.path()))?;
                }
            }
            DiskOpKind::Sync { .. } | DiskOpKind::SyncDir { .. } => {}
        }
        Ok(DiskDone::Done)
    }
}

impl Disk for FileDisk {
    fn pool(&self) -> BlockPool {
        self.pool.clone()
    }

    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError> {
        self.carry_out(op).map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::NotFound => DiskErrorKind::NotFound,
                ErrorKind::AlreadyExists => DiskErrorKind::Exists,
                _ => DiskErrorKind::Io,
            };
            DiskError { kind, detail: error.to_string() }
        })
    }

    fn list(&mut self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        let of_it = self.files.iter().filter(|(name, _)| name.directory() == directory);
        Ok(of_it.map(|(name, file)| (*name, file.metadata().expect("a size").len())).collect())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.root));
    }
}
