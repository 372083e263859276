//! Sending through the client library, as an application does: on each thread one runtime and one `Producer`, whose users each keep a
//! window of sends unacknowledged. What it costs beside raw connections is what the library costs.
//!
//! The library's own retries are off: a retried message may be there twice, and the judge is to be strict.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringmq_checker::compact::Account;
use ringmq_checker::{MessageId, RunSeed};
use ringmq_client::{
    Dialect, Error, MessageQueue, OutgoingMessage, Producer, ProducerConfig, Result as ClientResult, SendReceipt,
};
use ringmq_proto::code::Code;
use tokio::sync::Notify;

use crate::cli;
use crate::clock::now_ns;
use crate::cluster::Cluster;
use crate::cores::pin;
use crate::count::{Board, add};
use crate::drive::producer::is_definite;
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::pace::Pace;
use crate::resources::own_cpu_ns;
use crate::send_times::SendTimes;
use crate::sending::{SendingSetup, SendingThread, SentByThread, quota, spawn_named};
use crate::size::SizeMix;

/// How often a user that waits looks whether it is to end. Also the grain of an open loop here: a runtime's timer.
const LOOK: Duration = Duration::from_millis(1);

/// What the users of one thread share.
struct Shared {
    producer: Producer,
    board: Arc<Board>,
    thread: usize,
    seed: RunSeed,
    sizes: SizeMix,
    topics: Arc<[String]>,
    /// The run's number of each queue.
    queues: HashMap<MessageQueue, u32>,
    send_times: Option<Arc<SendTimes>>,
    in_flight_max: usize,
    heard: Mutex<Heard>,
}

/// What the acknowledgements of one thread said.
#[derive(Default)]
struct Heard {
    latencies: Latencies,
    last_acknowledged_ns: u64,
    complaints: Vec<String>,
}

/// One user of the thread's producer.
struct User {
    books: Mutex<Books>,
    answered: Notify,
}

struct Books {
    account: Account,
    in_flight: usize,
}

/// Starts a thread on each core, with its part of the accounts.
pub(crate) fn spawn(setup: &SendingSetup<'_>, accounts: Vec<Account>) -> Result<Vec<SendingThread>, Failure> {
    let count = accounts.len() as u64;
    let mut of_threads: Vec<Vec<(Account, u64)>> = setup.cores.iter().map(|_| Vec::new()).collect();
    for (index, account) in (0u64..).zip(accounts) {
        let thread = usize::try_from(index).expect("few") % of_threads.len();
        of_threads[thread].push((account, quota(setup.messages_max, index, count)));
    }
    let queues = numbers_of(setup.cluster, setup.topics);
    let mut threads = Vec::new();
    for (thread, users) in of_threads.into_iter().enumerate() {
        let (board, topics, queues) = (Arc::clone(setup.board), Arc::clone(setup.topics), queues.clone());
        let (seed, sizes, core) = (setup.plan.seed, setup.plan.size.clone(), setup.cores[thread]);
        let (in_flight_max, send_times) = (setup.plan.in_flight as usize, setup.send_times.clone());
        let dialect = match setup.plan.dialect {
            cli::Dialect::Native => Dialect::Native,
            cli::Dialect::Remoting => Dialect::Remoting,
        };
        let name_servers = setup.namesrv.to_owned();
        let config =
            ProducerConfig { name_servers, dialect, retries: 0, compression: None, ..ProducerConfig::default() };
        let body = move || {
            pin(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let producer = Producer::start(config).map_err(std::io::Error::other)?;
                let heard = Mutex::default();
                let shared =
                    Shared { producer, board, thread, seed, sizes, topics, queues, send_times, in_flight_max, heard };
                Ok(run(Arc::new(shared), users).await)
            })
        };
        threads.push(spawn_named(format!("load-send-{thread}"), body)?);
    }
    Ok(threads)
}

fn numbers_of(cluster: &Cluster, topics: &[String]) -> HashMap<MessageQueue, u32> {
    let number = |(index, queue): (u32, &crate::cluster::Queue)| {
        let broker_name = cluster.brokers[queue.broker as usize].name.as_str().into();
        let topic = topics[queue.topic as usize].as_str().into();
        let queue_id = u32::try_from(queue.number).expect("not negative");
        (MessageQueue { topic, broker_name, queue_id }, index)
    };
    (0u32..).zip(&cluster.queues).map(number).collect()
}

