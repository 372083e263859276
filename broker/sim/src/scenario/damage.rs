//! Bits that flip at rest, and commits that belong elsewhere.

use super::{Got, LOG_ID, Rig, body, filled, whole};
use crate::log;
use ringmq_broker::disk::{Directory, FileName};
use ringmq_broker::store::{ReadOutcome, Retention, ViewOutcome};
use ringmq_proto::ids::LogPosition;

const SEGMENT: u64 = 1 << 20;

/// L2: one bad CRC in the middle made RocketMQ truncate the rest.
pub(super) fn bitflip_in_middle_loses_at_most_that_commit(alignment: usize) {
    let count = 12;
    let (mut rig, queue) = filled(3, alignment, SEGMENT, count);
    rig.kill();
    let commits: Vec<_> =
        log::commits(&rig.disk, LOG_ID).into_iter().filter(|commit| !commit.messages.is_empty()).collect();
    assert_eq!(commits.len() as u64, count, "one commit each");
    for (nth, commit) in commits.iter().enumerate() {
        let offset = commit.messages[0].1;
        for byte in [0, 40, 64, 70, 85, 100, 200, commit.length - 1] {
            let mut copy = rig.copy(nth as u64);
            copy.disk.flip(FileName::Segment(commit.segment), commit.position.since(commit.segment) + byte, 2);
            let report = copy.open();
            assert_eq!(report.cut.commits_dropped, 0, "nothing is cut: {report:?}");
            let read = copy.read_all(queue);
            for n in 0..count {
                let got = read.iter().find(|(at, _)| *at == n).map(|(_, got)| got);
                let sound = got == Some(&Got::Message(body(n)));
                assert!(
                    sound || (n == offset && got == Some(&Got::Refused)),
                    "byte {byte} of commit {nth}: {n} is {got:?}"
                );
            }
            let refused = read.iter().any(|(_, got)| *got == Got::Refused);
            assert!(refused, "byte {byte} of commit {nth}: the flip is seen");
            // And the log goes on: new messages get offsets that were never given.
            let appended = copy.send(queue, b"after the damage");
            assert!(appended.first_offset.get() >= count);
        }
    }
}

/// L4: RocketMQ's CRC covers the body only. Here each single bit of a record is covered.
pub(super) fn every_bit_of_record_is_covered(alignment: usize) {
    let (mut rig, queue) = filled(4, alignment, SEGMENT, 1);
    let appended = rig.send(queue, b"covered");
    rig.idle();
    rig.kill();
    rig.open();
    let size_bytes = appended.end.since(appended.position);
    for bit in 0..size_bytes * 8 {
        // The store is open and has read nothing of it yet: it finds the flip when the message is asked for.
        let mut copy = rig.copy(bit);
        copy.open();
        copy.disk.flip(
            FileName::Segment(LogPosition::ZERO),
            appended.position.get() + bit / 8,
            u8::try_from(bit % 8).unwrap_or(0),
        );
        let read = copy.read_all(queue);
        assert_eq!(read, [(0, Got::Message(body(0))), (1, Got::Refused)], "bit {bit}");
        assert!(!matches!(copy.view(appended.position), ViewOutcome::Found(_)), "bit {bit}");
    }
}

/// L7: no value of a checksum means "there is none". A record whose checksum field is set to zero is a damaged record.
pub(super) fn no_checksum_value_means_none(alignment: usize) {
    let (mut rig, queue) = filled(5, alignment, SEGMENT, 1);
    let appended = rig.send(queue, b"checked");
    rig.idle();
    rig.kill();
    for value in [0u32, u32::MAX] {
        let mut copy = rig.copy(1);
        copy.open();
        let file = FileName::Segment(LogPosition::ZERO);
        let mut content = copy.disk.content(file).expect("the first segment");
        let at = usize::try_from(appended.position.get()).expect("small") + 12;
        content[at..at + 4].copy_from_slice(&value.to_le_bytes());
        copy.disk.overwrite(file, 0, &content);
        assert_eq!(copy.read_all(queue)[1], (1, Got::Refused), "{value:#x}");
    }
}

/// Records that count all or none: one damaged record takes its group with it, and nothing else.
pub(super) fn half_a_group_is_never_served(alignment: usize) {
    let mut rig = Rig::new(6, alignment, SEGMENT);
    let queue = rig.topic("orders", 1)[0];
    let alone = rig.append(queue, b"alone").expect("appended");
    let group = rig.append_group(&[(queue, b"first"), (queue, b"second"), (queue, b"third")]);
    let after = rig.append(queue, b"after").expect("appended");
    rig.settle();
    rig.idle();
    rig.kill();
    for hit in &group {
        let mut copy = rig.copy(1);
        copy.open();
        copy.disk.flip(FileName::Segment(LogPosition::ZERO), hit.position.get() + 60, 1);
        let read = copy.read_all(queue);
        assert_eq!(read[0], (0, Got::Message(b"alone".to_vec())), "{alone:?}");
        assert!(read[1..4].iter().all(|(_, got)| *got == Got::Refused), "{read:?}");
        assert_eq!(read[4], (4, Got::Message(b"after".to_vec())), "{after:?}");
    }
}

