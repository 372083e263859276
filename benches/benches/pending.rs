//! Millions of timed messages on one shard: what memory they take, how long a start takes after kill -9, and how late the
//! last of 100 000 is that are due in one second.
//!
//! `cargo bench -p ringmq-benches --bench pending -- DIR [MESSAGES]` (10 000 000 by default, spread over 30 days; takes
//! 450 B of disk each, in DIR, which must not exist and stays). A process of its own fills the shard through its store and is
//! killed while it goes on sending; another opens it, and drives the shard on the ring with its wall clock set to the
//! second in which the messages are due.

use ringmq_broker::disk::ring::{Access, RingDisk, RingOptions, ShardSlot};
use ringmq_broker::disk::{BlockPool, Completion, DiskOp};
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::{Effects, Input};
use ringmq_broker::shard::{Settings, Shard};
use ringmq_broker::store::pending::{NewPending, PendingKind};
use ringmq_broker::store::{Entropy, NewMessage, Store, StoreOptions, TopicChange};
use ringmq_proto::ids::QueueId;
use ringmq_proto::message::Host;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BASE_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const SPREAD_MS: u64 = 30 * 24 * HOUR_MS;
/// One in so many is due in the second that is measured.
const BURST_EVERY: u64 = 100;
const MESSAGES_PER_TURN: u64 = 1024;

fn options() -> StoreOptions {
    StoreOptions { hot_tail_bytes: 64 << 20, cache_bytes: 32 << 20, ..StoreOptions::default() }
}

fn ring(directory: &Path) -> (RingDisk, ShardSlot) {
    let mut ring = RingDisk::new(BlockPool::new(8 << 20), RingOptions::default()).expect("a ring");
    let slot = ring.add_shard(directory, Access::Serve).expect("a directory");
    (ring, slot)
}

