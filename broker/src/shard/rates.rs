//! How many messages come and go, over time: what `clusterList` and dashboards show.

use std::collections::VecDeque;
use std::fmt::Write;

/// Between two samples, in ms.
const SAMPLE_MS: u64 = 1_000;

/// Spans that rates are told of, in seconds: those of RocketMQ's `putTps`.
const SPANS_SECONDS: [usize; 3] = [10, 60, 600];

const DAY_MS: u64 = 86_400_000;

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ms: u64,
    put: u64,
    got: u64,
}

/// Counts at the last two midnights (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) put_at_midnight: u64,
    pub(super) got_at_midnight: u64,
    pub(super) put_at_last_midnight: u64,
    pub(super) got_at_last_midnight: u64,
}

/// The counts of the last ten minutes, a sample a second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    samples: VecDeque<Sample>,
    next_ms: u64,
    day: Option<u64>,
    days: Days,
}

impl Rates {
    /// Whether a sample is due.
    #[inline]
    pub(super) fn is_due(&self, wall_ms: u64) -> bool {
        wall_ms >= self.next_ms
    }

    /// Takes a sample: messages appended and given out since the start.
    pub(super) fn sample(&mut self, wall_ms: u64, put: u64, got: u64) {
        let day = wall_ms / DAY_MS;
        if self.day.is_some_and(|before| day > before) {
            self.days.put_at_last_midnight = self.days.put_at_midnight;
            self.days.got_at_last_midnight = self.days.got_at_midnight;
            (self.days.put_at_midnight, self.days.got_at_midnight) = (put, got);
        }
        self.day = self.day.max(Some(day));
        self.next_ms = wall_ms + SAMPLE_MS;
        self.samples.push_back(Sample { at_ms: wall_ms, put, got });
        let oldest_ms = wall_ms.saturating_sub(SPANS_SECONDS[2] as u64 * 1000);
        // One sample older than the longest span stays: the span begins there.
        while self.samples.get(1).is_some_and(|second| second.at_ms <= oldest_ms) {
            self.samples.pop_front();
        }
    }

    /// Messages appended a second, over 10 s, a minute and ten minutes, as RocketMQ writes them.
    pub(super) fn put_per_second(&self) -> String {
        self.per_second(|sample| sample.put)
    }

    /// Messages given out a second.
    pub(super) fn got_per_second(&self) -> String {
        self.per_second(|sample| sample.got)
    }

    /// Counts at the last midnights.
    pub(super) fn days(&self) -> Days {
        self.days
    }

    fn per_second(&self, count: impl Fn(&Sample) -> u64) -> String {
        let mut text = String::new();
        let Some(last) = self.samples.back() else { return "0.0 0.0 0.0".to_owned() };
        for seconds in SPANS_SECONDS {
            let from_ms = last.at_ms.saturating_sub(seconds as u64 * 1000);
            let first = self.samples.iter().rev().find(|sample| sample.at_ms <= from_ms).or(self.samples.front());
            let rate = first.filter(|first| first.at_ms < last.at_ms).map_or(0.0, |first| {
                let messages = count(last).saturating_sub(count(first)) as f64;
                messages * 1000.0 / (last.at_ms - first.at_ms) as f64
            });
            let separator = if text.is_empty() { "" } else { " " };
            write!(text, "{separator}{rate:.2}").expect("a string takes all");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_their_spans() {
        let mut rates = Rates::default();
        assert_eq!(rates.put_per_second(), "0.0 0.0 0.0");
        for second in 0..=1000_u64 {
            assert!(rates.is_due(1_000_000 + second * 1000));
            let put = if second > 990 { 10_000 + (second - 990) * 100 } else { second * 10 };
            rates.sample(1_000_000 + second * 1000, put, 0);
        }
        assert!(!rates.is_due(2_000_999));
        let text = rates.put_per_second();
        let all: Vec<f64> = text.split(' ').map(|rate| rate.parse().expect("a number")).collect();
        assert_eq!(all[0], 110.0, "{text}");
        assert!(all[1] < all[0] && all[2] < all[1]);
        assert!(rates.samples.len() <= 602);
    }

    #[test]
    fn counts_at_midnight_are_kept_for_a_day() {
        let mut rates = Rates::default();
        rates.sample(DAY_MS - 1, 5, 1);
        assert_eq!(rates.days(), Days::default());
        rates.sample(DAY_MS + 1, 7, 2);
        rates.sample(2 * DAY_MS + 1, 9, 3);
        let days = rates.days();
        assert_eq!((days.put_at_midnight, days.put_at_last_midnight), (9, 7));
    }
}
