//! The sending threads of a run: from the plan and the accounts to a phase and the accounts again.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmq_checker::compact::Account;

use crate::cli::Api;
use crate::clock::now_ns;
use crate::cluster::Cluster;
use crate::cores::pin;
use crate::count::{Board, Start};
use crate::drive::opener::Opener;
use crate::drive::producer::{Producer, ProducerShared};
use crate::drive::{Ended, EventLoop, Link, Member};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::plan::Plan;
use crate::send_times::SendTimes;
use crate::through_client;

/// How long all connections may take to open their queues.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the last answers may take after the end.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Frames a second that one thread sends in open loop, with time to spare.
const THREAD_FRAMES_PER_S: f64 = 150_000.0;

/// A thread that sends.
pub type SendingThread = JoinHandle<std::io::Result<SentByThread>>;

/// What a sending is made of.
pub struct SendingSetup<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The queues.
    pub cluster: &'a Arc<Cluster>,
    /// The topics' names.
    pub topics: &'a Arc<[String]>,
    /// The name servers, for the client library.
    pub namesrv: &'a str,
    /// Counters, and the wish to stop.
    pub board: &'a Arc<Board>,
    /// Where the sending times go, when end-to-end latency is measured.
    pub send_times: Option<Arc<SendTimes>>,
    /// Cores, a thread each.
    pub cores: &'a [usize],
    /// Messages at most, over all connections.
    pub messages_max: Option<u64>,
    /// Messages a second in open loop.
    pub rate: Option<f64>,
}

/// Sending under way.
pub struct Sending {
    threads: Vec<SendingThread>,
    board: Arc<Board>,
    producer_count: u32,
    frames_per_second: Option<f64>,
    started_ns: u64,
}

/// What one thread of a sending came to.
pub struct SentByThread {
    /// Of its producers.
    pub accounts: Vec<Account>,
    /// Of acknowledgements.
    pub latencies: Latencies,
    /// When the last acknowledgement came, nanoseconds of [`crate::clock`].
    pub last_acknowledged_ns: u64,
    /// CPU time of the thread, nanoseconds.
    pub cpu_ns: u64,
    /// Refusals and broken connections, in words.
    pub complaints: Vec<String>,
}

/// What a sending came to.
pub struct Sent {
    /// By producer.
    pub accounts: Vec<Account>,
    /// Of acknowledgements.
    pub latencies: Latencies,
    /// From the start to the last acknowledgement.
    pub elapsed: Duration,
    /// CPU time of the threads, nanoseconds.
    pub cpu_ns: u64,
    /// Refusals and broken connections, in words.
    pub complaints: Vec<String>,
}

impl Sending {
    /// Starts the threads and waits until all connections have opened their queues.
    pub fn prepare(setup: &SendingSetup<'_>, accounts: Vec<Account>) -> Result<Self, Failure> {
        let producer_count = u32::try_from(accounts.len()).expect("bounded by PRODUCER_COUNT_MAX");
        let threads = match setup.plan.api {
            Api::Connection => on_connections(setup, accounts)?,
            Api::Producer => through_client::spawn(setup, accounts)?,
        };
        let frames_per_second = setup.rate.map(|rate| rate / f64::from(setup.plan.batch));
        let board = Arc::clone(setup.board);
        let sending = Self { threads, board, producer_count, frames_per_second, started_ns: 0 };
        sending.await_ready()?;
        Ok(sending)
    }

