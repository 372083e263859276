//! The rules of the route registry, RocketMQ's and our limits.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ringmq_namesrv::limits::{
    BROKER_COUNT_MAX, HEARTBEAT_TIMEOUT_MS_MAX, NAME_SIZE_BYTES_MAX, QUEUE_COUNT_MAX, TOPIC_COUNT_MAX,
};
use ringmq_namesrv::registry::{ConnectionId, HEARTBEAT_TIMEOUT_MS_DEFAULT, Refusal, Registered, Registry};
use ringmq_proto::remoting::registration::{DataVersion, RegisterBody, RegisterBroker, TopicConfig, UnregisterBroker};

const C1: ConnectionId = ConnectionId(1);
const C2: ConnectionId = ConnectionId(2);

fn broker<'a>(name: &'a str, id: i64, addr: &'a str) -> RegisterBroker<'a> {
    RegisterBroker {
        broker_name: name,
        broker_addr: addr,
        cluster_name: "cluster",
        ha_server_addr: "127.0.0.1:1",
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: None,
        body_crc32: None,
        whole_table: None,
    }
}

fn topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..TopicConfig::default()
    }
}

fn table(counter: i64, topics: &[(&str, i32)]) -> RegisterBody {
    RegisterBody {
        data_version: DataVersion { counter, state_version: 0, timestamp: 5 },
        topics: topics.iter().map(|(name, queues)| topic(name, *queues)).collect(),
    }
}

fn in_term(term: i64, mut body: RegisterBody) -> RegisterBody {
    body.data_version.state_version = term;
    body
}

fn gone_by(name: &'static str, id: i64, addr: &'static str) -> UnregisterBroker<'static> {
    UnregisterBroker { broker_name: name, broker_addr: addr, cluster_name: "cluster", broker_id: id }
}

/// `(broker id, address)` of each broker name behind a topic, and `(name, perm, write queues)` of its queues.
type Seen = (Vec<(String, Vec<(i64, String)>)>, Vec<(String, i32, i32)>);

fn seen(registry: &Registry, topic: &str) -> Option<Seen> {
    let route = registry.route(topic)?;
    let brokers =
        route.broker_datas.into_iter().map(|data| (data.broker_name, data.broker_addrs.into_iter().collect()));
    let queues = route.queue_datas.into_iter().map(|data| (data.broker_name, data.perm, data.write_queue_nums));
    Some((brokers.collect(), queues.collect()))
}

fn addresses(registry: &Registry, name: &str) -> Vec<(i64, String)> {
    registry
        .cluster_info()
        .broker_addr_table
        .remove(name)
        .map_or(Vec::new(), |data| data.broker_addrs.into_iter().collect())
}

fn write_queues(registry: &Registry, topic: &str) -> Vec<i32> {
    seen(registry, topic).map_or(Vec::new(), |(_, queues)| queues.into_iter().map(|(_, _, count)| count).collect())
}

#[test]
fn a_topic_is_found_on_every_broker_that_has_it() {
    let mut registry = Registry::new();
    assert_eq!(registry.route("T"), None);
    registry.register(0, C1, &broker("b", 0, "h:2"), &table(1, &[("T", 4), ("only-b", 1)])).unwrap();
    registry.register(0, C2, &broker("a", 0, "h:1"), &table(1, &[("T", 8)])).unwrap();
    registry.register(0, C2, &broker("a", 1, "h:3"), &table(1, &[("T", 99)])).unwrap();
    let (brokers, queues) = seen(&registry, "T").unwrap();
    let at = |id, addr: &str| (id, addr.to_owned());
    assert_eq!(brokers, [("a".to_owned(), vec![at(0, "h:1"), at(1, "h:3")]), ("b".to_owned(), vec![at(0, "h:2")])]);
    assert_eq!(queues, [("a".to_owned(), 6, 8), ("b".to_owned(), 6, 4)]);
    assert_eq!(seen(&registry, "only-b").unwrap().0.len(), 1);
    let info = registry.cluster_info();
    assert_eq!(info.cluster_addr_table["cluster"], ["a", "b"]);
    assert_eq!((info.broker_addr_table.len(), registry.broker_count(), registry.topic_count()), (2, 3, 2));
}

