//! Consumer groups, and all else that speaks RocketMQ's protocol, against real brokers and a real name server in this
//! process.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmq_broker::shard::settings::{DelayLevels, Features};
use ringmq_client::{
    Admin, Consumed, ConsumedInOrder, Dialect, Error, Filter, Listener, Message, MessageModel, OutgoingMessage,
    Producer, ProducerConfig, PullConsumer, PullConsumerConfig, PushConsumer, PushConsumerConfig, Requester, Start,
    TransactionProducer, TransactionState, reply_to,
};
use ringmq_proto::ids::QueueOffset;

use world::{WAIT, World, bodies, end, message, numbers, take};

/// What a listener has seen, in the order of the calls.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Message>>>);

impl Seen {
    fn add(&self, messages: &[Message]) {
        self.0.lock().expect("not poisoned").extend_from_slice(messages);
    }

    fn all(&self) -> Vec<Message> {
        self.0.lock().expect("not poisoned").clone()
    }

    fn bodies(&self) -> Vec<String> {
        bodies(&self.all())
    }

    /// Waits for `count` messages.
    async fn wait(&self, count: usize) -> Vec<Message> {
        let started = Instant::now();
        while started.elapsed() < WAIT {
            let all = self.all();
            if all.len() >= count {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {count} messages came: {:?}", self.all().len(), self.bodies());
    }

    fn concurrent(&self) -> Listener {
        let seen = self.clone();
        Listener::concurrent(move |messages| {
            seen.add(&messages);
            async { Consumed::Success }
        })
    }

    fn orderly(&self) -> Listener {
        let seen = self.clone();
        Listener::orderly(move |messages| {
            seen.add(&messages);
            async { ConsumedInOrder::Success }
        })
    }
}

fn short_delays() -> Features {
    Features { delay_levels: DelayLevels::parse("1s 1s 1s 1s 1s 1s").expect("levels"), ..Features::default() }
}

fn producer(world: &World) -> Producer {
    world.producer_with(ProducerConfig { dialect: Dialect::Remoting, ..ProducerConfig::default() })
}

fn config(world: &World, group: &str, topic: &str) -> PushConsumerConfig {
    PushConsumerConfig {
        name_servers: world.address(),
        group: group.to_owned(),
        subscriptions: vec![(topic.to_owned(), Filter::All)],
        start: Start::First,
        ..PushConsumerConfig::default()
    }
}

async fn push(world: &World, group: &str, topic: &str, listener: Listener) -> PushConsumer {
    PushConsumer::start(config(world, group, topic), listener).await.expect("started")
}

fn sorted(mut bodies: Vec<String>) -> Vec<String> {
    bodies.sort_by_key(|body| body.parse::<u32>().unwrap_or(u32::MAX));
    bodies
}

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
async fn a_group_of_two_shares_the_queues_and_consumes_everything_once() {
    let world = World::new();
    let broker = world.broker("broker-a", 2, None).await;
    world.topic("T", 4).await;
    let (one, other) = (Seen::default(), Seen::default());
    let first = push(&world, "G", "T", one.concurrent()).await;
    let second = push(&world, "G", "T", other.concurrent()).await;
    let is_divided = || {
        let of_topic =
            |consumer: &PushConsumer| consumer.assignment().iter().filter(|queue| &*queue.topic == "T").count();
        (of_topic(&first), of_topic(&second)) == (4, 4)
    };
    let started = Instant::now();
    while !is_divided() {
        assert!(started.elapsed() < WAIT, "{:?} {:?}", first.assignment(), second.assignment());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let producer = producer(&world);
    for number in 0..80 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let started = Instant::now();
    while one.all().len() + other.all().len() < 80 && started.elapsed() < WAIT {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = [one.bodies(), other.bodies()].concat();
    assert_eq!(sorted(all), numbers(0..80));
    assert_eq!((one.all().len(), other.all().len()), (40, 40));
    first.shutdown().await;
    producer.send_batch((80..90).map(|number| message("T", number))).await.expect("stored");
    other.wait(50).await;
    second.shutdown().await;
    let late = Seen::default();
    let third = push(&world, "G", "T", late.concurrent()).await;
    producer.send(message("T", 90)).await.expect("stored");
    late.wait(1).await;
    assert_eq!(late.bodies(), ["90"], "what was consumed and committed does not come again");
    third.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_fails_comes_again_until_it_is_buried() {
    let world = World::new();
    let broker = world.broker_with("broker-a", 1, None, short_delays()).await;
    world.topic("T", 1).await;
    let seen = Seen::default();
    let listener = {
        let seen = seen.clone();
        Listener::concurrent(move |messages| {
            seen.add(&messages);
            async { Consumed::Later }
        })
    };
    let config = PushConsumerConfig { max_reconsume_times: Some(2), ..config(&world, "G", "T") };
    let consumer = PushConsumer::start(config, listener).await.expect("started");
    producer(&world).send(message("T", "poison").tag("A")).await.expect("stored");
    let tries = seen.wait(3).await;
    let times: Vec<i32> = tries.iter().map(|message| message.reconsume_times).collect();
    assert_eq!(times, [0, 1, 2]);
    assert!(tries.iter().all(|message| message.topic() == "T" && message.body == "poison"));
    assert_eq!(&*tries[1].queue.topic, "%RETRY%G");
    world.route("%DLQ%G", 1).await;
    let buried = world.reading("undertaker", "%DLQ%G").await;
    assert_eq!(bodies(&take(&buried, 1).await), ["poison"]);
    assert_eq!(seen.all().len(), 3);
    consumer.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_order_each_queue_is_consumed_in_order_and_a_failure_holds_only_its_queue() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 3).await;
    let producer = producer(&world);
    for number in 0..60 {
        let message = message("T", number).ordered_by(&format!("customer {}", number % 5));
        producer.send(message).await.expect("stored");
    }
    let (seen, failed) = (Seen::default(), Arc::new(Mutex::new(BTreeSet::new())));
    let listener = {
        let seen = seen.clone();
        Listener::orderly(move |messages| {
            let body = bodies(&messages).remove(0);
            let is_first = failed.lock().expect("not poisoned").insert(body.clone());
            let result =
                if body.ends_with('7') && is_first { ConsumedInOrder::Suspend } else { ConsumedInOrder::Success };
            if result == ConsumedInOrder::Success {
                seen.add(&messages);
            }
            async move { result }
        })
    };
    let config = PushConsumerConfig { suspend_time: Duration::from_millis(20), ..config(&world, "G", "T") };
    let consumer = PushConsumer::start(config, listener).await.expect("started");
    let all = seen.wait(60).await;
    let mut by_queue: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for message in &all {
        by_queue.entry(message.queue.queue_id).or_default().push(message.queue_offset.get());
    }
    assert!(by_queue.values().all(|offsets| offsets.is_sorted()), "{by_queue:?}");
    assert_eq!(sorted(bodies(&all)), numbers(0..60));
    consumer.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_order_two_members_never_read_one_queue_at_once_and_hand_over_at_once() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 2).await;
    let producer = producer(&world);
    let seen = Seen::default();
    let first = push(&world, "G", "T", seen.orderly()).await;
    for number in 0..20 {
        producer.send(message("T", number)).await.expect("stored");
    }
    seen.wait(20).await;
    let second = push(&world, "G", "T", seen.orderly()).await;
    for number in 20..40 {
        producer.send(message("T", number)).await.expect("stored");
    }
    seen.wait(40).await;
    first.shutdown().await;
    for number in 40..60 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let all = seen.wait(60).await;
    assert_eq!(sorted(bodies(&all)), numbers(0..60));
    second.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasting_gives_everything_to_everybody_and_goes_on_where_it_was() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 2).await;
    let directory = tempfile::tempdir().expect("a directory");
    let config = |instance: &str| PushConsumerConfig {
        model: MessageModel::Broadcasting,
        instance_name: Some(instance.to_owned()),
        offsets_directory: Some(directory.path().to_owned()),
        ..config(&world, "G", "T")
    };
    let (one, other) = (Seen::default(), Seen::default());
    let first = PushConsumer::start(config("one"), one.concurrent()).await.expect("started");
    let second = PushConsumer::start(config("other"), other.concurrent()).await.expect("started");
    let producer = producer(&world);
    for number in 0..10 {
        producer.send(message("T", number)).await.expect("stored");
    }
    one.wait(10).await;
    other.wait(10).await;
    first.shutdown().await;
    producer.send(message("T", 10)).await.expect("stored");
    let again = Seen::default();
    let first = PushConsumer::start(config("one"), again.concurrent()).await.expect("started");
    again.wait(1).await;
    assert_eq!(again.bodies(), ["10"]);
    first.shutdown().await;
    second.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_by_tag_and_by_sql_give_what_was_asked_for() {
    let world = World::new();
    let features = Features { property_filter: true, ..Features::default() };
    let broker = world.broker_with("broker-a", 1, None, features).await;
    world.topic("T", 2).await;
    let producer = producer(&world);
    for number in 0..20 {
        let tag = ["A", "B", "C"][number % 3];
        producer.send(message("T", number).tag(tag).property("n", &number.to_string())).await.expect("stored");
    }
    let (tags, sql) = (Seen::default(), Seen::default());
    let filter = |group: &str, filter: Filter| PushConsumerConfig {
        subscriptions: vec![("T".to_owned(), filter)],
        ..config(&world, group, "T")
    };
    let by_tag = filter("tags", Filter::Tags("A || C".to_owned()));
    let by_tag = PushConsumer::start(by_tag, tags.concurrent()).await.expect("started");
    let by_sql = filter("sql", Filter::Sql("n BETWEEN 5 AND 8 OR TAGS = 'B' AND n > 15".to_owned()));
    let by_sql = PushConsumer::start(by_sql, sql.concurrent()).await.expect("started");
    tags.wait(13).await;
    sql.wait(6).await;
    let expected =
        |is_meant: fn(u32) -> bool| (0..20).filter(|n| is_meant(*n)).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(sorted(tags.bodies()), expected(|n| n % 3 != 1));
    assert_eq!(sorted(sql.bodies()), expected(|n| (5..=8).contains(&n) || n % 3 == 1 && n > 15));
    let wrong = filter("wrong", Filter::Sql("n >".to_owned()));
    let refused = PushConsumer::start(wrong, Seen::default().concurrent()).await;
    assert_eq!(refused.err().and_then(|error| error.code()).map(|code| code.get()), Some(23));
    by_tag.shutdown().await;
    by_sql.shutdown().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_consumer_calls_nothing_and_goes_on_when_it_is_resumed() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let seen = Seen::default();
    let consumer = push(&world, "G", "T", seen.concurrent()).await;
    let producer = producer(&world);
    producer.send(message("T", 0)).await.expect("stored");
    seen.wait(1).await;
    consumer.pause();
    // The long poll that is under way may still bring one message.
    producer.send(message("T", 1)).await.expect("stored");
    seen.wait(2).await;
    producer.send(OutgoingMessage::new("T", "2")).await.expect("stored");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(seen.bodies(), ["0", "1"]);
    consumer.resume();
    seen.wait(3).await;
    consumer.shutdown().await;
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
    let reset = admin_program(&world, &["group", "reset", "G", "T", "--time", "0", "--backwards"]).await;
    assert_eq!(reset.lines().count(), 5, "a head and four queues: {reset}");
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_reset_consumes_again_from_that_time_while_it_runs() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let producer = producer(&world);
    let send = async |range: std::ops::Range<u32>| {
        for number in range {
            producer.send(message("T", number)).await.expect("stored");
        }
    };
    send(0..5).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let seen = Seen::default();
    let consumer = push(&world, "G", "T", seen.concurrent()).await;
    send(5..10).await;
    let all = seen.wait(10).await;
    let from = all.iter().find(|message| message.body == "5").expect("consumed").store_time_ms;
    let admin = Admin::start(&world.address()).expect("valid");
    let moved = admin.reset_offsets("G", "T", Some(from), true).await.expect("moved");
    assert_eq!(moved.iter().map(|(_, offset)| offset.get()).collect::<Vec<_>>(), [5]);
    send(10..11).await;
    // The pull that was waiting when the group was reset may still bring the last one, before it comes again.
    let mut all = sorted(bodies(&seen.wait(16).await)[10..].to_vec());
    all.dedup();
    assert_eq!(all, numbers(5..11));
    consumer.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pull_consumers_that_subscribe_share_the_queues_and_hand_them_over_where_they_are() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 4).await;
    let producer = producer(&world);
    for number in 0..40 {
        producer.send(message("T", number).tag(if number % 2 == 0 { "even" } else { "odd" })).await.expect("stored");
    }
    for dialect in [Dialect::Native, Dialect::Remoting] {
        let config = PullConsumerConfig {
            name_servers: world.address(),
            group: format!("{dialect:?}"),
            dialect,
            start: Start::First,
            ..PullConsumerConfig::default()
        };
        let (one, other) =
            (PullConsumer::start(config.clone()).expect("valid"), PullConsumer::start(config).expect("valid"));
        let even = || Filter::Tags("even".to_owned());
        one.subscribe("T", even()).await.expect("joined");
        let first = bodies(&take(&one, 20).await);
        assert!(first.iter().all(|body| body.parse::<u32>().expect("a number") % 2 == 0), "{first:?}");
        one.commit().await.expect("committed");
        other.subscribe("T", even()).await.expect("joined");
        let started = Instant::now();
        while (one.assignment().len(), other.assignment().len()) != (2, 2) {
            assert!(started.elapsed() < WAIT, "{:?} {:?}", one.assignment(), other.assignment());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        one.leave().await.expect("left");
        let started = Instant::now();
        while other.assignment().len() < 4 {
            assert!(started.elapsed() < WAIT, "{:?}", other.assignment());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(other.poll(Duration::from_millis(300)).await.expect("no error").is_empty(), "all is consumed");
        other.leave().await.expect("left");
    }
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_tell_what_was_sent_and_consumed() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let config = ProducerConfig { dialect: Dialect::Remoting, trace: true, ..ProducerConfig::default() };
    let receipt = world.producer_with(config).send(message("T", 0).key("k")).await.expect("stored");
    let seen = Seen::default();
    let config = PushConsumerConfig { trace: true, ..config_of(&world) };
    let consumer = PushConsumer::start(config, seen.concurrent()).await.expect("started");
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

fn config_of(world: &World) -> PushConsumerConfig {
    config(world, "G", "T")
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
