//! Requests and their answers, in the words of RocketMQ's own captures where there are some.

use ringmq_namesrv::registry::ConnectionId;
use ringmq_namesrv::requests::{Answer, Request, answer};
use ringmq_namesrv::state::State;
use ringmq_proto::remoting::namesrv::{BrokerMemberGroupBody, KvTable, TopicList};
use ringmq_proto::remoting::registration::{DataVersion, RegisterBody, RegisterBroker, TopicConfig};
use ringmq_proto::remoting::route::{QueueData, TopicRoute};
use ringmq_proto::remoting::{Header, SerializeType, lenient};

const C1: ConnectionId = ConnectionId(1);
const C2: ConnectionId = ConnectionId(2);

/// A name server without a socket.
#[derive(Default)]
struct NameServer {
    state: State,
    now_ms: u64,
}

impl NameServer {
    fn from(&mut self, connection: ConnectionId, header: &Header<'_>, body: &[u8]) -> Answer {
        answer(&mut self.state, Request { now_ms: self.now_ms, connection, header, body })
    }

    fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut header = Header::request(code, 7);
        header.ext = ext.iter().copied().collect();
        self.from(C1, &header, body)
    }

    /// Sends a header as it was captured, and gives the answer's code, remark and body.
    fn captured(&mut self, json: &str) -> (i32, Option<String>, String) {
        let header = Header::decode(SerializeType::Json, json.as_bytes()).expect("a header");
        let answer = self.from(C1, &header, b"");
        assert_eq!(answer.header.opaque, header.opaque);
        let remark = answer.header.remark.map(|remark| remark.into_owned());
        (answer.header.code, remark, String::from_utf8(answer.body).expect("text"))
    }

    fn register(&mut self, connection: ConnectionId, broker: &Broker<'_>) -> Answer {
        let header = RegisterBroker {
            broker_name: broker.name,
            broker_addr: broker.addr,
            cluster_name: broker.cluster,
            ha_server_addr: "127.0.0.1:10912",
            broker_id: broker.id,
            heartbeat_timeout_millis: None,
            enable_acting_master: broker.acting,
            compressed: None,
            body_crc32: None,
            whole_table: None,
        };
        let body = RegisterBody { data_version: broker.version, topics: broker.topics.clone() };
        self.from(connection, &Header::request(103, 1).with_ext(&header), &body.encode_json())
    }

    fn topics(&mut self, code: i32, ext: &[(&str, &str)]) -> TopicList {
        let answer = self.ask(code, ext, b"");
        assert_eq!(answer.header.code, 0, "{code}");
        TopicList::decode(&answer.body).expect("a list")
    }

    fn route(&mut self, topic: &str) -> Option<TopicRoute> {
        let answer = self.ask(105, &[("topic", topic)], b"");
        (answer.header.code == 0).then(|| TopicRoute::decode(&answer.body).expect("a route"))
    }

    fn perms(&mut self, topic: &str) -> Vec<i32> {
        self.route(topic).map_or(vec![], |route| route.queue_datas.iter().map(|data| data.perm).collect())
    }
}

#[derive(Clone)]
struct Broker<'a> {
    cluster: &'a str,
    name: &'a str,
    id: i64,
    addr: &'a str,
    acting: Option<bool>,
    version: DataVersion,
    topics: Vec<TopicConfig>,
}

fn topic(name: &str, perm: i32, queues: i32, topic_sys_flag: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        perm,
        read_queue_nums: queues,
        write_queue_nums: queues,
        topic_sys_flag,
        ..TopicConfig::default()
    }
}

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, timestamp: 1, state_version: 0 }
}

fn broker_a() -> Broker<'static> {
    let topics = vec![topic("TBW102", 7, 8, 0), topic("TopicT", 6, 4, 0)];
    let (cluster, name, addr) = ("DefaultCluster", "broker-a", "127.0.0.1:10911");
    Broker { cluster, name, id: 0, addr, acting: None, version: version(1), topics }
}

fn with_a() -> NameServer {
    let mut server = NameServer::default();
    assert_eq!(server.register(C1, &broker_a()).header.code, 0);
    server
}

const ROUTE_OF_TBW102: &str = r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":7,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;

