//! An index over the test disk beside the plainest model of it: a list of all entries in the order of the log.

use std::collections::BTreeMap;

use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};

use super::disk::{Random, TestDisk};
use crate::disk::{DiskOp, OpId};
use crate::store::cache::BlockCache;
use crate::store::index::{Cold, Index, IndexEntry, IndexError, IndexLimits};

pub(super) const LOG_ID: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
pub(super) const EPOCH: Epoch = Epoch::new(3);

#[derive(Default)]
pub(super) struct Model {
    /// In the order of the log.
    pub(super) log: Vec<(QueueId, IndexEntry)>,
    queues: BTreeMap<QueueId, Vec<IndexEntry>>,
    pub(super) removed: Vec<QueueId>,
    pub(super) trimmed: LogPosition,
    pub(super) end: LogPosition,
    time_ms: u64,
}

impl Model {
    /// The entries of a queue that readers may see.
    pub(super) fn entries(&self, queue: QueueId) -> &[IndexEntry] {
        if self.removed.contains(&queue) {
            return &[];
        }
        let Some(entries) = self.queues.get(&queue) else { return &[] };
        &entries[entries.partition_point(|entry| entry.position < self.trimmed)..]
    }

    pub(super) fn next_offset(&self, queue: QueueId) -> QueueOffset {
        self.queues.get(&queue).and_then(|entries| entries.last()).map_or(QueueOffset::ZERO, IndexEntry::next_offset)
    }
}

