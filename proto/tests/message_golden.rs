//! Messages as real brokers (RocketMQ 4.9.8) stored them and real clients got them, read and written.

use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::properties::names;
use ringmq_proto::message::{
    Host, OffsetId, Properties, StoredMessage, UniqueId, iter_client_batch, iter_stored, sys_flag, tag_hash,
    tag_hash_of_properties,
};
use std::net::IpAddr;

/// Bodies of pulls, views, queries and transaction checks, one a line.
const BODIES: &str = include_str!("data/stored_messages.hex");

/// The body of a SEND_BATCH_MESSAGE (320) of a 4.9.8 Java client.
const CLIENT_BATCH: &str = concat!(
    "0000005e00000000000000000000000000000002623000464b45595301424b3002554e49515f4b4559014330303030",
    "3230323746303335464644324232373636463644353341303030320257414954017472756502544147530154616741",
    "0000005e00000000000000000000000000000002623100464b45595301424b3102554e49515f4b4559014330303030",
    "3230323746303335464644324232373636463644353341303030330257414954017472756502544147530154616741",
);

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).expect("a hex digit")).expect("a nibble");
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn bodies() -> Vec<Vec<u8>> {
    BODIES.lines().map(bytes_of_hex).collect()
}

#[test]
fn captured_messages_are_read_and_written_byte_for_byte() {
    let mut count = 0;
    for body in bodies() {
        let mut written = Vec::new();
        for message in iter_stored(&body) {
            let message = message.expect("a captured message");
            assert!(message.is_body_whole(), "{message:?}");
            let own = message.parts.to_vec();
            assert_eq!(own.len(), message.total_size);
            written.extend_from_slice(&own);
            count += 1;
        }
        assert_eq!(written, body);
    }
    assert_eq!(count, 24);
}

#[test]
fn the_golden_message_says_what_was_sent() {
    let body = &bodies()[0];
    let parts = StoredMessage::decode(body).expect("a captured message").parts;
    assert_eq!((parts.queue_id, parts.queue_offset, parts.position), (0, QueueOffset::ZERO, LogPosition::ZERO));
    assert_eq!(parts.born_host, Host::new([127, 0, 0, 1].into(), 48_026));
    assert_eq!(parts.store_host, Host::new([127, 0, 0, 1].into(), 10_911));
    assert_eq!((parts.born_time_ms, parts.store_time_ms), (1_795_218_652_421, 1_795_218_652_441));
    assert_eq!((parts.body, parts.topic), (b"hello".as_slice(), b"TopicT".as_slice()));
    let properties = Properties::new(parts.properties);
    assert_eq!(properties.iter().count(), 5);
    assert_eq!(properties.get_str(names::KEYS), Some("K1 K2"));
    assert_eq!(properties.get_str(names::CLUSTER), Some("DefaultCluster"));
    assert_eq!(properties.get_str("a"), Some("5"));
    assert_eq!(tag_hash_of_properties(parts.properties), 2_598_919);
}

#[test]
fn tag_hashes_are_the_codes_that_consumers_subscribed_with() {
    // "codeSet":[2598919,-1797401818,2598920], "tagsSet":["TagA","TagBig","TagB"]
    let code_set = [2_598_919, -1_797_401_818, 2_598_920];
    assert_eq!(["TagA", "TagBig", "TagB"].map(tag_hash), code_set);
    for body in bodies() {
        for message in iter_stored(&body).map(|message| message.expect("a captured message")) {
            let hash = tag_hash_of_properties(message.parts.properties);
            let tagged = Properties::new(message.parts.properties).get(names::TAGS).is_some();
            assert_eq!(tagged, code_set.contains(&hash), "{message:?}");
        }
    }
}

#[test]
fn a_compressed_body_is_stored_as_it_came() {
    let bodies = bodies();
    let message = iter_stored(&bodies[0]).nth(1).expect("two messages").expect("a captured message");
    assert_eq!(message.parts.sys_flag, sys_flag::COMPRESSED | 0x300);
    assert_eq!(message.parts.sys_flag & !sys_flag::PRODUCER_BITS, 0);
    assert_eq!(message.parts.body[..2], [0x78, 0x5e]);
}

#[test]
fn offset_ids_of_send_replies_are_made_of_host_and_position() {
    // Answers to sends, and the positions that the same messages were then pulled with.
    for (text, position) in [
        ("7F00000100002A9F0000000000000000", 0),
        ("7F00000100002A9F0000000000000170", 0x170),
        ("7F00000100002A9F000000000000023A", 0x23a),
        ("7F00000100002A9F00000000000003F0", 0x3f0),
        ("7F00000100002A9F0000000000000CF4", 0xcf4),
    ] {
        let position = LogPosition::new(position);
        let id = OffsetId::parse(text.as_bytes()).expect("an offset id");
        assert_eq!((id.position, id.to_string().as_str()), (position, text));
        let pulled = bodies().iter().any(|body| {
            iter_stored(body)
                .flatten()
                .any(|message| message.parts.position == position && message.parts.store_host == id.store_host)
        });
        assert!(pulled, "{text}");
    }
}

#[test]
fn unique_ids_of_java_clients_are_read() {
    let mut count = 0;
    for body in bodies() {
        for message in iter_stored(&body).flatten() {
            let text = Properties::new(message.parts.properties).get(names::UNIQ_KEY).expect("a unique id");
            let id = UniqueId::parse(text).expect("a unique id");
            assert_eq!(id.ip, IpAddr::from([192, 0, 2, 2]));
            assert_eq!(id.to_string().as_bytes(), text);
            count += 1;
        }
    }
    assert_eq!(count, 24);
}

#[test]
fn a_retried_message_names_where_it_was() {
    let retry = bodies()
        .into_iter()
        .find(|body| iter_stored(body).flatten().any(|message| message.parts.topic == b"%RETRY%gcap"));
    let retry = retry.expect("a retried message");
    let parts = StoredMessage::decode(&retry).expect("a captured message").parts;
    let properties = Properties::new(parts.properties);
    assert_eq!(parts.reconsume_times, 1);
    assert_eq!(properties.get_str(names::RETRY_TOPIC), Some("TopicT"));
    assert!(properties.is_no_wait());
    let origin = OffsetId::parse(properties.get(names::ORIGIN_MESSAGE_ID).expect("an origin")).expect("an offset id");
    assert_eq!(origin.position, LogPosition::new(0xbf));
}

#[test]
fn a_batch_of_a_java_client_is_read_and_written_byte_for_byte() {
    let bytes = bytes_of_hex(CLIENT_BATCH);
    let messages: Vec<_> = iter_client_batch(&bytes).collect::<Result<_, _>>().expect("a captured batch");
    assert_eq!(messages.iter().map(|message| message.body).collect::<Vec<_>>(), [b"b0", b"b1"]);
    assert_eq!(Properties::new(messages[1].properties).get_str(names::KEYS), Some("BK1"));
    let mut written = Vec::new();
    messages.iter().for_each(|message| message.append_to(&mut written));
    assert_eq!(written, bytes);
}
