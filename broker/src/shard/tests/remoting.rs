//! The remoting dialect, as RocketMQ's clients speak it.

use super::world::{World, send_one};
use crate::shard::Settings;
use crate::shard::io::{ConnectionId, ControlInput, ControlOutput, Input};
use ringmq_proto::code::Code;
use ringmq_proto::message::client_batch::ClientBatchMessage;
use ringmq_proto::message::properties::Properties;
use ringmq_proto::message::stored::{iter_stored, sys_flag};
use ringmq_proto::remoting::consumer::{ConsumerList, LockBatchBody, LockBatchReply};
use ringmq_proto::remoting::header::VERSION_REPORTED;
use ringmq_proto::remoting::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use ringmq_proto::remoting::message_queue::MessageQueue;
use ringmq_proto::remoting::pull::pull_flag;
use ringmq_proto::remoting::send::{SendHeader, encode_send_request};
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code as code, split_frame};

const MS: u64 = 1_000_000;

/// A frame that came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) header: Header<'static>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn code(&self) -> Code {
        self.header.response_code()
    }

    pub(super) fn ext(&self, name: &str) -> &str {
        self.header.ext.get(name).unwrap_or_default()
    }

    /// Bodies and properties of the messages in it.
    pub(super) fn messages(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let messages = iter_stored(&self.body).map(|message| message.expect("a stored message").parts);
        messages.map(|parts| (parts.body.to_vec(), parts.properties.to_vec())).collect()
    }
}

pub(super) fn answers(world: &mut World, connection: ConnectionId) -> Vec<Answer> {
    let bytes = world.bytes(connection);
    let (mut answers, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((frame, size)) = split_frame(rest, usize::MAX).expect("a frame") {
        let header = frame.decode_header().expect("a header").into_owned();
        answers.push(Answer { header, body: frame.body.to_vec() });
        rest = &rest[size..];
    }
    assert!(rest.is_empty(), "whole frames only");
    answers
}

pub(super) fn answer(world: &mut World, connection: ConnectionId) -> Answer {
    let mut answers = answers(world, connection);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

pub(super) fn request(request_code: i32, opaque: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut header = Header::request(request_code, opaque);
    for (name, value) in ext {
        header.ext.push((*name).to_owned(), (*value).to_owned());
    }
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, SerializeType::Json, &header, body);
    bytes
}

pub(super) fn oneway(request_code: i32, opaque: i32, ext: &[(&str, &str)]) -> Vec<u8> {
    let mut header = Header::request(request_code, opaque).oneway();
    for (name, value) in ext {
        header.ext.push((*name).to_owned(), (*value).to_owned());
    }
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, SerializeType::Json, &header, b"");
    bytes
}

fn send_header<'a>(topic: &'a str, properties: &'a str) -> SendHeader<'a> {
    SendHeader {
        producer_group: "p",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_001,
        flag: 7,
        properties: Some(properties),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: None,
    }
}

pub(super) fn send(opaque: i32, topic: &str, properties: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = send_header(topic, properties);
    encode_send_request(&mut bytes, SerializeType::Json, (code::SEND_MESSAGE_V2, opaque), false, &header, body);
    bytes
}

/// The first half of a transaction.
pub(super) fn send_half(opaque: i32, topic: &str, properties: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let properties = format!("TRAN_MSG\u{1}true\u{2}{properties}");
    let header = SendHeader { sys_flag: sys_flag::TRANSACTION_PREPARED, ..send_header(topic, &properties) };
    encode_send_request(&mut bytes, SerializeType::Json, (code::SEND_MESSAGE_V2, opaque), false, &header, body);
    bytes
}

pub(super) fn pull(opaque: i32, topic: &str, offset: u64, expression: &str, wait_ms: u64) -> Vec<u8> {
    let suspend = if wait_ms > 0 { pull_flag::SUSPEND } else { 0 };
    let ext = [
        ("consumerGroup", "g".to_owned()),
        ("topic", topic.to_owned()),
        ("queueId", "0".to_owned()),
        ("queueOffset", offset.to_string()),
        ("maxMsgNums", "32".to_owned()),
        ("sysFlag", (pull_flag::SUBSCRIPTION | suspend).to_string()),
        ("commitOffset", "0".to_owned()),
        ("suspendTimeoutMillis", wait_ms.to_string()),
        ("subVersion", "0".to_owned()),
        ("subscription", expression.to_owned()),
        ("expressionType", "TAG".to_owned()),
    ];
    let ext: Vec<_> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
    request(code::PULL_MESSAGE, opaque, &ext, b"")
}

