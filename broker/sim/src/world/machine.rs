//! One shard on its disk, and what a driver does for it: carry out effects, give inputs, cut the power.

use crate::disk::SimDisk;
use crate::rng::Rng;
use ringmq_broker::disk::{BlockPool, DiskErrorKind};
use ringmq_broker::now::Now;
use ringmq_broker::shard::Shard;
use ringmq_broker::shard::io::{CloseReason, ConnectionId, ControlInput, ControlOutput, Effects, Input, Output};
use ringmq_broker::shard::settings::Settings;
use ringmq_broker::store::{Entropy, OpenError, RecoveryReport, Store, StoreOptions};
use std::collections::BTreeSet;

/// The shard, its disk and its clock.
pub(super) struct Machine {
    /// The disk outlives the shard.
    pub disk: SimDisk,
    /// What the shard is opened with.
    pub options: StoreOptions,
    settings: Settings,
    shard: Option<Shard>,
    effects: Effects,
    /// Both clocks.
    pub now: Now,
    /// Connections that have bytes to take.
    pub output_ready: BTreeSet<ConnectionId>,
    /// Connections that the shard wants closed.
    pub closing: Vec<(ConnectionId, CloseReason)>,
    /// Connections that must not be read from.
    pub paused: BTreeSet<ConnectionId>,
    /// Answers of siblings that are on their way.
    pub control: Vec<ControlInput>,
    turn_wanted: bool,
    stopped: bool,
    fatal: Option<String>,
    wake_at_boot_ns: Option<u64>,
}

impl Machine {
    /// An empty disk, and no shard yet.
    pub(super) fn new(rng: Rng, alignment: usize, pool: BlockPool, options: StoreOptions, settings: Settings) -> Self {
        Self {
            disk: SimDisk::with_pool(rng, alignment, pool),
            options,
            settings,
            shard: None,
            effects: Effects::default(),
            now: Now { boot_ns: 1_000_000_000, wall_ms: 1_800_000_000_000 },
            output_ready: BTreeSet::new(),
            closing: Vec::new(),
            paused: BTreeSet::new(),
            control: Vec::new(),
            turn_wanted: false,
            stopped: false,
            fatal: None,
            wake_at_boot_ns: None,
        }
    }

    /// Opens the store and starts the shard. `Ok(None)`: the power was cut on the way.
    ///
    /// # Errors
    /// Why the store cannot be opened.
    pub(super) fn start(&mut self, entropy: Entropy) -> Result<Option<RecoveryReport>, OpenError> {
        match Store::open(&mut self.disk, self.options.clone(), entropy, self.now) {
            Ok((store, report)) => {
                self.shard = Some(Shard::new(store, self.settings.clone(), self.now));
                self.turn_wanted = true;
                self.stopped = false;
                self.fatal = None;
                self.wake_at_boot_ns = Some(self.now.boot_ns);
                Ok(Some(report))
            }
            Err(OpenError::Disk(error)) if error.kind == DiskErrorKind::Crashed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The shard is gone, by whatever way; the disk stays.
    pub(super) fn drop_shard(&mut self) {
        self.shard = None;
        self.effects = Effects::default();
        self.output_ready.clear();
        self.closing.clear();
        self.paused.clear();
        self.control.clear();
        self.turn_wanted = false;
        self.wake_at_boot_ns = None;
    }

    /// The running shard's store.
    pub(super) fn store(&self) -> Option<&Store> {
        self.shard.as_ref().map(Shard::store)
    }

    /// It said why it cannot go on.
    pub(super) fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// It has stopped cleanly.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Records wait for a turn.
    pub(super) fn turn_wanted(&self) -> bool {
        self.turn_wanted
    }

    /// When it wants to be woken, boot ns.
    pub(super) fn wake_at_boot_ns(&self) -> Option<u64> {
        self.wake_at_boot_ns
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ns: u64) {
        let before_ms = self.now.boot_ns / 1_000_000;
        self.now.boot_ns += ns;
        self.now.wall_ms += self.now.boot_ns / 1_000_000 - before_ms;
    }

    /// One step, and its effects.
    pub(super) fn step(&mut self, input: Input<'_>) {
        if matches!(input, Input::Turn) {
            self.turn_wanted = false;
        }
        let Some(shard) = &mut self.shard else { return };
        shard.step(self.now, input, &mut self.effects);
        let effects = &mut self.effects;
        for op in effects.disk.drain(..) {
            self.disk.submit(op);
        }
        self.output_ready.extend(effects.output.drain(..));
        self.closing.append(&mut effects.close);
        self.paused.extend(effects.pause.drain(..));
        for connection in effects.resume.drain(..) {
            self.paused.remove(&connection);
        }
        for output in effects.control.drain(..) {
            if let ControlOutput::TopicForSiblings { ticket: Some(ticket), .. } = output {
                self.control.push(ControlInput::SiblingsAnswered { ticket, failures: Vec::new() });
            }
        }
        self.turn_wanted |= std::mem::take(&mut effects.turn_wanted);
        self.stopped |= std::mem::take(&mut effects.stopped);
        self.wake_at_boot_ns = effects.wake_at_boot_ns;
        if let Some(fatal) = effects.fatal.take() {
            self.fatal = Some(fatal.to_string());
        }
    }

    /// Takes what the shard has for a connection.
    pub(super) fn take_output(&mut self, connection: ConnectionId, into: &mut Vec<u8>) {
        self.output_ready.remove(&connection);
        let Some(shard) = &mut self.shard else { return };
        let mut output = Output::default();
        shard.take_output(connection, &mut output);
        for chunk in &output.chunks {
            into.extend_from_slice(chunk.bytes());
        }
    }
}
