//! The pull consumer and the administrator against brokers in memory.

mod mock;

use std::time::Duration;

use mock::{MockBroker, MockNameServer};
use ringmq_client::admin::NewTopic;
use ringmq_client::{
    Admin, Error, Message, MessageQueue, OutgoingMessage, Producer, ProducerConfig, PullConsumer, PullConsumerConfig,
    Start,
};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;

const WAIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(150);

struct World {
    names: MockNameServer,
    broker: MockBroker,
    producer: Producer,
}

impl World {
    async fn new() -> Self {
        let (names, broker) = (MockNameServer::start().await, MockBroker::start("broker-a").await);
        broker.create_topic("T", 1);
        names.register(&broker, "T", 1);
        let config = ProducerConfig { name_servers: names.address.clone(), ..ProducerConfig::default() };
        let producer = Producer::start(config).expect("valid");
        Self { names, broker, producer }
    }

    async fn send(&self, bodies: std::ops::Range<u64>) {
        for body in bodies {
            self.producer.send(OutgoingMessage::new("T", body.to_string())).await.expect("stored");
        }
    }

    fn config(&self) -> PullConsumerConfig {
        PullConsumerConfig {
            name_servers: self.names.address.clone(),
            group: "G".to_owned(),
            start: Start::First,
            ..PullConsumerConfig::default()
        }
    }

    /// A consumer with all queues of T, and the first of these.
    async fn consumer(&self) -> (PullConsumer, MessageQueue) {
        self.consumer_with(self.config()).await
    }

    async fn consumer_with(&self, config: PullConsumerConfig) -> (PullConsumer, MessageQueue) {
        let consumer = PullConsumer::start(config).expect("valid");
        let queues = consumer.queues("T").await.expect("a route");
        let first = queues[0].clone();
        consumer.assign(queues);
        (consumer, first)
    }
}

/// Polls until there are `count` messages; gives their bodies.
async fn take(consumer: &PullConsumer, count: usize) -> Vec<String> {
    let mut messages: Vec<Message> = Vec::new();
    while messages.len() < count {
        let more = consumer.poll(WAIT).await.expect("no error");
        assert!(!more.is_empty(), "{} of {count} messages came", messages.len());
        messages.extend(more);
    }
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn messages_come_in_order_and_new_ones_wake_a_waiting_poll() {
    let world = World::new().await;
    world.send(0..10).await;
    let (consumer, _) = world.consumer().await;
    assert_eq!(take(&consumer, 10).await, numbers(0..10));
    let waiting = tokio::spawn(async move { take(&consumer, 1).await });
    tokio::time::sleep(SHORT).await;
    world.send(10..11).await;
    assert_eq!(waiting.await.expect("no panic"), ["10"]);
}

#[tokio::test]
async fn a_committed_group_goes_on_where_it_was() {
    let world = World::new().await;
    world.send(0..10).await;
    let config = PullConsumerConfig { poll_messages_max: 4, ..world.config() };
    let (consumer, queue) = world.consumer_with(config).await;
    assert_eq!(consumer.committed(&queue).await.expect("answered"), None);
    assert_eq!(take(&consumer, 4).await, numbers(0..4));
    consumer.commit().await.expect("committed");
    assert_eq!(consumer.committed(&queue).await.expect("answered"), Some(QueueOffset::new(4)));
    assert_eq!(take(&consumer, 4).await, numbers(4..8));
    drop(consumer);
    let (consumer, _) = world.consumer().await;
    assert_eq!(take(&consumer, 6).await, numbers(4..10), "what was not committed comes again");
}

#[tokio::test]
async fn a_new_group_begins_where_it_was_told_to() {
    let world = World::new().await;
    world.send(0..5).await;
    let (last, _) = world.consumer_with(PullConsumerConfig { start: Start::Last, ..world.config() }).await;
    assert!(last.poll(SHORT).await.expect("no error").is_empty());
    world.send(5..6).await;
    assert_eq!(take(&last, 1).await, ["5"]);
    // The mock's clock counts messages: the first was stored at 1001.
    let start = Start::Time { time_ms: 1003 };
    let (timed, _) = world.consumer_with(PullConsumerConfig { start, group: "H".to_owned(), ..world.config() }).await;
    assert_eq!(take(&timed, 4).await, numbers(2..6));
}

#[tokio::test]
async fn seeks_lead_to_offsets_times_and_both_ends() {
    let world = World::new().await;
    world.send(0..10).await;
    let (consumer, queue) = world.consumer().await;
    take(&consumer, 10).await;
    consumer.seek(&queue, QueueOffset::new(7)).expect("assigned");
    assert_eq!(take(&consumer, 3).await, numbers(7..10));
    consumer.seek_to_time(&queue, 1006).expect("assigned");
    assert_eq!(take(&consumer, 5).await, numbers(5..10));
    consumer.seek_to_begin(&queue).expect("assigned");
    assert_eq!(take(&consumer, 10).await, numbers(0..10));
    consumer.seek_to_begin(&queue).expect("assigned");
    consumer.seek_to_end(&queue).expect("assigned");
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty());
    assert_eq!(consumer.position(&queue).expect("assigned"), Some(QueueOffset::new(10)));
    let other = MessageQueue { queue_id: 9, ..queue };
    assert!(matches!(consumer.seek_to_end(&other), Err(Error::Argument(_))));
}

