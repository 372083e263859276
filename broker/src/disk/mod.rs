//! The disk as the store sees it: named files, aligned blocks, a handful of operations, and their completions.
//!
//! The store never opens a file. It emits [`DiskOp`]s as effects; a driver carries them out (the raw ring in production,
//! a seeded and tearing disk in the simulator) and feeds each [`Completion`] back. Opening, recovery and `check` run
//! before the shard serves: they call [`Disk::execute`] and wait.
//!
//! **Rules of the seam.** Operations may complete in any order, unless one is issued after the other's completion.
//! Nothing is durable before a completed `Write { sync: true }` or `Sync` of that file; a created, renamed or removed
//! name only after a completed `SyncDir` of its directory. An operation is never retried by the driver; a short write is an
//! error.

pub mod block;
pub mod prefetch;
pub mod probe;
pub mod ring;

use std::fmt;

pub use block::{BLOCK_ALIGNMENT_BYTES, Block, BlockMut, BlockPool};
use ringmq_proto::ids::LogPosition;

/// A directory of a shard (FORMATS, *Data directory*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Directory {
    /// The shard's own: identity, superblock.
    Root,
    /// Segments and spare segments.
    Log,
    /// Runs and checkpoints: derived, disposable.
    Index,
    /// Small state: derived, disposable.
    Snapshot,
    /// What recovery cut: never deleted by us.
    Quarantine,
}

/// A file of a shard, by what it is. Drivers map it to a path with [`FileName::path`]; no name ever comes from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// Who this shard is, written once.
    Identity,
    /// Two slots of 4 KiB.
    Superblock,
    /// The segment that starts at this position.
    Segment(LogPosition),
    /// A segment-sized file that is not yet, or no longer, a segment.
    Spare(u64),
    /// One sorted run of the queue index.
    Run(u64),
    /// The list of runs and how far they cover the log.
    Checkpoint(u64),
    /// One sorted run of the key index.
    KeyRun(u64),
    /// One sorted run of the index of pending messages by due time.
    DueRun(u64),
    /// Small state.
    Snapshot(u64),
    /// A copy of what was cut at this position, by incarnation.
    Quarantine(LogPosition, u32),
}

impl FileName {
    /// The directory that holds it.
    pub fn directory(self) -> Directory {
        match self {
            Self::Identity | Self::Superblock => Directory::Root,
            Self::Segment(_) | Self::Spare(_) => Directory::Log,
            Self::Run(_) | Self::Checkpoint(_) | Self::KeyRun(_) | Self::DueRun(_) => Directory::Index,
            Self::Snapshot(_) => Directory::Snapshot,
            Self::Quarantine(..) => Directory::Quarantine,
        }
    }

    /// Its path below the shard's directory.
    pub fn path(self) -> String {
        match self {
            Self::Identity => "identity".into(),
            Self::Superblock => "superblock".into(),
            Self::Segment(start) => format!("log/{start:020}"),
            Self::Spare(number) => format!("log/spare-{number:020}"),
            Self::Run(number) => format!("index/run-{number:020}"),
            Self::Checkpoint(number) => format!("index/checkpoint-{number:020}"),
            Self::KeyRun(number) => format!("index/keys-{number:020}"),
            Self::DueRun(number) => format!("index/due-{number:020}"),
            Self::Snapshot(number) => format!("snapshot/{number:020}"),
            Self::Quarantine(position, incarnation) => {
                format!("quarantine/{position:020}-{incarnation}")
            }
        }
    }

    /// The file that [`FileName::path`] names, or nothing when the name is not one of ours (left alone).
    pub fn parse(path: &str) -> Option<Self> {
        let number = |text: &str| (text.len() == 20).then(|| text.parse::<u64>().ok()).flatten();
        match path.split_once('/') {
            None if path == "identity" => Some(Self::Identity),
            None if path == "superblock" => Some(Self::Superblock),
            Some(("log", name)) => match name.strip_prefix("spare-") {
                Some(spare) => number(spare).map(Self::Spare),
                None => number(name).map(|start| Self::Segment(LogPosition::new(start))),
            },
            Some(("index", name)) => match name.rsplit_once('-')? {
                ("run", run) => number(run).map(Self::Run),
                ("keys", run) => number(run).map(Self::KeyRun),
                ("due", run) => number(run).map(Self::DueRun),
                ("checkpoint", checkpoint) => number(checkpoint).map(Self::Checkpoint),
                _ => None,
            },
            Some(("snapshot", name)) => number(name).map(Self::Snapshot),
            Some(("quarantine", name)) => {
                let (position, incarnation) = name.split_once('-')?;
                Some(Self::Quarantine(LogPosition::new(number(position)?), incarnation.parse().ok()?))
            }
            _ => None,
        }
    }
}

