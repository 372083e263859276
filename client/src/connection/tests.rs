use bytes::Bytes;
use proptest::prelude::*;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::native::{
    FrameHeader, OpenQueue, OpenedQueue, PullResult, SendFrame, Table, encode_empty_reply, encode_failure,
    encode_pull_reply, encode_reply, encode_send_reply, split_frame,
};

use super::*;

/// What the server in these tests allows.
const SERVER: Hello<'static> = Hello {
    version_min: 1,
    version_max: 3,
    software: "test",
    broker_name: "broker-a",
    frame_size_bytes_max: 4096,
    frame_message_count_max: 8,
    in_flight_bytes_max: 8192,
    handle_count_max: 2,
    features: 0,
};

fn server_hello(request_id: u32, hello: &Hello<'_>) -> Vec<u8> {
    let mut bytes = encode_preamble().to_vec();
    encode_reply(&mut bytes, Kind::HELLO, request_id, hello);
    bytes
}

/// Takes all output and gives the frames in it.
fn drain(connection: &mut Connection) -> Vec<(FrameHeader, Vec<u8>)> {
    let output = connection.output().to_vec();
    connection.consume(output.len());
    let mut rest = &output[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, used) = split_frame(rest, FRAME_SIZE_BYTES_MAX).expect("a valid frame").expect("a whole frame");
        frames.push((frame.header, frame.body.to_vec()));
        rest = &rest[used..];
    }
    frames
}

fn ready() -> Connection {
    let mut connection = Connection::new();
    let preamble = connection.output()[..8].to_vec();
    assert_eq!(preamble, encode_preamble());
    connection.consume(8);
    let frames = drain(&mut connection);
    assert_eq!(frames.len(), 1);
    let mut names = Vec::new();
    connection
        .received(&server_hello(frames[0].0.request_id, &SERVER), |event| {
            if let Event::Ready(hello) = event {
                names.push(hello.broker_name.to_owned());
            }
        })
        .expect("a valid hello");
    assert_eq!(names, ["broker-a"]);
    connection
}

fn item(body: &[u8]) -> SendItem<'_> {
    SendItem { handle: 7, born_time_ms: 1, flag: 0, sys_flag: 0, properties: b"", body }
}

fn results(count: u32) -> SendResult {
    SendResult { handle: 7, count, queue_offset: QueueOffset::new(41), position: LogPosition::new(512) }
}

#[test]
fn requests_wait_for_the_hello() {
    let mut connection = Connection::new();
    assert_eq!(connection.send(&item(b"x"), SendOptions::default()), Err(RequestError::NotReady));
    assert!(!connection.is_ready());
    assert!(ready().is_ready());
}