pub(super) fn beat(client_id: &str, group: &str) -> Vec<u8> {
    beat_of(client_id, group, VERSION_REPORTED)
}

/// The heartbeat of a client of this version.
pub(super) fn beat_of(client_id: &str, group: &str, version: i32) -> Vec<u8> {
    let subscription = SubscriptionData { topic: "t".into(), sub_string: "*".into(), ..SubscriptionData::default() };
    let consumer =
        ConsumerData { group_name: group.into(), subscription_data_set: vec![subscription], ..ConsumerData::default() };
    let data =
        HeartbeatData { client_id: client_id.into(), consumer_data_set: vec![consumer], ..HeartbeatData::default() };
    let mut bytes = Vec::new();
    let header = Header { version, ..Header::request(code::HEART_BEAT, 1) };
    encode_frame(&mut bytes, SerializeType::Json, &header, &data.encode());
    bytes
}

#[test]
fn send_creates_its_topic_and_is_answered_when_it_is_durable() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    world.give(client, &send(3, "t", "KEYS\u{1}k\u{2}WAIT\u{1}true\u{2}UNIQ_KEY\u{1}U1", b"hello"));
    world.turn();
    assert!(answers(&mut world, client).is_empty(), "nothing before the flush");
    world.settle();
    let answer = answer(&mut world, client);
    assert_eq!((answer.code(), answer.header.opaque), (Code::SUCCESS, 3));
    assert_eq!((answer.ext("queueId"), answer.ext("queueOffset"), answer.ext("transactionId")), ("0", "0", "U1"));
    assert_eq!(answer.ext("msgId").len(), 32);
    assert_eq!(world.shard.store().state().topic("t").map(|topic| topic.queues.len()), Some(4), "as the client wished");
}

#[test]
fn pulled_message_is_what_was_sent_with_what_the_broker_adds() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    world.give(client, &send(1, "t", "a\u{1}5\u{2}WAIT\u{1}true\u{2}POP_CK\u{1}x", b"hello"));
    world.settle();
    let sent = answer(&mut world, client);
    world.give(client, &pull(2, "t", 0, "*", 0));
    let pulled = answer(&mut world, client);
    assert_eq!((pulled.code(), pulled.ext("nextBeginOffset")), (Code::SUCCESS, "1"));
    assert_eq!((pulled.ext("minOffset"), pulled.ext("maxOffset")), ("0", "1"));
    let messages = pulled.messages();
    let properties = Properties::new(&messages[0].1);
    assert_eq!(messages[0].0, b"hello");
    assert_eq!(properties.get_str("a"), Some("5"));
    assert_eq!(properties.get_str("CLUSTER"), Some("DefaultCluster"));
    assert_eq!((properties.get("WAIT"), properties.get("POP_CK")), (None, None));
    let id = sent.ext("msgId");
    let position = u64::from_str_radix(&id[16..], 16).expect("hex").to_string();
    world.give(client, &request(code::VIEW_MESSAGE_BY_ID, 3, &[("offset", &position)], b""));
    assert_eq!(answer(&mut world, client).body, pulled.body, "the id finds it");
}

#[test]
fn batches_of_both_dialects_come_out_message_by_message() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    world.give(client, &send(1, "t", "", b"first"));
    world.settle();
    answer(&mut world, client);
    let mut body = Vec::new();
    for text in [b"b0", b"b1", b"b2"] {
        ClientBatchMessage { flag: 0, body: text, properties: b"UNIQ_KEY\x01u" }.append_to(&mut body);
    }
    let mut bytes = Vec::new();
    let header = SendHeader { batch: Some(true), ..send_header("t", "") };
    encode_send_request(&mut bytes, SerializeType::Binary, (code::SEND_BATCH_MESSAGE, 2), false, &header, &body);
    world.give(client, &bytes);
    world.settle();
    let sent = answer(&mut world, client);
    assert_eq!(sent.ext("queueOffset"), "1");
    let ids: Vec<_> = sent.ext("msgId").split(',').map(str::to_owned).collect();
    assert_eq!(ids.len(), 3);
    world.give(client, &pull(3, "t", 2, "*", 0));
    let pulled = answer(&mut world, client);
    let bodies: Vec<_> = pulled.messages().into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies, [b"b1", b"b2"], "from the middle of the record");
    let position = u64::from_str_radix(&ids[2][16..], 16).expect("hex").to_string();
    world.give(client, &request(code::VIEW_MESSAGE_BY_ID, 4, &[("offset", &position)], b""));
    assert_eq!(answer(&mut world, client).messages()[0].0, b"b2", "each message has an id of its own");
}

