//! How connections and the shard begin and end, and what time does to them.

use super::connection::{Connection, PauseReason, Phase};
use super::handles::Handles;
use super::io::{CloseReason, ConnectionId, Effects, Fatal};
use super::limits::{COALESCE_NS_MAX, HANDSHAKE_NS_MAX, IDLE_NS_MAX, SECURING_NS_MAX};
use super::remoting;
use super::request::{Rejection, SLOW_READ, SLOW_TOPIC, STOPPING};
use super::waiting::{PullState, WaitId, What};
use super::{Life, Shard, TimerOwner};
use crate::now::Now;
use ringmq_proto::message::Host;

impl Shard {
    pub(super) fn opened(&mut self, now: &Now, id: ConnectionId, peer: Host, fx: &mut Effects) {
        let timer = self.timers.arm(now.boot_ns + HANDSHAKE_NS_MAX, TimerOwner::Connection(id));
        self.connections.insert(Connection::new(id, peer, now.boot_ns, timer));
        self.metrics.connections_opened += 1;
        let full = self.connections.count() > self.settings.limits.connection_count_max;
        if (full || self.life != Life::Serving)
            && let Some(mut connection) = self.connections.lend(id)
        {
            let reason = if full { CloseReason::TooMany } else { CloseReason::Stopping };
            self.close(&mut connection, reason, fx);
            self.connections.give_back(connection);
        }
    }

