//! The producer against brokers in memory.

mod mock;

use std::time::{Duration, Instant};

use mock::{Fault, MockBroker, MockNameServer, eventually};
use ringmq_client::{Error, ErrorKind, OutgoingMessage, Producer, ProducerConfig};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;

async fn one_broker() -> (MockNameServer, MockBroker) {
    let (names, broker) = (MockNameServer::start().await, MockBroker::start("broker-a").await);
    broker.create_topic("T", 1);
    names.register(&broker, "T", 1);
    (names, broker)
}

async fn two_brokers() -> (MockNameServer, MockBroker, MockBroker) {
    let (names, a) = one_broker().await;
    let b = MockBroker::start("broker-b").await;
    b.create_topic("T", 1);
    names.register(&b, "T", 1);
    (names, a, b)
}

fn config(names: &MockNameServer) -> ProducerConfig {
    ProducerConfig { name_servers: names.address.clone(), ..ProducerConfig::default() }
}

fn producer(names: &MockNameServer) -> Producer {
    Producer::start(config(names)).expect("a valid configuration")
}

fn message(body: &str) -> OutgoingMessage {
    OutgoingMessage::new("T", body.to_owned())
}

#[tokio::test]
async fn a_message_is_stored_with_its_properties_and_the_receipt_says_where() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send(message("first")).await.expect("stored");
    let receipt = producer.send(message("second").tag("A").key("k")).await.expect("stored");
    assert_eq!(receipt.queue_offset, QueueOffset::new(1));
    assert_eq!((&*receipt.queue.broker_name, receipt.queue.queue_id), ("broker-a", 0));
    assert!(receipt.message_id().expect("an address").starts_with("7F000001"));
    assert_eq!(broker.bodies("T", 0), ["first", "second"]);
    producer.close().await;
}

#[tokio::test]
async fn sends_go_round_all_queues_of_all_brokers() {
    let (names, a, b) = two_brokers().await;
    let producer = producer(&names);
    for index in 0..10 {
        producer.send(message(&index.to_string())).await.expect("stored");
    }
    assert_eq!((a.count("T"), b.count("T")), (5, 5));
}

#[tokio::test]
async fn enqueued_messages_of_one_queue_gather_in_frames_and_keep_their_order() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send(message("0")).await.expect("stored");
    broker.set_fault(Fault::Slow(Duration::from_millis(20)));
    let pending: Vec<_> = (1..=100).map(|index| producer.enqueue(message(&index.to_string())).expect("room")).collect();
    for (index, pending) in (1..).zip(pending) {
        assert_eq!(pending.await.expect("stored").queue_offset, QueueOffset::new(index));
    }
    assert_eq!(broker.bodies("T", 0), (0..=100).map(|index| index.to_string()).collect::<Vec<_>>());
    assert_eq!(broker.frames(), [1, 1, 99], "what was sent while a frame was in flight leaves in one");
}

#[tokio::test]
async fn without_gathering_each_message_leaves_at_once() {
    let (names, broker) = one_broker().await;
    let producer = Producer::start(ProducerConfig { gather: false, ..config(&names) }).expect("valid");
    let pending: Vec<_> = (0..50).map(|index| producer.enqueue(message(&index.to_string())).expect("room")).collect();
    for pending in pending {
        pending.await.expect("stored");
    }
    assert_eq!(broker.frames(), [1; 50]);
    assert_eq!(broker.bodies("T", 0), (0..50).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn callbacks_are_called_once_and_may_send_themselves() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let again = producer.clone();
    let done = move |result: ringmq_client::Result<ringmq_client::SendReceipt>| {
        sender.send(result.is_ok()).expect("received");
        let then = sender.clone();
        again.send_with(message("second"), move |result| then.send(result.is_ok()).expect("received")).expect("room");
    };
    producer.send_with(message("first"), done).expect("room");
    assert_eq!((receiver.recv().await, receiver.recv().await, receiver.recv().await), (Some(true), Some(true), None));
    assert_eq!(broker.bodies("T", 0), ["first", "second"]);
}

#[tokio::test]
async fn a_batch_is_one_frame_with_successive_offsets() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    let receipts = producer.send_batch((0..5).map(|index| message(&index.to_string()))).await.expect("stored");
    let offsets: Vec<_> = receipts.iter().map(|receipt| receipt.queue_offset.get()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!(broker.frames(), [5]);
    let mixed = producer.send_batch([message("x"), OutgoingMessage::new("U", "y")]).await;
    assert!(matches!(mixed, Err(Error::Invalid(_))));
    assert!(producer.send_batch([]).await.is_err());
}

#[tokio::test]
async fn oneway_messages_arrive_unanswered() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send_oneway(message("x")).await.expect("sent");
    producer.send_oneway(message("y")).await.expect("sent");
    eventually("both are stored", || broker.bodies("T", 0) == ["x", "y"]).await;
}

