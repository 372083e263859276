//! What else speaks RocketMQ's protocol, against real brokers and a real name server in this process: sends and pulls,
//! delays, transactions, requests, look-ups, traces, administrators' questions.

mod world;

use std::time::{Duration, Instant};

use ringmq_broker::shard::settings::Features;
use ringmq_client::{
    Admin, Consumed, Dialect, Error, Listener, Message, ProducerConfig, PullConsumer, PullConsumerConfig, PushConsumer,
    PushConsumerConfig, Requester, Start, TransactionProducer, TransactionState, remoting, reply_to,
};
use ringmq_proto::ids::QueueOffset;

use world::listening::{Seen, config, producer, push, sorted};
use world::{WAIT, World, bodies, end, message, numbers, take};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_remoting_sends_remoting_and_native_read() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let producer = producer(&world);
    let sent = message("T", 0).tag("A").key("k1").property("shop", "Lyon").flag(7);
    let receipt = producer.send(sent).await.expect("stored");
    assert_eq!(receipt.queue_offset, QueueOffset::ZERO);
    let batch = producer.send_batch((1..4).map(|number| message("T", number))).await.expect("stored");
    assert_eq!(batch.iter().map(|receipt| receipt.queue_offset.get()).collect::<Vec<_>>(), [1, 2, 3]);
    let pending: Vec<_> = (4..50).map(|number| producer.enqueue(message("T", number)).expect("room")).collect();
    for pending in pending {
        pending.await.expect("stored");
    }
    producer.send_oneway(message("T", 50)).await.expect("written");
    let name_servers = world.address();
    let config = PullConsumerConfig { name_servers, start: Start::First, ..PullConsumerConfig::default() };
    for dialect in [Dialect::Native, Dialect::Remoting] {
        let config = PullConsumerConfig { group: format!("{dialect:?}"), dialect, ..config.clone() };
        let consumer = PullConsumer::start(config).expect("valid");
        consumer.assign(consumer.queues("T").await.expect("a route"));
        let got = take(&consumer, 51).await;
        assert_eq!(bodies(&got), numbers(0..51), "{dialect:?}");
        assert_eq!((got[0].tag(), got[0].property("shop"), got[0].flag), (Some("A"), Some("Lyon"), 7));
        assert_eq!(Some(got[0].message_id()), receipt.message_id());
        assert_eq!(Some(&*got[0].unique_id()), receipt.unique_id.as_deref());
        for (message, receipt) in got[1..4].iter().zip(&batch) {
            assert_eq!(
                (message.position, Some(&*message.unique_id())),
                (receipt.position, receipt.unique_id.as_deref())
            );
        }
        consumer.commit().await.expect("committed");
        let queue = consumer.assignment().remove(0);
        assert_eq!(consumer.committed(&queue).await.expect("answered"), Some(QueueOffset::new(51)));
        assert_eq!(consumer.ends(&queue).await.expect("answered"), (QueueOffset::ZERO, QueueOffset::new(51)));
    }
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_message_waits_and_a_timed_one_can_be_recalled() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let producer = producer(&world);
    let started = Instant::now();
    let timed = message("T", "timed").deliver_after(Duration::from_millis(700));
    assert!(producer.send(timed).await.expect("stored").recall_handle.is_some());
    producer.send(message("T", "level").delay_level(1)).await.expect("stored");
    let recalled = message("T", "recalled").deliver_after(Duration::from_millis(800));
    let receipt = producer.send(recalled).await.expect("stored");
    let handle = receipt.recall_handle.expect("a timed message");
    assert_eq!(Some(&*producer.recall("T", &handle).await.expect("in time")), receipt.unique_id.as_deref());
    let consumer = world.reading("G", "T").await;
    assert_eq!(bodies(&take(&consumer, 1).await), ["timed"]);
    // The broker's clock counts whole milliseconds, and some of them may be over when it looks.
    assert!(started.elapsed() >= Duration::from_millis(690), "after {:?}", started.elapsed());
    assert_eq!(bodies(&take(&consumer, 1).await), ["level"]);
    assert!(started.elapsed() >= Duration::from_millis(990), "after {:?}", started.elapsed());
    assert!(consumer.poll(Duration::from_millis(500)).await.expect("no error").is_empty());
    assert!(producer.recall("T", "x").await.is_err());
    end(broker).await;
}

fn quick_checks() -> Features {
    Features { transaction_timeout_ms: 300, transaction_check_interval_ms: 300, ..Features::default() }
}

