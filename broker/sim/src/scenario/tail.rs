//! What lies behind the end of the log, and what leaves at its beginning.

use super::{Got, LOG_ID, Rig, body, filled, whole};
use crate::log;
use ringmq_broker::disk::{Directory, DiskOpKind, FileName};
use ringmq_broker::store::{FlushMode, ReadOutcome, RecoveryReport, Retention, SearchOutcome};
use ringmq_proto::ids::{LogPosition, QueueId};
use std::collections::BTreeMap;

const SEGMENT: u64 = 64 << 10;

/// A log whose last six commits were unpromised when the power went: with asynchronous flushes it may lose the first and
/// keep others. With the report of the opening after that.
fn torn_tail(seed: u64, alignment: usize) -> (Rig, QueueId, RecoveryReport) {
    let mut rig = Rig::new(seed, alignment, SEGMENT);
    let queue = rig.topic("orders", 1)[0];
    rig.idle();
    rig.kill();
    rig.options.flush = FlushMode::Async;
    rig.open();
    for n in 0..6 {
        let _unflushed = rig.append(queue, &body(n)).expect("appended");
        rig.settle();
    }
    rig.cut_power();
    let report = rig.open();
    (rig, queue, report)
}

/// L3: a truncated tail stayed valid in RocketMQ, and came back behind what was written over its beginning.
pub(super) fn stale_tail_never_returns(alignment: usize) {
    let mut tails = 0;
    for seed in 0..400 {
        let (mut rig, queue, report) = torn_tail(seed, alignment);
        tails += u32::from(report.cut.commits_dropped > 0);
        let kept = rig.read_all(queue);
        // New messages of the same size take the places of the lost ones; then the power goes again.
        let _new = rig.append(queue, &body(1000)).expect("appended");
        rig.settle();
        for _ in 0..8 {
            rig.pass_ms(200);
            rig.settle();
        }
        rig.cut_power();
        rig.open();
        let mut expected = kept.clone();
        expected.push((kept.len() as u64, Got::Message(body(1000))));
        assert_eq!(rig.read_all(queue), expected, "seed {seed}: {report:?}");
    }
    assert!(tails > 20, "{tails} of 400 power cuts left sound commits behind the cut");
}

/// L5: a file that is used again holds old valid records. None of them is ever read.
pub(super) fn recycled_segment_is_empty(alignment: usize) {
    let mut rig = Rig::new(11, alignment, SEGMENT);
    rig.kill();
    rig.options.retention = Retention { bytes: Some(2 * SEGMENT), age_ms: None };
    rig.open();
    let queue = rig.topic("orders", 1)[0];
    let mut sent = 0;
    while rig.store().recycled_segment_count() < 6 {
        let _promised = rig.send(queue, &[body(sent), vec![b'.'; 3000]].concat());
        sent += 1;
        rig.pass_ms(300);
        rig.settle();
        assert!(sent < 2000, "retention recycles");
    }
    for _ in 0..3 {
        rig.cut_power();
        let report = rig.open();
        assert_eq!((report.damaged.len(), report.cut.commits_dropped), (0, 0), "{report:?}");
        let read = rig.read_all(queue);
        let first = read.first().map_or(0, |(offset, _)| *offset);
        assert!(first > 0 && read.len() as u64 == sent - first, "{first} and {} of {sent}", read.len());
        for (offset, got) in &read {
            assert_eq!(*got, Got::Message([body(*offset), vec![b'.'; 3000]].concat()));
        }
        let _promised = rig.send(queue, &[body(sent), vec![b'.'; 3000]].concat());
        sent += 1;
    }
}

