//! What the store costs per message, without sockets and with a disk that is done at once.
//!
//! `cargo bench -p ringmq-benches --bench store`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmq_benches::null_disk::NullDisk;
use ringmq_broker::disk::{Completion, Disk, DiskOp};
use ringmq_broker::now::Now;
use ringmq_broker::store::{
    BatchItem, BatchShared, Entropy, NewMessage, Piece, ReadOutcome, RecordSink, Retention, Store, StoreOptions,
    TopicChange,
};
use ringmq_proto::ids::QueueId;
use ringmq_proto::message::Host;
use std::hint::black_box;

struct Bench {
    store: Store,
    disk: NullDisk,
    now: Now,
    ops: Vec<DiskOp>,
    queues: Vec<QueueId>,
}

impl Bench {
    fn new(queue_count: u32) -> Self {
        let mut disk = NullDisk::default();
        let options = StoreOptions {
            segment_size_bytes: 64 << 20,
            hot_tail_bytes: 32 << 20,
            retention: Retention { bytes: Some(256 << 20), age_ms: None },
            ..StoreOptions::default()
        };
        let now = Now { boot_ns: 1, wall_ms: 1 };
        let entropy = Entropy { log_id: 1, disk_id: 2 };
        let (store, _) = Store::open(&mut disk, options, entropy, now).expect("a new directory");
        let mut bench = Self { store, disk, now, ops: Vec::new(), queues: Vec::new() };
        for topic in 0..queue_count.div_ceil(1000) {
            let count = (queue_count - topic * 1000).min(1000);
            let change = TopicChange {
                name: format!("topic-{topic}"),
                read_queue_count: count,
                write_queue_count: count,
                perm: 6,
                ..TopicChange::default()
            };
            let _appended = bench.store.append_topic(now, &change).expect("room");
            bench.settle();
            bench.queues.extend(&bench.store.state().topic(&change.name).expect("applied").queues);
        }
        bench
    }

    /// One turn: the commit, its completion, and what background work there is.
    fn settle(&mut self) {
        self.now.boot_ns += 200_000;
        self.store.tick(self.now, &mut self.ops);
        while !self.ops.is_empty() {
            for op in std::mem::take(&mut self.ops) {
                let completion = Completion { id: op.id, result: self.disk.execute(op.kind) };
                self.store.on_disk(self.now, completion, &mut self.ops).expect("this disk does not fail");
            }
        }
    }

    fn send(&mut self, queue: QueueId) {
        let message = NewMessage {
            flag: 0,
            sys_flag: 0,
            born_time_ms: 1,
            born_host: Host::new([127, 0, 0, 1].into(), 4000),
            reconsume_times: 0,
            prepared_transaction_position: 0,
            properties: b"",
            body: b"0123456789",
            tag_hash: 0,
        };
        while self.store.append_message(self.now, queue, &message).is_err() {
            self.settle();
        }
    }
}

const MESSAGES_PER_COMMIT: usize = 1024;

/// Append, commit, apply: everything between the frame and the acknowledgement.
fn appending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append, commit and apply");
    group.throughput(Throughput::Elements(MESSAGES_PER_COMMIT as u64));
    for queue_count in [8, 100_000] {
        let mut bench = Bench::new(queue_count);
        let mut random = 1u64;
        group.bench_function(format!("10 B messages over {queue_count} queues"), |bencher| {
            bencher.iter(|| {
                for _ in 0..MESSAGES_PER_COMMIT {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let queue = bench.queues[(random >> 33) as usize % bench.queues.len()];
                    bench.send(queue);
                }
                bench.settle();
            });
        });
    }
    let mut bench = Bench::new(8);
    let items = vec![BatchItem { tag_hash: 0, properties: b"", body: b"0123456789" }; MESSAGES_PER_COMMIT];
    let born_host = Host::new([127, 0, 0, 1].into(), 4000);
    let shared = BatchShared { flag: 0, sys_flag: 0, born_time_ms: 1, born_host };
    group.bench_function("a batch record of 10 B messages", |bencher| {
        bencher.iter(|| {
            let queue = bench.queues[0];
            while bench.store.append_batch(bench.now, queue, &shared, &items).is_err() {
                bench.settle();
            }
            bench.settle();
        });
    });
    group.finish();
}

#[derive(Default)]
struct Copied(Vec<u8>);

impl RecordSink for Copied {
    fn begin(&mut self, _size_bytes: usize, _count: u32) {}

    fn piece(&mut self, piece: Piece<'_>) {
        self.0.extend_from_slice(piece.bytes());
    }
}

/// A pull of 1024 messages out of the hot tail, queues interleaved.
fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read from memory");
    group.throughput(Throughput::Elements(MESSAGES_PER_COMMIT as u64));
    let mut bench = Bench::new(8);
    for number in 0..80_000 {
        let queue = bench.queues[number % 8];
        bench.send(queue);
        if number % 1000 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    let queue = bench.queues[3];
    let visible = bench.store.queue(queue).expect("made").visible_offset;
    let from = visible.get() - 5_000;
    let mut sink = Copied::default();
    group.bench_function("1024 messages of 10 B", |bencher| {
        bencher.iter(|| {
            sink.0.clear();
            let offset = ringmq_proto::ids::QueueOffset::new(from);
            let outcome = bench.store.read(queue, offset, 1024, 1 << 20, &mut sink);
            assert!(matches!(outcome, ReadOutcome::Found { messages: 1024, .. }), "{outcome:?}");
            black_box(&sink.0);
        });
    });
    group.finish();
}

criterion_group!(benches, appending, reading);
criterion_main!(benches);
