//! What clients must not send, and what becomes of them when they do.

use super::world::{World, hello, item, open, pull, request, send, send_one};
use crate::shard::Settings;
use crate::shard::io::{CloseReason, Input};
use crate::shard::metrics::ForeignProtocol;
use proptest::prelude::*;
use ringmq_proto::code::Code;
use ringmq_proto::native::{
    FrameFlags, FrameHeader, Kind, ListTopics, QueueState, Table, TopicStats, encode_ping, encode_preamble,
};

fn one_queue() -> (World, crate::shard::io::ConnectionId, u32) {
    let mut world = World::new(Settings::default());
    let client = world.connect();
    let handle = world.open_queue(client, "a", 0).handle;
    (world, client, handle)
}

#[test]
fn frames_are_understood_wherever_the_receives_cut_them() {
    let mut expected = None;
    for piece in [1, 2, 3, 7, 15, 16, 17, 40, 100, 10_000] {
        let mut world = World::new(Settings::default());
        let client = world.open_connection();
        let mut bytes = hello(1, 1);
        bytes.extend(open(1, "a", 0, true));
        for part in bytes.chunks(piece) {
            world.give(client, part);
        }
        world.settle();
        let mut bytes = Vec::new();
        for id in 2..12 {
            bytes.extend(send_one(id, 0, &vec![1; 1 << id]));
        }
        encode_ping(&mut bytes, 12);
        bytes.extend(pull(13, 0, 0, 0));
        for part in bytes.chunks(piece) {
            world.give(client, part);
        }
        world.settle();
        let heard = world.bytes(client);
        assert!(world.closed.is_empty());
        assert_eq!(expected.get_or_insert_with(|| heard.clone()), &heard, "pieces of {piece}");
    }
}

#[test]
fn what_is_not_spoken_here_is_closed_and_counted() {
    for (bytes, reason, protocol) in [
        (&b"\x16\x03\x01"[..], CloseReason::UnknownProtocol, ForeignProtocol::Tls),
        (b"PROXY TCP4", CloseReason::UnknownProtocol, ForeignProtocol::Proxy),
        (b"\r\n\r\n\0\r\nQUIT\n", CloseReason::UnknownProtocol, ForeignProtocol::Proxy),
        (b"GET / HTTP/1.1\r\n\r\n", CloseReason::Answered, ForeignProtocol::Http),
        (b"\xff\xff", CloseReason::UnknownProtocol, ForeignProtocol::Unknown),
        (b"\xb1RMQ\x02\0\0\0", CloseReason::UnknownProtocol, ForeignProtocol::NativeVersion),
    ] {
        let mut world = World::new(Settings::default());
        let client = world.open_connection();
        for byte in bytes {
            world.give(client, &[*byte]);
        }
        assert_eq!(world.closed.get(&client), Some(&reason), "{bytes:?}");
        let metrics = world.shard.metrics();
        assert_eq!(metrics.foreign_protocols.into_iter().collect::<Vec<_>>(), [(protocol, 1)]);
        assert_eq!(metrics.connections, 0);
    }
}

#[test]
fn http_is_answered_with_one_sentence_that_names_the_operations_port() {
    let settings = Settings { operations_address: Some("127.0.0.1:8080".into()), ..Settings::default() };
    let mut world = World::new(settings);
    let client = world.open_connection();
    world.give(client, b"POST /x HTTP/1.1\r\n");
    let answer = String::from_utf8(world.bytes(client)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("127.0.0.1:8080"), "{answer}");
}

#[test]
fn client_of_another_version_is_told_ours() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    world.give(client, b"\xb1RMQ\x07\0\0\0");
    assert_eq!(world.bytes(client), encode_preamble());
    let client = world.open_connection();
    world.give(client, &hello(2, 9));
    let heard = world.bytes(client);
    assert_eq!(FrameHeader::decode(heard[8..].first_chunk().expect("a reply")).code, Code::VERSION_NOT_SUPPORTED);
    assert_eq!(world.closed.get(&client), Some(&CloseReason::Answered));
}

