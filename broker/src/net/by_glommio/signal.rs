//! A flag that one task waits for: raised any number of times, seen once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Of one thread, for one waiting task.
#[derive(Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Signal {
    /// Wakes the waiting task, now or when it next waits.
    pub(super) fn raise(&self) {
        if !self.raised.replace(true)
            && let Some(waker) = self.waiting.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// Whether the flag is up.
    pub(super) fn is_raised(&self) -> bool {
        self.raised.get()
    }

    /// Returns once the flag is up, and lowers it.
    pub(super) async fn wait(&self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// As [`Self::wait`].
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.raised.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
