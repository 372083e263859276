//! Each anomaly has a planted bad history that must be reported, and the same history without the fault that must pass.

use ringmq_checker::AnomalyKind as Kind;
use ringmq_checker::{Content, Judge, MessageId, Outcome, Polled, QueueIndex, RollingHash, Rules};

const Q: QueueIndex = QueueIndex(0);
const COUNT: u64 = 20;

fn id(sequence: u64) -> MessageId {
    MessageId::new(0, sequence)
}

fn at(offset: u64, sequence: u64) -> Polled {
    Polled { offset, content: Content::Message(id(sequence)) }
}

fn sent_ok(judge: &mut Judge, sequence: u64, offset: u64) {
    judge.send(id(sequence));
    judge.outcome(id(sequence), Outcome::Ok { queue: Q, offset });
}

/// Twenty messages, acknowledged and polled at offset = sequence.
fn base() -> Judge {
    let mut judge = Judge::new(Rules::default());
    (0..COUNT).for_each(|sequence| sent_ok(&mut judge, sequence, sequence));
    judge.poll(Q, 0, 10, &polled(0..10));
    judge.visible(Q, COUNT);
    judge
}

fn polled(offsets: std::ops::Range<u64>) -> Vec<Polled> {
    offsets.map(|offset| at(offset, offset)).collect()
}

fn drain(judge: &mut Judge, messages: &[Polled]) {
    judge.begin_final_drain();
    let end = messages.last().map_or(0, |last| last.offset + 1);
    judge.poll(Q, 0, end, messages);
    judge.poll(Q, end, end, &[]);
    judge.drained(Q, 0, end);
}

fn sound(mut judge: Judge) {
    assert!(judge.finish().is_empty(), "{}", judge.anomalies());
}

fn found(mut judge: Judge, kind: Kind) {
    let anomalies = judge.finish();
    assert!(anomalies.count(kind) > 0, "{kind:?} was planted and not reported; reported: {anomalies}");
}

fn found_after_drain(mut judge: Judge, kind: Kind) {
    drain(&mut judge, &polled(0..COUNT));
    found(judge, kind);
}

#[test]
fn a_sound_history_passes() {
    let mut judge = base();
    drain(&mut judge, &polled(0..COUNT));
    sound(judge);
}

#[test]
fn lost_in_the_middle() {
    let mut judge = base();
    judge.begin_final_drain();
    judge.poll(Q, 0, COUNT, &polled(0..COUNT).into_iter().filter(|one| one.offset != 15).collect::<Vec<_>>());
    judge.drained(Q, 0, COUNT);
    found(judge, Kind::Lost);
}

#[test]
fn lost_although_a_reader_had_it_before_the_crash() {
    let mut judge = base();
    judge.begin_final_drain();
    judge.poll(Q, 0, COUNT, &polled(0..COUNT).into_iter().filter(|one| one.offset != 3).collect::<Vec<_>>());
    judge.drained(Q, 0, COUNT);
    found(judge, Kind::Lost);
}

#[test]
fn lost_at_the_front_when_nothing_was_allowed_to_trim() {
    let front = |allowed: bool| {
        let mut judge = base();
        if allowed {
            judge.trimmed(Q, 5);
        }
        judge.begin_final_drain();
        judge.poll(Q, 5, COUNT, &polled(5..COUNT));
        judge.drained(Q, 5, COUNT);
        judge
    };
    found(front(false), Kind::Lost);
    sound(front(true));
}

#[test]
fn unseen_tail() {
    let mut judge = base();
    drain(&mut judge, &polled(0..COUNT - 2));
    found(judge, Kind::UnseenTail);
}

#[test]
fn never_delivered() {
    let later = |delivered: bool| {
        let mut judge = base();
        judge.send(id(COUNT));
        judge.outcome(id(COUNT), Outcome::OkLater { queue: Q });
        drain(&mut judge, &polled(0..COUNT + u64::from(delivered)));
        judge
    };
    found(later(false), Kind::NeverDelivered);
    sound(later(true));
}

#[test]
fn phantom_of_a_message_and_of_foreign_bytes() {
    let mut judge = base();
    judge.poll(Q, 10, 11, &[at(10, COUNT + 7)]);
    found_after_drain(judge, Kind::Phantom);
    let mut judge = base();
    judge.poll(Q, 10, 11, &[Polled { offset: 10, content: Content::Foreign }]);
    found_after_drain(judge, Kind::Phantom);
}

#[test]
fn aborted_read() {
    let refused = |outcome| {
        let mut judge = base();
        judge.send(id(COUNT));
        judge.outcome(id(COUNT), outcome);
        drain(&mut judge, &polled(0..COUNT + 1));
        judge
    };
    found(refused(Outcome::Failed), Kind::AbortedRead);
    sound(refused(Outcome::Unknown));
}