impl Directory {
    /// All of them, the root first.
    pub const ALL: [Self; 5] = [Self::Root, Self::Log, Self::Index, Self::Snapshot, Self::Quarantine];

    /// Its path below the shard's directory; empty for the root.
    pub fn path(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Log => "log",
            Self::Index => "index",
            Self::Snapshot => "snapshot",
            Self::Quarantine => "quarantine",
        }
    }
}

/// Which operation a completion ends. Made by the store, unique among the operations in flight of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One operation. Offsets and lengths of `Write` and `Read` are multiples of the log's alignment.
#[derive(Debug)]
pub struct DiskOp {
    /// Comes back in the completion.
    pub id: OpId,
    /// What to do.
    pub kind: DiskOpKind,
}

/// What a [`DiskOp`] does.
#[derive(Debug)]
pub enum DiskOpKind {
    /// Writes `block[start..start + length]` at `offset`. With `sync`, completes only after this write *and* a flush
    /// that covers it have both succeeded; either failing is the failure of the operation.
    Write {
        /// The file.
        file: FileName,
        /// Byte in the file.
        offset: u64,
        /// Holds the bytes; shared, not copied.
        block: Block,
        /// First byte in the block, a multiple of the alignment.
        start: usize,
        /// How many bytes.
        length: usize,
        /// Flush as part of this operation.
        sync: bool,
    },
    /// Reads `length` bytes at `offset` into a new block. A read past the end of the file is short, not an error.
    Read {
        /// The file.
        file: FileName,
        /// Byte in the file.
        offset: u64,
        /// How many bytes at most.
        length: usize,
    },
    /// Flushes the file's data (and the metadata needed to read it).
    Sync {
        /// The file.
        file: FileName,
    },
    /// Makes a new file of `size_bytes` (allocated, reading as zeros). It is an error when the file exists.
    Create {
        /// The file.
        file: FileName,
        /// Its size.
        size_bytes: u64,
    },
    /// Renames within the shard, replacing `to`.
    Rename {
        /// The old name.
        from: FileName,
        /// The new name.
        to: FileName,
    },
    /// Removes a file. Removing what is not there succeeds.
    Remove {
        /// The file.
        file: FileName,
    },
    /// Makes earlier creates, renames and removes in a directory durable.
    SyncDir {
        /// The directory.
        directory: Directory,
    },
}

/// How an operation went.
#[derive(Debug)]
pub struct Completion {
    /// Of the operation.
    pub id: OpId,
    /// What came of it.
    pub result: Result<DiskDone, DiskError>,
}

/// What a successful operation gives.
#[derive(Debug)]
pub enum DiskDone {
    /// Of everything but a read.
    Done,
    /// The bytes that were read: `block[..length]`.
    Read {
        /// Holds the bytes.
        block: Block,
        /// How many of them were in the file.
        length: usize,
    },
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What kind of failure: it decides what the store does.
    pub kind: DiskErrorKind,
    /// What was being done, for the log: "write log/… at 4096: Input/output error (5)".
    pub detail: String,
}

/// The failures that the store tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No space left (or a size limit): for background files a reason to wait, for the log's own writes fatal.
    Full,
    /// The file does not exist.
    NotFound,
    /// The file exists already.
    Exists,
    /// The device failed, or anything else.
    Io,
    /// The simulated machine lost power: nothing after this happens. Never made by a real driver.
    Crashed,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for DiskError {}

/// A disk that is waited for: opening, recovery and `check`.
pub trait Disk {
    /// Blocks come from here.
    fn pool(&self) -> BlockPool;

    /// Carries out one operation and waits for it.
    ///
    /// # Errors
    /// What the operation's completion would say.
    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError>;

    /// The files of ours in `directory` with their sizes in bytes, in the order of their names. Other files are left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&mut self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError>;

    /// Bytes that can still be allocated on the file system.
    ///
    /// # Errors
    /// When the file system does not say.
    fn free_bytes(&mut self) -> Result<u64, DiskError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_name_is_parsed_from_its_own_path() {
        let position = LogPosition::new(1 << 40);
        for name in [
            FileName::Identity,
            FileName::Superblock,
            FileName::Segment(position),
            FileName::Spare(3),
            FileName::Run(u64::MAX),
            FileName::Checkpoint(0),
            FileName::KeyRun(7),
            FileName::DueRun(8),
            FileName::Snapshot(9),
            FileName::Quarantine(position, 12),
        ] {
            assert_eq!(FileName::parse(&name.path()), Some(name));
            assert!(name.path().starts_with(name.directory().path()));
        }
        for foreign in ["log/1", "log/spare-x", "index/", "quarantine/1-1", "lost+found", "../identity"] {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
    }
}
