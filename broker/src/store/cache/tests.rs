//! What the cache promises its readers.

use std::collections::BTreeMap;

use ringmq_proto::ids::LogPosition;

use super::*;
use crate::disk::BlockPool;

const SEGMENT: FileName = FileName::Segment(LogPosition::ZERO);
const RUN: FileName = FileName::Run(1);

/// A cache over files whose bytes follow from their place.
struct Bench {
    cache: BlockCache,
    pool: BlockPool,
    pending: Vec<DiskOp>,
    op_next: u64,
    reads: BTreeMap<(FileName, u64), u32>,
}

impl Bench {
    fn new(budget_bytes: usize) -> Self {
        Self {
            cache: BlockCache::new(budget_bytes, 7),
            pool: BlockPool::new(0),
            pending: Vec::new(),
            op_next: 0,
            reads: BTreeMap::new(),
        }
    }

    fn start(&mut self) -> usize {
        let before = self.pending.len();
        let op_next = &mut self.op_next;
        let mut next_id = || {
            *op_next += 1;
            OpId(*op_next)
        };
        self.cache.take_ops(&mut next_id, &mut self.pending);
        self.pending.len() - before
    }

    /// Completes the oldest load with the first `bytes_max` bytes of it, or with an error.
    fn complete(&mut self, result: Result<usize, DiskErrorKind>) {
        let DiskOp { id, kind } = self.pending.remove(0);
        let DiskOpKind::Read { file, offset, length } = kind else { panic!("only reads") };
        let number = Place::of(file, offset).number;
        *self.reads.entry((file, number)).or_default() += 1;
        let result = match result {
            Ok(bytes_max) => {
                let mut block = self.pool.take(length);
                block.fill(u8::try_from(number % 251).expect("small"));
                Ok(DiskDone::Read { block: block.freeze(), length: length.min(bytes_max) })
            }
            Err(kind) => Err(DiskError { kind, detail: "as asked".into() }),
        };
        assert!(self.cache.on_disk(&mut Completion { id, result }));
    }

    fn load(&mut self, place: Place) {
        while self.cache.get(place, 1, u64::MAX).is_err() {
            self.start();
            self.complete(Ok(usize::MAX));
        }
    }

    fn reads_of(&self, file: FileName) -> u32 {
        self.reads.iter().filter(|((read, _), _)| *read == file).map(|(_, count)| count).sum()
    }
}

fn segment(number: u64) -> Place {
    Place::new(SEGMENT, number)
}

fn run(number: u64) -> Place {
    Place::new(RUN, number)
}

#[test]
fn block_that_many_ask_for_is_read_once() {
    let mut bench = Bench::new(0);
    for _ in 0..5 {
        assert!(matches!(bench.cache.get(run(3), 10, u64::MAX), Err(Miss::NotYet)));
        bench.start();
    }
    assert_eq!(bench.pending.len(), 1);
    bench.complete(Ok(usize::MAX));
    let cached = bench.cache.get(run(3), 10, u64::MAX).expect("loaded");
    assert_eq!((cached.block[9], cached.length), (3, RUN_BLOCK_SIZE_BYTES));
    assert_eq!((bench.reads_of(RUN), bench.cache.loads_completed()), (1, 1));
}

#[test]
fn loads_in_flight_are_bounded_and_the_rest_wait_in_order() {
    let mut bench = Bench::new(0);
    for number in 0..20 {
        assert!(bench.cache.get(run(number * 2), 1, u64::MAX).is_err());
    }
    assert_eq!(bench.start(), LOADS_IN_FLIGHT_MAX);
    assert!(!bench.cache.has_wanted(), "nothing more can be started");
    bench.complete(Ok(usize::MAX));
    assert!(bench.cache.has_wanted());
    assert_eq!(bench.start(), 1);
    while !bench.pending.is_empty() {
        bench.complete(Ok(usize::MAX));
        bench.start();
    }
    assert_eq!(bench.reads_of(RUN), 20);
}

#[test]
fn failed_load_is_said_once_and_then_tried_again() {
    let mut bench = Bench::new(0);
    assert!(bench.cache.get(run(0), 1, u64::MAX).is_err());
    bench.start();
    bench.complete(Err(DiskErrorKind::Io));
    assert_eq!(bench.start(), 0, "not before somebody asks");
    assert!(matches!(bench.cache.get(run(0), 1, u64::MAX), Err(Miss::Failed(_))));
    assert!(matches!(bench.cache.get(run(0), 1, u64::MAX), Err(Miss::NotYet)));
    bench.start();
    bench.complete(Ok(usize::MAX));
    assert!(bench.cache.get(run(0), 1, u64::MAX).is_ok());
}

