//! The end of a history: one pass over the offsets of each queue, one over the messages.

use super::queues::{ACKED, DRAINED, FORGETTABLE, LOGGED, OCCUPIED, QueueTable};
use super::{Judge, QueueIndex};
use crate::anomaly::{Anomaly, AnomalyKind};
use crate::chain::RollingHash;
use crate::identity::MessageId;

impl Judge {
    pub(super) fn judge_end(&mut self) {
        let mut order = Order::default();
        for index in 0..self.queue_count {
            let queue = QueueIndex(u32::try_from(index).expect("queues are numbered in 32 bits"));
            if self.rules.ordered_sends {
                self.judge_order(queue, &mut order);
            }
            match self.queues[index].drained {
                Some((min, max)) => self.judge_drained(queue, min, max),
                None => self.judge_undrained(queue),
            }
            if self.queues[index].log_told {
                self.judge_log(queue);
            }
        }
        self.judge_digests();
        self.judge_sends();
    }

    /// Everything owed was read, and there is no hole.
    fn judge_drained(&mut self, queue: QueueIndex, min: u64, max: u64) {
        let table = &self.queues[queue.0 as usize];
        // What retention was not told to take is owed from the first offset on.
        let first_owed = table.trimmed_below;
        if min > first_owed && table.any_firm(first_owed, min) {
            for offset in first_owed..min.min(table.entries.len() as u64) {
                lost(table, offset, AnomalyKind::Lost, queue, &mut self.anomalies);
            }
        }
        let end = table.entries.len() as u64;
        let highest = table.entries.iter().rposition(|entry| entry.flags & DRAINED != 0).map_or(0, |at| at as u64 + 1);
        for offset in min.max(first_owed)..end {
            let kind = if offset < highest { AnomalyKind::Lost } else { AnomalyKind::UnseenTail };
            lost(table, offset, kind, queue, &mut self.anomalies);
        }
        // Holes: the drain says that these offsets exist, and nothing was ever known at them.
        for offset in min.max(first_owed)..max {
            let Some(entry) = usize::try_from(offset).ok().and_then(|at| table.entries.get(at)) else {
                if offset < table.may_skip_below {
                    continue;
                }
                // All beyond are holes too: one report is enough, `max` itself may be nonsense.
                self.anomalies.report(Anomaly::new(AnomalyKind::OffsetHole).at(queue, offset).other(max));
                break;
            };
            if entry.flags & DRAINED == 0 && !entry.is_firm() && offset >= table.may_skip_below {
                self.anomalies.report(Anomaly::new(AnomalyKind::OffsetHole).at(queue, offset));
            }
        }
    }

    fn judge_undrained(&mut self, queue: QueueIndex) {
        let table = &self.queues[queue.0 as usize];
        if self.draining && self.rules.drain_all && table.any_firm(0, u64::MAX) {
            self.anomalies.report(Anomaly::new(AnomalyKind::NotDrained).at(queue, table.entries.len() as u64));
        }
    }

    /// The log and the index, through which readers read, name the same messages.
    fn judge_log(&mut self, queue: QueueIndex) {
        let table = &self.queues[queue.0 as usize];
        let Some((min, max)) = table.drained else { return };
        for (offset, entry) in (0u64..).zip(&table.entries) {
            let in_queue = entry.flags & DRAINED != 0;
            let in_log = entry.flags & LOGGED != 0;
            // Below the queue's first offset the log may still hold what retention has not cut yet.
            if in_queue != in_log && offset >= min && offset < max && !table.is_trimmed(offset) {
                let anomaly = Anomaly::new(AnomalyKind::QueueNotLog).at(queue, offset).of(entry.message());
                self.anomalies.report(anomaly);
            }
        }
    }

    /// Acknowledged sends of one producer to one queue stand in the order in which they were sent, if each was tried once.
    fn judge_order(&mut self, queue: QueueIndex, order: &mut Order) {
        for (offset, entry) in (0u64..).zip(&self.queues[queue.0 as usize].entries) {
            if entry.flags & ACKED == 0 || entry.flags & FORGETTABLE != 0 {
                continue;
            }
            let message = entry.message();
            if self.sends.get(message).is_some_and(|send| send.attempts == 1)
                && let Some(later) = order.next(queue, message)
            {
                let anomaly = Anomaly::new(AnomalyKind::NonMonotonicSend).at(queue, offset).of(message);
                self.anomalies.report(anomaly.other(later.bits()));
            }
        }
    }