#[test]
fn held_pull_moves_behind_what_its_filter_rules_out_and_is_woken_by_what_it_wants() {
    let mut world = World::new(Settings::default());
    let (producer, consumer) = (world.open_connection(), world.open_connection());
    world.give(producer, &send(1, "t", "TAGS\u{1}A", b"a"));
    world.settle();
    world.give(consumer, &pull(9, "t", 0, "B", 5000));
    world.settle();
    assert!(answers(&mut world, consumer).is_empty(), "held");
    world.give(producer, &send(2, "t", "TAGS\u{1}A", b"a"));
    world.settle();
    assert!(answers(&mut world, consumer).is_empty(), "still nothing for it");
    world.give(producer, &send(3, "t", "TAGS\u{1}B", b"b"));
    world.settle();
    let pulled = answer(&mut world, consumer);
    assert_eq!((pulled.code(), pulled.ext("nextBeginOffset")), (Code::SUCCESS, "3"));
    assert_eq!(pulled.messages()[0].0, b"b");
    world.give(consumer, &pull(10, "t", 0, "C", 100));
    world.pass(200 * MS);
    let nothing = answer(&mut world, consumer);
    assert_eq!((nothing.code(), nothing.ext("nextBeginOffset")), (Code::PULL_NOT_FOUND, "3"));
    world.give(consumer, &pull(11, "t", 0, "C", 0));
    let retry = answer(&mut world, consumer);
    assert_eq!((retry.code(), retry.ext("nextBeginOffset")), (Code::PULL_RETRY_IMMEDIATELY, "3"));
    world.give(consumer, &pull(12, "t", 99, "*", 0));
    let moved = answer(&mut world, consumer);
    assert_eq!((moved.code(), moved.ext("nextBeginOffset")), (Code::PULL_OFFSET_MOVED, "3"));
}

#[test]
fn members_of_a_group_hear_of_each_other_at_once() {
    let mut world = World::new(Settings::default());
    let (a, b) = (world.open_connection(), world.open_connection());
    world.give(a, &beat("a", "g"));
    world.settle();
    let heard = answers(&mut world, a);
    assert_eq!(heard.iter().map(|answer| answer.header.code).collect::<Vec<_>>(), [0, 40]);
    assert!(world.shard.store().state().topic("%RETRY%g").is_some());
    world.give(b, &beat("b", "g"));
    assert_eq!(answer(&mut world, a).ext("consumerGroup"), "g");
    answers(&mut world, b);
    world.give(b, &beat("b", "g"));
    assert!(answers(&mut world, a).is_empty(), "nothing new");
    answers(&mut world, b);
    world.give(a, &request(code::GET_CONSUMER_LIST_BY_GROUP, 5, &[("consumerGroup", "g")], b""));
    let list = ConsumerList::decode(&answer(&mut world, a).body).expect("a list");
    assert_eq!(list.consumer_id_list, ["a", "b"]);
    world.input(crate::shard::io::Input::Closed { connection: b });
    assert_eq!(answer(&mut world, a).header.code, code::NOTIFY_CONSUMER_IDS_CHANGED);
}

#[test]
fn locks_of_a_closed_connection_are_free() {
    let mut world = World::new(Settings::default());
    let (a, b) = (world.open_connection(), world.open_connection());
    world.give(a, &send(1, "t", "", b"x"));
    world.settle();
    answers(&mut world, a);
    let lock = |client: &str| {
        let queue = MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: "t".into() };
        let body = LockBatchBody {
            client_id: client.into(),
            consumer_group: "g".into(),
            mq_set: vec![queue],
            only_this_broker: None,
        };
        request(code::LOCK_BATCH_MQ, 2, &[], &body.encode())
    };
    let locked = |world: &mut World, connection| {
        LockBatchReply::decode(&answer(world, connection).body).expect("a reply").lock_ok_mq_set.len()
    };
    world.give(a, &lock("a"));
    assert_eq!(locked(&mut world, a), 1);
    world.give(b, &lock("b"));
    assert_eq!(locked(&mut world, b), 0);
    world.input(crate::shard::io::Input::Closed { connection: a });
    world.give(b, &lock("b"));
    assert_eq!(locked(&mut world, b), 1);
}