#[test]
fn offset_conflict_between_two_acks_and_between_ack_and_poll() {
    let mut judge = base();
    sent_ok(&mut judge, COUNT, 4);
    found_after_drain(judge, Kind::OffsetConflict);
    let mut judge = base();
    judge.poll(Q, 10, 12, &[at(10, 11), at(11, 10)]);
    found_after_drain(judge, Kind::OffsetConflict);
}

#[test]
fn duplicate_unless_it_was_retried() {
    let twice = |retried: bool| {
        let mut judge = base();
        judge.send(id(COUNT));
        if retried {
            judge.outcome(id(COUNT), Outcome::Unknown);
            judge.send(id(COUNT));
        }
        judge.outcome(id(COUNT), Outcome::Ok { queue: Q, offset: COUNT });
        judge.send(id(COUNT + 1));
        judge.outcome(id(COUNT + 1), Outcome::Failed);
        let mut all = polled(0..COUNT + 1);
        all.push(at(COUNT + 1, COUNT));
        drain(&mut judge, &all);
        judge
    };
    found(twice(false), Kind::Duplicate);
    sound(twice(true));
}

#[test]
fn a_copy_in_a_redelivery_queue_is_no_duplicate() {
    let copied = |redelivery: bool| {
        let mut judge = base();
        let retry = QueueIndex(1);
        if redelivery {
            judge.redelivery_queue(retry);
        }
        drain(&mut judge, &polled(0..COUNT));
        judge.poll(retry, 0, 1, &[at(0, 3)]);
        judge.drained(retry, 0, 1);
        judge
    };
    found(copied(false), Kind::Duplicate);
    sound(copied(true));
}

#[test]
fn impossible_offset() {
    let mut judge = base();
    sent_ok(&mut judge, COUNT, u64::MAX - 1);
    found_after_drain(judge, Kind::OffsetImpossible);
}

#[test]
fn offset_hole() {
    let mut judge = base();
    for sequence in COUNT..COUNT + 3 {
        judge.send(id(sequence));
        judge.outcome(id(sequence), Outcome::Unknown);
    }
    judge.begin_final_drain();
    let mut all = polled(0..COUNT);
    all.push(at(COUNT + 1, COUNT + 1));
    judge.poll(Q, 0, COUNT + 2, &all);
    judge.drained(Q, 0, COUNT + 2);
    found(judge, Kind::OffsetHole);
}

#[test]
fn an_end_that_was_claimed_and_not_read_is_a_hole() {
    let mut judge = base();
    judge.begin_final_drain();
    judge.poll(Q, 0, COUNT, &polled(0..COUNT));
    judge.drained(Q, 0, u64::MAX);
    found(judge, Kind::OffsetHole);
}

#[test]
fn poll_skip_within_at_the_start_and_by_the_next_offset() {
    let mut judge = base();
    judge.poll(Q, 10, 13, &[at(10, 10), at(12, 12)]);
    found_after_drain(judge, Kind::PollSkip);
    let mut judge = base();
    judge.poll(Q, 10, 12, &[at(11, 11)]);
    found_after_drain(judge, Kind::PollSkip);
    let mut judge = base();
    judge.poll(Q, 10, 15, &[at(10, 10)]);
    found_after_drain(judge, Kind::PollSkip);
    let mut judge = base();
    judge.moved(Q, 3, 9);
    found_after_drain(judge, Kind::PollSkip);
}

#[test]
fn a_move_over_trimmed_offsets_is_sound() {
    let mut judge = base();
    judge.trimmed(Q, 9);
    judge.moved(Q, 3, 9);
    judge.begin_final_drain();
    judge.poll(Q, 9, COUNT, &polled(9..COUNT));
    judge.drained(Q, 9, COUNT);
    sound(judge);
}

#[test]
fn non_monotonic_poll() {
    let mut judge = base();
    judge.poll(Q, 10, 11, &[at(10, 10), at(9, 9)]);
    found_after_drain(judge, Kind::NonMonotonicPoll);
    let mut judge = base();
    judge.poll(Q, 10, 10, &[at(10, 10)]);
    found_after_drain(judge, Kind::NonMonotonicPoll);
    let mut judge = base();
    judge.moved(Q, 15, 5);
    found_after_drain(judge, Kind::NonMonotonicPoll);
}

#[test]
fn non_monotonic_send_unless_retried() {
    let swapped = |retried: bool| {
        let mut judge = base();
        judge.send(id(COUNT));
        if retried {
            judge.outcome(id(COUNT), Outcome::Failed);
            judge.send(id(COUNT));
        }
        judge.send(id(COUNT + 1));
        judge.outcome(id(COUNT + 1), Outcome::Ok { queue: Q, offset: COUNT });
        judge.outcome(id(COUNT), Outcome::Ok { queue: Q, offset: COUNT + 1 });
        let mut all = polled(0..COUNT);
        all.extend([at(COUNT, COUNT + 1), at(COUNT + 1, COUNT)]);
        drain(&mut judge, &all);
        judge
    };
    found(swapped(false), Kind::NonMonotonicSend);
    sound(swapped(true));
}

