//! How a sleeping executor hears that something has happened: one event descriptor, counted up by the kernel with each
//! completion of the ring and by other threads that left a message. A count is never lost, so there is no missed wake-up.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

/// The executor's end.
pub struct Wake {
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
        // Blocking, so that io_uring waits for a count instead of answering EAGAIN.
        Ok(Self { fd: Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?) })
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// For other threads.
    pub fn handle(&self) -> WakeHandle {
        WakeHandle { fd: Arc::clone(&self.fd) }
    }

    /// What the executor's own task waits with. To be called inside the executor.
    ///
    /// # Errors
    /// When no descriptor is left.
    #[expect(unsafe_code, reason = "glommio waits for a bare descriptor")]
    pub fn waiter(&self) -> io::Result<Waiter> {
        let fd = self.fd.try_clone()?;
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
    /// Wakes the executor, now or when it next waits.
    pub fn wake(&self) {
        if let Err(error) = rustix::io::write(&self.fd, &1_u64.to_ne_bytes()) {
            tracing::error!(error = %io::Error::from(error), "an executor cannot be woken");
        }
    }
}

impl fmt::Debug for WakeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WakeHandle({})", self.fd.as_raw_fd())
    }
}
