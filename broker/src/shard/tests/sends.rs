//! Sends and their acknowledgements.

use super::world::{World, item, pull, send, send_one};
use crate::shard::Settings;
use crate::shard::io::Input;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::{Batch, StoredMessage};
use ringmq_proto::native::{DeleteTopic, FrameFlags, Kind, SendItem};
use ringmq_proto::record::{RecordKind, records};

#[test]
fn reply_leaves_when_the_commit_is_durable_and_not_before() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    world.give(client, &send_one(1, handle, b"0123456789"));
    assert!(world.turn_wanted, "the message waits for a commit");
    assert!(world.replies(client).is_empty());
    world.turn();
    assert!(!world.pending.is_empty(), "the commit is on its way");
    assert!(world.replies(client).is_empty(), "issued is not durable");
    world.settle();
    let reply = world.reply(client);
    assert_eq!((reply.id(), reply.code()), (1, Code::SUCCESS));
    let [result] = reply.results()[..] else { panic!("one record: {reply:?}") };
    assert_eq!((result.handle, result.count, result.queue_offset), (handle, 1, QueueOffset::ZERO));
}

#[test]
fn replies_of_a_connection_leave_in_the_order_of_its_sends() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    for id in 0..100 {
        world.give(client, &send_one(id, handle, b"x"));
        if id % 7 == 0 {
            world.turn();
        }
        if id % 11 == 0 {
            world.complete_one();
        }
    }
    world.settle();
    let replies = world.replies(client);
    assert_eq!(replies.iter().map(|reply| reply.id()).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    let offsets: Vec<_> = replies.iter().map(|reply| reply.results()[0].queue_offset.get()).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>(), "offsets are dense");
}

#[test]
fn run_of_one_queue_becomes_one_batch_record_and_a_single_message_stays_one() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let (first, second) = (world.open_queue(client, "a", 0).handle, world.open_queue(client, "b", 0).handle);
    let items = [item(first, b"1"), item(first, b"22"), item(first, b"333"), item(second, b"4"), item(first, b"5")];
    world.give(client, &send(1, FrameFlags::NONE, &items));
    world.settle();
    let results = world.reply(client).results();
    let shape: Vec<_> = results.iter().map(|result| (result.handle, result.count, result.queue_offset.get())).collect();
    assert_eq!(shape, [(first, 3, 0), (second, 1, 0), (first, 1, 3)]);

    world.give(client, &pull(2, first, 0, 0));
    let (bytes, count, next) = world.reply(client).pulled();
    assert_eq!((count, next), (2, QueueOffset::new(4)));
    let found: Vec<_> = records(&bytes).map(|record| record.expect("a record")).collect();
    assert_eq!([found[0].header.kind, found[1].header.kind], [RecordKind::BATCH, RecordKind::MESSAGE]);
    let batch = Batch::decode(found[0].payload).expect("a batch");
    assert_eq!(batch.entries().map(|entry| entry.body).collect::<Vec<_>>(), [&b"1"[..], b"22", b"333"]);
    let single = StoredMessage::decode(found[1].payload).expect("a message").parts;
    assert_eq!((single.body, single.topic, single.queue_offset), (&b"5"[..], &b"a"[..], QueueOffset::new(3)));
}

#[test]
fn messages_with_other_shared_fields_are_not_put_into_one_batch() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    let base = item(handle, b"x");
    let items = [
        base,
        SendItem { flag: 1, ..base },
        SendItem { sys_flag: 1, ..base },
        SendItem { born_time_ms: 5, ..base },
        SendItem { born_time_ms: 5, properties: b"TAGS\x01TagA", ..base },
    ];
    world.give(client, &send(1, FrameFlags::NONE, &items));
    world.settle();
    let counts: Vec<_> = world.reply(client).results().iter().map(|result| result.count).collect();
    assert_eq!(counts, [1, 1, 1, 2]);
}

#[test]
fn large_batch_is_spread_over_records_and_acknowledged_with_the_last() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    let body = vec![7; 100_000];
    let items = vec![item(handle, &body); 12];
    world.give(client, &send(1, FrameFlags::NONE, &items));
    world.settle();
    let results = world.reply(client).results();
    assert!(results.len() > 3, "{results:?}");
    assert_eq!(results.iter().map(|result| result.count).sum::<u32>(), 12);
    assert_eq!(results.last().map(|result| result.queue_offset.get() + u64::from(result.count)), Some(12));
}

