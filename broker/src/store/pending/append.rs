//! Appending pending messages, and what ends them.

use super::record::{PENDING_RECORD_SIZE_BYTES, Pending, PendingKind, SETTLED_RECORD_SIZE_BYTES, SettledBy};
use crate::now::Now;
use crate::store::error::{PENDING_BEHIND, PENDING_OWED, Refusal, TOO_LARGE, TOO_MANY_HALVES, TOO_MANY_PENDING};
use crate::store::limits::{PENDING_COUNT_MAX, PENDING_HALF_COUNT_MAX, PENDING_ROOM_BYTES};
use crate::store::state::records::StateRecord;
use crate::store::{Appended, NewMessage, Store};
use ringmq_proto::ids::{LogPosition, QueueId};

/// What is said of a message that will wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPending {
    /// What it waits for.
    pub kind: PendingKind,
    /// Until when, in wall-clock ms.
    pub due_ms: u64,
    /// See [`Pending::proof`].
    pub proof: u32,
}

impl Store {
    /// Appends a message to a system queue and says that it waits: both or none.
    ///
    /// # Errors
    /// As [`Store::append_message`]; 14 when too much is pending; 2 when the index of what is pending cannot keep up.
    pub fn append_pending(
        &mut self,
        now: Now,
        queue: QueueId,
        message: &NewMessage<'_>,
        new: NewPending,
    ) -> Result<Appended, Refusal> {
        self.check_pending(new.kind)?;
        let size_bytes = self.message_record_len(queue, message)? + PENDING_RECORD_SIZE_BYTES;
        if size_bytes + PENDING_ROOM_BYTES > self.record_size_bytes_max() {
            return Err(TOO_LARGE);
        }
        let NewPending { kind, due_ms, proof } = new;
        self.append_with_state(now, (queue, message), PENDING_RECORD_SIZE_BYTES, false, |at, size_bytes| {
            StateRecord::Pending(Pending {
                origin: at.position,
                position: at.position,
                size_bytes,
                queue,
                first_offset: at.first_offset,
                due_ms,
                kind,
                checks: 0,
                proof,
            })
        })
    }

    fn check_pending(&self, kind: PendingKind) -> Result<(), Refusal> {
        let counts = self.state.pending.counts();
        if counts.total() >= PENDING_COUNT_MAX {
            return Err(TOO_MANY_PENDING);
        }
        if kind == PendingKind::Half && counts.halves >= PENDING_HALF_COUNT_MAX {
            return Err(TOO_MANY_HALVES);
        }
        if kind != PendingKind::Half && self.state.pending.later.is_behind() {
            return Err(PENDING_BEHIND);
        }
        // What is owed is written anew each time the log has turned over: more than half of it would be that alone.
        if self.options.retention.bytes.is_some_and(|bytes| counts.owed_bytes > bytes / 2) {
            return Err(PENDING_OWED);
        }
        Ok(())
    }

    /// Appends a message to where it belongs and settles the pending one that it was: both or none. `None`: it is not pending
    /// any more. The entry is one that the store gave since it last took a completion.
    ///
    /// # Errors
    /// As [`Store::append_message`]; with `privileged` the reserve of a full disk may be used.
    pub fn settle_with_message(
        &mut self,
        now: Now,
        entry: &Pending,
        by: SettledBy,
        (queue, message): (QueueId, &NewMessage<'_>),
        privileged: bool,
    ) -> Result<Option<Appended>, Refusal> {
        let Some(entry) = self.still_pending(entry) else { return Ok(None) };
        let settled = entry.settled(by);
        let size_bytes = SETTLED_RECORD_SIZE_BYTES;
        let state = |_: &Appended, _| StateRecord::Settled(settled);
        self.append_with_state(now, (queue, message), size_bytes, privileged, state).map(Some)
    }

    /// Settles a pending message without a trace in any queue. `None`: it is not pending any more. The entry is one that the
    /// store gave since it last took a completion.
    ///
    /// # Errors
    /// Not master, disk full beyond the reserve.
    pub fn settle(&mut self, entry: &Pending, by: SettledBy) -> Result<Option<Appended>, Refusal> {
        self.check_role()?;
        let Some(settled) = self.still_pending(entry).map(|entry| entry.settled(by)) else { return Ok(None) };
        self.append_state(&StateRecord::Settled(settled), None).map(Some)
    }

    /// Says that a half message waits on: its producer is asked once more. `None`: nothing to ask about.
    ///
    /// # Errors
    /// Not master, disk full beyond the reserve.
    pub fn postpone(&mut self, origin: LogPosition, due_ms: u64) -> Result<Option<Appended>, Refusal> {
        self.check_role()?;
        let Some(entry) = self.pending_half(origin) else { return Ok(None) };
        let again = Pending { due_ms, checks: entry.checks.saturating_add(1), ..entry };
        self.append_state(&StateRecord::Pending(again), None).map(Some)
    }

    /// The half message with this origin, unless it is about to end.
    pub fn pending_half(&self, origin: LogPosition) -> Option<Pending> {
        self.state.pending.half(origin).copied()
    }

    /// The entry, unless it is about to end.
    fn still_pending(&self, entry: &Pending) -> Option<Pending> {
        if entry.kind == PendingKind::Half {
            return self.pending_half(entry.origin);
        }
        (!self.state.pending.is_settling(entry.origin)).then_some(*entry)
    }
}