#[test]
fn topics_stay_untouched_while_the_data_version_does() {
    let mut registry = Registry::new();
    let first = registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!(first, Registered { first: true, topics_changed: 1, ..Registered::default() });
    let same = registry.register(1, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 8)])).unwrap();
    assert_eq!((same, write_queues(&registry, "T")), (Registered::default(), vec![4]));
    let newer = registry.register(2, C1, &broker("a", 0, "h:1"), &table(2, &[("T", 8)])).unwrap();
    assert_eq!((newer.topics_changed, write_queues(&registry, "T")), (1, vec![8]));
    // Older or newer does not matter: another version is a change.
    registry.register(3, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!(write_queues(&registry, "T"), [4]);
}

#[test]
fn a_missing_topic_is_added_under_an_equal_version() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4), ("U", 2)])).unwrap();
    assert_eq!(write_queues(&registry, "U"), [2]);
}

#[test]
fn a_registration_with_fewer_topics_removes_none() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4), ("U", 4)])).unwrap();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(2, &[("V", 4)])).unwrap();
    assert!(["T", "U", "V"].iter().all(|topic| registry.route(topic).is_some()));
}

#[test]
fn a_whole_table_removes_what_it_does_not_hold() {
    let mut registry = Registry::new();
    let whole = |addr| RegisterBroker { whole_table: Some(true), ..broker("a", 0, addr) };
    registry.register(0, C1, &whole("h:1"), &table(1, &[("T", 4), ("U", 4), ("V", 4)])).unwrap();
    registry.register(0, C2, &broker("b", 0, "h:2"), &table(1, &[("U", 4)])).unwrap();
    let same = registry.register(0, C1, &whole("h:1"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!((same.topics_removed, registry.topic_count()), (0, 3), "an equal version changes nothing");
    let newer = registry.register(0, C1, &whole("h:1"), &table(2, &[("T", 4)])).unwrap();
    assert_eq!((newer.topics_removed, registry.topic_count()), (2, 2));
    assert_eq!(seen(&registry, "U").unwrap().0[0].0, "b", "another broker's topic stays");
    let elsewhere = registry.register(0, C1, &whole("h:3"), &table(2, &[])).unwrap();
    assert_eq!((elsewhere.topics_removed, registry.route("T")), (1, None));
}

#[test]
fn a_slave_learns_its_master_and_alters_no_topics() {
    let mut registry = Registry::new();
    let alone = registry.register(0, C1, &broker("a", 1, "h:2"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!((alone.master, registry.route("T")), (None, None));
    registry.register(0, C2, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    let beside = registry.register(0, C1, &broker("a", 1, "h:2"), &table(9, &[("T", 77)])).unwrap();
    assert_eq!(beside.master, Some(("h:1".to_owned(), "127.0.0.1:1".to_owned())));
    assert_eq!(write_queues(&registry, "T"), [4]);
}

#[test]
fn a_connection_that_closes_takes_its_brokers_along_at_once() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    registry.register(0, C1, &broker("s1-a", 0, "h:2"), &table(1, &[("T", 4)])).unwrap();
    registry.register(0, C2, &broker("b", 0, "h:3"), &table(1, &[("T", 4)])).unwrap();
    let gone: Vec<_> = registry.connection_closed(C1).into_iter().map(|gone| gone.broker_addr).collect();
    assert_eq!(gone, ["h:1", "h:2"]);
    assert_eq!(seen(&registry, "T").unwrap().0.len(), 1);
    assert_eq!(registry.cluster_info().cluster_addr_table["cluster"], ["b"]);
    assert_eq!(registry.connection_closed(C1), []);
}

#[test]
fn an_old_connection_takes_nothing_from_a_broker_that_reconnected() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    registry.register(1, C2, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!(registry.connection_closed(C1), []);
    assert!(registry.route("T").is_some());
}

#[test]
fn a_silent_broker_expires_after_the_time_that_it_asked_for() {
    let mut registry = Registry::new();
    let mut quick = broker("quick", 0, "h:1");
    quick.heartbeat_timeout_millis = Some(10_000);
    let mut careless = broker("careless", 0, "h:2");
    careless.heartbeat_timeout_millis = Some(i64::MAX);
    let mut wrong = broker("wrong", 0, "h:3");
    wrong.heartbeat_timeout_millis = Some(-1);
    for header in [&quick, &careless, &wrong, &broker("usual", 0, "h:4")] {
        registry.register(1_000, C1, header, &table(1, &[("T", 4)])).unwrap();
    }
    let names = |registry: &Registry| registry.cluster_info().broker_addr_table.into_keys().collect::<Vec<_>>();
    assert_eq!(registry.expire(11_000), []);
    assert_eq!(registry.expire(11_001).len(), 1);
    assert_eq!(registry.expire(1_000 + HEARTBEAT_TIMEOUT_MS_DEFAULT), []);
    assert_eq!(registry.expire(1_001 + HEARTBEAT_TIMEOUT_MS_DEFAULT).len(), 2);
    assert_eq!(names(&registry), ["careless"]);
    assert_eq!(registry.expire(1_001 + HEARTBEAT_TIMEOUT_MS_MAX).len(), 1);
    assert_eq!((registry.broker_count(), registry.topic_count()), (0, 0));
}

#[test]
fn a_sign_of_life_starts_the_time_anew() {
    let mut registry = Registry::new();
    for now_ms in [0, 100_000, 200_000] {
        registry.register(now_ms, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
        assert_eq!(registry.expire(now_ms + 120_000), []);
    }
}

#[test]
fn unregistering_goes_by_address_whatever_the_id() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!(registry.unregister(&gone_by("a", 0, "h:9")), None);
    assert_eq!(registry.unregister(&gone_by("z", 0, "h:1")), None);
    assert_eq!(registry.unregister(&gone_by("a", 5, "h:1")).unwrap().broker_id, 0);
    assert_eq!((registry.route("T"), registry.cluster_info().cluster_addr_table.len()), (None, 0));
}

#[test]
fn topics_stay_while_a_slave_lives() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    registry.register(0, C2, &broker("a", 1, "h:2"), &table(1, &[])).unwrap();
    registry.connection_closed(C1);
    let (brokers, queues) = seen(&registry, "T").unwrap();
    assert_eq!((brokers[0].1.len(), queues[0].1), (1, 6));
    registry.connection_closed(C2);
    assert_eq!(registry.route("T"), None);
}

#[test]
fn an_address_under_another_id_leaves_the_old_one() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 1, "h:1"), &table(1, &[])).unwrap();
    registry.register(0, C1, &broker("a", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    assert_eq!(addresses(&registry, "a"), [(0, "h:1".to_owned())]);
    registry.register(0, C1, &broker("a", 2, "h:1"), &table(1, &[])).unwrap();
    assert_eq!(addresses(&registry, "a"), [(2, "h:1".to_owned())]);
    assert_eq!((registry.broker_count(), write_queues(&registry, "T")), (1, vec![4]), "the name never went");
}

#[test]
fn an_id_goes_to_the_newcomer_unless_its_term_is_smaller() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &in_term(5, table(1, &[("T", 4)]))).unwrap();
    let refused = registry.register(0, C2, &broker("a", 0, "h:2"), &in_term(4, table(9, &[("T", 8)]))).unwrap();
    assert_eq!(refused, Registered { superseded: true, ..Registered::default() });
    assert_eq!((addresses(&registry, "a"), write_queues(&registry, "T")), (vec![(0, "h:1".to_owned())], vec![4]));
    let equal = registry.register(0, C2, &broker("a", 0, "h:2"), &in_term(5, table(1, &[("T", 8)]))).unwrap();
    assert!(equal.first, "another address begins anew, whatever the version");
    assert_eq!((addresses(&registry, "a"), write_queues(&registry, "T")), (vec![(0, "h:2".to_owned())], vec![8]));
    // A smaller term of the same address is its own business.
    registry.register(0, C2, &broker("a", 0, "h:2"), &in_term(1, table(2, &[("T", 3)]))).unwrap();
    assert_eq!(write_queues(&registry, "T"), [3]);
}

