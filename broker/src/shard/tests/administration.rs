//! What administrators ask, as mqadmin asks it.

use super::remoting::{answer, answers, beat, pull, request, send};
use super::world::World;
use crate::shard::Settings;
use crate::shard::io::{ConnectionId, ControlOutput};
use crate::shard::settings::Features;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::clients::ConsumerConnections;
use ringmq_proto::remoting::admin::groups::{GroupConfig, GroupConfigTable};
use ringmq_proto::remoting::admin::progress::{BrokerConsumeStats, ConsumeQueueData, ConsumeStats, TopicStats};
use ringmq_proto::remoting::admin::settings::HaRuntimeInfo;
use ringmq_proto::remoting::admin::topics::TopicConfigTable;
use ringmq_proto::remoting::client_push::ResetOffsetBody;
use ringmq_proto::remoting::namesrv::KvTable;
use ringmq_proto::remoting::request_code as code;

pub(super) fn world() -> (World, ConnectionId) {
    let mut world = World::new(Settings::default());
    let admin = world.open_connection();
    (world, admin)
}

pub(super) fn make_topic(world: &mut World, admin: ConnectionId, read: &str, write: &str) -> Code {
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

#[test]
fn settings_that_are_not_a_shards_are_told_and_cannot_be_changed() {
    let told = vec![("tls.server.mode", "enforcing".to_owned())];
    let mut world = World::new(Settings { told, ..Settings::default() });
    let admin = world.open_connection();
    assert!(config(&mut world, admin).contains("tls.server.mode=enforcing\n"));
    world.give(admin, &request(code::UPDATE_BROKER_CONFIG, 1, &[], b"tls.server.mode=disabled\n"));
    assert_eq!(answer(&mut world, admin).code(), Code::NO_PERMISSION);
    assert!(config(&mut world, admin).contains("tls.server.mode=enforcing\n"));
}

fn config(world: &mut World, admin: ConnectionId) -> String {
    world.give(admin, &request(code::GET_BROKER_CONFIG, 2, &[], b""));
    String::from_utf8(answer(world, admin).body).expect("text")
}

#[test]
fn settings_are_changed_while_the_broker_runs_if_they_can_be_and_all_or_none() {
    let (mut world, admin) = world();
    let mut update = |text: &str| {
        world.give(admin, &request(code::UPDATE_BROKER_CONFIG, 1, &[], text.as_bytes()));
        answer(&mut world, admin).code()
    };
    assert_eq!(update("transactionCheckMax=7\nfileReservedTime=48\nautoCreateTopicEnable=false\n"), Code::SUCCESS);
    for refused in ["brokerConfigPath=/tmp/x", "storePathRootDir=/x", "listenPort=1", "brokerIP1=0.0.0.0", "nonsense=1"]
    {
        assert_eq!(update(&format!("transactionCheckMax=9\n{refused}\n")), Code::NO_PERMISSION, "{refused}");
    }
    for wrong in ["transactionCheckMax=-1", "enablePropertyFilter=perhaps", "fileReservedTime=0", "messageDelayLevel=5"]
    {
        assert_eq!(update(&format!("transactionTimeOut=1\n{wrong}\n")), Code::INVALID_PARAMETER, "{wrong}");
    }
    assert_eq!(update(""), Code::SYSTEM_ERROR);
    let text = config(&mut world, admin);
    let has = |line: &str| assert!(text.lines().any(|told| told == line), "{line} in {text}");
    has("transactionCheckMax=7");
    has("fileReservedTime=48");
    has("transactionTimeOut=6000");
    world.give(admin, &send(3, "fresh", "", b"x"));
    assert_eq!(answer(&mut world, admin).code(), Code::TOPIC_NOT_EXIST, "it is in force");
}

#[test]
fn progress_of_all_groups_adds_up() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "2", "2");
    for opaque in 0..3 {
        world.give(admin, &send(opaque, "t", "", b"x"));
    }
    for (group, offset) in [("g", "1"), ("h", "3")] {
        let commit = [("consumerGroup", group), ("topic", "t"), ("queueId", "0"), ("commitOffset", offset)];
        world.give(admin, &request(code::UPDATE_CONSUMER_OFFSET, 6, &commit, b""));
    }
    world.settle();
    answers(&mut world, admin);
    let mut ask = |ordered: &str| {
        world.give(admin, &request(code::GET_BROKER_CONSUME_STATS, 7, &[("isOrder", ordered)], b""));
        BrokerConsumeStats::decode(&answer(&mut world, admin).body).expect("stats")
    };
    let stats = ask("false");
    assert_eq!(stats.total_diff, 2);
    let queues = stats.consume_stats_list.iter().flat_map(|groups| {
        groups.iter().map(|(group, list)| (group.as_str(), list.iter().map(|stats| stats.offset_table.0.len()).sum()))
    });
    assert_eq!(queues.collect::<Vec<(&str, usize)>>(), [("g", 2), ("h", 2)]);
    assert_eq!(ask("true").total_diff, 0, "no topic is ordered");
}