#[test]
fn short_read_below_the_valid_end_is_a_failure() {
    let mut bench = Bench::new(0);
    assert!(bench.cache.get(run(0), 9000, 10_000).is_err());
    bench.start();
    bench.complete(Ok(9_999));
    assert!(matches!(bench.cache.get(run(0), 1, 10_000), Err(Miss::Failed(_))));
}

#[test]
fn block_at_the_growing_end_is_read_again_when_more_of_it_is_needed() {
    let mut bench = Bench::new(0);
    assert!(bench.cache.get(segment(0), 100, 5000).is_err());
    bench.start();
    assert!(matches!(bench.pending[0].kind, DiskOpKind::Read { length: 8192, .. }), "whole units up to the end");
    bench.complete(Ok(usize::MAX));
    assert_eq!(bench.cache.get(segment(0), 100, 5000).expect("loaded").length, 5000);
    assert!(bench.cache.get(segment(0), 5000, 9000).is_ok(), "what is needed is there");
    assert!(matches!(bench.cache.get(segment(0), 5001, 9000), Err(Miss::NotYet)));
    bench.start();
    bench.complete(Ok(usize::MAX));
    assert_eq!(bench.cache.get(segment(0), 5001, 9000).expect("loaded again").length, 9000);
}

#[test]
#[should_panic(expected = "bytes needed")]
fn bytes_beyond_the_valid_end_cannot_be_asked_for() {
    drop(Bench::new(0).cache.get(segment(0), 5001, 5000));
}

#[test]
fn sequential_reader_of_a_segment_finds_its_blocks_read_ahead() {
    let mut bench = Bench::new(0);
    bench.load(segment(10));
    assert_eq!(bench.start(), 0, "one block is not a sequence");
    bench.load(segment(11));
    bench.start();
    let ahead = usize::try_from(READ_AHEAD_BLOCK_COUNT).expect("small");
    assert_eq!(bench.reads_of(SEGMENT) as usize + bench.pending.len(), 2 + ahead);
    while !bench.pending.is_empty() {
        bench.complete(Ok(usize::MAX));
    }
    for number in 12..12 + READ_AHEAD_BLOCK_COUNT {
        assert!(bench.cache.get(segment(number), 1, u64::MAX).is_ok(), "block {number}");
    }
}

#[test]
fn nothing_is_read_ahead_beyond_the_valid_end_or_of_a_run() {
    let mut bench = Bench::new(0);
    let end = 3 * SEGMENT_BLOCK_SIZE_BYTES as u64 + 100;
    for number in 0..4 {
        assert!(bench.cache.get(segment(number), 1, end).is_err());
        assert!(bench.cache.get(run(number), 1, u64::MAX).is_err());
    }
    while bench.start() > 0 || !bench.pending.is_empty() {
        bench.complete(Ok(usize::MAX));
    }
    assert_eq!((bench.reads_of(SEGMENT), bench.reads_of(RUN)), (4, 4));
}

#[test]
fn two_blocks_that_are_needed_at_once_stay_while_others_stream_through() {
    let mut bench = Bench::new(0);
    let in_budget = u32::try_from(BUDGET_BYTES_MIN / RUN_BLOCK_SIZE_BYTES).expect("small");
    for number in 0..u64::from(in_budget) * 4 {
        bench.load(run(1_000_000));
        bench.load(run(2_000_000));
        bench.load(run(number));
        assert!(bench.cache.resident_bytes() <= BUDGET_BYTES_MIN);
    }
    assert_eq!(bench.reads[&(RUN, 1_000_000)] + bench.reads[&(RUN, 2_000_000)], 2, "never evicted");
    assert_eq!(bench.reads_of(RUN), in_budget * 4 + 2);
}

#[test]
fn forgotten_file_is_loaded_anew_and_a_load_of_its_past_is_ignored() {
    let mut bench = Bench::new(0);
    bench.load(segment(20));
    assert!(bench.cache.get(segment(30), 1, u64::MAX).is_err());
    bench.start();
    assert!(bench.cache.is_loading(SEGMENT));
    assert!(bench.cache.get(segment(40), 1, u64::MAX).is_err());
    bench.cache.forget(SEGMENT);
    assert_eq!(bench.cache.resident_bytes(), 0);
    assert_eq!(bench.start(), 0, "what was wanted of it is not");
    assert!(matches!(bench.cache.get(segment(30), 1, u64::MAX), Err(Miss::NotYet)));
    bench.start();
    assert_eq!(bench.pending.len(), 2);
    bench.complete(Ok(usize::MAX));
    assert!(matches!(bench.cache.get(segment(30), 1, u64::MAX), Err(Miss::NotYet)), "the old load does not count");
    bench.complete(Ok(usize::MAX));
    assert!(bench.cache.get(segment(30), 1, u64::MAX).is_ok());
}

