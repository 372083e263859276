//! A thread that wakes the executor each millisecond, whatever it does: glommio 0.9 can fall asleep over tasks that may run.
//!
//! Its loop (`LocalExecutor::run`) polls its rings, which wakes tasks, and then runs them in `run_task_queues`. When the
//! preemption timer has rung by then (it is armed while the rings are polled; one millisecond here, and a thread that
//! loses its core for that long is not rare), `run_task_queues` finds `need_preempt()` set, runs nothing and says so; for
//! `run` that means that nothing can run. It polls the rings once more; they have nothing new, the timer's ring wakes
//! nobody: and it parks, with tasks in its queues, until something else happens. At 70 000 messages a second that was 0.2 to
//! 1 s every two seconds. Timers of glommio are no remedy: the tasks that wait for them are among those that do not run. A
//! task woken by another *thread* is: such wakes go through the executor's own event descriptor, which ends the sleep
//! whatever state the task is in. So **no task that may run waits for longer than the interval.**

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// Between two nudges.
const INTERVAL: Duration = Duration::from_millis(1);

/// Ends with its thread when dropped.
pub(super) struct Nudge {
    wakers: Sender<Waker>,
    given: RefCell<bool>,
}

impl Nudge {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (wakers, to_wake) = channel::<Waker>();
        thread::Builder::new().name("glommio-nudge".into()).spawn(move || {
            let Ok(waker) = to_wake.recv() else { return };
            while matches!(to_wake.recv_timeout(INTERVAL), Err(RecvTimeoutError::Timeout)) {
                waker.wake_by_ref();
            }
        })?;
        Ok(Self { wakers, given: RefCell::default() })
    }

    /// Never ends. The task that waits for it is the one that is woken.
    pub(super) async fn be_nudged(&self) {
        poll_fn(|context| {
            if !self.given.replace(true) && self.wakers.send(context.waker().clone()).is_err() {
                tracing::error!("the thread that keeps glommio awake is gone");
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
