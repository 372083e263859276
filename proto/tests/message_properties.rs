//! What must hold for any message and for any bytes: records, stored messages, batches, properties, ids.
//!
//! A failing case is printed with its seed and kept in `proptest-regressions/`; replay it with
//! `cargo test -p ringmq-proto --test message_properties`.

use proptest::collection::vec;
use proptest::prelude::*;
use ringmq_proto::error::DecodeError;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{
    BATCH_HEAD_SIZE_BYTES, Batch, BatchEncoder, BatchHead, ClientBatchMessage, Host, OffsetId, Properties,
    StoredMessage, StoredMessageParts, UniqueId, append_property, batch_entry_len, iter_client_batch, iter_stored,
    properties, sys_flag, tag_hash, tag_hash_of_properties,
};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordKind, RecordView, records, seal_record};
use std::net::IpAddr;

fn host() -> impl Strategy<Value = Host> {
    (any::<IpAddr>(), any::<u32>()).prop_map(|(ip, port)| Host::new(ip, port))
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

/// A message with parts of its own.
#[derive(Clone, Debug)]
struct Owned {
    parts: StoredMessageParts<'static>,
    body: Vec<u8>,
    topic: Vec<u8>,
    properties: Vec<u8>,
}

impl Owned {
    fn parts(&self) -> StoredMessageParts<'_> {
        StoredMessageParts { body: &self.body, topic: &self.topic, properties: &self.properties, ..self.parts }
    }
}

fn message() -> impl Strategy<Value = Owned> {
    let numbers = (any::<i32>(), any::<i32>(), any::<u64>(), any::<u64>(), any::<i32>(), any::<u64>(), any::<u64>());
    let others = (host(), host(), any::<i32>(), any::<i64>(), bytes(300), bytes(300), bytes(700));
    (numbers, others).prop_map(|(numbers, others)| {
        let (queue_id, flag, queue_offset, position, sys_flag, born_time_ms, store_time_ms) = numbers;
        let (born_host, store_host, reconsume_times, prepared_transaction_position, body, topic, properties) = others;
        let host_bits = if born_host.is_ipv6() { sys_flag::BORN_HOST_IPV6 } else { 0 }
            | if store_host.is_ipv6() { sys_flag::STORE_HOST_IPV6 } else { 0 };
        let parts = StoredMessageParts {
            queue_id,
            flag,
            queue_offset: QueueOffset::new(queue_offset),
            position: LogPosition::new(position),
            sys_flag: sys_flag & !sys_flag::HOST_BITS | host_bits,
            born_time_ms,
            born_host,
            store_time_ms,
            store_host,
            reconsume_times,
            prepared_transaction_position,
            body: b"",
            topic: b"",
            properties: b"",
        };
        Owned { parts, body, topic, properties }
    })
}

