//! Mailboxes between the executors and the operations thread: a locked vector and a wake-up. Nothing here is on the way of
//! a send or a pull.

use std::mem;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::metrics::Snapshot;
use crate::disk::ring::WakeHandle;
use crate::net::driver::Ended;
use crate::net::plane::Mail;
use crate::shard::io::ControlOutput;

/// What the operations thread hears. Shards are named by their index in the data directory.
#[derive(Debug)]
pub enum Event {
    /// A shard has something to tell.
    Control {
        /// Which.
        shard: usize,
        /// What.
        message: ControlOutput,
    },
    /// A shard has counted.
    Published {
        /// Which.
        shard: usize,
        /// What.
        snapshot: Box<Snapshot>,
    },
    /// A shard has ended.
    Ended {
        /// Which.
        shard: usize,
        /// How.
        ended: Ended,
    },
}

#[derive(Default)]
struct Desk {
    mail: Mutex<Vec<Mail>>,
    wake: OnceLock<WakeHandle>,
}

/// Everybody's mailbox.
pub struct Hub {
    desks: Vec<Desk>,
    events: UnboundedSender<Event>,
}

impl Hub {
    /// Mailboxes for so many shards, and the end that the operations thread reads. What shards tell is bounded by what
    /// happens to topics, not to messages.
    pub fn new(shard_count: usize) -> (Arc<Self>, UnboundedReceiver<Event>) {
        let (events, heard) = unbounded_channel();
        let desks = (0..shard_count).map(|_| Desk::default()).collect();
        (Arc::new(Self { desks, events }), heard)
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.desks.len()
    }

    /// Says how the executor of a shard is woken. Mail posted before is read when it first looks.
    pub fn attach(&self, shard: usize, wake: WakeHandle) {
        // A shard has one executor for its whole life.
        assert!(self.desks[shard].wake.set(wake).is_ok(), "shard {shard} is attached twice");
    }

    /// Leaves a message for a shard and wakes its executor.
    pub fn post(&self, shard: usize, mail: Mail) {
        let desk = &self.desks[shard];
        desk.mail.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        if let Some(wake) = desk.wake.get() {
            wake.wake();
        }
    }

    /// Takes a shard's messages.
    pub fn take(&self, shard: usize) -> Vec<Mail> {
        mem::take(&mut *self.desks[shard].mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the operations thread. After its end nobody listens, and nobody needs to.
    pub fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::trace!("an event after the end of the operations thread");
        }
    }
}
