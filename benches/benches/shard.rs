//! What a shard costs per message from the received frame to the reply, without sockets and with a disk that is done at
//! once. The store's part of it is measured alone by `store.rs`.
//!
//! `cargo bench -p ringmq-benches --bench shard`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringmq_benches::null_disk::NullDisk;
use ringmq_broker::disk::{Completion, Disk, DiskOp};
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::{Chunk, ConnectionId, Effects, Input, Output};
use ringmq_broker::shard::{Settings, Shard};
use ringmq_broker::store::{Entropy, Retention, Store, StoreOptions};
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::Host;
use ringmq_proto::native::{
    FrameFlags, Hello, Kind, OpenQueue, PullRequest, SendItem, encode_preamble, encode_pull, encode_request,
    encode_send,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTION_COUNT: u32 = 16;

struct Bench {
    shard: Shard,
    disk: NullDisk,
    now: Now,
    fx: Effects,
    ops: Vec<DiskOp>,
    output: Output,
    random: u64,
    queue_count: u32,
}

impl Bench {
    fn new(queue_count: u32) -> Self {
        let mut disk = NullDisk::default();
        let options = StoreOptions {
            segment_size_bytes: 64 << 20,
            hot_tail_bytes: 64 << 20,
            retention: Retention { bytes: Some(256 << 20), age_ms: None },
            ..StoreOptions::default()
        };
        let now = Now { boot_ns: 1, wall_ms: 1 };
        let (store, _) =
            Store::open(&mut disk, options, Entropy { log_id: 1, disk_id: 2 }, now).expect("a new directory");
        let mut settings = Settings { topic_queue_count_default: 1000.min(queue_count), ..Settings::default() };
        settings.limits.in_flight_bytes_max = u64::MAX;
        let shard = Shard::new(store, settings, now);
        let (fx, output) = (Effects::default(), Output::default());
        let mut bench = Self { shard, disk, now, fx, ops: Vec::new(), output, random: 1, queue_count };
        for slot in 0..CONNECTION_COUNT {
            let connection = ConnectionId { slot, generation: 1 };
            bench.step(Input::Opened { connection, peer: Host::new([127, 0, 0, 1].into(), 4000) });
            let mut bytes = encode_preamble().to_vec();
            let hello = Hello { version_min: 1, version_max: 1, ..Hello::default() };
            encode_request(&mut bytes, Kind::HELLO, 0, FrameFlags::NONE, &hello);
            bench.receive(slot, &bytes);
            for queue in 0..queue_count {
                let topic = format!("topic-{}", queue / 1000);
                let queue_id = i32::try_from(queue % 1000).expect("small");
                let mut bytes = Vec::new();
                let open = OpenQueue { topic: &topic, queue_id, create_topic: true };
                encode_request(&mut bytes, Kind::OPEN_QUEUE, 1, FrameFlags::NONE, &open);
                bench.receive(slot, &bytes);
                if queue % 1000 == 0 {
                    bench.settle();
                }
            }
        }
        bench
    }

    fn step(&mut self, input: Input<'_>) {
        self.shard.step(self.now, input, &mut self.fx);
        while !self.fx.output.is_empty() {
            for connection in std::mem::take(&mut self.fx.output) {
                self.shard.take_output(connection, &mut self.output);
                for chunk in self.output.chunks.drain(..) {
                    if let Chunk::Owned(buffer) = chunk {
                        self.shard.recycle(buffer);
                    }
                }
                self.shard.step(self.now, Input::Drained { connection }, &mut self.fx);
            }
        }
        assert!(self.fx.fatal.is_none() && self.fx.close.is_empty());
        self.fx.control.clear();
        self.fx.pause.clear();
        self.fx.resume.clear();
    }

    fn receive(&mut self, slot: u32, bytes: &[u8]) {
        self.step(Input::Received { connection: ConnectionId { slot, generation: 1 }, bytes });
    }

    /// One turn: the commit, its completion, and what background work there is.
    fn settle(&mut self) {
        self.now.boot_ns += 200_000;
        self.fx.turn_wanted = false;
        self.step(Input::Turn);
        while !self.fx.disk.is_empty() {
            std::mem::swap(&mut self.ops, &mut self.fx.disk);
            for op in std::mem::take(&mut self.ops) {
                let result = self.disk.execute(op.kind);
                self.step(Input::Disk(Completion { id: op.id, result }));
            }
        }
    }

    /// What one client sends at once: `frame_count` frames of `batch` messages, each of a random queue.
    fn sends(&mut self, frame_count: u32, batch: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for id in 0..frame_count {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let handle = u32::try_from(self.random >> 33).expect("31 bits") % self.queue_count;
            let item = SendItem { handle, born_time_ms: 1, flag: 0, sys_flag: 0, properties: b"", body: b"0123456789" };
            encode_send(&mut bytes, id, FrameFlags::NONE, &vec![item; batch]);
        }
        bytes
    }
}

/// Sixteen clients send, one commit takes it all, the replies leave.
fn sending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send, commit and reply");
    for queue_count in [8, 60_000] {
        let mut bench = Bench::new(queue_count);
        for (frame_count, batch) in [(1, 1), (32, 1), (1, 100), (1, 1000)] {
            let messages = u64::from(CONNECTION_COUNT * frame_count) * batch as u64;
            group.throughput(Throughput::Elements(messages));
            let name = format!("{frame_count} frames of {batch} messages a receive, {queue_count} queues");
            // Many receives, so that the queues of one are not in the cache because of the one before.
            let receives: Vec<_> = (0..1024).map(|_| bench.sends(frame_count, batch)).collect();
            let mut next = receives.iter().cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    for slot in 0..CONNECTION_COUNT {
                        bench.receive(slot, next.next().expect("endless"));
                    }
                    bench.settle();
                });
            });
        }
    }
    group.finish();
}

/// A consumer reads a queue of batches from the hot tail.
fn pulling(criterion: &mut Criterion) {
    const BATCHES: u64 = 100;
    let mut bench = Bench::new(1);
    for _ in 0..BATCHES {
        let bytes = bench.sends(1, 1000);
        bench.receive(0, &bytes);
        bench.settle();
    }
    let mut group = criterion.benchmark_group("pull");
    group.throughput(Throughput::Elements(BATCHES * 1000));
    let requests = || {
        let request = |batch| {
            let mut bytes = Vec::new();
            let offset = QueueOffset::new(batch * 1000);
            let (messages_max, bytes_max, wait_ms) = (1000, 1 << 20, 0);
            encode_pull(&mut bytes, 1, &PullRequest { handle: 0, offset, messages_max, bytes_max, wait_ms });
            bytes
        };
        (0..BATCHES).map(request).collect::<Vec<_>>()
    };
    group.bench_function("batches of 1000 messages", |bencher| {
        bencher.iter_batched(
            requests,
            |requests| {
                for bytes in &requests {
                    bench.receive(0, bytes);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, sending, pulling);
criterion_main!(benches);