#[test]
fn offsets_are_committed_and_a_new_group_begins_at_the_beginning_of_a_young_queue() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    world.give(client, &send(1, "t", "", b"x"));
    world.settle();
    answers(&mut world, client);
    let queue = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "0")];
    let query = request(code::QUERY_CONSUMER_OFFSET, 2, &queue, b"");
    world.give(client, &query);
    assert_eq!(answer(&mut world, client).ext("offset"), "0");
    let strict = [queue.as_slice(), &[("setZeroIfNotFound", "false")]].concat();
    world.give(client, &request(code::QUERY_CONSUMER_OFFSET, 2, &strict, b""));
    assert_eq!(answer(&mut world, client).code(), Code::QUERY_NOT_FOUND);
    let commit = [queue.as_slice(), &[("commitOffset", "1")]].concat();
    world.give(client, &request(code::UPDATE_CONSUMER_OFFSET, 3, &commit, b""));
    world.settle();
    assert_eq!(answer(&mut world, client).code(), Code::SUCCESS);
    world.give(client, &query);
    assert_eq!(answer(&mut world, client).ext("offset"), "1");
    for (request_code, expected) in [(code::GET_MAX_OFFSET, "1"), (code::GET_MIN_OFFSET, "0")] {
        world.give(client, &request(request_code, 4, &queue[1..], b""));
        assert_eq!(answer(&mut world, client).ext("offset"), expected);
    }
}

#[test]
fn what_cannot_be_done_is_answered_in_rocketmq_words() {
    let mut world = World::new(Settings { auto_create_topics: false, ..Settings::default() });
    let client = world.open_connection();
    world.give(client, &request(9999, 1, &[], b""));
    let unknown = answer(&mut world, client);
    assert_eq!(unknown.code(), Code::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(unknown.header.remark.as_deref(), Some(" request type 9999 not supported"));
    world.give(client, &send(2, "absent", "", b"x"));
    let absent = answer(&mut world, client);
    assert_eq!(absent.code(), Code::TOPIC_NOT_EXIST);
    assert!(absent.header.remark.as_deref().is_some_and(|remark| remark.contains("topic[absent] not exist")));
    world.give(client, &send(3, "SCHEDULE_TOPIC_XXXX", "", b"x"));
    assert_eq!(answer(&mut world, client).code(), Code::NO_PERMISSION);
    world.give(client, &request(code::GET_MAX_OFFSET, 4, &[("topic", "t")], b""));
    assert_eq!(answer(&mut world, client).code(), Code::SYSTEM_ERROR, "a field is missing");
    world.give(client, &request(code::HEART_BEAT, 5, &[], b"{"));
    assert_eq!(answer(&mut world, client).code(), Code::SYSTEM_ERROR, "half a body");
    assert!(world.closed.is_empty());
    world.give(client, b"\x00\x00\x00\x08\x09\x00\x00\x00\x00\x00\x00\x00");
    assert!(world.closed.contains_key(&client), "no such serialization");
}

#[test]
fn oneway_requests_are_never_answered() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    let mut bytes = Vec::new();
    let header = send_header("t", "");
    encode_send_request(&mut bytes, SerializeType::Json, (code::SEND_MESSAGE_V2, 1), true, &header, b"x");
    world.give(client, &bytes);
    let mut unknown = Vec::new();
    encode_frame(&mut unknown, SerializeType::Json, &Header::request(9999, 2).oneway(), b"");
    world.give(client, &unknown);
    world.settle();
    assert!(world.bytes(client).is_empty());
    world.give(client, &pull(3, "t", 0, "*", 0));
    assert_eq!(answer(&mut world, client).messages().len(), 1, "and yet carried out");
}

#[test]
fn frames_may_come_in_pieces_of_any_size() {
    let frames = [send(1, "t", "a\u{1}b", b"hello"), pull(2, "t", 0, "*", 0)];
    let mut expected = None;
    for piece in [1, 3, 7, 64, 10_000] {
        let mut world = World::new(Settings::default());
        let client = world.open_connection();
        for frame in &frames {
            for part in frame.chunks(piece) {
                world.give(client, part);
            }
            world.settle();
        }
        let heard = world.bytes(client);
        assert_eq!(expected.get_or_insert_with(|| heard.clone()), &heard, "pieces of {piece}");
    }
}

