//! What the threads count while they run: one block for each thread, written by it alone, read by the progress line. Written
//! once per receive, never per message.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::pace::Pace;

/// The counters of one thread, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Messages that were handed to the kernel.
    pub sent: AtomicU64,
    /// Messages that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Bytes of the bodies of acknowledged messages.
    pub acknowledged_bytes: AtomicU64,
    /// Messages that were read.
    pub read: AtomicU64,
    /// Bytes of the bodies of read messages.
    pub read_bytes: AtomicU64,
    /// Answers and connections that failed.
    pub errors: AtomicU64,
    /// Connections that were opened again.
    pub reconnects: AtomicU64,
}

/// Adds to a counter that only the calling thread writes: no read-modify-write on the bus.
#[inline]
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// All threads' counters, and the wish to stop.
#[derive(Debug)]
pub struct Board {
    threads: Vec<Counters>,
    /// Senders are to end: no new message, wait for the answers that are due.
    pub stop_sending: AtomicBool,
    /// Everything is to end at once (Ctrl-C, a dead cluster).
    pub abort: AtomicBool,
    /// Producers whose queues are open.
    ready_count: AtomicU32,
    start: OnceLock<Start>,
}

/// When sending starts, and how fast all producers together send.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Nanoseconds of [`crate::clock`].
    pub at_ns: u64,
    /// In open loop.
    pub frames_per_second: Option<f64>,
    /// Producers of the run.
    pub producer_count: u32,
}

/// A sum of counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// See [`Counters::sent`].
    pub sent: u64,
    /// See [`Counters::acknowledged`].
    pub acknowledged: u64,
    /// See [`Counters::acknowledged_bytes`].
    pub acknowledged_bytes: u64,
    /// See [`Counters::read`].
    pub read: u64,
    /// See [`Counters::read_bytes`].
    pub read_bytes: u64,
    /// See [`Counters::errors`].
    pub errors: u64,
    /// See [`Counters::reconnects`].
    pub reconnects: u64,
}

impl Board {
    /// For so many threads.
    pub fn new(thread_count: usize) -> Self {
        Self {
            threads: (0..thread_count).map(|_| Counters::default()).collect(),
            stop_sending: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            ready_count: AtomicU32::new(0),
            start: OnceLock::new(),
        }
    }

    /// Ends everything at once.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
    }

    /// Whether everything is to end.
    pub fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    /// One more producer has all its queues open.
    pub fn one_is_ready(&self) {
        self.ready_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Producers that are ready.
    pub fn ready_count(&self) -> u32 {
        self.ready_count.load(Ordering::Relaxed)
    }

    /// Lets all producers go. The first call counts.
    pub fn start(&self, start: Start) {
        self.start.get_or_init(|| start);
    }

    /// The schedule of one producer; `None` before the start.
    pub fn pace_of(&self, producer: u32) -> Option<Pace> {
        let start = self.start.get()?;
        Some(match start.frames_per_second {
            None => Pace::closed(),
            Some(rate) => Pace::open(start.at_ns, rate, producer, start.producer_count),
        })
    }

    /// The counters of one thread.
    pub fn of(&self, thread: usize) -> &Counters {
        &self.threads[thread]
    }

    /// The sums of now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for one in &self.threads {
            totals.sent += one.sent.load(Ordering::Relaxed);
            totals.acknowledged += one.acknowledged.load(Ordering::Relaxed);
            totals.acknowledged_bytes += one.acknowledged_bytes.load(Ordering::Relaxed);
            totals.read += one.read.load(Ordering::Relaxed);
            totals.read_bytes += one.read_bytes.load(Ordering::Relaxed);
            totals.errors += one.errors.load(Ordering::Relaxed);
            totals.reconnects += one.reconnects.load(Ordering::Relaxed);
        }
        totals
    }
}
