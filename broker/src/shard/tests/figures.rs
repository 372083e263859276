//! Figures that administrators, dashboards and exporters read.

use super::administration::{make_topic, world};
use super::remoting::{answer, answers, beat, pull, request, send};
use super::world::World;
use crate::shard::io::{ConnectionId, Input};
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::progress::{BrokerStats, ConsumeStats};
use ringmq_proto::remoting::namesrv::KvTable;
use ringmq_proto::remoting::request_code as code;

/// Sums of a counter: of the last minute, hour and day.
fn counter(world: &mut World, admin: ConnectionId, name: &str, key: &str) -> [i64; 3] {
    let ext = [("statsName", name), ("statsKey", key)];
    world.give(admin, &request(code::VIEW_BROKER_STATS_DATA, 2, &ext, b""));
    let told = answer(world, admin);
    assert_eq!(told.code(), Code::SUCCESS, "{name} {key}");
    let stats = BrokerStats::decode(&told.body).expect("stats");
    [stats.stats_minute.sum, stats.stats_hour.sum, stats.stats_day.sum]
}

#[test]
fn counters_tell_what_came_into_a_topic_and_what_a_group_got() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "2", "2");
    for opaque in 0..5 {
        world.give(admin, &send(opaque, "t", "", b"x"));
    }
    world.settle();
    answers(&mut world, admin);
    assert_eq!(counter(&mut world, admin, "TOPIC_PUT_NUMS", "t"), [5; 3]);
    world.give(admin, &pull(10, "t", 2, "*", 0));
    assert_eq!(answer(&mut world, admin).messages().len(), 3);
    assert_eq!(counter(&mut world, admin, "GROUP_GET_NUMS", "t@g"), [3; 3]);
    assert!(counter(&mut world, admin, "GROUP_GET_SIZE", "t@g")[0] > 3 * 91);
    let ext = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "u")];
    world.give(admin, &request(code::VIEW_BROKER_STATS_DATA, 2, &ext, b""));
    let none = answer(&mut world, admin);
    assert_eq!(
        (none.code(), none.header.remark.as_deref()),
        (Code::SYSTEM_ERROR, Some("The stats <TOPIC_PUT_NUMS> <u> not exist"))
    );
}

/// How many queues a group's progress has.
fn progress_queues(world: &mut World, admin: ConnectionId, group: &str) -> usize {
    world.give(admin, &request(code::GET_CONSUME_STATS, 7, &[("consumerGroup", group)], b""));
    ConsumeStats::decode(&answer(world, admin).body).expect("stats").offset_table.0.len()
}

#[test]
fn progress_has_no_topic_without_offsets_and_none_that_running_consumers_do_not_read() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "2", "2");
    let consumer = world.open_connection();
    world.give(consumer, &beat("c", "g"));
    world.settle();
    answers(&mut world, consumer);
    assert_eq!(progress_queues(&mut world, admin, "g"), 0, "as of a group that broadcasts");
    world.give(admin, &request(code::GET_CONSUME_STATS, 7, &[("consumerGroup", "g"), ("topic", "t")], b""));
    let asked_for = ConsumeStats::decode(&answer(&mut world, admin).body).expect("stats");
    assert_eq!(asked_for.offset_table.0.len(), 2);
    let commit = |topic| [("consumerGroup", "g"), ("topic", topic), ("queueId", "0"), ("commitOffset", "0")];
    world.give(admin, &request(code::UPDATE_CONSUMER_OFFSET, 6, &commit("t"), b""));
    world.give(admin, &request(code::UPDATE_CONSUMER_OFFSET, 6, &commit("%RETRY%g"), b""));
    world.settle();
    answers(&mut world, admin);
    assert_eq!(progress_queues(&mut world, admin, "g"), 2, "of t alone: the heartbeat names no other topic");
    world.input(Input::Closed { connection: consumer });
    assert_eq!(progress_queues(&mut world, admin, "g"), 3, "of all, when nobody reads");
}

#[test]
fn runtime_figures_have_all_names_that_rocketmqs_exporter_reads() {
    let (mut world, admin) = world();
    make_topic(&mut world, admin, "1", "1");
    world.give(admin, &send(1, "t", "", b"x"));
    world.settle();
    answers(&mut world, admin);
    world.give(admin, &request(code::GET_BROKER_RUNTIME_INFO, 1, &[], b""));
    let table = KvTable::decode(&answer(&mut world, admin).body).expect("a table").table;
    let text = |name: &str| table.get(name).unwrap_or_else(|| panic!("{name} is missing")).as_str();
    let number = |name: &str| text(name).parse::<f64>().unwrap_or_else(|_| panic!("{name}: {}", text(name)));
    for name in [
        "sendThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueSize",
        "msgGetTotalTodayNow",
        "bootTimestamp",
        "msgPutTotalYesterdayMorning",
        "msgGetTotalYesterdayMorning",
        "pullThreadPoolQueueSize",
        "commitLogMinOffset",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "dispatchMaxBuffer",
        "brokerVersion",
        "consumeQueueDiskRatio",
        "pageCacheLockTimeMills",
        "commitLogDiskRatio",
        "commitLogMaxOffset",
        "getMessageEntireTimeMax",
        "msgPutTotalTodayMorning",
        "putMessageTimesTotal",
        "msgGetTotalTodayMorning",
        "sendThreadPoolQueueSize",
        "startAcceptSendRequestTimeStamp",
        "putMessageEntireTimeMax",
        "earliestMessageTimeStamp",
        "remainTransientStoreBufferNumbs",
        "queryThreadPoolQueueCapacity",
        "putMessageAverageSize",
        "dispatchBehindBytes",
        "putMessageSizeTotal",
        "sendThreadPoolQueueCapacity",
        "pullThreadPoolQueueCapacity",
        "putLatency99",
        "putLatency999",
    ] {
        assert!(number(name) >= 0.0, "{name}");
    }
    for name in ["putTps", "getMissTps", "getTransferredTps", "getTransferedTps", "getTotalTps", "getFoundTps"] {
        assert_eq!(text(name).split(' ').filter_map(|part| part.parse::<f64>().ok()).count(), 3, "{name}");
    }
    assert_eq!(text("commitLogDirCapacity"), "Total : 0.0 GiB, Free : 0.0 GiB.", "nobody has told yet");
    let classes = text("putMessageDistributeTime").split(' ').map(|class| class.split_once(':').expect("a class").1);
    assert_eq!(classes.map(|count| count.parse::<u32>().expect("a count")).sum::<u32>(), 1);
    assert!(text("runtime").ends_with("seconds ]"));
    assert!(!text("brokerVersionDesc").contains(' '));
}
