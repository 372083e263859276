//! Consumption in order: one call at a time for each queue, in its place until it succeeds, as long as the broker's lock is
//! this member's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Core;
use super::listener::{ConsumedInOrder, Kind, Messages};
use super::redeliver::suspend_time;
use super::worker::Worker;
use crate::message::Message;

/// The pause before the lock of a queue is asked for again, as in RocketMQ.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The pause while the consumer is paused; a resume ends it early.
const PAUSED_PAUSE: Duration = Duration::from_millis(500);

impl Worker {
    /// Has a task call the listener, if none does yet.
    pub(super) fn consume_in_order(self: &Arc<Self>) {
        if !self.is_consuming.swap(true, Ordering::AcqRel) {
            tokio::spawn(consume(Arc::clone(self)));
        }
    }
}

/// Calls the listener until nothing waits.
async fn consume(worker: Arc<Worker>) {
    while !worker.is_closed() {
        let Some(core) = worker.core.upgrade() else { break };
        if core.is_paused() {
            drop(core);
            tokio::time::sleep(PAUSED_PAUSE).await;
            continue;
        }
        if core.locks_queues() && !worker.is_locked() {
            if !worker.lock(&core).await.unwrap_or(false) {
                drop(core);
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            continue;
        }
        let Ok(permit) = core.threads.acquire().await else { break };
        let batch: Messages = worker.process().take(core.config.consume_batch_max).into();
        if batch.is_empty() {
            drop(permit);
            worker.is_consuming.store(false, Ordering::Release);
            // What was put between the look and the mark has seen a task that was about to end.
            if worker.process().bounds().is_none() || worker.is_consuming.swap(true, Ordering::AcqRel) {
                return;
            }
            continue;
        }
        let is_success = |consumed: &ConsumedInOrder| *consumed == ConsumedInOrder::Success;
        let consumed = core.traced(&batch, call(&core, &batch), is_success).await;
        drop(permit);
        let left = match consumed {
            ConsumedInOrder::Success => Vec::new(),
            ConsumedInOrder::Suspend => give_up(&core, &batch).await,
        };
        if left.is_empty() {
            let offset = worker.process().commit_taken();
            worker.advance(&core, offset);
            worker.wake();
            continue;
        }
        worker.process().put_back(left);
        let pause = suspend_time(core.config.suspend_time);
        drop(core);
        tokio::time::sleep(pause).await;
    }
    worker.is_consuming.store(false, Ordering::Release);
    worker.wake();
}

/// Calls the listener; what takes too long or panics has failed.
pub(super) async fn call(core: &Core, batch: &Messages) -> ConsumedInOrder {
    let Kind::Orderly(listener) = &core.listener.0 else { return ConsumedInOrder::Suspend };
    let (listener, messages, time_max) = (Arc::clone(listener), Arc::clone(batch), core.config.consume_timeout);
    // Also what the listener does before it gives a future is done in there: a panic must not end this queue.
    let running = tokio::spawn(async move { tokio::time::timeout(time_max, listener(messages)).await });
    match running.await {
        Ok(Ok(consumed)) => consumed,
        Ok(Err(_)) => {
            tracing::warn!(queue = ?batch[0].queue, "consuming took too long");
            ConsumedInOrder::Suspend
        }
        Err(error) => {
            tracing::error!(queue = ?batch[0].queue, %error, "a listener has panicked");
            ConsumedInOrder::Suspend
        }
    }
}

/// After a failure: none is left when all of them have failed too often and went to the dead letters; else all are, to be
/// delivered again.
async fn give_up(core: &Core, batch: &Messages) -> Vec<Message> {
    let times_max = core.orderly_times_max();
    let mut must_stay = false;
    let mut again = Vec::with_capacity(batch.len());
    for message in batch.iter() {
        let mut message = message.clone();
        if message.reconsume_times >= times_max && core.is_clustering() {
            if let Err(error) = core.send_again(&message, times_max).await {
                tracing::warn!(id = %message.message_id(), %error, "cannot be sent to the dead letters; it is tried again");
                must_stay = true;
            }
        } else {
            must_stay = true;
        }
        message.reconsume_times = message.reconsume_times.saturating_add(1);
        again.push(message);
    }
    if must_stay { again } else { Vec::new() }
}
