//! Consume offsets and the questions about a queue.

use super::world::{World, request, send_one};
use crate::shard::Settings;
use crate::shard::io::ConnectionId;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::StoredMessage;
use ringmq_proto::native::{
    CommitOffset, FrameFlags, Kind, OffsetResult, QueryOffset, QueueState, QueueStateResult, SearchOffset, ViewMessage,
    encode_request,
};

fn world_with_queue() -> (World, ConnectionId, u32) {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    (world, client, handle)
}

fn commit(id: u32, handle: u32, flags: FrameFlags, offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let commit = CommitOffset { handle, group: "g", offset: QueueOffset::new(offset) };
    encode_request(&mut bytes, Kind::COMMIT_OFFSET, id, flags, &commit);
    bytes
}

fn query(id: u32, handle: u32) -> Vec<u8> {
    request(Kind::QUERY_OFFSET, id, &QueryOffset { handle, group: "g" })
}

fn offset_of(world: &mut World, client: ConnectionId) -> u64 {
    world.reply(client).table::<OffsetResult>().offset.get()
}

#[test]
fn committed_offset_is_acknowledged_when_durable_and_then_found() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &query(1, handle));
    assert_eq!(world.reply(client).code(), Code::QUERY_NOT_FOUND);
    world.give(client, &commit(2, handle, FrameFlags::NONE, 7));
    world.turn();
    assert!(world.replies(client).is_empty());
    world.settle();
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    world.give(client, &query(3, handle));
    assert_eq!(offset_of(&mut world, client), 7);
}

#[test]
fn oneway_commits_are_written_together_within_a_second() {
    let (mut world, client, handle) = world_with_queue();
    let before = world.shard.store().metrics().commits;
    for offset in 1..=100 {
        world.give(client, &commit(1, handle, FrameFlags::ONEWAY, offset));
    }
    world.settle();
    assert_eq!(world.shard.store().metrics().commits, before, "nothing was written yet");
    world.pass(1_100_000_000);
    world.settle();
    assert!(world.replies(client).is_empty());
    world.give(client, &query(2, handle));
    assert_eq!(offset_of(&mut world, client), 100);
}

#[test]
fn asking_for_a_gathered_offset_makes_it_durable_first() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &commit(1, handle, FrameFlags::ONEWAY, 5));
    world.give(client, &query(2, handle));
    world.turn();
    assert!(world.replies(client).is_empty());
    world.settle();
    assert_eq!(offset_of(&mut world, client), 5);
}

#[test]
fn gathered_commit_never_takes_back_an_acknowledged_one() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &commit(1, handle, FrameFlags::ONEWAY, 5));
    world.give(client, &commit(2, handle, FrameFlags::NONE, 9));
    world.settle();
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    world.pass(1_100_000_000);
    world.settle();
    world.give(client, &query(3, handle));
    assert_eq!(offset_of(&mut world, client), 9);
}

#[test]
fn malformed_commits_are_refused() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &commit(1, handle, FrameFlags::NONE, u64::MAX));
    assert_eq!(world.reply(client).code(), Code::INVALID_PARAMETER);
    let nameless = CommitOffset { handle, group: "", offset: QueueOffset::ZERO };
    world.give(client, &request(Kind::COMMIT_OFFSET, 2, &nameless));
    assert_eq!(world.reply(client).code(), Code::INVALID_PARAMETER);
}

#[test]
fn state_search_and_view_tell_of_confirmed_messages_only() {
    let (mut world, client, handle) = world_with_queue();
    let mut positions = Vec::new();
    for id in 0..3 {
        world.now.wall_ms += 1000;
        world.give(client, &send_one(id, handle, format!("body-{id}").as_bytes()));
        world.settle();
        positions.push(world.reply(client).results()[0].position);
    }
    let times = [1, 2, 3].map(|second| 1_700_000_000_000 + second * 1000);
    world.give(client, &request(Kind::QUEUE_STATE, 10, &QueueState { handle }));
    let state: QueueStateResult = world.reply(client).table();
    assert_eq!((state.min_offset.get(), state.max_offset.get(), state.earliest_store_time_ms), (0, 3, times[0]));
    for (time, upper, offset) in
        [(times[1], false, 1), (times[1] + 1, false, 2), (times[1] + 1, true, 1), (0, false, 0)]
    {
        let search = SearchOffset { handle, store_time_ms: time, upper };
        world.give(client, &request(Kind::SEARCH_OFFSET, 11, &search));
        assert_eq!(offset_of(&mut world, client), offset, "{search:?}");
    }
    world.give(client, &request(Kind::VIEW_MESSAGE, 12, &ViewMessage { position: positions[1] }));
    let reply = world.reply(client);
    assert_eq!(StoredMessage::decode(&reply.body).expect("a message").parts.body, b"body-1");

    world.give(client, &send_one(20, handle, b"unconfirmed"));
    let unconfirmed = world.shard.store().positions().visible();
    world.give(client, &request(Kind::QUEUE_STATE, 21, &QueueState { handle }));
    assert_eq!(world.reply(client).table::<QueueStateResult>().max_offset.get(), 3);
    world.give(client, &request(Kind::VIEW_MESSAGE, 22, &ViewMessage { position: unconfirmed.plus(80) }));
    assert_eq!(world.reply(client).code(), Code::QUERY_NOT_FOUND);
}

#[test]
fn cold_message_is_viewed_when_the_disk_has_given_it() {
    let (mut world, client, handle) = world_with_queue();
    world.give(client, &send_one(0, handle, b"the first"));
    world.settle();
    let position = world.reply(client).results()[0].position;
    for id in 1..50 {
        world.give(client, &send_one(id, handle, &[1; 100_000]));
        world.settle();
    }
    world.replies(client);
    world.give(client, &request(Kind::VIEW_MESSAGE, 100, &ViewMessage { position }));
    assert!(world.replies(client).is_empty(), "not in memory");
    world.settle();
    let reply = world.reply(client);
    assert_eq!(StoredMessage::decode(&reply.body).expect("a message").parts.body, b"the first");
}
