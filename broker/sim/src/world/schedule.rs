//! What happens next: one of the things that can, by chance; time passes when nothing else can.

use super::World;
use super::client::Client;
use super::peer::Peer;
use super::remote::Remote;
use ringmq_broker::shard::io::{CloseReason, ConnectionId, Input};
use ringmq_proto::message::Host;

/// A request that is not answered for so long is stuck: longer than any wait that a client may ask for.
const STUCK_NS: u64 = 100_000_000_000;

/// One kind of thing that can happen.
#[derive(Clone, Copy, Debug)]
enum Move {
    Disk,
    Deliver,
    Turn,
    Output,
    Drained,
    Ask,
    Connect,
    Close,
    Control,
    Tick,
    Leave,
}

impl World {
    /// One thing happens. False when nothing can happen any more, not even by waiting.
    pub(super) fn step(&mut self, asking: bool) -> bool {
        let us = if self.rng.percent(2) { 1000 } else { 10 };
        let ns = self.rng.below(us * 1000);
        self.machine.pass(ns);
        if self.plan.remote_count > 0 && self.rng.below(300) == 0 {
            // Messages for later become due while others are sent.
            let ms = self.rng.pick(&[1, 10, 300, 1100, 3000]);
            self.machine.pass(ms * 1_000_000);
        }
        if self.plan.clock_set_permille > 0 && self.rng.below(1000) < self.plan.clock_set_permille {
            self.set_the_clock();
        }
        let Some(next) = self.choose(asking) else { return self.wait() };
        match next {
            Move::Disk => {
                if let Some(completion) = self.machine.disk.complete() {
                    self.machine.step(Input::Disk(completion));
                }
            }
            Move::Deliver => self.deliver(),
            Move::Turn => self.machine.step(Input::Turn),
            Move::Output => self.take_output(),
            Move::Drained => {
                let connection = self.draining.swap_remove(self.rng.index(self.draining.len()));
                self.machine.step(Input::Drained { connection });
            }
            Move::Ask => self.ask(),
            Move::Connect => self.connect(),
            Move::Close => self.close(),
            Move::Control => {
                let message = self.machine.control.swap_remove(self.rng.index(self.machine.control.len()));
                self.machine.step(Input::Control(message));
            }
            Move::Tick => self.machine.step(Input::Tick),
            Move::Leave => self.leave(),
        }
        true
    }

    /// Somebody, or NTP, sets the wall clock: by a little or by hours, to either side.
    fn set_the_clock(&mut self) {
        let by_ms = self.rng.pick(&[1, 50, 1000, 60_000, 3_600_000, 86_400_000]);
        let back = self.rng.percent(50);
        self.say(|| format!("the wall clock is set {by_ms} ms {}", if back { "back" } else { "forward" }));
        let wall_ms = &mut self.machine.now.wall_ms;
        *wall_ms = if back { wall_ms.saturating_sub(by_ms) } else { *wall_ms + by_ms };
        self.tally.clock_sets += 1;
    }

    fn choose(&mut self, asking: bool) -> Option<Move> {
        let machine = &self.machine;
        let asking = asking && self.requests_left > 0 && !self.stopping;
        let may_deliver = self.peers().any(|peer| self.may_deliver(peer));
        let may_ask = asking && self.peers().any(|peer| self.may_ask(peer));
        let may_connect = !self.stopping && self.peers().any(|peer| peer.connection().is_none());
        let due = machine.wake_at_boot_ns().is_some_and(|at| at <= machine.now.boot_ns);
        let moves = [
            (Move::Disk, machine.disk.in_flight_count() > 0, self.plan.disk_weight),
            (Move::Deliver, may_deliver, 8),
            (Move::Turn, machine.turn_wanted(), 6),
            (Move::Output, !machine.output_ready.is_empty(), 8),
            (Move::Drained, !self.draining.is_empty(), 4),
            (Move::Ask, may_ask, 6),
            (Move::Connect, may_connect, 4),
            (Move::Close, !machine.closing.is_empty(), 4),
            (Move::Control, !machine.control.is_empty(), 4),
            (Move::Tick, due, 4),
        ];
        let total: u64 = moves.iter().filter(|(_, can, _)| *can).map(|(_, _, weight)| weight).sum();
        if total == 0 {
            return None;
        }
        if asking && self.rng.below(2000) == 0 {
            return Some(Move::Leave);
        }
        let mut left = self.rng.below(total);
        for (next, _, weight) in moves.iter().filter(|(_, can, _)| *can) {
            if left < *weight {
                return Some(*next);
            }
            left -= weight;
        }
        None
    }