#[test]
fn a_deposed_master_that_comes_back_loses_even_its_old_id() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 1, "h:1"), &in_term(1, table(1, &[]))).unwrap();
    registry.register(0, C2, &broker("a", 0, "h:2"), &in_term(2, table(1, &[("T", 4)]))).unwrap();
    let refused = registry.register(0, C1, &broker("a", 0, "h:1"), &in_term(1, table(1, &[]))).unwrap();
    assert!(refused.superseded);
    assert_eq!(addresses(&registry, "a"), [(0, "h:2".to_owned())]);
}

#[test]
fn a_master_and_a_slave_can_swap() {
    let mut registry = Registry::new();
    registry.register(0, C1, &broker("a", 0, "h:1"), &in_term(1, table(1, &[("T", 4)]))).unwrap();
    registry.register(0, C2, &broker("a", 1, "h:2"), &in_term(1, table(1, &[]))).unwrap();
    registry.register(0, C2, &broker("a", 0, "h:2"), &in_term(2, table(1, &[("T", 4)]))).unwrap();
    registry.register(0, C1, &broker("a", 1, "h:1"), &in_term(2, table(1, &[]))).unwrap();
    assert_eq!(addresses(&registry, "a"), [(0, "h:2".to_owned()), (1, "h:1".to_owned())]);
    assert_eq!(registry.broker_count(), 2);
}

