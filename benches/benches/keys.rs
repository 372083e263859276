//! What the key index costs: nanoseconds of a keyed message, bytes of memory, look-ups among many keys.
//!
//! `cargo bench -p ringmq-benches --bench keys [-- KEYS_MILLIONS]` (10 by default; takes 250 B of disk a key, in a directory
//! of its own under the system's temporary one, removed at the end). Times are of the thread's processor, the disk's
//! operations not counted.

use ringmq_benches::file_disk::{FileDisk, Moment};
use ringmq_broker::disk::{Completion, Disk, DiskOp};
use ringmq_broker::now::Now;
use ringmq_broker::store::{
    Entropy, KeyKind, KeyQuery, NewMessage, QueryOutcome, Retention, Store, StoreOptions, TopicChange,
};
use ringmq_proto::ids::QueueId;
use ringmq_proto::message::Host;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MESSAGES_PER_COMMIT: u64 = 256;

struct Bench {
    disk: FileDisk,
    store: Store,
    queue: QueueId,
    now: Now,
    ops: Vec<DiskOp>,
    /// Of the store alone.
    work: Duration,
}

impl Bench {
    fn new(retention_bytes: Option<u64>) -> Self {
        let mut disk = FileDisk::new("keys");
        let options = StoreOptions {
            segment_size_bytes: 256 << 20,
            hot_tail_bytes: 32 << 20,
            retention: Retention { bytes: retention_bytes, age_ms: None },
            ..StoreOptions::default()
        };
        let now = Now { boot_ns: 1, wall_ms: 1_700_000_000_000 };
        let entropy = Entropy { log_id: 1, disk_id: 2 };
        let (store, _) = Store::open(&mut disk, options, entropy, now).expect("a new directory");
        let (ops, work) = (Vec::new(), Duration::ZERO);
        let mut bench = Self { disk, store, queue: QueueId::ZERO, now, ops, work };
        let change = TopicChange {
            name: "orders".into(),
            read_queue_count: 1,
            write_queue_count: 1,
            perm: 6,
            ..TopicChange::default()
        };
        let _appended = bench.store.append_topic(now, &change).expect("room");
        bench.settle();
        bench.queue = bench.store.state().topic("orders").expect("applied").queues[0];
        bench
    }

    /// One turn: the commit, its completion, and what background work there is.
    fn settle(&mut self) {
        self.now.boot_ns += 200_000;
        self.now.wall_ms += 1;
        let moment = Moment::now();
        self.store.tick(self.now, &mut self.ops);
        self.work += moment.elapsed();
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while !self.ops.is_empty() {
            for op in std::mem::take(&mut self.ops) {
                let completion = Completion { id: op.id, result: self.disk.execute(op.kind) };
                let moment = Moment::now();
                self.store.on_disk(self.now, completion, &mut self.ops).expect("this disk does not fail");
                self.work += moment.elapsed();
            }
        }
    }

    fn send(&mut self, properties: &[u8], body: &[u8]) {
        let message = NewMessage {
            flag: 0,
            sys_flag: 0,
            born_time_ms: 1,
            born_host: Host::new([127, 0, 0, 1].into(), 4000),
            reconsume_times: 0,
            prepared_transaction_position: 0,
            properties,
            body,
            tag_hash: 0,
        };
        let moment = Moment::now();
        let appended = self.store.append_message(self.now, self.queue, &message);
        self.work += moment.elapsed();
        if appended.is_err() {
            self.settle();
            self.send(properties, body);
        }
    }

    /// Sends `count` messages; nanoseconds of the store for each.
    fn run(&mut self, count: u64, body: &[u8], mut properties: impl FnMut(u64) -> Vec<u8>) -> f64 {
        self.work = Duration::ZERO;
        for number in 0..count {
            self.send(&properties(number), body);
            if number % MESSAGES_PER_COMMIT == 0 {
                self.settle();
            }
        }
        self.settle();
        self.work.as_secs_f64() * 1e9 / count as f64
    }

