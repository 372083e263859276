//! A clean stop, and what is there after it.

use super::world::{World, pull, send_one};
use crate::shard::Settings;
use crate::shard::io::{CloseReason, Input};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;

#[test]
fn clean_stop_acknowledges_what_was_appended_and_then_closes() {
    let mut world = World::new(Settings::default());
    let (client, consumer) = (world.connect(), world.connect());
    let handle = world.open_queue(client, "a", 0).handle;
    let theirs = world.open_queue(consumer, "a", 1).handle;
    world.give(consumer, &pull(1, theirs, 0, 20_000));
    world.give(client, &send_one(2, handle, b"x"));
    world.input(Input::Stop);
    assert_eq!(world.reply(consumer).code(), Code::PULL_NOT_FOUND, "held pulls are let go");
    assert!(world.paused.contains(&client) && world.closed.is_empty());
    world.give(client, &send_one(3, handle, b"late"));
    assert_eq!(world.reply(client).code(), Code::SERVICE_NOT_AVAILABLE);
    world.settle();
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    assert!(world.stopped);
    assert_eq!(world.closed.values().collect::<Vec<_>>(), [&CloseReason::Stopping; 2]);
}

#[test]
fn acknowledged_messages_are_there_after_the_next_start() {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    for id in 0..20 {
        world.give(client, &send_one(id, handle, b"x"));
    }
    world.settle();
    assert_eq!(world.replies(client).len(), 20);
    world.input(Input::Stop);
    world.settle();
    let mut world = World::open(world.disk, Settings::default());
    let client = world.connect();
    let opened = world.open_queue(client, "a", 0);
    assert_eq!(opened.max_offset, QueueOffset::new(20));
    world.give(client, &pull(1, opened.handle, 0, 0));
    world.settle();
    assert_eq!(world.reply(client).pulled().2, QueueOffset::new(20));
}