async fn run(shared: Arc<Shared>, users: Vec<(Account, u64)>) -> SentByThread {
    let mut tasks = Vec::new();
    for (account, quota) in users {
        let user = Arc::new(User { books: Mutex::new(Books { account, in_flight: 0 }), answered: Notify::new() });
        let task = tokio::spawn(use_producer(Arc::clone(&shared), Arc::clone(&user), quota));
        tasks.push((user, task));
    }
    let mut accounts = Vec::new();
    for (user, task) in tasks {
        if let Err(error) = task.await {
            locked(&shared.heard).complaints.push(format!("a task of the generator: {error}"));
        }
        accounts.push(locked(&user.books).account.clone());
    }
    let heard = std::mem::take(&mut *locked(&shared.heard));
    SentByThread {
        accounts,
        latencies: heard.latencies,
        last_acknowledged_ns: heard.last_acknowledged_ns,
        cpu_ns: own_cpu_ns(),
        complaints: heard.complaints,
    }
}

/// One user: keeps its window full until it is told to stop, then waits for the last answers.
async fn use_producer(shared: Arc<Shared>, user: Arc<User>, mut quota: u64) {
    let id = locked(&user.books).account.producer();
    shared.board.one_is_ready();
    let mut pace = loop {
        match shared.board.pace_of(id) {
            Some(pace) => break pace,
            None if is_stopped(&shared) => return,
            None => tokio::time::sleep(LOOK).await,
        }
    };
    loop {
        let is_ending = quota == 0 || is_stopped(&shared);
        if shared.board.is_aborted() || (is_ending && locked(&user.books).in_flight == 0) {
            return;
        }
        let mut is_full = false;
        while quota > 0 && !is_ending && !is_full && locked(&user.books).in_flight < shared.in_flight_max {
            let now = now_ns();
            if pace.due_ns(now) > now {
                break;
            }
            is_full = !send_one(&shared, &user, &mut pace, now);
            quota -= u64::from(!is_full);
        }
        // An answer, or the time.
        tokio::select! {
            () = user.answered.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn is_stopped(shared: &Shared) -> bool {
    shared.board.stop_sending.load(Ordering::Relaxed) || shared.board.is_aborted()
}

/// False when the producer holds too much already.
fn send_one(shared: &Arc<Shared>, user: &Arc<User>, pace: &mut Pace, now: u64) -> bool {
    let (producer, sequence) = {
        let books = locked(&user.books);
        (books.account.producer(), books.account.sent())
    };
    let mut body = vec![0; shared.sizes.of(sequence)];
    shared.seed.stamp(MessageId::new(producer, sequence), &mut body);
    let body_bytes = body.len() as u64;
    let topic = &shared.topics[usize::try_from(sequence % shared.topics.len() as u64).expect("few topics")];
    let due_ns = pace.due_ns(now);
    if let Some(times) = &shared.send_times {
        times.set(producer, sequence, due_ns);
    }
    let (of_shared, of_user) = (Arc::clone(shared), Arc::clone(user));
    // The message counts as sent before it can be answered.
    {
        let mut books = locked(&user.books);
        books.account.take(1);
        books.in_flight += 1;
    }
    let done = move |result| answered(&of_shared, &of_user, sequence, due_ns, body_bytes, result);
    match shared.producer.send_with(OutgoingMessage::new(topic.as_str(), body), done) {
        Ok(()) => {
            pace.sent();
            add(&shared.board.of(shared.thread).sent, 1);
            true
        }
        Err(error) => {
            // Nothing left: the sequence is spent, and must not appear.
            let mut books = locked(&user.books);
            books.in_flight -= 1;
            books.account.fail(sequence, 1);
            if !matches!(error, Error::Full { .. }) {
                complain(shared, &error);
            }
            false
        }
    }
}

fn answered(
    shared: &Shared,
    user: &User,
    sequence: u64,
    due_ns: u64,
    body_bytes: u64,
    result: ClientResult<SendReceipt>,
) {
    let now = now_ns();
    let counters = shared.board.of(shared.thread);
    let mut books = locked(&user.books);
    books.in_flight -= 1;
    match result {
        Ok(receipt) if receipt.status == Code::SUCCESS => {
            let queue = shared.queues.get(&receipt.queue).copied().unwrap_or(u32::MAX);
            books.account.acknowledge(sequence, 1, queue, receipt.queue_offset.get());
            let mut heard = locked(&shared.heard);
            heard.latencies.record(now.saturating_sub(due_ns), 1);
            heard.last_acknowledged_ns = now;
            add(&counters.acknowledged, 1);
            add(&counters.acknowledged_bytes, body_bytes);
        }
        // Stored, but not as safely as promised: whether it stays is unknown.
        Ok(_) => add(&counters.errors, 1),
        Err(error) => {
            if matches!(&error, Error::Invalid(_))
                || matches!(&error, Error::Refused { code, .. } if is_definite(*code))
            {
                books.account.fail(sequence, 1);
            }
            add(&counters.errors, 1);
            complain(shared, &error);
        }
    }
    drop(books);
    user.answered.notify_one();
}

fn complain(shared: &Shared, error: &Error) {
    let mut heard = locked(&shared.heard);
    if heard.complaints.len() < 4 {
        heard.complaints.push(error.to_string());
    }
}

/// A poisoned lock means that a task panicked: that is reported where it is joined.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