    /// Every observer's hash is the one of the messages that the history knows.
    fn judge_digests(&mut self) {
        self.digests.sort_unstable();
        let mut queue = None;
        let mut chain = RollingHash::default();
        let mut at = 0u64;
        for &(of, end, hash) in &self.digests {
            if queue != Some(of) {
                (queue, chain, at) = (Some(of), RollingHash::default(), 0);
            }
            let entries = &self.queues[of.0 as usize].entries;
            while at < end {
                let entry = usize::try_from(at).ok().and_then(|at| entries.get(at));
                let Some(entry) = entry.filter(|entry| entry.flags & OCCUPIED != 0) else { break };
                chain.push(at, entry.message());
                at += 1;
            }
            if at != end || chain.value() != hash {
                let anomaly = Anomaly::new(AnomalyKind::RollingHashMismatch).at(of, end);
                self.anomalies.report(anomaly.other(hash));
            }
        }
    }

    /// No message stands in more places than attempts of it may have succeeded, and what was promised for later came.
    fn judge_sends(&mut self) {
        for (producer, sends) in (0u32..).zip(&self.sends.producers) {
            for (sequence, send) in (0u64..).zip(sends) {
                let possible = send.attempts - send.failed;
                if send.places > possible {
                    let kind = if possible == 0 { AnomalyKind::AbortedRead } else { AnomalyKind::Duplicate };
                    let message = MessageId::new(producer, sequence);
                    self.anomalies.report(Anomaly::new(kind).of(message).other(u64::from(send.places)));
                }
            }
        }
        if self.draining {
            self.judge_later();
        }
    }

    /// What was promised for later came: the promises in order, each queue walked once.
    fn judge_later(&mut self) {
        let later = &mut self.sends.later;
        later.sort_unstable_by_key(|&(message, queue)| (queue, message));
        later.dedup();
        let mut came = vec![false; later.len()];
        for of_queue in later.chunk_by(|a, b| a.1 == b.1) {
            let first = later.partition_point(|&(_, queue)| queue < of_queue[0].1);
            let Some(table) = self.queues.get(of_queue[0].1.0 as usize) else { continue };
            if table.trimmed_below > 0 {
                came[first..first + of_queue.len()].fill(true);
                continue;
            }
            for entry in table.entries.iter().filter(|entry| entry.flags & DRAINED != 0) {
                if let Ok(at) = of_queue.binary_search_by_key(&entry.message(), |&(message, _)| message) {
                    came[first + at] = true;
                }
            }
        }
        for (&(message, queue), _) in later.iter().zip(&came).filter(|(_, came)| !**came) {
            let anomaly = Anomaly { queue: Some(queue), ..Anomaly::new(AnomalyKind::NeverDelivered) };
            self.anomalies.report(anomaly.of(message));
        }
    }
}

/// Reports the message at `offset` if it was owed and the final drain did not have it.
fn lost(table: &QueueTable, offset: u64, kind: AnomalyKind, queue: QueueIndex, anomalies: &mut crate::Anomalies) {
    let entry = usize::try_from(offset).ok().and_then(|at| table.entries.get(at));
    if let Some(entry) = entry.filter(|entry| entry.is_firm() && entry.flags & DRAINED == 0) {
        anomalies.report(Anomaly::new(kind).at(queue, offset).of(entry.message()));
    }
}

/// The highest sequence of each producer so far, in the queue that is being walked.
#[derive(Default)]
struct Order {
    last: Vec<Option<(QueueIndex, MessageId)>>,
}

impl Order {
    /// The later message that `message` was placed behind, if it is out of order.
    fn next(&mut self, queue: QueueIndex, message: MessageId) -> Option<MessageId> {
        let producer = message.producer() as usize;
        if producer >= self.last.len() {
            self.last.resize(producer + 1, None);
        }
        match self.last[producer] {
            Some((of, later)) if of == queue && later > message => Some(later),
            _ => {
                self.last[producer] = Some((queue, message));
                None
            }
        }
    }
}