#[test]
fn both_dialects_share_queues() {
    let mut world = World::new(Settings::default());
    let native = world.connect();
    let handle = world.open_queue(native, "t", 0).handle;
    world.give(native, &send_one(1, handle, b"from native"));
    world.settle();
    world.replies(native);
    let client = world.open_connection();
    world.give(client, &pull(1, "t", 0, "*", 0));
    assert_eq!(answer(&mut world, client).messages()[0].0, b"from native");
}

#[test]
fn reply_is_pushed_to_the_client_that_asked() {
    let mut world = World::new(Settings::default());
    let (asker, answerer) = (world.open_connection(), world.open_connection());
    world.give(asker, &beat("asker", "g"));
    world.settle();
    answers(&mut world, asker);
    let reply = |to: &str| {
        let properties = format!("CORRELATION_ID\u{1}7\u{2}REPLY_TO_CLIENT\u{1}{to}");
        let mut bytes = Vec::new();
        let header = send_header("DefaultCluster_REPLY_TOPIC", &properties);
        let codes = (code::SEND_REPLY_MESSAGE_V2, 4);
        encode_send_request(&mut bytes, SerializeType::Json, codes, false, &header, b"pong");
        bytes
    };
    world.give(answerer, &reply("asker"));
    assert_eq!(answer(&mut world, answerer).code(), Code::SUCCESS);
    let pushed = answer(&mut world, asker);
    assert_eq!((pushed.header.code, pushed.body.as_slice()), (code::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"pong"[..]));
    assert!(pushed.ext("properties").contains("CORRELATION_ID\u{1}7"));
    world.give(answerer, &reply("nobody"));
    assert_eq!(answer(&mut world, answerer).code(), Code::SYSTEM_ERROR);
}

#[test]
fn reply_to_an_asker_on_another_shard_is_handed_over() {
    let mut worlds = [0; 2].map(|_| World::new(Settings { sibling_count: 1, ..Settings::default() }));
    let [here, there] = &mut worlds;
    let (answerer, asker) = (here.open_connection(), there.open_connection());
    there.give(asker, &beat("asker", "g"));
    there.settle();
    answers(there, asker);
    let offered = |world: &mut World| {
        world.control.drain(..).find_map(|output| match output {
            ControlOutput::ReplyForSiblings { ticket, reply } => Some((ticket, reply)),
            _ => None,
        })
    };
    for (to, is_there) in [("asker", true), ("nobody", false)] {
        let properties = format!("CORRELATION_ID\u{1}7\u{2}REPLY_TO_CLIENT\u{1}{to}");
        let mut bytes = Vec::new();
        let header = send_header("DefaultCluster_REPLY_TOPIC", &properties);
        let codes = (code::SEND_REPLY_MESSAGE_V2, 4);
        encode_send_request(&mut bytes, SerializeType::Json, codes, false, &header, b"pong");
        here.give(answerer, &bytes);
        assert!(answers(here, answerer).is_empty(), "it waits for the sibling");
        let (ticket, reply) = offered(here).expect("an offer");
        there.input(Input::Control(ControlInput::ReplyOfSibling { from: 5, ticket, reply }));
        let done = ControlOutput::SiblingReplyDone { from: 5, ticket, pushed: is_there };
        assert!(there.control.contains(&done), "{:?}", there.control);
        let pushed = answers(there, asker);
        assert_eq!(pushed.len(), usize::from(is_there));
        for push in pushed {
            assert_eq!((push.header.code, push.body.as_slice()), (code::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"pong"[..]));
            assert!(push.ext("properties").contains("CORRELATION_ID\u{1}7"));
        }
        here.input(Input::Control(ControlInput::ReplyHandedOver { ticket, pushed: is_there }));
        assert_eq!(answer(here, answerer).code() == Code::SUCCESS, is_there);
    }
}