#[test]
fn refused_send_leaves_nothing_behind() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    let delayed = SendItem { properties: b"DELAY\x013", ..item(handle, b"later") };
    let half = SendItem { properties: b"TRAN_MSG\x01true", ..item(handle, b"half") };
    for (id, items, code) in [
        (1, vec![item(handle, b"good"), item(99, b"bad")], Code::INVALID_PARAMETER),
        (2, vec![item(99, b"bad")], Code::INVALID_PARAMETER),
        (3, vec![item(handle, b"good"), delayed], Code::MESSAGE_ILLEGAL),
        (4, vec![half], Code::MESSAGE_ILLEGAL),
    ] {
        world.give(client, &send(id, FrameFlags::NONE, &items));
        world.settle();
        let reply = world.reply(client);
        assert_eq!((reply.id(), reply.code()), (id, code));
    }
    world.give(client, &pull(5, handle, 0, 0));
    assert_eq!(world.reply(client).code(), Code::PULL_NOT_FOUND, "nothing was appended");
    assert_eq!(world.shard.metrics().rejections.values().sum::<u64>(), 4);
}

#[test]
fn oneway_send_is_stored_and_never_answered() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    world.give(client, &send(1, FrameFlags::ONEWAY, &[item(handle, b"x")]));
    world.give(client, &send(2, FrameFlags::ONEWAY, &[item(99, b"x")]));
    world.give(client, &send(3, FrameFlags::ONEWAY, &[item(handle, b"y"), item(handle, b"z")]));
    world.settle();
    assert!(world.replies(client).is_empty());
    world.give(client, &pull(4, handle, 0, 0));
    assert_eq!(world.reply(client).pulled().2, QueueOffset::new(3));
}

#[test]
fn deleted_topics_handle_answers_17_also_when_the_topic_is_made_anew() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let old = world.open_queue(client, "a", 0).handle;
    world.give(client, &super::world::request(Kind::DELETE_TOPIC, 1, &DeleteTopic { topic: "a" }));
    world.settle();
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    world.give(client, &send_one(2, old, b"x"));
    assert_eq!(world.reply(client).code(), Code::TOPIC_NOT_EXIST);
    let new = world.open_queue(client, "a", 0).handle;
    assert_ne!(new, old);
    for (id, request) in [(3, send_one(3, old, b"x")), (4, pull(4, old, 0, 1000))] {
        world.give(client, &request);
        let reply = world.reply(client);
        assert_eq!((reply.id(), reply.code()), (id, Code::TOPIC_NOT_EXIST));
    }
    world.give(client, &send_one(5, new, b"x"));
    world.settle();
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
}

#[test]
fn failed_disk_acknowledges_nothing_and_ends_the_shard() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    world.give(client, &send_one(1, handle, b"x"));
    world.turn();
    world.disk.broken = true;
    world.settle();
    assert!(world.fatal.is_some());
    world.give(client, &send_one(2, handle, b"y"));
    world.input(Input::Tick);
    world.turn();
    assert!(world.bytes(client).is_empty(), "no reply after a failed write");
}

#[test]
fn acknowledgement_that_waits_too_long_leaves_with_code_10() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    world.give(client, &send_one(1, handle, b"x"));
    world.turn();
    world.pass(4_900_000_000);
    assert!(world.replies(client).is_empty());
    world.pass(200_000_000);
    let reply = world.reply(client);
    assert_eq!((reply.id(), reply.code()), (1, Code::FLUSH_DISK_TIMEOUT));
    assert_eq!(reply.results().len(), 1, "stored: it has an offset");
    world.settle();
    assert!(world.replies(client).is_empty(), "answered once");
    assert_eq!(world.shard.metrics().degraded, 1);
}

#[test]
fn sender_that_is_ahead_of_the_disk_is_paused_until_the_disk_has_caught_up() {
    let mut settings = Settings::default();
    settings.limits.in_flight_bytes_max = 10_000;
    let mut world = World::new(settings);
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    for id in 0..9 {
        world.give(client, &send_one(id, handle, &[1; 1000]));
    }
    assert!(world.paused.is_empty());
    world.give(client, &send_one(9, handle, &[1; 1000]));
    assert!(world.paused.contains(&client));
    world.settle();
    assert!(world.paused.is_empty());
    assert_eq!(world.replies(client).len(), 10);
    assert_eq!(world.shard.metrics().in_flight_bytes, 0);
}

#[test]
fn latency_of_acknowledgements_is_counted_per_reply() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    let before = world.shard.metrics().acknowledge_ns.len();
    let bytes: Vec<u8> = (0..5).flat_map(|id| send_one(id, handle, b"x")).collect();
    world.give(client, &bytes);
    world.turn();
    world.now.boot_ns += 3_000_000;
    world.settle();
    let histogram = world.shard.metrics().acknowledge_ns;
    assert_eq!(histogram.len() - before, 5);
    assert!((2_990_000..=3_010_000).contains(&histogram.max()), "{}", histogram.max());
}
