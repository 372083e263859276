//! Consumer groups against real brokers and a real name server in this process.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmq_broker::shard::settings::Features;
use ringmq_client::{
    Admin, Consumed, ConsumedInOrder, Dialect, Filter, Listener, MessageModel, OutgoingMessage, ProducerConfig,
    PullConsumer, PullConsumerConfig, PushConsumer, PushConsumerConfig, Start,
};

use world::listening::{Seen, config, producer, push, short_delays, sorted};
use world::{WAIT, World, bodies, end, kill, message, numbers, take};

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
async fn a_push_consumer_goes_on_after_the_restart_of_its_broker() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    let listen = broker.shards()[0].address;
    world.topic("T", 2).await;
    let producer = world.producer_with(ProducerConfig {
        dialect: Dialect::Remoting,
        send_timeout: WAIT,
        ..ProducerConfig::default()
    });
    let (concurrent, ordered) = (Seen::default(), Seen::default());
    let first = push(&world, "G", "T", concurrent.concurrent()).await;
    let second = push(&world, "H", "T", ordered.orderly()).await;
    for number in 0..10 {
        producer.send(message("T", number)).await.expect("stored");
    }
    concurrent.wait(10).await;
    ordered.wait(10).await;
    kill(broker).await;
    let broker = world.broker("broker-a", 1, Some(listen)).await;
    for number in 10..20 {
        producer.send(message("T", number)).await.expect("the same producer goes on");
    }
    for seen in [concurrent, ordered] {
        // What was consumed and not committed before the kill comes again.
        let started = Instant::now();
        let bodies = || seen.bodies().into_iter().collect::<BTreeSet<_>>();
        while bodies().len() < 20 {
            assert!(started.elapsed() < 2 * WAIT, "{:?}", bodies());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    first.shutdown().await;
    second.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_order_too_a_message_is_buried_when_it_has_failed_too_often() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let seen = Seen::default();
    let listener = {
        let seen = seen.clone();
        Listener::orderly(move |messages| {
            seen.add(&messages);
            let is_poison = messages[0].body == "poison";
            async move { if is_poison { ConsumedInOrder::Suspend } else { ConsumedInOrder::Success } }
        })
    };
    let suspend_time = Duration::from_millis(20);
    let config = PushConsumerConfig { max_reconsume_times: Some(2), suspend_time, ..config(&world, "G", "T") };
    let consumer = PushConsumer::start(config, listener).await.expect("started");
    let producer = producer(&world);
    for body in ["poison", "behind"] {
        producer.send(message("T", body).tag("A").key("k")).await.expect("stored");
    }
    seen.wait(4).await;
    assert_eq!(seen.bodies(), ["poison", "poison", "poison", "behind"]);
    world.route("%DLQ%G", 1).await;
    let buried = take(&world.reading("undertaker", "%DLQ%G").await, 1).await;
    assert_eq!(
        (bodies(&buried), buried[0].tag(), buried[0].keys().next()),
        (vec!["poison".to_owned()], Some("A"), Some("k"))
    );
    consumer.shutdown().await;
    end(broker).await;
}
