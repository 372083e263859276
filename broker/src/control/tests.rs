use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ringmq_proto::code::Code;
use ringmq_proto::remoting::registration::{RegisterBody, RegisterBroker};
use ringmq_proto::remoting::{ExtHeader, Header, SerializeType, encode_frame, request_code, split_frame};

use super::hub::{Event, Hub};
use super::metrics::Snapshot;
use super::operations::{Operations, OperationsPlan};
use super::registration::{Identity, PERM_ALL};
use crate::net::driver::Ended;
use crate::net::plane::Mail;
use crate::shard::io::{ControlInput, ControlOutput, Fatal, TopicNotice, TopicShape};

/// Code, broker name and topics of a request.
type Told = (i32, String, Vec<String>);

fn name_server() -> (SocketAddr, Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let told = told.clone();
            std::thread::spawn(move || answer(stream.expect("accepts"), &told));
        }
    });
    (address, heard)
}

fn answer(mut stream: TcpStream, told: &Sender<Told>) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 65536];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..count]);
        while let Some((frame, size)) = split_frame(&buffer, 1 << 20).expect("a frame") {
            let header = frame.decode_header().expect("a header");
            let mut topics = Vec::new();
            if header.code == request_code::REGISTER_BROKER {
                let typed = RegisterBroker::decode(&header.ext).expect("fields");
                assert_eq!(typed.heartbeat_timeout_millis, Some(10_000));
                let body = RegisterBody::decode(&typed, header.version, frame.body).expect("a body");
                topics = body.topics.into_iter().map(|topic| topic.topic_name).collect();
            }
            let name = header.ext.get("brokerName").expect("named").to_owned();
            let mut reply = Vec::new();
            let mut answer = Header::response(Code::SUCCESS, header.opaque);
            answer.ext.push("wholeTable", "true");
            encode_frame(&mut reply, SerializeType::Json, &answer, &[]);
            let told_of = (header.code, name, topics);
            buffer.drain(..size);
            if stream.write_all(&reply).is_err() || told.send(told_of).is_err() {
                return;
            }
        }
    }
}

fn identity(name: &str) -> Identity {
    let (cluster, address) = ("C".into(), "127.0.0.1:10911".into());
    Identity { name: name.into(), cluster, address, default_topic_queue_count: Some(8), shard_count: 1, perm: PERM_ALL }
}

fn notice(topic: &str, version: u64) -> TopicNotice {
    TopicNotice { topic: topic.into(), version, shape: TopicShape::plain(4, 6), ordered: false, deleted: false }
}

fn plan(names: &[&str], name_servers: Vec<String>) -> OperationsPlan {
    let identities = names.iter().map(|name| identity(name)).collect();
    OperationsPlan {
        identities,
        name_servers,
        name_server_tls: None,
        listener: None,
        tls: None,
        exit_on_failed_shard: false,
        data: None,
    }
}

/// Stops as the process does: each shard, asked to, ends.
fn stop(operations: Operations, hub: &Hub) {
    operations.stopper().stop();
    for shard in 0..hub.shard_count() {
        mail(hub, shard, |mail| matches!(mail, Mail::Stop).then_some(()));
        hub.tell(Event::Ended { shard, ended: Ended::Stopped });
    }
    operations.join();
}

/// Waits for mail that `wanted` picks.
fn mail<T>(hub: &Hub, shard: usize, wanted: impl Fn(&Mail) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(found) = hub.take(shard).iter().find_map(&wanted) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no such mail for shard {shard}");
}

fn offered(mail: &Mail) -> Option<TopicNotice> {
    match mail {
        Mail::Control(ControlInput::TopicOfSibling(notice)) => Some(notice.clone()),
        _ => None,
    }
}

