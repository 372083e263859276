//! A world: one shard on its disk, clients around it, and a scheduler that a seed decides.
//!
//! A history is a sequence of lives of the shard. In each, clients ask, the disk completes in any order, bytes arrive in
//! pieces; then the power is cut, or the process killed, or the shard stopped; and it is opened again. After the last life
//! everything is read back and judged.

mod client;
mod damage;
mod drain;
mod keys;
mod later;
mod ledger;
mod machine;
mod peer;
mod plan;
mod pulled;
mod remote;
mod schedule;
mod tally;

pub use plan::{End, Life, Plan, Trouble};
pub use tally::Tally;

use crate::disk::{Class, Fault};
use crate::rng::Rng;
use client::Client;
use ledger::{Existence, Ledger};
use machine::Machine;
use peer::Peer;
use remote::Remote;
use ringmq_broker::disk::{BlockPool, DiskErrorKind};
use ringmq_broker::shard::io::ConnectionId;
use ringmq_broker::shard::settings::Settings;
use ringmq_broker::store::index::IndexLimits;
use ringmq_broker::store::keys::KeyLimits;
use ringmq_broker::store::pending::DueLimits;
use ringmq_broker::store::{Entropy, FlushMode, RecoveryReport, Retention, Store, StoreOptions};
use ringmq_checker::RunSeed;
use ringmq_proto::ids::LogPosition;

/// How a history ended.
#[derive(Clone, Debug)]
pub struct History {
    /// What happened in it.
    pub tally: Tally,
    /// What was wrong with it.
    pub violation: Option<String>,
}

thread_local! {
    /// Blocks of a thread's histories: made once, so that a history does not fill megabytes with zeros.
    static POOL: BlockPool = BlockPool::new(32 << 20);
}

/// The first producer number of clients that speak RocketMQ's protocol: behind those of the others, and of the auditors.
const REMOTE_PRODUCERS: usize = 16;

/// Makes the seed of what is rare from a history's.
const RARITIES: u64 = 0x5EED_0F0D_D711_1E55;

/// Runs the history of `seed`.
pub fn run_history(seed: u64, trace: bool) -> History {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng).with_rarities(&mut Rng::new(seed ^ RARITIES));
    if trace {
        eprintln!("seed {seed}: {plan:#?}");
    }
    let mut world = World::new(plan, rng, trace);
    world.run();
    world.finish()
}

/// One world.
struct World {
    rng: Rng,
    plan: Plan,
    machine: Machine,
    clients: Vec<Client>,
    /// Clients that speak RocketMQ's protocol.
    remotes: Vec<Remote>,
    ledger: Ledger,
    tally: Tally,
    next_slot: u32,
    /// Connections whose output was taken and is on its way.
    draining: Vec<ConnectionId>,
    /// Requests that clients may still make in this life.
    requests_left: u32,
    /// When an answer or a new request was last seen, boot ns.
    progress_ns: u64,
    /// A stop was asked for.
    stopping: bool,
    log_id: u128,
    /// Incarnation and epoch of the last successful opening: both must rise.
    last_start: (u32, u32),
    /// Where the log ended at the last opening.
    opened_at: u64,
    trace: bool,
}

impl World {
    fn new(plan: Plan, mut rng: Rng, trace: bool) -> Self {
        let options = store_options(&plan, &mut rng);
        let settings = Settings {
            topic_queue_count_default: plan.queue_count,
            hash_seed: rng.next(),
            features: later::features(),
            ..Settings::default()
        };
        let pool = POOL.with(BlockPool::clone);
        let mut machine = Machine::new(rng.fork(), plan.alignment, pool, options, settings);
        machine.disk.trace = trace;
        let clients =
            (0..plan.client_count).map(|producer| Client::new(u32::try_from(producer).unwrap_or(0), trace)).collect();
        let ledger = Ledger::new(RunSeed(rng.next()), &plan);
        let log_id = u128::from(rng.next()) << 64 | u128::from(rng.next());
        let remote = |number: usize| Remote::new(u32::try_from(REMOTE_PRODUCERS + number).unwrap_or(u32::MAX), trace);
        let remotes = (0..plan.remote_count).map(remote).collect();
        Self {
            rng,
            plan,
            machine,
            clients,
            remotes,
            ledger,
            tally: Tally { histories: 1, ..Tally::default() },
            next_slot: 0,
            draining: Vec::new(),
            requests_left: 0,
            progress_ns: 0,
            stopping: false,
            log_id,
            last_start: (0, 0),
            opened_at: 0,
            trace,
        }
    }

