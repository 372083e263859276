//! One disk operation on its way: its stages, what each asks of the kernel, and what the answers mean.
//!
//! A stage is one entry, or two linked ones: a write and the flush that starts when the write succeeded. A cut write
//! breaks the link, so its flush is cancelled by the kernel; both answers are awaited and the write's own is reported.

use std::ffi::CString;
use std::io;
use std::mem;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::ShardSlot;
use super::files::FileTable;
use super::flush::Chosen;
use crate::disk::probe::FlushMethod;
use crate::disk::{
    Block, BlockMut, BlockPool, Directory, DiskDone, DiskError, DiskErrorKind, DiskOpKind, FileName, OpId,
};

/// The finest alignment of any device: a read that ends off it has met the end of its file.
const ALIGNMENT_BYTES_MIN: usize = 512;

/// An operation of a shard, or the driver's own opening of a file.
pub(super) struct Op {
    pub(super) shard: ShardSlot,
    pub(super) id: OpId,
    pub(super) work: Work,
    /// Answers of this stage that are still to come.
    pub(super) parts_due: usize,
    results: [i32; 2],
    /// A write whose way of flushing is measured.
    pub(super) chosen: Option<Chosen>,
}

/// What an operation does, with everything that the kernel may touch meanwhile.
pub(super) enum Work {
    Open {
        file: FileName,
        name: CString,
        flags: i32,
        waiting: Vec<usize>,
    },
    Write {
        file: FileName,
        fd: Option<Rc<OwnedFd>>,
        offset: u64,
        block: Block,
        start: usize,
        length: u32,
        flush: Option<FlushMethod>,
    },
    Read {
        file: FileName,
        fd: Option<Rc<OwnedFd>>,
        offset: u64,
        length: u32,
        /// There until the last stage has ended.
        buffer: Option<BlockMut>,
        filled: u32,
    },
    Sync {
        file: FileName,
        fd: Option<Rc<OwnedFd>>,
    },
    Create {
        file: FileName,
        name: CString,
        size_bytes: u64,
        stage: CreateStage,
    },
    Rename {
        from: FileName,
        to: FileName,
        names: [CString; 2],
    },
    Remove {
        file: FileName,
        name: CString,
    },
    SyncDir {
        directory: Directory,
    },
}

/// A file that cannot be made in full is removed again.
pub(super) enum CreateStage {
    Open,
    Allocate(Rc<OwnedFd>),
    Undo(DiskError),
}

/// What follows a stage.
pub(super) enum Step {
    /// Another stage.
    Again,
    /// A file was opened for these operations.
    Opened(Vec<usize>, Rc<OwnedFd>),
    /// A file could not be opened for these operations.
    OpenFailed(Vec<usize>, DiskError),
    /// The end.
    Done(Result<DiskDone, DiskError>),
}

/// One or two entries, pushed together or not at all.
pub(super) struct Entries {
    entries: [squeue::Entry; 2],
    count: usize,
}

impl Deref for Entries {
    type Target = [squeue::Entry];

    fn deref(&self) -> &[squeue::Entry] {
        &self.entries[..self.count]
    }
}

/// `index` in the low 56 bits, the part above.
fn pack(index: u64, part: u64) -> u64 {
    part << 56 | index
}

/// The index of the operation and the part of its stage that a completion answers.
pub(super) fn unpack(user_data: u64) -> (usize, usize) {
    let index = usize::try_from(user_data & ((1 << 56) - 1)).expect("64-bit addresses");
    (index, usize::from(user_data >> 56 == 1))
}

impl Work {
    /// The first stage of `kind`; `flush` for writes that must be durable.
    pub(super) fn of(kind: DiskOpKind, flush: Option<FlushMethod>, pool: &BlockPool) -> Self {
        let size = |bytes: usize| u32::try_from(bytes).expect("a disk operation carries less than 4 GiB");
        match kind {
            DiskOpKind::Write { file, offset, block, start, length, .. } => {
                assert!(start + length <= block.len(), "write of {start}+{length} from a block of {}", block.len());
                Self::Write { file, fd: None, offset, block, start, length: size(length), flush }
            }
            DiskOpKind::Read { file, offset, length } => {
                Self::Read { file, fd: None, offset, length: size(length), buffer: Some(pool.take(length)), filled: 0 }
            }
            DiskOpKind::Sync { file } => Self::Sync { file, fd: None },
            DiskOpKind::Create { file, size_bytes } => {
                Self::Create { file, name: name_of(file), size_bytes, stage: CreateStage::Open }
            }
            DiskOpKind::Rename { from, to } => Self::Rename { from, to, names: [name_of(from), name_of(to)] },
            DiskOpKind::Remove { file } => Self::Remove { file, name: name_of(file) },
            DiskOpKind::SyncDir { directory } => Self::SyncDir { directory },
        }
    }

    /// The file that must be open before the operation starts, while it is not.
    pub(super) fn file_wanted(&self) -> Option<FileName> {
        match self {
            Self::Write { file, fd: None, .. } | Self::Read { file, fd: None, .. } | Self::Sync { file, fd: None } => {
                Some(*file)
            }
            _ => None,
        }
    }

