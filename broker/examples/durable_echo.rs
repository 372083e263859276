//! What the driver alone costs: a shard that appends each frame to a file, flushes, and answers with the frame.
//!
//! ```text
//! cargo run --release -p ringmq-broker --example durable_echo -- --data DIR --connections 128 --in-flight 32
//! ```
//! Prints frames per second and the broker thread's CPU time per frame. No message is kept apart or indexed: this is the
//! floor that a real shard is measured against.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::Parser;
use hashbrown::HashMap;
use ringmq_broker::disk::ring::{Access, RingDisk, RingOptions};
use ringmq_broker::disk::{BlockMut, BlockPool, Disk, DiskOp, DiskOpKind, FileName, OpId};
use ringmq_broker::net::driver::{Counts, Ended};
use ringmq_broker::net::plane::{Mail, Outside, Receiving, Start, serve};
use ringmq_broker::net::{StepMachine, listen};
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::{Chunk, ConnectionId, ControlOutput, Effects, Fatal, Input, Output};
use ringmq_proto::ids::LogPosition;
use rustix::event::epoll;

const FILE: FileName = FileName::Segment(LogPosition::ZERO);
const FILE_SIZE_BYTES: u64 = 256 << 20;
const COMMIT_SIZE_BYTES_MAX: usize = 1 << 20;
const ALIGNMENT_BYTES: usize = 512;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value_t = 128)]
    connections: usize,
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// The ring says what is to be received, not glommio.
    #[arg(long)]
    ring: bool,
    #[arg(long, default_value_t = 1)]
    core: usize,
    #[arg(long, value_delimiter = ',', default_value = "2,3")]
    client_cores: Vec<usize>,
}

#[derive(Default)]
struct Peer {
    partial: Vec<u8>,
    held: VecDeque<(u64, usize)>,
    echo: Vec<u8>,
    sendable: usize,
    asked: bool,
}

/// Commit `next` gathers; `next - 1` may be in flight.
struct Echo {
    size: usize,
    pool: BlockPool,
    gathering: Option<(BlockMut, usize)>,
    waiting: Vec<ConnectionId>,
    flying: Option<Vec<ConnectionId>>,
    next: u64,
    done: u64,
    offset: u64,
    peers: HashMap<ConnectionId, Peer, foldhash::fast::FixedState>,
    commits: Arc<AtomicU64>,
}

impl Echo {
    fn start(&mut self, fx: &mut Effects) {
        if self.flying.is_some() {
            return;
        }
        let Some((block, filled)) = self.gathering.take() else { return };
        let length = filled.next_multiple_of(ALIGNMENT_BYTES);
        if self.offset + length as u64 > FILE_SIZE_BYTES {
            self.offset = 0;
        }
        let kind =
            DiskOpKind::Write { file: FILE, offset: self.offset, block: block.freeze(), start: 0, length, sync: true };
        fx.disk.push(DiskOp { id: OpId(self.next), kind });
        self.offset += length as u64;
        self.next += 1;
        self.flying = Some(std::mem::take(&mut self.waiting));
    }
}

impl StepMachine for Echo {
    fn step(&mut self, _now: Now, input: Input<'_>, fx: &mut Effects) {
        match input {
            Input::Opened { connection, .. } => {
                self.peers.insert(connection, Peer::default());
            }
            Input::Closed { connection } => {
                self.peers.remove(&connection);
            }
            Input::Received { connection, bytes } => {
                let Some(peer) = self.peers.get_mut(&connection) else { return };
                let (block, filled) = self.gathering.get_or_insert_with(|| (self.pool.take(COMMIT_SIZE_BYTES_MAX), 0));
                let before = peer.echo.len();
                peer.partial.extend_from_slice(bytes);
                let whole = peer.partial.len() / self.size * self.size;
                for frame in peer.partial[..whole].chunks_exact(self.size) {
                    assert!(*filled + self.size <= COMMIT_SIZE_BYTES_MAX, "more in flight than a commit holds");
                    block[*filled..*filled + self.size].copy_from_slice(frame);
                    *filled += self.size;
                    peer.echo.extend_from_slice(frame);
                }
                peer.partial.drain(..whole);
                if peer.echo.len() > before {
                    peer.held.push_back((self.next, peer.echo.len() - before));
                    self.waiting.push(connection);
                }
                fx.turn_wanted = *filled > 0 && self.flying.is_none();
                if *filled == 0 {
                    self.gathering = None;
                }
            }
            Input::Turn => self.start(fx),
            Input::Disk(completion) => {
                if let Err(error) = completion.result {
                    fx.fatal = Some(Fatal(error.to_string()));
                    return;
                }
                self.done = completion.id.0;
                self.commits.fetch_add(1, Ordering::Relaxed);
                for connection in self.flying.take().unwrap_or_default() {
                    let Some(peer) = self.peers.get_mut(&connection) else { continue };
                    while peer.held.front().is_some_and(|(commit, _)| *commit <= self.done) {
                        peer.sendable += peer.held.pop_front().map_or(0, |(_, bytes)| bytes);
                    }
                    if !std::mem::replace(&mut peer.asked, true) {
                        fx.output.push(connection);
                    }
                }
                self.start(fx);
            }
            Input::Drained { connection } => {
                if let Some(peer) = self.peers.get_mut(&connection) {
                    peer.asked = peer.sendable > 0;
                    if peer.asked {
                        fx.output.push(connection);
                    }
                }
            }
            Input::Stop => fx.stopped = true,
            Input::Securing { .. } | Input::Tick | Input::Control(_) => {}
        }
    }