/// L6: the last messages of a file were missing in RocketMQ's consume queue.
pub(super) fn queue_equals_log_after_any_crash(alignment: usize) {
    for seed in 0..60 {
        for segment_size_bytes in [SEGMENT, 1 << 20] {
            let mut rig = Rig::new(seed, alignment, segment_size_bytes);
            rig.kill();
            rig.options.checkpoint_interval_bytes = 40 << 10;
            rig.options.index.uncovered_bytes_max = 40 << 10;
            rig.open();
            let queues = rig.topic("orders", 3);
            for n in 0..40 + seed {
                let queue = queues[usize::try_from(n % 3).unwrap_or(0)];
                let _promised = rig.append(queue, &[body(n), vec![b'.'; 2500]].concat());
                if n % 4 == seed % 4 {
                    rig.settle();
                } else {
                    rig.turn();
                    let _ = rig.complete();
                }
            }
            rig.cut_power();
            rig.open();
            rig.settle();
            let end = rig.store().positions().written();
            let mut in_log: BTreeMap<_, Vec<(u64, Got)>> = queues.iter().map(|queue| (*queue, Vec::new())).collect();
            let visited = log::visit(&rig.disk, LOG_ID, end, &mut |_, record| {
                let told = log::messages(record, |(offset, _, body)| {
                    in_log.entry(record.header.queue_id).or_default().push((offset, Got::Message(body.to_vec())));
                });
                told.expect("sound");
            });
            assert_eq!(visited, Ok(()), "seed {seed}");
            for queue in &queues {
                assert_eq!(rig.read_all(*queue), in_log[queue], "seed {seed}, segment {segment_size_bytes}, {queue:?}");
            }
        }
    }
}

/// L9: NATS deleted an "orphan" stream after a corrupt snapshot. What recovery cuts is copied to quarantine first, and
/// files that it does not understand stay.
pub(super) fn recovery_never_deletes(alignment: usize) {
    let (mut rig, queue) = filled(13, alignment, SEGMENT, 8);
    rig.kill();
    let before: Vec<_> = rig.disk.files(Directory::Log).iter().filter(|(name, _)| is_segment(*name)).copied().collect();
    for directory in [Directory::Snapshot, Directory::Index] {
        for (name, size) in rig.disk.files(directory) {
            rig.disk.overwrite(name, 0, &vec![0xA5; usize::try_from(size).unwrap_or(0)]);
        }
    }
    rig.open();
    assert_eq!(rig.read_all(queue), whole(8), "corrupt derived files cost nothing");
    let after = rig.disk.files(Directory::Log);
    assert!(before.iter().all(|file| after.contains(file)), "{before:?} and then {after:?}");

    // A sound commit that nobody promised, behind a torn one, is cut: its bytes are kept.
    let mut quarantined = 0;
    for seed in 0..200 {
        let (rig, _, report) = torn_tail(seed, alignment);
        let kept = rig.disk.files(Directory::Quarantine);
        assert_eq!(report.cut.commits_dropped > 0, !kept.is_empty(), "seed {seed}: {report:?} {kept:?}");
        quarantined += u32::from(!kept.is_empty());
    }
    assert!(quarantined > 10, "{quarantined} of 200");
}

fn is_segment(name: FileName) -> bool {
    matches!(name, FileName::Segment(_))
}

/// Retention says an old consume offset again while a newer one is on its way to the disk: the newer one stays.
pub(super) fn owed_offset_never_wins_over_a_newer_one(alignment: usize) {
    let mut repeated = 0;
    for seed in 0..40 {
        let mut rig = Rig::new(seed, alignment, SEGMENT);
        rig.kill();
        rig.options.retention = Retention { bytes: Some(SEGMENT), age_ms: None };
        rig.open();
        let queue = rig.topic("orders", 1)[0];
        rig.commit_offset("billing", queue, 1);
        for n in 0..30 + seed {
            let _promised = rig.send(queue, &[body(n), vec![b'.'; 5000]].concat());
        }
        let start = rig.store().log_start();
        rig.append_offset("billing", queue, 9);
        rig.pass_ms(1100);
        rig.turn();
        for _ in 0..30 {
            rig.pass_ms(1100);
            rig.settle();
        }
        repeated += u32::from(rig.store().log_start() > start);
        for turn in 0..2 {
            let found = rig.store().consume_offset("billing", queue).map(ringmq_proto::ids::QueueOffset::get);
            assert_eq!(found, Some(9), "seed {seed}, start {turn}");
            rig.cut_power();
            rig.open();
        }
    }
    assert!(repeated > 20, "{repeated} of 40");
}