    /// Gives the operation its open file.
    pub(super) fn give_file(&mut self, opened: Rc<OwnedFd>) {
        match self {
            Self::Write { fd, .. } | Self::Read { fd, .. } | Self::Sync { fd, .. } => *fd = Some(opened),
            _ => unreachable!("only operations that want a file are given one"),
        }
    }

    /// A name that is about to mean another file, or none, is not kept open: the space of a removed file comes back in the
    /// kernel's helper thread, not in ours.
    pub(super) fn before_start(&self, table: &mut FileTable) {
        match self {
            Self::Rename { from, to, .. } => {
                table.forget(*from);
                table.forget(*to);
            }
            Self::Remove { file, .. } => table.forget(*file),
            _ => {}
        }
    }

    /// For error messages: what was being done to which file.
    fn describe(&self) -> String {
        match self {
            Self::Open { file, .. } => format!("open {}", file.path()),
            Self::Write { file, offset, length, .. } => format!("write {} at {offset} ({length} bytes)", file.path()),
            Self::Read { file, offset, length, .. } => format!("read {} at {offset} ({length} bytes)", file.path()),
            Self::Sync { file, .. } => format!("flush {}", file.path()),
            Self::Create { file, size_bytes, .. } => format!("create {} ({size_bytes} bytes)", file.path()),
            Self::Rename { from, to, .. } => format!("rename {} to {}", from.path(), to.path()),
            Self::Remove { file, .. } => format!("remove {}", file.path()),
            Self::SyncDir { directory } => format!("flush directory {:?}", directory.path()),
        }
    }

    fn failed(&self, result: i32) -> DiskError {
        let errno = -result;
        let kind = match errno {
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => DiskErrorKind::Full,
            libc::ENOENT => DiskErrorKind::NotFound,
            libc::EEXIST => DiskErrorKind::Exists,
            _ => DiskErrorKind::Io,
        };
        DiskError { kind, detail: format!("{}: {}", self.describe(), io::Error::from_raw_os_error(errno)) }
    }

    fn done_or_failed(&self, result: i32) -> Step {
        Step::Done(if result < 0 { Err(self.failed(result)) } else { Ok(DiskDone::Done) })
    }
}

/// The name of a file inside its directory.
pub(super) fn name_of(file: FileName) -> CString {
    let path = file.path();
    let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
    CString::new(name).expect("file names of ours hold no zero byte")
}

impl Op {
    pub(super) fn new(shard: ShardSlot, id: OpId, work: Work) -> Self {
        Self { shard, id, work, parts_due: 0, results: [0; 2], chosen: None }
    }

    /// With how its flush was chosen.
    pub(super) fn chosen(self, chosen: Option<Chosen>) -> Self {
        Self { chosen, ..self }
    }

    /// The entries of the present stage. They hold addresses of memory that this operation owns.
    pub(super) fn entries(&mut self, index: u64, table: &FileTable) -> Entries {
        let raw = |fd: &Option<Rc<OwnedFd>>| types::Fd(fd.as_ref().expect("the file is open").as_raw_fd());
        let directory = |directory: Directory| types::Fd(table.directory(directory).as_raw_fd());
        let first = match &mut self.work {
            Work::Open { file, name, flags, .. } => {
                opcode::OpenAt::new(directory(file.directory()), name.as_ptr()).flags(*flags).build()
            }
            Work::Write { fd, offset, block, start, length, flush, .. } => {
                let bytes = &block[*start..*start + *length as usize];
                let write = opcode::Write::new(raw(fd), bytes.as_ptr(), *length).offset(*offset);
                match flush {
                    None => write.build(),
                    Some(FlushMethod::WriteThrough) => write.rw_flags(libc::RWF_DSYNC).build(),
                    Some(FlushMethod::LinkedSync) => {
                        let write = write.build().flags(squeue::Flags::IO_LINK).user_data(pack(index, 0));
                        let sync = opcode::Fsync::new(raw(fd)).flags(types::FsyncFlags::DATASYNC).build();
                        return Entries { entries: [write, sync.user_data(pack(index, 1))], count: 2 };
                    }
                }
            }
            Work::Read { fd, offset, length, buffer, filled, .. } => {
                let buffer = buffer.as_mut().expect("a read in progress has its buffer");
                let rest = &mut buffer[*filled as usize..*length as usize];
                opcode::Read::new(raw(fd), rest.as_mut_ptr(), *length - *filled)
                    .offset(*offset + u64::from(*filled))
                    .build()
            }
            Work::Sync { fd, .. } => opcode::Fsync::new(raw(fd)).flags(types::FsyncFlags::DATASYNC).build(),
            Work::Create { file, name, size_bytes, stage } => match stage {
                CreateStage::Open => opcode::OpenAt::new(directory(file.directory()), name.as_ptr())
                    .flags(table.open_flags() | libc::O_CREAT | libc::O_EXCL)
                    .mode(0o640)
                    .build(),
                CreateStage::Allocate(fd) => opcode::Fallocate::new(types::Fd(fd.as_raw_fd()), *size_bytes).build(),
                CreateStage::Undo(_) => opcode::UnlinkAt::new(directory(file.directory()), name.as_ptr()).build(),
            },
            Work::Rename { from, to, names } => opcode::RenameAt::new(
                directory(from.directory()),
                names[0].as_ptr(),
                directory(to.directory()),
                names[1].as_ptr(),
            )
            .build(),
            Work::Remove { file, name } => opcode::UnlinkAt::new(directory(file.directory()), name.as_ptr()).build(),
            Work::SyncDir { directory: synced } => opcode::Fsync::new(directory(*synced)).build(),
        };
        Entries { entries: [first.user_data(pack(index, 0)), opcode::Nop::new().build()], count: 1 }
    }

