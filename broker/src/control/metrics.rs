//! What /metrics shows: each shard's last snapshot, as OpenMetrics.
//!
//! A snapshot is a list of samples that the shard's executor made; this module knows how to write them, not what they
//! mean. Every sample gets the label `shard`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::{Counter, Histogram};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Upper bounds of the buckets of a latency, in seconds.
const LATENCY_BOUNDS_S: &[f64] =
    &[20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Upper bounds of the buckets of a count.
const COUNT_BOUNDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 1e5];

/// One number, or several, under one name and one set of labels.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name without the prefix `ringmq_` and without the suffix of its type.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Beside `shard`.
    pub labels: Vec<(&'static str, String)>,
    /// What was measured.
    pub value: Value,
}

/// What was measured.
#[derive(Clone, Debug)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(u64),
    /// How often what size.
    Histogram {
        /// Of all values.
        sum: f64,
        /// Upper bounds and how many values lie between them and the bound before.
        buckets: Vec<(f64, u64)>,
    },
}

/// What one shard has counted.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In any order.
    pub samples: Vec<Sample>,
}

impl Snapshot {
    /// Adds a counter.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.samples.push(Sample { name, help, labels: Vec::new(), value: Value::Counter(value) });
    }

    /// Adds a counter of one kind of several.
    pub fn counter_of(&mut self, name: &'static str, help: &'static str, label: (&'static str, String), value: u64) {
        self.samples.push(Sample { name, help, labels: vec![label], value: Value::Counter(value) });
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.samples.push(Sample { name, help, labels: Vec::new(), value: Value::Gauge(value) });
    }

    /// Adds a histogram of times; `unit_s` is one of its units in seconds.
    pub fn latency<C: Counter>(
        &mut self,
        name: &'static str,
        help: &'static str,
        histogram: &Histogram<C>,
        unit_s: f64,
    ) {
        let value = buckets(histogram, unit_s, LATENCY_BOUNDS_S);
        self.samples.push(Sample { name, help, labels: Vec::new(), value });
    }

    /// Adds a histogram of counts.
    pub fn distribution<C: Counter>(&mut self, name: &'static str, help: &'static str, histogram: &Histogram<C>) {
        let value = buckets(histogram, 1.0, COUNT_BOUNDS);
        self.samples.push(Sample { name, help, labels: Vec::new(), value });
    }
}

/// One pass over the values; the last bucket has no bound.
#[expect(clippy::cast_precision_loss, reason = "a histogram is an estimate")]
fn buckets<C: Counter>(histogram: &Histogram<C>, unit: f64, bounds: &[f64]) -> Value {
    let mut buckets: Vec<(f64, u64)> = bounds.iter().copied().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
    let (mut index, mut sum) = (0, 0.0);
    for recorded in histogram.iter_recorded() {
        let value = recorded.value_iterated_to() as f64 * unit;
        while value > buckets[index].0 {
            index += 1;
        }
        let count = recorded.count_since_last_iteration();
        buckets[index].1 += count;
        sum += histogram.median_equivalent(recorded.value_iterated_to()) as f64 * unit * count as f64;
    }
    Value::Histogram { sum, buckets }
}

/// The last snapshot of each shard.
#[derive(Clone, Default)]
pub struct Snapshots {
    shards: Arc<Mutex<BTreeMap<String, Snapshot>>>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshots")
    }
}

impl Snapshots {
    /// Replaces what a shard had published before.
    pub fn set(&self, shard: &str, snapshot: Snapshot) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).insert(shard.to_owned(), snapshot);
    }

    /// All of them as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut registry = Registry::with_prefix("ringmq");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes all");
        text
    }
}

impl Collector for Snapshots {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families: BTreeMap<&str, Vec<(&str, &Sample)>> = BTreeMap::new();
        for (shard, snapshot) in shards.iter() {
            for sample in &snapshot.samples {
                match families.entry(sample.name) {
                    Entry::Vacant(entry) => drop(entry.insert(vec![(shard, sample)])),
                    Entry::Occupied(mut entry) => entry.get_mut().push((shard, sample)),
                }
            }
        }
        for (name, members) in families {
            let (help, kind) = (members[0].1.help, kind_of(&members[0].1.value));
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (shard, sample) in members {
                let shard = [("shard", shard.to_owned())];
                let labels: Vec<_> = shard.into_iter().chain(sample.labels.iter().cloned()).collect();
                encode_value(family.encode_family(&labels.as_slice())?, &sample.value)?;
            }
        }
        Ok(())
    }
}

fn kind_of(value: &Value) -> MetricType {
    match value {
        Value::Counter(_) => MetricType::Counter,
        Value::Gauge(_) => MetricType::Gauge,
        Value::Histogram { .. } => MetricType::Histogram,
    }
}

fn encode_value(mut encoder: MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Counter(value) => encoder.encode_counter::<[(&str, &str); 0], _, u64>(value, None),
        Value::Gauge(value) => encoder.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX)),
        Value::Histogram { sum, buckets } => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<[(&str, &str); 0]>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_all_shards_are_written_under_one_family_each() {
        let snapshots = Snapshots::default();
        for (shard, sent) in [("a", 5), ("s1-a", 7)] {
            let mut snapshot = Snapshot::default();
            snapshot.counter("sent_messages", "Messages", sent);
            snapshot.counter_of("rejections", "Refused requests", ("code", "2".into()), 1);
            snapshot.gauge("connections", "Connections now", 3);
            let mut times = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds");
            times.record_n(150_000, 4).expect("recorded");
            times.record(80_000_000_000).expect_err("beyond");
            times.saturating_record(70_000_000_000);
            snapshot.latency("acknowledge_seconds", "Time to acknowledge", &times, 1e-9);
            snapshots.set(shard, snapshot);
        }
        let text = snapshots.encode();
        for line in [
            "# TYPE ringmq_sent_messages counter",
            "ringmq_sent_messages_total{shard=\"s1-a\"} 7",
            "ringmq_rejections_total{shard=\"a\",code=\"2\"} 1",
            "ringmq_connections{shard=\"a\"} 3",
            "ringmq_acknowledge_seconds_bucket{le=\"0.0001\",shard=\"a\"} 0",
            "ringmq_acknowledge_seconds_bucket{le=\"0.0002\",shard=\"a\"} 4",
            "ringmq_acknowledge_seconds_bucket{le=\"+Inf\",shard=\"a\"} 5",
            "ringmq_acknowledge_seconds_count{shard=\"a\"} 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        assert_eq!(text.matches("# TYPE ringmq_connections gauge").count(), 1);
    }
}
