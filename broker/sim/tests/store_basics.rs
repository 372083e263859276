//! The store by itself, on the simulated disk: what is appended is read back, from memory and from disk, before and after
//! restarts; segments roll and are recycled; state and offsets outlive the segments that said them.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

mod common;

use common::{Bench, LogFiles, options};
use ringmq_broker::disk::FileName;
use ringmq_broker::store::check::check;
use ringmq_broker::store::raw::truncate_to;
use ringmq_broker::store::{
    AckMode, BatchItem, BatchShared, Entropy, FlushMode, ReadOutcome, Retention, Role, SearchOutcome, Store,
    StoreOptions, ViewOutcome,
};
use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{Host, StoredMessage};

#[test]
fn nothing_is_visible_or_acknowledged_before_its_flush() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    let appended = bench.send(queue, b"hello").expect("room");
    assert_eq!(appended.first_offset, QueueOffset::ZERO);
    bench.store.turn(bench.now, &mut bench.ops);
    assert!(bench.store.acked(AckMode::Promised).up_to() < appended.end);
    assert_eq!(bench.read_queue_once(queue), ReadOutcome::End);
    bench.settle();
    assert!(bench.store.acked(AckMode::Promised).up_to() >= appended.end);
    assert_eq!(bench.read_all(queue), [b"hello".to_vec()]);
}

#[test]
fn messages_and_batches_survive_rolls_and_restarts_and_are_read_from_disk() {
    for alignment in [512, 4096] {
        let mut bench = Bench::new(options(alignment));
        let queues = bench.topic("t", 3);
        let mut sent: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 3];
        for round in 0..400usize {
            for (number, queue) in queues.iter().enumerate() {
                if round % 3 == number {
                    let bodies: Vec<Vec<u8>> = (0..20).map(|n| format!("{round}-{number}-{n}").into_bytes()).collect();
                    let items: Vec<BatchItem<'_>> =
                        bodies.iter().map(|body| BatchItem { tag_hash: 0, properties: b"", body }).collect();
                    let host = Host::new([127, 0, 0, 1].into(), 1);
                    let shared = BatchShared { flag: 0, sys_flag: 0, born_time_ms: 1, born_host: host };
                    let _appended = bench.store.append_batch(bench.now, *queue, &shared, &items).expect("room");
                    sent[number].extend(bodies);
                } else {
                    let body = vec![b'a' + number as u8; 100 + round * 7 % 3000];
                    while bench.send(*queue, &body).is_err() {
                        bench.settle();
                    }
                    sent[number].push(body);
                }
            }
            if round % 10 == 9 {
                bench.store.turn(bench.now, &mut bench.ops);
                bench.submit();
            }
            if round % 50 == 49 {
                bench.settle();
            }
        }
        bench.settle();
        assert!(bench.store.log_start() == LogPosition::ZERO && bench.disk.files_of_log() > 1, "the log has rolled");
        for (number, queue) in queues.iter().enumerate() {
            assert!(bench.read_all(*queue) == sent[number], "queue {number} live");
        }
        let mut bench = bench.reopen(|disk, _| disk.kill());
        for (number, queue) in queues.iter().enumerate() {
            assert!(bench.read_all(*queue) == sent[number], "queue {number} from disk");
        }
        assert_eq!(bench.topic("other", 2), [QueueId::new(3), QueueId::new(4)], "ids go on");
    }
}

#[test]
fn a_deleted_topics_queues_are_gone_and_their_ids_never_come_back() {
    let mut bench = Bench::new(options(512));
    let old = bench.topic("t", 2);
    let _appended = bench.send(old[0], b"x").expect("room");
    bench.settle();
    bench.delete("t");
    assert_eq!(bench.send(old[0], b"y").expect_err("deleted").code, 17);
    assert_eq!(bench.read_queue_once(old[0]), ReadOutcome::Gone);
    let mut bench = bench.reopen(|disk, _| disk.power_cut());
    let new = bench.topic("t", 2);
    assert!(new.iter().all(|id| !old.contains(id)));
    assert_eq!(bench.read_all(new[0]), Vec::<Vec<u8>>::new());
}

