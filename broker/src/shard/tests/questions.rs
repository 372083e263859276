//! What administrators ask of clients by way of the broker.

use super::remoting::{Answer, answer, answers, beat_of, request, send};
use super::world::World;
use crate::shard::Settings;
use crate::shard::io::{ConnectionId, Input};
use crate::shard::limits::QUESTION_NS_MAX;
use ringmq_proto::code::Code;
use ringmq_proto::message::stored::iter_stored;
use ringmq_proto::remoting::admin::offsets::ConsumerStatusTable;
use ringmq_proto::remoting::client_push::ConsumerStatusBody;
use ringmq_proto::remoting::message_queue::MessageQueue;
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code as code};

/// A shard with an administrator and two consumers of the group `g`.
fn world() -> (World, ConnectionId, [ConnectionId; 2]) {
    let mut world = World::new(Settings::default());
    let admin = world.open_connection();
    let consumers = ["a", "b"].map(|id| {
        let connection = world.open_connection();
        world.give(connection, &beat_of(id, "g", 479));
        world.settle();
        connection
    });
    for connection in consumers {
        answers(&mut world, connection);
    }
    (world, admin, consumers)
}

fn running_info(opaque: i32, client_id: &str) -> Vec<u8> {
    let ext = [("consumerGroup", "g"), ("clientId", client_id), ("jstackEnable", "true"), ("unknown", "kept")];
    request(code::GET_CONSUMER_RUNNING_INFO, opaque, &ext, b"")
}

/// What a client sends back.
fn client_says(asked: &Answer, code: Code, remark: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut header = Header::response(code, asked.header.opaque);
    if let Some(remark) = remark {
        header = header.with_remark(remark);
    }
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, SerializeType::Json, &header, body);
    bytes
}

#[test]
fn clients_answer_is_handed_to_the_administrator_as_it_is() {
    let (mut world, admin, [a, b]) = world();
    world.give(admin, &running_info(70, "b"));
    world.give(admin, &running_info(71, "a"));
    let (of_a, of_b) = (answer(&mut world, a), answer(&mut world, b));
    assert_eq!(of_b.header.code, code::GET_CONSUMER_RUNNING_INFO);
    assert!(!of_b.header.is_oneway() && !of_b.header.is_response());
    assert_eq!((of_b.ext("clientId"), of_b.ext("jstackEnable"), of_b.ext("unknown")), ("b", "true", "kept"));
    assert!(answers(&mut world, admin).is_empty(), "not before the client has answered");
    world.give(a, &client_says(&of_a, Code::SYSTEM_ERROR, Some("no such group"), b""));
    let refused = answer(&mut world, admin);
    assert_eq!((refused.header.opaque, refused.code()), (71, Code::SYSTEM_ERROR));
    assert_eq!(refused.header.remark.as_deref(), Some("no such group"));
    world.give(b, &client_says(&of_b, Code::SUCCESS, None, b"{\"properties\":{}}"));
    let told = answer(&mut world, admin);
    assert_eq!(
        (told.header.opaque, told.code(), told.body.as_slice()),
        (70, Code::SUCCESS, &b"{\"properties\":{}}"[..])
    );
    world.give(b, &client_says(&of_b, Code::SUCCESS, None, b"again"));
    assert!(answers(&mut world, admin).is_empty(), "one answer to one question");
}

#[test]
fn question_ends_with_its_time_its_client_or_its_asker() {
    let (mut world, admin, [a, b]) = world();
    world.give(admin, &running_info(1, "nobody"));
    let absent = answer(&mut world, admin);
    assert_eq!(absent.code(), Code::SYSTEM_ERROR);
    assert_eq!(absent.header.remark.as_deref(), Some("The Consumer <g> <nobody> not online"));
    world.give(admin, &running_info(2, "a"));
    world.pass(QUESTION_NS_MAX + 100_000_000);
    assert_eq!(answer(&mut world, admin).code(), Code::CONSUME_MSG_TIMEOUT);
    let late = answer(&mut world, a);
    world.give(a, &client_says(&late, Code::SUCCESS, None, b"late"));
    assert!(answers(&mut world, admin).is_empty());
    world.give(admin, &running_info(3, "b"));
    world.input(Input::Closed { connection: b });
    let gone = answer(&mut world, admin);
    assert!(
        gone.header.remark.as_deref().is_some_and(|remark| remark.starts_with("invoke consumer <g> <b> Exception"))
    );
    answers(&mut world, a);
    world.give(admin, &running_info(4, "a"));
    let asked = answer(&mut world, a);
    world.input(Input::Closed { connection: admin });
    world.give(a, &client_says(&asked, Code::SUCCESS, None, b"to nobody"));
    assert!(answers(&mut world, a).is_empty() && world.shard.metrics().waiting == 0);
}

