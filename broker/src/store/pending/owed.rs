//! What retention owes to pending messages: a copy of each that lies in a leaving segment.
//!
//! `[copy of the message][PENDING with the old origin and the new position]`, read from the log in slices. A crash between
//! copies and trim leaves both; the newer record counts.

use super::read::PendingRead;
use super::record::{PENDING_RECORD_SIZE_BYTES, Pending, SettledBy};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::error::Refusal;
use crate::store::read::Grain;
use crate::store::state::records::StateRecord;
use crate::store::{Appended, NewMessage, Store};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::{StoredMessage, tag_hash_of_properties};

/// What came of paying one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Paid {
    /// Nothing is owed any more: what was appended, up to where. 0 bytes: nothing.
    Yes { end: LogPosition, bytes: u64 },
    /// Its bytes are being loaded, or something else that is said of it is not yet applied: later.
    NotYet,
}

impl Paid {
    const NOTHING: Self = Self::Yes { end: LogPosition::ZERO, bytes: 0 };

    fn appended(appended: &Appended) -> Self {
        Self::Yes { end: appended.end, bytes: appended.end.since(appended.position) }
    }
}

impl Store {
    /// Appends a copy of the pending message, unless it lies at or above `target` by now.
    ///
    /// # Errors
    /// No room now.
    pub(in crate::store) fn pay_pending(
        &mut self,
        now: Now,
        entry: &Pending,
        target: LogPosition,
    ) -> Result<Paid, Refusal> {
        let pending = &self.state.pending;
        let is_over = pending.is_settling(entry.origin) && !mutant::active(Mutant::SettledOwedAgain);
        if is_over || entry.position >= target {
            return Ok(Paid::NOTHING);
        }
        if mutant::active(Mutant::OwedRecordDropped) {
            return Ok(Paid::NOTHING);
        }
        if pending.is_moving(entry.origin) {
            return Ok(Paid::NotYet);
        }
        match self.read_pending(entry, Grain::Large) {
            PendingRead::NotYet | PendingRead::Failed(_) => Ok(Paid::NotYet),
            // Its bytes are gone with the segment: that is what is left to say of it, and it was reported.
            PendingRead::Damaged(_) => self.lose(entry),
            PendingRead::Found(message) => self.copy_pending(now, entry, &message),
        }
    }

    fn lose(&mut self, entry: &Pending) -> Result<Paid, Refusal> {
        self.metrics.pending_lost += 1;
        let appended = self.append_state(&StateRecord::Settled(entry.settled(SettledBy::Lost)), None)?;
        Ok(Paid::appended(&appended))
    }

    fn queue_named(&self, topic: &[u8], number: i32) -> Option<QueueId> {
        let topic = self.state.topic(std::str::from_utf8(topic).ok()?)?;
        topic.queues.get(usize::try_from(number).ok()?).copied()
    }

    fn copy_pending(&mut self, now: Now, entry: &Pending, message: &[u8]) -> Result<Paid, Refusal> {
        let parts = StoredMessage::decode(message).expect("encoded by append, and its checksum is right").parts;
        let copy = NewMessage {
            flag: parts.flag,
            sys_flag: parts.sys_flag,
            born_time_ms: parts.born_time_ms,
            born_host: parts.born_host,
            reconsume_times: parts.reconsume_times,
            prepared_transaction_position: parts.prepared_transaction_position,
            properties: parts.properties,
            body: parts.body,
            tag_hash: tag_hash_of_properties(parts.properties),
        };
        // A system topic that was deleted and made anew has other queues.
        let queue = match self.state.queues.get(entry.queue) {
            Some(_) => entry.queue,
            None => match self.queue_named(parts.topic, parts.queue_id) {
                Some(queue) => queue,
                None => return self.lose(entry),
            },
        };
        let old = *entry;
        let state = |at: &Appended, size_bytes| {
            StateRecord::Pending(Pending { position: at.position, size_bytes, queue, ..old })
        };
        let message = (queue, &copy);
        let appended = self.append_with_state(now, message, PENDING_RECORD_SIZE_BYTES, true, state)?;
        self.metrics.pending_copied += 1;
        Ok(Paid::appended(&appended))
    }
}
