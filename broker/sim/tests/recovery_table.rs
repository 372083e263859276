//! Recovery's table, row by row, and every block of a small log damaged in turn (`store::recovery`).

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

mod common;

use common::{Bench, Sink, options};
use ringmq_broker::disk::{Directory, FileName};
use ringmq_broker::store::{
    BatchItem, BatchShared, Entropy, FlushMode, OpenError, ReadOutcome, RecoveryReport, SearchOutcome, Store,
    StoreOptions,
};
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::Host;
use ringmq_sim::disk::SimDisk;
use ringmq_sim::rng::Rng;

const SEGMENT_0: FileName = FileName::Segment(LogPosition::ZERO);

/// A log of single messages, batches and groups, one commit each, with where each commit ends.
fn small_log(options: StoreOptions) -> (Bench, QueueId, Vec<LogPosition>) {
    let mut bench = Bench::new(options);
    let queue = bench.topic("t", 1)[0];
    let mut ends = Vec::new();
    for n in 0..24u8 {
        match n % 3 {
            0 => {
                let _appended = bench.send(queue, &[n; 200]).expect("room");
            }
            1 => {
                let items = [[n; 100], [n; 100]];
                let items: Vec<BatchItem<'_>> =
                    items.iter().map(|body| BatchItem { tag_hash: 0, properties: b"", body }).collect();
                let born_host = Host::new([127, 0, 0, 1].into(), 1);
                let shared = BatchShared { flag: 0, sys_flag: 0, born_time_ms: 1, born_host };
                let _appended = bench.store.append_batch(bench.now, queue, &shared, &items).expect("room");
            }
            _ => {
                let group = [[n; 300], [n; 300]];
                let group: Vec<_> = group.iter().map(|body| (queue, common::message(body))).collect();
                let _appended = bench.store.append_group(bench.now, &group).expect("room");
            }
        }
        bench.run_disk();
        ends.push(bench.store.positions().written());
    }
    bench.run_disk();
    (bench, queue, ends)
}

/// Messages that small_log put in commit `n`.
fn count_of(n: usize) -> u64 {
    if n.is_multiple_of(3) { 1 } else { 2 }
}

fn reopen(disk: &mut SimDisk, options: &StoreOptions) -> Result<(Store, RecoveryReport), OpenError> {
    let now = ringmq_broker::now::Now { boot_ns: 1, wall_ms: 9_999 };
    Store::open(disk, options.clone(), Entropy { log_id: 0, disk_id: 0 }, now)
}

/// Reads the queue to its end: offsets that were served, and offsets that were said to be damaged.
fn serve(bench: &mut Bench, queue: QueueId) -> (Vec<u64>, Vec<std::ops::Range<u64>>) {
    let (mut served, mut damaged) = (Vec::new(), Vec::new());
    let mut at = match bench.store.min_offset(queue) {
        SearchOutcome::Found(min) => min,
        other => panic!("{other:?}"),
    };
    loop {
        match bench.store.read(queue, at, 1, 1 << 20, &mut Sink::default()) {
            ReadOutcome::Found { next_offset, .. } => {
                served.extend(at.get()..next_offset.get());
                at = next_offset;
            }
            ReadOutcome::Damaged { next_offset, .. } => {
                damaged.push(at.get()..next_offset.get());
                at = next_offset;
            }
            ReadOutcome::NotYet => bench.settle(),
            ReadOutcome::End => return (served, damaged),
            other => panic!("{other:?} at {at}"),
        }
    }
}

