//! Whether a link is connected, who wants it to be, and since when not: the same for both dialects.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmq_tls::ClientTls;
use tokio::sync::{Notify, watch};

use crate::error::{Error, Result};

/// What the task of a link serves: a connection of either dialect, and who waits on it.
pub(crate) trait Served: Send + Sync + 'static {
    /// Whether it is connected.
    fn gate(&self) -> &Gate;

    /// Takes what is to be sent into `out`, which is empty.
    fn swap_output(&self, out: &mut Vec<u8>);

    /// Takes received bytes and hands out the replies in them.
    fn received(&self, bytes: &[u8]) -> Result<()>;

    /// Answers requests whose time is over. Gives the time when the earliest of them was made.
    fn expire(&self) -> Option<Instant>;

    /// Forgets the connection; all that wait get `error`.
    fn reset(&self, error: &Error);

    /// The socket is connected.
    fn connected(&self) {}
}

#[derive(Clone, Debug)]
pub(super) enum Status {
    Idle,
    Connecting,
    Ready { generation: u64 },
    Failed { error: Error, retry_at: Instant },
    Closed,
}

/// See the module's text.
pub(crate) struct Gate {
    address: Arc<str>,
    tls: Option<ClientTls>,
    /// There is output, or a wish to connect, or the link was closed.
    wake: Notify,
    status: watch::Sender<Status>,
}

impl Gate {
    pub(crate) fn new(address: Arc<str>, tls: Option<ClientTls>) -> Self {
        Self { address, tls, wake: Notify::new(), status: watch::Sender::new(Status::Idle) }
    }

    /// Where to.
    pub(crate) const fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// How to speak there; none: without TLS.
    pub(super) const fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// Waits for a connection and gives its generation; the last failure at once while its back-off lasts.
    pub(crate) async fn ready(&self) -> Result<u64> {
        let mut status = self.status.subscribe();
        loop {
            match &*status.borrow_and_update() {
                Status::Ready { generation } => return Ok(*generation),
                Status::Failed { error, retry_at } if Instant::now() < *retry_at => return Err(error.clone()),
                Status::Closed => return Err(Error::Closed),
                Status::Idle | Status::Connecting | Status::Failed { .. } => {}
            }
            self.status.send_if_modified(|status| {
                let wanted = matches!(status, Status::Idle | Status::Failed { .. });
                if wanted {
                    *status = Status::Connecting;
                }
                wanted
            });
            self.wake.notify_one();
            if status.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// The generation of the connection that is ready now, if one is.
    pub(crate) fn generation(&self) -> Option<u64> {
        match *self.status.borrow() {
            Status::Ready { generation } => Some(generation),
            _ => None,
        }
    }

    /// Requests can be made on the connection of this generation.
    pub(crate) fn set_ready(&self, generation: u64) {
        self.set(Status::Ready { generation });
    }

    /// Ends the link.
    pub(crate) fn close(&self) {
        self.status.send_replace(Status::Closed);
        self.wake.notify_one();
    }

    /// There is something to do.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The connection ended, or is not the one that was meant.
    pub(crate) fn disconnected(&self, source: io::Error) -> Error {
        Error::Disconnected { address: Arc::clone(&self.address), source: source.into() }
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.status.borrow(), Status::Closed)
    }

    pub(super) fn is_wanted(&self) -> bool {
        matches!(*self.status.borrow(), Status::Connecting)
    }

    /// Answers with `error` until the back-off is over.
    pub(super) fn set_failed(&self, error: Error, backoff: Duration) {
        self.set(Status::Failed { error, retry_at: Instant::now() + backoff });
    }

    /// Moves on to `next` unless the link was closed meanwhile.
    fn set(&self, next: Status) {
        self.status.send_if_modified(|status| {
            let is_open = !matches!(status, Status::Closed);
            if is_open {
                *status = next;
            }
            is_open
        });
    }
}

/// Generations are unique in the process, so that a handle is never taken for one of another link.
pub(crate) fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
