//! Stored messages: no panic, and what is read can be written and read again.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::{StoredMessage, StoredMessageParts, iter_stored, sys_flag};
use ringmq_proto_fuzz::{AnyHost, Input, at_most};

#[derive(Debug, Arbitrary)]
struct Message {
    numbers: (i32, i32, u64, u64, i32, u64, u64, i32, i64),
    hosts: (AnyHost, AnyHost),
    body: Vec<u8>,
    topic: Vec<u8>,
    properties: Vec<u8>,
}

fn encode(message: &Message) -> Vec<u8> {
    let (queue_id, flag, queue_offset, position, sys_flag, born_time_ms, store_time_ms, reconsume_times, prepared) =
        message.numbers;
    let parts = StoredMessageParts {
        queue_id,
        flag,
        queue_offset: QueueOffset::new(queue_offset),
        position: LogPosition::new(position),
        sys_flag,
        born_time_ms,
        born_host: message.hosts.0.into(),
        store_time_ms,
        store_host: message.hosts.1.into(),
        reconsume_times,
        prepared_transaction_position: prepared,
        body: &message.body,
        topic: at_most(&message.topic, 32_767),
        properties: at_most(&message.properties, 32_767),
    };
    let bytes = parts.to_vec();
    let read = StoredMessage::decode(&bytes).expect("just written");
    let host_bits = read.parts.sys_flag & sys_flag::HOST_BITS;
    assert_eq!(read.parts, StoredMessageParts { sys_flag: sys_flag & !sys_flag::HOST_BITS | host_bits, ..parts });
    assert!(read.is_body_whole());
    bytes
}

fuzz_target!(|input: Input<Vec<Message>>| {
    let bytes = input.bytes(|messages| messages.iter().flat_map(encode).collect());
    let mut total_size = 0;
    for message in iter_stored(&bytes).flatten() {
        let _ = message.is_body_whole();
        total_size += message.total_size;
        let written = message.parts.to_vec();
        let again = StoredMessage::decode(&written).expect("just written");
        assert_eq!(again.parts.to_vec(), written);
    }
    assert!(total_size <= bytes.len());
});