#[tokio::test]
async fn messages_with_one_key_go_to_one_queue_of_one_broker() {
    let (names, a, b) = two_brokers().await;
    let producer = producer(&names);
    for index in 0..6 {
        producer.send(message(&index.to_string()).ordered_by("order-17")).await.expect("stored");
    }
    let counts = [a.count("T"), b.count("T")];
    assert!(counts == [6, 0] || counts == [0, 6], "{counts:?}");
}

#[tokio::test]
async fn a_busy_broker_is_left_for_another_one() {
    let (names, a, b) = two_brokers().await;
    a.set_fault(Fault::RefuseSends(Code::SYSTEM_BUSY));
    let producer = producer(&names);
    for index in 0..6 {
        producer.send(message(&index.to_string())).await.expect("stored elsewhere");
    }
    assert_eq!((a.count("T"), b.count("T")), (0, 6));
    assert_eq!(a.frames().len(), 1, "after one refusal the broker is avoided");
}

#[tokio::test]
async fn an_illegal_message_fails_at_once_and_alone() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send(message("0")).await.expect("stored");
    broker.set_fault(Fault::Illegal(b"bad"));
    let pending: Vec<_> =
        ["1", "2", "bad", "3"].into_iter().map(|body| producer.enqueue(message(body)).expect("room")).collect();
    let mut results = Vec::new();
    for pending in pending {
        results.push(pending.await.map(|_| ()));
    }
    assert!(results[0].is_ok() && results[1].is_ok() && results[3].is_ok(), "{results:?}");
    let error = results[2].clone().expect_err("illegal");
    assert_eq!((error.code(), error.kind()), (Some(Code::MESSAGE_ILLEGAL), ErrorKind::Reject));
    assert_eq!(broker.bodies("T", 0), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn a_connection_lost_on_the_way_is_retried_on_another_broker() {
    let (names, a, b) = two_brokers().await;
    a.set_fault(Fault::CloseAfterSend);
    let producer = producer(&names);
    for index in 0..4 {
        producer.send(message(&index.to_string())).await.expect("stored elsewhere");
    }
    assert_eq!(b.count("T"), 4);
    assert!(a.count("T") <= 1, "it may be stored twice, but the broker is avoided then");
}

#[tokio::test]
async fn sends_survive_the_restart_of_the_only_broker() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send(message("before")).await.expect("stored");
    broker.stop().await;
    let during = tokio::spawn({
        let producer = producer.clone();
        async move { producer.send(message("during")).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.restart().await;
    during.await.expect("no panic").expect("stored once the broker is back");
    assert_eq!(broker.bodies("T", 0), ["before", "during"]);
}

#[tokio::test]
async fn one_of_two_brokers_stopped_costs_no_message() {
    let (names, a, b) = two_brokers().await;
    let producer = producer(&names);
    for index in 0..4 {
        producer.send(message(&index.to_string())).await.expect("stored");
    }
    a.stop().await;
    for index in 4..14 {
        producer.send(message(&index.to_string())).await.expect("stored on the other");
    }
    assert_eq!((a.count("T"), b.count("T")), (2, 12));
}

#[tokio::test]
async fn a_silent_broker_costs_no_more_than_the_time_limit() {
    let (names, broker) = one_broker().await;
    broker.set_fault(Fault::Silent);
    let limit = Duration::from_millis(400);
    let producer = Producer::start(ProducerConfig { send_timeout: limit, ..config(&names) }).expect("valid");
    let started = Instant::now();
    let error = producer.send(message("x")).await.expect_err("no answer");
    let took = started.elapsed();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(took >= limit && took < limit * 2, "{took:?}");
}

#[tokio::test]
async fn a_deleted_topic_is_refused_and_created_again_if_that_is_wanted() {
    let (names, broker) = one_broker().await;
    broker.create_topic("TBW102", 8);
    names.register(&broker, "TBW102", 8);
    let strict = Producer::start(ProducerConfig { create_topics: false, ..config(&names) }).expect("valid");
    let lenient = producer(&names);
    strict.send(message("1")).await.expect("stored");
    lenient.send(message("2")).await.expect("stored");
    broker.delete_topic("T");
    names.forget("T");
    let error = strict.send(message("3")).await.expect_err("the topic is gone");
    assert!(matches!(error, Error::NoRoute { .. }) || error.code() == Some(Code::TOPIC_NOT_EXIST), "{error}");
    assert!(!broker.has_topic("T"));
    broker.allow_creation();
    lenient.send(message("4")).await.expect("created again");
    assert_eq!(broker.count("T"), 1);
}

#[tokio::test]
async fn a_topic_that_nobody_has_is_an_error_that_says_so() {
    let (names, _broker) = one_broker().await;
    let error = producer(&names).send(OutgoingMessage::new("unknown", "x")).await.expect_err("no such topic");
    assert!(matches!(&error, Error::NoRoute { topic, .. } if topic == "unknown"), "{error}");
}

#[tokio::test]
async fn enqueueing_is_bounded_and_sending_waits_for_room() {
    let (names, broker) = one_broker().await;
    broker.set_fault(Fault::Slow(Duration::from_millis(50)));
    let producer = Producer::start(ProducerConfig { in_flight_bytes_max: 1000, ..config(&names) }).expect("valid");
    let pending: Vec<_> = (0..3).map(|index| producer.enqueue(message(&index.to_string())).expect("room")).collect();
    let full = producer.enqueue(message("x")).expect_err("no room");
    assert!(matches!(full, Error::Full { .. }), "{full}");
    producer.send(message("3")).await.expect("room comes with the acknowledgements");
    for pending in pending {
        pending.await.expect("stored");
    }
    // What is larger than all the room is sent alone.
    producer.send(message(&"y".repeat(4000))).await.expect("stored");
}

#[tokio::test]
async fn closing_waits_for_what_was_taken() {
    let (names, broker) = one_broker().await;
    broker.set_fault(Fault::Slow(Duration::from_millis(50)));
    let producer = producer(&names);
    let pending: Vec<_> = (0..20).map(|index| producer.enqueue(message(&index.to_string())).expect("room")).collect();
    producer.clone().close().await;
    assert_eq!(broker.count("T"), 20);
    for pending in pending {
        pending.await.expect("stored");
    }
    assert!(matches!(producer.send(message("late")).await, Err(Error::Closed)));
}

#[tokio::test]
async fn several_name_servers_are_asked_in_turn() {
    let (names, _broker) = one_broker().await;
    let other = MockNameServer::start().await;
    // The first is nobody, the second does not know the topic (yet).
    let name_servers = format!("127.0.0.1:1;{};{}", other.address, names.address);
    let producer = Producer::start(ProducerConfig { name_servers, ..config(&names) }).expect("valid");
    producer.send(message("x")).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_may_come_from_threads_outside_of_the_runtime() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let producer = producer.clone();
            std::thread::spawn(move || {
                let pending: Vec<_> = (0..500).map(|_| producer.enqueue(message("x")).expect("room")).collect();
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    for pending in pending {
                        pending.await.expect("stored");
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join()).await.expect("no panic").expect("no panic");
    }
    assert_eq!(broker.count("T"), 2000);
    assert!(broker.frames().len() < 1000, "most of them shared frames");
}

#[tokio::test]
async fn messages_of_one_key_keep_their_order_over_a_restart() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send(message("0").ordered_by("k")).await.expect("stored");
    broker.stop().await;
    let mut pending = Vec::new();
    for index in 1..=50 {
        pending.push(producer.enqueue(message(&index.to_string()).ordered_by("k")).expect("room"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    broker.restart().await;
    for pending in pending {
        pending.await.expect("stored once the broker is back");
    }
    assert_eq!(broker.bodies("T", 0), (0..=50).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_callback_that_panics_harms_nobody_else() {
    let (names, broker) = one_broker().await;
    let producer = producer(&names);
    producer.send_with(message("first"), |_| panic!("the test's own panic")).expect("room");
    producer.send(message("second")).await.expect("stored");
    assert_eq!(broker.bodies("T", 0), ["first", "second"]);
}

#[tokio::test]
async fn a_server_of_another_protocol_is_an_error_that_says_so() {
    use tokio::io::AsyncWriteExt;
    let (names, mut broker) = one_broker().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    broker.address = listener.local_addr().expect("bound").to_string();
    names.register(&broker, "T", 1);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
        }
    });
    let limit = Duration::from_millis(300);
    let producer = Producer::start(ProducerConfig { send_timeout: limit, ..config(&names) }).expect("valid");
    let error = producer.send(message("x")).await.expect_err("no broker");
    assert!(matches!(error, Error::Protocol { .. } | Error::Disconnected { .. }), "{error}");
}
