//! The typed headers and bodies of each family of codes, against what real Java clients and brokers (4.9.8, 5.3) sent.

use std::collections::BTreeMap;

use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::{Host, OffsetId};
use ringmq_proto::remoting::admin::assignment::QueryAssignment;
use ringmq_proto::remoting::admin::groups::GroupConfig;
use ringmq_proto::remoting::client_push::{
    GetConsumerRunningInfo, NotifyConsumerIdsChanged, PushReply, ResetOffset, ResetOffsetBody,
};
use ringmq_proto::remoting::common::RequestCommon;
use ringmq_proto::remoting::consumer::{
    ConsumerList, GetConsumerList, GetEarliestStoreTime, GetOffset, LockBatchBody, LockBatchReply, Offset,
    QueryConsumerOffset, SearchOffset, SendMessageBack, Timestamp, UpdateConsumerOffset,
};
use ringmq_proto::remoting::heartbeat::{
    CheckClientRequestBody, ConsumeFromWhere, ConsumeType, HeartbeatData, MessageModel, UnregisterClient,
};
use ringmq_proto::remoting::pull::{PullMessage, PullResponse, encode_pull_response_head};
use ringmq_proto::remoting::query::{QueryMessage, QueryMessageReply};
use ringmq_proto::remoting::send::{SendHeader, SendReply, SendResponse, encode_send_request, encode_send_response};
use ringmq_proto::remoting::timer::RecallMessage;
use ringmq_proto::remoting::transaction::{COMMIT, CheckTransactionState, EndTransaction};
use ringmq_proto::remoting::{
    ExtFields, ExtHeader, Frame, Header, Language, SerializeType, encode_frame, lenient, peek_code, read_head,
    split_frame,
};

const JSON_HEADERS: &str = include_str!("data/remoting_headers.jsonl");

/// Captured lines with this code; requests have no flag 1.
fn lines(code: i32, is_response: bool) -> Vec<&'static str> {
    let starts = format!("{{\"code\":{code},");
    JSON_HEADERS
        .lines()
        .filter(|line| line.starts_with(&starts) && line.contains("\"flag\":1,") == is_response)
        .collect()
}

fn json_frame(header: &str) -> Frame<'_> {
    Frame { serialize_type: SerializeType::Json, header: header.as_bytes(), body: b"" }
}

/// The fields of two headers are the same, whatever their order; what any request may carry is not compared.
fn assert_same_fields(captured: &ExtFields<'_>, written: &ExtFields<'_>) {
    let sorted = |ext: &ExtFields<'_>| -> BTreeMap<String, String> {
        let not_common = |(name, _): &(&str, &str)| !["bname", "n", "ReqT", "ns", "nsd", "lo", "oway"].contains(name);
        ext.iter().filter(not_common).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    assert_eq!(sorted(written), sorted(captured));
}

macro_rules! assert_captured {
    ($header:ty, $code:expr, $is_response:expr) => {{
        let mut count = 0;
        for line in lines($code, $is_response) {
            let header = Header::decode(SerializeType::Json, line.as_bytes()).unwrap();
            let Ok(typed) = <$header>::decode(&header.ext) else { continue };
            assert_same_fields(&header.ext, &typed.to_ext());
            let mut scratch = Vec::new();
            let (head, read) = <$header>::read(&json_frame(line), &mut scratch).unwrap();
            assert_eq!((head.code, head.opaque, head.flag), (header.code, header.opaque, header.flag));
            assert_eq!(read, Ok(typed));
            count += 1;
        }
        assert!(count > 0, "{} is not among the captures", stringify!($header));
    }};
}