    /// Notes one answer of the present stage.
    pub(super) fn on_part(&mut self, part: usize, result: i32) {
        assert!(self.parts_due > 0, "an answer nobody waits for: {}", self.work.describe());
        self.results[part] = result;
        self.parts_due -= 1;
    }

    /// All answers of the stage are in: what now.
    pub(super) fn step(&mut self, table: &mut FileTable, index: usize) -> Step {
        let result = self.results[0];
        match &mut self.work {
            Work::Open { file, waiting, .. } => {
                let (file, waiting) = (*file, mem::take(waiting));
                if result < 0 {
                    table.open_failed(file, index);
                    return Step::OpenFailed(waiting, self.work.failed(result));
                }
                let fd = Rc::new(owned(result));
                table.opened(file, index, Rc::clone(&fd));
                Step::Opened(waiting, fd)
            }
            Work::Write { .. } => Step::Done(self.write_result()),
            Work::Read { .. } => self.read_step(),
            Work::Create { .. } => self.create_step(table),
            Work::Rename { from, to, .. } => {
                table.forget(*from);
                table.forget(*to);
                self.work.done_or_failed(result)
            }
            Work::Remove { file, .. } => {
                table.forget(*file);
                // Removing what is not there succeeds.
                self.work.done_or_failed(if result == -libc::ENOENT { 0 } else { result })
            }
            Work::Sync { .. } | Work::SyncDir { .. } => self.work.done_or_failed(result),
        }
    }

    fn write_result(&self) -> Result<DiskDone, DiskError> {
        let Work::Write { length, flush, .. } = &self.work else { unreachable!("asked of a write") };
        let [written, flushed] = self.results;
        if written < 0 {
            return Err(self.work.failed(written));
        }
        if u32::try_from(written) != Ok(*length) {
            let detail = format!("{}: cut after {written} bytes", self.work.describe());
            return Err(DiskError { kind: DiskErrorKind::Io, detail });
        }
        if *flush == Some(FlushMethod::LinkedSync) && flushed < 0 {
            let mut error = self.work.failed(flushed);
            error.detail.insert_str(0, "flush after ");
            return Err(error);
        }
        Ok(DiskDone::Done)
    }

    /// The kernel may cut a read; only one that gives nothing, or ends off any alignment, has met the end of the file.
    fn read_step(&mut self) -> Step {
        let result = self.results[0];
        let Work::Read { length, buffer, filled, .. } = &mut self.work else { unreachable!("asked of a read") };
        let Ok(count) = u32::try_from(result) else { return Step::Done(Err(self.work.failed(result))) };
        *filled += count;
        if count > 0 && *filled < *length && (count as usize).is_multiple_of(ALIGNMENT_BYTES_MIN) {
            return Step::Again;
        }
        let length = *filled as usize;
        let block = buffer.take().expect("a read ends once").freeze();
        Step::Done(Ok(DiskDone::Read { block, length }))
    }

    fn create_step(&mut self, table: &mut FileTable) -> Step {
        let result = self.results[0];
        let failed = (result < 0).then(|| self.work.failed(result));
        let Work::Create { file, size_bytes, stage, .. } = &mut self.work else { unreachable!("asked of a create") };
        let fd = match mem::replace(stage, CreateStage::Open) {
            CreateStage::Open => match failed {
                Some(error) => return Step::Done(Err(error)),
                None => Rc::new(owned(result)),
            },
            CreateStage::Allocate(fd) => {
                if let Some(error) = failed {
                    drop(fd);
                    *stage = CreateStage::Undo(error);
                    return Step::Again;
                }
                table.created(*file, fd);
                return Step::Done(Ok(DiskDone::Done));
            }
            CreateStage::Undo(error) => return Step::Done(Err(error)),
        };
        if *size_bytes == 0 {
            table.created(*file, fd);
            return Step::Done(Ok(DiskDone::Done));
        }
        *stage = CreateStage::Allocate(fd);
        Step::Again
    }
}

#[expect(unsafe_code, reason = "the kernel answers an open with a bare number")]
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the number is the answer to an open of ours that succeeded; nobody else knows it, so it has one owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
