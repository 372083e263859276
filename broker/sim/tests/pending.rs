//! Pending messages in the store: they outlive restarts and the segments that they lie in, and end once.

mod common;

use common::{Bench, message, options};
use ringmq_broker::disk::{Directory, FileName};
use ringmq_broker::store::pending::{NewPending, Pending, PendingKind, PendingRead, SettledBy};
use ringmq_broker::store::{Appended, Entropy, Retention, Store, StoreOptions};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::StoredMessage;

fn small(retention_bytes: u64) -> StoreOptions {
    StoreOptions {
        segment_size_bytes: 64 << 10,
        retention: Retention { bytes: Some(retention_bytes), age_ms: None },
        checkpoint_interval_bytes: 32 << 10,
        ..options(512)
    }
}

fn take(bench: &mut Bench, queue: QueueId, kind: PendingKind, due_ms: u64, body: &[u8]) -> Appended {
    let new = NewPending { kind, due_ms, proof: 7 };
    bench.store.append_pending(bench.now, queue, &message(body), new).expect("room")
}

fn due(bench: &mut Bench, now_ms: u64) -> Vec<Pending> {
    let mut out = Vec::new();
    bench.store.due(now_ms, 1000, &mut out);
    out
}

fn read(bench: &mut Bench, entry: &Pending) -> Vec<u8> {
    for _ in 0..10 {
        match bench.store.pending_message(entry) {
            PendingRead::Found(bytes) => return StoredMessage::decode(&bytes).expect("sound").parts.body.to_vec(),
            PendingRead::NotYet => bench.settle(),
            PendingRead::Damaged(why) | PendingRead::Failed(why) => panic!("{why}"),
        }
    }
    panic!("it is never loaded");
}

/// Fills the log until the oldest segment is gone `times` times.
fn roll(bench: &mut Bench, filler: QueueId, times: u64) {
    let wanted = bench.store.metrics().segments_released + times;
    for _ in 0..2000 {
        if bench.store.metrics().segments_released >= wanted {
            return;
        }
        for _ in 0..20 {
            let _ = bench.send(filler, &[0; 900]);
        }
        bench.settle();
    }
    panic!("retention takes nothing: {:?}", bench.store);
}

#[test]
fn pending_message_is_due_in_time_after_a_restart_and_ends_once() {
    let mut bench = Bench::new(options(512));
    let (timers, real) = (bench.topic("timers", 1)[0], bench.topic("real", 1)[0]);
    let late = take(&mut bench, timers, PendingKind::Timer, 9_000_000, b"late");
    let soon = take(&mut bench, timers, PendingKind::Delay, 8_000_000, b"soon");
    assert!(due(&mut bench, u64::MAX - 1).is_empty(), "nothing is pending before it is durable");
    bench.settle();
    let mut bench = bench.reopen(|_, _| {});
    assert!(due(&mut bench, 7_999_999).is_empty());
    let entries = due(&mut bench, 9_000_000);
    assert_eq!(entries.iter().map(|entry| entry.origin).collect::<Vec<_>>(), [soon.position, late.position]);
    assert_eq!(bench.store.next_due_ms(), Some(8_000_000));
    for entry in &entries {
        let body = read(&mut bench, entry);
        let deliver = |bench: &mut Bench| {
            let message = (real, &message(&body));
            bench.store.settle_with_message(bench.now, entry.origin, SettledBy::Delivered, message, false)
        };
        assert!(deliver(&mut bench).expect("room").is_some());
        assert_eq!(deliver(&mut bench), Ok(None), "before the first is confirmed");
    }
    assert!(due(&mut bench, u64::MAX - 1).is_empty());
    bench.settle();
    let mut bench = bench.reopen(|_, _| {});
    assert_eq!(bench.read_all(real), [b"soon".to_vec(), b"late".to_vec()]);
    assert_eq!(bench.store.pending_counts().total(), 0);
}

