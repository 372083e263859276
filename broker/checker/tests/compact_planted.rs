//! Large runs in small: a sound one passes, and each planted fault is reported as what it is.

use ringmq_checker::compact::{Account, PLACEMENT_STRIDE, Reading, Verdict, of_readings, reconcile};
use ringmq_checker::{AnomalyKind, MessageId, RunSeed};

const SEED: RunSeed = RunSeed(99);
const COUNT: u64 = 1000;

fn body(sequence: u64) -> Vec<u8> {
    let mut body = vec![0; 10 + (sequence % 9) as usize];
    SEED.stamp(MessageId::new(1, sequence), &mut body);
    body
}

/// One producer, all acknowledged in queue 0 at offset = sequence.
fn account() -> Account {
    let mut account = Account::new(1);
    for _ in 0..COUNT / 10 {
        let first = account.take(10);
        account.acknowledge(first, 10, 0, first);
    }
    account
}

fn reading_of(bodies: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Reading {
    let mut reading = Reading::new(SEED, 2);
    for (offset, body) in bodies {
        reading.message(0, offset, &body);
    }
    reading
}

fn all() -> Vec<(u64, Vec<u8>)> {
    (0..COUNT).map(|sequence| (sequence, body(sequence))).collect()
}

fn judged(account: Account, bodies: Vec<(u64, Vec<u8>)>) -> Verdict {
    reconcile(&[account], &[reading_of(bodies)])
}

fn only(verdict: &Verdict, kind: AnomalyKind) {
    assert!(verdict.anomalies.count(kind) > 0, "{kind:?} not reported: {verdict}");
    assert!(!verdict.is_sound());
}

#[test]
fn a_sound_run_passes_message_by_message() {
    let verdict = judged(account(), all());
    assert!(verdict.is_sound(), "{verdict}");
    assert_eq!((verdict.acknowledged, verdict.read_back, verdict.verified), (COUNT, COUNT, COUNT));
    assert_eq!(verdict.places_compared, COUNT.div_ceil(PLACEMENT_STRIDE));
}

#[test]
fn two_readers_of_two_halves_are_one_run() {
    let mut account = account();
    let first = account.take(7);
    account.acknowledge(first, 7, 5, 100);
    let mut other = Reading::new(SEED, 2);
    for index in 0..7 {
        other.message(5, 100 + index, &body(first + index));
    }
    let verdict = reconcile(&[account], &[reading_of(all()), other]);
    assert!(verdict.is_sound(), "{verdict}");
    assert_eq!(verdict.verified, COUNT + 7);
}

#[test]
fn a_lost_message_is_reported_even_when_offsets_look_dense() {
    let mut bodies = all();
    bodies.remove(500);
    bodies.iter_mut().enumerate().for_each(|(offset, pair)| pair.0 = offset as u64);
    let verdict = judged(account(), bodies);
    only(&verdict, AnomalyKind::Lost);
    only(&verdict, AnomalyKind::OffsetConflict);
    assert_eq!(verdict.verified, COUNT - 1);
}

#[test]
fn a_lost_tail_is_reported() {
    let mut bodies = all();
    bodies.truncate(990);
    let verdict = judged(account(), bodies);
    only(&verdict, AnomalyKind::UnseenTail);
    assert_eq!(verdict.anomalies.total(), 10);
}

#[test]
fn a_body_with_one_flipped_bit_is_a_phantom_and_its_message_lost() {
    let mut bodies = all();
    bodies[3].1[7] ^= 4;
    let verdict = judged(account(), bodies);
    only(&verdict, AnomalyKind::Phantom);
    only(&verdict, AnomalyKind::Lost);
}

#[test]
fn a_message_that_was_never_sent_is_a_phantom() {
    let mut bodies = all();
    bodies.push((COUNT, body(COUNT + 5)));
    only(&judged(account(), bodies), AnomalyKind::Phantom);
    let stranger = reconcile(&[], &[reading_of(all())]);
    only(&stranger, AnomalyKind::Phantom);
}

#[test]
fn a_refused_message_that_appears_is_an_aborted_read() {
    let mut account = account();
    let first = account.take(1);
    account.fail(first, 1);
    let mut bodies = all();
    bodies.push((COUNT, body(first)));
    only(&judged(account, bodies), AnomalyKind::AbortedRead);
}

#[test]
fn an_unknown_message_may_appear_once_or_not_at_all() {
    let mut account = account();
    let first = account.take(2);
    let mut bodies = all();
    bodies.push((COUNT, body(first)));
    let verdict = judged(account.clone(), bodies.clone());
    assert!(verdict.is_sound(), "{verdict}");
    assert_eq!((verdict.unknown, verdict.unknown_found), (2, 1));
    bodies.push((COUNT + 1, body(first)));
    only(&judged(account.clone(), bodies.clone()), AnomalyKind::Duplicate);
    account.retry(first, 1);
    assert!(judged(account, bodies).is_sound());
}

#[test]
fn a_duplicate_is_reported_within_one_reader_and_across_two() {
    let mut bodies = all();
    bodies.push((COUNT, body(4)));
    only(&judged(account(), bodies), AnomalyKind::Duplicate);
    let mut other = Reading::new(SEED, 2);
    other.message(1, 0, &body(4));
    only(&reconcile(&[account()], &[reading_of(all()), other]), AnomalyKind::Duplicate);
}

#[test]
fn skipped_and_repeated_offsets_are_reported() {
    let mut bodies = all();
    bodies.iter_mut().skip(10).for_each(|pair| pair.0 += 1);
    only(&judged(account(), bodies), AnomalyKind::PollSkip);
    let mut bodies = all();
    bodies.swap(20, 21);
    only(&judged(account(), bodies), AnomalyKind::NonMonotonicPoll);
}

#[test]
fn a_message_elsewhere_than_acknowledged_is_an_offset_conflict() {
    let mut wrong = Account::new(1);
    for _ in 0..COUNT / 10 {
        let first = wrong.take(10);
        wrong.acknowledge(first, 10, 0, first + 1);
    }
    only(&judged(wrong, all()), AnomalyKind::OffsetConflict);
}

#[test]
fn a_second_acknowledgement_and_one_for_nothing_are_reported() {
    let mut twice = account();
    twice.acknowledge(0, 10, 0, 0);
    only(&judged(twice, all()), AnomalyKind::OutcomeWithoutSend);
    let mut invented = account();
    invented.acknowledge(COUNT, 1, 0, COUNT);
    only(&judged(invented, all()), AnomalyKind::OutcomeWithoutSend);
}

#[test]
fn two_readers_of_one_queue_have_the_same_digest_until_a_message_differs() {
    let (a, b) = (reading_of(all()), reading_of(all()));
    assert_eq!(a.digest(0), b.digest(0));
    let mut bodies = all();
    bodies.swap(1, 2);
    assert_ne!(a.digest(0), reading_of(bodies).digest(0));
}

#[test]
fn readings_alone_must_be_of_the_run_and_dense_and_may_repeat() {
    let mut twice = all();
    twice.extend((0..5).map(|sequence| (COUNT + sequence, body(sequence))));
    let verdict = of_readings(&[reading_of(twice.clone())]);
    assert!(verdict.is_sound(), "{verdict}");
    assert_eq!((verdict.verified, verdict.repeated), (COUNT + 5, 5));
    twice[7].1[8] ^= 1;
    only(&of_readings(&[reading_of(twice)]), AnomalyKind::Phantom);
    let mut gap = all();
    gap.remove(30);
    only(&of_readings(&[reading_of(gap)]), AnomalyKind::PollSkip);
}
