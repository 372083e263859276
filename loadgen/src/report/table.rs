//! The table at the end of a run, and its verdict.

use std::fmt::Write;

use super::{duration, grouped, rounded};
use crate::latency::Latencies;
use crate::outcome::{Outcome, Phase, TARGET_MESSAGES_PER_S};

/// The whole table, with a line end behind each row.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<28} {value}");
    };
    row("run", outcome.title.clone());
    for phase in outcome.further.iter().chain(&outcome.send).chain(&outcome.read) {
        phase_rows(phase, &mut row);
    }
    if let Some(latencies) = &outcome.end_to_end {
        latency_rows("end to end", latencies, &mut row);
    }
    if let Some(commits) = &outcome.message_commit_us {
        let (p50, p99) = (duration(commits.p50), duration(commits.p99));
        row("commits, by message", format!("p50 {p50} · p99 {p99} (write and flush, as the broker measured them)"));
    }
    row("errors", format!("{} (reconnects {})", grouped(outcome.errors), grouped(outcome.reconnects)));
    if let Some(bytes) = outcome.rss_bytes_max {
        row("resident memory, at most", format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    }
    account_rows(outcome, &mut row);
    for note in &outcome.notes {
        row("note", note.clone());
    }
    if let Some(failure) = &outcome.failure {
        row("failed", failure.clone());
    }
    text
}

fn phase_rows(phase: &Phase, row: &mut impl FnMut(&str, String)) {
    let rate = format!(
        "{} messages/s, {:.2} MB/s ({} messages, {:.2} s)",
        rounded(phase.rate()),
        phase.megabytes_per_s(),
        grouped(phase.messages),
        phase.elapsed.as_secs_f64()
    );
    row(phase.name, rate);
    latency_rows("  latency", &phase.latencies, row);
    if phase.messages == 0 {
        return;
    }
    let of = |name: &str, ns: Option<f64>, cores: Option<f64>| match (ns, cores) {
        (Some(ns), Some(cores)) => format!("{name} {ns:.0} ns/message ({cores:.2} cores)"),
        _ => format!("{name} not measured"),
    };
    let broker = of("broker", phase.broker_ns_per_message(), phase.broker_cores());
    let generator = of("generator", phase.generator_ns_per_message(), Some(phase.generator_cores()));
    row("  CPU", format!("{broker}, {generator}"));
}

fn latency_rows(name: &str, latencies: &Latencies, row: &mut impl FnMut(&str, String)) {
    if let Some(of) = latencies.summary() {
        let (p50, p90, p99) = (duration(of.p50), duration(of.p90), duration(of.p99));
        let (p999, max) = (duration(of.p999), duration(of.max));
        row(name, format!("p50 {p50} · p90 {p90} · p99 {p99} · p99.9 {p999} · max {max}"));
    }
}

fn account_rows(outcome: &Outcome, row: &mut impl FnMut(&str, String)) {
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), grouped);
    let account = format!(
        "{} = read back {} = verified {}",
        shown(outcome.acknowledged),
        shown(outcome.read_back),
        shown(outcome.verified())
    );
    row("acknowledged", account);
    let Some(verdict) = &outcome.verdict else {
        if outcome.unknown > 0 {
            row("without an outcome", grouped(outcome.unknown));
        }
        return;
    };
    if verdict.unknown > 0 {
        let found = grouped(verdict.unknown_found);
        row("without an outcome", format!("{}, of these read back {found}", grouped(verdict.unknown)));
    }
    if verdict.failed > 0 {
        row("refused", grouped(verdict.failed));
    }
    if !verdict.anomalies.is_empty() {
        for line in verdict.anomalies.to_string().lines().take(20) {
            row("ANOMALY", line.to_owned());
        }
    }
}

/// One sentence: what the run says about the broker.
pub fn verdict_line(outcome: &Outcome) -> String {
    if let Some(failure) = &outcome.failure {
        return format!("verdict: FAILED: {failure}");
    }
    if let Some(verdict) = outcome.verdict.as_ref().filter(|verdict| !verdict.is_sound()) {
        let missing = verdict.acknowledged - verdict.verified;
        return format!(
            "verdict: FAILED verification: {} acknowledged messages missing, {} anomalies",
            grouped(missing),
            grouped(verdict.anomalies.total())
        );
    }
    let checked = match (&outcome.verdict, &outcome.send) {
        (Some(_), Some(_)) => "every acknowledged message read back and verified",
        (Some(_), None) => "every message that was read verified",
        _ => "nothing verified",
    };
    let Some(send) = &outcome.send else {
        let rate = outcome.read.as_ref().map_or(0.0, Phase::rate);
        return format!("verdict: {} messages/s read, {checked}", rounded(rate));
    };
    if let Some(wanted) = outcome.rate {
        return format!("verdict: {} messages/s of {} asked for; {checked}", rounded(send.rate()), rounded(wanted));
    }
    let times = send.rate() / TARGET_MESSAGES_PER_S;
    let target = rounded(TARGET_MESSAGES_PER_S);
    let compared = if times >= 1.0 {
        format!("{times:.1} x the target of {target}/s")
    } else {
        format!("below the target of {target}/s ({times:.2} x)")
    };
    format!("verdict: {} messages/s, {compared}; {checked}", rounded(send.rate()))
}
