//! How a sleeping executor hears that another thread has left a message: one event descriptor, whose count is never lost.
//!
//! Whoever leaves a message counts up *afterwards*; whoever is woken takes the count *first* and looks for messages then.
//! So a message that the look misses has its count still to come, and the next poll of the descriptor, which is asked for
//! before the next sleep, ends at once. With glommio's sockets the kernel counts each completion of the ring up as well, and
//! a task of the executor reads the count.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::{opcode, types};
use rustix::event::EventfdFlags;

use super::RingDisk;
use super::sockets::WAKE;

/// The executor's end.
pub(super) struct Wake {
    fd: Arc<OwnedFd>,
}

/// The end of other threads: wakes the executor.
#[derive(Clone)]
pub struct WakeHandle {
    fd: Arc<OwnedFd>,
}

/// Waits, inside a glommio executor.
pub struct Waiter {
    file: glommio::io::BufferedFile,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        // Blocking, so that glommio's ring waits for a count instead of answering EAGAIN.
        Ok(Self { fd: Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?) })
    }

    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(super) fn handle(&self) -> WakeHandle {
        WakeHandle { fd: Arc::clone(&self.fd) }
    }
}

impl RingDisk {
    /// From now on [`RingDisk::take_wake`] says when another thread has woken this one.
    pub fn hear_wakes(&mut self) {
        let poll = opcode::PollAdd::new(types::Fd(self.wake.as_raw_fd()), libc::POLLIN as u32).build();
        self.sockets.polls += 1;
        self.sockets.waiting.push_back(poll.user_data(WAKE));
    }

    /// Whether another thread has woken this one since the last call: then its messages are to be looked for *after* this.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub fn take_wake(&mut self) -> io::Result<bool> {
        if !std::mem::take(&mut self.sockets.woken) {
            return Ok(false);
        }
        // The count is above zero and nobody else takes it, so this does not block.
        rustix::io::retry_on_intr(|| rustix::io::read(&*self.wake.fd, &mut [0_u8; 8]))?;
        self.hear_wakes();
        Ok(true)
    }

    /// What a task of a glommio executor waits with for this ring and for other threads. To be called inside the executor,
    /// instead of [`RingDisk::hear_wakes`].
    ///
    /// # Errors
    /// When no descriptor is left, or the kernel does not count completions.
    #[expect(unsafe_code, reason = "glommio waits for a bare descriptor")]
    pub fn waiter(&self) -> io::Result<Waiter> {
        self.ring.submitter().register_eventfd(self.wake.as_raw_fd())?;
        let fd = self.wake.fd.try_clone()?;
        // SAFETY: the descriptor is a duplicate that has no other owner; the file closes it.
        let file = unsafe { glommio::io::BufferedFile::from_raw_fd(fd.into_raw_fd()) };
        Ok(Waiter { file })
    }
}

impl Waiter {
    /// Returns once the count is above zero, and sets it to zero.
    ///
    /// # Errors
    /// When the executor's own ring has failed.
    pub async fn wait(&self) -> io::Result<()> {
        self.file.read_at(0, 8).await.map(|_| ()).map_err(io::Error::from)
    }
}

impl WakeHandle {
    /// Wakes the executor, now or when it next sleeps.
    pub fn wake(&self) {
        if let Err(error) = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, &1_u64.to_ne_bytes())) {
            tracing::error!(error = %io::Error::from(error), "an executor cannot be woken");
        }
    }
}

impl fmt::Debug for WakeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WakeHandle({})", self.fd.as_raw_fd())
    }
}