#[test]
fn administrator_may_ask_a_client_on_the_same_connection() {
    let (mut world, _, [a, _]) = world();
    world.give(a, &running_info(9, "a"));
    let asked = answer(&mut world, a);
    world.give(a, &client_says(&asked, Code::SUCCESS, None, b"me"));
    let told = answer(&mut world, a);
    assert_eq!((told.header.opaque, told.body.as_slice()), (9, &b"me"[..]));
}

#[test]
fn message_that_is_to_be_consumed_directly_goes_to_the_client_as_it_is_stored() {
    let (mut world, admin, [a, _]) = world();
    world.give(admin, &send(1, "t", "TAGS\u{1}x", b"hello"));
    world.settle();
    let id = answer(&mut world, admin).ext("msgId").to_owned();
    let direct = |id: &str| {
        let ext = [("consumerGroup", "g"), ("clientId", "a"), ("msgId", id)];
        request(code::CONSUME_MESSAGE_DIRECTLY, 2, &ext, b"")
    };
    world.give(admin, &direct(&id));
    let asked = answer(&mut world, a);
    assert_eq!((asked.header.code, asked.ext("brokerName")), (code::CONSUME_MESSAGE_DIRECTLY, "broker-a"));
    let message = iter_stored(&asked.body).next().expect("a message").expect("whole");
    assert_eq!((message.parts.body, message.parts.topic), (&b"hello"[..], &b"t"[..]));
    world.give(a, &client_says(&asked, Code::SUCCESS, None, b"{\"consumeResult\":\"CR_SUCCESS\"}"));
    assert_eq!(answer(&mut world, admin).body, b"{\"consumeResult\":\"CR_SUCCESS\"}");
    let elsewhere = format!("{}{:016x}", &id[..16], 1u64 << 40);
    for wrong in ["no id", &elsewhere] {
        world.give(admin, &direct(wrong));
        world.settle();
        assert_eq!(answer(&mut world, admin).code(), Code::SYSTEM_ERROR, "{wrong}");
    }
}

#[test]
fn status_is_gathered_from_all_members_that_answer_in_time() {
    let (mut world, admin, [a, b]) = world();
    let ask = |client: &str| {
        let ext = [("topic", "t"), ("group", "g"), ("clientAddr", client)];
        request(code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, 5, &ext, b"")
    };
    let at = |offset: i64| {
        let mut status = ConsumerStatusBody::default();
        let queue = MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: "t".into() };
        status.message_queue_table.0.insert(queue, offset);
        status.encode()
    };
    let told = |world: &mut World| {
        let answer = answer(world, admin);
        assert_eq!(answer.code(), Code::SUCCESS);
        let table = ConsumerStatusTable::decode(&answer.body).expect("a table").consumer_table;
        table.into_iter().map(|(id, queues)| (id, queues.0.into_values().collect::<Vec<_>>())).collect::<Vec<_>>()
    };
    world.give(admin, &ask(""));
    let (of_a, of_b) = (answer(&mut world, a), answer(&mut world, b));
    assert_eq!((of_a.header.code, of_a.ext("topic")), (code::GET_CONSUMER_STATUS_FROM_CLIENT, "t"));
    world.give(a, &client_says(&of_a, Code::SUCCESS, None, &at(7)));
    world.give(b, &client_says(&of_b, Code::SUCCESS, None, &at(8)));
    assert_eq!(told(&mut world), [("a".to_owned(), vec![7]), ("b".to_owned(), vec![8])]);
    world.give(admin, &ask("b"));
    assert!(answers(&mut world, a).is_empty(), "only the one that was named");
    let of_b = answer(&mut world, b);
    world.give(b, &client_says(&of_b, Code::SUCCESS, None, &at(9)));
    assert_eq!(told(&mut world), [("b".to_owned(), vec![9])]);
    world.give(admin, &ask(""));
    let of_a = answer(&mut world, a);
    world.give(a, &client_says(&of_a, Code::SUCCESS, None, &at(10)));
    world.pass(QUESTION_NS_MAX + 100_000_000);
    assert_eq!(told(&mut world), [("a".to_owned(), vec![10])], "who is silent is left out");
    world.give(admin, &request(code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, 6, &[("topic", "t"), ("group", "h")], b""));
    assert_eq!(answer(&mut world, admin).code(), Code::SYSTEM_ERROR);
}