#[test]
fn captured_requests_get_the_captured_answers() {
    let mut server = with_a();
    let asked = |code: i32, ext: &str| {
        format!(
            r#"{{"code":{code},"extFields":{ext},"flag":0,"language":"JAVA","opaque":415,"serializeTypeCurrentRPC":"JSON","version":409}}"#
        )
    };
    let done = |body: &str| (0, None, body.to_owned());
    assert_eq!(server.captured(&asked(105, r#"{"topic":"TBW102"}"#)), done(ROUTE_OF_TBW102));
    let no_route = "No topic route info in name server for the topic: %RETRY%g5\nSee http://rocketmq.apache.org/docs/faq/ for further details.";
    assert_eq!(server.captured(&asked(105, r#"{"topic":"%RETRY%g5"}"#)), (17, Some(no_route.into()), String::new()));
    assert_eq!(server.captured(&asked(100, r#"{"namespace":"NSX","value":"v","key":"k"}"#)), done(""));
    assert_eq!(server.captured(&asked(219, r#"{"namespace":"NSX"}"#)), done(r#"{"table":{"k":"v"}}"#));
    assert_eq!(server.captured(&asked(101, r#"{"namespace":"NSX","key":"k"}"#)), done(""));
    assert_eq!(server.captured(&asked(206, "{}")), done(r#"{"topicList":["TBW102","TopicT"]}"#));
    let list = server.captured(&asked(224, r#"{"cluster":"DefaultCluster"}"#));
    assert_eq!(list, done(r#"{"topicList":["TBW102","TopicT"]}"#));
    let clusters = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#;
    assert_eq!(server.captured(&asked(106, "{}")), done(clusters));
    assert_eq!(server.captured(&asked(361, "{}")), (3, Some(" request type 361 not supported".into()), String::new()));
}

#[test]
fn clients_before_4_9_4_get_bare_keys_unless_they_ask_for_standard_json() {
    let mut server = with_a();
    let mut route = |version, ext: &[(&str, &str)]| {
        let mut header = Header::request(105, 1);
        header.version = version;
        header.ext = ext.iter().copied().collect();
        String::from_utf8(server.from(C1, &header, b"").body).expect("text")
    };
    let bare = ROUTE_OF_TBW102.replace(r#"{"0":"#, "{0:");
    let plain = [("topic", "TBW102")];
    let standard = [("topic", "TBW102"), ("acceptStandardJsonOnly", "true")];
    assert_eq!([route(400, &plain), route(0, &plain)], [bare.clone(), bare]);
    for quoted in [route(401, &plain), route(479, &plain), route(400, &standard), route(0, &standard)] {
        assert_eq!(quoted, ROUTE_OF_TBW102);
    }
}

#[test]
fn key_value_configuration_is_set_read_listed_and_removed() {
    let mut server = NameServer::default();
    let key = [("namespace", "n"), ("key", "k")];
    let remark = |answer: &Answer| (answer.header.code, answer.header.remark.as_deref().unwrap_or_default().to_owned());
    assert_eq!(remark(&server.ask(101, &key, b"")), (22, "No config item, Namespace: n Key: k".into()));
    assert_eq!(remark(&server.ask(219, &key, b"")), (22, "No config item, Namespace: n".into()));
    let value = [("namespace", "n"), ("key", "k"), ("value", "v\u{1}")];
    assert_eq!(server.ask(100, &value, b"").header.code, 0);
    assert_eq!(server.ask(101, &key, b"").header.ext.get("value"), Some("v\u{1}"));
    assert_eq!(KvTable::decode(&server.ask(219, &key, b"").body).unwrap().table["k"], "v\u{1}");
    assert_eq!([server.ask(102, &key, b"").header.code, server.ask(102, &key, b"").header.code], [0, 0]);
    assert_eq!(server.ask(101, &key, b"").header.code, 22);
    assert_eq!(remark(&server.ask(100, &key, b"")), (1, "the custom field <value> is null".into()));
}

#[test]
fn lists_are_of_all_of_a_cluster_of_units_and_of_the_system() {
    let mut server = with_a();
    let topics = vec![topic("U", 6, 1, 1), topic("S", 6, 1, 2), topic("US", 6, 1, 3), topic("TopicT", 6, 1, 0)];
    let b = Broker { cluster: "other", name: "broker-b", addr: "127.0.0.1:2", topics, ..broker_a() };
    server.register(C2, &b);
    let names = |list: TopicList| list.topic_list;
    assert_eq!(names(server.topics(206, &[])), ["S", "TBW102", "TopicT", "U", "US"]);
    assert_eq!(names(server.topics(224, &[("cluster", "other")])), ["S", "TopicT", "U", "US"]);
    assert_eq!(names(server.topics(224, &[("cluster", "nowhere")])), [""; 0]);
    assert_eq!(names(server.topics(311, &[])), ["U", "US"]);
    assert_eq!(names(server.topics(312, &[])), ["S", "US"]);
    assert_eq!(names(server.topics(313, &[])), ["S"]);
    let system = server.topics(304, &[]);
    assert_eq!(system.topic_list, ["DefaultCluster", "broker-a", "other", "broker-b"]);
    assert_eq!(system.broker_addr.as_deref(), Some("127.0.0.1:10911"));
    server.ask(318, &[], b"enableAllTopicList=false");
    assert_eq!(server.ask(206, &[], b"").header.remark.as_deref(), Some("disable"));
}

#[test]
fn a_topic_is_deleted_everywhere_or_in_one_cluster() {
    let mut server = with_a();
    let b = Broker { cluster: "other", name: "broker-b", addr: "127.0.0.1:2", ..broker_a() };
    server.register(C2, &b);
    let brokers = |server: &mut NameServer| server.route("TopicT").map_or(0, |route| route.broker_datas.len());
    server.ask(216, &[("topic", "TopicT"), ("clusterName", "nowhere")], b"");
    assert_eq!(brokers(&mut server), 2);
    server.ask(216, &[("topic", "TopicT"), ("clusterName", "other")], b"");
    assert_eq!(brokers(&mut server), 1);
    // What 4.9.8's tools send: the names in each other's place.
    server.ask(216, &[("clusterName", "TopicT"), ("topic", "DefaultCluster")], b"");
    assert_eq!(brokers(&mut server), 0);
    server.ask(216, &[("topic", "TBW102")], b"");
    assert_eq!((server.route("TBW102"), server.state.registry.topic_count()), (None, 0));
    let again = Broker { version: version(1), ..broker_a() };
    server.register(C1, &again);
    assert_eq!(brokers(&mut server), 1, "who still has it brings it back with the next registration");
}

#[test]
fn a_topic_is_registered_by_its_route_on_brokers_that_live() {
    let mut server = with_a();
    let data = |name: &str| QueueData { broker_name: name.into(), perm: 4, read_queue_nums: 3, ..QueueData::default() };
    let body = TopicRoute { queue_datas: vec![data("broker-a"), data("nobody")], ..TopicRoute::default() }.encode();
    assert_eq!(server.ask(217, &[("topic", "N")], &body).header.code, 0);
    assert_eq!(server.route("N").unwrap().queue_datas, [data("broker-a")]);
    assert_eq!(server.ask(217, &[("topic", "N")], b"").header.code, 0);
    assert_eq!(server.ask(217, &[("topic", "")], &body).header.code, 29);
    assert_eq!(server.ask(217, &[("topic", "M")], b"{").header.code, 1);
}

#[test]
fn writing_is_wiped_until_it_is_added_again_whatever_the_broker_registers() {
    let mut server = with_a();
    let wiped = server.ask(205, &[("brokerName", "broker-a")], b"");
    assert_eq!(wiped.header.ext.get("wipeTopicCount"), Some("2"));
    assert_eq!((server.perms("TopicT"), server.perms("TBW102")), (vec![4], vec![5]));
    let topics = vec![topic("TopicT", 6, 8, 0), topic("new", 6, 1, 0)];
    server.register(C1, &Broker { version: version(2), topics, ..broker_a() });
    assert_eq!((server.perms("TopicT"), server.perms("new")), (vec![4], vec![4]));
    let added = server.ask(327, &[("brokerName", "broker-a")], b"");
    assert_eq!(added.header.ext.get("addTopicCount"), Some("3"));
    assert_eq!((server.perms("TopicT"), server.perms("TBW102")), (vec![6], vec![7]));
    let unknown = server.ask(205, &[("brokerName", "nobody")], b"");
    assert_eq!((unknown.header.code, unknown.header.ext.get("wipeTopicCount")), (0, Some("0")));
}

fn query(server: &mut NameServer, addr: &str, asked: DataVersion) -> (String, Option<DataVersion>) {
    let ext = [("brokerName", "broker-a"), ("brokerAddr", addr), ("clusterName", "DefaultCluster"), ("brokerId", "0")];
    let answer = server.ask(322, &ext, &lenient::encode(&asked));
    let body = (!answer.body.is_empty()).then(|| lenient::decode(&answer.body).expect("a version"));
    (answer.header.ext.get("changed").expect("said").to_owned(), body)
}

#[test]
fn a_data_version_is_compared_and_the_question_is_a_sign_of_life() {
    let mut server = with_a();
    let addr = "127.0.0.1:10911";
    assert_eq!(query(&mut server, addr, version(1)), ("false".into(), Some(version(1))));
    assert_eq!(query(&mut server, addr, version(2)), ("true".into(), Some(version(1))));
    assert_eq!(query(&mut server, "127.0.0.1:9", version(1)), ("true".into(), None));
    server.now_ms = 100_000;
    query(&mut server, addr, version(1));
    assert_eq!(server.state.registry.expire(200_000), []);
    server.now_ms = 200_000;
    let ext = [("brokerName", "broker-a"), ("brokerAddr", addr), ("clusterName", "DefaultCluster")];
    assert_eq!(server.ask(904, &ext, b"").header.code, 0);
    assert_eq!(server.state.registry.expire(300_000), []);
    assert_eq!(server.state.registry.expire(320_001).len(), 1);
    assert_eq!(server.ask(904, &ext, b"").header.code, 0, "RocketMQ says so to strangers, too");
}

#[test]
fn one_topic_alone_at_first_is_taken_but_not_for_the_whole_table() {
    let mut server = NameServer::default();
    let one = Broker { topics: vec![topic("TopicT", 6, 4, 0)], ..broker_a() };
    server.register(C1, &one);
    assert!(server.route("TopicT").is_some());
    assert_eq!(query(&mut server, one.addr, version(1)), ("true".into(), None));
    server.register(C1, &one);
    assert_eq!(query(&mut server, one.addr, version(1)).0, "true");
    server.register(C1, &broker_a());
    assert_eq!(query(&mut server, one.addr, version(1)).0, "false");
    assert!(server.route("TBW102").is_some());
    server.register(C1, &Broker { version: version(2), ..one.clone() });
    assert_eq!(query(&mut server, one.addr, version(2)).0, "false", "later, one topic is a change");
}

#[test]
fn members_of_a_broker_name_are_told() {
    let mut server = with_a();
    server.register(C2, &Broker { id: 2, addr: "127.0.0.1:2", ..broker_a() });
    let mut group = |name| {
        let answer = server.ask(901, &[("clusterName", "DefaultCluster"), ("brokerName", name)], b"");
        let group = BrokerMemberGroupBody::decode(&answer.body).expect("a group").broker_member_group;
        (group.cluster, group.broker_name, group.broker_addrs.into_iter().collect::<Vec<_>>())
    };
    let addrs = vec![(0, "127.0.0.1:10911".to_owned()), (2, "127.0.0.1:2".to_owned())];
    assert_eq!(group("broker-a"), ("DefaultCluster".into(), "broker-a".into(), addrs));
    assert_eq!(group("nobody"), ("DefaultCluster".into(), "nobody".into(), vec![]));
}

#[test]
fn lowest_id_that_comes_or_goes_is_told_to_the_others_where_slaves_may_stand_in() {
    let mut server = NameServer::default();
    let acting = |id, addr| Broker { id, addr, acting: Some(true), ..broker_a() };
    let mut told = |connection, broker: Option<&Broker<'_>>| {
        match broker {
            Some(broker) => drop(server.register(connection, broker)),
            None => drop(server.state.registry.connection_closed(connection)),
        }
        let changes = server.state.registry.take_min_id_changes();
        changes
            .into_iter()
            .map(|change| (change.min_id, change.offline_addr, change.ha_addr.is_some(), change.to))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(C1, Some(&acting(2, "h:2"))), []);
    assert_eq!(told(C2, Some(&acting(0, "h:0"))), [(0, None, true, vec![C1])]);
    assert_eq!(told(C2, Some(&acting(0, "h:0"))), [], "a sign of life is no change");
    assert_eq!(told(ConnectionId(3), Some(&acting(5, "h:5"))), []);
    assert_eq!(told(C2, None), [(2, Some("h:0".to_owned()), false, vec![C1, ConnectionId(3)])]);
    assert_eq!(told(ConnectionId(3), None), []);
    let plain = Broker { acting: Some(false), ..acting(0, "h:0") };
    assert_eq!(told(C2, Some(&plain)), []);
}

#[test]
fn a_slave_is_shown_as_master_where_that_is_switched_on() {
    let mut server = NameServer::default();
    let master = Broker { acting: Some(true), ..broker_a() };
    server.register(C1, &master);
    server.register(C2, &Broker { id: 1, addr: "127.0.0.1:2", ..master.clone() });
    server.state.registry.connection_closed(C1);
    let ids = |server: &mut NameServer| {
        let route = server.route("TopicT").expect("the slave has it");
        route.broker_datas[0].broker_addrs.keys().copied().collect::<Vec<_>>()
    };
    assert_eq!((ids(&mut server), server.perms("TopicT")), (vec![1], vec![4]));
    server.ask(318, &[], b"supportActingMaster=true");
    assert_eq!(ids(&mut server), [0]);
    server.register(C1, &master);
    assert_eq!((ids(&mut server), server.perms("TopicT")), (vec![0, 1], vec![6]));
}

#[test]
fn routes_of_ordered_topics_say_the_order_where_that_is_switched_on_and_brokers_always_hear_it() {
    let mut server = with_a();
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "TopicT"), ("value", "broker-a:4")];
    server.ask(100, &order, b"");
    assert_eq!(server.route("TopicT").unwrap().order_topic_conf, None);
    server.ask(318, &[], b"orderMessageEnable=true");
    assert_eq!(server.route("TopicT").unwrap().order_topic_conf.as_deref(), Some("broker-a:4"));
    assert_eq!(server.route("TBW102").unwrap().order_topic_conf, None);
    let registered = server.register(C1, &broker_a());
    assert_eq!(KvTable::decode(&registered.body).unwrap().table["TopicT"], "broker-a:4");
    server.ask(318, &[], b"returnOrderTopicConfigToBroker=false");
    assert_eq!(server.register(C1, &broker_a()).body, b"");
}

#[test]
fn a_client_of_a_zone_sees_its_zone_and_names_without_a_master() {
    let mut server = NameServer::default();
    for (name, id, zone) in [("a", 0, "z1"), ("b", 0, "z2"), ("c", 1, "z2")] {
        let addr = format!("h:{name}");
        let broker = Broker { name, id, addr: &addr, acting: Some(true), ..broker_a() };
        let header = RegisterBroker {
            broker_name: name,
            broker_addr: &addr,
            cluster_name: "c",
            ha_server_addr: "",
            broker_id: id,
            heartbeat_timeout_millis: None,
            enable_acting_master: broker.acting,
            compressed: None,
            body_crc32: None,
            whole_table: None,
        };
        let mut header = Header::request(103, 1).with_ext(&header);
        header.ext.push("__ZONE_NAME", zone);
        let body = RegisterBody { data_version: version(1), topics: broker.topics.clone() };
        server.from(C1, &header, &body.encode_json());
    }
    let mut seen = |ext: &[(&str, &str)]| {
        let ext: Vec<_> = [("topic", "TopicT")].iter().chain(ext).copied().collect();
        let route = TopicRoute::decode(&server.ask(105, &ext, b"").body).expect("a route");
        let queues: Vec<_> = route.queue_datas.iter().map(|data| data.broker_name.clone()).collect();
        assert_eq!(queues, route.broker_datas.iter().map(|data| data.broker_name.clone()).collect::<Vec<_>>());
        queues.concat()
    };
    assert_eq!(seen(&[]), "abc");
    assert_eq!(seen(&[("__ZONE_NAME", "z1")]), "abc");
    assert_eq!(seen(&[("__ZONE_NAME", "Z1"), ("__ZONE_MODE", "true")]), "ac");
}

#[test]
fn options_are_changed_by_name_and_nothing_else_is() {
    let mut server = NameServer::default();
    let refused = server.ask(318, &[], b"kvConfigPath=/etc/passwd");
    assert_eq!(refused.header.code, 16);
    assert_eq!(server.ask(318, &[], b"enableAllTopicList=perhaps").header.code, 1);
    assert_eq!(server.ask(318, &[], b"\xff").header.code, 1);
    assert_eq!(server.ask(318, &[], b"").header.code, 0);
    server.state.settings.push(("listenPort".into(), "9876".into()));
    let text = String::from_utf8(server.ask(319, &[], b"").body).expect("text");
    assert!(text.lines().any(|line| line == "orderMessageEnable=false"), "{text}");
    assert!(text.lines().any(|line| line == "listenPort=9876"), "{text}");
}