#[test]
fn frame_that_breaks_the_protocol_ends_the_connection_and_nobody_elses() {
    let (_, _, handle) = one_queue();
    let mut too_long = send_one(1, handle, b"x");
    too_long[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut too_short = send_one(1, handle, b"x");
    too_short[0..4].copy_from_slice(&15_u32.to_le_bytes());
    let mut lying = send_one(1, handle, b"x");
    lying[28] = 9;
    let mut reply = send_one(1, handle, b"x");
    reply[5] = FrameFlags::REPLY.0;
    let mut table = request(Kind::QUEUE_STATE, 1, &QueueState { handle });
    table[16..].fill(0xff);
    for frame in [too_long, too_short, lying, reply, table, hello(1, 1)[8..].to_vec()] {
        let (mut world, client, handle) = one_queue();
        let other = world.connect();
        world.open_queue(other, "a", 0);
        world.give(client, &frame);
        assert_eq!(world.closed.get(&client), Some(&CloseReason::BadFrame), "{frame:?}");
        world.give(other, &send_one(7, handle, b"x"));
        world.settle();
        assert_eq!(world.reply(other).code(), Code::SUCCESS);
    }
}

#[test]
fn nothing_but_a_hello_may_come_first() {
    let mut world = World::new(Settings::default());
    let client = world.open_connection();
    let mut bytes = encode_preamble().to_vec();
    encode_ping(&mut bytes, 1);
    world.give(client, &bytes);
    assert_eq!(world.closed.get(&client), Some(&CloseReason::BadFrame));
}

#[test]
fn request_out_of_range_is_answered_and_the_connection_goes_on() {
    let (mut world, client, handle) = one_queue();
    let large = vec![0; (4 << 20) + 1];
    let unknown = FrameHeader {
        length: 16,
        kind: Kind(77),
        flags: FrameFlags::NONE,
        code: Code::SUCCESS,
        request_id: 2,
        count: 0,
    };
    let long_name = "t".repeat(300);
    for (bytes, code) in [
        (send(2, FrameFlags::NONE, &[item(handle, &large)]), Code::MESSAGE_ILLEGAL),
        (unknown.encode().to_vec(), Code::REQUEST_CODE_NOT_SUPPORTED),
        (open(2, &long_name, 0, true), Code::INVALID_PARAMETER),
        (open(2, "no good", 0, true), Code::INVALID_PARAMETER),
        (open(2, "TBW102", 0, true), Code::INVALID_PARAMETER),
        (open(2, "a", 8, true), Code::INVALID_PARAMETER),
        (open(2, "missing", 0, false), Code::TOPIC_NOT_EXIST),
        (pull(2, 55, 0, 0), Code::INVALID_PARAMETER),
        (request(Kind::TOPIC_STATS, 2, &TopicStats { topic: "missing" }), Code::TOPIC_NOT_EXIST),
    ] {
        world.give(client, &bytes);
        let reply = world.reply(client);
        assert_eq!((reply.id(), reply.code()), (2, code));
    }
    assert!(world.closed.is_empty());
}

#[test]
fn connection_that_agrees_on_keys_has_more_time_and_not_for_ever() {
    const SECOND: u64 = 1_000_000_000;
    let mut world = World::new(Settings::default());
    let (never, late) = (world.open_connection(), world.open_connection());
    for connection in [never, late] {
        world.input(Input::Securing { connection });
    }
    world.pass(9 * SECOND);
    assert!(world.closed.is_empty());
    world.give(late, &hello(1, 1));
    world.pass(4 * SECOND);
    assert_eq!(world.closed.get(&never), Some(&CloseReason::HandshakeTimeout));
    assert!(!world.closed.contains_key(&late));
}

#[test]
fn silent_and_idle_connections_are_closed_in_time_and_a_ping_counts() {
    const SECOND: u64 = 1_000_000_000;
    let mut world = World::new(Settings::default());
    let silent = world.open_connection();
    let slow = world.open_connection();
    world.give(slow, &hello(1, 1)[..20]);
    let idle = world.connect();
    let pinging = world.connect();
    world.pass(2 * SECOND + SECOND / 10);
    assert_eq!(world.closed.get(&silent), Some(&CloseReason::HandshakeTimeout));
    assert_eq!(world.closed.get(&slow), Some(&CloseReason::HandshakeTimeout));
    for _ in 0..5 {
        world.pass(30 * SECOND);
        let mut ping = Vec::new();
        encode_ping(&mut ping, 1);
        world.give(pinging, &ping);
    }
    assert_eq!(world.closed.get(&idle), Some(&CloseReason::IdleTimeout));
    assert!(!world.closed.contains_key(&pinging));
    assert_eq!(world.replies(pinging).len(), 5);
}

#[test]
fn half_frames_of_all_connections_together_are_bounded() {
    let mut settings = Settings::default();
    settings.limits.input_bytes_max = 4 << 20;
    let mut world = World::new(settings);
    let clients: Vec<_> = (0..12).map(|_| world.connect()).collect();
    let frame = send_one(1, 0, &vec![1; 600_000]);
    for client in &clients {
        world.give(*client, &frame[..400_000]);
    }
    let full: Vec<_> = world.closed.values().collect();
    assert!(!full.is_empty() && full.iter().all(|reason| **reason == CloseReason::InputFull), "{full:?}");
    let left: Vec<_> = clients.iter().filter(|client| !world.closed.contains_key(client)).copied().collect();
    let (given_up, left) = left.split_at(left.len() / 2);
    for client in given_up {
        world.input(Input::Closed { connection: *client });
    }
    for client in left {
        world.give(*client, &frame[400_000..]);
        assert_eq!(world.reply(*client).code(), Code::INVALID_PARAMETER, "whole, and carried out");
    }
    for client in left {
        world.give(*client, &frame[..400_000]);
        world.input(Input::Closed { connection: *client });
    }
    let next = world.connect();
    world.give(next, &frame[..400_000]);
    assert!(!world.closed.contains_key(&next), "what closed connections held is free again");
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_shard_panic(streams in proptest::collection::vec((any_bytes(), 0_usize..4, 1_usize..50), 1..8)) {
        let (mut world, _, handle) = one_queue();
        for (noise, kind, piece) in streams {
            let client = world.open_connection();
            let mut bytes = match kind {
                0 => Vec::new(),
                1 => encode_preamble().to_vec(),
                _ => hello(1, 1),
            };
            bytes.extend(open(1, "a", 0, true));
            if kind == 3 {
                // A well-formed frame with one of its bytes replaced by each of the noise.
                for (index, byte) in noise.iter().enumerate() {
                    let mut frame = send(9, FrameFlags::NONE, &[item(0, b"abc"), item(handle, b"defg")]);
                    let at = index % frame.len();
                    frame[at] = *byte;
                    bytes.extend(frame);
                }
            }
            bytes.extend(noise);
            for part in bytes.chunks(piece) {
                world.give(client, part);
            }
            world.settle();
        }
        prop_assert!(world.fatal.is_none());
    }

    #[test]
    fn no_table_makes_the_shard_panic(kind in 1_u8..16, body in any_bytes(), flags in 0_u8..8) {
        let (mut world, client, _) = one_queue();
        let length = u32::try_from(16 + body.len()).expect("short");
        let header = FrameHeader {
            length,
            kind: Kind(kind),
            flags: FrameFlags(flags),
            code: Code::SUCCESS,
            request_id: 3,
            count: 1,
        };
        world.give(client, &[&header.encode()[..], &body].concat());
        world.settle();
        prop_assert!(world.fatal.is_none());
    }
}

#[test]
fn truncated_tables_never_panic() {
    let mut list = Vec::new();
    ListTopics { after: "abcdef", topics_max: 10 }.append_to(&mut list);
    for length in 0..list.len() {
        let (mut world, client, _) = one_queue();
        let mut bytes = request(Kind::LIST_TOPICS, 1, &ListTopics { after: "abcdef", topics_max: 10 });
        bytes.truncate(16 + length);
        bytes[0..4].copy_from_slice(&u32::try_from(16 + length).expect("short").to_le_bytes());
        world.give(client, &bytes);
        assert!(world.closed.contains_key(&client) || world.replies(client).len() == 1);
    }
}