fn rss_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("there");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn hash(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

fn due_ms(number: u64) -> u64 {
    if number.is_multiple_of(BURST_EVERY) {
        BASE_MS + HOUR_MS + hash(number) % 1000
    } else {
        BASE_MS + 2 * HOUR_MS + hash(number) % SPREAD_MS
    }
}

/// A store on the ring.
struct Filler {
    ring: RingDisk,
    slot: ShardSlot,
    store: Store,
    now: Now,
    began: Instant,
    ops: Vec<DiskOp>,
    done: Vec<(ShardSlot, Completion)>,
}

impl Filler {
    /// Starts what can be started and takes what is done; with `drain`, all of it.
    fn turn(&mut self, drain: bool) {
        self.now.boot_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX) + 1;
        self.now.wall_ms = BASE_MS + self.now.boot_ns / 1_000_000;
        self.store.tick(self.now, &mut self.ops);
        loop {
            self.ops.drain(..).for_each(|op| self.ring.submit(self.slot, op));
            self.ring.enter().expect("the ring goes on");
            self.ring.reap(&mut self.done).expect("the ring goes on");
            let progressed = !self.done.is_empty();
            for (_, completion) in self.done.drain(..) {
                self.store.on_disk(self.now, completion, &mut self.ops).expect("this disk does not fail");
            }
            let busy = self.store.has_unissued() || self.ring.pending() > 0 || !self.ops.is_empty();
            if !drain || !busy {
                return;
            }
            if !progressed {
                self.store.turn(self.now, &mut self.ops);
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    fn topic(&mut self, name: &str) -> QueueId {
        let change = TopicChange {
            name: name.into(),
            read_queue_count: 1,
            write_queue_count: 1,
            perm: 6,
            ..TopicChange::default()
        };
        let _appended = self.store.append_topic(self.now, &change).expect("room");
        self.turn(true);
        self.store.state().topic(name).expect("applied").queues[0]
    }

    fn send(&mut self, queue: QueueId, number: u64, due_ms: Option<u64>) {
        let properties =
            format!("UNIQ_KEY\x017F0000010A2B18B4AAC2{number:012X}\x02REAL_TOPIC\x01orders\x02REAL_QID\x010\x02");
        let message = NewMessage {
            flag: 0,
            sys_flag: 0,
            born_time_ms: BASE_MS,
            born_host: Host::new([127, 0, 0, 1].into(), 4000),
            reconsume_times: 0,
            prepared_transaction_position: 0,
            properties: properties.as_bytes(),
            body: b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            tag_hash: 0,
        };
        loop {
            let appended = match due_ms {
                Some(due_ms) => {
                    let new = NewPending { kind: PendingKind::Timer, due_ms, proof: 0 };
                    self.store.append_pending(self.now, queue, &message, new)
                }
                None => self.store.append_message(self.now, queue, &message),
            };
            match appended {
                Ok(_) => return,
                Err(refusal) => {
                    assert!(refusal.code == 2 || refusal.code == 14, "{refusal}");
                    self.turn(false);
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        }
    }
}

fn fill(directory: &Path, count: u64) {
    let (mut ring, slot) = ring(directory);
    let now = Now { boot_ns: 1, wall_ms: BASE_MS };
    let entropy = Entropy { log_id: 11, disk_id: 12 };
    let (store, _) = Store::open(&mut ring.disk(slot), options(), entropy, now).expect("a new directory");
    let mut filler = Filler { ring, slot, store, now, began: Instant::now(), ops: Vec::new(), done: Vec::new() };
    let (orders, timers) = (filler.topic("orders"), filler.topic("rmq_sys_wheel_timer"));
    // What ordinary messages take is not counted.
    for number in 0..2_000_000 {
        filler.send(orders, number, None);
        if number % MESSAGES_PER_TURN == 0 {
            filler.turn(false);
        }
    }
    filler.turn(true);
    let (before_mib, began) = (rss_mib(), Instant::now());
    let mut most = (0, 0);
    for number in 0..count {
        filler.send(timers, number, Some(due_ms(number)));
        if number % MESSAGES_PER_TURN == 0 {
            filler.turn(false);
        }
        if number % 100_000 == 0 {
            most = (most.0.max(rss_mib()), most.1.max(filler.store.pending_memory_bytes() >> 20));
        }
    }
    filler.turn(true);
    let seconds = began.elapsed().as_secs_f64();
    let of_index = filler.store.pending_memory_bytes() >> 20;
    println!(
        "filled: {} pending in {seconds:.1} s ({:.0}/s); resident before {before_mib} MiB, after {} MiB, at most {} MiB; \
         of the index by due time {of_index} MiB, at most {} MiB",
        filler.store.pending_counts().total(),
        count as f64 / seconds,
        rss_mib(),
        most.0,
        most.1
    );
    println!("go on");
    for number in 0.. {
        filler.send(orders, number, None);
        if number % MESSAGES_PER_TURN == 0 {
            filler.turn(false);
        }
    }
}

fn serve(directory: &Path, count: u64) {
    let (mut ring, slot) = ring(directory);
    let burst_ms = BASE_MS + HOUR_MS;
    let began = Instant::now();
    // Two seconds before the first is due.
    let clock = |began: Instant| {
        let elapsed = began.elapsed();
        Now {
            boot_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) + 1,
            wall_ms: burst_ms - 2000 + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    };
    let entropy = Entropy { log_id: 11, disk_id: 12 };
    let (store, report) = Store::open(&mut ring.disk(slot), options(), entropy, clock(began)).expect("it opens");
    let total = store.pending_counts().total();
    println!(
        "opened after kill -9 in {:.2} s: {total} pending, {} MiB of log read, resident {} MiB",
        began.elapsed().as_secs_f64(),
        report.end.since(report.scanned_from) >> 20,
        rss_mib()
    );
    assert_eq!(total, count, "all that was promised is pending");
    let began = Instant::now();
    let mut shard = Shard::new(store, Settings::default(), clock(began));
    let (mut fx, mut done) = (Effects::default(), Vec::new());
    let burst = count.div_ceil(BURST_EVERY);
    let (mut by_half_seconds, mut last) = (Vec::new(), Duration::ZERO);
    while total - shard.store().pending_counts().total() < burst && began.elapsed() < Duration::from_secs(120) {
        shard.step(clock(began), if fx.turn_wanted { Input::Turn } else { Input::Tick }, &mut fx);
        fx.turn_wanted = false;
        fx.disk.drain(..).for_each(|op| ring.submit(slot, op));
        ring.enter().expect("the ring goes on");
        ring.reap(&mut done).expect("the ring goes on");
        for (_, completion) in done.drain(..) {
            shard.step(clock(began), Input::Disk(completion), &mut fx);
        }
        assert!(fx.fatal.is_none(), "{:?}", fx.fatal);
        last = began.elapsed();
        if last.as_millis() / 500 > by_half_seconds.len() as u128 {
            by_half_seconds.push(total - shard.store().pending_counts().total());
        }
    }
    let delivered = total - shard.store().pending_counts().total();
    println!(
        "delivered {delivered} of {burst} that were due within one second; the last one {:.2} s after that second began; \
         every half second from 2 s before: {by_half_seconds:?}; resident {} MiB, of the index by due time {} MiB",
        last.as_secs_f64() - 2.0,
        rss_mib(),
        shard.store().pending_memory_bytes() >> 20
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    match arguments.first().map(String::as_str) {
        Some("fill") => fill(Path::new(&arguments[1]), number(2).expect("a count")),
        Some("serve") => serve(Path::new(&arguments[1]), number(2).expect("a count")),
        None => println!("give a directory to be made"),
        Some(directory) => {
            std::fs::create_dir(directory).expect("a directory that is not there yet");
            let count = number(1).unwrap_or(10_000_000).to_string();
            let program = std::env::current_exe().expect("it runs");
            let fill = Command::new(&program).args(["fill", directory, &count]).stdout(Stdio::piped()).spawn();
            let mut fill = fill.expect("it runs");
            let lines = BufReader::new(fill.stdout.take().expect("piped")).lines();
            for line in lines.map_while(Result::ok).take_while(|line| line != "go on") {
                println!("{line}");
            }
            std::thread::sleep(Duration::from_millis(1500));
            fill.kill().expect("it is ours");
            drop(fill.wait());
            let serve = Command::new(&program).args(["serve", directory, &count]).status();
            assert!(serve.is_ok_and(|status| status.success()), "the second part failed");
        }
    }
}
