//! The live line: what has happened so far and how fast it goes just now. Drawn on standard error, only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::count::Totals;
use crate::outcome::Sample;

/// How often the line is drawn anew, a second.
const DRAWS_PER_S: u8 = 10;

/// Samples that "just now" goes back.
const RECENT: usize = 10;

/// The line.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A line, or nothing when it is not wanted.
    pub fn new(is_wanted: bool) -> Self {
        let target =
            if is_wanted { ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {prefix}: {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// What is going on now.
    pub fn phase(&self, name: &'static str) {
        self.bar.set_prefix(name);
    }

    /// Shows the last sample and the rates since some before it.
    pub fn show(&self, samples: &[Sample]) {
        let Some(last) = samples.last() else { return };
        let before = samples[samples.len().saturating_sub(RECENT)];
        let seconds = (last.at_s - before.at_s).max(1e-3);
        let rate = |of: fn(&Totals) -> u64| of(&last.totals).saturating_sub(of(&before.totals)) as f64 / seconds;
        let totals = &last.totals;
        self.bar.set_message(format!(
            "acknowledged {} ({:.0}/s), read {} ({:.0}/s), errors {}, reconnects {}",
            totals.acknowledged,
            rate(|totals| totals.acknowledged),
            totals.read,
            rate(|totals| totals.read),
            totals.errors,
            totals.reconnects
        ));
    }

    /// Takes the line away, so that the table can be printed.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