#[test]
fn sends_reach_the_wire_and_replies_find_them_in_any_order() {
    let mut connection = ready();
    let first = connection.send(&item(b"one"), SendOptions::default()).expect("room");
    let items = [item(b"two"), item(b"three")];
    let second = connection.send_batch(&items, SendOptions { no_wait: true, oneway: false }).expect("room");
    let frames = drain(&mut connection);
    let bodies: Vec<Vec<u8>> = frames
        .iter()
        .flat_map(|(header, body)| {
            let frame = ringmq_proto::native::Frame { header: *header, body };
            let send = SendFrame::decode(&frame).expect("a valid send");
            send.items().map(|item| item.body.to_vec()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(bodies, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(frames[1].0.flags, FrameFlags::NO_WAIT);

    let mut replies = Vec::new();
    encode_send_reply(&mut replies, second.get(), Code::SUCCESS, &[results(2)]);
    encode_send_reply(&mut replies, first.get(), Code::FLUSH_DISK_TIMEOUT, &[results(1)]);
    let mut seen = Vec::new();
    connection
        .received(&replies, |event| {
            if let Event::Sent { request, code, results } = event {
                seen.push((request, code, results.results().map(|result| result.count).sum::<u32>()));
            }
        })
        .expect("valid replies");
    assert_eq!(seen, [(second, Code::SUCCESS, 2), (first, Code::FLUSH_DISK_TIMEOUT, 1)]);
    assert_eq!((connection.in_flight_count(), connection.in_flight_bytes()), (0, 0));
}

#[test]
fn oneway_sends_take_no_slot() {
    let mut connection = ready();
    connection.send(&item(b"x"), SendOptions { oneway: true, no_wait: false }).expect("room");
    assert_eq!(connection.in_flight_count(), 0);
    assert!(drain(&mut connection)[0].0.flags.contains(FrameFlags::ONEWAY));
}

#[test]
fn the_servers_limits_are_kept() {
    let mut connection = ready();
    let big = vec![0; 4096];
    assert!(matches!(connection.send(&item(&big), SendOptions::default()), Err(RequestError::FrameSize { .. })));
    let nine = [item(b""); 9];
    let refused = connection.send_batch(&nine, SendOptions::default());
    assert_eq!(refused, Err(RequestError::MessageCount { count: 9, count_max: 8 }));
    assert_eq!(
        connection.send_batch(&[], SendOptions::default()),
        Err(RequestError::MessageCount { count: 0, count_max: 8 })
    );
    let body = vec![0; 4000];
    connection.send(&item(&body), SendOptions::default()).expect("room");
    connection.send(&item(&body), SendOptions::default()).expect("room");
    let refused = connection.send(&item(&body), SendOptions::default());
    assert_eq!(refused, Err(RequestError::InFlightBytes { bytes_max: 8192 }));
    assert_eq!(drain(&mut connection).len(), 2, "a refused request writes nothing");
}

#[test]
fn no_more_queues_are_opened_than_the_server_allows() {
    let mut connection = ready();
    for handle in 0..2 {
        let id = connection.open_queue("T", 3, true).expect("room");
        let frames = drain(&mut connection);
        let asked = OpenQueue::decode(&frames[0].1).expect("a valid request");
        assert_eq!((asked.topic, asked.queue_id, asked.create_topic), ("T", 3, true));
        let (min_offset, max_offset) = (QueueOffset::ZERO, QueueOffset::new(9));
        let opened = OpenedQueue { handle, queue_id: 3, queue_count: 4, min_offset, max_offset };
        let mut reply = Vec::new();
        encode_reply(&mut reply, Kind::OPEN_QUEUE, id.get(), &opened);
        let mut seen = Vec::new();
        connection
            .received(&reply, |event| {
                if let Event::Opened { queue, .. } = event {
                    seen.push(queue);
                }
            })
            .expect("a valid reply");
        assert_eq!(seen, [opened]);
    }
    assert_eq!(connection.open_queue("T", 4, true), Err(RequestError::TooManyHandles { count_max: 2 }));
}

#[test]
fn a_refusal_is_told_with_its_code_and_remark() {
    let mut connection = ready();
    let id = connection.delete_topic("T").expect("room");
    let mut reply = Vec::new();
    encode_failure(&mut reply, Kind::DELETE_TOPIC, id.get(), Code::TOPIC_NOT_EXIST, "no such topic");
    let mut seen = Vec::new();
    connection
        .received(&reply, |event| {
            if let Event::Failed { request, code, remark } = event {
                seen.push((request, code, remark.to_owned()));
            }
        })
        .expect("a valid reply");
    assert_eq!(seen, [(id, Code::TOPIC_NOT_EXIST, "no such topic".to_owned())]);
}

#[test]
fn a_reply_that_was_not_asked_breaks_the_connection() {
    let offences: [fn(u32) -> Vec<u8>; 4] = [
        |id| reply_bytes(|out| encode_empty_reply(out, Kind::PING, id + 1)),
        |id| reply_bytes(|out| encode_empty_reply(out, Kind::DELETE_TOPIC, id)),
        |id| reply_bytes(|out| ringmq_proto::native::encode_ping(out, id)),
        |_| vec![1, 0, 0, 0],
    ];
    for offence in offences {
        let mut connection = ready();
        let id = connection.ping().expect("room");
        assert!(connection.received(&offence(id.get()), |_| {}).is_err());
        assert_eq!(connection.received(&[0], |_| {}), Err(ConnectionError::Broken));
        assert_eq!(connection.ping(), Err(RequestError::NotReady));
    }
}

#[test]
fn a_server_of_other_versions_only_is_refused() {
    let mut connection = Connection::new();
    let hello = Hello { version_min: 2, version_max: 3, ..SERVER };
    let id = hello_id(&mut connection);
    let refused = connection.received(&server_hello(id, &hello), |_| {});
    assert_eq!(refused, Err(ConnectionError::Version { version_min: 2, version_max: 3 }));
}

#[test]
fn a_slow_socket_does_not_make_the_output_grow() {
    let mut connection = ready();
    let body = vec![0; 1000];
    for _ in 0..100 {
        connection.send(&item(&body), SendOptions { oneway: true, no_wait: false }).expect("room");
    }
    let all = connection.output().to_vec();
    let mut sent = Vec::new();
    while !connection.output().is_empty() {
        let count = connection.output().len().min(777);
        sent.extend_from_slice(&connection.output()[..count]);
        connection.consume(count);
        assert!(connection.output.bytes().len() <= 2 * connection.output().len() + 777);
    }
    assert_eq!(sent, all);
}

fn hello_id(connection: &mut Connection) -> u32 {
    connection.consume(8);
    drain(connection)[0].0.request_id
}

fn reply_bytes(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

proptest! {
    /// However the network cuts the server's bytes, the same events come out.
    #[test]
    fn events_do_not_depend_on_how_bytes_arrive(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 16..300), 0..6),
        cuts in prop::collection::vec(1_usize..200, 1..60),
    ) {
        let whole = |cuts: &[usize]| {
            let mut connection = Connection::new();
            let hello = hello_id(&mut connection);
            let mut bytes = server_hello(hello, &SERVER);
            let mut events = Vec::new();
            // The hello must be taken before requests can be made; cut it too.
            feed(&mut connection, &bytes, cuts, &mut events);
            bytes.clear();
            for record in &records {
                let pull = PullRequest {
                    handle: 1, offset: QueueOffset::ZERO, messages_max: 1, bytes_max: 1, wait_ms: 0,
                };
                let id = connection.pull(&pull).expect("room");
                let (next_offset, min_offset, max_offset) = (QueueOffset::new(1), QueueOffset::ZERO, QueueOffset::new(1));
                let result = PullResult { next_offset, min_offset, max_offset };
                encode_pull_reply(&mut bytes, id.get(), Code::SUCCESS, &result, 1, record);
            }
            feed(&mut connection, &bytes, cuts, &mut events);
            events
        };
        let at_once = whole(&[usize::MAX]);
        prop_assert_eq!(at_once.len(), records.len() + 1);
        prop_assert_eq!(at_once[1..].iter().map(|event| event.1.to_vec()).collect::<Vec<_>>(), records.clone());
        prop_assert_eq!(whole(&cuts), at_once);
    }

    /// No bytes of the server make the client panic, or take memory for a frame that it refuses.
    #[test]
    fn any_bytes_are_events_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400), asked in 0_u32..4) {
        let mut connection = ready();
        for _ in 0..asked {
            connection.ping().expect("room");
            connection.topic_stats("T").expect("room");
        }
        let _ = connection.received(&bytes, |_| {});
        let mut framed = u32::try_from(bytes.len() + 4).expect("small").to_le_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        let _ = ready().received(&framed, |_| {});
    }
}

fn feed(connection: &mut Connection, mut bytes: &[u8], cuts: &[usize], events: &mut Vec<(Option<RequestId>, Bytes)>) {
    let mut cuts = cuts.iter().cycle();
    while !bytes.is_empty() {
        let (now, rest) = bytes.split_at((*cuts.next().expect("endless")).min(bytes.len()));
        connection
            .received(now, |event| {
                let content = match &event {
                    Event::Pulled { reply, .. } => Bytes::copy_from_slice(reply.record_bytes()),
                    _ => Bytes::new(),
                };
                events.push((event.request(), content));
            })
            .expect("valid replies");
        bytes = rest;
    }
}

/// Run it alone and optimised: `cargo test --release -p ringmq-client -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement, not for a shared machine"]
fn a_single_sends_cost_stays_under_40_ns() {
    const IN_FLIGHT: usize = 32;
    const ROUNDS: u32 = 100_000;
    let mut connection = Connection::new();
    let hello = Hello { frame_size_bytes_max: 0, in_flight_bytes_max: 0, handle_count_max: 0, ..SERVER };
    let id = hello_id(&mut connection);
    connection.received(&server_hello(id, &hello), |_| {}).expect("a valid hello");
    let (mut ids, mut replies, mut seen) = (Vec::with_capacity(IN_FLIGHT), Vec::new(), 0_u64);
    let mut best = std::time::Duration::MAX;
    for _ in 0..20 {
        let mut spent = std::time::Duration::ZERO;
        for _ in 0..ROUNDS / 20 {
            ids.clear();
            let started = std::time::Instant::now();
            for _ in 0..IN_FLIGHT {
                ids.push(connection.send(&item(b"0123456789"), SendOptions::default()).expect("room"));
            }
            spent += started.elapsed();
            let sent = connection.output().len();
            connection.consume(sent);
            replies.clear();
            for id in &ids {
                encode_send_reply(&mut replies, id.get(), Code::SUCCESS, &[results(1)]);
            }
            let started = std::time::Instant::now();
            let told = connection.received(&replies, |event| {
                if let Event::Sent { request, results, .. } = event {
                    seen +=
                        request.slot() as u64 + results.results().map(|result| u64::from(result.count)).sum::<u64>();
                }
            });
            spent += started.elapsed();
            told.expect("valid replies");
        }
        best = best.min(spent);
    }
    assert!(seen > 0);
    let ns = best.as_nanos() / u128::from(ROUNDS / 20) / IN_FLIGHT as u128;
    println!("{ns} ns a message");
    assert!(ns < 40, "{ns} ns a message");
}
