//! The main demonstration as a user starts it, only shorter: the real name server and broker in the generator's process.

use std::process::Command;

use serde_json::Value;

fn loadgen(arguments: &str) -> (i32, String, Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let (json, report) = (directory.path().join("result.json"), directory.path().join("report.html"));
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq-loadgen"))
        .args(arguments.split_whitespace())
        .arg("--json")
        .arg(&json)
        .arg("--report")
        .arg(&report)
        .output()
        .expect("runs");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let value = serde_json::from_str(&std::fs::read_to_string(&json).expect("JSON is written")).expect("valid JSON");
    assert!(std::fs::read_to_string(&report).expect("a page is written").contains("<svg"), "{printed}");
    (output.status.code().expect("not killed"), printed, value)
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} is {}", value[name]))
}

#[test]
fn without_a_cluster_everything_acknowledged_is_read_back_and_verified_and_its_cost_is_known() {
    let (code, printed, value) = loadgen("--seconds 1 --connections 8 --in-flight 16 --segment 16MiB");
    assert_eq!(code, 0, "{printed}");
    let acknowledged = number(&value, "acknowledged");
    assert!(acknowledged > 0);
    assert_eq!((number(&value, "read_back"), number(&value, "verified")), (acknowledged, acknowledged), "{printed}");
    for name in ["broker_cpu_ns_per_message", "loadgen_cpu_ns_per_message", "rss_bytes_max", "messages_per_s"] {
        assert!(value[name].as_f64().is_some_and(|number| number > 0.0), "{name} is {}: {printed}", value[name]);
    }
}

#[test]
fn two_shards_batches_and_end_to_end_run_embedded_too() {
    for arguments in [
        "produce --seconds 1 --shards 2 --batch 50 --connections 6 --in-flight 4 --segment 16MiB",
        "produce --api producer --seconds 1 --shards 2 --connections 6 --in-flight 16 --segment 16MiB",
        "end-to-end --seconds 1 --rate 1000 --connections 4 --flush async --segment 16MiB",
    ] {
        let (code, printed, value) = loadgen(arguments);
        assert_eq!(code, 0, "{arguments}: {printed}");
        assert_eq!(number(&value, "verified"), number(&value, "acknowledged"), "{printed}");
        assert_eq!(value["end_to_end_latency_us"]["p99"].is_number(), arguments.starts_with("end-to-end"), "{printed}");
    }
}

#[test]
fn over_remoting_the_same_books_are_kept() {
    for arguments in [
        "produce --dialect remoting --seconds 1 --connections 8 --in-flight 16 --segment 16MiB",
        "produce --dialect remoting --unique-ids --seconds 1 --shards 2 --connections 6 --in-flight 4 --segment 16MiB",
        "produce --dialect remoting --unique-ids --batch 20 --seconds 1 --connections 4 --in-flight 4 --segment 16MiB",
        "produce --dialect remoting --api producer --seconds 1 --connections 6 --in-flight 16 --segment 16MiB",
        "end-to-end --dialect remoting --seconds 1 --rate 1000 --connections 4 --segment 16MiB",
    ] {
        let (code, printed, value) = loadgen(arguments);
        assert_eq!(code, 0, "{arguments}: {printed}");
        let acknowledged = number(&value, "acknowledged");
        assert!(acknowledged > 0, "{arguments}: {printed}");
        assert_eq!(
            (number(&value, "read_back"), number(&value, "verified")),
            (acknowledged, acknowledged),
            "{printed}"
        );
    }
}

#[test]
fn a_data_directory_that_was_named_is_kept_and_can_be_consumed_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let data = data.display();
    let (code, printed, _) =
        loadgen(&format!("produce --messages 5000 --topic kept --connections 4 --data {data} --segment 16MiB"));
    assert_eq!(code, 0, "{printed}");
    let (code, printed, value) = loadgen(&format!("consume --topic kept --data {data} --segment 16MiB"));
    assert_eq!((code, number(&value, "verified")), (0, 5000), "after a restart: {printed}");
}