    fn take_output(&mut self, connection: ConnectionId, output: &mut Output) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            let rest = peer.echo.split_off(peer.sendable);
            output.chunks.push(Chunk::Owned(std::mem::replace(&mut peer.echo, rest)));
            peer.sendable = 0;
        }
    }

    fn recycle(&mut self, _buffer: Vec<u8>) {}
}

struct Alone {
    stop: Arc<AtomicBool>,
}

impl Outside<Echo> for Alone {
    fn mail(&self, _shard: usize) -> Vec<Mail> {
        if self.stop.load(Ordering::Relaxed) { vec![Mail::Kill] } else { Vec::new() }
    }
    fn control(&self, _shard: usize, _message: ControlOutput) {}
    fn publish(&self, _shard: usize, _machine: &Echo, _counts: &Counts, _connection_count: usize) {}
    fn ended(&self, _shard: usize, ended: &Ended) {
        assert_eq!(*ended, Ended::Stopped);
    }
}

fn zeroed_file(disk: &mut impl Disk) -> Result<(), ringmq_broker::disk::DiskError> {
    disk.execute(DiskOpKind::Remove { file: FILE })?;
    disk.execute(DiskOpKind::Create { file: FILE, size_bytes: FILE_SIZE_BYTES })?;
    let zeros = BlockPool::new(0).take(1 << 20).freeze();
    for offset in (0..FILE_SIZE_BYTES).step_by(1 << 20) {
        let block = zeros.clone();
        disk.execute(DiskOpKind::Write { file: FILE, offset, block, start: 0, length: 1 << 20, sync: false })?;
    }
    disk.execute(DiskOpKind::Sync { file: FILE })?;
    Ok(())
}

fn client(address: SocketAddr, connections: usize, arguments: &Arguments, until: Instant, done: &AtomicU64) {
    let frames = vec![7; arguments.size * arguments.in_flight];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let mut streams: Vec<(TcpStream, usize)> = Vec::new();
    for index in 0..connections {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_nodelay(true).expect("sets");
        stream.write_all(&frames).expect("sends");
        stream.set_nonblocking(true).expect("sets");
        epoll::add(&poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN).expect("adds");
        streams.push((stream, 0));
    }
    let mut buffer = vec![0; 1 << 16];
    let mut events = Vec::with_capacity(256);
    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while Instant::now() < until {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait)).expect("waits");
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("an index");
            let (stream, partial) = &mut streams[index];
            match stream.read(&mut buffer) {
                Ok(count) => {
                    *partial += count;
                    let whole = *partial / arguments.size;
                    *partial %= arguments.size;
                    done.fetch_add(whole as u64, Ordering::Relaxed);
                    stream.write_all(&frames[..whole * arguments.size]).expect("sends");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("pins");
}

fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("positive")
}

fn main() {
    let arguments = Arc::new(Parser::parse());
    let (ready, address) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(AtomicU64::new(0));
    let server = std::thread::spawn({
        let (arguments, stop, commits): (Arc<Arguments>, _, _) =
            (Arc::clone(&arguments), Arc::clone(&stop), Arc::clone(&commits));
        move || {
            let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Fixed(arguments.core))
                .io_memory(256 << 10)
                .ring_depth(128)
                .preempt_timer(Duration::from_millis(1))
                .make()
                .expect("an executor");
            executor.run(async move {
                let pool = BlockPool::new(8 << 20);
                let helper_cores = (0..4).filter(|core| *core != arguments.core).collect();
                let mut ring = RingDisk::new(pool.clone(), RingOptions { helper_cores, flush: None }).expect("a ring");
                let slot = ring.add_shard(&arguments.data, Access::Serve).expect("a directory");
                zeroed_file(&mut ring.disk(slot)).expect("a file of zeros");
                let listener = listen::listen(([127, 0, 0, 1], 0).into()).expect("listens");
                ready.send((listener.local_addr().expect("bound"), ring.wake_handle())).expect("main waits");
                let machine = Echo {
                    size: arguments.size,
                    pool,
                    gathering: None,
                    waiting: Vec::new(),
                    flying: None,
                    next: 1,
                    done: 0,
                    offset: 0,
                    peers: HashMap::default(),
                    commits,
                };
                let start = Start { machine, slot, listeners: vec![listener], connection_count_max: 10_000, tls: None };
                let receiving = if arguments.ring { Receiving::Ring } else { Receiving::Glommio };
                let before = cpu_ns();
                serve(ring, vec![start], Rc::new(Alone { stop }), receiving).await.expect("serves");
                cpu_ns() - before
            })
        }
    });
    let (address, wake) = address.recv().expect("the server starts");
    let begun = Instant::now();
    let until = begun + Duration::from_secs(arguments.seconds);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for &core in &arguments.client_cores {
            let (arguments, done) = (&arguments, &done);
            scope.spawn(move || {
                pin(core);
                client(address, arguments.connections / arguments.client_cores.len(), arguments, until, done);
            });
        }
    });
    let (frames, seconds) = (done.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    wake.wake();
    let cpu = server.join().expect("the server ends");
    let commits = commits.load(Ordering::Relaxed);
    println!(
        "{} connections x {} in flight: {:.0} frames/s, {} ns CPU/frame, {:.0} commits/s, {:.1} frames/commit",
        arguments.connections,
        arguments.in_flight,
        frames as f64 / seconds,
        cpu / frames.max(1),
        commits as f64 / seconds,
        frames as f64 / commits.max(1) as f64,
    );
}