#[test]
fn with_acting_masters_the_lowest_slave_serves_readers() {
    let mut registry = Registry::new();
    let acting = |id, addr| RegisterBroker { enable_acting_master: Some(true), ..broker("a", id, addr) };
    registry.register(0, C1, &acting(0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    registry.register(0, C2, &acting(1, "h:2"), &table(1, &[("U", 4)])).unwrap();
    assert_eq!((seen(&registry, "T").unwrap().1[0].1, registry.route("U")), (6, None));
    registry.connection_closed(C1);
    assert_eq!(seen(&registry, "T").unwrap().1[0].1, 4, "nobody takes messages any more");
    registry.register(0, C2, &acting(1, "h:2"), &table(2, &[("U", 4)])).unwrap();
    assert_eq!(seen(&registry, "U").unwrap().1[0].1, 4);
    registry.register(0, C1, &acting(0, "h:1"), &table(1, &[("T", 4), ("U", 4)])).unwrap();
    assert_eq!((seen(&registry, "T").unwrap().1[0].1, seen(&registry, "U").unwrap().1[0].1), (6, 6));
}

#[test]
fn a_broker_name_is_in_its_masters_cluster() {
    let mut registry = Registry::new();
    let of = |cluster, id, addr| RegisterBroker { cluster_name: cluster, ..broker("a", id, addr) };
    registry.register(0, C1, &of("old", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    registry.register(0, C2, &of("other", 1, "h:2"), &table(1, &[])).unwrap();
    assert_eq!(registry.cluster_info().cluster_addr_table.into_keys().collect::<Vec<_>>(), ["old"]);
    registry.register(0, C1, &of("new", 0, "h:1"), &table(1, &[("T", 4)])).unwrap();
    let info = registry.cluster_info();
    assert_eq!(info.cluster_addr_table.into_keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(info.broker_addr_table["a"].cluster, "new");
}

#[test]
fn name_size_bytes_max() {
    let long = "x".repeat(NAME_SIZE_BYTES_MAX + 1);
    let good = broker("a", 0, "h:1");
    let refused = [
        ("brokerName", RegisterBroker { broker_name: &long, ..good }),
        ("brokerName", RegisterBroker { broker_name: "", ..good }),
        ("brokerName", RegisterBroker { broker_name: "a\n", ..good }),
        ("clusterName", RegisterBroker { cluster_name: &long, ..good }),
        ("brokerAddr", RegisterBroker { broker_addr: &long, ..good }),
        ("haServerAddr", RegisterBroker { ha_server_addr: &long, ..good }),
        ("brokerId", RegisterBroker { broker_id: -1, ..good }),
    ];
    let mut registry = Registry::new();
    for (what, header) in refused {
        assert_eq!(registry.register(0, C1, &header, &table(1, &[])), Err(Refusal::Parameter { what }));
    }
    assert_eq!(registry.broker_count(), 0);
    registry.register(0, C1, &RegisterBroker { broker_name: &long[1..], ..good }, &table(1, &[])).unwrap();
}

#[test]
fn queue_count_max() {
    let mut registry = Registry::new();
    let long = "x".repeat(256);
    let body =
        table(1, &[("T", QUEUE_COUNT_MAX), ("U", QUEUE_COUNT_MAX + 1), ("V", -1), ("", 1), (&long, 1), ("W\u{1}", 1)]);
    let outcome = registry.register(0, C1, &broker("a", 0, "h:1"), &body).unwrap();
    assert_eq!((outcome.topics_changed, outcome.topics_refused, registry.topic_count()), (1, 5, 1));
}

#[test]
fn broker_count_max() {
    let mut registry = Registry::new();
    for index in 0..BROKER_COUNT_MAX {
        let name = format!("b{index}");
        registry.register(0, C1, &broker(&name, 0, "h:1"), &table(1, &[])).unwrap();
    }
    let full = registry.register(0, C1, &broker("more", 0, "h:1"), &table(1, &[("T", 1)]));
    assert_eq!(full, Err(Refusal::Full { what: "brokers", count_max: BROKER_COUNT_MAX }));
    assert_eq!((registry.broker_count(), registry.route("T")), (BROKER_COUNT_MAX, None));
    registry.register(0, C1, &broker("b7", 0, "h:1"), &table(2, &[("T", 1)])).unwrap();
    registry.register(0, C1, &broker("b7", 1, "h:1"), &table(2, &[])).unwrap();
    registry.unregister(&gone_by("b8", 0, "h:1")).unwrap();
    registry.register(0, C1, &broker("more", 0, "h:1"), &table(1, &[])).unwrap();
}

#[test]
fn topic_count_max() {
    let mut registry = Registry::new();
    let topics: Vec<_> = (0..TOPIC_COUNT_MAX).map(|index| topic(&index.to_string(), 1)).collect();
    let body = RegisterBody { topics, ..RegisterBody::default() };
    registry.register(0, C1, &broker("a", 0, "h:1"), &body).unwrap();
    let full = registry.register(0, C1, &broker("b", 0, "h:2"), &table(1, &[("0", 1), ("more", 1)]));
    assert_eq!(full, Err(Refusal::Full { what: "topics", count_max: TOPIC_COUNT_MAX }));
    assert_eq!((registry.topic_count(), registry.broker_count()), (TOPIC_COUNT_MAX, 1), "all or nothing");
    registry.register(0, C1, &broker("b", 0, "h:2"), &table(1, &[("0", 1)])).unwrap();
}

#[test]
fn route_count_max() {
    let mut registry = Registry::new();
    let topics: Vec<_> = (0..TOPIC_COUNT_MAX).map(|index| topic(&index.to_string(), 1)).collect();
    let body = RegisterBody { topics, ..RegisterBody::default() };
    for index in 0..10 {
        registry.register(0, C1, &broker(&format!("b{index}"), 0, "h:1"), &body).unwrap();
    }
    let full = registry.register(0, C1, &broker("more", 0, "h:2"), &table(1, &[("0", 1)]));
    assert!(matches!(full, Err(Refusal::Full { what: "routes of topics", .. })), "{full:?}");
    registry.unregister(&gone_by("b0", 0, "h:1")).unwrap();
    registry.register(0, C1, &broker("more", 0, "h:2"), &table(1, &[("0", 1)])).unwrap();
    assert_eq!(seen(&registry, "0").unwrap().0.len(), 10);
}

/// One thing that happens to a registry.
#[derive(Clone, Debug)]
enum Event {
    Register { name: usize, id: i64, addr: usize, connection: u64, term: i64, acting: Option<bool>, topics: Vec<usize> },
    Unregister { name: usize, addr: usize },
    Close { connection: u64 },
    Expire,
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const ADDRESSES: [&str; 4] = ["h:1", "h:2", "h:3", "h:4"];
const TOPICS: [&str; 4] = ["T", "U", "V", "W"];

fn any_event() -> impl Strategy<Value = Event> {
    let topics = prop::collection::vec(0..TOPICS.len(), 0..4);
    let register = (0..3_usize, 0..3_i64, 0..4_usize, 0..3_u64, 0..3_i64, any::<Option<bool>>(), topics).prop_map(
        |(name, id, addr, connection, term, acting, topics)| Event::Register {
            name,
            id,
            addr,
            connection,
            term,
            acting,
            topics,
        },
    );
    prop_oneof![
        6 => register,
        1 => (0..3_usize, 0..4_usize).prop_map(|(name, addr)| Event::Unregister { name, addr }),
        1 => (0..3_u64).prop_map(|connection| Event::Close { connection }),
        1 => Just(Event::Expire),
    ]
}

fn apply(registry: &mut Registry, now_ms: u64, event: &Event) {
    match event {
        Event::Register { name, id, addr, connection, term, acting, topics } => {
            let header =
                RegisterBroker { enable_acting_master: *acting, ..broker(NAMES[*name], *id, ADDRESSES[*addr]) };
            let topics: Vec<_> = topics.iter().map(|index| (TOPICS[*index], 4)).collect();
            let body = in_term(*term, table(*term, &topics));
            let outcome =
                registry.register(now_ms, ConnectionId(*connection), &header, &body).expect("nothing is full");
            let holder = addresses(registry, NAMES[*name]).into_iter().find(|(holder, _)| holder == id);
            assert_eq!(holder.is_some_and(|(_, holder)| holder == ADDRESSES[*addr]), !outcome.superseded);
        }
        Event::Unregister { name, addr } => {
            registry.unregister(&gone_by(NAMES[*name], 0, ADDRESSES[*addr]));
            assert!(addresses(registry, NAMES[*name]).iter().all(|(_, holder)| holder != ADDRESSES[*addr]));
        }
        Event::Close { connection } => drop(registry.connection_closed(ConnectionId(*connection))),
        Event::Expire => drop(registry.expire(now_ms)),
    }
}

proptest! {
    #[test]
    fn routes_and_clusters_name_registered_brokers_alone(events in prop::collection::vec(any_event(), 0..60)) {
        let mut registry = Registry::new();
        for (index, event) in events.iter().enumerate() {
            apply(&mut registry, index as u64 * 20_000, event);
            let info = registry.cluster_info();
            let count: usize = info.broker_addr_table.values().map(|data| data.broker_addrs.len()).sum();
            prop_assert_eq!(count, registry.broker_count());
            for data in info.broker_addr_table.values() {
                let different: BTreeSet<_> = data.broker_addrs.values().collect();
                prop_assert!(!different.is_empty() && different.len() == data.broker_addrs.len(), "one id an address");
            }
            let names: Vec<_> = info.broker_addr_table.keys().cloned().collect();
            prop_assert_eq!(info.cluster_addr_table.into_values().flatten().collect::<Vec<_>>(), names);
            for topic in TOPICS {
                let Some(route) = registry.route(topic) else { continue };
                prop_assert!(!route.queue_datas.is_empty());
                for (data, queues) in route.broker_datas.iter().zip(&route.queue_datas) {
                    prop_assert_eq!(&info.broker_addr_table[&data.broker_name], data);
                    prop_assert_eq!(&data.broker_name, &queues.broker_name);
                }
            }
        }
        for connection in 0..3 {
            registry.connection_closed(ConnectionId(connection));
        }
        prop_assert_eq!((registry.broker_count(), registry.topic_count()), (0, 0), "nothing is left behind");
    }
}