#[test]
fn entries_of_a_queue_say_where_each_message_lies() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    world.give(admin, &send(1, "t", "TAGS\u{1}A", b"one"));
    world.give(admin, &send(2, "t", "TAGS\u{1}B", b"three"));
    world.settle();
    let ids: Vec<_> = answers(&mut world, admin).iter().map(|sent| sent.ext("msgId").to_owned()).collect();
    let mut ask = |index: &str, count: &str| {
        let ext = [("topic", "t"), ("queueId", "0"), ("index", index), ("count", count), ("consumerGroup", "g")];
        world.give(admin, &request(code::QUERY_CONSUME_QUEUE, 3, &ext, b""));
        ConsumeQueueData::decode(&answer(&mut world, admin).body).expect("entries")
    };
    let all = ask("0", "10");
    assert_eq!((all.min_queue_index, all.max_queue_index), (0, 2));
    assert_eq!(all.filter_data.as_deref(), Some("g@t is not online!"));
    let places = all.queue_data.iter().map(|entry| format!("{:016X}", entry.physic_offset)).collect::<Vec<_>>();
    assert_eq!(places, ids.iter().map(|id| id[16..].to_uppercase()).collect::<Vec<_>>(), "as their ids say");
    let hashes: Vec<_> = all.queue_data.iter().map(|entry| (entry.tags_code, entry.eval)).collect();
    assert_eq!(hashes, [(i64::from(b'A'), true), (i64::from(b'B'), true)]);
    assert_eq!(all.queue_data[1].physic_size - all.queue_data[0].physic_size, 2);
    assert_eq!(ask("1", "10").queue_data, all.queue_data[1..]);
    assert_eq!(ask("0", "1").queue_data, all.queue_data[..1]);
    assert_eq!(ask("2", "1").queue_data, []);
}

#[test]
fn lone_broker_tells_that_it_has_no_copies() {
    let (mut world, admin) = world();
    world.give(admin, &request(code::GET_BROKER_HA_STATUS, 1, &[], b""));
    let info = HaRuntimeInfo::decode(&answer(&mut world, admin).body).expect("a status");
    assert!(info.master && info.ha_connection_info.is_empty() && info.in_sync_slave_nums == 0);
}

#[test]
fn where_it_is_asked_consumers_are_told_to_reset_their_offsets_themselves() {
    let features = Features { server_side_reset: false, ..Features::default() };
    let mut world = World::new(Settings { features, ..Settings::default() });
    let admin = world.open_connection();
    make_topic(&mut world, admin, "1", "1");
    world.give(admin, &send(1, "t", "", b"x"));
    world.settle();
    answers(&mut world, admin);
    let reset = request(
        code::INVOKE_BROKER_TO_RESET_OFFSET,
        7,
        &[("topic", "t"), ("group", "g"), ("timestamp", "-1"), ("isForce", "true")],
        b"",
    );
    world.give(admin, &reset);
    assert_eq!(answer(&mut world, admin).code(), Code::CONSUMER_NOT_ONLINE);
    let consumer = world.open_connection();
    world.give(consumer, &beat("c", "g"));
    world.settle();
    answers(&mut world, consumer);
    world.give(admin, &reset);
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
    let told = answer(&mut world, consumer);
    assert_eq!((told.header.code, told.header.is_oneway()), (code::RESET_CONSUMER_CLIENT_OFFSET, true));
    assert_eq!((told.ext("group"), told.ext("timestamp")), ("g", "-1"));
    let offsets = ResetOffsetBody::decode(&told.body).expect("offsets").offset_table.0;
    assert_eq!(offsets.into_values().collect::<Vec<_>>(), [1]);
}

#[test]
fn removing_a_group_that_is_not_there_is_answered() {
    let (mut world, admin) = world();
    world.settle();
    world.give(admin, &request(code::DELETE_SUBSCRIPTIONGROUP, 1, &[("groupName", "nobody")], b""));
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS, "at once: nothing has to reach the disk");
}

#[test]
fn offsets_of_a_group_that_nobody_knows_are_not_reset() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    let reset = [("topic", "t"), ("group", "mistyped"), ("timestamp", "0"), ("isForce", "true")];
    world.give(admin, &request(code::INVOKE_BROKER_TO_RESET_OFFSET, 7, &reset, b""));
    let refused = answer(&mut world, admin);
    assert_eq!(refused.code(), Code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(refused.header.remark.as_deref(), Some("Group mistyped does not exist"));
}