    /// Nothing can happen but that time passes.
    fn wait(&mut self) -> bool {
        let now = self.machine.now.boot_ns;
        let waiting = self.peers().any(|peer| peer.pending_count() > 0);
        if waiting && now - self.progress_ns > STUCK_NS {
            let pending: Vec<String> = self.peers().map(Peer::describe_pending).collect();
            self.ledger.wrong(|| format!("requests are not answered: {}", pending.join("; ")));
            return false;
        }
        match self.machine.wake_at_boot_ns() {
            Some(at) => {
                self.machine.pass(at.saturating_sub(now).max(1));
                self.machine.step(Input::Tick);
                true
            }
            None if waiting => {
                let pending: Vec<String> = self.peers().map(Peer::describe_pending).collect();
                self.ledger.wrong(|| format!("the shard waits for nothing, clients for: {}", pending.join("; ")));
                false
            }
            None => false,
        }
    }

    /// Steps without new requests until every request is answered.
    pub(super) fn settle(&mut self) {
        while self.peers().any(|peer| peer.pending_count() > 0 || peer.connection().is_none()) {
            if self.is_wrong() || self.machine.fatal().is_some() || !self.step(false) {
                return;
            }
        }
    }

    /// Steps until nothing is on its way: the disk is idle, and everything appended is confirmed.
    pub(super) fn quiesce(&mut self) -> bool {
        for _ in 0..20_000 {
            self.settle();
            let Some(store) = self.machine.store() else { return false };
            let quiet =
                self.machine.disk.in_flight_count() == 0 && !self.machine.turn_wanted() && !store.has_unissued();
            if quiet || self.is_wrong() {
                return quiet;
            }
            self.step(false);
        }
        false
    }

    /// Asks the shard to stop, and goes on until it has.
    pub(super) fn stop(&mut self) {
        self.say(|| "stop".into());
        self.stopping = true;
        self.machine.step(Input::Stop);
        for _ in 0..20_000 {
            if self.machine.is_stopped() || self.machine.fatal().is_some() || self.is_wrong() {
                return;
            }
            self.step(false);
        }
        if self.ledger.faulty {
            // On a disk that fails for ever there may be no segment to write the last commit to.
            return;
        }
        self.ledger.wrong(|| "the shard does not stop".into());
    }

    /// All that may have a connection.
    pub(super) fn peers(&self) -> impl Iterator<Item = &dyn Peer> {
        let remotes = self.remotes.iter().map(|remote| remote as &dyn Peer);
        self.clients.iter().map(|client| client as &dyn Peer).chain(remotes)
    }

    /// The same, to change.
    pub(super) fn peers_mut(&mut self) -> impl Iterator<Item = &mut dyn Peer> {
        peers_mut(&mut self.clients, &mut self.remotes)
    }

    fn may_deliver(&self, peer: &dyn Peer) -> bool {
        let open = peer.connection().is_some_and(|connection| !self.machine.paused.contains(&connection));
        open && peer.has_outgoing()
    }

    fn may_ask(&self, peer: &dyn Peer) -> bool {
        peer.connection().is_some() && peer.pending_count() < self.plan.pipeline_max
    }

    /// One of those that are wanted: its place in [`World::peers`].
    fn pick_peer(&mut self, wanted: impl Fn(&Self, &dyn Peer) -> bool) -> Option<usize> {
        let able: Vec<usize> =
            self.peers().enumerate().filter(|(_, peer)| wanted(self, *peer)).map(|(index, _)| index).collect();
        (!able.is_empty()).then(|| self.rng.pick(&able))
    }

