//! What the queue index costs: nanoseconds per entry, bytes of memory, blocks read for an old offset.
//!
//! `cargo bench -p ringmq-benches --bench index [-- ENTRIES_MILLIONS]` (20 by default; takes 100 B of disk an entry, in a
//! directory of its own under the system's temporary one, removed at the end). Times are of the thread's processor, so that
//! neighbours on a busy machine do not count.

use std::time::Duration;

use ringmq_benches::file_disk::{FileDisk, Moment};
use ringmq_broker::disk::{Completion, Disk, DiskOp, OpId};
use ringmq_broker::store::cache::BlockCache;
use ringmq_broker::store::index::{Cold, Index, IndexEntry, IndexLimits};
use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EPOCH: Epoch = Epoch::new(1);
const RECORD_SIZE_BYTES: u32 = 155;

struct Bench {
    disk: FileDisk,
    index: Index,
    op_next: u64,
    position: u64,
    next_offsets: Vec<u32>,
    random: u64,
    work_time: Duration,
    slice_max: Duration,
}

impl Bench {
    fn new(queue_count: usize) -> Self {
        let disk = FileDisk::new("index");
        let index = Index::new(1, disk.pool(), IndexLimits::default());
        Self {
            disk,
            index,
            op_next: 0,
            position: 0,
            next_offsets: vec![0; queue_count],
            random: 1,
            work_time: Duration::ZERO,
            slice_max: Duration::ZERO,
        }
    }

    fn random_below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).expect("31 bits") % end
    }

    fn entry(&mut self, queue: usize) -> IndexEntry {
        let offset = self.next_offsets[queue];
        self.next_offsets[queue] += 1;
        let position = LogPosition::new(self.position);
        self.position += u64::from(RECORD_SIZE_BYTES);
        let time_ms = 1_700_000_000_000 + self.position / 300_000;
        IndexEntry::new(QueueOffset::new(u64::from(offset)), 1, position, RECORD_SIZE_BYTES, time_ms, 0)
    }

    /// One slice of background work with its operations.
    fn work(&mut self) -> bool {
        let start = Moment::now();
        let op_next = &mut self.op_next;
        let mut ops = Vec::new();
        let more = self.index.work(
            &mut || {
                *op_next += 1;
                OpId(*op_next)
            },
            4,
            &mut ops,
        );
        let slice = start.elapsed();
        self.slice_max = self.slice_max.max(slice);
        self.work_time += slice;
        let any = !ops.is_empty();
        for DiskOp { id, kind } in ops {
            let mut completion = Completion { id, result: self.disk.execute(kind) };
            let start = Moment::now();
            assert!(self.index.on_disk(&mut completion).expect("undamaged"));
            self.work_time += start.elapsed();
        }
        assert!(self.index.take_failure().is_none());
        more || any
    }

    fn flush_when_due(&mut self) {
        let end = LogPosition::new(self.position);
        if self.index.flush_due(end) {
            self.index.start_flush(end, EPOCH);
        }
    }

    fn settle(&mut self) {
        while self.work() {}
        assert!(self.index.is_idle());
    }
}

