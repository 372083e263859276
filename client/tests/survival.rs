//! What consumers must outlive: name servers that are gone, listeners that panic or are slow, ends with messages in hand.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmq_client::{
    Admin, Consumed, ConsumedInOrder, Dialect, Listener, Message, MessageQueue, ProducerConfig, PullConsumer,
    PullConsumerConfig, PushConsumer, PushConsumerConfig, Start,
};

use world::listening::{Seen, config, producer, push, short_delays, sorted};
use world::{WAIT, World, end, kill, message, numbers};

/// Waits until all of these were seen, however often.
async fn all(seen: &Seen, bodies: &[String]) {
    let started = Instant::now();
    let wanted: BTreeSet<String> = bodies.iter().cloned().collect();
    while !wanted.is_subset(&seen.bodies().into_iter().collect()) {
        assert!(started.elapsed() < 3 * WAIT, "{:?} of {wanted:?}", seen.bodies());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn pull_config(world: &World, dialect: Dialect) -> PullConsumerConfig {
    PullConsumerConfig {
        name_servers: world.address(),
        group: format!("{dialect:?}"),
        dialect,
        start: Start::First,
        ..PullConsumerConfig::default()
    }
}

/// What a pull consumer gives goes to `seen`.
fn poll_into(consumer: PullConsumer, seen: Seen, is_over: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while !is_over.load(Ordering::Relaxed) {
            if let Ok(messages) = consumer.poll(Duration::from_millis(100)).await {
                seen.add(&messages);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_stops_while_the_name_servers_are_gone_even_when_a_broker_restarts_meanwhile() {
    let mut world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    let listen = broker.shards()[0].address;
    world.topic("T", 2).await;
    let sender = |dialect| {
        let send_timeout = 2 * WAIT;
        world.producer_with(ProducerConfig { dialect, send_timeout, ..ProducerConfig::default() })
    };
    let producers = [sender(Dialect::Native), sender(Dialect::Remoting)];
    let seen: [Seen; 4] = Default::default();
    let pushed = push(&world, "G", "T", seen[0].concurrent()).await;
    let ordered = push(&world, "H", "T", seen[1].orderly()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut polls = Vec::new();
    for (dialect, seen) in [Dialect::Native, Dialect::Remoting].into_iter().zip(&seen[2..]) {
        let consumer = PullConsumer::start(pull_config(&world, dialect)).expect("valid");
        consumer.assign(consumer.queues("T").await.expect("a route"));
        polls.push(poll_into(consumer, seen.clone(), Arc::clone(&is_over)));
    }
    let send = async |range: std::ops::Range<u32>| {
        for number in range {
            producers[number as usize % 2].send(message("T", number)).await.expect("stored");
        }
    };
    send(0..10).await;
    for seen in &seen {
        all(seen, &numbers(0..10)).await;
    }
    world.end_names().await;
    // Longer than routes are believed without asking.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let started = Instant::now();
    send(10..20).await;
    for seen in &seen {
        all(seen, &numbers(10..20)).await;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    kill(broker).await;
    let broker = world.broker("broker-a", 1, Some(listen)).await;
    send(20..30).await;
    for seen in &seen {
        all(seen, &numbers(20..30)).await;
    }
    world.start_names().await;
    world.route("T", 2).await;
    send(30..40).await;
    for seen in &seen {
        all(seen, &numbers(30..40)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for poll in polls {
        poll.await.expect("no panic");
    }
    pushed.shutdown().await;
    ordered.shutdown().await;
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_panics_at_once_gets_the_message_again_and_the_others_meanwhile() {
    let world = World::new();
    let broker = world.broker_with("broker-a", 1, None, short_delays()).await;
    world.topic("T", 1).await;
    let panics_once = |seen: &Seen| {
        let (seen, has_panicked) = (seen.clone(), AtomicBool::new(false));
        move |messages: &[Message]| {
            let is_poison = messages.iter().any(|message| message.body == "1");
            assert!(!is_poison || has_panicked.swap(true, Ordering::Relaxed), "as it is meant to");
            seen.add(messages);
        }
    };
    let (concurrent, ordered) = (Seen::default(), Seen::default());
    let call = panics_once(&concurrent);
    let listener = Listener::concurrent(move |messages| {
        call(&messages);
        async { Consumed::Success }
    });
    let first = push(&world, "G", "T", listener).await;
    let call = panics_once(&ordered);
    let listener = Listener::orderly(move |messages| {
        call(&messages);
        async { ConsumedInOrder::Success }
    });
    let second = push(&world, "H", "T", listener).await;
    let producer = producer(&world);
    for number in 0..5 {
        producer.send(message("T", number)).await.expect("stored");
    }
    concurrent.wait(5).await;
    assert_eq!(sorted(concurrent.bodies()), numbers(0..5));
    ordered.wait(5).await;
    assert_eq!(ordered.bodies(), numbers(0..5));
    first.shutdown().await;
    second.shutdown().await;
    // Nothing is held back by what has panicked.
    producer.send(message("T", "late")).await.expect("stored");
    for group in ["G", "H"] {
        let late = Seen::default();
        let consumer = push(&world, group, "T", late.concurrent()).await;
        assert_eq!(late.wait(1).await[0].body, "late");
        consumer.shutdown().await;
    }
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_the_running_call_commits_it_and_leaves_the_rest_to_the_next() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 1).await;
    let producer = producer(&world);
    for number in 0..10 {
        producer.send(message("T", number)).await.expect("stored");
    }
    for is_orderly in [false, true] {
        let (begun, done, rest) = (Seen::default(), Seen::default(), Seen::default());
        let slow = |seen: (Seen, Seen)| {
            move |messages: Arc<[Message]>| {
                let (begun, done) = seen.clone();
                async move {
                    begun.add(&messages);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    done.add(&messages);
                }
            }
        };
        let call = slow((begun.clone(), done.clone()));
        let listener = if is_orderly {
            Listener::orderly(move |messages| {
                let work = call(messages);
                async {
                    work.await;
                    ConsumedInOrder::Success
                }
            })
        } else {
            Listener::concurrent(move |messages| {
                let work = call(messages);
                async {
                    work.await;
                    Consumed::Success
                }
            })
        };
        let group = format!("G{is_orderly}");
        let one_by_one = PushConsumerConfig { consume_threads: 1, ..config(&world, &group, "T") };
        let consumer = PushConsumer::start(one_by_one, listener).await.expect("started");
        begun.wait(3).await;
        consumer.shutdown().await;
        assert_eq!(begun.bodies(), done.bodies(), "what has begun has ended");
        let next = push(&world, &group, "T", rest.concurrent()).await;
        rest.wait(10 - done.all().len()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!([done.bodies(), sorted(rest.bodies())].concat(), numbers(0..10), "orderly: {is_orderly}");
        next.shutdown().await;
    }
    end(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_after_its_queue_went_to_another_member_does_not_set_the_group_back() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 2).await;
    let slow = Seen::default();
    let listener = {
        let slow = slow.clone();
        Listener::concurrent(move |messages| {
            let slow = slow.clone();
            async move {
                // The second member takes a queue over, consumes and commits meanwhile.
                tokio::time::sleep(Duration::from_secs(2)).await;
                slow.add(&messages);
                Consumed::Success
            }
        })
    };
    let commit_interval = Duration::from_millis(50);
    let quick = || PushConsumerConfig { commit_interval, ..config(&world, "G", "T") };
    let first = PushConsumer::start(quick(), listener).await.expect("started");
    let producer = producer(&world);
    for number in 0..4 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let started = Instant::now();
    while first.assignment().iter().filter(|queue| &*queue.topic == "T").count() < 2 {
        assert!(started.elapsed() < WAIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let other = Seen::default();
    let second = PushConsumer::start(quick(), other.concurrent()).await.expect("started");
    other.wait(2).await;
    for number in 4..24 {
        producer.send(message("T", number)).await.expect("stored");
    }
    other.wait(12).await;
    // The slow calls for the queue that went away have ended by now.
    slow.wait(4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mine: BTreeSet<MessageQueue> = second.assignment().into_iter().filter(|queue| &*queue.topic == "T").collect();
    second.shutdown().await;
    drop(first);
    let again = Seen::default();
    let third = push(&world, "G", "T", again.concurrent()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let repeated: Vec<Message> = again.all().into_iter().filter(|message| mine.contains(&message.queue)).collect();
    assert!(repeated.is_empty(), "{:?}", world::bodies(&repeated));
    third.shutdown().await;
    end(broker).await;
}

/// Who consumes which queue at this moment, and the most that ever did.
#[derive(Clone, Default)]
struct Readers(Arc<Mutex<BTreeMap<MessageQueue, (u32, u32)>>>);

impl Readers {
    fn enter(&self, queue: &MessageQueue) {
        let mut readers = self.0.lock().expect("not poisoned");
        let (now, most) = readers.entry(queue.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
    }

    fn leave(&self, queue: &MessageQueue) {
        self.0.lock().expect("not poisoned").get_mut(queue).expect("entered").0 -= 1;
    }

    fn listener(&self, seen: &Seen) -> Listener {
        let (readers, seen) = (self.clone(), seen.clone());
        Listener::orderly(move |messages| {
            let (readers, seen) = (readers.clone(), seen.clone());
            async move {
                readers.enter(&messages[0].queue);
                tokio::time::sleep(Duration::from_millis(150)).await;
                seen.add(&messages);
                readers.leave(&messages[0].queue);
                ConsumedInOrder::Success
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_order_no_queue_has_two_calls_at_once_while_members_come_and_go_and_the_group_is_reset() {
    let world = World::new();
    let broker = world.broker("broker-a", 1, None).await;
    world.topic("T", 2).await;
    let producer = producer(&world);
    for number in 0..20 {
        producer.send(message("T", number)).await.expect("stored");
    }
    let (readers, seen) = (Readers::default(), Seen::default());
    let first = push(&world, "G", "T", readers.listener(&seen)).await;
    seen.wait(2).await;
    let admin = Admin::start(&world.address()).expect("valid");
    for _ in 0..3 {
        // Each time in the middle of a call.
        admin.reset_offsets("G", "T", Some(0), true).await.expect("moved");
        let second = push(&world, "G", "T", readers.listener(&seen)).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        second.shutdown().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Leaving and joining a topic gives a queue back and takes it again at once.
    for _ in 0..3 {
        first.unsubscribe("T");
        first.subscribe("T", ringmq_client::Filter::All).await.expect("a route");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    all(&seen, &numbers(0..20)).await;
    let most: Vec<u32> = readers.0.lock().expect("not poisoned").values().map(|(_, most)| *most).collect();
    assert_eq!(most, [1, 1]);
    first.shutdown().await;
    end(broker).await;
}
