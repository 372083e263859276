//! The result for scripts. Names in here are relied upon; null where something does not apply.

use std::collections::BTreeMap;

use ringmq_checker::AnomalyKind;
use serde::Serialize;

use crate::latency::{Latencies, Percentiles};
use crate::outcome::{MessageCommits, Outcome, Phase, TARGET_MESSAGES_PER_S};

#[derive(Serialize)]
struct Result<'a> {
    mode: &'a str,
    title: &'a str,
    command: &'a str,
    success: bool,
    failure: Option<&'a str>,
    acknowledged: Option<u64>,
    read_back: Option<u64>,
    verified: Option<u64>,
    errors: u64,
    reconnects: u64,
    unknown: u64,
    unknown_found: Option<u64>,
    anomalies: BTreeMap<&'static str, u64>,
    messages_per_s: Option<f64>,
    read_messages_per_s: Option<f64>,
    megabytes_per_s: Option<f64>,
    read_megabytes_per_s: Option<f64>,
    send_seconds: Option<f64>,
    read_seconds: Option<f64>,
    target_messages_per_s: f64,
    wanted_messages_per_s: Option<f64>,
    latency_us: Option<Percentiles>,
    read_latency_us: Option<Percentiles>,
    end_to_end_latency_us: Option<Percentiles>,
    message_commit_us: Option<MessageCommits>,
    further: BTreeMap<&'static str, Further>,
    broker_cpu_ns_per_message: Option<f64>,
    loadgen_cpu_ns_per_message: Option<f64>,
    broker_cores: Option<f64>,
    loadgen_cores: Option<f64>,
    read_broker_cpu_ns_per_message: Option<f64>,
    read_loadgen_cpu_ns_per_message: Option<f64>,
    loadgen_threads: usize,
    rss_bytes_max: Option<u64>,
    run_seed: u64,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Further {
    messages: u64,
    messages_per_s: f64,
    latency_us: Option<Percentiles>,
}

/// The result as one JSON object, with a line end.
pub fn json(outcome: &Outcome) -> String {
    let (send, read) = (outcome.send.as_ref(), outcome.read.as_ref());
    // Rates and costs are those of sending; in a run that only reads, of reading.
    let main = send.or(read);
    let anomalies = outcome.verdict.as_ref().map(|verdict| &verdict.anomalies);
    let counted = AnomalyKind::ALL.iter().filter_map(|&kind| {
        let count = anomalies?.count(kind);
        (count > 0).then_some((kind.name(), count))
    });
    let further = outcome.further.iter().map(|phase| {
        let latency_us = phase.latencies.summary();
        (phase.name, Further { messages: phase.messages, messages_per_s: phase.rate(), latency_us })
    });
    let summary = |phase: Option<&Phase>| phase.and_then(|phase| phase.latencies.summary());
    let result = Result {
        mode: outcome.mode,
        title: &outcome.title,
        command: &outcome.command,
        success: outcome.is_success(),
        failure: outcome.failure.as_deref(),
        acknowledged: outcome.acknowledged,
        read_back: outcome.read_back,
        verified: outcome.verified(),
        errors: outcome.errors,
        reconnects: outcome.reconnects,
        unknown: outcome.verdict.as_ref().map_or(outcome.unknown, |verdict| verdict.unknown),
        unknown_found: outcome.verdict.as_ref().map(|verdict| verdict.unknown_found),
        anomalies: counted.collect(),
        messages_per_s: send.map(Phase::rate),
        read_messages_per_s: read.map(Phase::rate),
        megabytes_per_s: send.map(Phase::megabytes_per_s),
        read_megabytes_per_s: read.map(Phase::megabytes_per_s),
        send_seconds: send.map(|phase| phase.elapsed.as_secs_f64()),
        read_seconds: read.map(|phase| phase.elapsed.as_secs_f64()),
        target_messages_per_s: TARGET_MESSAGES_PER_S,
        wanted_messages_per_s: outcome.rate,
        latency_us: summary(main),
        read_latency_us: summary(read),
        end_to_end_latency_us: outcome.end_to_end.as_ref().and_then(Latencies::summary),
        message_commit_us: outcome.message_commit_us,
        further: further.collect(),
        broker_cpu_ns_per_message: main.and_then(Phase::broker_ns_per_message),
        loadgen_cpu_ns_per_message: main.and_then(Phase::generator_ns_per_message),
        broker_cores: main.and_then(Phase::broker_cores),
        loadgen_cores: main.map(Phase::generator_cores),
        read_broker_cpu_ns_per_message: read.and_then(Phase::broker_ns_per_message),
        read_loadgen_cpu_ns_per_message: read.and_then(Phase::generator_ns_per_message),
        loadgen_threads: outcome.generator_threads,
        rss_bytes_max: outcome.rss_bytes_max,
        run_seed: outcome.run_seed,
        notes: &outcome.notes,
    };
    let mut text = serde_json::to_string_pretty(&result).expect("plain data");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_failed_before_it_began_still_names_every_field() {
        let outcome = Outcome { failure: Some("no name server".into()), mode: "produce", ..Outcome::default() };
        let value: serde_json::Value = serde_json::from_str(&json(&outcome)).expect("valid JSON");
        let relied_upon = [
            "acknowledged",
            "read_back",
            "verified",
            "errors",
            "messages_per_s",
            "read_messages_per_s",
            "latency_us",
            "end_to_end_latency_us",
            "broker_cpu_ns_per_message",
            "loadgen_cpu_ns_per_message",
            "rss_bytes_max",
        ];
        for name in relied_upon {
            assert!(value.get(name).is_some(), "{name} is missing");
        }
        assert_eq!(value["success"], false);
        assert!(value["acknowledged"].is_null());
    }

    #[test]
    fn latencies_stand_under_the_names_that_scripts_read() {
        let mut send = Phase { messages: 1000, elapsed: std::time::Duration::from_secs(2), ..Phase::default() };
        (1..=1000).for_each(|index| send.latencies.record(index * 1000, 1));
        let outcome = Outcome { send: Some(send), ..Outcome::default() };
        let value: serde_json::Value = serde_json::from_str(&json(&outcome)).expect("valid JSON");
        assert_eq!(value["messages_per_s"], 500.0);
        for (name, about) in [("p50", 500.0), ("p90", 900.0), ("p99", 990.0), ("p999", 999.0), ("max", 1000.0)] {
            let found = value["latency_us"][name].as_f64().expect(name);
            assert!((found - about).abs() < about / 100.0, "{name}: {found}");
        }
    }
}
