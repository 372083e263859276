//! Transactions, recalls and questions to producers, as frames (37, 39, 370, 323).

use super::remoting::{answer, answers, oneway, request, send, send_half};
use super::world::World;
use crate::shard::Settings;
use crate::shard::io::{ConnectionId, Input};
use crate::shard::settings::Features;
use ringmq_proto::code::Code;
use ringmq_proto::message::stored::iter_stored;
use ringmq_proto::remoting::heartbeat::{HeartbeatData, ProducerData};
use ringmq_proto::remoting::request_code as code;

/// A producer of the group `p`, and its broker, which asks after 100 ms, and twice.
fn world() -> (World, ConnectionId) {
    let features = Features {
        transaction_timeout_ms: 100,
        transaction_check_interval_ms: 100,
        transaction_check_max: 2,
        ..Features::default()
    };
    let mut world = World::new(Settings { features, ..Settings::default() });
    let producer = world.open_connection();
    let data = HeartbeatData {
        client_id: "producer".into(),
        producer_data_set: vec![ProducerData { group_name: "p".into() }],
        ..HeartbeatData::default()
    };
    world.give(producer, &request(code::HEART_BEAT, 1, &[], &data.encode()));
    world.give(producer, &send(2, "t", "", b"made"));
    world.settle();
    answers(&mut world, producer);
    (world, producer)
}

fn pass_ms(world: &mut World, count: u64) {
    for _ in 0..count {
        world.now.boot_ns += 1_000_000;
        world.now.wall_ms += 1;
        world.input(Input::Tick);
        world.settle();
    }
}

/// Sends a half; gives its offset and its position, as END_TRANSACTION names them.
fn half(world: &mut World, producer: ConnectionId, body: &[u8]) -> (String, String) {
    world.give(producer, &send_half(3, "t", "UNIQ_KEY\u{1}U1\u{2}PGROUP\u{1}p", body));
    world.settle();
    let sent = answer(world, producer);
    assert_eq!(sent.code(), Code::SUCCESS);
    let position = u64::from_str_radix(&sent.ext("msgId")[16..], 16).expect("hex").to_string();
    (sent.ext("queueOffset").to_owned(), position)
}

fn end(world: &mut World, producer: ConnectionId, (offset, position): &(String, String), verdict: &str) {
    let ext = [
        ("producerGroup", "p"),
        ("tranStateTableOffset", offset),
        ("commitLogOffset", position),
        ("commitOrRollback", verdict),
        ("fromTransactionCheck", "false"),
        ("msgId", "U1"),
    ];
    world.give(producer, &oneway(code::END_TRANSACTION, 4, &ext));
    world.settle();
}

fn stored_count(world: &World, topic: &str) -> u64 {
    let Some(topic) = world.shard.store().state().topic(topic) else { return 0 };
    let visible = |id| world.shard.store().queue(id).map_or(0, |queue| queue.visible_offset.get());
    topic.queues.iter().copied().map(visible).sum()
}

#[test]
fn committed_half_is_delivered_and_one_that_is_rolled_back_is_not() {
    let (mut world, producer) = world();
    let (yes, no) = (half(&mut world, producer, b"yes"), half(&mut world, producer, b"no"));
    assert_eq!(stored_count(&world, "t"), 1, "neither is there yet");
    end(&mut world, producer, &yes, "8");
    end(&mut world, producer, &no, "12");
    end(&mut world, producer, &yes, "8");
    assert!(answers(&mut world, producer).is_empty(), "one-way");
    assert_eq!((stored_count(&world, "t"), world.shard.store().pending_counts().total()), (2, 0));
}

#[test]
fn producer_is_asked_about_its_half_and_one_that_was_given_up_is_asked_about_again_on_request() {
    let (mut world, producer) = world();
    let (offset, position) = half(&mut world, producer, b"?");
    pass_ms(&mut world, 110);
    let asked = answer(&mut world, producer);
    assert_eq!((asked.header.code, asked.header.is_oneway()), (code::CHECK_TRANSACTION_STATE, true));
    assert_eq!((asked.ext("tranStateTableOffset"), asked.ext("commitLogOffset")), (offset.as_str(), position.as_str()));
    assert_eq!((asked.ext("transactionId"), asked.ext("topic")), ("U1", "t"));
    let message = iter_stored(&asked.body).next().expect("a message").expect("whole").parts;
    assert_eq!((message.topic, message.body), (&b"t"[..], &b"?"[..]));
    pass_ms(&mut world, 400);
    assert_eq!(answers(&mut world, producer).len(), 1, "once more");
    assert_eq!((stored_count(&world, "TRANS_CHECK_MAX_TIME_TOPIC"), stored_count(&world, "t")), (1, 1));

    let ext = [("topic", "TRANS_CHECK_MAX_TIME_TOPIC"), ("queueId", "0"), ("index", "0"), ("count", "1")];
    world.give(producer, &request(code::QUERY_CONSUME_QUEUE, 5, &ext, b""));
    let entries = answer(&mut world, producer);
    let data = ringmq_proto::remoting::admin::progress::ConsumeQueueData::decode(&entries.body).expect("entries");
    let resume = |position: i64| {
        let id = format!("7F00000100002A9F{position:016X}");
        request(code::RESUME_CHECK_HALF_MESSAGE, 6, &[("msgId", &id)], b"")
    };
    world.give(producer, &resume(data.queue_data[0].physic_offset));
    world.settle();
    let heard = answers(&mut world, producer);
    assert_eq!(heard[0].code(), Code::SUCCESS);
    let again = &heard[1];
    let half = (again.ext("tranStateTableOffset").to_owned(), again.ext("commitLogOffset").to_owned());
    assert_ne!(half.1, position, "it is a half of its own");
    world.give(producer, &resume(half.1.parse().expect("a position")));
    assert_eq!(answer(&mut world, producer).code(), Code::SUCCESS, "it is asked about already");
    end(&mut world, producer, &half, "8");
    assert_eq!(stored_count(&world, "t"), 2);
    world.give(producer, &resume(1));
    world.settle();
    assert_eq!(answer(&mut world, producer).code(), Code::SYSTEM_ERROR);
}

#[test]
fn timed_message_is_recalled_by_the_handle_that_its_send_was_answered() {
    let (mut world, producer) = world();
    let due_ms = world.now.wall_ms + 60_000;
    let properties = format!("UNIQ_KEY\u{1}U2\u{2}TIMER_DELIVER_MS\u{1}{due_ms}");
    world.give(producer, &send(5, "t", &properties, b"timed"));
    world.settle();
    let handle = answer(&mut world, producer).ext("recallHandle").to_owned();
    let mut recall = |topic: &str| {
        let ext = [("producerGroup", "p"), ("topic", topic), ("recallHandle", handle.as_str())];
        world.give(producer, &request(code::RECALL_MESSAGE, 6, &ext, b""));
        world.settle();
        let answer = answer(&mut world, producer);
        (answer.code(), answer.ext("msgId").to_owned())
    };
    assert_eq!(recall("u").0, Code::ILLEGAL_OPERATION);
    assert_eq!(recall("t"), (Code::SUCCESS, "U2".to_owned()));
    assert_eq!(recall("t").0, Code::ILLEGAL_OPERATION, "once");
    assert_eq!(world.shard.store().pending_counts().total(), 0);
}