#[test]
fn offsets_topics_and_queue_floors_outlive_the_segments_that_said_them() {
    let mut bench =
        Bench::new(StoreOptions { retention: Retention { bytes: Some(3 << 20), age_ms: None }, ..options(512) });
    let quiet = bench.topic("quiet", 1)[0];
    let busy = bench.topic("busy", 1)[0];
    for _ in 0..3 {
        let _appended = bench.send(quiet, b"early").expect("room");
    }
    let _appended = bench.store.append_consume_offset(bench.now, "g", quiet, QueueOffset::new(2)).expect("room");
    for round in 0..12 {
        for _ in 0..100 {
            while bench.send(busy, &[round; 9000]).is_err() {
                bench.settle();
            }
        }
        bench.settle();
    }
    assert!(bench.store.log_start() > LogPosition::ZERO, "retention has cut");
    assert!(bench.store.recycled_segment_count() > 0, "segments were used again");
    assert!(bench.disk.files_of_log() <= 6);
    for restart in 0..2 {
        assert_eq!(bench.store.consume_offset("g", quiet), Some(QueueOffset::new(2)), "restart {restart}");
        assert_eq!(bench.store.queue(quiet).expect("kept").next_offset, QueueOffset::new(3));
        assert_eq!(bench.read_all(quiet), Vec::<Vec<u8>>::new());
        assert_eq!(bench.store.min_offset(quiet), SearchOutcome::Found(QueueOffset::new(3)));
        let bodies = bench.read_all(busy);
        assert_eq!(
            (bodies.len() > 100, bodies.last().map(|body| body[0])),
            (true, Some(11)),
            "{} restart {restart}",
            bodies.len()
        );
        bench = bench.reopen(|disk, _| disk.power_cut());
    }
    let appended = bench.send(quiet, b"late").expect("room");
    assert_eq!(appended.first_offset, QueueOffset::new(3), "offsets are never given twice");
}

#[test]
fn message_is_found_by_its_position_also_inside_a_batch() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    let single = bench.send(queue, b"single").expect("room");
    let items = [b"one", b"two"].map(|body| BatchItem { tag_hash: 0, properties: b"", body: body.as_slice() });
    let shared = BatchShared { flag: 3, sys_flag: 0, born_time_ms: 9, born_host: Host::new([127, 0, 0, 1].into(), 1) };
    let batch = bench.store.append_batch(bench.now, queue, &shared, &items).expect("room");
    bench.settle();
    for cold in [false, true] {
        if cold {
            bench = bench.reopen(|disk, _| disk.kill());
        }
        let mut view = |position: LogPosition| loop {
            match bench.store.message_at(position) {
                ViewOutcome::NotYet => bench.settle(),
                other => break other,
            }
        };
        let body = |found: ViewOutcome| match found {
            ViewOutcome::Found(bytes) => StoredMessage::decode(&bytes).expect("sound").parts.body.to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(body(view(single.position)), b"single");
        let second = batch.position.plus(16 + 96 + 13);
        assert_eq!(body(view(batch.position.plus(16 + 96))), b"one");
        assert_eq!(body(view(second)), b"two");
        assert_eq!(view(single.position.plus(1)), ViewOutcome::NotFound);
        assert_eq!(view(LogPosition::new(u64::MAX / 2)), ViewOutcome::NotFound);
    }
}

#[test]
fn asynchronous_flush_shows_what_is_written_and_flushes_later() {
    let mut bench = Bench::new(StoreOptions { flush: FlushMode::Async, ..options(512) });
    let queue = bench.topic("t", 1)[0];
    let _appended = bench.send(queue, b"x").expect("room");
    bench.settle();
    assert_eq!(bench.read_all(queue).len(), 1);
    assert_eq!(bench.store.positions().durable(), bench.store.positions().written());
    let mut bench = bench.reopen(|disk, _| disk.power_cut());
    assert_eq!(bench.read_all(queue), [b"x".to_vec()]);
}

#[test]
fn clean_stop_leaves_the_superblock_clean() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    let _appended = bench.send(queue, b"x").expect("room");
    bench.store.close(bench.now, &mut bench.ops);
    bench.settle();
    assert!(bench.store.is_closed());
    assert_eq!(bench.send(queue, b"y").expect_err("closing").code, 14);
    let mut disk = bench.disk;
    disk.settle();
    let entropy = Entropy { log_id: 0, disk_id: 0 };
    let (_, report) = Store::open(&mut disk, bench.store.options().clone(), entropy, bench.now).expect("reopens");
    assert!(report.clean);
}

#[test]
fn search_by_time_finds_the_first_message_at_or_after() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    let mut times = Vec::new();
    for n in 0..5u8 {
        times.push(bench.now.wall_ms);
        let _appended = bench.send(queue, &[n]).expect("room");
        bench.settle();
    }
    assert_eq!(bench.store.search_offset(queue, times[3], false), SearchOutcome::Found(QueueOffset::new(3)));
    assert_eq!(bench.store.search_offset(queue, times[2] + 1, false), SearchOutcome::Found(QueueOffset::new(3)));
    assert_eq!(bench.store.search_offset(queue, u64::MAX, false), SearchOutcome::Found(QueueOffset::new(5)));
    assert_eq!(bench.store.search_offset(queue, times[2] + 1, true), SearchOutcome::Found(QueueOffset::new(2)));
    assert_eq!(bench.store.search_offset(queue, 0, false), SearchOutcome::Found(QueueOffset::ZERO));
}