#[test]
fn message_is_found_by_its_keys_and_by_its_unique_id_in_any_span_of_time() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    for (number, keys) in [(1, "red"), (2, "red blue")] {
        let properties = format!("KEYS\u{1}{keys}\u{2}UNIQ_KEY\u{1}id-{number}");
        world.give(client, &send(number, "t", &properties, keys.as_bytes()));
        world.settle();
        assert_eq!(answer(&mut world, client).code(), Code::SUCCESS);
    }
    let end = i64::MAX.to_string();
    let mut ask = |key: &str, unique: &str, end: &str| {
        let ext = [
            ("topic", "t"),
            ("key", key),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", end),
            ("_UNIQUE_KEY_QUERY", unique),
        ];
        world.give(client, &request(code::QUERY_MESSAGE, 9, &ext, b""));
        world.settle();
        let answer = answer(&mut world, client);
        let bodies: Vec<_> = answer.messages().into_iter().map(|(body, _)| body).collect();
        (answer.code(), bodies)
    };
    assert_eq!(ask("red", "false", &end), (Code::SUCCESS, vec![b"red".to_vec(), b"red blue".to_vec()]));
    assert_eq!(ask("blue", "false", &end), (Code::SUCCESS, vec![b"red blue".to_vec()]));
    assert_eq!(ask("id-1", "true", &end), (Code::SUCCESS, vec![b"red".to_vec()]));
    for (key, unique, end) in
        [("id-1", "false", &*end), ("red", "true", &*end), ("re", "false", &*end), ("red", "false", "1")]
    {
        assert_eq!(ask(key, unique, end), (Code::QUERY_NOT_FOUND, Vec::new()), "{key}");
    }
}

/// Sends back the message at `position` of group g.
fn send_back(world: &mut World, client: ConnectionId, position: &str, level: &str) -> Code {
    let ext = [("offset", position), ("group", "g"), ("delayLevel", level), ("maxReconsumeTimes", "2")];
    world.give(client, &request(code::CONSUMER_SEND_MSG_BACK, 50, &ext, b""));
    world.settle();
    answer(world, client).code()
}

#[test]
fn message_that_was_not_consumed_comes_again_and_ends_among_the_dead_letters() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    assert_eq!(send_back(&mut world, client, "0", "0"), Code::SUBSCRIPTION_GROUP_NOT_EXIST);
    world.give(client, &beat("c", "g"));
    world.give(client, &send(1, "t", "TAGS\u{1}A\u{2}KEYS\u{1}k", b"hello"));
    world.settle();
    answers(&mut world, client);
    world.give(client, &pull(2, "t", 0, "*", 0));
    let mut pulled = answer(&mut world, client);
    let first_position = position_of(&pulled);
    for attempt in 1..=2_i32 {
        assert_eq!(send_back(&mut world, client, &position_of(&pulled), "1"), Code::SUCCESS);
        world.give(client, &pull(3, "%RETRY%g", 0, "*", 0));
        let before = answers(&mut world, client).pop().expect("an answer");
        assert_eq!(before.messages().len(), (attempt - 1) as usize, "not before its delay");
        world.now.wall_ms += 1_100;
        world.pass(1_100 * MS);
        world.settle();
        world.give(client, &pull(4, "%RETRY%g", (attempt - 1) as u64, "*", 0));
        pulled = answer(&mut world, client);
        let message = iter_stored(&pulled.body).next().expect("one").expect("stored").parts;
        let properties = Properties::new(message.properties);
        assert_eq!((message.body, message.reconsume_times), (&b"hello"[..], attempt));
        assert_eq!(properties.get_str("RETRY_TOPIC"), Some("t"));
        let origin = properties.get_str("ORIGIN_MESSAGE_ID").expect("its first id");
        assert_eq!(u64::from_str_radix(&origin[16..], 16).expect("hex").to_string(), first_position);
    }
    assert_eq!(send_back(&mut world, client, &position_of(&pulled), "0"), Code::SUCCESS);
    world.give(client, &pull(5, "%DLQ%g", 0, "*", 0));
    assert_eq!(answer(&mut world, client).messages()[0].0, b"hello");
}

fn position_of(pulled: &Answer) -> String {
    let message = iter_stored(&pulled.body).next().expect("one").expect("stored");
    message.parts.position.get().to_string()
}

#[test]
fn pull_by_a_newer_subscription_than_was_told_gets_everything_where_its_client_filters_by_itself() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    world.give(client, &send(1, "t", "TAGS\u{1}A", b"a"));
    world.give(client, &beat("c", "g"));
    world.settle();
    answers(&mut world, client);
    let mut pull = |version: &str, expression_type: &str| {
        let ext = [
            ("consumerGroup", "g"),
            ("topic", "t"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "0"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", version),
            ("expressionType", expression_type),
        ];
        world.give(client, &request(code::PULL_MESSAGE, 2, &ext, b""));
        answer(&mut world, client).code()
    };
    assert_eq!(pull("0", "TAG"), Code::SUCCESS);
    assert_eq!(pull("5", "TAG"), Code::SUCCESS);
    assert_eq!(pull("5", "SQL92"), Code::SUBSCRIPTION_NOT_LATEST);
}