#[test]
fn visible_end_regress() {
    let mut judge = base();
    judge.visible(Q, COUNT - 1);
    found_after_drain(judge, Kind::VisibleRegress);
}

#[test]
fn commit_regress_and_invented_commits() {
    let read = |offset| {
        let mut judge = base();
        judge.commit(1, Q, 5, true);
        judge.commit(1, Q, 8, true);
        judge.commit(1, Q, 9, false);
        judge.committed(1, Q, offset);
        drain(&mut judge, &polled(0..COUNT));
        judge
    };
    found(read(Some(5)), Kind::CommitRegress);
    found(read(None), Kind::CommitRegress);
    found(read(Some(10)), Kind::CommitInvented);
    sound(read(Some(8)));
    sound(read(Some(9)));
}

#[test]
fn a_commit_that_was_seen_does_not_fall_back() {
    let mut judge = base();
    judge.commit(1, Q, 5, true);
    judge.commit(1, Q, 9, false);
    judge.committed(1, Q, Some(9));
    judge.committed(1, Q, Some(5));
    found_after_drain(judge, Kind::CommitRegress);
}

#[test]
fn queue_is_not_log() {
    let logged = |end: u64| {
        let mut judge = base();
        drain(&mut judge, &polled(0..COUNT));
        (0..end).for_each(|offset| judge.logged(Q, offset, id(offset)));
        judge
    };
    found(logged(COUNT - 1), Kind::QueueNotLog);
    sound(logged(COUNT));
}

#[test]
fn rolling_hash_mismatch() {
    let told = |up_to: u64, swap: bool| {
        let mut judge = base();
        let mut chain = RollingHash::default();
        for offset in 0..up_to {
            chain.push(offset, id(if swap && offset == 2 { 3 } else { offset }));
        }
        judge.digest(Q, up_to, chain.value());
        judge.digest(Q, 0, RollingHash::default().value());
        drain(&mut judge, &polled(0..COUNT));
        judge
    };
    found(told(12, true), Kind::RollingHashMismatch);
    found(told(COUNT + 1, false), Kind::RollingHashMismatch);
    sound(told(12, false));
    sound(told(COUNT, false));
}

#[test]
fn ack_without_proof_and_memory_over_limit() {
    let mut judge = base();
    judge.acknowledged_at(100, 100);
    judge.memory(64, 64);
    assert!(judge.anomalies().is_empty());
    judge.acknowledged_at(101, 100);
    judge.memory(65, 64);
    assert_eq!(judge.anomalies().count(Kind::AckWithoutProof), 1);
    assert_eq!(judge.anomalies().count(Kind::MemoryOverLimit), 1);
}

#[test]
fn not_drained() {
    let mut judge = base();
    judge.begin_final_drain();
    found(judge, Kind::NotDrained);
}

#[test]
fn outcome_without_send_and_a_second_outcome() {
    let mut judge = base();
    judge.outcome(id(COUNT + 3), Outcome::Unknown);
    found_after_drain(judge, Kind::OutcomeWithoutSend);
    let mut judge = base();
    judge.outcome(id(0), Outcome::Unknown);
    found_after_drain(judge, Kind::OutcomeWithoutSend);
}

#[test]
fn a_power_cut_without_promise_excuses_what_was_not_flushed_and_nothing_else() {
    let cut = |flushed| {
        let mut judge = base();
        judge.power_cut(Q, flushed);
        judge.visible(Q, 15);
        // The offsets from 15 on are given anew.
        (15..18).for_each(|offset| sent_ok(&mut judge, COUNT + offset, offset));
        let mut all = polled(0..15);
        all.extend((15..18).map(|offset| at(offset, COUNT + offset)));
        drain(&mut judge, &all);
        judge
    };
    sound(cut(15));
    sound(cut(12));
    found(cut(17), Kind::OffsetConflict);
    found(cut(19), Kind::UnseenTail);
}

#[test]
fn a_judge_that_was_reset_remembers_nothing() {
    let mut judge = base();
    judge.visible(Q, 1);
    judge.commit(1, Q, 5, true);
    judge.digest(Q, 3, 1);
    assert!(!judge.finish().is_empty());
    judge.reset();
    judge.committed(1, Q, None);
    (0..COUNT).for_each(|sequence| sent_ok(&mut judge, sequence, sequence));
    drain(&mut judge, &polled(0..COUNT));
    sound(judge);
}