#[test]
fn any_damaged_block_costs_its_commit_at_most_and_is_never_taken_for_absent() {
    for alignment in [512u32, 4096] {
        let (bench, queue, ends) = small_log(options(alignment));
        let Bench { mut disk, store, now, .. } = bench;
        let end = store.positions().written();
        disk.settle();
        let chosen = store.options().clone();
        let total: u64 = (0..ends.len()).map(count_of).sum();
        let mut starts: Vec<u64> = Vec::new();
        for block in 0..end.get() / u64::from(alignment) {
            for byte in [0u64, 37, 100, 300, u64::from(alignment) - 1] {
                let mut copy = disk.copy(Rng::new(block));
                copy.flip(SEGMENT_0, block * u64::from(alignment) + byte, 2);
                let position = block * u64::from(alignment) + byte;
                let hit = ends.iter().position(|end| position < end.get());
                let first_end = ends[0].get();
                let (store, report) = reopen(&mut copy, &chosen).expect("a damaged block refuses no start");
                let mut bench = Bench { disk: copy, store, now, ops: Vec::new() };
                if bench.store.queue(queue).is_none() {
                    assert!(position < first_end, "the topic's own record was hit: {report:?}");
                    continue;
                }
                let (served, damaged) = serve(&mut bench, queue);
                let lost: u64 = total - served.iter().filter(|offset| **offset < total).count() as u64;
                let allowed = hit.map_or(0, count_of);
                let is_last = position >= ends[ends.len() - 2].get();
                assert!(lost <= allowed, "block {block}+{byte}: {lost} lost, {report:?}");
                if lost > 0 && !is_last {
                    assert!(!damaged.is_empty(), "block {block}+{byte}: {lost} messages are absent, {report:?}");
                }
                let again = bench.store.append_message(now, queue, &common::message(b"next")).expect("room");
                let given = if is_last { total - allowed } else { total };
                assert!(again.first_offset.get() >= given, "offset {} is given twice", again.first_offset);
                starts.push(again.first_offset.get());
            }
        }
        assert!(starts.len() > 100);
    }
}

#[test]
fn a_torn_tail_is_cut_and_the_same_again_after_a_crash_in_recovery() {
    let (bench, queue, ends) = small_log(options(512));
    let Bench { mut disk, store, .. } = bench;
    disk.settle();
    let last = ends[ends.len() - 2];
    // Nothing behind the last commit says that it was durable: it counts as torn.
    disk.flip(SEGMENT_0, last.get() + 90, 1);
    let mut copy = disk.copy(Rng::new(1));
    let (_, first) = reopen(&mut copy, store.options()).expect("a torn tail refuses no start");
    assert_eq!((first.end, first.damaged.len(), first.cut.commits_dropped), (last, 0, 0));
    copy.power_cut();
    let (store, second) = reopen(&mut copy, store.options()).expect("again");
    assert!(second.epoch > first.epoch && second.end > last, "{second:?}");
    assert!(store.queue(queue).expect("kept").next_offset.get() < 24 * 2);
}

#[test]
fn sound_commits_behind_an_unpromised_hole_are_dropped_and_kept_in_quarantine() {
    // Asynchronous: nothing was flushed, so nothing says that the hole was durable.
    let (bench, _, ends) = small_log(StoreOptions { flush: FlushMode::Async, ..options(512) });
    let Bench { mut disk, store, .. } = bench;
    assert!(store.positions().durable() < ends[10], "no flush yet");
    disk.settle();
    disk.flip(SEGMENT_0, ends[10].get() + 90, 1);
    let (_, report) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!(report.end, ends[10]);
    assert_eq!(report.cut.commits_dropped, 12, "{report:?}");
    assert_eq!(disk.files(Directory::Quarantine).len(), 1);
    let (_, again) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!(again.cut.commits_dropped, 0, "dead by the superblock's cut and by their epoch");
}

#[test]
fn damage_below_the_superblocks_floor_is_kept_although_nothing_follows() {
    let (mut bench, queue, ends) = small_log(options(512));
    bench.store.close(bench.now, &mut bench.ops);
    bench.settle();
    assert!(bench.store.is_closed());
    let end = bench.store.positions().written();
    let Bench { mut disk, store, now, .. } = bench;
    disk.settle();
    let last = ends[ends.len() - 2];
    let mut at = last.get();
    while at < end.get() {
        disk.flip(SEGMENT_0, at + 3, 1);
        at += 512;
    }
    let (store, report) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!((report.damaged[0].from, report.damaged[0].to), (last, end), "{report:?} {end}");
    let mut bench = Bench { disk, store, now, ops: Vec::new() };
    let next = bench.send(queue, b"x").expect("room").first_offset;
    let total: u64 = (0..ends.len()).map(count_of).sum();
    assert!(next.get() >= total, "{next} may have been given before");
}

