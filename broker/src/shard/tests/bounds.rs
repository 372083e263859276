//! Bounds: when one is reached, one client hears of it and the others do not notice.

use super::world::{World, open, pull, request, send_one};
use crate::shard::Settings;
use crate::shard::io::CloseReason;
use ringmq_proto::code::Code;
use ringmq_proto::native::{Kind, ListTopics};

#[test]
fn connection_count_is_bounded() {
    let mut settings = Settings::default();
    settings.limits.connection_count_max = 2;
    let mut world = World::new(settings);
    let clients = [world.connect(), world.connect(), world.open_connection()];
    assert_eq!(world.closed.get(&clients[2]), Some(&CloseReason::TooMany));
    assert_eq!(world.shard.metrics().connections, 2);
}

#[test]
fn handle_count_is_bounded_and_opening_again_gives_the_same_handle() {
    let mut settings = Settings::default();
    settings.limits.handle_count_max = 2;
    let mut world = World::new(settings);
    let client = world.connect();
    let handles = [0, 1, 0, 1].map(|number| world.open_queue(client, "a", number).handle);
    assert_eq!(handles, [0, 1, 0, 1]);
    world.give(client, &open(1, "a", 2, false));
    assert_eq!(world.reply(client).code(), Code::SYSTEM_BUSY);
}

#[test]
fn waiting_request_count_is_bounded_per_connection_and_over_all() {
    let mut settings = Settings::default();
    settings.limits.connection_waiting_count_max = 2;
    settings.limits.waiting_count_max = 3;
    let mut world = World::new(settings);
    let clients = [world.connect(), world.connect()];
    for client in clients {
        world.open_queue(client, "a", 0);
    }
    for (client, answered) in [(clients[0], 1), (clients[1], 2)] {
        for id in 0..3 {
            world.give(client, &pull(id, 0, 0, 20_000));
        }
        let replies = world.replies(client);
        assert_eq!(replies.len(), answered);
        assert!(replies.iter().all(|reply| reply.code() == Code::SYSTEM_BUSY));
    }
    world.give(clients[0], &send_one(9, 0, b"x"));
    world.settle();
    assert_eq!(world.replies(clients[0]).len(), 3);
    assert_eq!(world.replies(clients[1]).len(), 1);
}

#[test]
fn client_that_asks_for_much_and_reads_nothing_is_closed() {
    let mut settings = Settings::default();
    settings.limits.output_bytes_soft_max = 10_000;
    settings.limits.output_bytes_hard_max = 50_000;
    let mut world = World::new(settings);
    let client = world.connect();
    for number in 0..50 {
        world.open_queue(client, &format!("a-topic-with-a-long-name-{number:060}"), 0);
    }
    world.deaf.insert(client);
    let mut bytes = Vec::new();
    for id in 0..20 {
        bytes.extend(request(Kind::LIST_TOPICS, id, &ListTopics { after: "", topics_max: 1000 }));
    }
    world.give(client, &bytes);
    assert_eq!(world.closed.get(&client), Some(&CloseReason::OutputFull));
}

#[test]
fn silent_connection_costs_less_than_a_kibibyte() {
    use crate::shard::connection::Connection;
    use crate::shard::timers::TIMER_SIZE_BYTES;
    let fixed_bytes = size_of::<Connection>() + size_of::<usize>() + TIMER_SIZE_BYTES;
    let mut world = World::new(Settings::default());
    let clients: Vec<_> = (0..100).map(|_| world.connect()).collect();
    for client in &clients {
        world.give(*client, &open(1, "a", 0, true));
        world.settle();
        world.give(*client, &pull(2, 0, 0, 20_000));
        world.give(*client, &send_one(3, 0, &[1; 10_000]));
    }
    world.settle();
    for client in clients {
        assert_eq!(world.replies(client).len(), 3);
        let bytes = fixed_bytes + world.shard.buffer_bytes(client);
        assert!(bytes < 1024, "{bytes} bytes stay with a connection that has nothing to say");
    }
}
