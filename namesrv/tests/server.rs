//! The name server over real sockets: well-behaved, silent, malformed and dying peers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmq_namesrv::{Config, Handle, StatsSnapshot, spawn_thread};
use ringmq_proto::remoting::registration::{
    RegisterBody, RegisterBroker, RegisterReply, TopicConfig, UnregisterBroker,
};
use ringmq_proto::remoting::route::{ClusterInfo, GetRoute, TopicRoute};
use ringmq_proto::remoting::{ExtHeader, Header, SerializeType, encode_frame, request_code, split_frame};

const FRAME_MAX: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> Handle {
    spawn_thread(Config::default()).expect("a free port of the loopback")
}

/// A connection that speaks remoting.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    opaque: i32,
}

struct Reply {
    serialize_type: SerializeType,
    header: Header<'static>,
    body: Vec<u8>,
}

impl Peer {
    fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the name server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, input: Vec::new(), opaque: 0 }
    }

    fn send(&mut self, serialize_type: SerializeType, header: &Header<'_>, body: &[u8]) {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, serialize_type, header, body);
        self.stream.write_all(&bytes).expect("the name server reads");
    }

    fn receive(&mut self) -> Reply {
        loop {
            if let Some((frame, size)) = split_frame(&self.input, FRAME_MAX).expect("a frame") {
                let header = frame.decode_header().expect("a header");
                let header = Header {
                    remark: header.remark.map(|remark| remark.into_owned().into()),
                    ext: header.ext.into_owned(),
                    ..Header::request(header.code, header.opaque)
                };
                let reply = Reply { serialize_type: frame.serialize_type, header, body: frame.body.to_vec() };
                self.input.drain(..size);
                return reply;
            }
            let mut bytes = [0; 65536];
            let size = self.stream.read(&mut bytes).expect("an answer in time");
            assert!(size > 0, "the name server closed the connection");
            self.input.extend_from_slice(&bytes[..size]);
        }
    }

    fn ask(&mut self, mut header: Header<'_>, body: &[u8]) -> Reply {
        self.opaque += 1;
        header.opaque = self.opaque;
        self.send(SerializeType::Json, &header, body);
        let reply = self.receive();
        assert_eq!(reply.header.opaque, self.opaque);
        reply
    }

    fn register(&mut self, name: &str, id: i64, addr: &str, topics: &[&str]) -> Reply {
        let body = RegisterBody {
            topics: topics
                .iter()
                .map(|t| TopicConfig { topic_name: (*t).to_owned(), ..TopicConfig::default() })
                .collect(),
            ..RegisterBody::default()
        };
        self.ask(
            Header::request(request_code::REGISTER_BROKER, 0).with_ext(&broker(name, id, addr)),
            &body.encode_json(),
        )
    }

    fn route(&mut self, topic: &str) -> Option<TopicRoute> {
        let header = GetRoute { topic, accept_standard_json_only: Some(true) };
        let reply = self.ask(Header::request(request_code::GET_ROUTEINFO_BY_TOPIC, 0).with_ext(&header), b"");
        match reply.header.code {
            0 => Some(TopicRoute::decode(&reply.body).expect("a route")),
            17 => None,
            other => panic!("code {other}"),
        }
    }

    /// Waits until the server closes, and gives what it said before.
    fn read_to_end(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        bytes
    }
}

fn broker<'a>(name: &'a str, id: i64, addr: &'a str) -> RegisterBroker<'a> {
    RegisterBroker {
        broker_name: name,
        broker_addr: addr,
        cluster_name: "cluster",
        ha_server_addr: "127.0.0.1:10912",
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: None,
        body_crc32: None,
        whole_table: None,
    }
}