/// A commit that is right in itself, of this log, this position and this epoch, but of another history: only the
/// checksum of the commit before tells.
pub(super) fn commit_of_another_history_is_refused(alignment: usize) {
    let (mut ours, queue) = filled(7, alignment, SEGMENT, 6);
    let mut theirs = Rig::new(8, alignment, SEGMENT);
    let other = theirs.topic("orders", 1)[0];
    assert_eq!(queue, other, "two histories of one log id");
    for n in 100..106 {
        let _promised = theirs.send(other, &body(n));
    }
    ours.kill();
    let commits = log::commits(&ours.disk, LOG_ID);
    let target = commits.iter().filter(|commit| !commit.messages.is_empty()).nth(3).expect("six messages");
    let file = FileName::Segment(target.segment);
    let (from, length) = (target.position.since(target.segment), usize::try_from(target.length).expect("small"));
    let foreign = theirs.disk.content(file).expect("the first segment");
    let at = usize::try_from(from).expect("small");
    ours.disk.overwrite(file, from, &foreign[at..at + length]);
    // Derived files would hide it from the walk: it has to look at the log itself.
    for (name, _) in ours.disk.files(Directory::Snapshot) {
        ours.disk.lose(name);
    }
    ours.open();
    let read = ours.read_all(queue);
    for (offset, got) in &read {
        assert!(*got == Got::Refused || *got == Got::Message(body(*offset)), "a message of another history: {read:?}");
    }
    assert_eq!(read[..3], whole(3)[..]);
}

/// Retention took the segment that held most of a queue; the few messages that were left of it are damaged, and so nothing
/// in the log names its offsets any more. None of them is given again.
pub(super) fn damage_in_a_trimmed_log_gives_no_offset_twice(alignment: usize) {
    const SMALL_SEGMENT: u64 = 64 << 10;
    let mut rig = Rig::new(9, alignment, SMALL_SEGMENT);
    rig.kill();
    rig.options.retention = Retention { bytes: Some(SMALL_SEGMENT), age_ms: None };
    rig.open();
    let queues = rig.topic("orders", 2);
    let (unlucky, other) = (queues[0], queues[1]);
    let mut sent = 0;
    while rig.store().positions().written() < LogPosition::new(SMALL_SEGMENT) {
        let _appended = rig.append_batch(unlucky, 200);
        sent += 200;
        rig.settle();
    }
    let last = rig.send(unlucky, b"the last of it");
    while rig.store().log_start() < LogPosition::new(SMALL_SEGMENT) {
        let _promised = rig.send(other, b"time goes on");
        rig.pass_ms(1100);
        rig.settle();
    }
    rig.kill();
    for directory in [Directory::Snapshot, Directory::Index] {
        rig.disk.files(directory).into_iter().for_each(|(file, _)| rig.disk.lose(file));
    }
    let mut damaged_bytes = 0;
    for commit in log::commits(&rig.disk, LOG_ID) {
        if commit.messages.iter().any(|(queue, ..)| *queue == unlucky) {
            rig.disk.flip(FileName::Segment(commit.segment), commit.position.since(commit.segment) + 100, 4);
            damaged_bytes += commit.length;
        }
    }
    let report = rig.open();
    assert!(!report.damaged.is_empty(), "{report:?}");
    assert!(
        sent > damaged_bytes / 10 + 1,
        "there were more than the damage has room for: {sent}, {damaged_bytes} bytes"
    );
    let refused = rig.try_read(unlucky, last.first_offset.get());
    assert!(matches!(refused, ReadOutcome::Damaged { .. }), "{refused:?}");
    let next = rig.send(unlucky, b"after the damage").first_offset;
    assert!(next > last.first_offset, "offset {next} was given before, the last one was {}", last.first_offset);
}

/// A write that lands on another commit's place (or file) leaves two wrong places: both are refused and reported, neither
/// is served as anything else, and no other message is lost.
pub(super) fn misdirected_write_is_refused_and_reported(alignment: usize) {
    let count = 8;
    let (mut rig, queue) = filled(14, alignment, SEGMENT, count);
    rig.kill();
    let commits: Vec<_> =
        log::commits(&rig.disk, LOG_ID).into_iter().filter(|commit| !commit.messages.is_empty()).collect();
    for (meant, hit) in [(0, 1), (1, 0), (2, 6), (6, 2), (3, 4)] {
        let (from, to) = (&commits[meant], &commits[hit]);
        let mut copy = rig.copy(meant as u64);
        let file = FileName::Segment(from.segment);
        let content = copy.disk.content(file).expect("the first segment");
        let at = usize::try_from(from.position.since(from.segment)).expect("small");
        let length = usize::try_from(from.length).expect("small");
        assert_eq!(from.length, to.length, "one message of one size each");
        copy.disk.overwrite(file, from.position.since(from.segment), &vec![0; length]);
        copy.disk.overwrite(FileName::Segment(to.segment), to.position.since(to.segment), &content[at..at + length]);
        let report = copy.open();
        let reported =
            |position: LogPosition| report.damaged.iter().any(|range| range.from <= position && position < range.to);
        assert!(reported(from.position) && reported(to.position), "{report:?}");
        for (offset, got) in copy.read_all(queue).into_iter().take(usize::try_from(count).expect("small")) {
            let is_wrong = [from, to].iter().any(|commit| commit.messages[0].1 == offset);
            let expected = if is_wrong { Got::Refused } else { Got::Message(body(offset)) };
            assert_eq!(got, expected, "offset {offset} after commit {meant} was written over {hit}");
        }
    }
}