    /// The connection's own time for a handshake begins when that for keys ends.
    pub(super) fn securing(&mut self, now: &Now, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.heard_at_ns = now.boot_ns + SECURING_NS_MAX;
        }
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, id: ConnectionId, fx: &mut Effects) {
        let Some(mut connection) = self.connections.lend(id) else { return };
        self.release_all(&mut connection, fx);
        self.timers.disarm(connection.timer);
        self.connections.remove(connection);
        self.client_gone(id);
    }

    /// Ends a connection: what it asked is forgotten, what it is owed is offered once by the driver.
    pub(super) fn close(&mut self, connection: &mut Connection, reason: CloseReason, fx: &mut Effects) {
        if connection.phase == Phase::Closing {
            return;
        }
        connection.phase = Phase::Closing;
        self.metrics.closed(reason);
        self.release_all(connection, fx);
        connection.announce_output(fx);
        fx.close.push((connection.id, reason));
    }

    /// Gives back what a connection holds of the shard, but for its output.
    fn release_all(&mut self, connection: &mut Connection, fx: &mut Effects) {
        let mut waits = Vec::new();
        self.waiting.of_connection(connection.waiting_head, &mut waits);
        for id in waits {
            self.forget_wait(connection, id);
        }
        self.answers_lost(connection, fx);
        connection.input = Vec::new();
        self.count_input(connection);
        connection.handles = Handles::default();
        connection.blocked.clear();
    }

    /// The driver has handed everything to the kernel.
    pub(super) fn drained(&mut self, id: ConnectionId, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.taken_bytes = 0;
        connection.output_pending = false;
        if connection.unread_bytes() < self.settings.limits.output_bytes_soft_max {
            connection.resume(PauseReason::Output, fx);
        }
        // Each pull is tried once; the first that must wait again puts itself back behind the others.
        for _ in 0..connection.blocked.len() {
            let Some(connection) = self.connections.get_mut(id) else { return };
            if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
                break;
            }
            if let Some(wait) = connection.blocked.pop_front() {
                self.retry_pull(wait, fx);
            }
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.announce_output(fx);
        }
    }

    /// The connection has more to read than it should: no more is taken from it, or it ends.
    pub(super) fn check_unread(&mut self, connection: &mut Connection, fx: &mut Effects) {
        if connection.unread_bytes() >= self.settings.limits.output_bytes_hard_max {
            connection.output.clear();
            self.close(connection, CloseReason::OutputFull, fx);
        } else {
            connection.pause(PauseReason::Output, fx);
        }
    }

    pub(super) fn expire(&mut self, now: &Now, fx: &mut Effects) {
        while let Some(owner) = self.timers.pop_expired(now.boot_ns) {
            match owner {
                TimerOwner::Connection(id) => self.connection_expired(now, id, fx),
                TimerOwner::Wait(id) => self.wait_expired(now, id, fx),
            }
        }
        self.release_overdue(now, fx);
        if self.coalesced_since_ns.is_some_and(|since| since + COALESCE_NS_MAX <= now.boot_ns) {
            self.write_coalesced(now);
        }
    }

    fn connection_expired(&mut self, now: &Now, id: ConnectionId, fx: &mut Effects) {
        let Some(mut connection) = self.connections.lend(id) else { return };
        let (limit, reason) = match connection.phase {
            Phase::FirstBytes | Phase::NativeHello => (HANDSHAKE_NS_MAX, CloseReason::HandshakeTimeout),
            Phase::Native | Phase::Remoting | Phase::Closing => (IDLE_NS_MAX, CloseReason::IdleTimeout),
        };
        let deadline = connection.heard_at_ns + limit;
        if now.boot_ns >= deadline {
            self.close(&mut connection, reason, fx);
        }
        // One timer is armed as long as the connection is in the table.
        let again = deadline.max(now.boot_ns + HANDSHAKE_NS_MAX);
        connection.timer = self.timers.arm(again, TimerOwner::Connection(id));
        self.connections.give_back(connection);
    }

    fn wait_expired(&mut self, now: &Now, id: WaitId, fx: &mut Effects) {
        let Some(deadline_ns) = self.waiting.get(id).map(|wait| wait.deadline_ns) else { return };
        // The timer that has fired is no longer to be disarmed.
        self.waiting.set_timer(id, None);
        if now.boot_ns < deadline_ns {
            let timer = self.timers.arm(deadline_ns, TimerOwner::Wait(id));
            self.waiting.set_timer(id, Some(timer));
            return;
        }
        self.end_wait(id, fx);
    }

    /// Answers a request that waits no longer.
    fn end_wait(&mut self, id: WaitId, fx: &mut Effects) {
        let stopping = self.life != Life::Serving;
        self.with_waiting(id, fx, |shard, connection, token, what, _| {
            let slow: &Rejection = match what {
                What::Pull(pull, PullState::Messages | PullState::Output) => {
                    return shard.answer_empty(connection, token, &pull);
                }
                _ if stopping => &STOPPING,
                What::Handover { asker, .. } => return shard.reject(connection, token, &remoting::no_asker(&asker)),
                What::Question(question) => return shard.question_expired(connection, token, &question),
                What::Frame(_) | What::Open { .. } | What::Topic => &SLOW_TOPIC,
                _ => &SLOW_READ,
            };
            shard.reject(connection, token, slow);
        });
    }

    /// The log has failed: nothing that waits is answered, nothing more leaves.
    pub(super) fn fail(&mut self, why: String, fx: &mut Effects) {
        self.life = Life::Failed;
        self.gate.clear();
        self.store.set_role(crate::store::Role::Fenced);
        fx.output.clear();
        fx.fatal = Some(Fatal(why));
    }

    /// Stop cleanly.
    pub(super) fn stop(&mut self, now: &Now, fx: &mut Effects) {
        if self.life != Life::Serving {
            return;
        }
        self.life = Life::Stopping;
        self.write_coalesced(now);
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.pause(PauseReason::Stopping, fx);
            }
        }
        // Changes of topics end by themselves: their records are on the way to the disk.
        for id in self.waiting.all() {
            let change = self
                .waiting
                .get(id)
                .is_some_and(|wait| matches!(wait.what, What::Frame(_) | What::Open { .. } | What::Topic));
            if !change {
                self.end_wait(id, fx);
            }
        }
    }

    /// The next step of a clean stop, when the one before is complete.
    pub(super) fn go_on_stopping(&mut self, now: &Now, fx: &mut Effects) {
        if self.life == Life::Stopping && self.gate.is_empty() {
            self.life = Life::ClosingStore;
            self.store.close(*now, &mut fx.disk);
        }
        if self.life == Life::ClosingStore && self.store.is_closed() {
            self.life = Life::Stopped;
            let ids: Vec<_> = self.connections.ids().collect();
            for id in ids {
                if let Some(mut connection) = self.connections.lend(id) {
                    self.close(&mut connection, CloseReason::Stopping, fx);
                    self.connections.give_back(connection);
                }
            }
            fx.stopped = true;
        }
    }
}
