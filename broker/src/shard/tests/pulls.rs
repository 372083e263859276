//! Pulls: at once, held, parked, in place.

use super::world::{World, item, pull, send, send_one};
use crate::shard::Settings;
use crate::shard::io::Input;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::native::{DeleteTopic, FrameFlags, Kind, PullResult};
use ringmq_proto::record::records;

const MS: u64 = 1_000_000;

fn world_with_queue() -> (World, crate::shard::io::ConnectionId, u32) {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    (world, client, handle)
}

#[test]
fn held_pull_is_answered_when_the_message_is_confirmed_and_not_before() {
    let (mut world, consumer, handle) = world_with_queue();
    let producer = world.connect();
    let producers = world.open_queue(producer, "orders", 0).handle;
    world.give(consumer, &pull(1, handle, 0, 20_000));
    assert!(world.replies(consumer).is_empty());
    assert_eq!(world.shard.metrics().waiting, 1);
    world.give(producer, &send_one(2, producers, b"hello"));
    world.turn();
    assert!(world.replies(consumer).is_empty(), "appended is not visible");
    world.settle();
    let reply = world.reply(consumer);
    assert_eq!((reply.id(), reply.code()), (1, Code::SUCCESS));
    let (bytes, count, next) = reply.pulled();
    assert_eq!((count, next), (1, QueueOffset::new(1)));
    assert!(bytes.windows(5).any(|window| window == b"hello"));
    assert_eq!(world.shard.metrics().waiting, 0);
}

#[test]
fn held_pull_is_answered_19_at_its_deadline() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &pull(1, handle, 0, 500));
    world.pass(495 * MS);
    assert!(world.replies(client).is_empty());
    world.pass(30 * MS);
    let reply = world.reply(client);
    assert_eq!((reply.id(), reply.code()), (1, Code::PULL_NOT_FOUND));
    assert_eq!(world.shard.metrics().waiting, 0);
    world.give(client, &send_one(2, handle, b"x"));
    world.settle();
    assert_eq!(world.reply(client).id(), 2, "the pull is not answered again");
}

#[test]
fn several_pulls_of_one_connection_are_held_and_each_woken_by_its_own_queue() {
    let (mut world, client, first) = world_with_queue();
    let second = world.open_queue(client, "orders", 1).handle;
    world.give(client, &pull(1, first, 0, 20_000));
    world.give(client, &pull(2, second, 0, 20_000));
    world.give(client, &pull(3, second, 0, 20_000));
    world.give(client, &send_one(4, second, b"x"));
    world.settle();
    let mut ids: Vec<_> = world.replies(client).iter().map(|reply| reply.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3, 4]);
    world.give(client, &send_one(5, first, b"x"));
    world.settle();
    let mut ids: Vec<_> = world.replies(client).iter().map(|reply| reply.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 5]);
}

#[test]
fn pull_that_wants_a_later_message_stays_held_and_is_woken_again() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &send_one(1, handle, b"a"));
    world.settle();
    world.give(client, &pull(2, handle, 1, 20_000));
    world.give(client, &pull(3, handle, 1, 20_000));
    assert_eq!(world.replies(client).len(), 1);
    world.give(client, &send_one(4, handle, b"b"));
    world.settle();
    let mut ids: Vec<_> = world.replies(client).iter().map(|reply| reply.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3, 4]);
}

#[test]
fn pull_outside_of_the_queue_is_told_where_to_go_on() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &send_one(1, handle, b"a"));
    world.settle();
    world.replies(client);
    world.give(client, &pull(2, handle, 77, 20_000));
    let reply = world.reply(client);
    assert_eq!((reply.code(), reply.pulled().2), (Code::PULL_OFFSET_MOVED, QueueOffset::new(1)));
}

#[test]
fn limits_of_a_pull_hold() {
    let (mut world, client, handle) = world_with_queue();
    for id in 0..10 {
        world.give(client, &send_one(id, handle, &[9; 500]));
    }
    world.settle();
    world.replies(client);
    let ask = |messages_max, bytes_max| {
        let offset = QueueOffset::new(2);
        let mut bytes = Vec::new();
        let request = ringmq_proto::native::PullRequest { handle, offset, messages_max, bytes_max, wait_ms: 0 };
        ringmq_proto::native::encode_pull(&mut bytes, 1, &request);
        bytes
    };
    for (messages_max, bytes_max, count) in [(3, 1 << 20, 3), (0, 0, 1), (100, 1400, 2), (100, 1 << 20, 8)] {
        world.give(client, &ask(messages_max, bytes_max));
        let (bytes, found, next) = world.reply(client).pulled();
        assert_eq!((found, next), (count, QueueOffset::new(2 + u64::from(count))));
        assert_eq!(records(&bytes).count(), count as usize);
    }
}