#[test]
fn captured_requests_are_read_and_written_alike() {
    assert_captured!(PullMessage<'_>, 11, false);
    assert_captured!(PullMessage<'_>, 361, false);
    assert_captured!(QueryMessage<'_>, 12, false);
    assert_captured!(QueryConsumerOffset<'_>, 14, false);
    assert_captured!(UpdateConsumerOffset<'_>, 15, false);
    assert_captured!(SearchOffset<'_>, 29, false);
    assert_captured!(GetOffset<'_>, 30, false);
    assert_captured!(GetOffset<'_>, 31, false);
    assert_captured!(GetEarliestStoreTime<'_>, 32, false);
    assert_captured!(UnregisterClient<'_>, 35, false);
    assert_captured!(SendMessageBack<'_>, 36, false);
    assert_captured!(EndTransaction<'_>, 37, false);
    assert_captured!(GetConsumerList<'_>, 38, false);
    assert_captured!(CheckTransactionState<'_>, 39, false);
    assert_captured!(NotifyConsumerIdsChanged<'_>, 40, false);
    assert_captured!(ResetOffset<'_>, 220, false);
    assert_captured!(GetConsumerRunningInfo<'_>, 307, false);
    assert_captured!(PushReply<'_>, 326, false);
    assert_captured!(RecallMessage<'_>, 370, false);
}

#[test]
fn captured_answers_are_read_and_written_alike() {
    let mut kinds = [0; 5];
    for line in lines(0, true).into_iter().chain(lines(19, true)).chain(lines(20, true)) {
        let header = Header::decode(SerializeType::Json, line.as_bytes()).unwrap();
        if let Ok(typed) = Offset::decode(&header.ext) {
            assert_same_fields(&header.ext, &typed.to_ext());
            kinds[0] += 1;
        }
        if let Ok(typed) = PullResponse::decode(&header.ext) {
            assert_same_fields(&header.ext, &typed.to_ext());
            kinds[1] += 1;
        }
        if let Ok(typed) = SendReply::decode(&header.ext) {
            assert_same_fields(&header.ext, &typed.to_ext());
            kinds[2] += 1;
        }
        if let Ok(typed) = Timestamp::decode(&header.ext) {
            assert_same_fields(&header.ext, &typed.to_ext());
            kinds[3] += 1;
        }
        if let Ok(typed) = QueryMessageReply::decode(&header.ext) {
            assert_same_fields(&header.ext, &typed.to_ext());
            kinds[4] += 1;
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn all_captured_headers_read_the_same_in_one_pass() {
    for line in JSON_HEADERS.lines() {
        let header = Header::decode(SerializeType::Json, line.as_bytes()).unwrap();
        let frame = json_frame(line);
        assert_eq!(peek_code(&frame), Ok(header.code));
        let head = read_head(&frame).unwrap();
        assert_eq!((head.code, head.language, head.version), (header.code, header.language, header.version));
        assert_eq!((head.opaque, head.flag), (header.opaque, header.flag));
        let mut scratch = Vec::new();
        let (_, common) = RequestCommon::read(&frame, &mut scratch).unwrap();
        assert_eq!(common, RequestCommon::decode(&header.ext));
    }
}

#[test]
fn captured_sends_are_read_in_one_pass_and_written_byte_for_byte() {
    let mut count = 0;
    for code in [310, 320, 325] {
        for line in lines(code, false) {
            let header = Header::decode(SerializeType::Json, line.as_bytes()).unwrap();
            let mut scratch = Vec::new();
            let (head, send) = SendHeader::read_send(code, &json_frame(line), &mut scratch).unwrap();
            let send = send.unwrap();
            assert_eq!(Ok(send), SendHeader::decode_send(code, &header.ext));
            assert_eq!(send.broker_name, Some("broker-a"));
            assert_eq!(send.properties, header.ext.get("i"));

            // Ours differs in what it says of itself only.
            let mut written = Vec::new();
            encode_send_request(
                &mut written,
                SerializeType::Json,
                (code, head.opaque),
                head.is_oneway(),
                &send,
                b"body",
            );
            let (frame, size) = split_frame(&written, 1 << 20).unwrap().unwrap();
            assert_eq!((size, frame.body), (written.len(), b"body".as_slice()));
            let text = std::str::from_utf8(frame.header).unwrap();
            let version = format!("\"version\":{}", header.version);
            let text = text.replace("\"RUST\"", "\"JAVA\"").replace("\"version\":479", &version);
            assert_eq!(text, line);

            let mut own = ExtFields::new();
            send.encode_send_into(code, &mut own);
            assert_eq!(own, header.ext);
            count += 1;
        }
    }
    assert_eq!(count, 4);
}

#[test]
fn a_captured_binary_send_is_read_in_one_pass_and_written_byte_for_byte() {
    let hex = "000000ee010000e701360001df000000020000000000000000000000d200016100000002706200016200000006546f70696354000163000000065442573130320001640000000134000165000000013000016600000001300001670000000d313739353231393738343434340001680000000130000169000000454b455953014b02554e49515f4b455901433030303032303235443739333039343645303936373038314146433030303002574149540174727565025441475301546167410200016a000000013000016b0000000566616c736500016d0000000566616c736500016e0000000862726f6b65722d61";
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    let bytes: Vec<u8> = bytes.collect();
    let header = &bytes[8..];
    let frame = Frame { serialize_type: SerializeType::Binary, header, body: b"" };
    let code = peek_code(&frame).unwrap();
    let mut scratch = Vec::new();
    let (head, send) = SendHeader::read_send(code, &frame, &mut scratch).unwrap();
    let send = send.unwrap();
    assert_eq!((code, send.producer_group, send.topic, send.queue_id), (310, "pb", "TopicT", 0));
    assert_eq!((send.born_timestamp, send.batch, send.unit_mode), (1_795_219_784_444, Some(false), Some(false)));
    assert!(send.properties.unwrap().starts_with("KEYS\u{1}K\u{2}UNIQ_KEY"));
    let mut written = Vec::new();
    encode_send_request(&mut written, SerializeType::Binary, (code, head.opaque), false, &send, b"");
    written[8 + 2] = Language::JAVA.code();
    assert_eq!(&written[8..], header);
}

fn offset_id(position: u64) -> OffsetId {
    OffsetId { store_host: Host::new([127, 0, 0, 1].into(), 10_911), position: LogPosition::new(position) }
}

fn send_response(offset_ids: &[OffsetId]) -> SendResponse<'_> {
    SendResponse {
        code: Code::SUCCESS,
        offset_ids,
        queue_id: 0,
        queue_offset: 0,
        transaction_id: None,
        trace_on: true,
        region: "DefaultRegion",
        batch_uniq_id: None,
        recall_handle: None,
        remark: "",
    }
}

#[test]
fn the_answer_to_a_send_is_the_captured_one() {
    let line = lines(0, true).into_iter().find(|line| line.contains("0000000000000000\"")).unwrap();
    let mut written = Vec::new();
    encode_send_response(&mut written, SerializeType::Json, 10, &send_response(&[offset_id(0)]));
    let (frame, size) = split_frame(&written, 1 << 20).unwrap().unwrap();
    assert_eq!((size, frame.body), (written.len(), b"".as_slice()));
    assert_eq!(std::str::from_utf8(frame.header).unwrap(), line.replace(":409}", ":479}"));

    let hex = "000000930100008f00000001990000000200000001000000000000007a00056d736749640000002037463030303030313030303032413946303030303030303030303131343341390007717565756549640000000130000b71756575654f66667365740000000133000854524143455f4f4e0000000474727565000a4d53475f524547494f4e0000000d44656661756c74526567696f6e";
    let mut captured: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    captured[8 + 3..8 + 5].copy_from_slice(&479_i16.to_be_bytes());
    let mut written = Vec::new();
    let ids = [offset_id(0x1143a9)];
    let response = SendResponse { queue_offset: 3, ..send_response(&ids) };
    encode_send_response(&mut written, SerializeType::Binary, 2, &response);
    assert_eq!(written[8..], captured[8..]);
}

#[test]
fn the_answer_to_a_batch_names_all_its_messages() {
    let mut written = Vec::new();
    encode_send_response(&mut written, SerializeType::Json, 13, &send_response(&[offset_id(0x170), offset_id(0x23a)]));
    let mut scratch = Vec::new();
    let (frame, _) = split_frame(&written, 1 << 20).unwrap().unwrap();
    let (head, reply) = SendReply::read(&frame, &mut scratch).unwrap();
    assert!(head.is_response());
    assert_eq!(reply.unwrap().msg_id, "7F00000100002A9F0000000000000170,7F00000100002A9F000000000000023A");
}

#[test]
fn an_answer_to_a_send_is_what_the_common_encoder_writes() {
    let ids = [offset_id(7)];
    for wanted in [SerializeType::Json, SerializeType::Binary] {
        let response = SendResponse {
            code: Code::FLUSH_DISK_TIMEOUT,
            transaction_id: Some("key \"1\"\u{1}"),
            recall_handle: Some("handle"),
            remark: "flush \\ \"timeout\"",
            ..send_response(&ids)
        };
        let mut written = Vec::new();
        encode_send_response(&mut written, wanted, -5, &response);
        let (frame, _) = split_frame(&written, 1 << 20).unwrap().unwrap();
        let header = frame.decode_header().unwrap();
        assert_eq!((header.code, header.opaque, header.remark.as_deref()), (10, -5, Some("flush \\ \"timeout\"")));
        assert_eq!(header.ext.get("transactionId"), Some("key \"1\"\u{1}"));
        let mut again = Vec::new();
        encode_frame(&mut again, wanted, &header, b"");
        assert_eq!(again, written);
    }
}

#[test]
fn the_head_of_a_pull_is_the_captured_one() {
    let line = lines(0, true).into_iter().find(|line| line.contains("\"FOUND\"")).unwrap();
    let response = PullResponse {
        suggest_which_broker_id: 0,
        next_begin_offset: 2,
        max_offset: 2,
        min_offset: 0,
        ..Default::default()
    };
    let mut written = Vec::new();
    encode_pull_response_head(&mut written, SerializeType::Json, (Code::SUCCESS, 56), "FOUND", &response, 4);
    written.extend_from_slice(b"body");
    let (frame, size) = split_frame(&written, 1 << 20).unwrap().unwrap();
    assert_eq!((size, frame.body), (written.len(), b"body".as_slice()));
    assert_eq!(std::str::from_utf8(frame.header).unwrap(), line.replace(":409}", ":479}"));
}

#[test]
fn missing_and_wrong_fields_are_told_in_rocketmqs_words() {
    let read = |line: &str| {
        let mut scratch = Vec::new();
        let (head, send) = SendHeader::read_send(310, &json_frame(line), &mut scratch).unwrap();
        (head.opaque, send.unwrap_err().to_string())
    };
    let line = lines(310, false)[0];
    assert_eq!(read(&line.replace("\"b\":\"TopicT\",", "")), (10, "the custom field <b> is null".to_owned()));
    assert_eq!(
        read(&line.replace("\"e\":\"0\"", "\"e\":\"x\"")),
        (10, "the custom field <e> is not a number".to_owned())
    );
}

#[test]
fn captured_heartbeats_are_read_and_written_alike() {
    let producer = r#"{"clientID":"192.0.2.2@p","consumerDataSet":[],"producerDataSet":[{"groupName":"pcap"},{"groupName":"CLIENT_INNER_PRODUCER"}]}"#;
    let body = HeartbeatData::decode(producer.as_bytes()).unwrap();
    assert_eq!(body.producer_data_set[0].group_name, "pcap");
    assert_eq!(String::from_utf8(body.encode()).unwrap(), producer);

    let consumer = r#"{"clientID":"192.0.2.2@c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"gcap","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,-1797401818,2598920],"expressionType":"TAG","subString":"TagA||TagB||TagBig","subVersion":1795218653511,"tagsSet":["TagA","TagBig","TagB"],"topic":"TopicT"}],"unitMode":false}],"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}]}"#;
    let body = HeartbeatData::decode(consumer.as_bytes()).unwrap();
    let group = &body.consumer_data_set[0];
    assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!((group.consume_type, group.message_model), (ConsumeType::Passively, MessageModel::Clustering));
    assert_eq!(group.subscription_data_set[0].code_set, [2_598_919, -1_797_401_818, 2_598_920]);
    assert_eq!(String::from_utf8(body.encode()).unwrap(), consumer);
}

/// Bodies that clients of 4.9.8 and 5.3 sent and the 4.9.8 broker pushed, each behind its code.
#[test]
fn captured_request_bodies_are_read_and_written_alike() {
    let value = |json: &[u8]| -> serde_json::Value {
        let mut value: serde_json::Value = lenient::decode(json).expect("JSON");
        if let Some(members) = value.as_object_mut() {
            // What says nothing is left out.
            members.retain(|name, member| match name.as_str() {
                "heartbeatFingerprint" => *member != 0,
                "withoutSub" => *member != false,
                _ => true,
            });
        }
        value
    };
    let mut codes = Vec::new();
    for line in include_str!("data/request_bodies.txt").lines() {
        let (code, body) = line.split_once(' ').unwrap();
        let code: i32 = code.parse().unwrap();
        let body = body.as_bytes();
        let written = match code {
            34 => HeartbeatData::decode(body).unwrap().encode(),
            41 | 42 => LockBatchBody::decode(body).unwrap().encode(),
            46 => CheckClientRequestBody::decode(body).unwrap().encode(),
            200 => GroupConfig::decode(body).unwrap().encode(),
            220 => ResetOffsetBody::decode(body).unwrap().encode(),
            400 => QueryAssignment::decode(body).unwrap().encode(),
            other => panic!("{other} has no type"),
        };
        assert_eq!(value(&written), value(body), "{code}");
        codes.push(code);
    }
    codes.dedup();
    assert_eq!(codes, [34, 41, 42, 46, 200, 220, 400]);
}

#[test]
fn heartbeats_of_other_languages_are_read() {
    // C++ writes enums as numbers, Go writes names in its own case and null for what is empty.
    let body =
        br#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g","messageModel":0,
        "subscriptionDataSet":[{"topic":"T","subString":"*","tagsSet":null,"codeSet":null,"expressionType":null}]}],
        "producerDataSet":null,"heartbeatFingerprint":7,"withoutSub":true}"#;
    let body = HeartbeatData::decode(body).unwrap();
    let group = &body.consumer_data_set[0];
    assert_eq!(
        (group.consume_from_where, group.message_model),
        (ConsumeFromWhere::FirstOffset, MessageModel::Broadcasting)
    );
    assert_eq!(group.subscription_data_set[0].expression_type, "TAG");
    assert_eq!((body.heartbeat_fingerprint, body.is_without_sub), (7, true));
    let body =
        br#"{"clientID":"c","consumerDataSet":[{"groupName":"g","messageModel":"BroadCasting","consumeType":"?"}]}"#;
    let body = HeartbeatData::decode(body).unwrap();
    assert_eq!(body.consumer_data_set[0].message_model, MessageModel::Broadcasting);
    assert_eq!(body.consumer_data_set[0].consume_type, ConsumeType::Actively);
}

#[test]
fn a_captured_client_check_is_read_and_written_alike() {
    let text = r#"{"clientId":"192.0.2.2@co","group":"gord","subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":"a between 0 and 10","subVersion":1795218653431,"tagsSet":[],"topic":"TopicT"}}"#;
    let body = CheckClientRequestBody::decode(text.as_bytes()).unwrap();
    assert_eq!(body.subscription_data.sub_string, "a between 0 and 10");
    assert_eq!(String::from_utf8(body.encode()).unwrap(), text);
}

#[test]
fn captured_locks_and_members_are_read_and_written_alike() {
    let text = r#"{"clientId":"192.0.2.2@co","consumerGroup":"gord","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"TopicT"}]}"#;
    let body = LockBatchBody::decode(text.as_bytes()).unwrap();
    assert_eq!((body.mq_set[0].topic.as_str(), body.only_this_broker), ("TopicT", None));
    assert_eq!(String::from_utf8(body.encode()).unwrap(), text);
    let text = r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"TopicT"}]}"#;
    assert_eq!(String::from_utf8(LockBatchReply::decode(text.as_bytes()).unwrap().encode()).unwrap(), text);
    let text = r#"{"consumerIdList":["192.0.2.2@c"]}"#;
    assert_eq!(String::from_utf8(ConsumerList::decode(text.as_bytes()).unwrap().encode()).unwrap(), text);
}

#[test]
fn a_captured_reset_is_read_and_written_in_all_its_forms() {
    let bare = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicT"}:2,{"brokerName":"broker-a","queueId":1,"topic":"TopicT"}:0,{"brokerName":"broker-a","queueId":2,"topic":"TopicT"}:1,{"brokerName":"broker-a","queueId":3,"topic":"TopicT"}:1}}"#;
    let body = ResetOffsetBody::decode(bare.as_bytes()).unwrap();
    assert_eq!(body.offset_table.0.values().copied().collect::<Vec<_>>(), [2, 0, 1, 1]);
    assert_eq!(String::from_utf8(body.encode_bare()).unwrap(), bare);
    for form in [body.encode(), body.encode_pairs()] {
        assert!(serde_json::from_slice::<serde_json::Value>(&form).is_ok());
        assert_eq!(ResetOffsetBody::decode(&form).unwrap(), body);
    }
}

#[test]
fn a_captured_end_of_transaction_says_commit() {
    let line = lines(37, false)[0];
    let mut scratch = Vec::new();
    let (head, end) = EndTransaction::read(&json_frame(line), &mut scratch).unwrap();
    assert!(head.is_oneway());
    let end = end.unwrap();
    assert_eq!((end.commit_or_rollback, end.commit_log_offset, end.tran_state_table_offset), (COMMIT, 1209, 0));
}
