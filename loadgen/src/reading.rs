//! The reading threads of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ringmq_checker::compact::Reading;

use crate::clock::now_ns;
use crate::cluster::Cluster;
use crate::control::Ends;
use crate::cores::pin;
use crate::count::Board;
use crate::drive::reader::{Bounds, END_UNKNOWN, Reader, ReaderShared};
use crate::drive::{Ended, EventLoop, Link, Member};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::plan::Plan;
use crate::send_times::SendTimes;

/// Reading connections of one thread to one broker, at most.
const CONNECTIONS_PER_THREAD: usize = 2;

/// What a reading is made of.
pub struct ReadersSetup<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The queues.
    pub cluster: &'a Arc<Cluster>,
    /// The topics' names.
    pub topics: &'a Arc<[String]>,
    /// Counters, and the wish to stop.
    pub board: &'a Arc<Board>,
    /// When messages were sent, when end-to-end latency is measured.
    pub send_times: Option<Arc<SendTimes>>,
    /// Cores, a thread each.
    pub cores: &'a [usize],
    /// Number of the first of these threads on the board.
    pub first_thread: usize,
    /// Producers whose messages may be read.
    pub producer_count: u32,
}

/// Reading under way.
pub struct Readers {
    threads: Vec<JoinHandle<std::io::Result<Ended<Reader>>>>,
    bounds: Arc<Bounds>,
    started_ns: u64,
}

/// What a reading came to.
pub struct Read {
    /// The books of the threads.
    pub readings: Vec<Reading>,
    /// Of pulls, for each message.
    pub latencies: Latencies,
    /// From sending to having.
    pub end_to_end: Latencies,
    /// Messages that came too late to be measured.
    pub unmeasured: u64,
    /// From the start to the last message.
    pub elapsed: Duration,
    /// CPU time of the threads, nanoseconds.
    pub cpu_ns: u64,
    /// What cannot be in a sound broker's answers.
    pub unreadable: u64,
    /// In words.
    pub complaints: Vec<String>,
}

impl Readers {
    /// Starts to read every queue from its start; to its end when `ends` are known, else until [`Readers::end_at`].
    pub fn start(setup: &ReadersSetup<'_>, starts: Vec<u64>, ends: Option<&[Ends]>) -> Result<Self, Failure> {
        let ends = match ends {
            Some(ends) => ends.iter().map(|&(_, end)| AtomicU64::new(end)).collect(),
            None => starts.iter().map(|_| AtomicU64::new(END_UNKNOWN)).collect(),
        };
        let bounds = Arc::new(Bounds { starts, ends });
        let mut of_threads: Vec<Vec<Member<Reader>>> = setup.cores.iter().map(|_| Vec::new()).collect();
        let connection_count = of_threads.len() * CONNECTIONS_PER_THREAD;
        for (broker, at) in (0u32..).zip(&setup.cluster.brokers) {
            let queues: Vec<u32> = (0u32..)
                .zip(&setup.cluster.queues)
                .filter(|(_, of)| of.broker == broker)
                .map(|(index, _)| index)
                .collect();
            let count = connection_count.min(queues.len());
            for nth in 0..count {
                let part: Vec<u32> = queues.iter().copied().skip(nth).step_by(count).collect();
                let thread = nth % of_threads.len();
                of_threads[thread].push(Member {
                    link: Link::new(at.address, setup.plan.dialect),
                    role: Reader::new(&part, &bounds),
                });
            }
        }
        let started_ns = now_ns();
        let mut threads = Vec::new();
        for (thread, members) in of_threads.into_iter().enumerate() {
            threads.push(spawn(setup, thread, members, &bounds)?);
        }
        Ok(Self { threads, bounds, started_ns })
    }

    /// Nothing more will come: the readers end when they have reached these ends.
    pub fn end_at(&self, ends: &[Ends]) {
        for (known, &(_, end)) in self.bounds.ends.iter().zip(ends) {
            known.store(end, Ordering::Relaxed);
        }
    }

    /// Whether all threads have ended.
    pub fn is_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Takes what the threads know.
    pub fn join(self) -> Result<Read, Failure> {
        let mut read = Read {
            readings: Vec::new(),
            latencies: Latencies::default(),
            end_to_end: Latencies::default(),
            unmeasured: 0,
            elapsed: Duration::ZERO,
            cpu_ns: 0,
            unreadable: 0,
            complaints: Vec::new(),
        };
        let mut last_ns = 0;
        for thread in self.threads {
            let ended = thread.join().map_err(|_| Failure::failed("a reading thread panicked"))?;
            let Ended { members, shared, cpu_ns } =
                ended.map_err(|error| Failure::failed(format!("a reading thread: {error}")))?;
            read.cpu_ns += cpu_ns;
            read.latencies.absorb(&shared.latencies);
            read.end_to_end.absorb(&shared.end_to_end);
            read.unmeasured += shared.unmeasured;
            read.unreadable += shared.unreadable;
            read.complaints.extend(shared.complaints);
            read.complaints.extend(members.iter().filter_map(|member| member.link.last_error()).map(str::to_owned));
            read.readings.push(shared.reading);
            last_ns = last_ns.max(shared.last_read_ns);
        }
        read.complaints.sort();
        read.complaints.dedup();
        read.elapsed = Duration::from_nanos(last_ns.saturating_sub(self.started_ns));
        Ok(read)
    }
}

fn spawn(
    setup: &ReadersSetup<'_>,
    index: usize,
    members: Vec<Member<Reader>>,
    bounds: &Arc<Bounds>,
) -> Result<JoinHandle<std::io::Result<Ended<Reader>>>, Failure> {
    let mut reading = Reading::new(setup.plan.seed, setup.producer_count);
    for member in &members {
        for queue in member.role.queues() {
            reading.start(queue, bounds.starts[queue as usize]);
        }
    }
    let thread = setup.first_thread + index;
    let shared = ReaderShared {
        board: Arc::clone(setup.board),
        thread,
        cluster: Arc::clone(setup.cluster),
        topics: Arc::clone(setup.topics),
        bounds: Arc::clone(bounds),
        reading,
        latencies: Latencies::default(),
        end_to_end: Latencies::default(),
        unmeasured: 0,
        send_times: setup.send_times.clone(),
        last_read_ns: 0,
        complaints: Vec::new(),
        unreadable: 0,
    };
    let (board, core) = (Arc::clone(setup.board), setup.cores[index]);
    // When latencies end to end are measured: as the senders, and counted as with them.
    let in_ticks = setup.send_times.is_some() && setup.plan.rate.is_some();
    let body = move || {
        pin(core);
        let event_loop = EventLoop::new(members, shared, board, thread)?;
        if in_ticks { event_loop.run_in_ticks() } else { event_loop.run() }
    };
    std::thread::Builder::new()
        .name(format!("load-read-{index}"))
        .spawn(body)
        .map_err(|error| Failure::unusable(format!("cannot start a thread: {error}")))
}
