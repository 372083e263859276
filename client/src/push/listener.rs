//! The application's side: what is called with messages, and what it may answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::message::Message;

/// The messages of one call, all of one queue.
pub type Messages = Arc<[Message]>;

type Call<T> = Arc<dyn Fn(Messages) -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;

/// What became of the messages of a concurrent call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// They are consumed.
    Success,
    /// The first so many are consumed; the others are delivered again.
    First(usize),
    /// They are delivered again, after a delay that grows from time to time: RECONSUME_LATER.
    Later,
    /// They are delivered again after this delay level; below 0 they go to the dead letters at once.
    LaterAt(i32),
}

/// What became of the messages of a call in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumedInOrder {
    /// They are consumed.
    Success,
    /// The queue stands still for a moment, then they are delivered again: SUSPEND_CURRENT_QUEUE_A_MOMENT.
    Suspend,
}

/// What is called with messages.
#[derive(Clone)]
pub struct Listener(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Concurrent(Call<Consumed>),
    Orderly(Call<ConsumedInOrder>),
}

impl Listener {
    /// Called with messages of any queue, many at once. A call that panics counts as [`Consumed::Later`].
    pub fn concurrent<F, C>(call: C) -> Self
    where
        C: Fn(Messages) -> F + Send + Sync + 'static,
        F: Future<Output = Consumed> + Send + 'static,
    {
        Self(Kind::Concurrent(Arc::new(move |messages| Box::pin(call(messages)))))
    }

    /// Called with the messages of each queue in order, one call a queue at a time. A call that panics counts as
    /// [`ConsumedInOrder::Suspend`].
    pub fn orderly<F, C>(call: C) -> Self
    where
        C: Fn(Messages) -> F + Send + Sync + 'static,
        F: Future<Output = ConsumedInOrder> + Send + 'static,
    {
        Self(Kind::Orderly(Arc::new(move |messages| Box::pin(call(messages)))))
    }

    pub(super) const fn is_orderly(&self) -> bool {
        matches!(self.0, Kind::Orderly(_))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_orderly() { "Listener::orderly" } else { "Listener::concurrent" })
    }
}
