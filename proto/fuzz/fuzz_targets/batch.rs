//! Batch records: no panic; an accepted batch has its entries, fills its payload, and can be written again.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::{BATCH_HEAD_SIZE_BYTES, Batch, BatchEncoder, BatchHead, batch_entry_len};
use ringmq_proto_fuzz::{AnyHost, Input, at_most};

#[derive(Debug, Arbitrary)]
struct Valid {
    numbers: (u64, u64, u64, u64, u16, i32),
    hosts: (AnyHost, AnyHost),
    first: (i32, Vec<u8>, Vec<u8>),
    others: Vec<(i32, Vec<u8>, Vec<u8>)>,
}

fn encode(head: &BatchHead, entries: &[(i32, &[u8], &[u8])]) -> Vec<u8> {
    let len: usize = entries.iter().map(|(_, properties, body)| batch_entry_len(properties.len(), body.len())).sum();
    let mut out = vec![0xaa; BATCH_HEAD_SIZE_BYTES + len];
    let mut encoder = BatchEncoder::new(&mut out, head);
    for (tag_hash, properties, body) in entries {
        encoder.push(*tag_hash, properties, body).expect("as long as reckoned");
    }
    assert_eq!(encoder.finish(), out.len());
    out
}

fuzz_target!(|input: Input<Valid>| {
    let bytes = input.bytes(|valid| {
        let (first_queue_offset, position, store_time_ms, born_time_ms, sys_flag, flag) = valid.numbers;
        let head = BatchHead {
            first_queue_offset: QueueOffset::new(first_queue_offset >> 1),
            position: LogPosition::new(position >> 1),
            store_time_ms,
            born_time_ms,
            count: 0,
            sys_flag,
            flag,
            born_host: valid.hosts.0.into(),
            store_host: valid.hosts.1.into(),
        };
        let all = std::iter::once(&valid.first).chain(&valid.others);
        let entries: Vec<_> = all.map(|(tag_hash, p, body)| (*tag_hash, at_most(p, 32_767), body.as_slice())).collect();
        let bytes = encode(&head, &entries);
        let batch = Batch::decode(&bytes).expect("just written");
        assert!(
            batch.entries().map(|entry| (entry.tag_hash, entry.properties, entry.body)).eq(entries.iter().copied())
        );
        bytes
    });
    let Ok(batch) = Batch::decode(&bytes) else { return };
    assert_eq!(batch.entries().count(), usize::from(batch.head.count));
    for entry in batch.entries() {
        let at = entry.record_offset - 16;
        assert_eq!(
            bytes[at..at + 4],
            u32::try_from(batch_entry_len(entry.properties.len(), entry.body.len())).unwrap().to_le_bytes()
        );
        entry.expand(&batch.head, b"topic", 1).to_vec();
    }
    let entries: Vec<_> = batch.entries().map(|entry| (entry.tag_hash, entry.properties, entry.body)).collect();
    assert_eq!(encode(&batch.head, &entries), bytes);
});
