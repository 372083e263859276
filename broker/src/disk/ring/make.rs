//! How a ring is made and how it ends, and the one place where entries enter it.

use std::io;
use std::mem;

use io_uring::{IoUring, squeue};

use super::RingDisk;

/// Submission entries. Each operation needs at most two; more wait in the driver's own queue.
const SUBMISSION_ENTRIES: u32 = 256;

/// Completion entries. Beside the disk, every watched socket may have something to say; what does not fit, the kernel keeps.
const COMPLETION_ENTRIES: u32 = 4096;

/// From Linux 6.1 on, a ring whose completions are made only when its thread asks for them, all at once; from 5.19 on, one
/// that makes them whenever the thread is in the kernel anyway; an ordinary one before. All say by a flag when a look needs
/// a system call first.
pub(super) fn make_ring() -> io::Result<IoUring> {
    let kinds: [fn(&mut io_uring::Builder) -> &mut io_uring::Builder; 3] = [
        |builder| builder.setup_defer_taskrun().setup_single_issuer().setup_taskrun_flag().setup_submit_all(),
        |builder| builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all(),
        |builder| builder,
    ];
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    for kind in kinds {
        match kind(IoUring::builder().setup_cqsize(COMPLETION_ENTRIES)).build(SUBMISSION_ENTRIES) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            other => return other,
        }
    }
    Err(refused)
}

/// Puts the entries into the submission queue, all or none.
#[expect(unsafe_code, reason = "the ring reads and writes memory by address")]
pub(super) fn push(ring: &mut IoUring, entries: &[squeue::Entry]) -> bool {
    let mut queue = ring.submission();
    if queue.capacity() - queue.len() < entries.len() {
        return false;
    }
    // SAFETY: entries of sockets and of the event descriptor hold no address. Every address in another entry points into
    // memory that the entry's operation owns (a block, a path on the heap, a file descriptor). The operation stays in
    // `RingDisk::ops` until all its parts have completed: `on_completion` is the only place that ends one, and `Drop` waits
    // for the kernel or leaks the table.
    unsafe { queue.push_multiple(entries) }.is_ok()
}

/// Processors as the kernel takes them.
#[expect(unsafe_code, reason = "libc's set of processors is a plain bit field behind unsafe helpers")]
pub(super) fn cpu_set(cores: &[usize]) -> libc::cpu_set_t {
    // SAFETY: `cpu_set_t` is a bit field; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: the core's number is below the size of the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    set
}

impl RingDisk {
    /// Waits for what the kernel has, drops what it has not, and lets go of all directories. Nothing may be submitted after.
    pub fn close(&mut self) {
        loop {
            // The kernel may still write into blocks: they live until it has answered.
            self.ready.clear();
            self.reads.clear();
            if self.in_flight == 0 {
                self.sockets.forget();
                if self.sockets.is_silent() {
                    break;
                }
            }
            self.push_ready();
            if self.take_completions() {
                continue;
            }
            if let Err(error) = self.ring.submit_and_wait(1)
                && error.raw_os_error() != Some(libc::EINTR)
            {
                mem::forget(mem::take(&mut self.ops));
                break;
            }
        }
        self.shards.clear();
    }
}

impl Drop for RingDisk {
    fn drop(&mut self) {
        self.close();
    }
}
