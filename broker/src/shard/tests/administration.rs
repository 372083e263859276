//! What administrators ask, as mqadmin asks it.

use super::remoting::{answer, answers, beat, pull, request, send};
use super::world::World;
use crate::shard::Settings;
use crate::shard::io::ConnectionId;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::clients::ConsumerConnections;
use ringmq_proto::remoting::admin::groups::{GroupConfig, GroupConfigTable};
use ringmq_proto::remoting::admin::progress::{ConsumeStats, TopicStats};
use ringmq_proto::remoting::admin::topics::TopicConfigTable;
use ringmq_proto::remoting::namesrv::KvTable;
use ringmq_proto::remoting::request_code as code;

fn world() -> (World, ConnectionId) {
    let mut world = World::new(Settings::default());
    let admin = world.open_connection();
    (world, admin)
}

fn make_topic(world: &mut World, admin: ConnectionId, read: &str, write: &str) -> Code {
    let ext = [
        ("topic", "t"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", read),
        ("writeQueueNums", write),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", "+message.type=FIFO"),
    ];
    world.give(admin, &request(code::UPDATE_AND_CREATE_TOPIC, 1, &ext, b""));
    world.settle();
    answer(world, admin).code()
}

#[test]
fn topic_is_made_changed_told_and_removed() {
    let (mut world, admin) = world();
    assert_eq!(make_topic(&mut world, admin, "4", "4"), Code::SUCCESS);
    assert_eq!(make_topic(&mut world, admin, "8", "2"), Code::SUCCESS);
    assert_eq!(make_topic(&mut world, admin, "-1", "2"), Code::INVALID_PARAMETER);
    world.give(admin, &request(code::GET_ALL_TOPIC_CONFIG, 2, &[], b""));
    let table = TopicConfigTable::decode(&answer(&mut world, admin).body).expect("a table");
    let topic = &table.topic_config_table["t"];
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (8, 2, 6));
    assert_eq!(topic.attributes.get("message.type").map(String::as_str), Some("FIFO"));
    for _ in 0..2 {
        world.give(admin, &request(code::DELETE_TOPIC_IN_BROKER, 3, &[("topic", "t")], b""));
        world.settle();
        assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS, "also what is not there");
    }
    world.give(admin, &request(code::GET_TOPIC_CONFIG, 4, &[("topic", "t")], b""));
    assert_eq!(answer(&mut world, admin).code(), Code::TOPIC_NOT_EXIST);
}

#[test]
fn progress_is_told_of_every_queue() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "2", "2");
    for opaque in 0..3 {
        world.give(admin, &send(opaque, "t", "", b"x"));
    }
    world.settle();
    answers(&mut world, admin);
    world.give(admin, &request(code::GET_TOPIC_STATS_INFO, 5, &[("topic", "t")], b""));
    let stats = TopicStats::decode(&answer(&mut world, admin).body).expect("stats");
    let ends: Vec<_> = stats.offset_table.0.values().map(|queue| (queue.min_offset, queue.max_offset)).collect();
    assert_eq!(ends, [(0, 3), (0, 0)]);
    let commit = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "2")];
    world.give(admin, &request(code::UPDATE_CONSUMER_OFFSET, 6, &commit, b""));
    world.settle();
    answers(&mut world, admin);
    world.give(admin, &request(code::GET_CONSUME_STATS, 7, &[("consumerGroup", "g")], b""));
    let stats = ConsumeStats::decode(&answer(&mut world, admin).body).expect("stats");
    let first = stats.offset_table.0.values().next().expect("a queue");
    assert_eq!((first.broker_offset, first.consumer_offset), (3, 2));
    assert!(first.last_timestamp > 0);
    assert_eq!(stats.offset_table.0.len(), 2);
}

#[test]
fn reset_offset_is_what_the_next_pull_is_told() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    for opaque in 0..3 {
        world.give(admin, &send(opaque, "t", "", b"x"));
    }
    let commit = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "3")];
    world.give(admin, &request(code::UPDATE_CONSUMER_OFFSET, 6, &commit, b""));
    world.settle();
    answers(&mut world, admin);
    let reset = [("topic", "t"), ("group", "g"), ("timestamp", "0"), ("isForce", "true")];
    world.give(admin, &request(code::INVOKE_BROKER_TO_RESET_OFFSET, 7, &reset, b""));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
    world.give(admin, &request(code::UPDATE_CONSUMER_OFFSET, 8, &commit, b""));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
    let query = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "0")];
    world.give(admin, &request(code::QUERY_CONSUMER_OFFSET, 9, &query, b""));
    assert_eq!(answer(&mut world, admin).ext("offset"), "0", "a late commit does not undo the reset");
    world.give(admin, &pull(10, "t", 3, "*", 0));
    let moved = answer(&mut world, admin);
    assert_eq!((moved.code(), moved.ext("nextBeginOffset")), (Code::PULL_OFFSET_MOVED, "0"));
    world.give(admin, &pull(11, "t", 0, "*", 0));
    assert_eq!(answer(&mut world, admin).messages().len(), 3);
}

#[test]
fn groups_are_made_by_heartbeats_and_by_hand() {
    let (mut world, admin) = world();
    world.give(admin, &beat("c", "g"));
    world.settle();
    answers(&mut world, admin);
    let config = GroupConfig { group_name: "h".into(), retry_max_times: 3, ..GroupConfig::default() };
    world.give(admin, &request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, 2, &[], &config.encode()));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
    world.give(admin, &request(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, 3, &[], b""));
    let table = GroupConfigTable::decode(&answer(&mut world, admin).body).expect("a table").subscription_group_table;
    assert_eq!(table.keys().map(String::as_str).collect::<Vec<_>>(), ["g", "h"]);
    assert_eq!((table["g"].retry_max_times, table["h"].retry_max_times), (16, 3));
    world.give(admin, &request(code::GET_CONSUMER_CONNECTION_LIST, 4, &[("consumerGroup", "g")], b""));
    let connections = ConsumerConnections::decode(&answer(&mut world, admin).body).expect("connections");
    assert_eq!(connections.connection_set[0].client_addr, "127.0.0.1:5000");
    assert_eq!(connections.subscription_table.len(), 1);
    world.give(admin, &request(code::GET_CONSUMER_CONNECTION_LIST, 5, &[("consumerGroup", "h")], b""));
    assert_eq!(answer(&mut world, admin).code(), Code::CONSUMER_NOT_ONLINE);
    world.give(admin, &request(code::DELETE_SUBSCRIPTIONGROUP, 6, &[("groupName", "h")], b""));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
    world.give(admin, &request(code::GET_SUBSCRIPTIONGROUP_CONFIG, 7, &[("group", "h")], b""));
    assert_eq!(answer(&mut world, admin).code(), Code::SUBSCRIPTION_GROUP_NOT_EXIST);
}

#[test]
fn runtime_figures_have_the_names_that_tools_look_for() {
    let (mut world, admin) = world();
    world.give(admin, &request(code::GET_BROKER_RUNTIME_INFO, 1, &[], b""));
    let table = KvTable::decode(&answer(&mut world, admin).body).expect("a table").table;
    for name in ["brokerVersionDesc", "putTps", "getTransferedTps", "getTransferredTps", "msgPutTotalTodayNow"] {
        assert!(table.contains_key(name), "{name}");
    }
    world.give(admin, &request(code::GET_BROKER_CONFIG, 2, &[], b""));
    let config = answer(&mut world, admin);
    let text = String::from_utf8(config.body).expect("text");
    assert!(text.contains("brokerName=broker-a\n") && text.contains("flushDiskType=SYNC_FLUSH\n"), "{text}");
}
