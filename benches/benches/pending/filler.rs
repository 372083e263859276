//! A store on the ring, filled by hand: no shard, no connection.

use ringmq_broker::disk::ring::{Access, RingDisk, RingOptions, ShardSlot};
use ringmq_broker::disk::{BlockPool, Completion, DiskOp};
use ringmq_broker::now::Now;
use ringmq_broker::store::pending::{NewPending, PendingKind};
use ringmq_broker::store::{Entropy, NewMessage, Refusal, Store, StoreOptions, TopicChange};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::Host;
use std::path::Path;
use std::time::{Duration, Instant};

/// When all this happens, in wall-clock ms.
pub(crate) const BASE_MS: u64 = 1_800_000_000_000;

/// Messages between two looks at the disk.
pub(crate) const MESSAGES_PER_TURN: u64 = 1024;

pub(crate) const ENTROPY: Entropy = Entropy { log_id: 11, disk_id: 12 };

pub(crate) fn options() -> StoreOptions {
    StoreOptions { hot_tail_bytes: 64 << 20, cache_bytes: 32 << 20, ..StoreOptions::default() }
}

pub(crate) fn ring(directory: &Path) -> (RingDisk, ShardSlot) {
    let mut ring = RingDisk::new(BlockPool::new(8 << 20), RingOptions::default()).expect("a ring");
    let slot = ring.add_shard(directory, Access::Serve).expect("a directory");
    (ring, slot)
}

/// MiB of memory: what is resident, or (`VmHWM`) the most that was.
pub(crate) fn memory_mib(line: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).expect("there");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

pub(crate) fn rss_mib() -> u64 {
    memory_mib("VmRSS")
}

/// The runs of pending messages: their count, and MiB.
pub(crate) fn runs_on_disk(directory: &Path) -> (usize, u64) {
    let files = std::fs::read_dir(directory.join("index")).expect("a shard");
    let files = files.filter_map(Result::ok).filter(|file| file.file_name().to_string_lossy().starts_with("due-"));
    let sizes: Vec<u64> = files.filter_map(|file| Some(file.metadata().ok()?.len())).collect();
    (sizes.len(), sizes.iter().sum::<u64>() >> 20)
}

/// A store on the ring.
pub(crate) struct Filler {
    pub(crate) ring: RingDisk,
    pub(crate) slot: ShardSlot,
    pub(crate) store: Store,
    pub(crate) now: Now,
    pub(crate) began: Instant,
    ops: Vec<DiskOp>,
    done: Vec<(ShardSlot, Completion)>,
}

impl Filler {
    /// A new shard in a directory that is there.
    pub(crate) fn new(directory: &Path, options: StoreOptions) -> Self {
        let (mut ring, slot) = ring(directory);
        let now = Now { boot_ns: 1, wall_ms: BASE_MS };
        let (store, _) = Store::open(&mut ring.disk(slot), options, ENTROPY, now).expect("a new directory");
        Self { ring, slot, store, now, began: Instant::now(), ops: Vec::new(), done: Vec::new() }
    }

    /// Starts what can be started and takes what is done; with `drain`, all of it.
    pub(crate) fn turn(&mut self, drain: bool) {
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

    pub(crate) fn topic(&mut self, name: &str) -> QueueId {
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

    /// Appends message `number`, for later or for now.
    pub(crate) fn append(&mut self, queue: QueueId, number: u64, due_ms: Option<u64>) -> Result<LogPosition, Refusal> {
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
        let appended = match due_ms {
            Some(due_ms) => {
                let new = NewPending { kind: PendingKind::Timer, due_ms, proof: 0 };
                self.store.append_pending(self.now, queue, &message, new)
            }
            None => self.store.append_message(self.now, queue, &message),
        };
        appended.map(|appended| appended.end)
    }

    /// The same, as often as it is refused as too fast; looks at the disk now and then.
    pub(crate) fn send(&mut self, queue: QueueId, number: u64, due_ms: Option<u64>) {
        while let Err(refusal) = self.append(queue, number, due_ms) {
            assert!(refusal.code == 2 || refusal.code == 14, "{refusal}");
            self.turn(false);
            std::thread::sleep(Duration::from_micros(100));
        }
        if number.is_multiple_of(MESSAGES_PER_TURN) {
            self.turn(false);
        }
    }
}
