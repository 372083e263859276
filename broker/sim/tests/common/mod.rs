//! A store on a simulated disk, driven by hand.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use ringmq_broker::disk::{DiskOp, FileName};
use ringmq_broker::now::Now;
use ringmq_broker::store::{
    Appended, Entropy, NewMessage, Piece, ReadOutcome, RecordSink, Refusal, SearchOutcome, Store, StoreOptions,
    TopicChange,
};
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::message::{Batch, Host, StoredMessage};
use ringmq_proto::record::{RecordKind, records};
use ringmq_sim::disk::SimDisk;
use ringmq_sim::rng::Rng;

pub struct Bench {
    pub disk: SimDisk,
    pub store: Store,
    pub now: Now,
    pub ops: Vec<DiskOp>,
}

pub fn options(alignment: u32) -> StoreOptions {
    StoreOptions {
        alignment_bytes: alignment,
        device_block_bytes: alignment,
        segment_size_bytes: 1 << 20,
        hot_tail_bytes: 2 << 20,
        cache_bytes: 8 << 20,
        advertised: Host::new([127, 0, 0, 1].into(), 10911),
        ..StoreOptions::default()
    }
}

impl Bench {
    pub fn new(options: StoreOptions) -> Self {
        Self::with_disk_id(options, 1)
    }

    pub fn with_disk_id(options: StoreOptions, disk_id: u128) -> Self {
        let mut disk = SimDisk::new(Rng::new(7), options.alignment_bytes as usize);
        let entropy = Entropy { log_id: 0xabcdef, disk_id };
        let now = Now { boot_ns: 1, wall_ms: 1_000 };
        let (store, report) = Store::open(&mut disk, options, entropy, now).expect("a new directory opens");
        assert!(report.created);
        Self { disk, store, now, ops: Vec::new() }
    }

    pub fn reopen(mut self, change: impl FnOnce(&mut SimDisk, &mut StoreOptions)) -> Self {
        let mut options = self.store.options().clone();
        change(&mut self.disk, &mut options);
        self.disk.settle();
        let entropy = Entropy { log_id: 0, disk_id: 0 };
        let digest = self.store.state().digest();
        let (store, report) = Store::open(&mut self.disk, options, entropy, self.now).expect("reopens");
        assert!(!report.created && report.damaged.is_empty(), "{report:?}");
        assert_eq!(store.state().digest(), digest, "apply live and apply from the log agree");
        Self { store, ..self }
    }

    pub fn submit(&mut self) {
        for op in self.ops.drain(..) {
            self.disk.submit(op);
        }
    }

    /// Runs until the disk has nothing to do, at one moment: no mark, no flush that waits for time.
    pub fn run_disk(&mut self) {
        self.store.turn(self.now, &mut self.ops);
        self.submit();
        while let Some(completion) = self.disk.complete() {
            self.store.on_disk(self.now, completion, &mut self.ops).expect("no fault is armed");
            self.submit();
        }
    }

    /// Runs until the disk has nothing to do, time passing now and then.
    pub fn settle(&mut self) {
        for _ in 0..400 {
            self.store.turn(self.now, &mut self.ops);
            self.submit();
            while let Some(completion) = self.disk.complete() {
                self.store.on_disk(self.now, completion, &mut self.ops).expect("no fault is armed");
                self.submit();
            }
            self.now.boot_ns += 10_000_000;
            self.now.wall_ms += 10;
            self.store.tick(self.now, &mut self.ops);
            self.submit();
        }
    }

    pub fn topic(&mut self, name: &str, queues: u32) -> Vec<QueueId> {
        let change = TopicChange {
            name: name.into(),
            read_queue_count: queues,
            write_queue_count: queues,
            perm: 6,
            ..TopicChange::default()
        };
        let _appended = self.store.append_topic(self.now, &change).expect("room");
        self.settle();
        self.store.state().topic(name).expect("applied").queues.clone()
    }

    pub fn delete(&mut self, name: &str) {
        let change = TopicChange { name: name.into(), deleted: true, ..TopicChange::default() };
        let _appended = self.store.append_topic(self.now, &change).expect("room");
        self.settle();
    }

    pub fn send(&mut self, queue: QueueId, body: &[u8]) -> Result<Appended, Refusal> {
        self.store.append_message(self.now, queue, &message(body))
    }

    /// Everything of a queue, as bodies; asserts density.
    pub fn read_all(&mut self, queue: QueueId) -> Vec<Vec<u8>> {
        let mut at = match self.store.min_offset(queue) {
            SearchOutcome::Found(min) => min,
            other => panic!("{other:?}"),
        };
        let mut bodies = Vec::new();
        loop {
            let mut sink = Sink::default();
            match self.store.read(queue, at, 1000, 1 << 20, &mut sink) {
                ReadOutcome::Found { next_offset, records: count, .. } => {
                    assert_eq!(sink.records, count);
                    for record in records(&sink.bytes) {
                        let record = record.expect("sound");
                        if record.header.kind == RecordKind::MESSAGE {
                            let message = StoredMessage::decode(record.payload).expect("sound");
                            assert_eq!(message.parts.queue_offset, at);
                            bodies.push(message.parts.body.to_vec());
                            at = at.plus(1);
                        } else {
                            let batch = Batch::decode(record.payload).expect("sound");
                            assert_eq!(batch.head.first_queue_offset, at);
                            for entry in batch.entries() {
                                bodies.push(entry.body.to_vec());
                                at = at.plus(1);
                            }
                        }
                    }
                    assert_eq!(at, next_offset);
                }
                ReadOutcome::End => return bodies,
                ReadOutcome::NotYet => self.settle(),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[derive(Default)]
pub struct Sink {
    pub bytes: Vec<u8>,
    pub records: u32,
}

impl RecordSink for Sink {
    fn begin(&mut self, _size_bytes: usize, _count: u32) {
        self.records += 1;
    }

    fn piece(&mut self, piece: Piece<'_>) {
        self.bytes.extend_from_slice(piece.bytes());
    }
}

pub fn message(body: &[u8]) -> NewMessage<'_> {
    NewMessage {
        flag: 0,
        sys_flag: 0,
        born_time_ms: 5,
        born_host: Host::new([127, 0, 0, 1].into(), 4000),
        reconsume_times: 0,
        prepared_transaction_position: 0,
        properties: b"",
        body,
        tag_hash: 0,
    }
}

impl Bench {
    pub fn read_queue_once(&mut self, queue: QueueId) -> ReadOutcome {
        self.store.read(queue, QueueOffset::ZERO, 10, 1 << 20, &mut Sink::default())
    }
}

pub trait LogFiles {
    fn files_of_log(&self) -> usize;
}

impl LogFiles for SimDisk {
    fn files_of_log(&self) -> usize {
        let files = self.files(ringmq_broker::disk::Directory::Log);
        files.iter().filter(|(file, _)| matches!(file, FileName::Segment(_))).count()
    }
}