#[test]
fn pending_messages_outlive_their_segments_under_their_first_positions() {
    let mut bench = Bench::new(small(192 << 10));
    let (timers, filler) = (bench.topic("timers", 1)[0], bench.topic("filler", 1)[0]);
    let mut taken: Vec<(LogPosition, Vec<u8>)> = Vec::new();
    for number in 0..100_u64 {
        let kind = if number % 3 == 0 { PendingKind::Half } else { PendingKind::Timer };
        let body = format!("body {number}").into_bytes();
        let appended = take(&mut bench, timers, kind, 1_000_000_000 + number, &body);
        taken.push((appended.position, body));
    }
    bench.settle();
    let cancelled = taken.remove(50).0;
    assert!(bench.store.settle(cancelled, SettledBy::Cancelled).expect("room").is_some());
    roll(&mut bench, filler, 5);
    let mut bench = bench.reopen(|_, _| {});
    roll(&mut bench, filler, 5);
    assert!(bench.store.metrics().pending_copied >= 99, "each was copied on the way");
    assert_eq!(bench.store.settle(cancelled, SettledBy::Cancelled), Ok(None));
    for (index, (origin, body)) in taken.iter().enumerate() {
        let entry = bench.store.pending(*origin).expect("still pending");
        assert!(entry.position > *origin && entry.position >= bench.store.log_start());
        assert_eq!(entry.first_offset.get(), if index < 50 { index as u64 } else { index as u64 + 1 });
        assert_eq!(&read(&mut bench, &entry), body);
    }
    assert_eq!(bench.store.pending_counts().total(), 99);
    // Without any derived file, the retained log alone says the same.
    let files = bench.disk.files(Directory::Snapshot);
    let bench = bench.reopen(|disk, _| files.iter().for_each(|(file, _)| disk.lose(*file)));
    assert_eq!(bench.store.pending_counts().total(), 99);
}

#[test]
fn delayed_sends_are_refused_when_the_log_would_be_theirs_alone() {
    let mut bench = Bench::new(small(192 << 10));
    let (timers, real) = (bench.topic("timers", 1)[0], bench.topic("real", 1)[0]);
    let new = NewPending { kind: PendingKind::Timer, due_ms: 1_000_000_000, proof: 0 };
    let mut origins = Vec::new();
    let refusal = loop {
        match bench.store.append_pending(bench.now, timers, &message(&[1; 2000]), new) {
            Ok(appended) => origins.push(appended.position),
            Err(refusal) => break refusal,
        }
        bench.settle();
        assert!(origins.len() < 1000, "never refused");
    };
    assert_eq!(refusal.code, 14, "{refusal}");
    let _ordinary = bench.send(real, b"ordinary messages are still taken").expect("room");
    roll(&mut bench, real, 4);
    assert!(origins.iter().all(|origin| bench.store.pending(*origin).is_some()), "nothing is dropped");
    for origin in &origins[..10] {
        assert!(bench.store.settle(*origin, SettledBy::Cancelled).expect("room").is_some());
    }
    bench.settle();
    assert!(bench.store.append_pending(bench.now, timers, &message(b"x"), new).is_ok(), "there is room again");
}

#[test]
fn damaged_pending_message_is_reported_and_holds_up_nobody() {
    let mut bench = Bench::new(StoreOptions { hot_tail_bytes: 2 << 20, ..options(512) });
    let timers = bench.topic("timers", 1)[0];
    let first = take(&mut bench, timers, PendingKind::Timer, 5, b"damaged");
    bench.settle();
    let second = take(&mut bench, timers, PendingKind::Timer, 6, b"sound");
    bench.settle();
    let segment = FileName::Segment(LogPosition::ZERO);
    assert!(bench.disk.flip(segment, first.position.get() + 60, 3));
    let options = bench.store.options().clone();
    let entropy = Entropy { log_id: 0, disk_id: 0 };
    let (store, report) = Store::open(&mut bench.disk, options, entropy, bench.now).expect("opens");
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    bench.store = store;
    let entries = due(&mut bench, 10);
    assert_eq!(entries.iter().map(|entry| entry.origin).collect::<Vec<_>>(), [second.position]);
    assert_eq!(read(&mut bench, &entries[0]), b"sound");
}