    fn run(&mut self) {
        if !self.open(0) {
            return;
        }
        if !self.plan.flush_sync {
            // What a power cut may take back must not name other queues afterwards: topics are there before the first one.
            self.create_topics();
        }
        for life in self.plan.lives.clone() {
            self.arm(&life);
            self.live(&life);
            if self.is_wrong() {
                return;
            }
            self.end(&life);
            if self.is_wrong() || !self.open(life.cuts_in_recovery) {
                return;
            }
        }
        self.drain();
    }

    fn finish(mut self) -> History {
        self.count_segments();
        if self.ledger.found().is_none() {
            self.ledger.judge.finish();
        }
        (self.tally.later, self.tally.ends) = (self.ledger.later_accepted, self.ledger.ends_accepted);
        let counters = self.machine.disk.counters();
        self.tally.power_cuts = counters.power_cuts;
        self.tally.sectors_lost = counters.sectors_lost;
        self.tally.names_lost = counters.names_lost;
        self.tally.faults = counters.faults;
        History { tally: self.tally, violation: self.ledger.found() }
    }

    fn is_wrong(&self) -> bool {
        self.ledger.found().is_some()
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("[{:>15} ns] {}", self.machine.now.boot_ns, what());
        }
    }

    /// The disk's troubles of this life begin.
    fn arm(&mut self, life: &Life) {
        let disk = &mut self.machine.disk;
        match life.trouble {
            Trouble::None => {}
            Trouble::Fails { after, forever } => {
                disk.faults.arm(Fault { class: Class::Any, after, kind: DiskErrorKind::Io, forever });
            }
            Trouble::FlushFails { after } => {
                disk.faults.arm(Fault { class: Class::Flush, after, kind: DiskErrorKind::Io, forever: false });
            }
            Trouble::ReadsFail { after, count } => {
                for nth in 0..count {
                    let after = after + nth;
                    disk.faults.arm(Fault { class: Class::Read, after, kind: DiskErrorKind::Io, forever: false });
                }
            }
            Trouble::Garbled { after } => disk.faults.garble_after = Some(after),
            Trouble::Full { bytes_left } => disk.capacity_bytes = disk.used_bytes() + bytes_left,
        }
        self.requests_left = life.request_count;
        self.ledger.faulty =
            matches!(life.trouble, Trouble::Fails { .. } | Trouble::FlushFails { .. } | Trouble::ReadsFail { .. });
    }

    /// The shard serves until its life's requests are made and some more steps are gone, or it fails.
    fn live(&mut self, life: &Life) {
        let mut steps_after = life.steps_after;
        while steps_after > 0 && self.machine.fatal().is_none() && !self.is_wrong() {
            if !self.step(true) {
                break;
            }
            if self.requests_left == 0 {
                steps_after -= 1;
            }
        }
        if life.end == End::Stop && self.machine.fatal().is_none() {
            self.stop();
        }
    }

    /// This life ends, as planned or because the shard has failed.
    fn end(&mut self, life: &Life) {
        let faults = self.machine.disk.counters().faults;
        if let Some(fatal) = self.machine.fatal() {
            self.say(|| format!("the shard has failed: {fatal}"));
            if faults == 0 {
                let text = format!("the shard failed on a disk without faults: {fatal}");
                self.ledger.wrong(|| text);
            }
            self.tally.fatals += 1;
        }
        let cut = match life.end {
            End::Stop if self.machine.is_stopped() => {
                self.tally.stops += 1;
                // The machine may well lose power once the shard has stopped.
                self.rng.percent(50)
            }
            End::Kill => false,
            _ => true,
        };
        let flush_failed = self.machine.fatal().is_some();
        self.forget_what_power_may_take(cut || flush_failed || life.cuts_in_recovery > 0);
        self.count_segments();
        self.machine.drop_shard();
        self.disconnect_all();
        self.draining.clear();
        self.stopping = false;
        self.machine.disk.faults.heal();
        self.ledger.faulty = false;
        self.machine.disk.capacity_bytes = u64::MAX;
        if cut {
            self.say(|| "power cut".into());
            self.machine.disk.power_cut();
        } else {
            self.say(|| "the process ends".into());
            self.tally.kills += 1;
            self.machine.disk.kill();
        }
        if life.flip {
            self.flip_a_bit();
        }
        if life.astray {
            self.lead_a_write_astray();
        }
        let seconds = self.rng.below(20);
        self.machine.pass(1 + seconds * 1_000_000_000);
    }

    fn disconnect_all(&mut self) {
        self.clients.iter_mut().for_each(|client| client.disconnect(&mut self.ledger));
        self.remotes.iter_mut().for_each(|remote| remote.disconnect(&mut self.ledger));
    }

    /// The shard is stopped as an operator stops it, and started again.
    fn restart(&mut self) {
        self.stop();
        self.count_segments();
        self.machine.drop_shard();
        self.disconnect_all();
        self.draining.clear();
        self.stopping = false;
        self.machine.disk.kill();
        self.tally.stops += 1;
        self.open(0);
    }

    /// What became of segments in the life that ends.
    fn count_segments(&mut self) {
        let Some(store) = self.machine.store() else { return };
        let segment = |position: u64| position / self.plan.segment_size_bytes;
        self.tally.rolls += segment(store.positions().written().get()) - segment(self.opened_at);
        self.tally.trims += store.metrics().segments_released;
    }

    /// With `flush = "async"` a power cut may take back what was not flushed: nobody is owed that.
    fn forget_what_power_may_take(&mut self, cut: bool) {
        if self.plan.flush_sync || !cut {
            return;
        }
        let Some(durable) = self.machine.store().map(|store| store.positions().durable().get()) else { return };
        let mut flushed = Vec::new();
        for (index, queue) in self.ledger.queues() {
            let kept =
                queue.positions.iter().filter(|(_, position)| **position < durable).map(|(offset, _)| offset + 1);
            flushed.push((index, kept.max().unwrap_or(0)));
        }
        for (index, offset) in flushed {
            self.ledger.fall_back(index, offset);
        }
        self.ledger.commits_fall_back();
        self.clients.iter_mut().for_each(Client::forget_ends);
    }

    /// Opens the store, through `cuts` power cuts on the way. False when that is not possible.
    fn open(&mut self, cuts: u32) -> bool {
        let mut cuts_left = cuts;
        loop {
            if cuts_left > 0 {
                cuts_left -= 1;
                self.machine.disk.power_left = Some(self.rng.below(50));
            }
            let entropy = Entropy { log_id: self.log_id, disk_id: u128::from(self.rng.next()) };
            let started = self.machine.start(entropy);
            self.tally.opens += 1;
            match started {
                Ok(Some(report)) => {
                    self.say(|| format!("opened: {report:?}"));
                    let start = (report.incarnation, report.epoch.get());
                    if start.0 <= self.last_start.0 || start.1 <= self.last_start.1 {
                        let last = self.last_start;
                        self.ledger
                            .wrong(|| format!("incarnation and epoch are {start:?} after a start with {last:?}"));
                    }
                    self.last_start = start;
                    self.opened_at = report.end.get();
                    self.look_for_reports(&report);
                    self.machine.disk.power_left = None;
                    break;
                }
                Ok(None) => {
                    self.say(|| "power cut during recovery".into());
                    self.tally.power_cuts_in_recovery += 1;
                    self.machine.disk.power_cut();
                }
                Err(error) => {
                    self.ledger.wrong(|| format!("the store cannot be opened: {error}"));
                    return false;
                }
            }
        }
        self.progress_ns = self.machine.now.boot_ns;
        if let Some(store) = self.machine.store() {
            let identity = store.identity().log_id;
            self.log_id = identity;
        }
        self.look_for_topics();
        if self.ledger.damaged {
            self.look_for_skips();
        }
        !self.is_wrong()
    }

    /// What is damaged in the part of the log that the start looked at must be reported, as long as it is retained.
    fn look_for_reports(&mut self, report: &RecoveryReport) {
        let Some(log_start) = self.machine.store().map(Store::log_start) else { return };
        let must_be_seen = |from: &LogPosition| *from >= report.scanned_from && *from >= log_start;
        let is_reported = |at: LogPosition| report.damaged.iter().any(|range| range.from <= at && at < range.to);
        let silent = self.ledger.damaged_commits.iter().copied().filter(must_be_seen).find(|from| !is_reported(*from));
        if let Some(silent) = silent {
            self.ledger.wrong(|| format!("the damaged commit at {silent} is not reported: {report:?}"));
        }
    }

    /// After damage, queues that may have had messages in it go on at higher offsets.
    fn look_for_skips(&mut self) {
        let Some(store) = self.machine.store() else { return };
        for topic in store.state().topics_after("") {
            for id in &topic.queues {
                let next_offset = store.queue(*id).map_or(0, |queue| queue.next_offset.get());
                self.ledger.may_skip(*id, next_offset);
            }
        }
    }

    /// What is known of topics must agree with what the store has after an opening.
    fn look_for_topics(&mut self) {
        let Some(store) = self.machine.store() else { return };
        for index in 0..self.plan.topic_count {
            let topic = &self.ledger.topics[index];
            let found = store.state().topic(&topic.name);
            match (topic.existence, found) {
                (Existence::Present, None) => {
                    let text = format!("topic {} was acknowledged and is gone", topic.name);
                    self.ledger.wrong(|| text);
                }
                (Existence::Absent, Some(_)) => {
                    let text = format!("topic {} was deleted and is back", topic.name);
                    self.ledger.wrong(|| text);
                }
                (Existence::Unknown, None) => self.ledger.topic_deleted(index),
                (Existence::Unknown, Some(topic)) => {
                    let queues = topic.queues.clone();
                    self.ledger.topic_found(index, &queues);
                }
                _ => {}
            }
        }
    }
}

