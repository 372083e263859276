//! One store on one simulated disk, driven step by step: what scenarios are written with.

use crate::disk::SimDisk;
use crate::rng::Rng;
use ringmq_broker::disk::{Completion, DiskOp, DiskOpKind};
use ringmq_broker::now::Now;
use ringmq_broker::store::{
    Appended, BatchItem, BatchShared, Entropy, NewMessage, OpenError, Piece, ReadOutcome, RecordSink, RecoveryReport,
    Refusal, SearchOutcome, Store, StoreFatal, StoreOptions, TopicChange, ViewOutcome,
};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{Host, StoredMessage};
use ringmq_proto::record::records;

/// The log id of every rig.
pub const LOG_ID: u128 = 0x5157_0000_0000_0000_0000_0000_0000_0001;

/// What a reader got at one offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The message, sound.
    Message(Vec<u8>),
    /// It was promised and cannot be read, and the broker says so.
    Refused,
}

/// A store, its disk and its clock.
pub struct Rig {
    /// The disk outlives the store.
    pub disk: SimDisk,
    /// What the store is opened with.
    pub options: StoreOptions,
    store: Option<Store>,
    ops: Vec<DiskOp>,
    now: Now,
}

impl Rig {
    /// A new directory, opened.
    pub fn new(seed: u64, alignment: usize, segment_size_bytes: u64) -> Self {
        let options = StoreOptions {
            alignment_bytes: u32::try_from(alignment).unwrap_or(512),
            segment_size_bytes,
            hot_tail_bytes: 2 << 20,
            cache_bytes: 1 << 20,
            ..StoreOptions::default()
        };
        let mut rig = Self {
            disk: SimDisk::new(Rng::new(seed), alignment),
            options,
            store: None,
            ops: Vec::new(),
            now: Now { boot_ns: 1_000_000_000, wall_ms: 1_800_000_000_000 },
        };
        rig.open();
        rig
    }

