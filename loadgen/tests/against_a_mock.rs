//! The generator against a broker that is sound, and against brokers that are not: each fault must end the run with 1.

mod mock;

use std::process::Command;

use mock::{Fault, MockCluster};
use serde_json::Value;

/// Runs the binary; gives its exit code, what it printed, and its JSON.
fn loadgen(cluster: &MockCluster, arguments: &str) -> (i32, String, Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq-loadgen"))
        .args(arguments.split_whitespace())
        .args(["--namesrv", &cluster.namesrv.to_string(), "--json"])
        .arg(&json)
        .output()
        .expect("runs");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let value = serde_json::from_str(&std::fs::read_to_string(&json).expect("JSON is written")).expect("valid JSON");
    (output.status.code().expect("not killed"), printed, value)
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} is {}", value[name]))
}

#[test]
fn everything_sent_is_acknowledged_read_back_and_verified() {
    let cluster = MockCluster::start(Fault::None);
    let (code, printed, value) = loadgen(&cluster, "produce --messages 20000 --connections 16 --queues 4");
    assert_eq!(code, 0, "{printed}");
    for name in ["acknowledged", "read_back", "verified"] {
        assert_eq!(number(&value, name), 20_000, "{name}: {printed}");
    }
    assert_eq!((number(&value, "errors"), number(&value, "unknown")), (0, 0));
    assert!(value["messages_per_s"].as_f64().expect("a rate") > 0.0);
    assert!(value["latency_us"]["p50"].as_f64() <= value["latency_us"]["max"].as_f64());
    assert!(value["broker_cpu_ns_per_message"].is_null(), "the broker is out of sight");
    assert!(value["loadgen_cpu_ns_per_message"].as_f64().expect("its own cost") > 0.0);
    assert!(printed.contains("verdict: ") && printed.contains("read back and verified"), "{printed}");
}