/// Waits until the counters are as wished.
fn eventually(server: &Handle, mut wish: impl FnMut(&StatsSnapshot) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wish(&server.stats()) {
        assert!(Instant::now() < deadline, "{:?}", server.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clients_find_what_brokers_registered() {
    let server = start();
    let mut master = Peer::connect(server.addr);
    assert_eq!(master.register("broker-a", 0, "127.0.0.1:10911", &["TopicT", "TopicU"]).header.code, 0);
    let mut slave = Peer::connect(server.addr);
    let reply = slave.register("broker-a", 1, "127.0.0.1:10921", &[]);
    let reply = RegisterReply::decode(&reply.header.ext).unwrap();
    assert_eq!((reply.master_addr, reply.ha_server_addr), (Some("127.0.0.1:10911"), Some("127.0.0.1:10912")));

    let mut client = Peer::connect(server.addr);
    let route = client.route("TopicT").unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs.len(), 2);
    assert_eq!(route.queue_datas[0].write_queue_nums, 16);
    let cluster = client.ask(Header::request(request_code::GET_BROKER_CLUSTER_INFO, 0), b"");
    let cluster = ClusterInfo::decode(&cluster.body).unwrap();
    assert_eq!(cluster.cluster_addr_table["cluster"], ["broker-a"]);

    let leaving = UnregisterBroker {
        broker_name: "broker-a",
        broker_addr: "127.0.0.1:10911",
        cluster_name: "cluster",
        broker_id: 0,
    };
    assert_eq!(master.ask(Header::request(request_code::UNREGISTER_BROKER, 0).with_ext(&leaving), b"").header.code, 0);
    assert!(!client.route("TopicT").unwrap().broker_datas[0].broker_addrs.contains_key(&0));
}

#[test]
fn errors_speak_rocketmqs_words() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    let reply = peer.ask(Header::request(4711, 0), b"");
    assert_eq!((reply.header.code, reply.header.remark.as_deref()), (3, Some(" request type 4711 not supported")));
    let header = GetRoute { topic: "Nowhere", accept_standard_json_only: None };
    let reply = peer.ask(Header::request(105, 0).with_ext(&header), b"");
    let remark = reply.header.remark.unwrap();
    assert_eq!(reply.header.code, 17);
    assert!(remark.starts_with("No topic route info in name server for the topic: Nowhere\n"), "{remark}");
    let reply = peer.ask(Header::request(105, 0), b"");
    assert_eq!((reply.header.code, reply.header.remark.as_deref()), (1, Some("the custom field <topic> is null")));
    let wrong = RegisterBroker { body_crc32: Some(1), ..broker("a", 0, "h:1") };
    let reply = peer.ask(Header::request(103, 0).with_ext(&wrong), b"{}");
    assert_eq!((reply.header.code, reply.header.remark.as_deref()), (1, Some("crc32 not match")));
    let reply = peer.ask(Header::request(103, 0).with_ext(&broker("", 0, "h:1")), b"{}");
    assert_eq!(reply.header.code, 29);
    assert_eq!(server.stats().requests_not_supported, 1);
}

#[test]
fn a_binary_request_gets_a_binary_answer_on_the_same_connection() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    peer.register("a", 0, "h:1", &["T"]);
    let header = GetRoute { topic: "T", accept_standard_json_only: None };
    peer.send(SerializeType::Binary, &Header::request(105, 70).with_ext(&header), b"");
    let reply = peer.receive();
    assert_eq!((reply.serialize_type, reply.header.opaque, reply.header.code), (SerializeType::Binary, 70, 0));
    assert!(TopicRoute::decode(&reply.body).is_ok());
    peer.send(SerializeType::Json, &Header::request(105, 71).with_ext(&header), b"");
    assert_eq!(peer.receive().serialize_type, SerializeType::Json);
}

#[test]
fn a_compressed_registration_counts() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    let topic = TopicConfig { topic_name: "T".to_owned(), ..TopicConfig::default() };
    let body = RegisterBody { topics: vec![topic], ..RegisterBody::default() }.encode_compressed();
    let header = RegisterBroker { compressed: Some(true), ..broker("a", 0, "h:1") };
    assert_eq!(peer.ask(Header::request(103, 0).with_ext(&header), &body).header.code, 0);
    assert!(peer.route("T").is_some());
}

#[test]
fn a_oneway_request_is_carried_out_and_never_answered() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    let body = RegisterBody::default().encode_json();
    peer.send(SerializeType::Json, &Header::request(103, 1).with_ext(&broker("a", 0, "h:1")).oneway(), &body);
    peer.send(SerializeType::Json, &Header::request(4711, 2).oneway(), b"");
    let reply = peer.ask(Header::request(request_code::GET_BROKER_CLUSTER_INFO, 3), b"");
    assert!(ClusterInfo::decode(&reply.body).unwrap().broker_addr_table.contains_key("a"));
    assert_eq!(server.stats().requests, 3);
}