fn store_options(plan: &Plan, rng: &mut Rng) -> StoreOptions {
    let checkpoint_interval_bytes = rng.pick(&[8 << 10, 30 << 10, 200 << 10, 192 << 20]);
    StoreOptions {
        alignment_bytes: u32::try_from(plan.alignment).unwrap_or(512),
        segment_size_bytes: plan.segment_size_bytes,
        hot_tail_bytes: 2 << 20,
        cache_bytes: rng.pick(&[64 << 10, 1 << 20]),
        flush: if plan.flush_sync { FlushMode::Sync } else { FlushMode::Async },
        retention: Retention { bytes: plan.retention_bytes, age_ms: plan.retention_age_ms },
        index: IndexLimits { uncovered_bytes_max: checkpoint_interval_bytes, ..IndexLimits::default() },
        keys: KeyLimits { uncovered_bytes_max: checkpoint_interval_bytes, ..KeyLimits::default() },
        // So little memory that what clients of a history let wait lies in several runs.
        due: DueLimits {
            recent_entry_count_max: 4,
            near_entry_count_max: 3,
            owed_entry_count_max: 3,
            uncovered_bytes_max: checkpoint_interval_bytes,
        },
        checkpoint_interval_bytes,
        hash_seed: rng.next(),
        ..StoreOptions::default()
    }
}
