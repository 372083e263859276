//! Frames that real Java clients, brokers and name servers (4.9.8 and 5.3) exchanged, read and written.

use std::io::Read;

use flate2::read::ZlibDecoder;
use ringmq_proto::remoting::header::{FLAG_ONEWAY, FLAG_RESPONSE};
use ringmq_proto::remoting::registration::{RegisterBody, RegisterBroker, body_checksum};
use ringmq_proto::remoting::request_code;
use ringmq_proto::remoting::route::{ClusterInfo, GetRoute, TopicRoute};
use ringmq_proto::remoting::{ExtHeader, Header, Language, SerializeType, encode_frame, split_frame};

const FRAME_MAX: usize = 16 << 20;

/// One JSON header of each kind, as it was on the wire.
const JSON_HEADERS: &str = include_str!("data/remoting_headers.jsonl");

/// Whole frames with binary headers; the bodies were cut off, so the length is corrected before reading.
const BINARY_FRAMES: [&str; 7] = [
    "0000002a0100002600690001df000000000000000000000000000000110005746f70696300000006546f70696354",
    "0000010401000015000000019900000000000000010000000000000000",
    "000000ee010000e701360001df000000020000000000000000000000d200016100000002706200016200000006546f70696354000163000000065442573130320001640000000134000165000000013000016600000001300001670000000d313739353231393738343434340001680000000130000169000000454b455953014b02554e49515f4b455901433030303032303235443739333039343645303936373038314146433030303002574149540174727565025441475301546167410200016a000000013000016b0000000566616c736500016d0000000566616c736500016e0000000862726f6b65722d61",
    "000000930100008f00000001990000000200000001000000000000007a00056d736749640000002037463030303030313030303032413946303030303030303030303131343341390007717565756549640000000130000b71756575654f66667365740000000133000854524143455f4f4e0000000474727565000a4d53475f524547494f4e0000000d44656661756c74526567696f6e",
    "000000c20100001500220001df00000003000000000000000000000000",
    "000000480100004400230001df0000000600000000000000000000002f000d70726f647563657247726f75700000000270620008636c69656e7449440000000c3139322e302e322e32407062",
    "0000001901000015000000019900000006000000010000000000000000",
];

const ROUTE_BODY: &str = r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;

const CLUSTER_BODY_OF_4_9: &str = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#;

/// Registrations of a 5.3.3 broker, whole frames: JSON header and body; binary header and compressed body.
const REGISTER_JSON: &str = include_str!("data/register_json_5.3.3.hex");
const REGISTER_COMPRESSED: &str = include_str!("data/register_compressed_5.3.3.hex");

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).expect("a hex digit")).expect("a nibble");
    let hex: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn every_captured_json_header_is_read_and_written_alike() {
    let mut count = 0;
    for line in JSON_HEADERS.lines() {
        let header = Header::decode(SerializeType::Json, line.as_bytes()).expect(line);
        let mut written = Vec::new();
        assert_eq!(header.encode(SerializeType::Json, &mut written), SerializeType::Json);
        // extFields are written always, Java leaves null ones out.
        let expected = if line.contains("\"extFields\":") {
            line.to_owned()
        } else {
            line.replacen(",\"flag\":", ",\"extFields\":{},\"flag\":", 1)
        };
        assert_eq!(String::from_utf8(written).unwrap(), expected);
        assert_eq!(header.language, Language::JAVA);
        count += 1;
    }
    assert_eq!(count, 92);
}

#[test]
fn the_fields_of_a_captured_send_are_there() {
    let line = JSON_HEADERS.lines().find(|line| line.starts_with("{\"code\":310,")).unwrap();
    let header = Header::decode(SerializeType::Json, line.as_bytes()).unwrap();
    assert_eq!((header.code, header.flag, header.version), (request_code::SEND_MESSAGE_V2, 0, 409));
    assert_eq!(header.ext.get("b"), Some("TopicT"));
    assert_eq!(header.ext.get("c"), Some("TBW102"));
    assert!(header.ext.get("i").unwrap().contains("KEYS\u{1}"));
    assert_eq!(header.ext.get("B"), None);
}

#[test]
fn every_captured_binary_frame_is_read_and_written_alike() {
    for hex in BINARY_FRAMES {
        let mut bytes = bytes_of_hex(hex);
        let size = i32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        let (frame, consumed) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
        assert_eq!((consumed, frame.serialize_type), (bytes.len(), SerializeType::Binary));
        let header = frame.decode_header().unwrap();
        let mut written = Vec::new();
        encode_frame(&mut written, SerializeType::Binary, &header, frame.body);
        assert_eq!(written, bytes);
    }
}

#[test]
fn the_captured_binary_route_request_is_what_it_says() {
    let bytes = bytes_of_hex(BINARY_FRAMES[0]);
    let (frame, _) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
    let header = frame.decode_header().unwrap();
    assert_eq!((header.code, header.opaque, header.flag, header.version), (105, 0, 0, 479));
    assert_eq!(GetRoute::decode(&header.ext).unwrap(), GetRoute { topic: "TopicT", accept_standard_json_only: None });

    let mut own = Header::request(request_code::GET_ROUTEINFO_BY_TOPIC, 0)
        .with_ext(&GetRoute { topic: "TopicT", accept_standard_json_only: None });
    own.language = Language::JAVA;
    let mut written = Vec::new();
    encode_frame(&mut written, SerializeType::Binary, &own, b"");
    assert_eq!(written, bytes);
}