#[tokio::test]
async fn an_offset_that_retention_took_is_followed_to_the_first_message_there_is() {
    let world = World::new().await;
    world.send(0..10).await;
    world.broker.trim("T", 0, 6);
    let (consumer, queue) = world.consumer().await;
    consumer.seek(&queue, QueueOffset::new(2)).expect("assigned");
    assert_eq!(take(&consumer, 4).await, numbers(6..10));
    consumer.seek(&queue, QueueOffset::new(99)).expect("assigned");
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty());
    world.send(10..11).await;
    assert_eq!(take(&consumer, 1).await, ["10"], "beyond the end is the end");
}

#[tokio::test]
async fn a_paused_queue_gives_nothing_until_it_is_resumed() {
    let world = World::new().await;
    world.send(0..3).await;
    let (consumer, queue) = world.consumer().await;
    consumer.pause(&queue).expect("assigned");
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty());
    consumer.resume(&queue).expect("assigned");
    assert_eq!(take(&consumer, 3).await, numbers(0..3));
}

#[tokio::test]
async fn no_more_is_fetched_ahead_than_the_buffer_takes() {
    let world = World::new().await;
    world.send(0..100).await;
    let config =
        PullConsumerConfig { pull_messages_max: 10, buffer_messages_max: 20, poll_messages_max: 7, ..world.config() };
    let (consumer, _) = world.consumer_with(config).await;
    assert_eq!(take(&consumer, 100).await, numbers(0..100));
}

#[tokio::test]
async fn a_queue_that_is_no_longer_assigned_gives_nothing_more() {
    let world = World::new().await;
    world.send(0..3).await;
    let (consumer, queue) = world.consumer().await;
    take(&consumer, 3).await;
    consumer.assign([]);
    world.send(3..5).await;
    assert!(consumer.poll(SHORT).await.expect("no error").is_empty());
    consumer.assign([queue.clone(), queue]);
    assert_eq!(consumer.assignment().len(), 1);
    assert_eq!(take(&consumer, 5).await, numbers(0..5), "nothing was committed");
}

#[tokio::test]
async fn consuming_survives_the_restart_of_the_broker() {
    let world = World::new().await;
    world.send(0..3).await;
    let (consumer, _) = world.consumer().await;
    take(&consumer, 3).await;
    world.broker.stop().await;
    assert!(consumer.poll(SHORT).await.expect("only logged").is_empty());
    world.broker.restart().await;
    world.send(3..5).await;
    assert_eq!(take(&consumer, 2).await, numbers(3..5));
}

#[tokio::test]
async fn a_deleted_topic_is_told_with_code_17() {
    let world = World::new().await;
    world.send(0..3).await;
    let (consumer, _) = world.consumer().await;
    take(&consumer, 3).await;
    world.broker.delete_topic("T");
    let error = consumer.poll(WAIT).await.expect_err("the topic is gone");
    assert_eq!(error.code(), Some(Code::TOPIC_NOT_EXIST));
}

#[tokio::test]
async fn topics_are_created_listed_looked_at_and_deleted_on_all_masters() {
    let world = World::new().await;
    let other = MockBroker::start("broker-b").await;
    other.create_topic("U", 1);
    world.names.register(&other, "U", 1);
    let admin = Admin::start(&world.names.address).expect("valid");
    let masters = admin.masters(None).await.expect("answered");
    assert_eq!(masters.iter().map(|master| &*master.name).collect::<Vec<_>>(), ["broker-a", "broker-b"]);
    assert!(admin.masters(Some("OtherCluster")).await.expect("answered").is_empty());

    for name in ["V", "W", "X"] {
        let topic = NewTopic { name: name.to_owned(), queue_count: 3, perm: 6, ordered: name == "X" };
        let outcomes = admin.create_topic(&masters, &topic).await.expect("a legal name");
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    }
    let lists = admin.list_topics(&masters).await;
    let names = |index: usize| -> Vec<String> {
        let topics = lists[index].result.as_ref().expect("answered");
        topics.iter().map(|topic| topic.name.clone()).collect()
    };
    assert_eq!(names(0), ["T", "V", "W", "X"], "more than the mock gives at once");
    assert_eq!(names(1), ["U", "V", "W"], "an ordered topic lives on one broker");

    world.send(0..4).await;
    let stats = admin.topic_stats(&masters, "T").await;
    assert_eq!(stats.len(), 1, "only brokers that have it");
    assert_eq!(stats[0].result.as_ref().expect("answered")[0].max_offset, QueueOffset::new(4));

    let outcomes = admin.delete_topic(&masters, "U").await;
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.result.as_ref().err().and_then(Error::code)).collect();
    assert_eq!(codes, [Some(Code::TOPIC_NOT_EXIST), None]);
    assert!(!other.has_topic("U"));
}