/// A read of a segment is on its way to the disk when retention gives the segment up: it leaves when the read has ended.
pub(super) fn segment_stays_while_it_is_read(alignment: usize) {
    let mut rig = Rig::new(21, alignment, SEGMENT);
    let queue = rig.topic("orders", 1)[0];
    let mut sent = 0;
    while rig.store().positions().written() < LogPosition::new(3 * SEGMENT) {
        let _promised = rig.send(queue, &[body(sent), vec![b'.'; 3000]].concat());
        sent += 1;
    }
    rig.kill();
    rig.options.retention = Retention { bytes: Some(SEGMENT), age_ms: None };
    rig.open();
    let oldest = FileName::Segment(LogPosition::ZERO);
    let reads_it = |op: &DiskOpKind| matches!(op, DiskOpKind::Read { file, .. } if *file == oldest);
    assert_eq!(rig.try_read(queue, 0), ReadOutcome::NotYet, "after a start nothing is in memory");
    rig.turn();
    assert!(rig.disk.has_in_flight(reads_it));
    for _ in 0..10 {
        rig.pass_ms(1100);
        rig.turn();
        while rig.complete_but_reads().unwrap_or_else(|fatal| panic!("{fatal}")) {}
    }
    let is_there = |rig: &Rig| rig.disk.files(Directory::Log).iter().any(|(file, _)| *file == oldest);
    assert!(rig.store().log_start() >= LogPosition::new(SEGMENT), "it was given up");
    assert!(rig.disk.has_in_flight(reads_it) && is_there(&rig), "and stays for its reader");
    for _ in 0..10 {
        rig.settle();
        rig.pass_ms(1100);
    }
    assert!(!is_there(&rig), "who has read lets it go");
    assert!(matches!(rig.try_read(queue, 0), ReadOutcome::Moved { .. }), "what was trimmed is not served");
}

/// The wall clock is set back by an hour while the shard is down, and the start looks at nothing but a snapshot: messages
/// that come then are still not stored before those that were there.
pub(super) fn store_time_never_falls_when_the_clock_is_set_back(alignment: usize) {
    for with_snapshot in [true, false] {
        let mut rig = Rig::new(22, alignment, SEGMENT);
        rig.kill();
        rig.options.checkpoint_interval_bytes = 8 << 10;
        rig.options.index.uncovered_bytes_max = 8 << 10;
        rig.open();
        let queue = rig.topic("orders", 1)[0];
        for n in 0..20 {
            let _promised = rig.send(queue, &[body(n), vec![b'.'; 3000]].concat());
        }
        let before = latest(&mut rig, queue);
        while rig.store().positions().written() < LogPosition::new(3 * SEGMENT) {
            rig.commit_offset("billing", queue, 1);
        }
        rig.stop();
        if !with_snapshot {
            rig.disk.files(Directory::Snapshot).into_iter().for_each(|(file, _)| rig.disk.lose(file));
        }
        rig.set_clock_back(3_600_000);
        let report = rig.open();
        assert_eq!(report.scanned_from > LogPosition::new(SEGMENT), with_snapshot, "{report:?}");
        let _promised = rig.send(queue, b"after");
        let after = latest(&mut rig, queue);
        assert!(after >= before, "stored at {before}, and the next one at {after}");
    }
}

fn latest(rig: &mut Rig, queue: QueueId) -> u64 {
    loop {
        match rig.store().latest_store_time(queue) {
            SearchOutcome::Found(Some(ms)) => return ms,
            SearchOutcome::NotYet => rig.settle(),
            other => panic!("{other:?}"),
        }
    }
}
