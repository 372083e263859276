//! What the bytes of a message cost: RocketMQ's layout with both CRCs, a batch record, and a SEND frame.
//!
//! `cargo bench -p ringmq-benches --bench proto`. Throughput is in messages.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{
    BATCH_HEAD_SIZE_BYTES, Batch, BatchEncoder, BatchHead, Host, StoredMessage, StoredMessageParts, batch_entry_len,
    iter_stored,
};
use ringmq_proto::native::{FrameFlags, SendFrame, SendItem, encode_send, split_frame};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordKind, seal_record};
use std::hint::black_box;

const LOG_ID: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3219;
const MESSAGES: usize = 1_000;
const BODY: &[u8; 10] = b"0123456789";
const TOPIC: &[u8] = b"loadgen";

fn host(port: u32) -> Host {
    Host::new([127, 0, 0, 1].into(), port)
}

fn message(index: u64) -> StoredMessageParts<'static> {
    StoredMessageParts {
        queue_id: 3,
        flag: 0,
        queue_offset: QueueOffset::new(index),
        position: LogPosition::new(index * 160),
        sys_flag: 0,
        born_time_ms: 1_795_219_784_965,
        born_host: host(48_026),
        store_time_ms: 1_795_219_784_985,
        store_host: host(10_911),
        reconsume_times: 0,
        prepared_transaction_position: 0,
        body: BODY,
        topic: TOPIC,
        properties: b"",
    }
}

fn batch_head() -> BatchHead {
    BatchHead {
        first_queue_offset: QueueOffset::new(7),
        position: LogPosition::new(4096),
        store_time_ms: 1_795_219_784_985,
        born_time_ms: 1_795_219_784_965,
        count: 0,
        sys_flag: 0,
        flag: 0,
        born_host: host(48_026),
        store_host: host(10_911),
    }
}

/// One message record after the other into a commit's block, as an append does.
fn stored_message(c: &mut Criterion) {
    let mut group = c.benchmark_group("stored message of 10 bytes");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let record_len = RECORD_HEADER_SIZE_BYTES + message(0).encoded_len();
    let mut block = vec![0; MESSAGES * record_len];
    group.bench_function("encode with its CRC", |b| {
        b.iter(|| {
            for (index, record) in block.chunks_exact_mut(record_len).enumerate() {
                black_box(message(black_box(index as u64)).encode(&mut record[RECORD_HEADER_SIZE_BYTES..]));
            }
        });
    });
    group.bench_function("encode with its CRC and the record's", |b| {
        b.iter(|| {
            for (index, record) in block.chunks_exact_mut(record_len).enumerate() {
                let parts = message(black_box(index as u64));
                parts.encode(&mut record[RECORD_HEADER_SIZE_BYTES..]);
                let (kind, flags) = (RecordKind::MESSAGE, RecordFlags::NONE);
                black_box(seal_record(record, kind, flags, QueueId::new(9), LOG_ID, parts.position));
            }
        });
    });
    let pulled: Vec<u8> = (0..MESSAGES as u64).flat_map(|index| message(index).to_vec()).collect();
    group.bench_function("decode", |b| {
        b.iter(|| {
            for message in iter_stored(black_box(&pulled)) {
                black_box(message.ok());
            }
        });
    });
    assert_eq!(
        iter_stored(&pulled).filter(|message| message.as_ref().is_ok_and(StoredMessage::is_body_whole)).count(),
        MESSAGES
    );
    group.finish();
}

/// A thousand messages as one record.
fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch of 10-byte messages");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let record_len = RECORD_HEADER_SIZE_BYTES + BATCH_HEAD_SIZE_BYTES + MESSAGES * batch_entry_len(0, BODY.len());
    let mut record = vec![0; record_len];
    let encode = |record: &mut [u8]| {
        let mut encoder = BatchEncoder::new(&mut record[RECORD_HEADER_SIZE_BYTES..], &batch_head());
        for _ in 0..MESSAGES {
            black_box(encoder.push(0, b"", black_box(BODY))).ok();
        }
        encoder.finish();
        let (kind, flags) = (RecordKind::BATCH, RecordFlags::NONE);
        seal_record(record, kind, flags, QueueId::new(9), LOG_ID, LogPosition::new(4096))
    };
    group.bench_function("encode with the record's CRC", |b| b.iter(|| black_box(encode(&mut record))));
    group.bench_function("decode", |b| {
        b.iter(|| {
            if let Ok(batch) = Batch::decode(black_box(&record[RECORD_HEADER_SIZE_BYTES..])) {
                batch.entries().for_each(|entry| {
                    black_box(entry);
                });
            }
        });
    });
    group.bench_function("expand into RocketMQ's layout", |b| {
        let len = message(0).encoded_len();
        b.iter_batched_ref(
            || vec![0; MESSAGES * len],
            |out| {
                if let Ok(batch) = Batch::decode(black_box(&record[RECORD_HEADER_SIZE_BYTES..])) {
                    for (entry, out) in batch.entries().zip(out.chunks_exact_mut(len)) {
                        entry.expand(&batch.head, TOPIC, 3).encode(out);
                    }
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// SEND frames with 1, 32 and 1000 messages.
fn send_frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("SEND frame of 10-byte messages");
    for count in [1, 32, MESSAGES] {
        let item =
            SendItem { handle: 1, born_time_ms: 1_795_219_784_965, flag: 0, sys_flag: 0, properties: b"", body: BODY };
        let mut bytes = Vec::new();
        encode_send(&mut bytes, 1, FrameFlags::NONE, &vec![item; count]);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("decode, {count} a frame"), |b| {
            b.iter(|| {
                let Ok(Some((frame, _))) = split_frame(black_box(&bytes), 1 << 24) else { return };
                let Ok(send) = SendFrame::decode(&frame) else { return };
                send.items().for_each(|item| {
                    black_box(&item);
                });
            });
        });
        let items = vec![item; count];
        let mut out = Vec::with_capacity(bytes.len());
        group.bench_function(format!("encode, {count} a frame"), |b| {
            b.iter(|| {
                out.clear();
                encode_send(black_box(&mut out), 1, FrameFlags::NONE, black_box(&items));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stored_message, batch, send_frame);
criterion_main!(benches);