    fn await_ready(&self) -> Result<(), Failure> {
        let deadline = now_ns() + u64::try_from(OPEN_TIMEOUT.as_nanos()).unwrap_or(u64::MAX);
        while self.board.ready_count() < self.producer_count {
            let is_late = now_ns() > deadline || self.is_ended();
            if is_late || self.board.is_aborted() {
                self.board.abort();
                let ready = self.board.ready_count();
                return Err(Failure::failed(format!(
                    "only {ready} of {} connections could open their queues in time",
                    self.producer_count
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets the producers go.
    pub fn start(&mut self) {
        self.started_ns = now_ns();
        let (frames_per_second, producer_count) = (self.frames_per_second, self.producer_count);
        self.board.start(Start { at_ns: self.started_ns, frames_per_second, producer_count });
    }

    /// Whether all threads have ended.
    pub fn is_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Takes what the threads know. They must have been told to stop.
    pub fn join(self) -> Result<Sent, Failure> {
        let mut accounts = Vec::new();
        let mut latencies = Latencies::default();
        let (mut last_ns, mut cpu_ns) = (0, 0);
        let mut complaints = Vec::new();
        for thread in self.threads {
            let ended = thread.join().map_err(|_| Failure::failed("a sending thread panicked"))?;
            let of_thread = ended.map_err(|error| Failure::failed(format!("a sending thread: {error}")))?;
            cpu_ns += of_thread.cpu_ns;
            latencies.absorb(&of_thread.latencies);
            last_ns = last_ns.max(of_thread.last_acknowledged_ns);
            complaints.extend(of_thread.complaints);
            accounts.extend(of_thread.accounts);
        }
        accounts.sort_by_key(Account::producer);
        complaints.sort();
        complaints.dedup();
        let elapsed = Duration::from_nanos(last_ns.saturating_sub(self.started_ns));
        Ok(Sent { accounts, latencies, elapsed, cpu_ns, complaints })
    }
}

/// Pipelined frames on raw sockets: the connections dealt out to the threads.
fn on_connections(setup: &SendingSetup<'_>, accounts: Vec<Account>) -> Result<Vec<SendingThread>, Failure> {
    let count = accounts.len();
    let threads = thread_count(setup);
    let mut of_threads: Vec<Vec<Member<Producer>>> = (0..threads).map(|_| Vec::new()).collect();
    let shares = shares(setup.cluster, count);
    for (index, (account, queues)) in accounts.into_iter().zip(shares).enumerate() {
        let broker = setup.cluster.queues[queues[0] as usize].broker;
        let address = setup.cluster.brokers[broker as usize].address;
        let opener = Opener::new(Arc::clone(setup.cluster), Arc::clone(setup.topics), queues);
        let quota = quota(setup.messages_max, index as u64, count as u64);
        let role = Producer::new(account, opener, quota, setup.plan.in_flight as usize);
        let thread = index % of_threads.len();
        of_threads[thread].push(Member { link: Link::new(address, setup.plan.dialect), role });
    }
    let members = of_threads.into_iter().enumerate();
    members.map(|(thread, members)| spawn(setup, thread, members)).collect()
}

/// A thread for each core; in open loop no more than the rate needs: each thread more is one more to wake in every tick.
fn thread_count(setup: &SendingSetup<'_>) -> usize {
    let frames_per_second = setup.rate.map(|rate| rate / f64::from(setup.plan.batch));
    let is_enough =
        |threads: &usize| frames_per_second.is_some_and(|frames| frames <= *threads as f64 * THREAD_FRAMES_PER_S);
    (1..setup.cores.len()).find(is_enough).unwrap_or(setup.cores.len())
}

fn spawn(setup: &SendingSetup<'_>, thread: usize, members: Vec<Member<Producer>>) -> Result<SendingThread, Failure> {
    let shared = ProducerShared {
        board: Arc::clone(setup.board),
        thread,
        seed: setup.plan.seed,
        sizes: Arc::new(setup.plan.size.clone()),
        batch: u64::from(setup.plan.batch),
        unique_ids: setup.plan.unique_ids,
        send_times: setup.send_times.clone(),
        latencies: Latencies::default(),
        last_acknowledged_ns: 0,
        wall_origin_ms: wall_origin_ms(),
        bodies: Vec::new(),
        refusals: Vec::new(),
    };
    let (board, core) = (Arc::clone(setup.board), setup.cores[thread]);
    let is_open_loop = setup.rate.is_some();
    let body = move || {
        pin(core);
        let event_loop = EventLoop::new(members, shared, board, thread)?;
        let ended = if is_open_loop { event_loop.run_in_ticks() } else { event_loop.run() };
        let Ended { members, shared, cpu_ns } = ended?;
        let mut complaints = shared.refusals;
        complaints.extend(members.iter().filter_map(|member| member.link.last_error()).map(str::to_owned));
        let accounts = members.into_iter().map(|member| member.role.account).collect();
        let (latencies, last_acknowledged_ns) = (shared.latencies, shared.last_acknowledged_ns);
        Ok(SentByThread { accounts, latencies, last_acknowledged_ns, cpu_ns, complaints })
    };
    spawn_named(format!("load-send-{thread}"), body)
}

/// Starts a sending thread.
pub(crate) fn spawn_named(
    name: String,
    body: impl FnOnce() -> std::io::Result<SentByThread> + Send + 'static,
) -> Result<SendingThread, Failure> {
    let spawned = std::thread::Builder::new().name(name).spawn(body);
    spawned.map_err(|error| Failure::unusable(format!("cannot start a thread: {error}")))
}

/// Milliseconds since 1970 at nanosecond 0 of the run's clock.
fn wall_origin_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX).saturating_sub(now_ns() / 1_000_000)
}

/// Connection `index`'s part of the messages.
pub(crate) fn quota(messages_max: Option<u64>, index: u64, count: u64) -> u64 {
    messages_max.map_or(u64::MAX, |total| total / count + u64::from(index < total % count))
}

/// The queues of each connection: all of one broker, each queue to at least one connection, and no queue to two unless there are
/// more connections than queues.
fn shares(cluster: &Cluster, connection_count: usize) -> Vec<Vec<u32>> {
    let mut by_broker: Vec<Vec<u32>> = cluster.brokers.iter().map(|_| Vec::new()).collect();
    for (index, queue) in (0u32..).zip(&cluster.queues) {
        by_broker[queue.broker as usize].push(index);
    }
    by_broker.retain(|queues| !queues.is_empty());
    let broker_count = by_broker.len();
    (0..connection_count)
        .map(|connection| {
            let queues = &by_broker[connection % broker_count];
            // Which connection of its broker, and of how many.
            let (nth, of) =
                (connection / broker_count, (connection_count - connection % broker_count).div_ceil(broker_count));
            if of >= queues.len() {
                vec![queues[nth % queues.len()]]
            } else {
                queues.iter().copied().skip(nth).step_by(of).collect()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Broker, Queue};

    fn cluster(broker_count: u32, queue_count: u32) -> Cluster {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let brokers = (0..broker_count).map(|index| Broker { name: format!("b{index}"), address });
        let queues = (0..queue_count).map(|index| Queue {
            broker: index % broker_count,
            topic: 0,
            number: i32::try_from(index / broker_count).expect("small"),
        });
        Cluster { brokers: brokers.collect(), queues: queues.collect() }
    }

    #[test]
    fn every_queue_has_a_connection_and_a_connection_has_one_broker() {
        for (brokers, queues, connections) in [(1, 8, 128), (3, 24, 7), (2, 1000, 3), (1, 1, 1), (4, 8, 5)] {
            let cluster = cluster(brokers, queues);
            let shares = shares(&cluster, connections);
            assert_eq!(shares.len(), connections);
            for share in &shares {
                let broker = |queue: &u32| cluster.queues[*queue as usize].broker;
                assert!(share.iter().all(|queue| broker(queue) == broker(&share[0])));
            }
            let mut all: Vec<u32> = shares.concat();
            let total = all.len();
            all.sort_unstable();
            all.dedup();
            if connections >= brokers as usize {
                assert_eq!(all.len(), queues as usize, "{brokers} {queues} {connections}");
            }
            assert!(total == all.len() || connections > queues as usize / brokers as usize);
        }
    }

    #[test]
    fn quotas_make_exactly_the_messages_that_were_asked_for() {
        for (total, count) in [(10, 3), (2, 128), (1_000_001, 128)] {
            assert_eq!((0..count).map(|index| quota(Some(total), index, count)).sum::<u64>(), total);
        }
    }
}
