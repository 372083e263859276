//! Answers with messages, and routes, as a broker or name server of ill will sends them: clients do not panic, and no body
//! becomes more than it may.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ringmq_client::untrusted;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{StoredMessageParts, sys_flag};
use ringmq_proto::record::{RecordFlags, RecordKind, seal_record};
use ringmq_proto::remoting::client_push::PushReply;
use ringmq_proto_fuzz::{AnyHost, Input, at_most};

#[derive(Debug, Arbitrary)]
struct Message {
    queue_offset: u64,
    /// Compressed by what; 0 is not.
    compression: u8,
    hosts: (AnyHost, AnyHost),
    body: Vec<u8>,
    properties: Vec<u8>,
    kind: u8,
    must_understand: bool,
}

#[derive(Debug, Arbitrary)]
struct Case {
    messages: Input<Vec<Message>>,
    from: u8,
    route: Vec<u8>,
    texts: (String, String, String),
    numbers: (i64, i64, i32, i32),
}

fn sys_flag_of(message: &Message) -> i32 {
    let kind = i32::from(message.compression % 8) << 8;
    kind | if message.compression == 0 { 0 } else { sys_flag::COMPRESSED }
}

fn stored(message: &Message) -> Vec<u8> {
    let parts = StoredMessageParts {
        queue_id: 0,
        flag: 0,
        queue_offset: QueueOffset::new(message.queue_offset % 256),
        position: LogPosition::new(0),
        sys_flag: sys_flag_of(message),
        born_time_ms: 0,
        born_host: message.hosts.0.into(),
        store_time_ms: 0,
        store_host: message.hosts.1.into(),
        reconsume_times: 0,
        prepared_transaction_position: 0,
        body: &message.body,
        topic: b"T",
        properties: at_most(&message.properties, 32_767),
    };
    parts.to_vec()
}

fn record(message: &Message) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes.extend_from_slice(&stored(message));
    let flags = if message.must_understand { RecordFlags::MUST_UNDERSTAND } else { RecordFlags::NONE };
    seal_record(&mut bytes, RecordKind(message.kind % 4), flags, QueueId::new(1), 1, LogPosition::new(4096));
    bytes
}

fuzz_target!(|case: Case| {
    if let Input::Damaged { valid, .. } = &case.messages {
        let records: Bytes = valid.iter().flat_map(record).collect::<Vec<u8>>().into();
        untrusted::records(&records, case.from.into());
    }
    let bytes: Bytes = case.messages.bytes(|messages| messages.iter().flat_map(stored).collect()).into();
    untrusted::stored(&bytes, case.from.into());
    untrusted::records(&bytes, case.from.into());
    untrusted::routes(&case.route);
    let (born_timestamp, store_timestamp, queue_id, sys_flag) = case.numbers;
    let header = PushReply {
        topic: &case.texts.0,
        born_host: &case.texts.1,
        properties: Some(&case.texts.2),
        born_timestamp,
        store_timestamp,
        queue_id,
        sys_flag,
        ..PushReply::default()
    };
    untrusted::reply(&header, &bytes);
});
