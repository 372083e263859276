//! A bounded number of random histories, and every planted bug found in a bounded number of them.

use ringmq_broker::mutant::Mutant;
use ringmq_sim::runner::{self, Job, Kill};

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn run(seeds: std::ops::Range<u64>) {
    let job = Job { seeds, threads: threads(), violations_max: 3, mutant: None };
    let summary = runner::run(&job, &|_| {});
    for violation in &summary.violations {
        eprintln!("seed {}: {}", violation.seed, violation.what);
        eprintln!("again: {}", runner::replay_command(violation.seed, None));
    }
    assert!(summary.violations.is_empty(), "{} violations", summary.violations.len());
    assert!(summary.tally.power_cuts > summary.tally.histories, "{}", summary.tally);
    assert!(summary.tally.sectors_lost > 0 && summary.tally.drained > 0, "{}", summary.tally);
}

#[test]
fn two_thousand_histories_are_sound() {
    run(0..2000);
}

/// Seeds that found a bug once: what each was is in the history of the code that it changed.
#[test]
fn histories_that_were_violated_once_are_sound() {
    for seed in [
        4, 14, 26, 86, 221, 389, 404, 416, 484, 803, 1921, 1947, 2518, 3566, 4457, 5238, 5316, 6702, 7268, 7499, 8405,
        8447, 9342, 13_245, 16_327, 17_690, 26_327, 575_392, 592_571, 19_376, 8105, 10_284, 18_143, 30_989, 536, 1401,
        1946, 2508, 4427, 5524, 5526, 5995, 7235, 7525, 9248, 13_393, 34_339, 380_023, 863_747, 1187, 17_404, 23_692,
        1_234_300,
    ] {
        run_one(seed);
    }
}

fn run_one(seed: u64) {
    let (_, violation) = runner::run_seed(seed, None, false);
    if let Some(violation) = violation {
        panic!("seed {seed}: {}\nagain: {}", violation.what, runner::replay_command(seed, None));
    }
}

#[test]
fn every_planted_bug_is_found() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        match runner::hunt(*mutant, 1000, threads()) {
            Kill::Survived => survivors.push(*mutant),
            kill => eprintln!("{mutant:?}: {kill:?}"),
        }
    }
    assert!(survivors.is_empty(), "nothing found {survivors:?}");
}

#[test]
fn a_seed_decides_its_history() {
    for seed in 0..20 {
        assert_eq!(runner::run_seed(seed, None, false), runner::run_seed(seed, None, false), "seed {seed}");
    }
}
