//! Opens queues on a fresh connection, a window of requests at a time.

use std::sync::Arc;

use super::wire::{Opening, Refusal, Wire};
use crate::cluster::Cluster;

/// Unanswered requests to open a queue on one connection.
const WINDOW: usize = 256;

/// The handles of a connection's queues.
pub struct Opener {
    cluster: Arc<Cluster>,
    topics: Arc<[String]>,
    queues: Vec<u32>,
    handles: Vec<u32>,
    asked_count: usize,
    opened_count: usize,
    /// By slot of the request: which of `queues`.
    asked: Vec<u32>,
}

impl Opener {
    /// For these queues (indexes into `cluster.queues`), all of one broker.
    pub fn new(cluster: Arc<Cluster>, topics: Arc<[String]>, queues: Vec<u32>) -> Self {
        let handles = vec![0; queues.len()];
        Self { cluster, topics, queues, handles, asked_count: 0, opened_count: 0, asked: Vec::new() }
    }

    /// The queues, in the order in which they were given.
    pub fn queues(&self) -> &[u32] {
        &self.queues
    }

    /// The handle of the queue at `index` of [`Opener::queues`]; meaningless before it was opened.
    #[inline]
    pub fn handle(&self, index: usize) -> u32 {
        self.handles[index]
    }

    /// Whether all are open.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.opened_count == self.queues.len()
    }

    /// Asks for as many as the window allows.
    pub fn pump(&mut self, wire: &mut Wire) -> Result<(), String> {
        while self.asked_count < self.queues.len() && self.asked_count - self.opened_count < WINDOW {
            let queue = self.cluster.queues[self.queues[self.asked_count] as usize];
            let opening = Opening { topic: &self.topics[queue.topic as usize], number: queue.number };
            let slot = match wire.open(opening) {
                Ok(slot) => slot,
                Err(Refusal::Full) => break,
                Err(Refusal::Unusable(reason)) => return Err(reason),
            };
            if slot >= self.asked.len() {
                self.asked.resize(slot + 1, 0);
            }
            self.asked[slot] = u32::try_from(self.asked_count).expect("bounded by QUEUE_COUNT_MAX");
            self.asked_count += 1;
        }
        Ok(())
    }

    /// One was opened; gives its index in [`Opener::queues`].
    pub fn opened(&mut self, slot: usize, handle: u32) -> usize {
        let index = self.asked[slot] as usize;
        self.handles[index] = handle;
        self.opened_count += 1;
        index
    }

    /// The connection is gone: all must be opened again.
    pub fn reset(&mut self) {
        self.asked_count = 0;
        self.opened_count = 0;
    }
}