#[test]
fn key_value_configuration_outlives_the_server_and_a_broken_file_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new/kvConfig.json");
    let config = || Config { kv_config: Some(file.clone()), ..Config::default() };
    let fields = |header: Header<'static>, value: Option<&'static str>| {
        let fields = [("namespace", Some("n")), ("key", Some("k")), ("value", value)];
        fields.into_iter().fold(header, |mut header, (name, value)| {
            if let Some(value) = value {
                header.ext.push(name, value);
            }
            header
        })
    };
    let server = spawn_thread(config()).unwrap();
    let mut peer = Peer::connect(server.addr);
    assert_eq!(peer.ask(fields(Header::request(100, 0), Some("v")), b"").header.code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"configTable":{"n":{"k":"v"}}}"#);
    server.stop();
    let server = spawn_thread(config()).unwrap();
    let mut peer = Peer::connect(server.addr);
    assert_eq!(peer.ask(fields(Header::request(101, 0), None), b"").header.ext.get("value"), Some("v"));
    assert_eq!(peer.ask(fields(Header::request(102, 0), None), b"").header.code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"configTable":{}}"#);
    // The file becomes a directory: a change counts, but is not said to be saved.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let reply = peer.ask(fields(Header::request(100, 0), Some("w")), b"");
    let remark = reply.header.remark.unwrap();
    assert!(reply.header.code == 1 && remark.starts_with("changed, but not saved: "), "{remark}");
    assert_eq!(peer.ask(fields(Header::request(101, 0), None), b"").header.ext.get("value"), Some("w"));
    server.stop();
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    assert!(spawn_thread(config()).unwrap_err().to_string().contains("mend it"));
}

#[test]
fn brokers_of_a_name_are_told_unasked_when_their_lowest_id_changes() {
    let server = start();
    let (mut slave, mut master) = (Peer::connect(server.addr), Peer::connect(server.addr));
    let register = |peer: &mut Peer, id, addr| {
        let header = RegisterBroker { enable_acting_master: Some(true), ..broker("a", id, addr) };
        peer.ask(Header::request(103, 0).with_ext(&header), &RegisterBody::default().encode_json());
    };
    register(&mut slave, 1, "h:1");
    register(&mut master, 0, "h:0");
    let told = |peer: &mut Peer| {
        let notice = peer.receive().header;
        assert_eq!(notice.code, request_code::NOTIFY_MIN_BROKER_ID_CHANGE);
        ["minBrokerId", "minBrokerAddr", "offlineBrokerAddr", "brokerName"]
            .map(|name| notice.ext.get(name).map(String::from))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told(&mut slave), [some("0"), some("h:0"), None, some("a")]);
    drop(master);
    assert_eq!(told(&mut slave), [some("1"), some("h:1"), some("h:0"), some("a")]);
    assert!(slave.route("T").is_none(), "the connection goes on");
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_pieces() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    let mut bytes = Vec::new();
    for opaque in 0..1000 {
        encode_frame(&mut bytes, SerializeType::Json, &Header::request(4711, opaque), b"body");
    }
    for piece in bytes.chunks(777) {
        peer.stream.write_all(piece).unwrap();
    }
    for opaque in 0..1000 {
        assert_eq!(peer.receive().header.opaque, opaque);
    }
}

#[test]
fn a_broker_that_dies_leaves_the_routes_at_once() {
    let server = start();
    let mut client = Peer::connect(server.addr);
    for _ in 0..20 {
        let mut dying = Peer::connect(server.addr);
        dying.register("a", 0, "h:1", &["T"]);
        assert!(client.route("T").is_some());
        drop(dying);
        let deadline = Instant::now() + PATIENCE;
        while client.route("T").is_some() {
            assert!(Instant::now() < deadline);
        }
    }
}

