//! One executor: a thread that recovers its shards, one after the other, and then serves them until the last has ended.

use std::cell::RefCell;
use std::io::Read;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use glommio::{LocalExecutorBuilder, Placement};
use ringmq_tls::ServerTls;

use super::error::StartError;
use super::snapshot;
use crate::control::hub::{Event, Hub};
use crate::disk::ring::{Access, RingDisk, RingOptions};
use crate::disk::{BLOCK_ALIGNMENT_BYTES, BlockPool};
use crate::net::StepMachine;
use crate::net::clock::now;
use crate::net::driver::{Counts, Ended};
use crate::net::plane::{Mail, Outside, Receiving, Start, serve};
use crate::now::Now;
use crate::shard::Shard;
use crate::shard::io::{ConnectionId, ControlOutput, Effects, Fatal, Input, Output};
use crate::shard::settings::Settings;
use crate::store::{Entropy, RecoveryReport, Store, StoreOptions};

/// glommio's own buffers, of which each executor's rings pin three times as much; files and sockets do not use them.
const IO_MEMORY_BYTES: usize = 256 << 10;

/// Entries of glommio's rings.
const RING_DEPTH: usize = 128;

/// glommio's preemption timer, as good as never: were it short, it could ring before the executor's first task has begun, on a thread
/// that had lost its core, and glommio would fall asleep over that task for ever (`net::by_glommio::nudge` says how): of eight
/// executors starting on four busy cores, one in some hundred did. What wants it asks for it (`net::by_glommio`).
const PREEMPT_NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Blocks that an executor keeps for the next taker.
const POOL_IDLE_BYTES_MAX: usize = 64 << 20;

/// One shard, before it is recovered.
pub(super) struct ShardPlan {
    pub(super) index: u32,
    pub(super) directory: PathBuf,
    pub(super) listeners: Vec<TcpListener>,
    /// Alignment and device block are filled in when the device is known.
    pub(super) store: StoreOptions,
    /// Alignment of a new log; the device's when not chosen.
    pub(super) alignment_bytes: Option<u32>,
    pub(super) settings: Settings,
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// A thread and what it runs.
pub(super) struct ExecutorPlan {
    pub(super) receiving: Receiving,
    pub(super) core: Option<usize>,
    pub(super) ring: RingOptions,
    pub(super) shards: Vec<ShardPlan>,
}

/// What the starting thread holds of an executor.
pub(super) struct Executor {
    /// Ends with how each shard ended.
    pub(super) thread: JoinHandle<Vec<(String, Ended)>>,
    /// Says once whether all shards are recovered.
    pub(super) recovered: mpsc::Receiver<Result<(), StartError>>,
    /// Lets it serve.
    pub(super) go: mpsc::Sender<()>,
}

/// Starts a thread that is named after its first shard.
pub(super) fn spawn(plan: ExecutorPlan, hub: Arc<Hub>) -> Result<Executor, StartError> {
    let (say_recovered, recovered) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let name = format!("shard-{}", plan.shards[0].index);
    let thread = thread::Builder::new()
        .name(name)
        .spawn(move || {
            let shards: Vec<_> =
                plan.shards.iter().map(|shard| (shard.index, shard.settings.broker_name.clone())).collect();
            let run = AssertUnwindSafe(|| run(plan, &hub, &say_recovered, &may_go));
            catch_unwind(run).unwrap_or_else(|_| died(&hub, shards))
        })
        .map_err(StartError::io("starting a thread"))?;
    Ok(Executor { thread, recovered, go })
}

/// A panic outside of any shard takes all shards of its executor along, and the rest of the process must hear of it.
fn died(hub: &Hub, shards: Vec<(u32, String)>) -> Vec<(String, Ended)> {
    let ended = Ended::Failed(Fatal("its executor has panicked".into()));
    for (shard, _) in &shards {
        hub.tell(Event::Ended { shard: *shard as usize, ended: ended.clone() });
    }
    shards.into_iter().map(|(_, name)| (name, ended.clone())).collect()
}

fn run(
    plan: ExecutorPlan,
    hub: &Arc<Hub>,
    say: &mpsc::Sender<Result<(), StartError>>,
    may_go: &mpsc::Receiver<()>,
) -> Vec<(String, Ended)> {
    let placement = plan.core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_NEVER)
        .make();
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => {
            tell_start(say, Err(StartError::Executor(error.to_string())));
            return Vec::new();
        }
    };
    executor.run(async move {
        let receiving = plan.receiving;
        let names = plan.shards.iter().map(|shard| (shard.index, shard.settings.broker_name.clone())).collect();
        let recovered = recover(plan);
        let (ring, starts) = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                tell_start(say, Err(error));
                return Vec::new();
            }
        };
        // Other executors may have failed: then nobody lets this one serve, and nothing was promised.
        tell_start(say, Ok(()));
        if may_go.recv().is_err() {
            return Vec::new();
        }
        let process = Rc::new(Process { hub: Arc::clone(hub), shards: names, ended: RefCell::default() });
        for (index, _) in &process.shards {
            hub.attach(*index as usize, ring.wake_handle());
        }
        if let Err(error) = serve(ring, starts, Rc::clone(&process) as Rc<dyn Outside<Shard>>, receiving).await {
            let ended = Ended::Failed(Fatal(format!("the executor could not serve: {error}")));
            (0..process.shards.len()).for_each(|shard| process.ended(shard, &ended));
        }
        process.ended.take()
    })
}

