//! Looking at the ring while there is other work, and sleeping on it when there is none.
//!
//! **No wake-up is lost between the look and the sleep**, because they look at the same thing: the kernel does not put the
//! thread to sleep while the completion queue holds an entry that was not taken, nor while it owes it one. What is not on
//! the ring cannot wake: so nothing that was taken from it and not yet given on ([`RingDisk::has_news`]) may be left behind
//! a sleep, and nothing that waits for room in the submission queue.

use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};

use super::RingDisk;

impl RingDisk {
    /// Takes what has ended or become ready, and hands over what was submitted; costs no system call when there is neither.
    ///
    /// # Errors
    /// As [`RingDisk::enter`].
    pub fn look(&mut self) -> io::Result<()> {
        self.push_ready();
        let queue = self.ring.submission();
        // Completions that the kernel makes only when asked, or that found no room.
        let owed = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if owed || self.unsubmitted > 0 {
            self.kernel(0)?;
        }
        self.take_completions();
        Ok(())
    }

    /// Whether something has been taken from the ring that nobody has been given yet.
    pub fn has_news(&self) -> bool {
        !self.done.is_empty() || self.sockets.has_news()
    }

    /// Hands over what was submitted and sleeps until something ends or becomes ready, for `time` at most: one system call
    /// for all. Returns at once when there is news. A signal, or a shortage of the kernel's, ends the sleep early: the
    /// caller looks at everything anyway, and comes back.
    ///
    /// # Errors
    /// As [`RingDisk::enter`].
    pub fn sleep(&mut self, time: Duration) -> io::Result<()> {
        // What ends may start something else.
        self.take_completions();
        self.push_ready();
        if self.sockets.waits_for_room() {
            self.kernel(0)?;
        }
        if self.has_news() {
            return self.enter();
        }
        let time = Timespec::from(time);
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time)) {
            Ok(taken) => self.unsubmitted -= taken.min(self.unsubmitted),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => {}
                Some(libc::EAGAIN | libc::EBUSY) => std::thread::yield_now(),
                _ => return Err(error),
            },
        }
        self.take_completions();
        Ok(())
    }

    /// Whether [`RingDisk::sleep`] can be told how long (Linux 5.11).
    pub fn can_sleep(&self) -> bool {
        self.ring.params().is_feature_ext_arg()
    }
}