#[test]
fn check_runs_once_a_load_and_a_block_that_fails_it_is_dropped() {
    let mut bench = Bench::new(0);
    let mut checks = 0;
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let result = bench.cache.get_checked(run(0), 1, u64::MAX, |_| {
            checks += 1;
            if checks == 1 { Err("bad".into()) } else { Ok(()) }
        });
        match result {
            Err(Miss::NotYet) => {
                bench.start();
                bench.complete(Ok(usize::MAX));
            }
            result => answers.push(result.map(|_| ())),
        }
    }
    assert_eq!(answers, [Err(Miss::Damaged("bad".into())), Ok(()), Ok(()), Ok(())]);
    assert_eq!((checks, bench.reads_of(RUN)), (2, 2));
}

#[test]
fn completion_of_somebody_else_is_left_alone() {
    let mut cache = BlockCache::new(0, 1);
    let mut completion =
        Completion { id: OpId(9), result: Err(DiskError { kind: DiskErrorKind::Io, detail: "".into() }) };
    assert!(!cache.on_disk(&mut completion));
    assert!(completion.result.is_err());
}

#[test]
fn expected_block_is_loaded_after_those_that_readers_wait_for() {
    let mut bench = Bench::new(0);
    bench.cache.expect(run(5), u64::MAX);
    assert!(bench.cache.get(run(9), 1, u64::MAX).is_err());
    assert_eq!(bench.start(), 2);
    let offset = 9 * RUN_BLOCK_SIZE_BYTES as u64;
    assert!(matches!(bench.pending[0].kind, DiskOpKind::Read { offset: first, .. } if first == offset));
    bench.complete(Ok(usize::MAX));
    bench.complete(Ok(usize::MAX));
    assert!(bench.cache.get(run(5), 1, u64::MAX).is_ok());
}

#[test]
fn small_block_is_loaded_by_itself_and_nothing_after_it() {
    let mut bench = Bench::new(0);
    let offset = 5 * SEGMENT_BLOCK_SIZE_BYTES as u64 + 3 * SMALL_BLOCK_SIZE_BYTES as u64 + 7;
    for place in [Place::small(SEGMENT, offset - SMALL_BLOCK_SIZE_BYTES as u64), Place::small(SEGMENT, offset)] {
        assert!(matches!(bench.cache.get(place, 100, u64::MAX), Err(Miss::NotYet)));
        assert_eq!(bench.start(), 1);
        let DiskOpKind::Read { offset: start, length, .. } = bench.pending[0].kind else { panic!("only reads") };
        assert_eq!((start, length), (place.start(), SMALL_BLOCK_SIZE_BYTES));
        bench.complete(Ok(usize::MAX));
        assert!(bench.cache.get(place, 100, u64::MAX).is_ok());
    }
    assert_eq!(bench.start(), 0, "nothing is read ahead");
    assert!(!bench.cache.holds(Place::of(SEGMENT, offset), 1), "the large block is another one");
    assert!(bench.cache.holds(Place::small(SEGMENT, offset), SMALL_BLOCK_SIZE_BYTES));
    assert_eq!(bench.cache.resident_bytes(), 2 * SMALL_BLOCK_SIZE_BYTES);
}

#[test]
fn who_waits_is_told_of_the_end_of_its_load_whatever_that_is() {
    let mut bench = Bench::new(0);
    let mut ended = Vec::new();
    let places = [segment(10), segment(20), segment(30), segment(40)];
    for place in places {
        assert_eq!(bench.cache.demand(place, 1, u64::MAX), Demanded::Newly);
        assert_eq!(bench.cache.demand(place, 1, u64::MAX), Demanded::OnItsWay);
        assert_eq!((bench.cache.take_awaited(), bench.cache.take_awaited()), (Some(place), None));
    }
    bench.start();
    bench.complete(Ok(usize::MAX));
    bench.complete(Err(DiskErrorKind::Io));
    bench.cache.drain_ended(&mut ended);
    assert_eq!(ended, places[..2]);
    assert_eq!(bench.cache.demand(places[0], 1, u64::MAX), Demanded::Ready);
    assert_eq!(bench.cache.demand(places[1], 1, u64::MAX), Demanded::Ready, "the failure is an answer");
    assert!(matches!(bench.cache.get(places[1], 1, u64::MAX), Err(Miss::Failed(_))));
    ended.clear();
    bench.cache.forget(SEGMENT);
    bench.cache.drain_ended(&mut ended);
    assert_eq!(ended, places[2..], "loads of a forgotten file will not come");
}

#[test]
fn bytes_in_flight_are_bounded() {
    let mut bench = Bench::new(0);
    for number in 0..20 {
        assert!(bench.cache.get(segment(number * 2), 1, u64::MAX).is_err());
    }
    assert_eq!(bench.start() * SEGMENT_BLOCK_SIZE_BYTES, LOAD_BYTES_IN_FLIGHT_MAX);
    assert!(!bench.cache.has_wanted(), "nothing more can be started");
}
