//! The files of one shard as the ring sees them: five directories, and file descriptors opened on first use.
//!
//! Names are looked up inside the directories' own descriptors, so nothing outside of them is ever reached. The shard's
//! directory is locked (`flock`) as long as the table lives: exclusively to serve, shared to look.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hashbrown::HashMap;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::flush::{Chosen, FlushChooser};
use super::op::{Work, name_of};
use crate::disk::probe::{DeviceProbe, FlushMethod, ProbeError, probe_directory};
use crate::disk::{Directory, DiskError, DiskErrorKind, FileName};

/// Files of one shard that are kept open. When reached: the longest unused is closed.
const FILES_OPEN_MAX: usize = 512;

/// What may be done with a shard's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything; made when it does not exist.
    Serve,
    /// Reading only; nothing is made.
    Look,
}

/// Why a shard's directory cannot be taken. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum OpenDirectoryError {
    /// Another process holds it.
    #[error("{} is in use by another process: stop that one first, or choose another data directory", .0.display())]
    InUse(PathBuf),
    /// The device or file system is unusable.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// It cannot be made or opened.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

struct DirectoryHandle {
    fd: OwnedFd,
    flush: FlushMethod,
}

enum Entry {
    /// The operation with this index opens it.
    Opening(usize),
    Open {
        fd: Rc<OwnedFd>,
        /// Larger is later.
        used: u64,
    },
}

/// What a lookup finds.
pub(super) enum Lookup {
    Open(Rc<OwnedFd>),
    Opening(usize),
    Closed,
}

/// See the module.
pub(super) struct FileTable {
    directories: [DirectoryHandle; Directory::ALL.len()],
    alignment_bytes: u32,
    access: Access,
    /// Of the log, where its device has a cache and nobody has chosen.
    chooser: Option<FlushChooser>,
    files: HashMap<FileName, Entry, foldhash::fast::FixedState>,
    uses: u64,
}

