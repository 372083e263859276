//! A timer to the microsecond: a poll's own timeout counts milliseconds, which an open loop of many messages cannot use.

use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::now_ns;

/// Sleeps until `at_ns` of [`crate::clock`], to the microsecond; not at all when that is over.
pub(super) fn sleep_until(at_ns: u64) {
    let rest_ns = at_ns.saturating_sub(now_ns());
    if rest_ns > 0 {
        std::thread::sleep(Duration::from_nanos(rest_ns));
    }
}

/// From now on the kernel wakes this thread when it asked to be woken, not up to 50 µs later.
pub(super) fn be_punctual() {
    if let Err(errno) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
        tracing::debug!(%errno, "ticks are as late as the system's timers");
    }
}

/// A timer that wakes a poll.
#[derive(Debug)]
pub(super) struct Timer {
    fd: OwnedFd,
    /// When it is set to ring, nanoseconds of [`crate::clock`]; 0: it is not set.
    set_to_ns: u64,
}

impl Timer {
    pub(super) fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { fd, set_to_ns: 0 })
    }

    /// Rings at `at_ns`, or at once when that is over. Setting it anew also silences it: its ring is edge-triggered.
    pub(super) fn set(&mut self, at_ns: u64, now_ns: u64) -> std::io::Result<()> {
        if self.set_to_ns == at_ns && at_ns > now_ns {
            return Ok(());
        }
        let wait_ns = at_ns.saturating_sub(now_ns).max(1);
        let value = Timespec {
            tv_sec: i64::try_from(wait_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait_ns % 1_000_000_000).unwrap_or(0),
        };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: interval, it_value: value })?;
        self.set_to_ns = at_ns;
        Ok(())
    }
}
