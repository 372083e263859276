//! What the machine can do, found out before anything is written: io_uring itself, O_DIRECT, and how a device flushes.
//!
//! A device that can write through its cache (FUA), or that has no volatile cache, makes one `RWF_DSYNC` write durable with
//! one command. On any other, `RWF_DSYNC` ends in a kernel worker on the interrupt's core and may wait a whole scheduler
//! tick there; a write linked to fdatasync does not (measured: 60-80 us against 4 ms next to a busy core). The log finds out
//! by measuring which serves better (`ring::flush`); the other files are flushed by the link.

use io_uring::{IoUring, Probe, opcode};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::BLOCK_ALIGNMENT_BYTES;

/// How a write is made durable on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// The write itself carries `RWF_DSYNC`.
    WriteThrough,
    /// The write is linked to an `fdatasync`, which starts when the write has succeeded.
    LinkedSync,
}

impl fmt::Display for FlushMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteThrough => "write-through",
            Self::LinkedSync => "linked-sync",
        })
    }
}

/// Logical block that is assumed where the kernel does not say (tmpfs, kernels before 6.1).
const ALIGNMENT_ASSUMED_BYTES: u32 = 512;

/// What was found out about the device below a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProbe {
    /// Major and minor number, as in /sys/dev/block.
    pub device: (u32, u32),
    /// Multiple that offsets and lengths of direct reads and writes must have, in bytes.
    pub alignment_bytes: u32,
    /// How writes become durable.
    pub flush: FlushMethod,
}

/// Why this machine, or this directory, cannot hold a log. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// io_uring may not be used.
    #[error(
        "io_uring is blocked for this process (container seccomp profile or kernel.io_uring_disabled): \
         allow io_uring_setup, io_uring_enter and io_uring_register, or set kernel.io_uring_disabled=0"
    )]
    Blocked,
    /// The kernel has no io_uring, or one without what is needed.
    #[error("this kernel's io_uring lacks {missing}: Linux 5.15 or newer is needed")]
    TooOld {
        /// What was asked for.
        missing: &'static str,
    },
    /// Ring memory is counted against RLIMIT_MEMLOCK.
    #[error(
        "not enough lockable memory for io_uring (RLIMIT_MEMLOCK is {limit}): raise it to 8 MiB or more with `ulimit -l`, \
         LimitMEMLOCK= or --ulimit memlock="
    )]
    MemoryLock {
        /// The soft limit in bytes, or "unlimited".
        limit: String,
    },
    /// The file system refuses direct I/O.
    #[error(
        "the file system of {} has no direct I/O (O_DIRECT): put the data directory on ext4, xfs or another file system \
         with O_DIRECT", path.display()
    )]
    NoDirectIo {
        /// The directory.
        path: PathBuf,
    },
    /// The device's logical block is larger than any log's alignment.
    #[error("the device of {} has blocks of {alignment_bytes} bytes, and a log's are at most {BLOCK_ALIGNMENT_BYTES}", path.display())]
    BlockTooLarge {
        /// The directory.
        path: PathBuf,
        /// The device's alignment.
        alignment_bytes: u32,
    },
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes a small ring and asks it for the operations that the driver uses. Done before glommio is touched, which panics
/// with a misleading sentence where this returns an error.
///
/// # Errors
/// One sentence on what is wrong with the machine.
pub fn check_io_uring() -> Result<(), ProbeError> {
    let ring = IoUring::new(8).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ProbeError::Blocked,
        Some(libc::ENOSYS) => ProbeError::TooOld { missing: "io_uring_setup" },
        Some(libc::ENOMEM) => ProbeError::MemoryLock { limit: memory_lock_limit() },
        _ => ProbeError::Io { what: "making an io_uring ring".into(), source: error },
    })?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|_| ProbeError::TooOld { missing: "a list of its operations" })?;
    for (code, missing) in [
        (opcode::Write::CODE, "write"),
        (opcode::Fsync::CODE, "fsync"),
        (opcode::OpenAt::CODE, "openat"),
        (opcode::Fallocate::CODE, "fallocate"),
        (opcode::RenameAt::CODE, "renameat"),
        (opcode::UnlinkAt::CODE, "unlinkat"),
    ] {
        if !probe.is_supported(code) {
            return Err(ProbeError::TooOld { missing });
        }
    }
    Ok(())
}

