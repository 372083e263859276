//! Concurrent consumption: batches of what was pulled, as many calls at once as the consumer may make.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::core::Core;
use super::listener::{Consumed, Kind, Messages};
use super::worker::Worker;
use crate::message::Message;

/// The pause before messages that could neither be consumed nor given back are tried again, as in RocketMQ.
const AGAIN_PAUSE: Duration = Duration::from_secs(5);

/// The level that lets the broker choose the delay.
const LEVEL_OF_BROKER: i32 = 0;

impl Worker {
    /// Has the listener called with `messages`, in batches.
    pub(super) fn consume_concurrently(&self, core: &Core, messages: &[Message]) {
        for batch in messages.chunks(core.config.consume_batch_max) {
            self.to_consume(batch.into());
        }
    }
}

/// Begins the calls of a queue in its order, so that with one thread they end in it too. Ends with the worker.
pub(super) async fn begin_all(worker: Weak<Worker>, mut batches: mpsc::UnboundedReceiver<Messages>) {
    while let Some(batch) = batches.recv().await {
        let Some(worker) = worker.upgrade() else { return };
        let Some(core) = worker.core.upgrade() else { return };
        // Closed with the consumer.
        let Ok(permit) = Arc::clone(&core.threads).acquire_owned().await else { return };
        tokio::spawn(consume(worker, core, batch, permit));
    }
}

/// One batch, until it is consumed, given back, or the queue is another member's.
async fn consume(worker: Arc<Worker>, core: Arc<Core>, mut batch: Messages, mut permit: OwnedSemaphorePermit) {
    loop {
        let running = worker.running();
        if worker.is_closed() {
            return;
        }
        let is_success = |consumed: &Consumed| matches!(consumed, Consumed::Success | Consumed::First(1..));
        let consumed = core.traced(&batch, call(&core, &batch), is_success).await;
        let left = settle(&core, &batch, consumed).await;
        drop(permit);
        let is_left = |message: &Message| left.iter().any(|left| left.queue_offset == message.queue_offset);
        let offset = worker.process().remove(batch.iter().filter(|message| !is_left(message)));
        worker.advance(&core, offset);
        drop(running);
        if left.is_empty() {
            return;
        }
        batch = left.into();
        tokio::time::sleep(AGAIN_PAUSE).await;
        let Ok(again) = Arc::clone(&core.threads).acquire_owned().await else { return };
        permit = again;
    }
}

/// Calls the listener; what takes too long or panics has failed.
pub(super) async fn call(core: &Core, batch: &Messages) -> Consumed {
    let Kind::Concurrent(listener) = &core.listener.0 else { return Consumed::Later };
    let (listener, messages, time_max) = (Arc::clone(listener), Arc::clone(batch), core.config.consume_timeout);
    // Also what the listener does before it gives a future is done in there: a panic must not end this queue.
    let running = tokio::spawn(async move { tokio::time::timeout(time_max, listener(messages)).await });
    match running.await {
        Ok(Ok(consumed)) => consumed,
        Ok(Err(_)) => {
            tracing::warn!(queue = ?batch[0].queue, "consuming took too long");
            Consumed::Later
        }
        Err(error) => {
            tracing::error!(queue = ?batch[0].queue, %error, "a listener has panicked");
            Consumed::Later
        }
    }
}

/// Gives back what was not consumed. What could not be given back is left.
async fn settle(core: &Core, batch: &Messages, consumed: Consumed) -> Vec<Message> {
    let (done, level) = match consumed {
        Consumed::Success => (batch.len(), LEVEL_OF_BROKER),
        Consumed::First(count) => (count.min(batch.len()), LEVEL_OF_BROKER),
        Consumed::Later => (0, LEVEL_OF_BROKER),
        Consumed::LaterAt(level) => (0, level),
    };
    let mut left = Vec::new();
    for message in &batch[done..] {
        if !core.is_clustering() {
            tracing::warn!(id = %message.message_id(), "not consumed; broadcasting delivers nothing again");
            continue;
        }
        if let Err(error) = core.give_back(message, level).await {
            tracing::warn!(id = %message.message_id(), %error, "cannot be given back; it is tried again here");
            let mut message = message.clone();
            message.reconsume_times += 1;
            left.push(message);
        }
    }
    left
}