#[test]
fn old_messages_are_read_from_disk_and_the_pull_waits_for_it() {
    let (mut world, client, handle) = world_with_queue();
    for id in 0..60 {
        world.give(client, &send_one(id, handle, &[u8::try_from(id).expect("small"); 100_000]));
        world.settle();
    }
    assert_eq!(world.replies(client).len(), 60);
    world.give(client, &pull(100, handle, 0, 0));
    assert!(world.replies(client).is_empty(), "not in memory");
    world.settle();
    let reply = world.reply(client);
    assert_eq!((reply.id(), reply.code()), (100, Code::SUCCESS));
    let (bytes, count, _) = reply.pulled();
    assert!(count >= 1 && bytes.len() > 100_000);
    assert!(records(&bytes).all(|record| record.is_ok()));
}

#[test]
fn messages_that_lie_scattered_on_disk_come_in_one_answer() {
    let (mut world, client, handle) = world_with_queue();
    let other = world.open_queue(client, "orders", 1).handle;
    for id in 0..20 {
        world.give(client, &send_one(id, handle, b"a needle"));
        for _ in 0..3 {
            world.give(client, &send_one(100, other, &[7; 100_000]));
        }
        world.settle();
    }
    assert_eq!(world.replies(client).len(), 80);
    world.give(client, &pull(200, handle, 0, 0));
    assert!(world.replies(client).is_empty(), "not in memory");
    world.settle();
    let (bytes, count, next) = world.reply(client).pulled();
    assert_eq!((count, next), (20, QueueOffset::new(20)));
    assert!(records(&bytes).all(|record| record.is_ok()));
}

#[test]
fn pull_of_a_closed_connection_is_forgotten() {
    let (mut world, client, handle) = world_with_queue();
    let consumer = world.connect();
    let theirs = world.open_queue(consumer, "orders", 0).handle;
    world.give(consumer, &pull(1, theirs, 0, 20_000));
    world.input(Input::Closed { connection: consumer });
    assert_eq!(world.shard.metrics().waiting, 0);
    world.give(client, &send_one(2, handle, b"x"));
    world.settle();
    assert_eq!(world.reply(client).id(), 2);
    assert!(world.bytes(consumer).is_empty());
}

#[test]
fn held_pull_of_a_deleted_topic_answers_17() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &pull(1, handle, 0, 20_000));
    world.give(client, &super::world::request(Kind::DELETE_TOPIC, 2, &DeleteTopic { topic: "orders" }));
    world.settle();
    let codes: Vec<_> = world.replies(client).iter().map(|reply| (reply.id(), reply.code())).collect();
    assert_eq!(codes, [(1, Code::TOPIC_NOT_EXIST), (2, Code::SUCCESS)]);
}

#[test]
fn client_that_does_not_read_gets_no_more_pulls_until_it_does() {
    let mut settings = Settings::default();
    settings.limits.output_bytes_soft_max = 50_000;
    let mut world = World::new(settings);
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    for id in 0..10 {
        world.give(client, &send_one(id, handle, &[9; 20_000]));
    }
    world.settle();
    world.replies(client);
    world.deaf.insert(client);
    for id in 20..25 {
        world.give(client, &pull(id, handle, 0, 0));
    }
    assert!(world.paused.contains(&client), "not read from while it does not read");
    assert!(world.shard.metrics().waiting >= 3);
    world.deaf.clear();
    for _ in 0..10 {
        world.input(Input::Drained { connection: client });
    }
    let ids: Vec<_> = world.replies(client).iter().map(|reply| reply.id()).collect();
    assert_eq!(ids, (20..25).collect::<Vec<_>>());
    assert!(world.paused.is_empty());
}

#[test]
fn reply_of_a_pull_says_what_the_queue_holds() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &send(1, FrameFlags::NONE, &[item(handle, b"a"), item(handle, b"b")]));
    world.settle();
    world.replies(client);
    world.give(client, &pull(2, handle, 1, 0));
    let reply = world.reply(client);
    let frame = ringmq_proto::native::Frame { header: reply.header, body: &reply.body };
    let result = ringmq_proto::native::PullReply::decode(&frame).expect("a pull").result;
    let offset = QueueOffset::new;
    assert_eq!(result, PullResult { next_offset: offset(2), min_offset: offset(0), max_offset: offset(2) });
}
