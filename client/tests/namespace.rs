//! Namespaces: the same names of topics and groups, and nothing in common.

mod world;

use std::time::Duration;

use ringmq_client::{
    Consumed, Dialect, Filter, Listener, OutgoingMessage, Producer, ProducerConfig, PullConsumer, PullConsumerConfig,
    PushConsumer, PushConsumerConfig, Requester, Start, TransactionProducer, TransactionState, reply_to,
};

use world::listening::{Seen, config, short_delays};
use world::{World, end, message};

fn producer_config(world: &World, namespace: &str) -> ProducerConfig {
    ProducerConfig {
        name_servers: world.address(),
        namespace: Some(namespace.to_owned()),
        dialect: Dialect::Remoting,
        ..ProducerConfig::default()
    }
}

fn push_config(world: &World, namespace: &str) -> PushConsumerConfig {
    PushConsumerConfig { namespace: Some(namespace.to_owned()), ..config(world, "G", "T") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_namespaces_with_the_same_names_see_nothing_of_each_other_not_even_retries() {
    let world = World::new();
    let broker = world.broker_with("broker-a", 1, None, short_delays()).await;
    for topic in ["one%T", "other%T"] {
        world.topic(topic, 1).await;
    }
    let (one, other) = (Seen::default(), Seen::default());
    let failing_once = |seen: &Seen| {
        let seen = seen.clone();
        Listener::concurrent(move |messages| {
            seen.add(&messages);
            let is_first = messages[0].reconsume_times == 0;
            async move { if is_first { Consumed::Later } else { Consumed::Success } }
        })
    };
    let first = PushConsumer::start(push_config(&world, "one"), failing_once(&one)).await.expect("started");
    let second = PushConsumer::start(push_config(&world, "other"), failing_once(&other)).await.expect("started");
    for namespace in ["one", "other"] {
        let producer = Producer::start(producer_config(&world, namespace)).expect("valid");
        producer.send(message("T", namespace)).await.expect("stored");
    }
    for (seen, namespace) in [(&one, "one"), (&other, "other")] {
        let messages = seen.wait(2).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(seen.bodies(), [namespace, namespace]);
        assert!(messages.iter().all(|message| message.topic() == "T"), "{messages:?}");
        let queues: Vec<String> = messages.iter().map(|message| message.queue.topic.to_string()).collect();
        assert_eq!(queues, [format!("{namespace}%T"), format!("%RETRY%{namespace}%G")]);
        assert_eq!(messages[0].property("INSTANCE_ID"), Some(namespace));
    }
    first.unsubscribe("T");
    assert!(first.assignment().iter().all(|queue| &*queue.topic != "one%T"), "{:?}", first.assignment());
    first.shutdown().await;
    second.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_transactions_and_requests_stay_in_their_namespace() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("ns%T", 1).await;
    let check = |_| async { TransactionState::Unknown };
    let payer = TransactionProducer::start(producer_config(&world, "ns"), check).expect("valid");
    payer.watch("T").await.expect("a route");
    payer.send(message("T", "paid"), |_| async { TransactionState::Commit }).await.expect("stored");
    for dialect in [Dialect::Native, Dialect::Remoting] {
        let consumer = PullConsumer::start(PullConsumerConfig {
            name_servers: world.address(),
            namespace: Some("ns".to_owned()),
            group: format!("{dialect:?}"),
            dialect,
            start: Start::First,
            ..PullConsumerConfig::default()
        });
        let consumer = consumer.expect("valid");
        consumer.subscribe("T", Filter::All).await.expect("joined");
        let message = world::take(&consumer, 1).await.remove(0);
        assert_eq!((message.topic(), &*message.queue.topic, &message.body[..]), ("T", "ns%T", &b"paid"[..]));
        assert_eq!(consumer.queues("T").await.expect("a route"), [message.queue]);
        consumer.leave().await.expect("left");
    }
    payer.close().await;
    let replier = Producer::start(producer_config(&world, "ns")).expect("valid");
    let listener = Listener::concurrent(move |messages| {
        let replier = replier.clone();
        async move {
            let Ok(reply) = reply_to(&messages[0], "indeed") else { return Consumed::Success };
            replier.send(reply).await.map_or(Consumed::Later, |_| Consumed::Success)
        }
    });
    let consumer = PushConsumer::start(push_config(&world, "ns"), listener).await.expect("started");
    let requester = Requester::start(producer_config(&world, "ns")).await.expect("started");
    let reply = requester.request(OutgoingMessage::new("T", "really?"), world::WAIT).await.expect("a reply");
    assert_eq!(reply.body, "indeed");
    requester.close().await;
    consumer.shutdown().await;
    end(broker).await;
}

#[tokio::test]
async fn a_name_that_is_no_namespace_is_refused() {
    let config = ProducerConfig { namespace: Some("a%b".to_owned()), ..ProducerConfig::default() };
    assert!(Producer::start(config).is_err());
}
