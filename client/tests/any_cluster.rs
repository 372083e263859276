//! The client against a cluster that is there: Apache RocketMQ, or RingMQ. Not run by itself:
//!
//! ```text
//! ROCKETMQ_NAMESRV=127.0.0.1:9876 cargo test -p ringmq-client --test any_cluster -- --ignored
//! ```
//!
//! Topics and groups are created by using them, so the brokers must allow that; for SQL92 `enablePropertyFilter` must be on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmq_client::{
    Admin, Consumed, ConsumedInOrder, Dialect, Filter, Listener, Message, OutgoingMessage, Producer, ProducerConfig,
    PullConsumer, PullConsumerConfig, PushConsumer, PushConsumerConfig, Requester, Start, TransactionProducer,
    TransactionState, reply_to,
};

const WAIT: Duration = Duration::from_secs(60);

fn name_servers() -> String {
    std::env::var("ROCKETMQ_NAMESRV").expect("ROCKETMQ_NAMESRV says where the cluster's name servers are")
}

/// A name that no earlier run has used.
fn fresh(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{}", now.as_millis())
}

fn producer_config() -> ProducerConfig {
    ProducerConfig { name_servers: name_servers(), dialect: Dialect::Remoting, ..ProducerConfig::default() }
}

/// A producer, and a topic that has its first message.
async fn begin(name: &str) -> (Producer, String) {
    let (producer, topic) = (Producer::start(producer_config()).expect("valid"), fresh(name));
    producer.send(OutgoingMessage::new(&*topic, "first").tag("first")).await.expect("the topic is created");
    let consumer = pull(&topic);
    let started = Instant::now();
    while consumer.queues(&topic).await.is_err() {
        assert!(started.elapsed() < WAIT, "the route of {topic} never came");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (producer, topic)
}

fn pull(group: &str) -> PullConsumer {
    let (name_servers, group) = (name_servers(), group.to_owned());
    let config = PullConsumerConfig { name_servers, group, start: Start::First, ..PullConsumerConfig::default() };
    PullConsumer::start(PullConsumerConfig { dialect: Dialect::Remoting, ..config }).expect("valid")
}

fn push_config(topic: &str, filter: Filter) -> PushConsumerConfig {
    PushConsumerConfig {
        name_servers: name_servers(),
        group: fresh("group"),
        subscriptions: vec![(topic.to_owned(), filter)],
        start: Start::First,
        ..PushConsumerConfig::default()
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn add(&self, body: &[u8]) {
        self.0.lock().expect("not poisoned").push(String::from_utf8_lossy(body).into_owned());
    }

    async fn wait(&self, wanted: &[&str]) {
        let started = Instant::now();
        loop {
            let seen: BTreeSet<String> = self.0.lock().expect("not poisoned").iter().cloned().collect();
            if wanted.iter().all(|body| seen.contains(*body)) {
                return;
            }
            assert!(started.elapsed() < WAIT, "{wanted:?} of {seen:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn listener(&self) -> Listener {
        let seen = self.clone();
        Listener::concurrent(move |messages| {
            messages.iter().for_each(|message| seen.add(&message.body));
            async { Consumed::Success }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: ROCKETMQ_NAMESRV"]
async fn sends_of_all_kinds_are_pulled_and_found() {
    let (producer, topic) = begin("kinds").await;
    let receipt = producer.send(OutgoingMessage::new(&*topic, "sync").key("k1").tag("A")).await.expect("stored");
    let batch = ["b1", "b2", "b3"].map(|body| OutgoingMessage::new(&*topic, body));
    assert_eq!(producer.send_batch(batch).await.expect("stored").len(), 3);
    producer.send_oneway(OutgoingMessage::new(&*topic, "oneway")).await.expect("written");
    producer.send(OutgoingMessage::new(&*topic, "delayed").delay_level(1)).await.expect("stored");
    let consumer = pull(&fresh("puller"));
    consumer.assign(consumer.queues(&topic).await.expect("a route"));
    let (mut bodies, started) = (BTreeSet::new(), Instant::now());
    while bodies.len() < 7 && started.elapsed() < WAIT {
        let messages = consumer.poll(Duration::from_secs(1)).await.expect("no error");
        bodies.extend(messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()));
    }
    let expected = ["b1", "b2", "b3", "delayed", "first", "oneway", "sync"];
    assert_eq!(bodies.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    consumer.commit().await.expect("committed");
    let admin = Admin::start(&name_servers()).expect("valid");
    let found = admin.messages_by_key(&topic, "k1", 10, 0..=u64::MAX).await.expect("answered");
    assert_eq!(found.iter().map(|message| &message.body[..]).collect::<Vec<_>>(), [b"sync"]);
    let unique = receipt.unique_id.clone().expect("with remoting");
    assert_eq!(admin.messages_by_unique_id(&topic, &unique).await.expect("answered").len(), 1);
    assert_eq!(admin.message(&receipt.message_id().expect("an address")).await.expect("found").body, "sync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: ROCKETMQ_NAMESRV"]
async fn a_push_consumer_gets_by_tag_by_sql_and_in_order() {
    let (producer, topic) = begin("push").await;
    let (tags, sql, ordered) = (Seen::default(), Seen::default(), Seen::default());
    let by_tag = push_config(&topic, Filter::Tags("A || B".to_owned()));
    let by_tag = PushConsumer::start(by_tag, tags.listener()).await.expect("started");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let by_sql = push_config(&topic, Filter::Sql("n > 2".to_owned()));
    let by_sql = PushConsumer::start(by_sql, sql.listener()).await.expect("started");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let listener = {
        let ordered = ordered.clone();
        Listener::orderly(move |messages| {
            messages.iter().for_each(|message| ordered.add(&message.body));
            async { ConsumedInOrder::Success }
        })
    };
    let in_order = PushConsumer::start(push_config(&topic, Filter::All), listener).await.expect("started");
    for number in 0..5 {
        let tag = ["A", "B", "C"][number % 3];
        let message = OutgoingMessage::new(&*topic, number.to_string()).tag(tag).property("n", &number.to_string());
        producer.send(message.ordered_by("one")).await.expect("stored");
    }
    tags.wait(&["0", "1", "3", "4"]).await;
    sql.wait(&["3", "4"]).await;
    ordered.wait(&["first", "0", "1", "2", "3", "4"]).await;
    let numbers: Vec<String> =
        ordered.0.lock().expect("not poisoned").iter().filter(|body| *body != "first").cloned().collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
    assert!(!tags.0.lock().expect("not poisoned").contains(&"2".to_owned()));
    assert!(!sql.0.lock().expect("not poisoned").contains(&"2".to_owned()));
    for consumer in [by_tag, by_sql, in_order] {
        consumer.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: ROCKETMQ_NAMESRV"]
async fn a_message_that_fails_comes_again() {
    let (producer, topic) = begin("retry").await;
    let seen = Seen::default();
    let listener = {
        let seen = seen.clone();
        Listener::concurrent(move |messages| {
            messages
                .iter()
                .for_each(|message| seen.add(format!("{} {}", message.topic(), message.reconsume_times).as_bytes()));
            async { Consumed::LaterAt(1) }
        })
    };
    let consumer = PushConsumer::start(push_config(&topic, Filter::Tags("poison".to_owned())), listener).await;
    producer.send(OutgoingMessage::new(&*topic, "x").tag("poison")).await.expect("stored");
    seen.wait(&[&format!("{topic} 0"), &format!("{topic} 1"), &format!("{topic} 2")]).await;
    consumer.expect("started").shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: ROCKETMQ_NAMESRV"]
async fn transactions_commit_roll_back_and_are_asked_about() {
    let (_, topic) = begin("transaction").await;
    let config = ProducerConfig { group: fresh("payers").into(), ..producer_config() };
    // RocketMQ may ask about what has just been rolled back.
    let check = |message: Message| async move {
        if message.body == "asked" { TransactionState::Commit } else { TransactionState::Rollback }
    };
    let producer = TransactionProducer::start(config, check).expect("valid");
    for (body, state) in [
        ("committed", TransactionState::Commit),
        ("rolled back", TransactionState::Rollback),
        ("asked", TransactionState::Unknown),
    ] {
        producer.send(OutgoingMessage::new(&*topic, body), |_| async move { state }).await.expect("stored");
    }
    let seen = Seen::default();
    let consumer = PushConsumer::start(push_config(&topic, Filter::All), seen.listener()).await.expect("started");
    seen.wait(&["committed"]).await;
    // RocketMQ's own intervals: 6 s until the first question, which is looked for every 30 or 60 s.
    if std::env::var_os("ROCKETMQ_SLOW").is_some() {
        tokio::time::sleep(Duration::from_secs(60)).await;
        seen.wait(&["asked"]).await;
    }
    assert!(!seen.0.lock().expect("not poisoned").contains(&"rolled back".to_owned()));
    consumer.shutdown().await;
    producer.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: ROCKETMQ_NAMESRV"]
async fn a_request_is_replied_to() {
    let (replier, topic) = begin("request").await;
    let listener = Listener::concurrent(move |messages| {
        let replier = replier.clone();
        async move {
            let reply = reply_to(&messages[0], "indeed").expect("a request");
            replier.send(reply).await.map_or(Consumed::Later, |_| Consumed::Success)
        }
    });
    let config = push_config(&topic, Filter::Tags("question".to_owned()));
    let consumer = PushConsumer::start(config, listener).await.expect("started");
    let requester = Requester::start(producer_config()).await.expect("started");
    let question = OutgoingMessage::new(&*topic, "really?").tag("question");
    assert_eq!(requester.request(question, WAIT).await.expect("a reply").body, "indeed");
    consumer.shutdown().await;
    requester.close().await;
}
