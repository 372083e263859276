//! The client against real brokers and a real name server, all in this process, on loopback ports and in directories of
//! their own.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use ringmq_client::{Admin, Error, OutgoingMessage, ProducerConfig};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;

use world::{SHORT, WAIT, World, bodies, end, kill, message, numbers, take};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_back_with_all_that_was_said_of_it() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let sent = message("T", "hello").tag("A").key("k1").key("k2").property("shop", "Lyon").flag(7);
    let receipt = world.producer().send(sent).await.expect("stored");
    assert_eq!((receipt.queue_offset, receipt.status), (QueueOffset::ZERO, Code::SUCCESS));
    let consumer = world.reading("G", "T").await;
    let got = take(&consumer, 1).await.remove(0);
    assert_eq!((&got.body[..], got.tag(), got.flag), (b"hello".as_slice(), Some("A"), 7));
    assert_eq!(got.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    assert_eq!((got.property("shop"), got.position), (Some("Lyon"), receipt.position));
    assert_eq!(Some(got.message_id()), receipt.message_id());
    assert!(got.store_time_ms.abs_diff(got.born_time_ms) < 60_000);
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_and_committed_survives_a_kill() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    let listen = broker.shards()[0].address;
    world.topic("T", 1).await;
    let producer = world.producer();
    for number in 0..50 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let consumer = world.reading("G", "T").await;
    take(&consumer, 50).await;
    let queue = consumer.assignment().remove(0);
    consumer.seek(&queue, QueueOffset::new(20)).expect("assigned");
    assert_eq!(take(&consumer, 30).await[0].queue_offset, QueueOffset::new(20));
    consumer.commit_offset(&queue, QueueOffset::new(20)).await.expect("committed");
    kill(broker).await;

    let broker = world.broker("broker-a", 1, Some(listen)).await;
    producer.send(message("T", 50)).await.expect("the same producer goes on");
    assert_eq!(bodies(&take(&consumer, 1).await), ["50"], "the same consumer goes on");
    let again = world.reading("G", "T").await;
    assert_eq!(bodies(&take(&again, 31).await), numbers(20..51), "the group goes on where it committed");
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_successive_offsets_and_each_message_an_id_of_its_own() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 2).await;
    let producer = world.producer();
    let batch = (0..1000).map(|number| message("T", number).tag(if number % 2 == 0 { "even" } else { "odd" }));
    let receipts = producer.send_batch(batch).await.expect("stored");
    let offsets: Vec<u64> = receipts.iter().map(|receipt| receipt.queue_offset.get()).collect();
    assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
    let consumer = world.reading("G", "T").await;
    let got = take(&consumer, 1000).await;
    assert_eq!(bodies(&got), numbers(0..1000));
    assert_eq!((got[7].tag(), got[8].tag()), (Some("odd"), Some("even")));
    for (message, receipt) in got.iter().zip(&receipts) {
        assert_eq!(message.position, receipt.position, "offset {}", message.queue_offset);
    }
    let admin = Admin::start(&world.address()).expect("valid");
    let found = admin.message(&receipts[777].message_id().expect("an address")).await.expect("found");
    assert_eq!((&found.body[..], found.queue_offset), (b"777".as_slice(), QueueOffset::new(777)));
    // Into the middle of the batch.
    let queue = receipts[0].queue.clone();
    consumer.seek(&queue, QueueOffset::new(990)).expect("assigned");
    assert_eq!(bodies(&take(&consumer, 10).await), numbers(990..1000));
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeks_lead_to_both_ends_and_to_times() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let producer = world.producer();
    for number in 0..10 {
        producer.send(message("T", number)).await.expect("stored");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let consumer = world.reading("G", "T").await;
    let all = take(&consumer, 10).await;
    let queue = consumer.assignment().remove(0);
    consumer.seek_to_time(&queue, all[6].store_time_ms).expect("assigned");
    assert_eq!(bodies(&take(&consumer, 4).await), numbers(6..10));
    consumer.seek_to_begin(&queue).expect("assigned");
    assert_eq!(bodies(&take(&consumer, 10).await), numbers(0..10));
    consumer.seek_to_end(&queue).expect("assigned");
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty());
    producer.send(message("T", 10)).await.expect("stored");
    assert_eq!(bodies(&take(&consumer, 1).await), ["10"]);
    consumer.seek(&queue, QueueOffset::new(1_000)).expect("assigned");
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty());
    producer.send(message("T", 11)).await.expect("stored");
    assert_eq!(bodies(&take(&consumer, 1).await), ["11"], "an offset beyond the end is the end");
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_brokers_may_stop_and_come_back() {
    let world = World::new();
    let a = world.broker("broker-a", 1, None).await;
    let b = world.broker("broker-b", 1, None).await;
    let listen = a.shards()[0].address;
    world.topic("T", 2).await;
    let producer = world.producer();
    let consumer = world.reading("G", "T").await;
    let mut acknowledged = Vec::new();
    let mut brokers: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..40 {
        let receipt = producer.send(message("T", number)).await.expect("stored");
        acknowledged.push(number.to_string());
        *brokers.entry(receipt.queue.broker_name.to_string()).or_default() += 1;
    }
    assert_eq!(brokers.into_values().collect::<Vec<_>>(), [20, 20], "both brokers are used");
    kill(a).await;
    for number in 40..80 {
        let receipt = producer.send(message("T", number)).await.expect("stored on the other broker");
        assert_eq!(&*receipt.queue.broker_name, "broker-b");
        acknowledged.push(number.to_string());
    }
    let a = world.broker("broker-a", 1, Some(listen)).await;
    let mut got = bodies(&take(&consumer, 80).await);
    got.sort();
    got.dedup();
    acknowledged.sort();
    assert_eq!(got, acknowledged, "nothing acknowledged is lost");
    end(a).await;
    end(b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_answers_17_and_a_new_one_of_its_name_begins_at_0() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let producer = world.producer_with(ProducerConfig { create_topics: false, ..ProducerConfig::default() });
    for number in 0..5 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let consumer = world.reading("G", "T").await;
    take(&consumer, 5).await;
    let admin = Admin::start(&world.address()).expect("valid");
    let masters = admin.masters(None).await.expect("answered");
    admin.delete_topic(&masters, "T").await.remove(0).result.expect("deleted");

    let error = consumer.poll(WAIT).await.expect_err("the topic is gone");
    assert_eq!(error.code(), Some(Code::TOPIC_NOT_EXIST), "{error}");
    let error = producer.send(message("T", 5)).await.expect_err("the topic is gone");
    let is_gone = error.code() == Some(Code::TOPIC_NOT_EXIST) || matches!(error, Error::NoRoute { .. });
    assert!(is_gone, "{error}");

    world.topic("T", 1).await;
    let receipt = producer.send(message("T", 0)).await.expect("stored in the new one");
    assert_eq!(receipt.queue_offset, QueueOffset::ZERO);
    let consumer = world.reading("H", "T").await;
    assert_eq!(bodies(&take(&consumer, 1).await), ["0"]);
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there_is_created_by_its_first_send() {
    let world = World::new();
    let broker = world.broker("broker-a", 2, None).await;
    let producer = world.producer();
    for number in 0..10 {
        producer.send(message("born-here", number)).await.expect("stored");
    }
    world.route("born-here", 8).await;
    let consumer = world.reading("G", "born-here").await;
    let mut got = bodies(&take(&consumer, 10).await);
    got.sort();
    assert_eq!(got, numbers(0..10));
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_enqueued_messages_are_all_stored_once_and_in_order_per_key() {
    const COUNT: u32 = 20_000;
    const KEYS: u32 = 5;
    let world = World::new();
    let broker = world.broker("broker-a", 2, None).await;
    world.topic("T", 4).await;
    let producer = world.producer();
    let mut pending = Vec::new();
    for number in 0..COUNT {
        let key = format!("key-{}", number % KEYS);
        pending.push(producer.enqueue(message("T", number).ordered_by(&key)).expect("room"));
    }
    for pending in pending {
        pending.await.expect("stored");
    }
    producer.close().await;
    let consumer = world.reading("G", "T").await;
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for body in bodies(&take(&consumer, COUNT as usize).await) {
        let number: u32 = body.parse().expect("a number");
        if let Some(before) = last.insert(number % KEYS, number) {
            assert_eq!(number, before + KEYS, "the next of its key");
        }
    }
    assert!(last.values().all(|number| *number >= COUNT - KEYS));
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty(), "nothing was stored twice");
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shard_lists_its_topics_and_counts_its_messages() {
    let world = World::new();
    let broker = world.broker("broker-a", 2, None).await;
    world.topic("T", 3).await;
    world.topic("U", 1).await;
    let producer = world.producer();
    for number in 0..12 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let admin = Admin::start(&world.address()).expect("valid");
    let masters = admin.masters(Some("DefaultCluster")).await.expect("answered");
    assert_eq!(masters.iter().map(|master| &*master.name).collect::<Vec<_>>(), ["broker-a", "s1-broker-a"]);
    for outcome in admin.list_topics(&masters).await {
        let topics = outcome.result.expect("answered");
        let count_of = |name: &str| topics.iter().find(|topic| topic.name == name).map(|topic| topic.queue_count);
        assert_eq!((count_of("T"), count_of("U")), (Some(3), Some(1)), "{}", outcome.broker.name);
        assert!(topics.is_sorted_by(|a, b| a.name < b.name));
    }
    for outcome in admin.topic_stats(&masters, "T").await {
        let queues = outcome.result.expect("answered");
        assert_eq!(queues.iter().map(|queue| queue.queue_id).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(queues.iter().map(|queue| queue.max_offset.get()).sum::<u64>(), 6, "sends go round the shards");
        assert!(queues.iter().all(|queue| queue.last_store_time_ms > 0));
    }
    assert!(admin.topic_stats(&masters, "unknown").await.is_empty());
    end(broker).await;
}

/// Run it alone and optimised: `cargo test --release -p ringmq-client --test end_to_end -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not for a shared machine"]
async fn a_producer_and_a_consumer_carry_ten_byte_messages() {
    const COUNT: usize = 1_000_000;
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 8).await;
    let producer = world.producer_with(ProducerConfig { in_flight_bytes_max: 512 << 20, ..ProducerConfig::default() });
    let started = std::time::Instant::now();
    let enqueue = |_| producer.enqueue(OutgoingMessage::new("T", "0123456789"));
    let pending: Vec<_> = (0..COUNT).map(enqueue).collect::<Result<_, _>>().expect("room");
    for pending in pending {
        pending.await.expect("stored");
    }
    println!("sent: {:.0} messages/s", COUNT as f64 / started.elapsed().as_secs_f64());
    let consumer = world.reading("G", "T").await;
    let started = std::time::Instant::now();
    assert_eq!(take(&consumer, COUNT).await.len(), COUNT);
    println!("received: {:.0} messages/s", COUNT as f64 / started.elapsed().as_secs_f64());
    let mut latencies = Vec::new();
    for _ in 0..2_000 {
        let started = std::time::Instant::now();
        producer.send(OutgoingMessage::new("T", "0123456789")).await.expect("stored");
        latencies.push(started.elapsed());
    }
    latencies.sort();
    println!("one by one: p50 {:?}, p99 {:?}", latencies[1_000], latencies[1_980]);
    end(broker).await;
}
