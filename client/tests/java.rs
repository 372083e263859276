//! The client beside RocketMQ's own Java client 5.3.3. Not run by itself: needs a JDK 17 and a folder with the jars of
//! `rocketmq-client` and what they depend on (`proto/interop/deps` fetches them).
//!
//! ```text
//! ROCKETMQ_JARS=/folder cargo test -p ringmq-client --test java -- --ignored
//! ```

mod world;

use std::path::Path;
use std::process::Command;

use ringmq_client::{
    Compression, CompressionKind, Dialect, OutgoingMessage, ProducerConfig, PushConsumer, PushConsumerConfig,
};

use world::listening::{Seen, config};
use world::{World, bodies, end, take};

fn body(name: &str) -> String {
    format!("{name} {}", "compressible ".repeat(1000))
}

/// Runs a program of `tests/java` to its end.
async fn java(program: &str, arguments: &[&str]) {
    let jars = std::env::var("ROCKETMQ_JARS").expect("ROCKETMQ_JARS says where the jars are");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java").join(format!("{program}.java"));
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("java");
    command.arg(format!("-Duser.home={}", home.path().display())).args(["-cp", &format!("{jars}/*")]);
    command.arg(source).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("a JDK");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("all is well"), "{said}\n{complained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a JDK and RocketMQ's jars: ROCKETMQ_JARS"]
async fn compressed_bodies_go_from_rust_to_java_and_from_java_to_rust() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("ToJava", 1).await;
    world.topic("FromJava", 1).await;
    let mut count = 0;
    for dialect in [Dialect::Native, Dialect::Remoting] {
        for kind in [CompressionKind::Lz4, CompressionKind::Zstd, CompressionKind::Zlib] {
            let compression = Some(Compression { kind, ..Compression::default() });
            let producer = world.producer_with(ProducerConfig { dialect, compression, ..ProducerConfig::default() });
            let name = format!("{dialect:?}-{kind:?}");
            producer.send(OutgoingMessage::new("ToJava", body(&name)).key(&name)).await.expect("stored");
            count += 1;
        }
    }
    java("Compressed", &[&world.address(), &count.to_string()]).await;
    let messages = take(&world.reading("rust-reader", "FromJava").await, 3).await;
    assert_eq!(messages.iter().map(|message| message.sys_flag & 0x701).collect::<Vec<_>>(), [0x101, 0x201, 0x301]);
    assert_eq!(bodies(&messages), ["LZ4", "ZSTD", "ZLIB"].map(body));
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a JDK and RocketMQ's jars: ROCKETMQ_JARS"]
async fn a_namespace_is_the_same_for_rust_and_java() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("ns%ToJava", 1).await;
    world.topic("ns%FromJava", 1).await;
    let namespace = || Some("ns".to_owned());
    let producer = world.producer_with(ProducerConfig { namespace: namespace(), ..ProducerConfig::default() });
    producer.send(OutgoingMessage::new("ToJava", "from rust")).await.expect("stored");
    java("Namespaced", &[&world.address(), "ns"]).await;
    let seen = Seen::default();
    let config = PushConsumerConfig { namespace: namespace(), ..config(&world, "rust-reader", "FromJava") };
    let consumer = PushConsumer::start(config, seen.concurrent()).await.expect("started");
    let message = seen.wait(1).await.remove(0);
    assert_eq!((message.topic(), &message.body[..]), ("FromJava", &b"from java"[..]));
    consumer.shutdown().await;
    end(broker).await;
}