#[test]
fn a_broker_that_falls_silent_expires() {
    let server = spawn_thread(Config { expiry_interval: Duration::from_millis(20), ..Config::default() }).unwrap();
    let mut silent = Peer::connect(server.addr);
    let header = RegisterBroker { heartbeat_timeout_millis: Some(200), ..broker("a", 0, "h:1") };
    let body = RegisterBody {
        topics: vec![TopicConfig { topic_name: "T".to_owned(), ..TopicConfig::default() }],
        ..RegisterBody::default()
    };
    silent.ask(Header::request(103, 0).with_ext(&header), &body.encode_json());
    let since = Instant::now();
    let mut client = Peer::connect(server.addr);
    assert!(client.route("T").is_some());
    while client.route("T").is_some() {
        assert!(since.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(since.elapsed() >= Duration::from_millis(200));
    silent.ask(Header::request(103, 0).with_ext(&header), &body.encode_json());
    assert!(client.route("T").is_some(), "it comes back with its next sign of life");
}

#[test]
fn malformed_bytes_end_their_connection_and_no_other() {
    let server = start();
    let mut bystander = Peer::connect(server.addr);
    bystander.register("a", 0, "h:1", &["T"]);
    let mut bad_json = vec![0, 0, 0, 8, 0, 0, 0, 4];
    bad_json.extend_from_slice(b"{\"co");
    let bad: [&[u8]; 6] = [
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 0, 0, 0],
        &[0, 0, 0, 8, 9, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0xff, 0xff, 0xff],
        &[0, 0, 0, 8, 1, 0, 0, 4, 1, 2, 3, 4],
        &bad_json,
    ];
    for bytes in bad {
        let mut peer = Peer::connect(server.addr);
        peer.stream.write_all(bytes).unwrap();
        assert_eq!(peer.read_to_end(), b"", "{bytes:?}");
        // Behind a good request as well, whose answer still comes.
        let mut peer = Peer::connect(server.addr);
        let mut together = Vec::new();
        encode_frame(&mut together, SerializeType::Json, &Header::request(4711, 7), b"");
        together.extend_from_slice(bytes);
        peer.stream.write_all(&together).unwrap();
        assert_eq!(peer.receive().header.opaque, 7);
        assert_eq!(peer.read_to_end(), b"", "{bytes:?}");
    }
    eventually(&server, |stats| stats.closed_malformed == 12 && stats.connections == 1);
    assert!(bystander.route("T").is_some());
    assert_eq!(server.stats().panics, 0);
}

#[test]
fn an_error_repeats_only_a_part_of_what_was_sent() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    let long = "\u{1}".repeat(80 << 10);
    let header = GetRoute { topic: &long, accept_standard_json_only: None };
    let reply = peer.ask(Header::request(105, 0).with_ext(&header), b"");
    assert_eq!((reply.header.code, reply.header.remark.unwrap().len()), (17, 4096));
    let body =
        format!(r#"{{"topicConfigSerializeWrapper":{{"dataVersion":{{"counter":"{}"}}}}}}"#, "x".repeat(10 << 20));
    let reply = peer.ask(Header::request(103, 0).with_ext(&broker("a", 0, "h:1")), body.as_bytes());
    assert_eq!((reply.header.code, reply.header.remark.unwrap().len()), (1, 4096));
    assert_eq!(server.stats().panics, 0);
}

#[test]
fn random_bytes_never_hurt() {
    let server = start();
    // A fixed xorshift: the same bytes every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..300 {
        let mut bytes: Vec<u8> = (0..round % 200)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        // Every other one gets as far as the header.
        if round % 2 == 0 && bytes.len() > 8 {
            let size = u32::try_from(bytes.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&size.to_be_bytes());
            bytes[4..8].copy_from_slice(&(size - 4).to_be_bytes());
            bytes[4] = u8::try_from(round / 2 % 2).unwrap();
        }
        let mut stream = TcpStream::connect(server.addr).unwrap();
        // The server may close before all is written.
        drop(stream.write_all(&bytes));
    }
    eventually(&server, |stats| stats.accepted == 300 && stats.connections == 0);
    assert_eq!((server.stats().panics, server.stats().buffered_bytes), (0, 0));
    assert!(Peer::connect(server.addr).route("T").is_none());
}

#[test]
fn first_bytes_of_other_protocols_are_told_apart() {
    let server = start();
    for http in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /x HTTP/1.1\r\n\r\n", "PUT /"] {
        let mut peer = Peer::connect(server.addr);
        peer.stream.write_all(http.as_bytes()).unwrap();
        let answer = String::from_utf8(peer.read_to_end()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(body.matches('\n').count(), 1, "one sentence: {body}");
    }
    let others: [&[u8]; 5] =
        [b"\xb1RMQ\x01\0\0\0", b"\x80\x03\x01\x02\0", b"PROXY TCP4", b"\r\n\r\n\0\r\nQUIT\n", b"\x01\0\0\0"];
    for other in others {
        let mut peer = Peer::connect(server.addr);
        peer.stream.write_all(other).unwrap();
        assert_eq!(peer.read_to_end(), b"");
    }
    eventually(&server, |stats| stats.answered_http == 3 && stats.closed_other_protocol == 5 && stats.connections == 0);
}

#[test]
fn an_undecided_first_byte_is_not_waited_for_long() {
    let server = start();
    let mut peer = Peer::connect(server.addr);
    peer.stream.write_all(b"P").unwrap();
    let since = Instant::now();
    assert_eq!(peer.read_to_end(), b"");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(server.stats().closed_slow, 1);
}