#[test]
fn shards_are_registered_with_their_topics_told_of_changes_and_unregistered_at_the_end() {
    let (address, heard) = name_server();
    let (hub, events) = Hub::new(1);
    let plan = plan(&["a"], vec![address.to_string()]);
    let operations = Operations::start(plan, hub.clone(), events).expect("starts");
    mail(&hub, 0, |mail| matches!(mail, Mail::Control(ControlInput::ReportTopics)).then_some(()));
    hub.tell(Event::Control { shard: 0, message: ControlOutput::Topics(vec![notice("t", 1)]) });
    operations.wait_until_ready();
    let told = heard.recv().expect("registered");
    assert_eq!(told, (103, "a".into(), ["C", "SELF_TEST_TOPIC", "TBW102", "a", "t"].map(String::from).to_vec()));
    let begun = Instant::now();
    hub.tell(Event::Control { shard: 0, message: ControlOutput::Topics(vec![notice("u", 1)]) });
    assert_eq!(heard.recv().expect("registered").2, ["C", "SELF_TEST_TOPIC", "TBW102", "a", "t", "u"]);
    assert!(begun.elapsed() < Duration::from_secs(2), "a change does not wait for the beat");
    stop(operations, &hub);
    assert_eq!(heard.iter().next(), Some((104, "a".into(), vec![])));
}

#[test]
fn unreachable_name_server_delays_readiness_by_three_seconds_only() {
    let (hub, events) = Hub::new(1);
    let plan = plan(&["a"], vec!["127.0.0.1:1".into()]);
    let begun = Instant::now();
    let operations = Operations::start(plan, hub.clone(), events).expect("starts");
    hub.tell(Event::Control { shard: 0, message: ControlOutput::Topics(vec![]) });
    operations.wait_until_ready();
    assert!((2..5).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    stop(operations, &hub);
}

#[test]
fn topic_of_one_shard_reaches_its_sibling_also_when_it_was_made_before_the_start() {
    let (hub, events) = Hub::new(2);
    let plan = plan(&["a", "s1-a"], vec![]);
    let operations = Operations::start(plan, hub.clone(), events).expect("starts");
    hub.tell(Event::Control { shard: 0, message: ControlOutput::Topics(vec![notice("old", 3)]) });
    assert_eq!(mail(&hub, 1, offered), notice("old", 3), "found by comparison");
    let message = ControlOutput::TopicForSiblings { notice: notice("new", 1), ticket: Some(9) };
    hub.tell(Event::Control { shard: 1, message });
    assert_eq!(mail(&hub, 0, |mail| offered(mail).filter(|notice| notice.topic == "new")), notice("new", 1));
    let (topic, failure) = ("new".into(), Some("the disk is full".into()));
    hub.tell(Event::Control { shard: 0, message: ControlOutput::SiblingTopicDone { topic, version: 1, failure } });
    let failures = mail(&hub, 1, |mail| match mail {
        Mail::Control(ControlInput::SiblingsAnswered { ticket: 9, failures }) => Some(failures.clone()),
        _ => None,
    });
    assert_eq!(failures, [("a".to_owned(), "the disk is full".to_owned())]);
    stop(operations, &hub);
}

#[test]
fn failed_shard_is_unhealthy_and_unregistered_and_the_last_end_is_told() {
    let (address, heard) = name_server();
    let (hub, events) = Hub::new(2);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound");
    let plan = plan(&["a", "s1-a"], vec![address.to_string()]);
    let plan = OperationsPlan { listener: Some(listener), ..plan };
    let operations = Operations::start(plan, hub.clone(), events).expect("starts");
    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").starts_with("HTTP/1.1 503"));
    for shard in 0..2 {
        hub.tell(Event::Control { shard, message: ControlOutput::Topics(vec![]) });
    }
    operations.wait_until_ready();
    assert!(get(port, "/readyz").starts_with("HTTP/1.1 200"));
    let mut snapshot = Snapshot::default();
    snapshot.counter("commits", "Commits", 4);
    hub.tell(Event::Published { shard: 1, snapshot: Box::new(snapshot) });
    assert!(get(port, "/metrics").contains("ringmq_commits_total{shard=\"s1-a\"} 4"));
    hub.tell(Event::Ended { shard: 1, ended: Ended::Failed(Fatal("the disk is gone".into())) });
    let unregistered = heard.iter().find(|(code, ..)| *code == 104).expect("unregistered");
    assert_eq!(unregistered.1, "s1-a");
    let health = get(port, "/healthz");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("s1-a has failed: the disk is gone"), "{health}");
    hub.tell(Event::Ended { shard: 0, ended: Ended::Stopped });
    operations.join();
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sends");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("is answered");
    text
}
