//! Many histories on all cores: each on one thread, each decided by its seed alone.
//!
//! A history ends with a verdict or with a panic (an assertion of the broker or of the simulator): both are violations, and
//! both are reproduced by `ringmq-sim replay --seed N`.

use crate::scenario::{self, Scenario};
use crate::world::{History, Tally, run_history};
use ringmq_broker::mutant::Mutant;
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Seeds that one thread takes at a time.
const SEEDS_PER_TURN: u64 = 16;

/// A history that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Decides the history.
    pub seed: u64,
    /// What was wrong, in a few lines.
    pub what: String,
}

/// What came of a range of seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What happened in all histories together.
    pub tally: Tally,
    /// The violations, by seed.
    pub violations: Vec<Violation>,
}

/// Which histories to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// One history each.
    pub seeds: Range<u64>,
    /// How many run at the same time.
    pub threads: usize,
    /// Stop after this many violations.
    pub violations_max: usize,
    /// The bug that is planted in all of them.
    pub mutant: Option<Mutant>,
}

/// Runs one history. A panic in it is its violation.
pub fn run_seed(seed: u64, mutant: Option<Mutant>, trace: bool) -> (Tally, Option<Violation>) {
    plant(mutant);
    let outcome = catch_unwind(AssertUnwindSafe(|| run_history(seed, trace)));
    plant(None);
    match outcome {
        Ok(History { tally, violation }) => (tally, violation.map(|what| Violation { seed, what })),
        Err(payload) => {
            let tally = Tally { histories: 1, ..Tally::default() };
            (tally, Some(Violation { seed, what: format!("panic: {}", text_of(payload.as_ref())) }))
        }
    }
}

/// Runs one scenario with one alignment.
///
/// # Errors
/// What its claim says that it found.
pub fn run_scenario(scenario: Scenario, alignment: usize, mutant: Option<Mutant>) -> Result<(), String> {
    plant(mutant);
    let outcome = catch_unwind(|| scenario(alignment));
    plant(None);
    outcome.map_err(|payload| text_of(payload.as_ref()).to_owned())
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}

/// How a planted bug was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kill {
    /// So many random histories were needed.
    Seeds(u64, String),
    /// By a scenario of this name, where the histories did not find it.
    Scenario(&'static str, String),
    /// Nothing found it.
    Survived,
}

/// Plants `mutant` and looks for it: in the histories of seeds below `seeds_max`, then in the scenarios.
pub fn hunt(mutant: Mutant, seeds_max: u64, threads: usize) -> Kill {
    let job = Job { seeds: 0..seeds_max, threads, violations_max: 1, mutant: Some(mutant) };
    if let Some(violation) = run(&job, &|_| {}).violations.into_iter().next() {
        return Kill::Seeds(violation.seed + 1, violation.what);
    }
    for (name, scenario) in scenario::ALL {
        for alignment in [512, 4096] {
            if let Err(what) = run_scenario(*scenario, alignment, Some(mutant)) {
                return Kill::Scenario(name, what);
            }
        }
    }
    Kill::Survived
}

#[cfg(feature = "mutants")]
fn plant(mutant: Option<Mutant>) {
    ringmq_broker::mutant::plant(mutant);
}

#[cfg(not(feature = "mutants"))]
fn plant(mutant: Option<Mutant>) {
    assert!(mutant.is_none(), "this build has no mutants: cargo run -p ringmq-sim --features mutants -- mutants");
}

/// Runs the histories of `job`; `progress` is told how many have ended, from any thread.
pub fn run(job: &Job, progress: &(impl Fn(u64) + Sync)) -> Summary {
    let next = AtomicU64::new(job.seeds.start);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..job.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(SEEDS_PER_TURN, Ordering::Relaxed);
                    if first >= job.seeds.end {
                        return;
                    }
                    let mut part = Summary::default();
                    for seed in first..(first + SEEDS_PER_TURN).min(job.seeds.end) {
                        let (tally, violation) = run_seed(seed, job.mutant, false);
                        part.tally.add(&tally);
                        part.violations.extend(violation);
                        if part.violations.len() >= job.violations_max {
                            break;
                        }
                    }
                    progress(part.tally.histories);
                    let mut whole = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    whole.tally.add(&part.tally);
                    whole.violations.append(&mut part.violations);
                    if whole.violations.len() >= job.violations_max {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.violations.sort_by_key(|violation| violation.seed);
    summary
}

/// The command that runs the history of `seed` again, with every step printed.
pub fn replay_command(seed: u64, mutant: Option<Mutant>) -> String {
    match mutant {
        None => format!("cargo run --release -p ringmq-sim -- replay --seed {seed} --trace"),
        Some(mutant) => format!(
            "cargo run --release -p ringmq-sim --features mutants -- replay --seed {seed} --mutant {mutant:?} --trace"
        ),
    }
}
