//! What holds for all frames, headers and registrations, and what happens at each limit.

use std::io::Read;

use flate2::Compression;
use flate2::read::ZlibEncoder;
use proptest::prelude::*;
use ringmq_proto::limits::{
    REGISTRATION_INFLATED_SIZE_BYTES_MAX, REGISTRATION_TOPIC_COUNT_MAX, REMOTING_EXT_FIELD_COUNT_MAX,
    REMOTING_HEADER_SIZE_BYTES_MAX, REMOTING_REMARK_SIZE_BYTES_MAX,
};
use ringmq_proto::remoting::admin::groups::GroupConfig;
use ringmq_proto::remoting::admin::offsets::ConsumerOffsetTable;
use ringmq_proto::remoting::admin::progress::{ConsumeOffset, ConsumeStats};
use ringmq_proto::remoting::admin::settings::decode_properties;
use ringmq_proto::remoting::client_push::ResetOffsetBody;
use ringmq_proto::remoting::common::RequestCommon;
use ringmq_proto::remoting::consumer::LockBatchBody;
use ringmq_proto::remoting::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use ringmq_proto::remoting::message_queue::{MessageQueue, QueueTable};
use ringmq_proto::remoting::registration::{
    DataVersion, RegisterBody, RegisterBroker, TopicConfig, UnregisterBroker, body_checksum,
};
use ringmq_proto::remoting::send::{SendHeader, encode_send_request};
use ringmq_proto::remoting::timer::RecallHandle;
use ringmq_proto::remoting::{
    BodyError, ExtFields, ExtHeader, FieldError, Frame, FrameError, Header, Language, SerializeType, encode_frame,
    split_frame,
};

const FRAME_MAX: usize = 16 << 20;

fn any_header() -> impl Strategy<Value = Header<'static>> {
    let ext = prop::collection::vec((".{0,20}", ".{1,40}"), 0..20);
    (any::<i16>(), 0..14_u8, any::<i16>(), any::<i32>(), any::<i32>(), prop::option::of(".{1,30}"), ext).prop_map(
        |(code, language, version, opaque, flag, remark, ext)| Header {
            code: code.into(),
            language: Language::from_code(language),
            version: version.into(),
            opaque,
            flag,
            remark: remark.map(Into::into),
            ext: ExtFields::from_iter(ext),
        },
    )
}

fn any_topic() -> impl Strategy<Value = TopicConfig> {
    ("[%|a-zA-Z0-9_-]{1,60}", 0..8_i32, any::<i32>(), any::<i32>()).prop_map(|(name, perm, read, write)| TopicConfig {
        topic_name: name,
        perm,
        read_queue_nums: read,
        write_queue_nums: write,
        attributes: if read % 2 == 0 { [("message.type".to_owned(), "A \"B".to_owned())].into() } else { [].into() },
        ..TopicConfig::default()
    })
}

fn any_registration() -> impl Strategy<Value = RegisterBody> {
    (any::<(i64, i64, i64)>(), prop::collection::vec(any_topic(), 0..30)).prop_map(|(version, topics)| RegisterBody {
        data_version: DataVersion { counter: version.0, state_version: version.1, timestamp: version.2 },
        topics,
    })
}

fn register_header(compressed: bool, checksum: i32) -> RegisterBroker<'static> {
    RegisterBroker {
        broker_name: "b",
        broker_addr: "127.0.0.1:10911",
        cluster_name: "c",
        ha_server_addr: "127.0.0.1:10912",
        broker_id: 0,
        heartbeat_timeout_millis: Some(10_000),
        enable_acting_master: Some(false),
        compressed: Some(compressed),
        body_crc32: Some(checksum),
        whole_table: None,
    }
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZlibEncoder::new(plain, Compression::best()).read_to_end(&mut out).expect("memory");
    out
}

/// What a [`SendHeader`] borrows.
#[derive(Clone, Debug)]
struct Send {
    texts: [String; 3],
    properties: Option<String>,
    numbers: (i32, i32, i32, i64, i32),
    optional: (Option<i32>, Option<bool>, Option<i32>, Option<bool>),
}

impl Send {
    fn as_header(&self) -> SendHeader<'_> {
        SendHeader {
            producer_group: &self.texts[0],
            topic: &self.texts[1],
            default_topic: &self.texts[2],
            default_topic_queue_nums: self.numbers.0,
            queue_id: self.numbers.1,
            sys_flag: self.numbers.2,
            born_timestamp: self.numbers.3,
            flag: self.numbers.4,
            properties: self.properties.as_deref(),
            reconsume_times: self.optional.0,
            unit_mode: self.optional.1,
            max_reconsume_times: self.optional.2,
            batch: self.optional.3,
            broker_name: None,
        }
    }
}