    /// Messages found, reads of the disk, time of the store.
    fn ask(&mut self, key: &str, kind: KeyKind) -> (usize, u64, Duration) {
        let (reads, moment) = (self.disk.reads, Moment::now());
        let mut query = KeyQuery::new("orders", key, kind, 0..=u64::MAX, 32);
        loop {
            match self.store.query_key(&mut query) {
                QueryOutcome::NotYet => {
                    self.store.turn(self.now, &mut self.ops);
                    self.carry_out();
                }
                QueryOutcome::Found { messages, incomplete } => {
                    assert_eq!(incomplete, None, "nothing was lost");
                    return (messages.len(), self.disk.reads - reads, moment.elapsed());
                }
            }
        }
    }
}

/// As a client of 5.x writes them: an id of 32 characters, or a key besides.
fn unique_id(number: u64) -> Vec<u8> {
    format!("UNIQ_KEY\x017F0000010A2B18B4AAC2{number:012X}\x02WAIT\x01true\x02").into_bytes()
}

fn unique_id_and_key(number: u64) -> Vec<u8> {
    format!("KEYS\x01order-{number}\x02UNIQ_KEY\x017F0000010A2B18B4AAC2{number:012X}\x02WAIT\x01true\x02").into_bytes()
}

/// As long, and nothing that is indexed.
fn no_key(number: u64) -> Vec<u8> {
    format!("UNIQ_kEY\x017F0000010A2B18B4AAC2{number:012X}\x02WAIT\x01true\x02").into_bytes()
}

/// The properties of a message, by its number.
type MakeProperties = fn(u64) -> Vec<u8>;

fn main() {
    let millions = std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok()).unwrap_or(10);
    let keep = Some(1 << 30);
    println!("1 KB messages, store only, ns each (append, commit, apply, background):");
    let body = [b'x'; 1024];
    let rows: [(&str, MakeProperties); 4] = [
        ("without properties", |_| Vec::new()),
        ("with properties, no key", no_key),
        ("with a unique id", unique_id),
        ("with a unique id and a key", unique_id_and_key),
    ];
    for (name, properties) in rows {
        let mut bench = Bench::new(keep);
        bench.run(100_000, &body, properties);
        println!("  {name:<28} {:>7.0}", bench.run(1_000_000, &body, properties));
    }
    println!("10 B messages:");
    for (name, properties) in rows {
        let mut bench = Bench::new(keep);
        bench.run(200_000, b"0123456789", properties);
        println!("  {name:<28} {:>7.0}", bench.run(3_000_000, b"0123456789", properties));
    }
    let mut bench = Bench::new(None);
    let each = bench.run(millions * 1_000_000, b"0123456789", unique_id);
    let keys = bench.store.keys();
    println!("{millions} M unique ids of 10 B messages: {each:.0} ns each");
    println!(
        "  {} runs, {:.1} B of disk an entry in them, {:.1} MB of memory in all",
        keys.run_count(),
        keys.disk_bytes() as f64 / keys.run_entry_count() as f64,
        keys.memory_bytes() as f64 / 1e6
    );
    let mut random = 1_u64;
    for (name, is_there) in [("one that is there", true), ("one that is not", false)] {
        let (mut times, mut reads) = (Vec::new(), 0);
        for _ in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 20) % (millions * 1_000_000);
            let id = if is_there { format!("7F0000010A2B18B4AAC2{number:012X}") } else { format!("other-{number}") };
            let (found, read, time) = bench.ask(&id, KeyKind::Unique);
            assert_eq!(found, usize::from(is_there), "{id}");
            times.push(time);
            reads += read;
        }
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100].as_micros();
        println!(
            "  look up {name}: {:.1} reads, p50 {} us, p99 {} us (page cache, reads included)",
            f64::from(u32::try_from(reads).expect("few")) / 2000.0,
            at(50),
            at(99)
        );
    }
}