    /// A rig with a copy of this one's disk, closed.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let disk = self.disk.copy(Rng::new(seed));
        Self { disk, options: self.options.clone(), store: None, ops: Vec::new(), now: self.now }
    }

    /// Opens the store; it must be possible.
    pub fn open(&mut self) -> RecoveryReport {
        self.try_open().unwrap_or_else(|error| panic!("the store cannot be opened: {error}"))
    }

    /// Opens the store.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn try_open(&mut self) -> Result<RecoveryReport, OpenError> {
        let entropy = Entropy { log_id: LOG_ID, disk_id: 7 };
        let (store, report) = Store::open(&mut self.disk, self.options.clone(), entropy, self.now)?;
        self.store = Some(store);
        Ok(report)
    }

    /// The open store.
    pub fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    /// The power is cut; the store is gone.
    pub fn cut_power(&mut self) {
        (self.store, self.ops) = (None, Vec::new());
        self.disk.power_cut();
    }

    /// The process is killed; the store is gone.
    pub fn kill(&mut self) {
        (self.store, self.ops) = (None, Vec::new());
        self.disk.kill();
    }

    /// Time passes, and the store is told.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.boot_ns += ms * 1_000_000;
        self.now.wall_ms += ms;
        let (now, mut ops) = (self.now, std::mem::take(&mut self.ops));
        self.store().tick(now, &mut ops);
        self.ops = ops;
    }

    /// The wall clock is set back; the machine's own goes on.
    pub fn set_clock_back(&mut self, ms: u64) {
        self.now.wall_ms -= ms;
    }

    /// Stops the store cleanly; it is gone then.
    pub fn stop(&mut self) {
        let (now, mut ops) = (self.now, std::mem::take(&mut self.ops));
        self.store().close(now, &mut ops);
        self.ops = ops;
        for _ in 0..50 {
            self.settle();
            if self.store().is_closed() {
                self.store = None;
                return;
            }
            self.pass_ms(100);
        }
        panic!("the store does not stop");
    }

    /// Starts what can be started, without any completion.
    pub fn turn(&mut self) {
        let (now, mut ops) = (self.now, std::mem::take(&mut self.ops));
        self.store().turn(now, &mut ops);
        ops.drain(..).for_each(|op| self.disk.submit(op));
        self.ops = ops;
    }

    /// Ends one operation in flight. False when there is none.
    ///
    /// # Errors
    /// The store's log has failed.
    pub fn complete(&mut self) -> Result<bool, StoreFatal> {
        let completion = self.disk.complete();
        self.take(completion)
    }

    /// Ends one operation in flight that is no read. False when there is none.
    ///
    /// # Errors
    /// The store's log has failed.
    pub fn complete_but_reads(&mut self) -> Result<bool, StoreFatal> {
        let completion = self.disk.complete_one(|op| !matches!(op, DiskOpKind::Read { .. }));
        self.take(completion)
    }

    fn take(&mut self, completion: Option<Completion>) -> Result<bool, StoreFatal> {
        let Some(completion) = completion else { return Ok(false) };
        let (now, mut ops) = (self.now, std::mem::take(&mut self.ops));
        let result = self.store().on_disk(now, completion, &mut ops);
        ops.drain(..).for_each(|op| self.disk.submit(op));
        self.ops = ops;
        result.map(|()| true)
    }

    /// Works until nothing is on its way.
    ///
    /// # Errors
    /// The store's log has failed.
    pub fn run(&mut self) -> Result<(), StoreFatal> {
        for _ in 0..50 {
            self.turn();
            // Bounded: on a disk that fails for ever something may be tried again and again.
            for _ in 0..300 {
                if !self.complete()? {
                    break;
                }
            }
            if !self.store().has_unissued() {
                break;
            }
            self.pass_ms(3);
        }
        Ok(())
    }

    /// The same, where nothing may fail.
    pub fn settle(&mut self) {
        self.run().unwrap_or_else(|fatal| panic!("the store failed: {fatal}"));
    }

    /// Lets 200 ms pass without appends: a mark says how far the log was promised.
    pub fn idle(&mut self) {
        for _ in 0..4 {
            self.pass_ms(100);
            self.settle();
        }
    }

    /// A topic of `queue_count` queues, created and applied.
    pub fn topic(&mut self, name: &str, queue_count: u32) -> Vec<QueueId> {
        self.change_topic(name, queue_count, false);
        self.store().state().topic(name).expect("just created").queues.clone()
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, name: &str) {
        self.change_topic(name, 0, true);
    }

    fn change_topic(&mut self, name: &str, queue_count: u32, deleted: bool) {
        let change = TopicChange {
            name: name.into(),
            read_queue_count: queue_count,
            write_queue_count: queue_count,
            perm: 6,
            deleted,
            ..TopicChange::default()
        };
        let now = self.now;
        let appended = self.store().append_topic(now, &change).unwrap_or_else(|refusal| panic!("{refusal}"));
        self.settle();
        let acked = self.store().acked(ringmq_broker::store::AckMode::Promised).up_to();
        assert!(acked >= appended.end, "a topic change is promised when nothing is on its way");
    }

    /// Appends one message, without writing it.
    ///
    /// # Errors
    /// As the store says.
    pub fn append(&mut self, queue: QueueId, body: &[u8]) -> Result<Appended, Refusal> {
        let now = self.now;
        self.store().append_message(now, queue, &message(now, body))
    }

    /// Appends `count` small messages as one batch record.
    pub fn append_batch(&mut self, queue: QueueId, count: usize) -> Appended {
        let now = self.now;
        let shared = BatchShared { flag: 0, sys_flag: 0, born_time_ms: now.wall_ms, born_host: Host::UNSPECIFIED };
        let items = vec![BatchItem { tag_hash: 0, properties: b"", body: b"10 bytes.." }; count];
        let appended = self.store().append_batch(now, queue, &shared, &items);
        appended.unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Appends messages that count all or none.
    pub fn append_group(&mut self, items: &[(QueueId, &[u8])]) -> Vec<Appended> {
        let now = self.now;
        let messages: Vec<_> = items.iter().map(|(queue, body)| (*queue, message(now, body))).collect();
        self.store().append_group(now, &messages).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Sends one message and waits for its promise.
    pub fn send(&mut self, queue: QueueId, body: &[u8]) -> Appended {
        let appended = self.append(queue, body).unwrap_or_else(|refusal| panic!("{refusal}"));
        self.settle();
        assert!(self.is_promised(&appended), "{appended:?} is not promised when nothing is on its way");
        appended
    }

    /// Commits a group's offset and waits for its promise.
    pub fn commit_offset(&mut self, group: &str, queue: QueueId, offset: u64) {
        let now = self.now;
        let offset = QueueOffset::new(offset);
        let appended = self.store().append_consume_offset(now, group, queue, offset);
        let appended = appended.unwrap_or_else(|refusal| panic!("{refusal}"));
        self.settle();
        assert!(self.is_promised(&appended));
    }

    /// Appends a group's offset, without writing it.
    pub fn append_offset(&mut self, group: &str, queue: QueueId, offset: u64) {
        let (now, offset) = (self.now, QueueOffset::new(offset));
        let appended = self.store().append_consume_offset(now, group, queue, offset);
        let _on_its_way = appended.unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    /// Whether a reply to this append may leave.
    pub fn is_promised(&mut self, appended: &Appended) -> bool {
        self.store().acked(ringmq_broker::store::AckMode::Promised).up_to() >= appended.end
    }

    /// All messages of a queue from its first offset on, with their offsets.
    pub fn read_all(&mut self, queue: QueueId) -> Vec<(u64, Got)> {
        let mut all = Vec::new();
        let mut from = QueueOffset::ZERO;
        loop {
            let mut sink = Collect::default();
            match self.store().read(queue, from, 100, 1 << 20, &mut sink) {
                ReadOutcome::Found { next_offset, .. } => {
                    for record in records(&sink.bytes) {
                        let record = record.unwrap_or_else(|error| panic!("{error}"));
                        let stored = StoredMessage::decode(record.payload).unwrap_or_else(|error| panic!("{error}"));
                        all.push((stored.parts.queue_offset.get(), Got::Message(stored.parts.body.to_vec())));
                    }
                    from = next_offset;
                }
                ReadOutcome::Damaged { next_offset, .. } => {
                    all.extend((from.get()..next_offset.get()).map(|offset| (offset, Got::Refused)));
                    from = next_offset;
                }
                ReadOutcome::Moved { next_offset } => from = next_offset,
                ReadOutcome::NotYet => self.settle_loads(),
                ReadOutcome::End => return all,
                ReadOutcome::Gone => panic!("{queue:?} is gone"),
                ReadOutcome::Failed { remark } => panic!("{queue:?} at {from}: {remark}"),
            }
        }
    }

    /// One attempt to read a queue.
    pub fn try_read(&mut self, queue: QueueId, from: u64) -> ReadOutcome {
        self.store().read(queue, QueueOffset::new(from), 100, 1 << 20, &mut Collect::default())
    }

    /// What lies at a position.
    pub fn view(&mut self, position: LogPosition) -> ViewOutcome {
        loop {
            match self.store().message_at(position) {
                ViewOutcome::NotYet => self.settle_loads(),
                other => return other,
            }
        }
    }

    /// The offset of a store time.
    pub fn search(&mut self, queue: QueueId, store_time_ms: u64, upper: bool) -> QueueOffset {
        loop {
            match self.store().search_offset(queue, store_time_ms, upper) {
                SearchOutcome::NotYet => self.settle_loads(),
                SearchOutcome::Found(offset) => return offset,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The wall clock, ms.
    pub fn wall_ms(&self) -> u64 {
        self.now.wall_ms
    }

    fn settle_loads(&mut self) {
        self.turn();
        assert!(self.complete().unwrap_or_else(|fatal| panic!("{fatal}")), "a read waits for nothing");
    }
}

pub(super) fn message(now: Now, body: &[u8]) -> NewMessage<'_> {
    NewMessage {
        flag: 0,
        sys_flag: 0,
        born_time_ms: now.wall_ms,
        born_host: Host::UNSPECIFIED,
        reconsume_times: 0,
        prepared_transaction_position: 0,
        properties: b"",
        body,
        tag_hash: 0,
    }
}

#[derive(Default)]
struct Collect {
    bytes: Vec<u8>,
}

impl RecordSink for Collect {
    fn begin(&mut self, _size_bytes: usize, _count: u32) {}

    fn piece(&mut self, piece: Piece<'_>) {
        self.bytes.extend_from_slice(piece.bytes());
    }
}