#[test]
fn a_captured_binary_response_carries_its_flag() {
    let mut bytes = bytes_of_hex(BINARY_FRAMES[1]);
    bytes.extend_from_slice(ROUTE_BODY.as_bytes());
    let (frame, consumed) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
    assert_eq!(consumed, bytes.len(), "the captured length fits the captured body");
    let header = frame.decode_header().unwrap();
    assert_eq!((header.flag & FLAG_RESPONSE, header.flag & FLAG_ONEWAY, header.code), (1, 0, 0));
    assert_eq!(frame.body, ROUTE_BODY.as_bytes());
}

#[test]
fn a_captured_route_is_read_and_written_alike() {
    let route = TopicRoute::decode(ROUTE_BODY.as_bytes()).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "127.0.0.1:10911");
    assert_eq!(route.queue_datas[0].write_queue_nums, 4);
    assert_eq!(String::from_utf8(route.encode()).unwrap(), ROUTE_BODY);
}

#[test]
fn a_captured_cluster_with_bare_keys_is_read_and_written_with_quoted_ones() {
    let cluster = ClusterInfo::decode(CLUSTER_BODY_OF_4_9.as_bytes()).unwrap();
    assert_eq!(cluster.cluster_addr_table["DefaultCluster"], ["broker-a"]);
    assert_eq!(cluster.broker_addr_table["broker-a"].broker_addrs[&0], "127.0.0.1:10911");
    let strict = CLUSTER_BODY_OF_4_9.replace("{0:", "{\"0\":");
    assert_eq!(String::from_utf8(cluster.encode()).unwrap(), strict);
    assert_eq!(ClusterInfo::decode(strict.as_bytes()).unwrap(), cluster);
}

/// Written by hand from the documented form, with members in another order, unknown ones, and fastjson's bare keys.
#[test]
fn a_registration_of_a_java_broker_is_read() {
    let body = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"topicQueueMappingInfoMap":{"T":{"currIdMap":{0:0,1:1}}},
        "dataVersion":{"counter":3,"stateVersion":7,"timestamp":1795218655006},"mappingDataVersion":{"counter":0},
        "topicConfigTable":{"T":{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG",
        "topicName":"T","topicSysFlag":0,"writeQueueNums":3},"U":{"perm":4}}}}"#;
    let header = RegisterBroker {
        broker_name: "b",
        broker_addr: "127.0.0.1:10911",
        cluster_name: "c",
        ha_server_addr: "127.0.0.1:10912",
        broker_id: 0,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: Some(false),
        body_crc32: Some(0),
        whole_table: None,
    };
    let body = RegisterBody::decode(&header, 479, body).unwrap();
    assert_eq!((body.data_version.counter, body.data_version.state_version), (3, 7));
    let topics: Vec<_> = body.topics.iter().map(|t| (t.topic_name.as_str(), t.perm, t.write_queue_nums)).collect();
    assert_eq!(topics, [("T", 6, 3), ("U", 4, 16)]);
}

#[test]
fn captured_registrations_are_read_in_both_forms() {
    for (hex, serialize_type, id, topic_count) in
        [(REGISTER_JSON, SerializeType::Json, 0, 14), (REGISTER_COMPRESSED, SerializeType::Binary, 1, 13)]
    {
        let bytes = bytes_of_hex(hex);
        let (frame, consumed) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
        assert_eq!((consumed, frame.serialize_type), (bytes.len(), serialize_type));
        let header = frame.decode_header().unwrap();
        let broker = RegisterBroker::decode(&header.ext).unwrap();
        assert_eq!((broker.broker_name, broker.broker_id, broker.enable_acting_master), ("java-a", id, Some(false)));
        assert_eq!(broker.compressed, Some(false), "it says so in both");
        assert_eq!(broker.body_crc32, Some(body_checksum(frame.body)));
        let body = RegisterBody::decode(&broker, header.version, frame.body).unwrap();
        assert_eq!(body.topics.len(), topic_count);
        let topic = body.topics.iter().find(|topic| topic.topic_name == "TBW102").unwrap();
        assert_eq!((topic.perm, topic.read_queue_nums, topic.write_queue_nums), (7, 8, 8));
    }
}

#[test]
fn a_compressed_registration_is_written_as_a_broker_writes_it() {
    let bytes = bytes_of_hex(REGISTER_COMPRESSED);
    let (frame, _) = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
    let body = RegisterBody::decode_compressed(479, frame.body).unwrap();
    let inflate = |bytes: &[u8]| {
        let mut plain = Vec::new();
        ZlibDecoder::new(bytes).read_to_end(&mut plain).expect("a zlib stream");
        plain
    };
    assert_eq!(inflate(&body.encode_compressed()), inflate(frame.body));
}
