//! Pending messages in the store: they outlive restarts and the segments that they lie in, and end once.

mod common;

use common::{Bench, message, options};
use ringmq_broker::disk::{Directory, FileName};
use ringmq_broker::store::pending::{DueFound, DueLimits, NewPending, Pending, PendingKind, PendingRead, SettledBy};
use ringmq_broker::store::{Appended, Entropy, Retention, Store, StoreOptions};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::StoredMessage;
use ringmq_sim::rng::Rng;
use std::collections::BTreeSet;

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

/// What is pending under that name, once it is read.
fn find(bench: &mut Bench, due_ms: u64, origin: LogPosition) -> Option<Pending> {
    for _ in 0..10 {
        match bench.store.find_pending(due_ms, origin) {
            DueFound::Pending(entry) => return Some(entry),
            DueFound::Nothing => return None,
            DueFound::NotYet => bench.run_disk(),
            DueFound::Failed(why) => panic!("{why}"),
        }
    }
    panic!("it is never loaded");
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
            bench.store.settle_with_message(bench.now, entry, SettledBy::Delivered, message, false)
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
    let mut taken: Vec<(PendingKind, u64, LogPosition, Vec<u8>)> = Vec::new();
    for number in 0..100_u64 {
        let kind = if number % 3 == 0 { PendingKind::Half } else { PendingKind::Timer };
        let body = format!("body {number}").into_bytes();
        let due_ms = 1_000_000_000 + number;
        let appended = take(&mut bench, timers, kind, due_ms, &body);
        taken.push((kind, due_ms, appended.position, body));
    }
    bench.settle();
    let (_, cancelled_due_ms, cancelled, _) = taken.remove(50);
    let entry = find(&mut bench, cancelled_due_ms, cancelled).expect("pending");
    assert!(bench.store.settle(&entry, SettledBy::Cancelled).expect("room").is_some());
    roll(&mut bench, filler, 5);
    let mut bench = bench.reopen(|_, _| {});
    roll(&mut bench, filler, 5);
    assert!(bench.store.metrics().pending_copied >= 99, "each was copied on the way");
    assert_eq!(find(&mut bench, cancelled_due_ms, cancelled), None);
    for (index, (kind, due_ms, origin, body)) in taken.iter().enumerate() {
        let entry = match kind {
            PendingKind::Half => bench.store.pending_half(*origin),
            _ => find(&mut bench, *due_ms, *origin),
        };
        let entry = entry.expect("still pending");
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
    assert!(origins.iter().all(|origin| find(&mut bench, new.due_ms, *origin).is_some()), "nothing is dropped");
    for origin in &origins[..10] {
        let entry = find(&mut bench, new.due_ms, *origin).expect("pending");
        assert!(bench.store.settle(&entry, SettledBy::Cancelled).expect("room").is_some());
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

/// So little memory that nearly all lies in runs, which are merged all the time.
fn little_memory(retention_bytes: u64) -> StoreOptions {
    let due = DueLimits {
        recent_entry_count_max: 8,
        near_entry_count_max: 6,
        owed_entry_count_max: 10,
        uncovered_bytes_max: 32 << 10,
    };
    StoreOptions { due, ..small(retention_bytes) }
}

/// Runs of the index by due time.
fn run_files(bench: &Bench) -> Vec<FileName> {
    let files = bench.disk.files(Directory::Index).into_iter().map(|(file, _)| file);
    files.filter(|file| matches!(file, FileName::DueRun(_))).collect()
}

/// Delivers all that is due, in the order of due times (but for what retention copies at that moment), and says what it was.
fn deliver(bench: &mut Bench, real: QueueId, now_ms: u64) -> Vec<(u64, LogPosition)> {
    let (mut delivered, mut copied) = (Vec::new(), u64::MAX);
    while copied != bench.store.metrics().pending_copied {
        copied = bench.store.metrics().pending_copied;
        (0..3).for_each(|_| bench.run_disk());
    }
    let mut idle = 0;
    while idle < 20 {
        let mut out = Vec::new();
        bench.store.due(now_ms, 5, &mut out);
        idle = if out.is_empty() { idle + 1 } else { 0 };
        for entry in out {
            let body = entry.origin.get().to_le_bytes();
            let to = (real, &message(&body));
            let settled = bench.store.settle_with_message(bench.now, &entry, SettledBy::Delivered, to, false);
            assert!(settled.expect("room").is_some(), "given out twice: {entry:?}");
            delivered.push((entry.due_ms, entry.origin));
        }
        bench.run_disk();
    }
    if bench.store.metrics().pending_copied == copied {
        assert!(delivered.is_sorted(), "{delivered:?}");
    }
    delivered.sort_unstable();
    delivered
}

#[test]
fn what_is_pending_on_disk_is_what_a_model_says() {
    let (mut copied, mut runs) = (0, 0);
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let mut bench = Bench::new(little_memory(448 << 10));
        let (timers, real) = (bench.topic("timers", 1)[0], bench.topic("real", 1)[0]);
        let mut model: BTreeSet<(u64, LogPosition)> = BTreeSet::new();
        let mut clock = 1_000_000;
        for step in 0..160 {
            match rng.below(20) {
                0..9 => {
                    for _ in 0..rng.between(1, 12) {
                        let due_ms = clock + rng.pick(&[1, 50, 1000, 20_000, 1_000_000]) + rng.below(40);
                        let kind = rng.pick(&[PendingKind::Delay, PendingKind::Timer]);
                        model.insert((due_ms, take(&mut bench, timers, kind, due_ms, &[7; 300]).position));
                    }
                }
                9..12 => {
                    clock += rng.pick(&[10, 400, 3000]);
                    let late = model.split_off(&(clock + 1, LogPosition::ZERO));
                    let expected: Vec<_> = std::mem::replace(&mut model, late).into_iter().collect();
                    bench.run_disk();
                    assert_eq!(deliver(&mut bench, real, clock), expected, "seed {seed}, step {step}");
                }
                12..14 if !model.is_empty() => {
                    let (due_ms, origin) = *model.iter().nth(rng.index(model.len())).expect("not empty");
                    bench.run_disk();
                    let entry = find(&mut bench, due_ms, origin).unwrap_or_else(|| panic!("seed {seed}, step {step}"));
                    assert!(bench.store.settle(&entry, SettledBy::Cancelled).expect("room").is_some());
                    assert_eq!(find(&mut bench, due_ms, origin), None);
                    model.remove(&(due_ms, origin));
                }
                14 => {
                    for _ in 0..60 {
                        let _filler = bench.send(real, &[1; 900]);
                    }
                    bench.run_disk();
                    bench.now.boot_ns += 1_000_000_000;
                    bench.store.tick(bench.now, &mut bench.ops);
                    bench.submit();
                }
                15 => {
                    bench.run_disk();
                    bench = bench.reopen(|disk, _| {
                        let files: Vec<_> = [Directory::Index, Directory::Snapshot]
                            .iter()
                            .flat_map(|directory| disk.files(*directory))
                            .collect();
                        // Derived files may go at any time.
                        files.iter().filter(|_| rng.percent(5)).for_each(|(file, _)| disk.lose(*file));
                    });
                }
                _ => bench.run_disk(),
            }
            bench.run_disk();
            assert_eq!(bench.store.pending_counts().total(), model.len() as u64, "seed {seed}, step {step}");
        }
        (copied, runs) = (copied + bench.store.metrics().pending_copied, runs + run_files(&bench).len());
        let expected: Vec<_> = std::mem::take(&mut model).into_iter().collect();
        assert_eq!(deliver(&mut bench, real, u64::MAX - 1), expected, "seed {seed}");
        assert_eq!(bench.store.pending_counts().total(), 0);
        assert_eq!(bench.store.pending_counts().owed_bytes, 0);
    }
    println!("{copied} copied, {runs} runs at the end of the histories");
    assert!(copied > 400 && runs > 60, "{copied} copied, {runs} runs");
}

#[test]
fn damaged_run_is_given_up_and_what_it_held_is_delivered_after_the_next_start() {
    let mut bench = Bench::new(little_memory(1 << 30));
    let (timers, real) = (bench.topic("timers", 1)[0], bench.topic("real", 1)[0]);
    let mut expected = Vec::new();
    for number in 0..200 {
        let due_ms = 1_000_000 + number * 7 % 200;
        expected.push((due_ms, take(&mut bench, timers, PendingKind::Timer, due_ms, b"timed").position));
        bench.run_disk();
    }
    expected.sort_unstable();
    let largest =
        bench.disk.files(Directory::Index).into_iter().filter(|(file, _)| matches!(file, FileName::DueRun(_)));
    let (largest, _) = largest.max_by_key(|(_, size_bytes)| *size_bytes).expect("there are runs");
    let mut bench = bench.reopen(|_, _| {});
    assert!(bench.disk.flip(largest, (64 << 10) + 700, 1));
    let mut delivered = deliver(&mut bench, real, 2_000_000);
    assert!(delivered.len() < expected.len(), "what is damaged is not served");
    assert!(bench.store.metrics().background_failures > 0, "and it is said");
    assert!(!run_files(&bench).contains(&largest), "the next start finds it missing");
    let mut bench = bench.reopen(|_, _| {});
    assert_eq!(bench.store.pending_counts().total(), (expected.len() - delivered.len()) as u64);
    delivered.extend(deliver(&mut bench, real, 2_000_000));
    delivered.sort_unstable();
    assert_eq!(delivered, expected, "each once");
}

#[test]
fn index_that_is_lost_is_built_anew_in_the_memory_that_it_takes_in_service() {
    let due = DueLimits { recent_entry_count_max: 64, near_entry_count_max: 64, ..DueLimits::default() };
    let mut bench = Bench::new(StoreOptions { due, ..options(512) });
    let (timers, real) = (bench.topic("timers", 1)[0], bench.topic("real", 1)[0]);
    let mut expected = Vec::new();
    for number in 0..6000 {
        let due_ms = 1_000_000 + number * 7919 % 6000;
        expected.push((due_ms, take(&mut bench, timers, PendingKind::Timer, due_ms, b"timed").position));
        if number % 20 == 0 {
            bench.run_disk();
        }
    }
    bench.settle();
    expected.sort_unstable();
    let mut bench = bench.reopen(|disk, _| {
        let lost: Vec<_> = disk.files(Directory::Index).into_iter().map(|(file, _)| file).collect();
        lost.into_iter().filter(|file| matches!(file, FileName::DueRun(_))).for_each(|file| disk.lose(file));
        let lost: Vec<_> = disk.files(Directory::Snapshot).into_iter().map(|(file, _)| file).collect();
        lost.into_iter().for_each(|file| disk.lose(file));
    });
    assert_eq!(bench.store.pending_counts().timers, 6000);
    assert_eq!(run_files(&bench).len(), 1, "it is on disk when the start is over");
    let of_entries = bench.store.pending_memory_bytes();
    assert!(of_entries < 64 << 10, "6000 entries would take a MiB, not {of_entries} bytes");
    assert_eq!(deliver(&mut bench, real, 2_000_000), expected);
}