fn transaction_config(world: &World) -> ProducerConfig {
    ProducerConfig { name_servers: world.address(), group: "payers".into(), ..ProducerConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_message_is_delivered_and_a_rolled_back_one_never() {
    let world = World::new();
    let broker = world.broker_with("broker-a", 1, None, quick_checks()).await;
    world.topic("T", 1).await;
    let checked = Seen::default();
    let check = {
        let checked = checked.clone();
        move |message: Message| {
            checked.add(std::slice::from_ref(&message));
            let state = if message.body == "later" { TransactionState::Commit } else { TransactionState::Rollback };
            async move { state }
        }
    };
    let producer = TransactionProducer::start(transaction_config(&world), check).expect("valid");
    let mut states = Vec::new();
    for (body, state) in [
        ("committed", TransactionState::Commit),
        ("rolled back", TransactionState::Rollback),
        ("later", TransactionState::Unknown),
        ("never", TransactionState::Unknown),
    ] {
        let sent =
            producer.send(message("T", body).key(body.split(' ').next().expect("a word")), |_| async move { state });
        states.push(sent.await.expect("stored").1);
    }
    assert_eq!(states.len(), 4);
    let consumer = world.reading("G", "T").await;
    let got = take(&consumer, 2).await;
    assert_eq!(bodies(&got), ["committed", "later"]);
    assert_eq!(got[0].keys().collect::<Vec<_>>(), ["committed"]);
    checked.wait(2).await;
    assert!(checked.all().iter().all(|message| message.topic() == "T" && message.unique_id().len() == 32));
    assert!(consumer.poll(Duration::from_millis(900)).await.expect("no error").is_empty());
    assert_eq!(checked.all().len(), 2, "what is ended is not asked about");
    producer.close().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_producer_of_the_group_is_asked_when_the_first_is_gone() {
    let world = World::new();
    let broker = world.broker_with("broker-a", 1, None, quick_checks()).await;
    world.topic("T", 1).await;
    let start = |state| TransactionProducer::start(transaction_config(&world), move |_| async move { state });
    let first = start(TransactionState::Unknown).expect("valid");
    first.send_half(message("T", "orphan")).await.expect("stored");
    first.close().await;
    let second = start(TransactionState::Commit).expect("valid");
    second.watch("T").await.expect("connected");
    let consumer = world.reading("G", "T").await;
    assert_eq!(bodies(&take(&consumer, 1).await), ["orphan"]);
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_by_its_consumer_on_whatever_shard_each_is() {
    let world = World::new();
    let broker = world.broker("broker-a", 2, None).await;
    world.topic("T", 2).await;
    let replier = producer(&world);
    let listener = Listener::concurrent(move |messages| {
        let replier = replier.clone();
        async move {
            let answer = format!("{} indeed", String::from_utf8_lossy(&messages[0].body));
            let reply = reply_to(&messages[0], answer).expect("a request");
            replier.send(reply).await.expect("sent");
            Consumed::Success
        }
    });
    let consumer = push(&world, "G", "T", listener).await;
    let config = ProducerConfig { name_servers: world.address(), ..ProducerConfig::default() };
    let requester = Requester::start(config).await.expect("started");
    for number in 0..8 {
        let reply = requester.request(message("T", number), WAIT).await.expect("a reply");
        assert_eq!(reply.body, format!("{number} indeed"));
    }
    consumer.shutdown().await;
    let silent = requester.request(message("T", 9), Duration::from_millis(300)).await;
    assert!(matches!(silent, Err(Error::Timeout { .. })), "{silent:?}");
    requester.close().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_found_by_key_by_unique_id_and_by_offset_id() {
    let world = World::new();
    let broker = world.broker("broker-a", 2, None).await;
    world.topic("T", 2).await;
    let producer = producer(&world);
    let mut receipts = Vec::new();
    for number in 0..8 {
        let message = message("T", number).key(&format!("order-{}", number % 4)).key("all");
        receipts.push(producer.send(message).await.expect("stored"));
    }
    let admin = Admin::start(&world.address()).expect("valid");
    let found = admin.messages_by_key("T", "order-2", 10, 0..=u64::MAX).await.expect("answered");
    assert_eq!(sorted(bodies(&found)), ["2", "6"]);
    assert_eq!(admin.messages_by_key("T", "all", 3, 0..=u64::MAX).await.expect("answered").len(), 6);
    assert!(admin.messages_by_key("T", "nobody", 3, 0..=u64::MAX).await.expect("answered").is_empty());
    let unique = receipts[5].unique_id.as_deref().expect("with remoting");
    assert_eq!(bodies(&admin.messages_by_unique_id("T", unique).await.expect("answered")), ["5"]);
    let id = receipts[7].message_id().expect("an address");
    let found = admin.message(&id).await.expect("found");
    assert_eq!((&found.body[..], found.topic(), &found.queue), (b"7".as_slice(), "T", &receipts[7].queue));
    assert!(matches!(admin.message("xyz").await, Err(Error::Argument(_))));
    let by_program = admin_program(&world, &["message", "by-key", "T", "order-2"]).await;
    assert_eq!(by_program.lines().count(), 3, "a head and two messages: {by_program}");
    assert!(admin_program(&world, &["message", "by-id", "T", unique]).await.contains(unique));
    // Only a group that brokers know can be reset.
    let seen = Seen::default();
    let member = push(&world, "G", "T", seen.concurrent()).await;
    seen.wait(8).await;
    member.shutdown().await;
    let reset = admin_program(&world, &["group", "reset", "G", "T", "--time", "0", "--backwards"]).await;
    assert_eq!(reset.lines().count(), 5, "a head and four queues: {reset}");
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_tell_what_was_sent_and_consumed() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let traced = ProducerConfig { dialect: Dialect::Remoting, trace: true, ..ProducerConfig::default() };
    let receipt = world.producer_with(traced).send(message("T", 0).key("k")).await.expect("stored");
    let seen = Seen::default();
    let traced = PushConsumerConfig { trace: true, ..config(&world, "G", "T") };
    let consumer = PushConsumer::start(traced, seen.concurrent()).await.expect("started");
    seen.wait(1).await;
    world.route("RMQ_SYS_TRACE_TOPIC", 4).await;
    let traces = world.reading("tracer", "RMQ_SYS_TRACE_TOPIC").await;
    let id = receipt.unique_id.expect("with remoting");
    let (mut told, started) = (String::new(), Instant::now());
    while !["Pub\u{1}", "SubBefore\u{1}", "SubAfter\u{1}"].iter().all(|kind| told.contains(kind)) {
        assert!(started.elapsed() < WAIT, "{told}");
        for trace in traces.poll(Duration::from_millis(200)).await.expect("no error") {
            assert!(trace.keys().any(|key| *key == *id) && trace.keys().any(|key| key == "k"));
            told.push_str(&String::from_utf8_lossy(&trace.body));
        }
    }
    assert_eq!(told.matches(&*id).count(), 3, "{told}");
    consumer.shutdown().await;
    end(broker).await;
}

/// What `ringmq-admin` writes.
async fn admin_program(world: &World, arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_ringmq-admin");
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let namesrv = world.address();
    let run = move || std::process::Command::new(program).args(["--namesrv", &namesrv]).args(arguments).output();
    let output = tokio::task::spawn_blocking(run).await.expect("no panic").expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks a broker as an administrator's tool does: code, fields, and body of the answer.
async fn ask(address: std::net::SocketAddr, code: i32, fields: &[(&str, &str)]) -> (u16, Vec<u8>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = remoting::Connection::new(remoting::connection::SerializeType::Json);
    let fields = fields.iter().copied().collect();
    connection.request(code, &fields, b"").expect("small");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("listens");
    stream.write_all(connection.output()).await.expect("sent");
    let (mut buffer, mut answer) = (vec![0; 65_536], None);
    while answer.is_none() {
        let count = tokio::time::timeout(WAIT, stream.read(&mut buffer)).await.expect("in time").expect("open");
        assert!(count > 0, "the broker closed the connection");
        let on = |event: remoting::Event<'_>| {
            if let remoting::Event::Response(response) = event {
                answer = Some((response.code.get(), response.body.to_vec()));
            }
        };
        connection.received(&buffer[..count], on).expect("frames");
    }
    answer.expect("found above")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_hear_from_a_consumer_how_it_is_and_have_it_consume() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    let address = broker.shards()[0].address;
    world.topic("T", 1).await;
    let seen = Seen::default();
    let consumer = push(&world, "G", "T", seen.concurrent()).await;
    let receipt = producer(&world).send(message("T", "once")).await.expect("stored");
    seen.wait(1).await;
    let group = [("consumerGroup", "G"), ("clientId", consumer.client_id())];
    let (code, info) = ask(address, 307, &[&group[..], &[("jstackEnable", "false")]].concat()).await;
    let info = String::from_utf8_lossy(&info).into_owned();
    assert_eq!(code, 0, "{info}");
    assert!(info.contains("\"PROP_CONSUME_TYPE\"") && info.contains("%RETRY%G"), "{info}");
    let id = receipt.message_id().expect("an address");
    let (code, result) = ask(address, 309, &[&group[..], &[("msgId", &id), ("brokerName", "broker-a")]].concat()).await;
    let result = String::from_utf8_lossy(&result).into_owned();
    assert_eq!(code, 0, "{result}");
    assert!(result.contains("CR_SUCCESS"), "{result}");
    assert_eq!(seen.bodies(), ["once", "once"]);
    let (code, status) = ask(address, 223, &[("topic", "T"), ("group", "G")]).await;
    assert_eq!(code, 0);
    assert!(String::from_utf8_lossy(&status).contains(consumer.client_id()), "{}", String::from_utf8_lossy(&status));
    consumer.shutdown().await;
    end(broker).await;
}
