//! What happens when the log has moved: replies leave, who waited is woken, senders go on.

use super::Shard;
use super::connection::{Connection, PauseReason, Phase};
use super::gate::Entry;
use super::io::{ConnectionId, Effects};
use super::limits::{COALESCE_NS_MAX, FLUSH_NS_MAX};
use super::waiting::{PullState, WaitId, What};
use super::{native, remoting};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::AckMode;
use crate::store::limits::WAITING_COMMITS_BYTES_HIGH;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueId;

/// Ended requests that may stay in the list of the parked ones.
const PARKED_SLACK: usize = 1024;

const MODES: [AckMode; 2] = [AckMode::Promised, AckMode::Written];

impl Shard {
    /// One receive is over: what it appended goes into the gate, one entry per mode.
    pub(super) fn close_drafts(&mut self, now: &Now, connection: &mut Connection, fx: &mut Effects) {
        for mode in MODES {
            let draft = std::mem::take(&mut self.drafts[mode as usize]);
            if draft.bytes == 0 && draft.reply_count == 0 {
                continue;
            }
            let entry = Entry {
                end: draft.end,
                connection: connection.id,
                held_end: connection.held.of(mode).end(),
                appended_bytes: draft.bytes,
                reply_count: draft.reply_count,
                appended_at_ns: now.boot_ns,
            };
            self.gate.push(mode, entry);
            connection.in_flight_bytes += draft.bytes;
            self.metrics.appended_bytes += draft.bytes;
            self.hold_back(connection, fx);
        }
    }

    /// Stops reading from a sender that is ahead of the disk by too much, or from any when all together are.
    fn hold_back(&mut self, connection: &mut Connection, fx: &mut Effects) {
        if connection.in_flight_bytes >= self.settings.limits.in_flight_bytes_max {
            connection.pause(PauseReason::InFlight, fx);
        }
        if self.store.waiting_bytes() >= WAITING_COMMITS_BYTES_HIGH && connection.pause(PauseReason::ShardInFlight, fx)
        {
            self.held_back.push(connection.id);
        }
    }

    /// The log may have moved.
    pub(super) fn log_moved(&mut self, now: &Now, fx: &mut Effects) {
        for mode in MODES {
            let acknowledged = if mutant::active(Mutant::AcknowledgedEarly) {
                self.store.positions().appended()
            } else {
                self.store.acked(mode).up_to()
            };
            while let Some(entry) = self.gate.pop_acknowledged(mode, acknowledged) {
                self.metrics.acknowledged(now.boot_ns.saturating_sub(entry.appended_at_ns), entry.reply_count);
                self.release(mode, &entry, None, fx);
            }
        }
        let mut events = std::mem::take(&mut self.topic_events);
        self.store.drain_topic_events(&mut events);
        self.topics_applied(now, &mut events, fx);
        self.topic_events = events;

        let mut woken = std::mem::take(&mut self.woken);
        self.store.drain_woken(&mut woken);
        self.wake_queues(&woken, fx);
        woken.clear();
        self.woken = woken;

        self.retry_parked(now, fx);
        if !self.held_back.is_empty() && self.store.waiting_bytes() < WAITING_COMMITS_BYTES_HIGH / 2 {
            for id in std::mem::take(&mut self.held_back) {
                self.resume(id, PauseReason::ShardInFlight, fx);
            }
        }
    }

    /// Lets the replies of one entry leave: as they are, or with a degraded code.
    fn release(&mut self, mode: AckMode, entry: &Entry, degraded: Option<Code>, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(entry.connection) else { return };
        connection.in_flight_bytes -= entry.appended_bytes;
        if connection.in_flight_bytes <= self.settings.limits.in_flight_bytes_max / 2 {
            connection.resume(PauseReason::InFlight, fx);
        }
        if connection.phase == Phase::Closing {
            return;
        }
        let remoting = connection.phase == Phase::Remoting;
        let held = connection.held.of(mode);
        match degraded {
            None => held.release(entry.held_end, &mut connection.output, &mut self.spare),
            Some(code) => {
                let degrade = if remoting { remoting::answer::degrade } else { native::degrade };
                let frames = degrade(held.before(entry.held_end), code);
                held.release_as(entry.held_end, frames, &mut connection.output, &mut self.spare);
                self.metrics.degraded += u64::from(entry.reply_count);
            }
        }
        connection.announce_output(fx);
    }

    /// Replies that have waited for the disk for too long leave with code 10.
    pub(super) fn release_overdue(&mut self, now: &Now, fx: &mut Effects) {
        let Some(limit) = now.boot_ns.checked_sub(FLUSH_NS_MAX) else { return };
        for mode in MODES {
            while let Some(entry) = self.gate.pop_overdue(mode, limit) {
                self.release(mode, &entry, Some(Code::FLUSH_DISK_TIMEOUT), fx);
            }
        }
    }

    /// When the gate or the coalesced commits next want to be looked at.
    pub(super) fn gate_wake_at_ns(&self) -> Option<u64> {
        let overdue = self.gate.oldest_appended_at_ns().map(|appended| appended + FLUSH_NS_MAX);
        let coalesced = self.coalesced_since_ns.map(|since| since + COALESCE_NS_MAX);
        overdue.into_iter().chain(coalesced).min()
    }

    fn resume(&mut self, id: ConnectionId, reason: PauseReason, fx: &mut Effects) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.resume(reason, fx);
        }
    }

    /// These queues have new messages (or are gone): the pulls that wait for them are tried again.
    pub(super) fn wake_queues(&mut self, queues: &[QueueId], fx: &mut Effects) {
        let mut waits = std::mem::take(&mut self.wait_ids);
        for queue in queues {
            waits.clear();
            self.waiting.of_queue(*queue, &mut waits);
            // Oldest first: the list has the newest in front.
            for id in waits.iter().rev() {
                self.retry_pull(*id, fx);
            }
            if self.waiting.has_queue(*queue) {
                self.store.watch(*queue);
            }
        }
        self.wait_ids = waits;
    }

    /// The request waits for a read of the disk: for the one that its try has just met.
    pub(super) fn park(&mut self, id: WaitId) {
        // Requests that have ended meanwhile stay in the list until the read ends: it stays in proportion to who waits.
        if self.parked.count() > 2 * self.waiting.count() + PARKED_SLACK {
            self.parked.prune(|id| self.waiting.get(id).is_some());
        }
        let load = self.store.take_awaited_load();
        self.parked.push(id, load);
    }

    /// What waits for reads of the disk that have ended is tried again.
    fn retry_parked(&mut self, now: &Now, fx: &mut Effects) {
        self.store.drain_ended_loads(&mut self.ended_loads);
        if self.ended_loads.is_empty() {
            return;
        }
        let mut ids = Vec::new();
        self.parked.take(&self.ended_loads, &mut ids);
        self.ended_loads.clear();
        for id in ids {
            match self.waiting.get(id).map(|wait| &wait.what) {
                None | Some(What::Open { .. } | What::Topic) => {}
                Some(What::Frame(_)) => self.retry_frame(now, id, fx),
                Some(What::Pull(_, PullState::Load)) => self.retry_pull(id, fx),
                Some(What::Pull(..)) => {}
                Some(_) => self.retry_ask(id, fx),
            }
        }
    }
}