#[test]
fn drained_broker_tells_name_servers_and_refuses_pulls_when_it_may_not_be_read() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    for (perm, pulls) in [("4", Code::SUCCESS), ("2", Code::NO_PERMISSION), ("6", Code::SUCCESS)] {
        world.give(admin, &send(1, "t", "", b"x"));
        world.settle();
        assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS, "sends go on, as in RocketMQ");
        let change = format!("brokerPermission={perm}");
        world.give(admin, &request(code::UPDATE_BROKER_CONFIG, 2, &[], change.as_bytes()));
        assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
        let told = std::mem::take(&mut world.control);
        let wanted = ControlOutput::Permission(perm.parse().expect("a number"));
        assert!(told.contains(&wanted), "{told:?}");
        world.give(admin, &pull(3, "t", 0, "*", 0));
        assert_eq!(answer(&mut world, admin).code(), pulls, "{perm}");
    }
    world.give(admin, &request(code::UPDATE_BROKER_CONFIG, 2, &[], b"brokerPermission=9"));
    assert_eq!(answer(&mut world, admin).code(), Code::INVALID_PARAMETER);
}

#[test]
fn attributes_that_rocketmq_does_not_know_and_compaction_are_refused() {
    let (mut world, admin) = world();
    for (attributes, remark) in [
        ("+nonsense=1", Some("unsupported key: nonsense")),
        ("+message.type=X", Some("value is not in set: [UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION, MIXED]")),
        (
            "+cleanup.policy=COMPACTION",
            Some("cleanup.policy=COMPACTION is not supported by this broker: it deletes by age and size only"),
        ),
        ("+cleanup.policy=DELETE,+reserve.time=1000", None),
    ] {
        let ext = [
            ("topic", "t"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("attributes", attributes),
        ];
        world.give(admin, &request(code::UPDATE_AND_CREATE_TOPIC, 1, &ext, b""));
        world.settle();
        let told = answer(&mut world, admin);
        let code = if remark.is_some() { Code::SYSTEM_ERROR } else { Code::SUCCESS };
        assert_eq!((told.code(), told.header.remark.as_deref()), (code, remark), "{attributes}");
    }
}

#[test]
fn group_that_was_switched_off_gets_nothing() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    for (enabled, code) in [(false, Code::NO_PERMISSION), (true, Code::PULL_NOT_FOUND)] {
        let config = GroupConfig { group_name: "g".into(), consume_enable: enabled, ..GroupConfig::default() };
        world.give(admin, &request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, 1, &[], &config.encode()));
        world.settle();
        assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
        world.give(admin, &pull(3, "t", 0, "*", 0));
        assert_eq!(answer(&mut world, admin).code(), code, "{enabled}");
    }
}

#[test]
fn where_groups_are_made_by_hand_an_unknown_one_gets_nothing() {
    let features = Features { auto_create_groups: false, ..Features::default() };
    let mut world = World::new(Settings { features, ..Settings::default() });
    let admin = world.open_connection();
    make_topic(&mut world, admin, "1", "1");
    world.give(admin, &pull(3, "t", 0, "*", 0));
    let refused = answer(&mut world, admin);
    assert_eq!(refused.code(), Code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(refused.header.remark.as_deref(), Some("subscription group [g] does not exist"));
}

#[test]
fn topic_that_is_being_drained_takes_what_still_comes() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    let ext = [
        ("topic", "t"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "4"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    world.give(admin, &request(code::UPDATE_AND_CREATE_TOPIC, 1, &ext, b""));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
    world.give(admin, &send(2, "t", "", b"x"));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS, "the producer has not read the new route yet");
}

#[test]
fn held_pull_hears_of_a_reset_at_once() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    world.give(admin, &send(1, "t", "", b"x"));
    let consumer = world.open_connection();
    world.give(consumer, &beat("c", "g"));
    world.settle();
    answers(&mut world, admin);
    answers(&mut world, consumer);
    world.give(consumer, &pull(2, "t", 1, "*", 15_000));
    assert!(answers(&mut world, consumer).is_empty(), "there is nothing to get");
    let reset = [("topic", "t"), ("group", "g"), ("timestamp", "0"), ("isForce", "true")];
    world.give(admin, &request(code::INVOKE_BROKER_TO_RESET_OFFSET, 7, &reset, b""));
    let moved = answer(&mut world, consumer);
    assert_eq!((moved.code(), moved.ext("nextBeginOffset")), (Code::PULL_OFFSET_MOVED, "0"));
    world.settle();
    assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
}

#[test]
fn order_flag_of_a_topic_is_kept_and_told() {
    let (mut world, admin) = world();
    for order in ["true", "false"] {
        let ext = [
            ("topic", "t"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", order),
        ];
        world.give(admin, &request(code::UPDATE_AND_CREATE_TOPIC, 1, &ext, b""));
        world.settle();
        assert_eq!(answer(&mut world, admin).code(), Code::SUCCESS);
        world.give(admin, &request(code::GET_ALL_TOPIC_CONFIG, 2, &[], b""));
        let table = TopicConfigTable::decode(&answer(&mut world, admin).body).expect("a table");
        let topic = &table.topic_config_table["t"];
        assert_eq!((topic.order, topic.attributes.len()), (order == "true", 0));
    }
}