/// The best of five: the others pay for the first touch of memory, or for a neighbour's use of the caches.
fn best_add_ns(queue_count: usize, prefetches: bool) -> f64 {
    (0..5).map(|_| add_ns(queue_count, prefetches)).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds for one `add`, in commits of 64 entries with and without the prefetches of an apply.
fn add_ns(queue_count: usize, prefetches: bool) -> f64 {
    const ENTRY_COUNT: usize = 1 << 20;
    let mut bench = Bench::new(queue_count);
    let warm: Vec<_> = (0..queue_count).map(|queue| (queue, bench.entry(queue))).collect();
    for (queue, entry) in warm {
        bench.index.add(QueueId::new(u32::try_from(queue).expect("small")), entry);
    }
    let batches: Vec<Vec<(QueueId, IndexEntry)>> = (0..ENTRY_COUNT / 64)
        .map(|_| {
            let batch = (0..64).map(|_| {
                let queue = bench.random_below(queue_count);
                (QueueId::new(u32::try_from(queue).expect("small")), bench.entry(queue))
            });
            batch.collect()
        })
        .collect();
    let start = Moment::now();
    for batch in &batches {
        for (number, (queue, entry)) in batch.iter().enumerate() {
            if prefetches {
                batch.get(number + 16).inspect(|(queue, _)| bench.index.prefetch(*queue));
                batch.get(number + 8).inspect(|(queue, _)| bench.index.prefetch_room(*queue));
            }
            bench.index.add(*queue, *entry);
        }
    }
    let elapsed = start.elapsed();
    elapsed.as_secs_f64() * 1e9 / ENTRY_COUNT as f64
}

fn idle_queues() {
    const QUEUE_COUNT: usize = 1_000_000;
    let mut bench = Bench::new(QUEUE_COUNT);
    for queue in 0..QUEUE_COUNT {
        let entry = bench.entry(queue);
        bench.index.add(QueueId::new(u32::try_from(queue).expect("small")), entry);
    }
    let active = bench.index.memory_bytes();
    bench.index.start_flush(LogPosition::new(bench.position), EPOCH);
    bench.settle();
    println!(
        "1 M queues: {} B a queue with one recent entry, {} B idle; flushed in slices of at most {:?}",
        active / QUEUE_COUNT,
        bench.index.memory_bytes() / QUEUE_COUNT,
        bench.slice_max
    );
}

fn many_entries(entry_count: usize, queue_count: usize) {
    let mut bench = Bench::new(queue_count);
    let mut add_time = Duration::ZERO;
    let mut memory_max = 0;
    for _ in 0..entry_count / 64 {
        let batch: Vec<_> = (0..64)
            .map(|_| {
                let queue = bench.random_below(queue_count);
                (QueueId::new(u32::try_from(queue).expect("small")), bench.entry(queue))
            })
            .collect();
        let start = Moment::now();
        batch.iter().for_each(|(queue, _)| bench.index.prefetch(*queue));
        batch.iter().for_each(|(queue, _)| bench.index.prefetch_room(*queue));
        batch.iter().for_each(|(queue, entry)| bench.index.add(*queue, *entry));
        add_time += start.elapsed();
        bench.flush_when_due();
        bench.work();
        memory_max = memory_max.max(bench.index.memory_bytes());
    }
    let runs_while_adding = bench.index.run_count();
    bench.settle();
    println!(
        "{} M entries over {} k queues: add {:.0} ns, background {:.0} ns an entry (longest slice {:?}), {:.1} B written an \
         entry, memory at most {} MiB; {} runs when the last was added, {} merged",
        entry_count / 1_000_000,
        queue_count / 1000,
        add_time.as_secs_f64() * 1e9 / entry_count as f64,
        bench.work_time.as_secs_f64() * 1e9 / entry_count as f64,
        bench.slice_max,
        bench.disk.written_bytes as f64 / entry_count as f64,
        memory_max >> 20,
        runs_while_adding,
        bench.index.run_count(),
    );
    bench.index.start_flush(LogPosition::new(bench.position), EPOCH);
    bench.settle();
    let start = Moment::now();
    bench.index =
        Index::open(&mut bench.disk, 1, IndexLimits::default(), LogPosition::new(bench.position), |_, epoch| {
            epoch == EPOCH
        })
        .expect("opened");
    assert_eq!(bench.index.covered().get(), bench.position);
    println!("opened in {:?}: {} KiB of memory", start.elapsed(), bench.index.memory_bytes() >> 10);
    old_offsets(&mut bench);
}

fn old_offsets(bench: &mut Bench) {
    const QUESTION_COUNT: usize = 20_000;
    let mut cache = BlockCache::new(64 << 20, 1);
    let reads_before = bench.disk.reads;
    let start = Moment::now();
    let mut out = Vec::new();
    for _ in 0..QUESTION_COUNT {
        let queue = bench.random_below(bench.next_offsets.len());
        let end = usize::try_from(bench.next_offsets[queue] / 2).expect("small").max(1);
        let from = QueueOffset::new(bench.random_below(end) as u64);
        let queue = QueueId::new(u32::try_from(queue).expect("small"));
        out.clear();
        while let Err(cold) = bench.index.find(&mut cache, queue, from, QueueOffset::ZERO, 32, &mut out) {
            assert_eq!(cold, Cold::NotYet);
            let op_next = &mut bench.op_next;
            let mut ops = Vec::new();
            cache.take_ops(
                &mut || {
                    *op_next += 1;
                    OpId(*op_next)
                },
                &mut ops,
            );
            for DiskOp { id, kind } in ops {
                assert!(cache.on_disk(&mut Completion { id, result: bench.disk.execute(kind) }));
            }
        }
        assert_eq!(out[0].offset, from);
    }
    println!(
        "random old offsets: {:.1} µs and {:.2} block reads each (files in the page cache, 64 MiB of block cache)",
        start.elapsed().as_secs_f64() * 1e6 / QUESTION_COUNT as f64,
        (bench.disk.reads - reads_before) as f64 / QUESTION_COUNT as f64
    );
}

fn main() {
    let millions = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(20);
    for queue_count in [8, 1_000, 100_000, 1_000_000] {
        println!(
            "add, {queue_count} queues: {:.1} ns, {:.1} ns with prefetch",
            best_add_ns(queue_count, false),
            best_add_ns(queue_count, true)
        );
    }
    idle_queues();
    for queue_count in [100_000, 1_000_000] {
        many_entries(millions * 1_000_000, queue_count);
    }
}