#[test]
fn a_thousand_silent_connections_cost_no_buffer_and_time_out() {
    let server = spawn_thread(Config { idle_time_max: Duration::from_millis(2500), ..Config::default() }).unwrap();
    let silent: Vec<_> = (0..1000).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
    eventually(&server, |stats| stats.connections == 1000);
    assert_eq!(server.stats().buffered_bytes, 0);
    let mut client = Peer::connect(server.addr);
    client.register("a", 0, "h:1", &["T"]);
    assert!(client.route("T").is_some(), "others do not notice");
    eventually(&server, |stats| {
        client.route("T");
        stats.closed_idle == 1000
    });
    assert_eq!(server.stats().connections, 1, "who speaks stays");
    drop(silent);
}

#[test]
fn a_frame_that_trickles_is_given_up() {
    let server = spawn_thread(Config { frame_time_max: Duration::from_millis(300), ..Config::default() }).unwrap();
    let mut peer = Peer::connect(server.addr);
    let mut frame = Vec::new();
    encode_frame(&mut frame, SerializeType::Json, &Header::request(106, 1), b"");
    for byte in frame {
        if peer.stream.write_all(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually(&server, |stats| stats.closed_slow == 1 && stats.connections == 0);
}

#[test]
fn a_peer_that_takes_no_answers_is_given_up() {
    let server = spawn_thread(Config { frame_time_max: Duration::from_millis(300), ..Config::default() }).unwrap();
    let mut broker = Peer::connect(server.addr);
    for index in 0..500 {
        broker.register(&format!("a-broker-with-a-name-of-some-length-{index}"), 0, "h:1", &["T"]);
    }
    let mut greedy = Peer::connect(server.addr);
    greedy.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut requests = Vec::new();
    for opaque in 0..2000 {
        encode_frame(&mut requests, SerializeType::Json, &Header::request(106, opaque), b"");
    }
    drop(greedy.stream.write_all(&requests));
    eventually(&server, |stats| stats.closed_slow == 1);
    assert!(broker.route("T").is_some());
}

#[test]
fn connection_count_max() {
    let server = spawn_thread(Config { connection_count_max: 3, ..Config::default() }).unwrap();
    let mut kept: Vec<_> = (0..3).map(|_| Peer::connect(server.addr)).collect();
    for peer in &mut kept {
        assert!(peer.route("T").is_none());
    }
    assert_eq!(Peer::connect(server.addr).read_to_end(), b"");
    assert_eq!(server.stats().refused_full, 1);
    drop(kept.pop());
    eventually(&server, |stats| stats.connections == 2);
    assert!(Peer::connect(server.addr).route("T").is_none());
}

#[test]
fn frame_size_bytes_max() {
    let server = spawn_thread(Config { frame_size_bytes_max: 4096, ..Config::default() }).unwrap();
    let mut peer = Peer::connect(server.addr);
    peer.stream.write_all(&4093_u32.to_be_bytes()).unwrap();
    assert_eq!(peer.read_to_end(), b"", "closed before the rest has come");
    assert_eq!(server.stats().closed_malformed, 1);
}

#[test]
fn buffered_bytes_max() {
    let server = spawn_thread(Config { buffered_bytes_max: 1 << 20, ..Config::default() }).unwrap();
    let mut greedy = Peer::connect(server.addr);
    let mut bytes = (8_u32 << 20).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 2]);
    bytes.resize(8 << 20, b'x');
    drop(greedy.stream.write_all(&bytes));
    eventually(&server, |stats| stats.closed_no_memory == 1 && stats.buffered_bytes == 0);
    assert!(Peer::connect(server.addr).route("T").is_none());
}

#[test]
fn several_name_servers_stand_side_by_side() {
    let mut servers: Vec<_> = (0..3).map(|_| start()).collect();
    for server in &servers {
        let mut peer = Peer::connect(server.addr);
        peer.register("a", 0, "h:1", &["T"]);
        assert!(peer.route("T").is_some());
    }
    let mut broker_at_last = Peer::connect(servers[2].addr);
    broker_at_last.register("b", 0, "h:2", &["only-there"]);
    assert!(Peer::connect(servers[0].addr).route("only-there").is_none(), "they do not know each other");
    servers.remove(0).stop();
    assert!(broker_at_last.route("only-there").is_some());
}

#[test]
fn a_stopped_server_closes_its_connections_and_frees_its_port() {
    let server = start();
    let addr = server.addr;
    let mut peer = Peer::connect(addr);
    peer.register("a", 0, "h:1", &["T"]);
    server.stop();
    assert_eq!(peer.read_to_end(), b"");
    let again = spawn_thread(Config { listen: addr, ..Config::default() }).unwrap();
    assert!(Peer::connect(again.addr).route("T").is_none(), "it starts from nothing");
    let taken = spawn_thread(Config { listen: addr, ..Config::default() });
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
}
