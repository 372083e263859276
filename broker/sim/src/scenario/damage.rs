//! Bits that flip at rest, and commits that belong elsewhere.

use super::{Got, LOG_ID, Rig, body, filled, whole};
use crate::log;
use ringmq_broker::disk::{Directory, FileName};
use ringmq_broker::store::ViewOutcome;
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
