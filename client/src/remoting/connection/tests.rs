use proptest::prelude::*;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::{Host, OffsetId};
use ringmq_proto::remoting::pull::{PullResponse, encode_pull_response_head};
use ringmq_proto::remoting::request_code::{
    GET_CONSUMER_STATUS_FROM_CLIENT, NOTIFY_CONSUMER_IDS_CHANGED, PULL_MESSAGE, SEND_MESSAGE_V2,
};
use ringmq_proto::remoting::send::{SendReply, SendResponse, encode_send_response};

use super::*;

const BOTH: [SerializeType; 2] = [SerializeType::Json, SerializeType::Binary];

fn header(properties: Option<&str>) -> SendHeader<'_> {
    SendHeader {
        producer_group: "p",
        topic: "T",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 3,
        born_timestamp: 17,
        properties,
        ..SendHeader::default()
    }
}

/// Takes all output and gives code, opaque, flag and body of the frames in it.
fn drain(connection: &mut Connection) -> Vec<(i32, i32, i32, Vec<u8>)> {
    let mut output = Vec::new();
    connection.swap_output(&mut output);
    let mut rest = &output[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, used) = split_frame(rest, FRAME_SIZE_BYTES_MAX).expect("a valid frame").expect("a whole frame");
        let header = frame.decode_header().expect("a header");
        frames.push((header.code, header.opaque, header.flag, frame.body.to_vec()));
        rest = &rest[used..];
    }
    frames
}

fn sent(serialize_type: SerializeType, opaque: i32, offset: i64) -> Vec<u8> {
    let id = OffsetId { store_host: Host::new([127, 0, 0, 1].into(), 10_911), position: LogPosition::new(7) };
    let response = SendResponse {
        code: Code::SUCCESS,
        offset_ids: &[id],
        queue_id: 3,
        queue_offset: offset,
        transaction_id: None,
        trace_on: true,
        region: "DefaultRegion",
        batch_uniq_id: None,
        recall_handle: None,
        remark: "",
    };
    let mut out = Vec::new();
    encode_send_response(&mut out, serialize_type, opaque, &response);
    out
}

/// Slot, code and `queueOffset` of each response in `bytes`, taken in pieces of `piece` bytes.
fn responses(connection: &mut Connection, bytes: &[u8], piece: usize) -> Vec<(usize, u16, i64)> {
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece) {
        let on = |event: Event<'_>| match event {
            Event::Response(response) => {
                let offset = response.fields().number("queueOffset").unwrap_or(-1);
                seen.push((response.request.slot(), response.code.get(), offset));
            }
            Event::Request(request) => panic!("not asked for: {request:?}"),
        };
        connection.received(piece, on).expect("valid frames");
    }
    seen
}

#[test]
fn answers_find_their_requests_in_any_order_and_in_either_type() {
    for serialize_type in BOTH {
        let mut connection = Connection::new(serialize_type);
        for body in [b"a", b"b", b"c"] {
            connection.send(SEND_MESSAGE_V2, &header(Some("TAGS\u{1}A\u{2}")), body, false).expect("room");
        }
        let frames = drain(&mut connection);
        assert_eq!(frames.iter().map(|frame| &frame.3[..]).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!((connection.in_flight_count(), frames[0].0), (3, SEND_MESSAGE_V2));
        let bytes = [2, 0, 1].map(|index| sent(serialize_type, frames[index].1, 100 + index as i64)).concat();
        for piece in [1, 7, bytes.len()] {
            let mut connection = Connection::new(serialize_type);
            for _ in 0..3 {
                connection.send(SEND_MESSAGE_V2, &header(None), b"x", false).expect("room");
            }
            assert_eq!(responses(&mut connection, &bytes, piece), [(2, 0, 102), (0, 0, 100), (1, 0, 101)]);
            assert_eq!((connection.in_flight_count(), connection.in_flight_bytes()), (0, 0));
        }
    }
}

#[test]
fn the_fields_of_an_answer_are_read_as_its_type() {
    let mut connection = Connection::new(SerializeType::Json);
    connection.send(SEND_MESSAGE_V2, &header(None), b"x", false).expect("room");
    let opaque = drain(&mut connection)[0].1;
    let mut told = 0;
    let on = |event: Event<'_>| {
        let Event::Response(response) = event else { panic!("{event:?}") };
        let reply: SendReply<'_> = response.read().expect("all fields");
        assert_eq!((reply.queue_id, reply.queue_offset, reply.trace_on), (3, 9, Some(true)));
        assert_eq!(reply.msg_id, "7F00000100002A9F0000000000000007");
        assert!(response.read::<PullResponse>().is_err(), "fields of another code are missing");
        told += 1;
    };
    connection.received(&sent(SerializeType::Json, opaque, 9), on).expect("a frame");
    assert_eq!(told, 1);
}

#[test]
fn a_pull_and_its_messages_go_through() {
    let mut connection = Connection::new(SerializeType::Binary);
    let pull = PullMessage { consumer_group: "g", topic: "T", queue_offset: 5, max_msg_nums: 32, ..Default::default() };
    connection.pull(PULL_MESSAGE, &pull).expect("room");
    let (code, opaque, _, _) = drain(&mut connection)[0];
    assert_eq!(code, PULL_MESSAGE);
    let mut bytes = Vec::new();
    let response = PullResponse { next_begin_offset: 6, max_offset: 8, ..PullResponse::default() };
    encode_pull_response_head(&mut bytes, SerializeType::Json, (Code::SUCCESS, opaque), "FOUND", &response, 5);
    bytes.extend_from_slice(b"hello");
    let mut told = 0;
    let on = |event: Event<'_>| {
        let Event::Response(response) = event else { panic!("{event:?}") };
        let read: PullResponse = response.read().expect("all fields");
        assert_eq!((read.next_begin_offset, read.max_offset, response.body), (6, 8, &b"hello"[..]));
        assert_eq!(response.remark(), "FOUND");
        told += 1;
    };
    connection.received(&bytes, on).expect("a frame");
    assert_eq!(told, 1);
}

