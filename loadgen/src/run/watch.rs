//! Looks at the counters while the threads work: samples for the drawing, the live line, memory, stalls, Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::count::{Board, Totals};
use crate::failure::Failure;
use crate::outcome::Sample;
use crate::progress::Progress;
use crate::resources::BrokerProcess;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Between two samples.
const SAMPLE: Duration = Duration::from_millis(100);

/// When nothing is acknowledged, or nothing is read, for so long, no more is expected: longer than a broker takes to restart.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Asks the run to end: what is known by then is still reported.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// What is seen over the whole run, over several phases.
pub(super) struct Watch {
    pub(super) samples: Vec<Sample>,
    pub(super) rss_bytes_max: Option<u64>,
    pub(super) broker: BrokerProcess,
    progress: Progress,
    began: Instant,
    last_sample: Instant,
    /// Counters of the phases that are over.
    base: Totals,
}

impl Watch {
    pub(super) fn new(is_shown: bool, broker: BrokerProcess) -> Self {
        let now = Instant::now();
        Self {
            samples: vec![Sample::default()],
            rss_bytes_max: None,
            broker,
            progress: Progress::new(is_shown),
            began: now,
            last_sample: now,
            base: Totals::default(),
        }
    }

    /// A new phase begins.
    pub(super) fn phase(&self, name: &'static str) {
        self.progress.phase(name);
    }

    /// Looks on until `is_over` says so, given the time since the call. An error when the run is interrupted; then the board is
    /// aborted.
    pub(super) fn until(
        &mut self,
        board: &Arc<Board>,
        mut is_over: impl FnMut(Duration, &Totals) -> bool,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            if INTERRUPTED.load(Ordering::Relaxed) {
                board.abort();
                return Err(Failure::failed("interrupted"));
            }
            let totals = board.totals();
            if is_over(began.elapsed(), &totals) {
                return Ok(());
            }
            if self.last_sample.elapsed() >= SAMPLE {
                self.sample(&totals);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// As [`Watch::until`], for readers: also an error when nothing more is read.
    pub(super) fn until_read(
        &mut self,
        board: &Arc<Board>,
        mut is_over: impl FnMut(Duration, &Totals) -> bool,
    ) -> Result<(), Failure> {
        let mut last = (0, Duration::ZERO);
        let mut stalled = false;
        self.until(board, |elapsed, totals| {
            if totals.read != last.0 {
                last = (totals.read, elapsed);
            }
            stalled = elapsed - last.1 > STALL_TIMEOUT;
            stalled || is_over(elapsed, totals)
        })?;
        if stalled {
            board.abort();
            return Err(Failure::failed(format!("nothing was read for {} s", STALL_TIMEOUT.as_secs())));
        }
        Ok(())
    }

    /// The phase that `board` counted is over.
    pub(super) fn close(&mut self, board: &Board) {
        let totals = board.totals();
        self.sample(&totals);
        self.base = sum(&self.base, &totals);
    }

    fn sample(&mut self, totals: &Totals) {
        self.last_sample = Instant::now();
        let at_s = self.began.elapsed().as_secs_f64();
        self.samples.push(Sample { at_s, totals: sum(&self.base, totals) });
        self.rss_bytes_max = self.rss_bytes_max.max(self.broker.resident_bytes());
        self.progress.show(&self.samples);
    }

    pub(super) fn end(&self) {
        self.progress.end();
    }
}

fn sum(a: &Totals, b: &Totals) -> Totals {
    Totals {
        sent: a.sent + b.sent,
        acknowledged: a.acknowledged + b.acknowledged,
        acknowledged_bytes: a.acknowledged_bytes + b.acknowledged_bytes,
        read: a.read + b.read,
        read_bytes: a.read_bytes + b.read_bytes,
        errors: a.errors + b.errors,
        reconnects: a.reconnects + b.reconnects,
    }
}
