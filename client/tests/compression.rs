//! Compressed bodies against a real broker in this process, over both protocols.

mod world;

use ringmq_client::{Compression, CompressionKind, Dialect, OutgoingMessage, Producer, ProducerConfig};

use world::{World, end, take};

const KINDS: [(CompressionKind, i32); 3] =
    [(CompressionKind::Lz4, 0x101), (CompressionKind::Zstd, 0x201), (CompressionKind::Zlib, 0x301)];

fn producer(world: &World, dialect: Dialect, kind: CompressionKind) -> Producer {
    let compression = Some(Compression { kind, ..Compression::default() });
    world.producer_with(ProducerConfig { dialect, compression, ..ProducerConfig::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_travel_compressed_by_every_kind_over_either_protocol_and_arrive_as_they_were() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let body = |number: usize| format!("{number} {}", "compressible ".repeat(1000));
    let mut expected = Vec::new();
    for dialect in [Dialect::Native, Dialect::Remoting] {
        for (kind, sys_flag) in KINDS {
            let producer = producer(&world, dialect, kind);
            let number = expected.len();
            producer.send(OutgoingMessage::new("T", body(number))).await.expect("stored");
            expected.push((sys_flag, body(number)));
            // Neither short ones nor batches.
            producer.send(OutgoingMessage::new("T", "short")).await.expect("stored");
            expected.push((0, "short".to_owned()));
            let batch = [body(number + 1), body(number + 2)];
            producer.send_batch(batch.clone().map(|body| OutgoingMessage::new("T", body))).await.expect("stored");
            expected.extend(batch.map(|body| (0, body)));
        }
    }
    let consumer = world.reading("G", "T").await;
    let messages = take(&consumer, expected.len()).await;
    for (message, (sys_flag, body)) in messages.iter().zip(&expected) {
        assert_eq!((message.sys_flag & 0x701, &message.body[..]), (*sys_flag, body.as_bytes()));
    }
    end(broker).await;
}

#[tokio::test]
async fn a_level_that_a_kind_does_not_have_is_refused_at_once() {
    for (kind, level) in [(CompressionKind::Zlib, 10), (CompressionKind::Zstd, 23), (CompressionKind::Zlib, 0)] {
        let compression = Some(Compression { kind, level, ..Compression::default() });
        assert!(Producer::start(ProducerConfig { compression, ..ProducerConfig::default() }).is_err());
    }
}