fn batch_head() -> impl Strategy<Value = BatchHead> {
    let numbers = (0..i64::MAX.cast_unsigned(), 0..i64::MAX.cast_unsigned(), any::<u64>(), any::<u64>());
    (numbers, any::<u16>(), any::<i32>(), host(), host()).prop_map(
        |((first_queue_offset, position, store_time_ms, born_time_ms), sys_flag, flag, born_host, store_host)| {
            BatchHead {
                first_queue_offset: QueueOffset::new(first_queue_offset),
                position: LogPosition::new(position),
                store_time_ms,
                born_time_ms,
                count: 0,
                sys_flag,
                flag,
                born_host,
                store_host,
            }
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<(i32, Vec<u8>, Vec<u8>)>> {
    vec((any::<i32>(), bytes(40), bytes(40)), 1..20)
}

fn encode_batch(head: &BatchHead, entries: &[(i32, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let entry_bytes: usize =
        entries.iter().map(|(_, properties, body)| batch_entry_len(properties.len(), body.len())).sum();
    let mut out = vec![0; BATCH_HEAD_SIZE_BYTES + entry_bytes];
    let mut encoder = BatchEncoder::new(&mut out, head);
    for (tag_hash, properties, body) in entries {
        encoder.push(*tag_hash, properties, body).expect("as long as reckoned");
    }
    assert_eq!(encoder.finish(), out.len());
    out
}

fn log_of(payloads: &[Vec<u8>], log_id: u128) -> Vec<u8> {
    let mut log = Vec::new();
    for payload in payloads {
        let mut record = [&[0; RECORD_HEADER_SIZE_BYTES], payload.as_slice()].concat();
        let position = LogPosition::new(log.len() as u64);
        seal_record(&mut record, RecordKind::MESSAGE, RecordFlags::NONE, QueueId::new(7), log_id, position);
        log.extend_from_slice(&record);
    }
    log
}

/// Changes some bytes: `(place, value)` pairs, places taken modulo the length.
fn damage(bytes: &mut [u8], changes: &[(usize, u8)]) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    for (place, value) in changes {
        bytes[place % length] = *value;
    }
}

proptest! {
    #[test]
    fn any_message_comes_back_as_it_was_and_is_written_alike(message in message()) {
        let encoded = message.parts().to_vec();
        prop_assert_eq!(encoded.len(), message.parts().encoded_len());
        let decoded = StoredMessage::decode(&encoded).expect("just written");
        prop_assert_eq!(decoded.parts, message.parts());
        prop_assert_eq!(decoded.total_size, encoded.len());
        prop_assert!(decoded.is_body_whole());
        prop_assert_eq!(decoded.parts.to_vec(), encoded);
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error(message in message()) {
        let encoded = message.parts().to_vec();
        for length in 0..encoded.len() {
            prop_assert!(StoredMessage::decode(&encoded[..length]).is_err(), "{} bytes", length);
        }
    }

    #[test]
    fn a_message_whose_total_size_is_cut_is_an_error(message in message()) {
        let mut encoded = message.parts().to_vec();
        for length in 0..encoded.len() {
            encoded[..4].copy_from_slice(&u32::try_from(length).expect("short").to_be_bytes());
            prop_assert!(StoredMessage::decode(&encoded).is_err(), "total size {}", length);
        }
    }

    #[test]
    fn what_is_read_of_damaged_messages_can_be_written(
        messages in vec(message(), 1..4), changes in vec((any::<usize>(), any::<u8>()), 1..8)
    ) {
        let mut encoded: Vec<u8> = messages.iter().flat_map(|message| message.parts().to_vec()).collect();
        damage(&mut encoded, &changes);
        for decoded in iter_stored(&encoded).flatten() {
            let written = decoded.parts.to_vec();
            let again = StoredMessage::decode(&written).expect("just written");
            prop_assert_eq!(again.parts.body, decoded.parts.body);
            prop_assert_eq!(again.parts.properties, decoded.parts.properties);
        }
    }

    #[test]
    fn any_batch_comes_back_as_it_was(head in batch_head(), entries in entries()) {
        let encoded = encode_batch(&head, &entries);
        let batch = Batch::decode(&encoded).expect("just written");
        prop_assert_eq!(batch.head, BatchHead { count: u16::try_from(entries.len()).expect("few"), ..head });
        let mut record_offset = RECORD_HEADER_SIZE_BYTES + BATCH_HEAD_SIZE_BYTES;
        prop_assert_eq!(batch.entries().count(), entries.len());
        for (index, (entry, (tag_hash, properties, body))) in batch.entries().zip(&entries).enumerate() {
            prop_assert_eq!(usize::from(entry.index), index);
            prop_assert_eq!(entry.record_offset, record_offset);
            prop_assert_eq!((entry.tag_hash, entry.properties, entry.body), (*tag_hash, &properties[..], &body[..]));
            record_offset += batch_entry_len(properties.len(), body.len());

            let stored = entry.expand(&batch.head, b"T", 3).to_vec();
            let parts = StoredMessage::decode(&stored).expect("just written").parts;
            prop_assert_eq!(parts.queue_offset, head.first_queue_offset.plus(index as u64));
            prop_assert_eq!(parts.position, head.position.plus(entry.record_offset as u64));
            prop_assert_eq!((parts.born_host, parts.store_host), (head.born_host, head.store_host));
        }
    }

    #[test]
    fn a_batch_cut_anywhere_is_an_error(head in batch_head(), entries in entries()) {
        let encoded = encode_batch(&head, &entries);
        for length in 0..encoded.len() {
            prop_assert!(Batch::decode(&encoded[..length]).is_err(), "{} bytes", length);
        }
    }

    #[test]
    fn a_damaged_batch_is_an_error_or_has_as_many_entries_as_it_says(
        head in batch_head(), entries in entries(), changes in vec((any::<usize>(), any::<u8>()), 1..8)
    ) {
        let mut encoded = encode_batch(&head, &entries);
        damage(&mut encoded, &changes);
        if let Ok(batch) = Batch::decode(&encoded) {
            prop_assert_eq!(batch.entries().count(), usize::from(batch.head.count));
            for entry in batch.entries() {
                entry.expand(&batch.head, b"T", 3).to_vec();
            }
        }
    }

    #[test]
    fn records_come_back_whole_and_only_where_they_were(payloads in vec(bytes(300), 1..8), log_id: u128) {
        let log = log_of(&payloads, log_id);
        let mut position = LogPosition::ZERO;
        for (record, payload) in records(&log).zip(&payloads) {
            let record = record.expect("just written");
            prop_assert_eq!(record.payload, payload);
            prop_assert!(record.is_whole(log_id, position));
            prop_assert!(!record.is_whole(log_id, position.plus(512)));
            prop_assert!(!record.is_whole(!log_id ^ 1, position));
            position = position.plus(record.header.length.into());
        }
        prop_assert_eq!(position.get(), log.len() as u64);
    }

    #[test]
    fn records_cut_anywhere_end_with_one_error(payloads in vec(bytes(40), 1..5)) {
        let log = log_of(&payloads, 1);
        let ends: Vec<_> = records(&log).scan(0, |end, record| {
            *end += record.expect("just written").header.length as usize;
            Some(*end)
        }).collect();
        for length in 0..log.len() {
            let whole = ends.iter().filter(|end| **end <= length).count();
            let clean = length == 0 || ends.contains(&length);
            let results: Vec<_> = records(&log[..length]).collect();
            prop_assert_eq!(results.iter().filter(|record| record.is_ok()).count(), whole);
            prop_assert_eq!(results.len(), whole + usize::from(!clean));
        }
    }

    #[test]
    fn client_batch_comes_back_as_it_was_and_is_an_error_when_cut(
        messages in vec((any::<i32>(), bytes(40), bytes(40)), 1..6)
    ) {
        let mut encoded = Vec::new();
        let messages: Vec<_> = messages.iter()
            .map(|(flag, body, properties)| ClientBatchMessage { flag: *flag, body, properties }).collect();
        messages.iter().for_each(|message| message.append_to(&mut encoded));
        let decoded: Vec<_> = iter_client_batch(&encoded).collect::<Result<_, _>>().expect("just written");
        prop_assert_eq!(&decoded, &messages);
        let first_len = 22 + messages[0].body.len() + messages[0].properties.len();
        for length in 0..first_len {
            prop_assert!(ClientBatchMessage::decode(&encoded[..length]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(input in bytes(400)) {
        let messages = iter_stored(&input).count();
        prop_assert!(messages <= input.len() / 91 + 1);
        prop_assert!(records(&input).count() <= input.len() / 16 + 1);
        let _ = Batch::decode(&input).map(|batch| batch.entries().count());
        let _ = RecordView::decode(&input);
        let _ = iter_client_batch(&input).count();
        let _ = (OffsetId::parse(&input), UniqueId::parse(&input));
        let _ = tag_hash_of_properties(&input);
        let _ = Properties::new(&input).get_str("TAGS");
    }

    #[test]
    fn a_length_beyond_the_bytes_is_told_and_not_trusted(length in 400u32..=u32::MAX, message in message()) {
        let mut encoded = message.parts().to_vec();
        encoded.truncate(399);
        encoded[..4].copy_from_slice(&length.to_be_bytes());
        let told = matches!(
            StoredMessage::decode(&encoded),
            Err(DecodeError::Truncated { .. } | DecodeError::OutOfRange { .. })
        );
        prop_assert!(told);
        let mut record = log_of(&[message.body], 1);
        record[..4].copy_from_slice(&length.to_le_bytes());
        let truncated = matches!(RecordView::decode(&record), Err(DecodeError::Truncated { .. }));
        prop_assert!(truncated);
    }

    #[test]
    fn appended_properties_are_found_again(pairs in vec((bytes(6), bytes(6)), 0..6)) {
        let pairs: Vec<_> = pairs.into_iter().filter(|(name, value)| properties::is_property(name, value)).collect();
        let mut string = Vec::new();
        pairs.iter().for_each(|(name, value)| append_property(&mut string, name, value));
        let read: Vec<_> = Properties::new(&string).iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(&read, &pairs);
        string.push(2);
        prop_assert_eq!(Properties::new(&string).iter().count(), pairs.len());
        let mut without = Vec::new();
        Properties::new(&string).append_without(&["TAGS"], &mut without);
        prop_assert!(Properties::new(&without).get("TAGS").is_none());
    }

    #[test]
    fn tag_hash_is_the_same_from_text_and_from_properties(tag in "[^\u{1}\u{2}]{1,12}") {
        let mut string = Vec::new();
        append_property(&mut string, b"TAGS", tag.as_bytes());
        prop_assert_eq!(tag_hash_of_properties(&string), tag_hash(&tag));
    }

    #[test]
    fn ids_come_back_as_they_were(host in host(), position: u64, numbers: (u16, u32, u32, u16)) {
        let id = OffsetId { store_host: host, position: LogPosition::new(position) };
        prop_assert_eq!(OffsetId::parse(id.to_string().as_bytes()), Ok(id));
        let (process, loader, ms_of_month, counter) = numbers;
        let id = UniqueId { ip: host.ip(), process, loader, ms_of_month, counter };
        prop_assert_eq!(UniqueId::parse(id.to_string().to_lowercase().as_bytes()), Ok(id));
    }
}