impl FileTable {
    pub(super) fn open(path: &Path, access: Access, flush: Option<FlushMethod>) -> Result<Self, OpenDirectoryError> {
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpenDirectoryError::Io { what, path, source }
        };
        if access == Access::Serve {
            make_directory(path).map_err(io("making", path))?;
        }
        let root = fs::File::open(path).map_err(io("opening", path))?;
        let operation = match access {
            Access::Serve => FlockOperation::NonBlockingLockExclusive,
            Access::Look => FlockOperation::NonBlockingLockShared,
        };
        rustix::fs::flock(&root, operation).map_err(|errno| match errno {
            Errno::WOULDBLOCK => OpenDirectoryError::InUse(path.to_owned()),
            other => io("locking", path)(other.into()),
        })?;
        if access == Access::Serve {
            for directory in Directory::ALL {
                make_directory(&path.join(directory.path())).map_err(io("making", path))?;
            }
        }
        let mut root = Some(OwnedFd::from(root));
        let mut alignment_bytes = 0;
        let mut open_one = |directory: Directory| -> Result<DirectoryHandle, OpenDirectoryError> {
            let path = path.join(directory.path());
            let fd = match root.take() {
                // The first is the root: its descriptor holds the lock.
                Some(fd) => fd,
                None => fs::File::open(&path).map_err(io("opening", &path))?.into(),
            };
            let flush = match access {
                Access::Look => FlushMethod::LinkedSync,
                Access::Serve => {
                    let DeviceProbe { alignment_bytes: device, flush: found, .. } = probe_directory(&fd, &path)?;
                    alignment_bytes = alignment_bytes.max(device);
                    flush.unwrap_or(found)
                }
            };
            Ok(DirectoryHandle { fd, flush })
        };
        let [root, log, index, snapshot, quarantine] = Directory::ALL;
        let directories =
            [open_one(root)?, open_one(log)?, open_one(index)?, open_one(snapshot)?, open_one(quarantine)?];
        let is_open = access == Access::Serve && flush.is_none();
        let chooser = (is_open && directories[1].flush == FlushMethod::LinkedSync)
            .then(|| FlushChooser::new(FlushMethod::LinkedSync));
        Ok(Self { directories, alignment_bytes, access, chooser, files: HashMap::default(), uses: 0 })
    }

    pub(super) fn alignment_bytes(&self) -> u32 {
        self.alignment_bytes
    }

    pub(super) fn flush_of(&self, directory: Directory) -> FlushMethod {
        self.handle(directory).flush
    }

    /// How the next write into `directory` becomes durable, and what to tell [`Self::flush_ended`] when it is.
    pub(super) fn choose_flush(&mut self, directory: Directory) -> (Option<FlushMethod>, Option<Chosen>) {
        match &mut self.chooser {
            Some(chooser) if directory == Directory::Log => {
                let (method, chosen) = chooser.choose();
                (Some(method), Some(chosen))
            }
            _ => (Some(self.flush_of(directory)), None),
        }
    }

    /// A write whose flush was chosen is durable, or has failed.
    pub(super) fn flush_ended(&mut self, chosen: Chosen) {
        if let Some(chooser) = &mut self.chooser {
            chooser.ended(chosen);
        }
    }

    pub(super) fn directory(&self, directory: Directory) -> BorrowedFd<'_> {
        self.handle(directory).fd.as_fd()
    }

    fn handle(&self, directory: Directory) -> &DirectoryHandle {
        let index = Directory::ALL.iter().position(|other| *other == directory).expect("ALL has every directory");
        &self.directories[index]
    }

    /// Flags for every open: direct, never through a symbolic link.
    pub(super) fn open_flags(&self) -> i32 {
        let mode = if self.access == Access::Serve { libc::O_RDWR } else { libc::O_RDONLY };
        mode | libc::O_DIRECT | libc::O_CLOEXEC | libc::O_NOFOLLOW
    }

    /// The open file, or who opens it.
    pub(super) fn lookup(&mut self, file: FileName) -> Lookup {
        self.uses += 1;
        match self.files.get_mut(&file) {
            None => Lookup::Closed,
            Some(Entry::Opening(opener)) => Lookup::Opening(*opener),
            Some(Entry::Open { fd, used }) => {
                *used = self.uses;
                Lookup::Open(Rc::clone(fd))
            }
        }
    }

    /// The work that opens `file`, for the operation `waiting`.
    pub(super) fn open_work(&self, file: FileName, waiting: usize) -> Work {
        Work::Open { file, name: name_of(file), flags: self.open_flags(), waiting: vec![waiting] }
    }

    /// Notes that the operation `opener` opens `file`.
    pub(super) fn opening(&mut self, file: FileName, opener: usize) {
        self.files.insert(file, Entry::Opening(opener));
    }

    /// Keeps the file open, unless the name has been given to another file meanwhile.
    pub(super) fn opened(&mut self, file: FileName, opener: usize, fd: Rc<OwnedFd>) {
        if matches!(self.files.get(&file), Some(Entry::Opening(other)) if *other == opener) {
            self.created(file, fd);
        }
    }

    /// The file could not be opened: the next use tries anew.
    pub(super) fn open_failed(&mut self, file: FileName, opener: usize) {
        if matches!(self.files.get(&file), Some(Entry::Opening(other)) if *other == opener) {
            self.files.remove(&file);
        }
    }

    /// Keeps a file open under its name.
    pub(super) fn created(&mut self, file: FileName, fd: Rc<OwnedFd>) {
        self.uses += 1;
        self.files.insert(file, Entry::Open { fd, used: self.uses });
        if self.files.len() > FILES_OPEN_MAX {
            let idle = self.files.iter().filter_map(|(file, entry)| match entry {
                Entry::Open { fd, used } if Rc::strong_count(fd) == 1 => Some((*used, *file)),
                _ => None,
            });
            if let Some((_, oldest)) = idle.min() {
                self.files.remove(&oldest);
            }
        }
    }

    /// The name no longer means the file that is open under it.
    pub(super) fn forget(&mut self, file: FileName) {
        self.files.remove(&file);
    }

    pub(super) fn list(&self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        let failed = |errno: Errno| DiskError {
            kind: DiskErrorKind::Io,
            detail: format!("list directory {:?}: {}", directory.path(), io::Error::from(errno)),
        };
        let fd = self.directory(directory);
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(file) = parse_in(directory, entry.file_name()) else { continue };
            let status = rustix::fs::statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            found.push((file, u64::try_from(status.st_size).unwrap_or(0)));
        }
        found.sort_by_cached_key(|(file, _)| file.path());
        Ok(found)
    }

    pub(super) fn free_bytes(&self) -> Result<u64, DiskError> {
        let status = rustix::fs::fstatvfs(self.directory(Directory::Log)).map_err(|errno| DiskError {
            kind: DiskErrorKind::Io,
            detail: format!("asking for free space: {}", io::Error::from(errno)),
        })?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

fn parse_in(directory: Directory, name: &CStr) -> Option<FileName> {
    let name = name.to_str().ok()?;
    match directory.path() {
        "" => FileName::parse(name),
        path => FileName::parse(&format!("{path}/{name}")),
    }
}

/// Makes a directory that survives a power cut. Does nothing when it is there (a link to one is one).
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match rustix::fs::mkdir(path, Mode::RWXU | Mode::RGRP | Mode::XGRP) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let parent = rustix::fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fsync(parent)?)
}
