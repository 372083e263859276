//! Latencies: histograms in nanoseconds with three digits, one per thread, added up at the end.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The shortest and longest that are told apart, nanoseconds. What lies outside counts as the bound.
const RANGE_NS: (u64, u64) = (100, 600_000_000_000);

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(RANGE_NS.0, RANGE_NS.1, 3).expect("the bounds are constants"))
    }
}

impl Latencies {
    /// `count` messages took `nanoseconds`.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64, count: u64) {
        let clamped = nanoseconds.clamp(RANGE_NS.0, RANGE_NS.1);
        self.0.record_n(clamped, count).expect("clamped to the bounds");
    }

    /// Adds another thread's.
    pub fn absorb(&mut self, other: &Self) {
        self.0.add(&other.0).expect("equal bounds");
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `quantile` (0–1) of all do not exceed, microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The percentiles that are reported; `None` when nothing was recorded.
    pub fn summary(&self) -> Option<Percentiles> {
        (self.count() > 0).then(|| Percentiles {
            p50: self.quantile_us(0.5),
            p90: self.quantile_us(0.9),
            p99: self.quantile_us(0.99),
            p999: self.quantile_us(0.999),
            max: self.0.max() as f64 / 1e3,
        })
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are not slower.
    pub p50: f64,
    /// 90 % are not slower.
    pub p90: f64,
    /// 99 % are not slower.
    pub p99: f64,
    /// 99.9 % are not slower.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}