fn any_send() -> impl Strategy<Value = Send> {
    let property = "[A-Z_]{1,10}\u{1}.{1,20}\u{2}";
    let properties = prop::option::of(prop::collection::vec(property, 1..6).prop_map(|all| all.concat()));
    (
        prop::array::uniform3(".{1,20}"),
        properties,
        any::<(i32, i32, i32, i64, i32)>(),
        any::<(Option<i32>, Option<bool>, Option<i32>, Option<bool>)>(),
    )
        .prop_map(|(texts, properties, numbers, optional)| Send { texts, properties, numbers, optional })
}

fn any_queue() -> impl Strategy<Value = MessageQueue> {
    (".{0,12}", any::<i32>(), ".{0,12}").prop_map(|(broker_name, queue_id, topic)| MessageQueue {
        broker_name,
        queue_id,
        topic,
    })
}

/// The header is refused by both ways, or read alike by both.
fn assert_one_pass_is_alike(serialize_type: SerializeType, bytes: &[u8], code: i32, scratch: &mut Vec<u8>) {
    let frame = Frame { serialize_type, header: bytes, body: b"" };
    let listed = frame.decode_header();
    match (SendHeader::read_send(code, &frame, scratch), &listed) {
        (Err(_), Err(_)) => {}
        (Ok((head, send)), Ok(header)) => {
            assert_eq!((head.code, head.language, head.version), (header.code, header.language, header.version));
            assert_eq!((head.opaque, head.flag), (header.opaque, header.flag));
            assert_eq!(send, SendHeader::decode_send(code, &header.ext));
        }
        (one, other) => panic!("{one:?} but {other:?}"),
    }
    if let Ok(header) = &listed {
        let (_, common) = RequestCommon::read(&frame, scratch).expect("read above");
        assert_eq!(common, RequestCommon::decode(&header.ext));
    }
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(header in any_header(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        for wanted in [SerializeType::Json, SerializeType::Binary] {
            let mut bytes = Vec::new();
            encode_frame(&mut bytes, wanted, &header, &body);
            let whole = bytes.len();
            bytes.extend_from_slice(b"the next frame");
            let (frame, consumed) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
            prop_assert_eq!((consumed, frame.serialize_type, frame.body), (whole, wanted, &body[..]));
            prop_assert_eq!(frame.decode_header().unwrap(), header.clone());
        }
    }

    #[test]
    fn every_prefix_of_a_frame_waits_for_more(header in any_header()) {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, SerializeType::Json, &header, b"body");
        for size in 0..bytes.len() {
            prop_assert_eq!(split_frame(&bytes[..size], FRAME_MAX), Ok(None));
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = split_frame(&bytes, FRAME_MAX).map(|split| split.map(|(frame, _)| frame.decode_header().is_ok()));
        let _ = Header::decode(SerializeType::Binary, &bytes);
        let _ = Header::decode(SerializeType::Json, &bytes);
        let _ = RegisterBody::decode_json(&bytes);
        let _ = RegisterBody::decode_compressed(479, &bytes);
        let _ = RegisterBody::decode_compressed(479, &zlib(&bytes));
    }

    #[test]
    fn a_header_with_one_wrong_byte_is_read_or_refused(header in any_header(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for wanted in [SerializeType::Json, SerializeType::Binary] {
            let mut bytes = Vec::new();
            header.encode(wanted, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Header::decode(wanted, &bytes);
        }
    }

    #[test]
    fn one_pass_reads_what_the_list_of_fields_holds(
        header in any_header(),
        send in any_send(),
        code in prop::sample::select(vec![10, 310, 320, 324, 325]),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut header = header;
        header.code = code;
        send.as_header().encode_send_into(code, &mut header.ext);
        let mut scratch = Vec::new();
        for wanted in [SerializeType::Json, SerializeType::Binary] {
            let mut bytes = Vec::new();
            header.encode(wanted, &mut bytes);
            if let Some((at, byte)) = &change {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            assert_one_pass_is_alike(wanted, &bytes, code, &mut scratch);
        }
    }

    #[test]
    fn a_send_is_read_as_it_was_written(send in any_send(), opaque in any::<i32>(), oneway in any::<bool>()) {
        for wanted in [SerializeType::Json, SerializeType::Binary] {
            let mut bytes = Vec::new();
            encode_send_request(&mut bytes, wanted, (310, opaque), oneway, &send.as_header(), b"body");
            let (frame, size) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
            prop_assert_eq!((size, frame.body), (bytes.len(), b"body".as_slice()));
            let mut scratch = Vec::new();
            let (head, read) = SendHeader::read_send(310, &frame, &mut scratch).unwrap();
            prop_assert_eq!((head.code, head.opaque, head.is_oneway()), (310, opaque, oneway));
            prop_assert_eq!(read.unwrap(), send.as_header());
        }
    }

    #[test]
    fn no_bytes_make_a_body_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:0-9a-z null]{0,60}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = HeartbeatData::decode(bytes);
            let _ = LockBatchBody::decode(bytes);
            let _ = ResetOffsetBody::decode(bytes);
            let _ = ConsumeStats::decode(bytes);
            let _ = GroupConfig::decode(bytes);
            let _ = ConsumerOffsetTable::decode(bytes);
            let _ = decode_properties(bytes);
            let _ = RecallHandle::decode(&String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn bodies_are_read_as_they_were_written(
        queues in prop::collection::btree_map(any_queue(), any::<(i64, i64)>(), 0..8),
        names in prop::collection::vec(".{0,12}", 0..6),
        numbers in any::<(i64, i32, bool)>(),
    ) {
        let table: QueueTable<i64> = queues.iter().map(|(queue, (value, _))| (queue.clone(), *value)).collect();
        let reset = ResetOffsetBody { offset_table: table.clone() };
        for form in [reset.encode(), reset.encode_bare(), reset.encode_pairs()] {
            prop_assert_eq!(&ResetOffsetBody::decode(&form).unwrap(), &reset);
        }
        let stats = ConsumeStats {
            consume_tps: 0.25,
            offset_table: queues
                .iter()
                .map(|(queue, (value, other))| {
                    let offset = ConsumeOffset { broker_offset: *value, consumer_offset: *other, ..Default::default() };
                    (queue.clone(), offset)
                })
                .collect(),
        };
        prop_assert_eq!(&ConsumeStats::decode(&stats.encode()).unwrap(), &stats);
        let heartbeat = HeartbeatData {
            client_id: names.concat(),
            consumer_data_set: names
                .iter()
                .map(|name| ConsumerData {
                    group_name: name.clone(),
                    subscription_data_set: vec![SubscriptionData {
                        tags_set: names.clone(),
                        code_set: vec![numbers.1],
                        sub_version: numbers.0,
                        ..Default::default()
                    }],
                    unit_mode: numbers.2,
                    ..Default::default()
                })
                .collect(),
            heartbeat_fingerprint: numbers.1,
            is_without_sub: numbers.2,
            ..Default::default()
        };
        prop_assert_eq!(&HeartbeatData::decode(&heartbeat.encode()).unwrap(), &heartbeat);
        let lock = LockBatchBody { mq_set: queues.keys().cloned().collect(), ..Default::default() };
        prop_assert_eq!(&LockBatchBody::decode(&lock.encode()).unwrap(), &lock);
        let offsets = ConsumerOffsetTable {
            offset_table: names.iter().map(|name| (name.clone(), [(numbers.1, numbers.0)].into())).collect(),
            ..Default::default()
        };
        prop_assert_eq!(&ConsumerOffsetTable::decode(&offsets.encode()).unwrap(), &offsets);
    }

    #[test]
    fn a_recall_handle_is_read_as_it_was_written(topic in "[a-zA-Z0-9_%-]{1,60}", broker in "[a-z-]{1,20}", time in any::<i64>(), key in "[A-F0-9]{32}") {
        let handle = RecallHandle { topic, broker_name: broker, deliver_time_ms: time, unique_key: key };
        prop_assert_eq!(RecallHandle::decode(&handle.encode()).unwrap(), handle);
    }

    #[test]
    fn a_registration_is_read_as_it_was_written(body in any_registration()) {
        let json = body.encode_json();
        prop_assert_eq!(&RegisterBody::decode(&register_header(false, body_checksum(&json)), 479, &json).unwrap(), &body);
        let compressed = body.encode_compressed();
        let header = register_header(true, body_checksum(&compressed));
        prop_assert_eq!(&RegisterBody::decode(&header, 479, &compressed).unwrap(), &body);
        // An older reader stops before the mappings.
        prop_assert_eq!(&RegisterBody::decode_compressed(409, &compressed).unwrap(), &body);
    }

    #[test]
    fn typed_headers_are_read_as_they_were_written(id in any::<i64>(), timeout in any::<Option<i64>>(), acting in any::<Option<bool>>()) {
        let mut header = register_header(true, 5);
        (header.broker_id, header.heartbeat_timeout_millis, header.enable_acting_master) = (id, timeout, acting);
        let ext = header.to_ext();
        prop_assert_eq!(RegisterBroker::decode(&ext), Ok(header));
    }
}

/// What real clients sent, each byte changed to those that mean something in JSON, and cut everywhere.
#[test]
fn captured_headers_with_one_wrong_byte_are_read_alike_by_both_ways() {
    let lines = include_str!("data/remoting_headers.jsonl").lines();
    let mut scratch = Vec::new();
    for line in lines.filter(|line| line.starts_with("{\"code\":310,") || line.starts_with("{\"code\":11,")).take(3) {
        for at in 0..line.len() {
            assert_one_pass_is_alike(SerializeType::Json, &line.as_bytes()[..at], 310, &mut scratch);
            for byte in *b"\"\\{}[]:,0-nu \x01\xff" {
                let mut bytes = line.as_bytes().to_vec();
                bytes[at] = byte;
                assert_one_pass_is_alike(SerializeType::Json, &bytes, 310, &mut scratch);
            }
        }
    }
}

#[test]
fn a_code_beyond_16_bits_travels_as_json() {
    let header = Header::request(200_050, 7);
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, SerializeType::Binary, &header, b"");
    let (frame, _) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
    assert_eq!(frame.serialize_type, SerializeType::Json);
    assert_eq!(frame.decode_header().unwrap(), header);
}

#[test]
fn wrong_frames_are_refused_as_soon_as_they_show() {
    let refused = |bytes: &[u8]| split_frame(bytes, 1000).unwrap_err();
    assert_eq!(refused(&[0xff, 0, 0, 0]), FrameError::Length { length: -16_777_216 });
    assert_eq!(refused(&[0, 0, 0, 3]), FrameError::Length { length: 3 });
    assert_eq!(refused(&[0, 0, 3, 0xe5]), FrameError::TooLarge { size: 1001, size_max: 1000 });
    assert_eq!(split_frame(&[0, 0, 3, 0xe4], 1000), Ok(None), "exactly the limit");
    assert_eq!(refused(&[0, 0, 0, 8, 2, 0, 0, 0]), FrameError::SerializeType(2));
    assert_eq!(refused(&[0, 0, 0, 8, 0, 0, 0, 5]), FrameError::HeaderLength { size: 5, room: 4 });
}

#[test]
fn remoting_header_size_bytes_max() {
    let size = REMOTING_HEADER_SIZE_BYTES_MAX + 1;
    let mut bytes = u32::try_from(size + 4).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
    assert_eq!(split_frame(&bytes, FRAME_MAX), Err(FrameError::HeaderTooLarge { size }));
}

#[test]
fn remoting_ext_field_count_max() {
    let mut header = Header::request(1, 1);
    for count in [REMOTING_EXT_FIELD_COUNT_MAX, REMOTING_EXT_FIELD_COUNT_MAX + 1] {
        header.ext = (0..count).map(|index| (index.to_string(), "v")).collect();
        for wanted in [SerializeType::Json, SerializeType::Binary] {
            let mut bytes = Vec::new();
            header.encode(wanted, &mut bytes);
            assert_eq!(Header::decode(wanted, &bytes).is_ok(), count == REMOTING_EXT_FIELD_COUNT_MAX, "{count}");
        }
    }
}

#[test]
fn remoting_remark_size_bytes_max() {
    let kept = |remark: &str| Header::request(1, 1).with_remark(remark.to_owned()).remark.unwrap().into_owned();
    let limit = "x".repeat(REMOTING_REMARK_SIZE_BYTES_MAX);
    assert_eq!(kept(&limit), limit);
    assert_eq!(kept(&format!("{limit}y")), limit);
    assert_eq!(kept(&format!("{}é", &limit[1..])), limit[1..], "no half characters");
}

#[test]
fn registration_topic_count_max() {
    let topic = |index: usize| TopicConfig { topic_name: index.to_string(), ..TopicConfig::default() };
    let mut body =
        RegisterBody { topics: (0..REGISTRATION_TOPIC_COUNT_MAX).map(topic).collect(), ..RegisterBody::default() };
    assert_eq!(RegisterBody::decode_json(&body.encode_json()).unwrap(), body);
    assert_eq!(RegisterBody::decode_compressed(479, &body.encode_compressed()).unwrap(), body);
    body.topics.push(topic(0));
    let refused = RegisterBody::decode_json(&body.encode_json()).unwrap_err();
    assert!(refused.to_string().contains("more than 200000 topics"), "{refused}");
    let refused = RegisterBody::decode_compressed(479, &body.encode_compressed()).unwrap_err();
    assert!(
        matches!(refused, BodyError::TooMany { what: "topics", count_max: REGISTRATION_TOPIC_COUNT_MAX }),
        "{refused}"
    );
}

#[test]
fn registration_inflated_size_bytes_max() {
    // 2000 topics of 64 KiB each: 128 MB out of some 100 KB.
    let mut plain = Vec::from(2_i32.to_be_bytes());
    plain.extend_from_slice(b"{}");
    plain.extend_from_slice(&2000_i32.to_be_bytes());
    let text = [b"t 1 1 6 SINGLE_TAG ".to_vec(), vec![b'a'; (64 << 10) - 19]].concat();
    for _ in 0..2000 {
        plain.extend_from_slice(&i32::try_from(text.len()).unwrap().to_be_bytes());
        plain.extend_from_slice(&text);
    }
    assert!(plain.len() as u64 > REGISTRATION_INFLATED_SIZE_BYTES_MAX);
    let refused = RegisterBody::decode_compressed(479, &zlib(&plain)).unwrap_err();
    assert_eq!(refused.to_string(), "the body holds more than a registration may inflate to");
}

#[test]
fn a_body_with_another_checksum_is_refused() {
    let body = RegisterBody::default().encode_json();
    let wrong = register_header(false, body_checksum(&body) ^ 1);
    assert!(matches!(RegisterBody::decode(&wrong, 479, &body), Err(BodyError::Checksum)));
    assert!(RegisterBody::decode(&register_header(false, 0), 479, &body).is_ok(), "0 is unchecked");
}

#[test]
fn damaged_compressed_bodies_are_refused() {
    let good = RegisterBody { topics: vec![TopicConfig::default(); 50], ..RegisterBody::default() }.encode_compressed();
    for size in 0..good.len() - 8 {
        assert!(RegisterBody::decode_compressed(479, &good[..size]).is_err(), "{size}");
    }
    for text in ["t 1 1", "t 1 1 6", "t a 1 6 SINGLE_TAG", ""] {
        let mut plain = Vec::from([0, 0, 0, 2, b'{', b'}', 0, 0, 0, 1]);
        plain.extend_from_slice(&i32::try_from(text.len()).unwrap().to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
        plain.extend_from_slice(&[0, 0, 0, 2, b'[', b']']);
        assert!(matches!(RegisterBody::decode_compressed(409, &zlib(&plain)), Err(BodyError::Content(_))), "{text}");
    }
    let negative = zlib(&(-1_i32).to_be_bytes());
    assert!(matches!(RegisterBody::decode_compressed(479, &negative), Err(BodyError::Content("a negative length"))));
}

#[test]
fn fields_are_refused_in_rocketmqs_words() {
    let mut ext = register_header(false, 0).to_ext();
    ext.push("brokerId", "x");
    assert_eq!(RegisterBroker::decode(&ext), Err(FieldError::NotANumber { name: "brokerId" }), "the last one counts");
    let refused = UnregisterBroker::decode(&ExtFields::new()).unwrap_err();
    assert_eq!(refused.to_string(), "the custom field <brokerName> is null");
}

#[test]
fn headers_of_other_clients_are_read() {
    let read = |text: &'static str| Header::decode(SerializeType::Json, text.as_bytes());
    let header = read(
        r#" { "opaque" : 5 , "unknown":{"a":[1]}, "code":"105", "language":9, "extFields":{"n":1,"b":true,"z":null} } "#,
    );
    let header = header.unwrap();
    assert_eq!((header.code, header.opaque, header.language.name()), (105, 5, "GO"));
    assert_eq!(header.ext.iter().collect::<Vec<_>>(), [("n", "1"), ("b", "true")]);
    assert_eq!(read(r#"{"language":"KLINGON","extFields":null,"remark":null}"#).unwrap().language, Language::OTHER);
    for bad in [
        "",
        "{",
        "[]",
        "{}x",
        r#"{"code":}"#,
        r#"{"code":1.5}"#,
        r#"{"extFields":[]}"#,
        r#"{"a":1,}"#,
        r#"{"code":9999999999}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