/// Copies what the slave lacks; gives how many commits went over.
fn replicate(master: &mut Bench, slave: &mut Bench) {
    loop {
        let from = slave.store.positions().visible();
        let bytes = match master.store.read_range(from, 1 << 16) {
            ViewOutcome::Found(bytes) => bytes,
            ViewOutcome::NotYet => {
                master.settle();
                continue;
            }
            ViewOutcome::NotFound => return,
            ViewOutcome::Damaged(why) => panic!("{why}"),
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[56..60].try_into().expect("a header")) as usize;
            let mut bad = rest[..length].to_vec();
            bad[length - 1] ^= 1;
            assert!(slave.store.append_raw(&bad).is_err(), "a flipped bit is refused");
            slave.store.append_raw(&rest[..length]).expect("the next commit");
            assert!(slave.store.append_raw(&rest[..length]).is_err(), "twice is refused");
            rest = &rest[length..];
        }
        slave.settle();
    }
}

#[test]
fn a_slave_that_copies_commits_is_byte_identical_and_knows_the_same() {
    let mut master = Bench::new(options(512));
    let mut slave = Bench::with_disk_id(StoreOptions { role: Role::Slave, ..options(512) }, 2);
    let queue = master.topic("t", 2)[1];
    for round in 0..300u32 {
        while master.send(queue, &vec![round as u8; 8000]).is_err() {
            master.settle();
        }
        if round % 40 == 0 {
            master.settle();
            replicate(&mut master, &mut slave);
        }
    }
    master.settle();
    replicate(&mut master, &mut slave);
    assert_eq!(slave.store.positions().visible(), master.store.positions().visible());
    assert_eq!(slave.store.state().digest(), master.store.state().digest());
    assert_eq!(slave.read_all(queue), master.read_all(queue));
    assert_eq!(slave.send(queue, b"x").expect_err("a slave does not append").code, 14);
    for start in [0u64, 1 << 20, 2 << 20] {
        let file = FileName::Segment(LogPosition::new(start));
        assert!(slave.disk.content(file) == master.disk.content(file), "segment {start}");
    }
    let mut slave = slave.reopen(|disk, _| disk.power_cut());
    assert_eq!(slave.read_all(queue).len(), 300);
}

#[test]
fn a_log_is_cut_above_its_floor_only_and_what_was_cut_is_kept() {
    let mut bench = Bench::new(StoreOptions { flush: FlushMode::Async, ..options(512) });
    let queue = bench.topic("t", 1)[0];
    let _appended = bench.send(queue, b"stays").expect("room");
    bench.settle();
    let floor = bench.store.positions().durable();
    let _appended = bench.send(queue, b"goes").expect("room");
    bench.store.turn(bench.now, &mut bench.ops);
    let cut = bench.store.positions().written();
    bench.submit();
    while let Some(completion) = bench.disk.complete() {
        bench.store.on_disk(bench.now, completion, &mut bench.ops).expect("no fault is armed");
    }
    let Bench { mut disk, store, now, .. } = bench;
    disk.settle();
    assert!(truncate_to(&mut disk, LogPosition::new(512), Epoch::new(9)).is_err(), "below the floor");
    assert!(truncate_to(&mut disk, cut.plus(512 * 64), Epoch::new(9)).is_err(), "no commit starts there");
    for _ in 0..2 {
        truncate_to(&mut disk, cut, Epoch::new(9)).expect("a commit's start above the floor");
    }
    assert!(cut >= floor);
    assert_eq!(disk.files(ringmq_broker::disk::Directory::Quarantine).len(), 1);
    let entropy = Entropy { log_id: 0, disk_id: 0 };
    let (store, report) = Store::open(&mut disk, store.options().clone(), entropy, now).expect("reopens");
    assert_eq!((report.end, report.epoch), (cut, Epoch::new(10)));
    let mut bench = Bench { disk, store, now, ops: Vec::new() };
    assert_eq!(bench.read_all(queue), [b"stays".to_vec()]);
}

#[test]
fn check_counts_what_is_there_and_sees_a_flipped_bit() {
    let mut bench = Bench::new(options(512));
    let queue = bench.topic("t", 1)[0];
    for _ in 0..10 {
        let _appended = bench.send(queue, b"x").expect("room");
        bench.settle();
    }
    let mut disk = bench.disk;
    disk.settle();
    let report = check(&mut disk).expect("a shard");
    assert_eq!(report.message_count, 10);
    assert!(report.is_sound());
    disk.flip(FileName::Segment(LogPosition::ZERO), 2048 + 100, 3);
    let report = check(&mut disk).expect("a shard");
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert!(!report.is_sound());
}