pub(super) struct World {
    pub(super) disk: TestDisk,
    pub(super) index: Index,
    pub(super) cache: BlockCache,
    pub(super) model: Model,
    pub(super) pending: Vec<DiskOp>,
    pub(super) limits: IndexLimits,
    /// The last damage that the index spoke of.
    pub(super) damage: Option<String>,
    op_next: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut disk = TestDisk::new(seed);
        let limits = IndexLimits::default();
        let index = open(&mut disk, limits, LogPosition::ZERO);
        Self {
            disk,
            index,
            cache: BlockCache::new(0, seed),
            model: Model::default(),
            pending: Vec::new(),
            limits,
            damage: None,
            op_next: 0,
        }
    }

    /// Appends a record of `count` messages to a queue.
    pub(super) fn add(&mut self, queue: u32, count: u16, random: &mut Random) {
        let queue = QueueId::new(queue);
        if self.model.removed.contains(&queue) {
            return;
        }
        self.model.time_ms += random.below(3);
        let size_bytes = u32::try_from(100 + random.below(1000)).expect("small");
        let tag_hash = i32::from(count) * 7;
        let offset = self.model.next_offset(queue);
        let position = self.model.end;
        let entry = IndexEntry::new(offset, count, position, size_bytes, self.model.time_ms, tag_hash);
        self.model.end = position.plus(u64::from(size_bytes));
        self.model.log.push((queue, entry));
        self.model.queues.entry(queue).or_default().push(entry);
        self.index.prefetch(queue);
        self.index.add(queue, entry);
    }

    pub(super) fn flush(&mut self) -> bool {
        self.index.start_flush(self.model.end, EPOCH)
    }

    /// One call of work with up to `ops_free` new operations.
    pub(super) fn work(&mut self, ops_free: usize) -> bool {
        let before = self.pending.len();
        let op_next = &mut self.op_next;
        let mut next_id = || {
            *op_next += 1;
            OpId(*op_next)
        };
        let more = self.index.work(&mut next_id, ops_free, &mut self.pending);
        assert!(self.pending.len() <= before + ops_free, "more operations than were free");
        more
    }

    /// Completes one operation, whichever.
    pub(super) fn complete(&mut self) -> bool {
        let Some(mut completion) = self.disk.complete_one(&mut self.pending) else { return false };
        if self.cache.on_disk(&mut completion) {
            return true;
        }
        match self.index.on_disk(&mut completion) {
            Ok(ours) => assert!(ours, "operation {:?} is nobody's", completion.id),
            Err(IndexError::Damaged(why)) => self.damage = Some(why),
            Err(IndexError::Disk(error)) => panic!("{error}"),
        }
        true
    }

    /// Everything that is going on in the background, to its end.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let more = self.work(3);
            if !self.complete() && !more && self.index.is_idle() {
                return;
            }
            if self.index.take_failure().is_some() {
                self.index.retry();
            }
        }
        panic!("the background does not come to an end");
    }

    /// Loses power and opens again; the store adds what no run covers.
    pub(super) fn crash(&mut self) {
        self.disk.crash();
        self.pending.clear();
        self.reopen();
    }

    pub(super) fn reopen(&mut self) {
        assert!(self.pending.is_empty());
        self.index = open(&mut self.disk, self.limits, self.model.end);
        self.cache = BlockCache::new(0, 1);
        self.add_uncovered();
    }

    /// What recovery does after opening.
    pub(super) fn add_uncovered(&mut self) {
        let covered = self.index.covered();
        let start = self.model.log.partition_point(|(_, entry)| entry.position < covered);
        for (queue, entry) in &self.model.log[start..] {
            self.index.add(*queue, *entry);
        }
        self.index.trim(self.model.trimmed);
        for queue in &self.model.removed {
            self.index.remove_queue(*queue);
        }
    }

    /// Asks until there is an answer, completing loads as they are wanted; background operations go on in between.
    pub(super) fn ask<T>(
        &mut self,
        mut question: impl FnMut(&Index, &mut BlockCache) -> Result<T, Cold>,
    ) -> Result<T, String> {
        for _ in 0..10_000 {
            match question(&self.index, &mut self.cache) {
                Ok(answer) => return Ok(answer),
                Err(Cold::Damaged(why)) => return Err(why),
                Err(Cold::Failed(_)) => continue,
                Err(Cold::NotYet) => {}
            }
            let loads = self.cache.loads_completed();
            let op_next = &mut self.op_next;
            let mut next_id = || {
                *op_next += 1;
                OpId(*op_next)
            };
            self.cache.take_ops(&mut next_id, &mut self.pending);
            while self.cache.loads_completed() == loads {
                assert!(self.complete(), "nothing is in flight, but the index waits");
            }
        }
        panic!("no answer");
    }

    pub(super) fn find(&mut self, queue: u32, from: u64, entries_max: usize) -> Result<Vec<IndexEntry>, String> {
        self.ask(|index, cache| {
            let mut out = Vec::new();
            let (queue, from) = (QueueId::new(queue), QueueOffset::new(from));
            index.find(cache, queue, from, QueueOffset::ZERO, entries_max, &mut out).map(|()| out)
        })
    }

    /// Compares a queue's entries from `from` on with the model: the first answer, and the rest by asking on.
    pub(super) fn check_find(&mut self, queue: u32, from: u64, entries_max: usize) {
        let model = self.model.entries(QueueId::new(queue));
        let start = model.partition_point(|entry| entry.next_offset().get() <= from);
        let expected = model[start..].to_vec();
        let mut found: Vec<IndexEntry> = Vec::new();
        let mut from = from;
        loop {
            let answer = self.find(queue, from, entries_max).expect("undamaged");
            assert!(answer.len() <= entries_max);
            let Some(last) = answer.last() else { break };
            from = last.next_offset().get();
            found.extend(answer);
        }
        assert!(found == expected, "queue {queue}: {} found, {} expected", found.len(), expected.len());
    }

    pub(super) fn check_others(&mut self, queue: u32, time_ms: u64, position: u64) {
        let (queue, position) = (QueueId::new(queue), LogPosition::new(position));
        let model = self.model.entries(queue).to_vec();
        let lower = model.iter().find(|entry| entry.store_time_ms() >= time_ms).map(|entry| entry.offset);
        let upper = model.iter().rev().find(|entry| entry.store_time_ms() <= time_ms);
        let upper = upper.map(|entry| QueueOffset::new(entry.next_offset().get() - 1));
        let at = model.iter().find(|entry| entry.position >= position).copied();
        assert_eq!(self.ask(|index, cache| index.find_by_time(cache, queue, time_ms, false)), Ok(lower));
        assert_eq!(self.ask(|index, cache| index.find_by_time(cache, queue, time_ms, true)), Ok(upper));
        assert_eq!(self.ask(|index, cache| index.first_at_or_after_position(cache, queue, position)), Ok(at));
        assert_eq!(self.ask(|index, cache| index.newest(cache, queue)), Ok(model.last().copied()));
        let next = self.ask(|index, cache| index.next_offset(cache, queue)).expect("undamaged");
        if !model.is_empty() {
            assert_eq!(next, Some(self.model.next_offset(queue)));
        }
    }

    /// Compares everything.
    pub(super) fn check_all(&mut self) {
        let queues: Vec<u32> = self.model.queues.keys().map(|queue| queue.get()).collect();
        for queue in queues {
            self.check_find(queue, 0, 700);
            let middle = self.model.entries(QueueId::new(queue)).get(5).copied();
            if let Some(entry) = middle {
                self.check_others(queue, entry.store_time_ms(), entry.position.get());
            }
        }
    }

    pub(super) fn time_ms(&self) -> u64 {
        self.model.time_ms
    }
}

pub(super) fn open(disk: &mut TestDisk, limits: IndexLimits, log_end: LogPosition) -> Index {
    Index::open(disk, LOG_ID, limits, log_end, |_, epoch| epoch == EPOCH).expect("the disk works")
}
