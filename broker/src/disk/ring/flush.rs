//! Which of two ways to make a log's writes durable is faster, here and now: found out by measuring, again and again.
//!
//! Where a device writes through its cache the question does not arise. On any other both ways write and then flush, and
//! promise the same: `RWF_DSYNC` does both in the kernel's own worker, on the core that takes the device's interrupts, and
//! wakes nobody between; a linked `fdatasync` goes through the executor and a helper thread. Undisturbed the first takes
//! two thirds of the time (187 against 272 µs at 70 000 messages a second) and less of the executor's; next to a busy core
//! its worker may wait a whole scheduler tick, 4 ms. So one way is in use, and now and then a trial of a few commits, one
//! after the other, shows what the other would take. A trial that is lost doubles the time to the next and is given up as
//! soon as it is lost, so that trials cost less than one commit in a hundred its time.

use std::time::{Duration, Instant};

use crate::disk::probe::FlushMethod;

/// Commits of one trial.
const TRIAL_COUNT: u32 = 16;

/// Commits before the first trial, and after one that was won.
const GAP_COUNT_MIN: u32 = 64;

/// Commits between trials at most.
const GAP_COUNT_MAX: u32 = 16_384;

/// The other way must be faster by this much, in percent: nothing is gained by changing for less.
const GAIN_PERCENT_MIN: u64 = 15;

/// How much one commit counts in the mean: one part in so many.
const MEAN_PARTS: u64 = 64;

/// The longest that one commit counts, as a multiple of the mean: a stall of the device is nobody's merit.
const OUTLIER_TIMES: u64 = 4;

/// Of one log.
pub(super) struct FlushChooser {
    current: FlushMethod,
    mean_ns: u64,
    gap_count: u32,
    until_trial: u32,
    trial: Option<Trial>,
}

#[derive(Clone, Copy, Default)]
struct Trial {
    asked: u32,
    answered: u32,
    sum_ns: u64,
}

/// A write whose way was chosen here.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    method: FlushMethod,
    began: Instant,
}

impl FlushChooser {
    pub(super) fn new(current: FlushMethod) -> Self {
        Self { current, mean_ns: 0, gap_count: GAP_COUNT_MIN, until_trial: GAP_COUNT_MIN, trial: None }
    }

    /// The way of the next write, which begins now.
    pub(super) fn choose(&mut self) -> (FlushMethod, Chosen) {
        let method = self.next();
        (method, Chosen { method, began: Instant::now() })
    }

    /// That write has ended.
    pub(super) fn ended(&mut self, chosen: Chosen) {
        self.took(chosen.method, chosen.began.elapsed());
    }

    fn next(&mut self) -> FlushMethod {
        if self.until_trial > 0 {
            self.until_trial -= 1;
        } else {
            self.trial.get_or_insert_default();
        }
        match &mut self.trial {
            Some(trial) if trial.asked < TRIAL_COUNT => {
                trial.asked += 1;
                other(self.current)
            }
            _ => self.current,
        }
    }

    fn took(&mut self, method: FlushMethod, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if method == self.current {
            self.mean_ns = match self.mean_ns {
                0 => ns,
                mean => mean - mean / MEAN_PARTS + ns.min(mean * OUTLIER_TIMES) / MEAN_PARTS,
            };
            return;
        }
        // A late answer to a trial that is over.
        let Some(trial) = &mut self.trial else { return };
        trial.answered += 1;
        trial.sum_ns = trial.sum_ns.saturating_add(ns);
        let all_ns = self.mean_ns * u64::from(TRIAL_COUNT);
        if trial.sum_ns > all_ns {
            self.gap_count = (self.gap_count * 2).min(GAP_COUNT_MAX);
        } else if trial.answered == TRIAL_COUNT {
            if trial.sum_ns < all_ns / 100 * (100 - GAIN_PERCENT_MIN) {
                self.mean_ns = trial.sum_ns / u64::from(TRIAL_COUNT);
                self.current = method;
                self.gap_count = GAP_COUNT_MIN;
            } else {
                self.gap_count = (self.gap_count * 2).min(GAP_COUNT_MAX);
            }
        } else {
            return;
        }
        self.trial = None;
        self.until_trial = self.gap_count;
    }
}

fn other(method: FlushMethod) -> FlushMethod {
    match method {
        FlushMethod::WriteThrough => FlushMethod::LinkedSync,
        FlushMethod::LinkedSync => FlushMethod::WriteThrough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes one after the other that take so long each; how many went through the kernel's worker.
    fn run(chooser: &mut FlushChooser, count: u32, linked_us: u64, through_us: u64) -> u32 {
        (0..count)
            .map(|number| {
                let method = chooser.next();
                let through = method == FlushMethod::WriteThrough;
                // Each two hundredth meets a stall of the device, whichever way.
                let stall_us = if number % 200 == 199 { 6000 } else { 0 };
                let us = if through { through_us } else { linked_us } + stall_us;
                chooser.took(method, Duration::from_micros(us));
                u32::from(through)
            })
            .sum()
    }

    #[test]
    fn faster_way_is_found_and_left_when_it_becomes_slow() {
        let mut chooser = FlushChooser::new(FlushMethod::LinkedSync);
        assert!(run(&mut chooser, 10_000, 270, 190) > 9_500, "undisturbed");
        assert!(run(&mut chooser, 50_000, 280, 4_000) < 20_000, "next to a busy core");
        assert!(run(&mut chooser, 50_000, 270, 190) > 20_000, "undisturbed again");
    }

    #[test]
    fn slow_way_is_hardly_ever_tried() {
        let mut chooser = FlushChooser::new(FlushMethod::LinkedSync);
        assert!(
            run(&mut chooser, 100_000, 80, 4_000) < 40,
            "given up at the first commit, at longer and longer intervals"
        );
    }

    #[test]
    fn ways_that_are_alike_are_not_exchanged() {
        let mut chooser = FlushChooser::new(FlushMethod::LinkedSync);
        assert!(run(&mut chooser, 100_000, 100, 97) < 400);
    }

    #[test]
    fn answers_that_come_together_or_late_count_once() {
        let mut chooser = FlushChooser::new(FlushMethod::LinkedSync);
        run(&mut chooser, GAP_COUNT_MIN, 300, 100);
        let many: Vec<_> = (0..100).map(|_| chooser.next()).collect();
        assert_eq!(many.iter().filter(|method| **method == FlushMethod::WriteThrough).count(), TRIAL_COUNT as usize);
        for method in many {
            chooser.took(method, Duration::from_micros(if method == FlushMethod::LinkedSync { 300 } else { 100 }));
        }
        assert_eq!(chooser.current, FlushMethod::WriteThrough);
    }
}