#[test]
fn batches_mixed_sizes_topics_and_an_open_loop_are_verified_too() {
    let cluster = MockCluster::start(Fault::None);
    for arguments in [
        "produce --messages 30000 --connections 3 --batch 100 --queues 5",
        "produce --messages 5000 --connections 8 --size 10..1024",
        "produce --messages 5000 --connections 8 --size 90%10,10%4KiB --batch 7",
        "produce --messages 5000 --topics 9 --topic many --queues 3 --connections 4",
        "produce --messages 3000 --rate 10000 --connections 4",
        "produce --messages 1 --connections 128",
    ] {
        let (code, printed, value) = loadgen(&cluster, arguments);
        assert_eq!(code, 0, "{arguments}: {printed}");
        assert_eq!(number(&value, "verified"), number(&value, "acknowledged"), "{arguments}: {printed}");
        assert!(number(&value, "acknowledged") > 0);
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_does_not_end_early() {
    let cluster = MockCluster::start(Fault::None);
    let (code, printed, value) = loadgen(&cluster, "produce --rate 5000 --seconds 2 --connections 4");
    assert_eq!(code, 0, "{printed}");
    let sent = number(&value, "acknowledged");
    assert!((9_000..=10_100).contains(&sent), "{sent} messages in 2 s at 5000/s: {printed}");
}

#[test]
fn a_later_consume_verifies_what_an_earlier_produce_sent() {
    let cluster = MockCluster::start(Fault::None);
    let (code, printed, _) = loadgen(&cluster, "produce --topic T --messages 3000 --connections 4 --no-read-back");
    assert_eq!(code, 0, "{printed}");
    let (code, printed, value) = loadgen(&cluster, "consume --topic T");
    assert_eq!(code, 0, "{printed}");
    assert_eq!((number(&value, "read_back"), number(&value, "verified")), (3000, 3000));
    assert!(value["acknowledged"].is_null() && value["messages_per_s"].is_null());
    let (code, printed, value) = loadgen(&cluster, "consume --topic T --messages 1");
    assert_eq!(code, 0, "{printed}");
    assert_eq!(number(&value, "read_back"), number(&value, "verified"), "{printed}");
    let (code, printed, value) = loadgen(&cluster, "consume --topic T --run-seed 1");
    assert_eq!((code, number(&value, "verified")), (1, 0), "another run's messages: {printed}");
    cluster.store_foreign("T");
    let (code, printed, value) = loadgen(&cluster, "consume --topic T");
    assert_eq!((code, number(&value, "read_back"), number(&value, "verified")), (1, 3001, 3000), "{printed}");
}

#[test]
fn a_second_run_on_a_topic_reads_back_its_own_messages_only() {
    let cluster = MockCluster::start(Fault::None);
    for _ in 0..2 {
        let (code, printed, value) = loadgen(&cluster, "produce --topic T --messages 1000 --connections 4");
        assert_eq!((code, number(&value, "read_back")), (0, 1000), "{printed}");
    }
}

#[test]
fn end_to_end_mixed_and_backlog_read_everything() {
    let cluster = MockCluster::start(Fault::None);
    for arguments in [
        "end-to-end --rate 3000 --seconds 1 --connections 4",
        "mixed --messages 20000 --connections 4",
        "backlog --messages 20000 --rate 2000 --seconds 1 --connections 4",
    ] {
        let (code, printed, value) = loadgen(&cluster, arguments);
        assert_eq!(code, 0, "{arguments}: {printed}");
        assert_eq!(number(&value, "verified"), number(&value, "acknowledged"), "{arguments}: {printed}");
        assert_eq!(value["end_to_end_latency_us"].is_null(), !arguments.starts_with("end-to-end"), "{arguments}");
        assert!(value["read_messages_per_s"].as_f64().expect("a rate") > 0.0);
    }
}

#[test]
fn planted_faults_end_the_run_with_one_and_are_named() {
    for (fault, name) in [
        (Fault::Lose, "lost"),
        (Fault::Duplicate, "duplicate"),
        (Fault::Flip, "phantom read"),
        (Fault::WrongOffset, "offset conflict"),
        (Fault::StoreRefused, "aborted read"),
    ] {
        let cluster = MockCluster::start(fault);
        let (code, printed, value) = loadgen(&cluster, "produce --messages 2000 --connections 1 --queues 1");
        assert_eq!(code, 1, "{fault:?}: {printed}");
        assert_eq!(value["success"], false);
        assert!(number(&value["anomalies"], name) > 0, "{fault:?} was not reported as {name}: {printed}");
    }
}

#[test]
fn broken_connections_leave_unknown_messages_that_reading_back_accounts_for() {
    let cluster = MockCluster::start(Fault::Hangup);
    let (code, printed, value) = loadgen(&cluster, "produce --messages 20000 --connections 8");
    assert_eq!(code, 0, "{printed}");
    assert!(number(&value, "unknown") > 0 && number(&value, "reconnects") > 0, "{printed}");
    assert_eq!(number(&value, "verified"), number(&value, "acknowledged"));
    let found = number(&value, "unknown_found");
    assert_eq!(number(&value, "read_back"), number(&value, "acknowledged") + found, "{printed}");
    assert!(found > 0 && found <= number(&value, "unknown"), "{printed}");
}

#[test]
fn refused_messages_are_errors_and_never_appear() {
    let cluster = MockCluster::start(Fault::Busy);
    let (code, printed, value) = loadgen(&cluster, "produce --messages 900 --connections 4 --in-flight 8");
    assert_eq!(code, 0, "{printed}");
    assert!(number(&value, "errors") > 0, "{printed}");
    assert_eq!(number(&value, "acknowledged") + number(&value, "errors"), 900, "{printed}");
}

#[test]
fn an_answer_that_never_comes_does_not_hang_the_run() {
    let cluster = MockCluster::start(Fault::Silent);
    let (code, printed, value) = loadgen(&cluster, "produce --messages 500 --connections 1 --queues 1");
    assert_eq!(number(&value, "unknown"), 1, "{printed}");
    assert_eq!((code, number(&value, "unknown_found")), (0, 1), "{printed}");
}

#[test]
fn arguments_and_clusters_that_cannot_be_used_have_their_exit_codes() {
    let cluster = MockCluster::start(Fault::None);
    let (code, printed, value) = loadgen(&cluster, "--unique-ids");
    assert_eq!(code, 2, "{printed}");
    assert!(value["failure"].as_str().expect("a sentence").contains("--dialect remoting"));
    let (code, printed, value) = loadgen(&cluster, "consume --topic nobody-has-this");
    assert_eq!(code, 1, "{printed}");
    assert!(value["acknowledged"].is_null() && value["success"] == false);
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq-loadgen")).args(["--size", "9"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
}