#[test]
fn a_one_way_request_waits_for_nothing() {
    let mut connection = Connection::new(SerializeType::Json);
    connection.send(SEND_MESSAGE_V2, &header(None), b"x", true).expect("room");
    connection.request_oneway(15, &ExtFields::new(), b"").expect("room");
    assert_eq!(connection.in_flight_count(), 0);
    assert!(drain(&mut connection).iter().all(|(_, _, flag, _)| *flag == 2));
}

#[test]
fn the_broker_may_ask_and_is_answered_with_its_own_opaque() {
    let mut asked = Vec::new();
    let header = Header::request(GET_CONSUMER_STATUS_FROM_CLIENT, 77);
    encode_frame(&mut asked, SerializeType::Binary, &header, b"");
    encode_frame(&mut asked, SerializeType::Json, &Header::request(NOTIFY_CONSUMER_IDS_CHANGED, 78).oneway(), b"");
    let mut connection = Connection::new(SerializeType::Json);
    let mut heard = Vec::new();
    let on = |event: Event<'_>| match event {
        Event::Request(request) => heard.push((request.code, request.reply_to)),
        Event::Response(response) => panic!("{response:?}"),
    };
    connection.received(&asked, on).expect("frames");
    let [(GET_CONSUMER_STATUS_FROM_CLIENT, Some(reply_to)), (NOTIFY_CONSUMER_IDS_CHANGED, None)] = heard[..] else {
        panic!("{heard:?}");
    };
    connection.answer(reply_to, Code::SUCCESS, None, &ExtFields::new(), b"{}").expect("small");
    assert_eq!(drain(&mut connection), [(0, 77, 1, b"{}".to_vec())]);
}

#[test]
fn a_late_answer_to_a_forgotten_request_is_thrown_away() {
    let mut connection = Connection::new(SerializeType::Json);
    let first = connection.send(SEND_MESSAGE_V2, &header(None), b"x", false).expect("room");
    let opaque = drain(&mut connection)[0].1;
    connection.forget(first);
    let second = connection.send(SEND_MESSAGE_V2, &header(None), b"y", false).expect("room");
    assert_eq!(first.slot(), second.slot());
    assert_eq!(responses(&mut connection, &sent(SerializeType::Json, opaque, 1), 64), []);
    assert_eq!((connection.unasked_count(), connection.in_flight_count()), (1, 1));
}

#[test]
fn what_is_beyond_the_limits_is_refused_and_nothing_is_written() {
    let mut connection = Connection::new(SerializeType::Json).with_in_flight_count_max(1);
    let body = vec![0; BODY_SIZE_BYTES_MAX + 1];
    let refused = connection.send(SEND_MESSAGE_V2, &header(None), &body, false);
    assert!(matches!(refused, Err(RequestError::MessageSize { .. })));
    let long = "p".repeat(PROPERTIES_SIZE_BYTES_MAX + 1);
    let refused = connection.send(SEND_MESSAGE_V2, &header(Some(&long)), b"", false);
    assert!(matches!(refused, Err(RequestError::MessageSize { .. })));
    let fields: ExtFields<'_> = [("key", "k".repeat(100_000))].into_iter().collect();
    assert!(matches!(connection.request(12, &fields, b""), Err(RequestError::FrameSize { .. })));
    assert!(connection.output().is_empty());
    connection.send(SEND_MESSAGE_V2, &header(None), b"x", false).expect("room");
    let refused = connection.send(SEND_MESSAGE_V2, &header(None), b"y", false);
    assert_eq!(refused, Err(RequestError::TooManyInFlight { count_max: 1 }));
}

#[test]
fn the_largest_properties_fit_however_they_are_escaped() {
    for serialize_type in BOTH {
        let mut connection = Connection::new(serialize_type);
        let properties = "\u{1}".repeat(PROPERTIES_SIZE_BYTES_MAX);
        connection.send(SEND_MESSAGE_V2, &header(Some(&properties)), b"x", false).expect("fits");
        assert_eq!(drain(&mut connection).len(), 1);
    }
}

#[test]
fn after_bytes_that_are_no_frame_nothing_is_done_any_more() {
    let mut connection = Connection::new(SerializeType::Json);
    assert!(connection.received(&[0xff; 8], |_| {}).is_err());
    assert_eq!(connection.received(&[0], |_| {}), Err(ProtocolError::Broken));
    let refused = connection.send(SEND_MESSAGE_V2, &header(None), b"x", false);
    assert_eq!(refused, Err(RequestError::NotReady));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1..50_usize) {
        let mut connection = Connection::new(SerializeType::Json);
        connection.send(SEND_MESSAGE_V2, &header(None), b"x", false).expect("room");
        for piece in bytes.chunks(cut) {
            if connection.received(piece, |_| {}).is_err() {
                break;
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_no_panic(at in 0..200_usize, to in any::<u8>()) {
        let mut connection = Connection::new(SerializeType::Json);
        connection.send(SEND_MESSAGE_V2, &header(None), b"x", false).expect("room");
        let mut bytes = sent(SerializeType::Json, drain(&mut connection)[0].1, 1);
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = connection.received(&bytes, |event| if let Event::Response(response) = event {
            let _ = (response.read::<SendReply<'_>>(), response.remark());
        });
    }
}