fn tell_start(say: &mpsc::Sender<Result<(), StartError>>, result: Result<(), StartError>) {
    if let Err(mpsc::SendError(Err(error))) = say.send(result) {
        // Another executor failed first, and its sentence is the one that is shown.
        tracing::error!(%error, "this executor did not start either");
    }
}

fn recover(plan: ExecutorPlan) -> Result<(RingDisk, Vec<Start<Shard>>), StartError> {
    let pool = BlockPool::new(POOL_IDLE_BYTES_MAX);
    let mut ring = RingDisk::new(pool, plan.ring).map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => {
            crate::disk::probe::ProbeError::MemoryLock { limit: crate::disk::probe::memory_lock_limit() }.into()
        }
        _ => StartError::io("making the disk's ring")(error),
    })?;
    let mut starts = Vec::new();
    for shard in plan.shards {
        starts.push(recover_one(&mut ring, shard)?);
    }
    Ok((ring, starts))
}

fn recover_one(ring: &mut RingDisk, plan: ShardPlan) -> Result<Start<Shard>, StartError> {
    let begun = Instant::now();
    let slot = ring.add_shard(&plan.directory, Access::Serve)?;
    let device_block_bytes = ring.alignment_bytes(slot);
    // Logs are aligned to 512 or 4096 bytes, whatever lies between.
    let coarse = u32::try_from(BLOCK_ALIGNMENT_BYTES).expect("a small constant");
    let alignment_bytes = plan.alignment_bytes.unwrap_or(if device_block_bytes > 512 { coarse } else { 512 });
    let options = StoreOptions { alignment_bytes, device_block_bytes, ..plan.store };
    let entropy = Entropy { log_id: random()?, disk_id: random()? };
    let (store, report) = Store::open(&mut ring.disk(slot), options, entropy, now())
        .map_err(|source| StartError::Store { shard: plan.index, source })?;
    tell(&plan.settings.broker_name, &report, ring.flush_method(slot), begun.elapsed());
    let connection_count_max = plan.settings.limits.connection_count_max;
    let machine = Shard::new(store, plan.settings, now());
    Ok(Start { machine, slot, listeners: plan.listeners, connection_count_max, tls: plan.tls })
}

fn tell(shard: &str, report: &RecoveryReport, flush: crate::disk::probe::FlushMethod, took: Duration) {
    tracing::info!(
        shard,
        created = report.created,
        clean = report.clean,
        incarnation = report.incarnation,
        epoch = %report.epoch,
        scanned_from = %report.scanned_from,
        end = %report.end,
        commits = report.commit_count,
        cut = ?report.cut,
        flush = %flush,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "recovered"
    );
    for damaged in &report.damaged {
        tracing::error!(shard, ?damaged, "a promised part of the log cannot be read: reads of it get an error");
    }
}

/// Random numbers for ids and hash seeds; nothing below the server draws any.
pub(super) fn random() -> Result<u128, StartError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(StartError::io("reading /dev/urandom"))?;
    Ok(u128::from_ne_bytes(bytes))
}

impl StepMachine for Shard {
    fn step(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        Shard::step(self, now, input, fx);
    }

    fn take_output(&mut self, connection: ConnectionId, output: &mut Output) {
        Shard::take_output(self, connection, output);
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        Shard::recycle(self, buffer);
    }
}

/// The rest of the process, seen from one executor.
struct Process {
    hub: Arc<Hub>,
    /// Index in the data directory and name of this executor's shards.
    shards: Vec<(u32, String)>,
    ended: RefCell<Vec<(String, Ended)>>,
}

impl Process {
    fn index(&self, shard: usize) -> usize {
        self.shards[shard].0 as usize
    }
}

impl Outside<Shard> for Process {
    fn mail(&self, shard: usize) -> Vec<Mail> {
        self.hub.take(self.index(shard))
    }

    fn control(&self, shard: usize, message: ControlOutput) {
        self.hub.tell(Event::Control { shard: self.index(shard), message });
    }

    fn publish(&self, shard: usize, machine: &Shard, counts: &Counts, _connection_count: usize) {
        let snapshot = Box::new(snapshot::of_shard(machine, counts));
        self.hub.tell(Event::Published { shard: self.index(shard), snapshot });
    }

    fn ended(&self, shard: usize, ended: &Ended) {
        self.ended.borrow_mut().push((self.shards[shard].1.clone(), ended.clone()));
        self.hub.tell(Event::Ended { shard: self.index(shard), ended: ended.clone() });
    }
}