    /// Some of a client's bytes arrive.
    fn deliver(&mut self) {
        let Some(index) = self.pick_peer(Self::may_deliver) else { return };
        let Some(peer) = peers_mut(&mut self.clients, &mut self.remotes).nth(index) else { return };
        let length = peer.outgoing().len();
        let count = if self.plan.split_receives { self.rng.index(length) + 1 } else { length };
        let bytes: Vec<u8> = peer.outgoing().drain(..count).collect();
        if !peer.has_outgoing() {
            self.ledger.all_arrived(peer.producer());
        }
        if let Some(connection) = peer.connection() {
            self.machine.step(Input::Received { connection, bytes: &bytes });
        }
    }

    fn take_output(&mut self) {
        let nth = self.rng.index(self.machine.output_ready.len());
        let Some(connection) = self.machine.output_ready.iter().nth(nth).copied() else { return };
        self.hand_over(connection);
        self.draining.push(connection);
    }

    /// Takes what the shard has for a connection; the client reads it at once.
    fn hand_over(&mut self, connection: ConnectionId) {
        let mut bytes = Vec::new();
        self.machine.take_output(connection, &mut bytes);
        let mut peers = peers_mut(&mut self.clients, &mut self.remotes);
        let Some(peer) = peers.find(|peer| peer.connection() == Some(connection)) else { return };
        let Some(store) = self.machine.store() else { return };
        peer.receive(&bytes, &mut self.ledger, store, self.machine.now);
        self.progress_ns = self.machine.now.boot_ns;
    }

    fn ask(&mut self) {
        let Some(index) = self.pick_peer(Self::may_ask) else { return };
        self.requests_left -= 1;
        self.tally.requests += 1;
        let now = self.machine.now;
        self.progress_ns = now.boot_ns;
        if let Some(peer) = peers_mut(&mut self.clients, &mut self.remotes).nth(index) {
            peer.act(&mut self.rng, &self.plan, &mut self.ledger, now);
        }
    }

    pub(super) fn connect(&mut self) {
        let Some(index) = self.pick_peer(|_, peer| peer.connection().is_none()) else { return };
        self.next_slot += 1;
        let used = |slot: u32| self.peers().any(|peer| peer.connection().is_some_and(|it| it.slot == slot));
        let slot = (0..).find(|slot| !used(*slot)).unwrap_or(u32::MAX);
        let connection = ConnectionId { slot, generation: self.next_slot };
        self.progress_ns = self.machine.now.boot_ns;
        if let Some(peer) = self.peers_mut().nth(index) {
            peer.connect(connection);
        }
        let peer = Host::new(std::net::Ipv4Addr::LOCALHOST.into(), 40_000 + self.next_slot);
        self.machine.step(Input::Opened { connection, peer });
    }

    /// The shard wanted a connection closed.
    fn close(&mut self) {
        let (connection, reason) = self.machine.closing.swap_remove(0);
        self.say(|| format!("{connection:?} is closed: {reason:?}"));
        let expected = [CloseReason::IdleTimeout, CloseReason::HandshakeTimeout, CloseReason::Stopping];
        if !expected.contains(&reason) {
            self.ledger.wrong(|| format!("a well-behaved client's connection is closed: {reason:?}"));
        }
        if self.machine.output_ready.contains(&connection) {
            self.hand_over(connection);
        }
        self.forget_connection(connection);
    }

    /// A client goes away without a word.
    fn leave(&mut self) {
        let Some(index) = self.pick_peer(|_, peer| peer.connection().is_some() && peer.may_leave()) else { return };
        let connection = self.peers().nth(index).and_then(Peer::connection);
        if let Some(connection) = connection {
            self.forget_connection(connection);
        }
    }

    fn forget_connection(&mut self, connection: ConnectionId) {
        self.draining.retain(|other| *other != connection);
        self.machine.output_ready.remove(&connection);
        self.machine.paused.remove(&connection);
        let mut peers = peers_mut(&mut self.clients, &mut self.remotes);
        if let Some(peer) = peers.find(|peer| peer.connection() == Some(connection)) {
            peer.disconnect(&mut self.ledger);
        }
        self.machine.step(Input::Closed { connection });
    }
}

/// All peers, where a borrow of the whole world would be too much.
fn peers_mut<'w>(clients: &'w mut [Client], remotes: &'w mut [Remote]) -> impl Iterator<Item = &'w mut dyn Peer> {
    let remotes = remotes.iter_mut().map(|remote| remote as &mut dyn Peer);
    clients.iter_mut().map(|client| client as &mut dyn Peer).chain(remotes)
}
