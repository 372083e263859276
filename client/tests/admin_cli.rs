//! `ringmq-admin` as a program: output, and exit codes that scripts rely on.

mod mock;

use std::process::Output;

use mock::{MockBroker, MockNameServer};

/// Runs the program beside the servers of this test.
async fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_ringmq-admin");
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || std::process::Command::new(program).args(arguments).output().expect("it starts");
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn world() -> (MockNameServer, MockBroker) {
    let (names, broker) = (MockNameServer::start().await, MockBroker::start("broker-a").await);
    broker.create_topic("T", 2);
    names.register(&broker, "T", 2);
    (names, broker)
}

#[tokio::test]
async fn topics_are_created_listed_and_deleted() {
    let (names, broker) = world().await;
    let namesrv = ["--namesrv", &names.address];
    let created = run(&[&namesrv[..], &["topic", "create", "orders", "--queues", "3"]].concat()).await;
    assert_eq!(created.status.code(), Some(0), "{}", text(&created.stderr));
    assert!(broker.has_topic("orders"));

    let listed = run(&[&namesrv[..], &["topic", "list"]].concat()).await;
    let expected = "TOPIC   BROKERS  QUEUES  PERMISSION  ORDERED\n\
                    T             1       2  rw          no\n\
                    orders        1       3  rw          no\n";
    assert_eq!(text(&listed.stdout), expected);

    let stats = run(&[&["--json"], &namesrv[..], &["topic", "stats", "orders"]].concat()).await;
    let rows: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("valid JSON");
    assert_eq!((rows.as_array().map(Vec::len), &rows[2]["queue"]), (Some(3), &serde_json::Value::from(2)));

    let deleted = run(&[&namesrv[..], &["topic", "delete", "orders"]].concat()).await;
    assert_eq!(deleted.status.code(), Some(0), "{}", text(&deleted.stderr));
    assert!(!broker.has_topic("orders"));
    let again = run(&[&namesrv[..], &["topic", "delete", "orders"]].concat()).await;
    assert_eq!(again.status.code(), Some(1), "nobody had it");
    assert!(text(&again.stderr).contains("TOPIC_NOT_EXIST"), "{}", text(&again.stderr));
}

#[tokio::test]
async fn the_cluster_is_listed_with_addresses() {
    let (names, broker) = world().await;
    let listed = run(&["--namesrv", &names.address, "cluster", "list"]).await;
    assert_eq!(listed.status.code(), Some(0));
    let line = text(&listed.stdout).lines().nth(1).expect("a broker").to_owned();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["DefaultCluster", "broker-a", "0", &broker.address]);
}

#[tokio::test]
async fn what_fails_is_1_and_what_makes_no_sense_is_2() {
    let (names, _broker) = world().await;
    let unreachable = run(&["--namesrv", "127.0.0.1:1", "topic", "list"]).await;
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(text(&unreachable.stderr).contains("127.0.0.1:1"));
    let unknown = run(&["--namesrv", &names.address, "topic", "stats", "unknown"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    for wrong in [
        &["--namesrv", "nonsense", "topic", "list"][..],
        &["topic", "create", "T", "--queues", "0"],
        &["topic", "create", "T", "--perm", "x"],
        &["frobnicate"],
        &["--namesrv", &names.address, "topic", "create", "a b"],
        &["--namesrv", &names.address, "message", "view", "xyz"],
    ] {
        assert_eq!(run(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
    let version = run(&["--version"]).await;
    assert!(text(&version.stdout).contains("format 1"), "{}", text(&version.stdout));
}