/// A write that goes astray while the shard runs: what memory still has is served; after a start the place is damaged.
pub(super) fn write_that_goes_astray_is_seen_by_the_next_start(alignment: usize) {
    let (mut rig, queue) = filled(15, alignment, SEGMENT, 4);
    rig.disk.faults.misdirect_after = Some(0);
    for n in 4..8 {
        let _acknowledged = rig.send(queue, &body(n));
    }
    rig.idle();
    assert_eq!(rig.read_all(queue), whole(8));
    rig.cut_power();
    let report = rig.open();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    let mut expected = whole(8);
    expected[4].1 = Got::Refused;
    assert_eq!(rig.read_all(queue)[..8], expected[..]);
}

/// A damaged run of the queue index is made again while the shard serves: a reader is refused and asks again, and nothing is
/// missing. A restart before that is done builds it anew.
pub(super) fn damaged_index_is_refused_and_made_again(alignment: usize) {
    const INDEX_BLOCK: u64 = 64 << 10;
    for restarts in [false, true] {
        let mut rig = Rig::new(16, alignment, SEGMENT);
        rig.kill();
        rig.options.index.uncovered_bytes_max = 8 << 10;
        rig.open();
        let queue = rig.topic("orders", 1)[0];
        let count = 40;
        for n in 0..count {
            let _promised = rig.send(queue, &body(n));
        }
        rig.idle();
        rig.stop();
        let runs: Vec<_> =
            rig.disk.files(Directory::Index).into_iter().filter(|(file, _)| matches!(file, FileName::Run(_))).collect();
        assert!(!runs.is_empty(), "the index has runs");
        for (run, _) in &runs {
            // Block 0 is looked at by the start; block 1 holds entries.
            rig.disk.flip(*run, INDEX_BLOCK + 100, 3);
        }
        rig.open();
        let refused = loop {
            match rig.try_read(queue, 0) {
                ReadOutcome::NotYet => rig.settle(),
                other => break other,
            }
        };
        let ReadOutcome::Failed { remark } = refused else { panic!("{refused:?}") };
        assert!(remark.contains("is being made again from the log: try again"), "{remark}");
        if restarts {
            rig.stop();
            rig.open();
        }
        for _ in 0..200 {
            rig.pass_ms(5);
            rig.settle();
            // Each run is found to be damaged when it is asked.
            let _asked = rig.try_read(queue, 0);
        }
        assert_eq!(rig.read_all(queue), whole(count), "restarted: {restarts}");
        rig.stop();
        rig.open();
        assert_eq!(rig.read_all(queue), whole(count), "what was made again is there after a start");
    }
}

/// A start that finds damage, and makes the index without it, is followed by one that does not look there again: the first
/// messages of the queue are damaged for both, and never "before the queue begins".
pub(super) fn damage_at_the_beginning_of_a_queue_stays_damage(alignment: usize) {
    let mut rig = Rig::new(17, alignment, SEGMENT);
    rig.kill();
    rig.options.index.uncovered_bytes_max = 8 << 10;
    rig.options.checkpoint_interval_bytes = 8 << 10;
    rig.options.retention.bytes = Some(2 * SEGMENT);
    rig.open();
    let (noise, queue) = (rig.topic("noise", 1)[0], rig.topic("orders", 1)[0]);
    let filler = vec![7; 2000];
    while rig.store().log_start().get() < SEGMENT {
        let _promised = rig.send(noise, &filler);
        rig.pass_ms(1100);
        rig.settle();
    }
    let first = rig.send(queue, &body(0));
    let _second = rig.send(noise, &filler);
    let _third = rig.send(queue, &body(1));
    rig.idle();
    rig.stop();
    let segment = first.position.get() / SEGMENT * SEGMENT;
    rig.disk.flip(FileName::Segment(LogPosition::new(segment)), first.position.get() - segment + 20, 1);
    for (file, _) in rig.disk.files(Directory::Index).into_iter().chain(rig.disk.files(Directory::Snapshot)) {
        rig.disk.lose(file);
    }
    rig.open();
    let expected = [(0, Got::Refused), (1, Got::Message(body(1)))];
    assert_eq!(rig.read_all(queue), expected, "the start that finds it");
    for round in 0..3 {
        for _ in 0..8 {
            let _promised = rig.send(noise, &filler);
        }
        rig.idle();
        if round == 1 {
            rig.cut_power()
        } else {
            rig.stop()
        }
        let report = rig.open();
        assert!(round == 0 || report.damaged.is_empty(), "the start looks there again: {report:?}");
        assert!(rig.store().log_start() <= first.position, "the message is trimmed");
        assert_eq!(rig.read_all(queue), expected, "start {round} after it");
    }
}