#[test]
fn a_missing_segment_is_damage_and_the_rest_is_served() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    for n in 0..500u32 {
        while bench.send(queue, &[n as u8; 8000]).is_err() {
            bench.settle();
        }
        if n % 20 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    let Bench { mut disk, store, now, .. } = bench;
    disk.settle();
    disk.lose(FileName::Segment(LogPosition::new(1 << 20)));
    let (store, report) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].to, LogPosition::new(2 << 20));
    let mut bench = Bench { disk, store, now, ops: Vec::new() };
    let (served, damaged) = serve(&mut bench, queue);
    assert!(served.len() > 300 && served.last() == Some(&499));
    assert_eq!(damaged.len(), 1);
    assert_eq!(served.len() as u64 + damaged[0].end - damaged[0].start, 500);
}

#[test]
fn a_missing_first_segment_is_damage_unless_it_was_trimmed() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    for n in 0..300u32 {
        while bench.send(queue, &[n as u8; 8000]).is_err() {
            bench.settle();
        }
        bench.run_disk();
    }
    bench.settle();
    // The topic is said again behind the first segment, as a change of it would.
    bench.topic("t", 1);
    bench.settle();
    let Bench { mut disk, store, now, .. } = bench;
    disk.settle();
    for directory in [Directory::Snapshot, Directory::Index] {
        disk.files(directory).into_iter().for_each(|(file, _)| disk.lose(file));
    }
    disk.lose(SEGMENT_0);
    let (store, report) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!(report.damaged.first().map(|range| (range.from.get(), range.to.get())), Some((0, 1 << 20)));
    let mut bench = Bench { disk, store, now, ops: Vec::new() };
    let (served, damaged) = serve(&mut bench, queue);
    assert_eq!(served.last(), Some(&299));
    assert_eq!(damaged.iter().map(|range| range.end - range.start).sum::<u64>() + served.len() as u64, 300);
}

#[test]
fn a_log_that_ends_before_its_floor_without_the_floors_segment_refuses_to_open() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    for n in 0..300u32 {
        while bench.send(queue, &[n as u8; 8000]).is_err() {
            bench.settle();
        }
        bench.run_disk();
    }
    bench.store.close(bench.now, &mut bench.ops);
    bench.settle();
    let Bench { mut disk, store, .. } = bench;
    disk.settle();
    for start in 1..4u64 {
        disk.lose(FileName::Segment(LogPosition::new(start << 20)));
    }
    let refused = reopen(&mut disk, store.options()).expect_err("amnesia");
    assert!(matches!(refused, OpenError::Amnesia { .. }), "{refused}");
}

#[test]
fn stale_commits_of_an_older_use_stay_dead_whatever_follows() {
    let (bench, queue, ends) = small_log(options(512));
    let Bench { mut disk, store, now, .. } = bench;
    disk.settle();
    let full = disk.content(SEGMENT_0).expect("there");
    // The tail from commit 20 on is lost; then, in a new epoch, less is written than was lost.
    let cut = usize::try_from(ends[19].get()).expect("small");
    let zeros = vec![0; full.len() - cut];
    disk.overwrite(SEGMENT_0, cut as u64, &zeros);
    let (store, report) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!(report.end, ends[19]);
    let mut bench = Bench { disk, store, now, ops: Vec::new() };
    let _appended = bench.send(queue, b"new").expect("room");
    bench.run_disk();
    let end = bench.store.positions().written();
    let Bench { mut disk, store, .. } = bench;
    disk.settle();
    // The old bytes come back behind what was written, as a recycled or a lying disk would have it.
    let at = usize::try_from(end.get()).expect("small");
    disk.overwrite(SEGMENT_0, end.get(), &full[at..]);
    let offsets = store.queue(queue).expect("kept").next_offset;
    let (store, report) = reopen(&mut disk, store.options()).expect("opens");
    assert_eq!((report.end, report.damaged.len(), report.cut.commits_dropped), (end, 0, 0), "{report:?}");
    assert_eq!(store.queue(queue).expect("kept").next_offset, offsets);
    assert_eq!(offsets, QueueOffset::new((0..20).map(count_of).sum::<u64>() + 1));
}