/// The soft limit on locked memory, for messages.
pub fn memory_lock_limit() -> String {
    match rustix::process::getrlimit(rustix::process::Resource::Memlock).current {
        Some(bytes) => format!("{bytes} bytes"),
        None => "unlimited".into(),
    }
}

/// Finds out, by a nameless file in `directory`, whether and how direct I/O works there.
///
/// # Errors
/// When it does not, in one sentence.
pub fn probe_directory(directory: impl AsFd, path: &Path) -> Result<DeviceProbe, ProbeError> {
    let io = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |errno: Errno| ProbeError::Io { what, source: errno.into() }
    };
    let file = open_scratch(directory).map_err(|errno| match errno {
        Errno::INVAL => ProbeError::NoDirectIo { path: path.to_owned() },
        other => io("opening a direct file in")(other),
    })?;
    let status = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN)
        .map_err(io("asking for the alignment of"))?;
    let device = (status.stx_dev_major, status.stx_dev_minor);
    let says_alignment = StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::DIOALIGN);
    let alignment_bytes = match status.stx_dio_offset_align {
        // tmpfs opens with O_DIRECT, needs no alignment and says none.
        _ if !says_alignment => logical_block(device).unwrap_or(ALIGNMENT_ASSUMED_BYTES),
        0 => return Err(ProbeError::NoDirectIo { path: path.to_owned() }),
        aligned => aligned.max(ALIGNMENT_ASSUMED_BYTES),
    };
    if alignment_bytes as usize > BLOCK_ALIGNMENT_BYTES {
        return Err(ProbeError::BlockTooLarge { path: path.to_owned(), alignment_bytes });
    }
    Ok(DeviceProbe { device, alignment_bytes, flush: flush_method(device) })
}

/// A file without a name where the file system has those, else one that is unlinked at once.
fn open_scratch(directory: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    match rustix::fs::openat(&directory, c".", flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let name = c".ringmq-probe";
            let file = rustix::fs::openat(&directory, name, flags | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?;
            rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
            Ok(file)
        }
        other => other,
    }
}

/// Reads an attribute of the device's queue; partitions have it one level up.
fn queue_attribute(device: (u32, u32), name: &str) -> Option<String> {
    let base = format!("/sys/dev/block/{}:{}", device.0, device.1);
    let read = |path: String| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    read(format!("{base}/queue/{name}")).or_else(|| read(format!("{base}/../queue/{name}")))
}

fn logical_block(device: (u32, u32)) -> Option<u32> {
    queue_attribute(device, "logical_block_size")?.parse().ok()
}

/// Write-through only where the kernel says so: for a device that it does not know, the flush is explicit.
fn flush_method(device: (u32, u32)) -> FlushMethod {
    let fua = queue_attribute(device, "fua").is_some_and(|text| text == "1");
    let no_volatile_cache = queue_attribute(device, "write_cache").is_some_and(|text| text == "write through");
    if fua || no_volatile_cache { FlushMethod::WriteThrough } else { FlushMethod::LinkedSync }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_the_tests_has_direct_io_with_a_known_alignment() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fd = std::fs::File::open(directory.path()).expect("opens");
        let probe = probe_directory(&fd, directory.path()).expect("direct I/O");
        assert!([512, 1024, 2048, 4096].contains(&probe.alignment_bytes), "{probe:?}");
        assert_eq!(std::fs::read_dir(directory.path()).expect("lists").count(), 0, "the scratch file is gone");
    }

    #[test]
    fn file_system_without_direct_io_is_refused_in_one_sentence() {
        let path = Path::new("/proc/self");
        let fd = std::fs::File::open(path).expect("opens");
        let error = probe_directory(&fd, path).expect_err("/proc holds no files of ours");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }

    #[test]
    fn this_machine_has_the_operations_that_the_driver_uses() {
        check_io_uring().expect("io_uring");
    }

    #[test]
    fn unknown_device_is_flushed_explicitly() {
        assert_eq!(flush_method((4095, 4095)), FlushMethod::LinkedSync);
    }
}
