//! Operations that fail, flushes that lie, disks that fill up.

use super::{Got, Rig, body, filled, whole};
use crate::disk::{Class, Fault};
use ringmq_broker::disk::DiskErrorKind;
use ringmq_broker::store::OpenError;

const SEGMENT: u64 = 64 << 10;

/// L1: RocketMQ retried msync after EIO, Linux forgot the error, and PUT_OK went out for lost data.
pub(super) fn fsync_error_is_fatal(alignment: usize) {
    for seed in 0..20 {
        let (mut rig, queue) = filled(seed, alignment, SEGMENT, 5);
        rig.disk.faults.arm(Fault { class: Class::Flush, after: 0, kind: DiskErrorKind::Io, forever: false });
        let unlucky = rig.append(queue, &body(5)).expect("appends are taken");
        let fatal = rig.run();
        assert!(fatal.is_err(), "the first failed flush is fatal");
        assert!(!rig.is_promised(&unlucky), "and its message is never promised");
        // The disk is healthy again: a store that tried once more would now be told that all is well.
        let _ = rig.run();
        assert!(!rig.is_promised(&unlucky), "not even when the next flush would succeed");
        rig.cut_power();
        rig.open();
        let read = rig.read_all(queue);
        assert!(read.starts_with(&whole(5)) && read.len() <= 6, "seed {seed}: {read:?}");
    }
}

/// SQLite's way: the n-th operation fails, for every n, once and for ever; and what was promised is there afterwards.
pub(super) fn every_nth_operation_may_fail(alignment: usize) {
    for forever in [false, true] {
        let mut n = 0;
        loop {
            let mut rig = Rig::new(n, alignment, SEGMENT);
            let queue = rig.topic("orders", 1)[0];
            rig.disk.faults.arm(Fault { class: Class::Any, after: n, kind: DiskErrorKind::Io, forever });
            let mut promised = 0;
            for message in 0..20 {
                let Ok(appended) = rig.append(queue, &vec![b'x'; 6000]) else { break };
                let failed = rig.run().is_err();
                if rig.is_promised(&appended) {
                    promised = message + 1;
                }
                if failed || rig.disk.counters().faults > 2 {
                    break;
                }
            }
            let struck = rig.disk.counters().faults > 0;
            rig.disk.faults.heal();
            rig.cut_power();
            rig.open();
            let read = rig.read_all(queue);
            assert!(read.len() as u64 >= promised, "operation {n}: {promised} promised, {} read", read.len());
            assert!(read.iter().all(|(_, got)| *got == Got::Message(vec![b'x'; 6000])), "operation {n}");
            if !struck {
                assert!(n > 20, "the script has more than 20 operations, not {n}");
                break;
            }
            n += 1;
        }
    }
}

/// L8: consumer offsets live in the log, where a torn write takes the new one or leaves the old one.
pub(super) fn offsets_survive_torn_write(alignment: usize) {
    for seed in 0..200 {
        let (mut rig, queue) = filled(seed, alignment, SEGMENT, 3);
        rig.commit_offset("billing", queue, 1);
        rig.append_offset("billing", queue, 2);
        rig.turn();
        rig.cut_power();
        rig.open();
        let found = rig.store().consume_offset("billing", queue).map(ringmq_proto::ids::QueueOffset::get);
        assert!(matches!(found, Some(1 | 2)), "seed {seed}: {found:?}");
    }
}

/// A disk that says "flushed" and is not: outside of what is promised, but it must be seen, never be served as if it were.
pub(super) fn lying_flush_is_detected(alignment: usize) {
    let mut detected = 0;
    for seed in 0..60 {
        let (mut rig, queue) = filled(seed, alignment, SEGMENT, 4);
        rig.disk.faults.lying = true;
        for n in 4..10 {
            let _lied = rig.send(queue, &body(n));
        }
        rig.disk.faults.lying = false;
        let _sound = rig.send(queue, &body(10));
        rig.idle();
        rig.cut_power();
        match rig.try_open() {
            Ok(report) => {
                let read = rig.read_all(queue);
                let honest = |(offset, got): &(u64, Got)| *got == Got::Refused || *got == Got::Message(body(*offset));
                assert!(read.iter().all(honest), "seed {seed}: {read:?}");
                let missing = read.len() < 11 || read.iter().any(|(_, got)| *got == Got::Refused);
                assert!(!missing || !report.damaged.is_empty() || read.len() < 11, "seed {seed}: {report:?} {read:?}");
                detected += u32::from(!report.damaged.is_empty());
            }
            Err(OpenError::Amnesia { .. }) => detected += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(detected > 20, "{detected} of 60");
}

/// Sends are refused with 14 before the reserve is touched, offsets may still be committed, and sends come back alone.
pub(super) fn full_disk_refuses_and_comes_back(alignment: usize) {
    let (mut rig, queue) = filled(1, alignment, SEGMENT, 1);
    for round in 0..3 {
        rig.disk.capacity_bytes = rig.disk.used_bytes();
        let mut sent = 0;
        let refusal = loop {
            match rig.append(queue, &[b'x'; 5000]) {
                Ok(_) => sent += 1,
                Err(refusal) => break refusal,
            }
            rig.settle();
            rig.pass_ms(1100);
            rig.settle();
            assert!(sent < 100, "round {round}: a full disk takes everything");
        };
        assert_eq!(refusal.code, 14, "round {round}: {refusal}");
        rig.commit_offset("billing", queue, round);
        rig.disk.capacity_bytes = u64::MAX;
        for _ in 0..10 {
            rig.pass_ms(1100);
            rig.settle();
        }
        let _back = rig.send(queue, b"back");
    }
}

/// A directory that cannot be flushed any more is asked again once a second, not in a loop.
pub(super) fn dead_disk_is_asked_again_after_a_while(alignment: usize) {
    let mut renamed = 0;
    for after in 0..12 {
        let mut rig = Rig::new(after, alignment, SEGMENT);
        let queue = rig.topic("orders", 1)[0];
        rig.disk.faults.arm(Fault { class: Class::Name, after, kind: DiskErrorKind::Io, forever: true });
        for _ in 0..30 {
            if rig.append(queue, &vec![b'x'; 6000]).is_err() {
                break;
            }
            rig.settle();
        }
        let faults = rig.disk.counters().faults;
        assert!(faults <= 6, "{faults} attempts in no time, from name operation {after} on");
        for _ in 0..10 {
            rig.pass_ms(1000);
            rig.settle();
        }
        let later = rig.disk.counters().faults;
        assert!((faults + 5..=faults + 40).contains(&later), "{faults} attempts, and {later} ten seconds later");
        rig.disk.faults.heal();
        rig.pass_ms(1100);
        rig.settle();
        rig.pass_ms(1100);
        rig.settle();
        let _promised = rig.send(queue, b"after it came back");
        renamed += u32::from(rig.store().positions().written().get() > SEGMENT);
    }
    assert!(renamed > 0, "the next segment's own name was among them");
}
