//! The key index on the simulated disk: what has a key is found by it, nothing else is, and what was lost of the index is
//! made again from the log.

mod common;

use common::{Bench, options};
use ringmq_broker::disk::{Directory, Disk, DiskErrorKind, DiskOpKind, FileName};
use ringmq_broker::store::keys::KeyLimits;
use ringmq_broker::store::{
    BatchItem, BatchShared, KeyKind, KeyQuery, NewMessage, QueryOutcome, Retention, StoreOptions,
};
use ringmq_proto::ids::QueueId;
use ringmq_proto::message::{Host, StoredMessage};
use ringmq_sim::disk::{Class, Fault};

fn small() -> StoreOptions {
    let mut options = options(512);
    options.segment_size_bytes = 256 << 10;
    options.keys =
        KeyLimits { recent_entry_count_max: 300, rescan_entry_count_max: 200, uncovered_bytes_max: 128 << 10 };
    options
}

fn properties(number: usize) -> Vec<u8> {
    format!("KEYS\x01order-{number} user-{}\x02UNIQ_KEY\x01{number:032X}\x02", number % 10).into_bytes()
}

fn send(bench: &mut Bench, queue: QueueId, properties: &[u8], body: &[u8]) {
    let message = NewMessage { properties, ..common::message(body) };
    let _appended = bench.store.append_message(bench.now, queue, &message).expect("room");
}

/// Sends messages `numbers` with keys, one in three by itself, the others in batches of two.
fn send_numbers(bench: &mut Bench, queue: QueueId, numbers: std::ops::Range<usize>) {
    for number in numbers {
        match number % 3 {
            0 => send(bench, queue, &properties(number), number.to_string().as_bytes()),
            1 => {
                let (bodies, properties) =
                    ([number, number + 1].map(|n| n.to_string()), [number, number + 1].map(properties));
                let items =
                    [0, 1].map(|n| BatchItem { tag_hash: 0, properties: &properties[n], body: bodies[n].as_bytes() });
                let host = Host::new([127, 0, 0, 1].into(), 1);
                let shared = BatchShared { flag: 0, sys_flag: 0, born_time_ms: 1, born_host: host };
                let _appended = bench.store.append_batch(bench.now, queue, &shared, &items).expect("room");
            }
            _ => {}
        }
        if number % 50 == 0 {
            bench.settle();
        }
    }
    bench.settle();
}

fn ask(bench: &mut Bench, mut query: KeyQuery) -> (Vec<String>, Option<String>) {
    for _ in 0..10_000 {
        match bench.store.query_key(&mut query) {
            QueryOutcome::NotYet => bench.run_disk(),
            QueryOutcome::Found { messages, incomplete } => {
                let body = |stored: &Vec<u8>| {
                    let message = StoredMessage::decode(stored).expect("a stored message");
                    String::from_utf8(message.parts.body.to_vec()).expect("text")
                };
                return (messages.iter().map(body).collect(), incomplete);
            }
        }
    }
    panic!("the question never ends");
}

fn by_word(bench: &mut Bench, topic: &str, word: &str) -> Vec<String> {
    let (found, incomplete) = ask(bench, KeyQuery::new(topic, word, KeyKind::Word, 0..=u64::MAX, 64));
    assert_eq!(incomplete, None, "{word}");
    found
}

fn assert_all_found(bench: &mut Bench, numbers: std::ops::Range<usize>) {
    for number in numbers.clone() {
        assert_eq!(by_word(bench, "t", &format!("order-{number}")), [number.to_string()]);
        let unique = KeyQuery::new("t", &format!("{number:032X}"), KeyKind::Unique, 0..=u64::MAX, 64);
        assert_eq!(ask(bench, unique), (vec![number.to_string()], None));
    }
    let newest: Vec<_> = numbers.clone().filter(|number| number % 10 == 7).map(|number| number.to_string()).collect();
    assert_eq!(by_word(bench, "t", "user-7"), newest[newest.len().saturating_sub(64)..]);
    assert!(by_word(bench, "t", "order").is_empty() && by_word(bench, "other", "order-1").is_empty());
    let as_word = by_word(bench, "t", &format!("{:032X}", numbers.start));
    assert!(as_word.is_empty(), "ids and words are two name spaces");
}

/// Lets time pass until the index has nothing to do.
fn wait_for_rebuild(bench: &mut Bench) {
    for _ in 0..50 {
        bench.settle();
        if bench.store.keys().gaps().next().is_none() {
            return;
        }
    }
    panic!("gaps stay: {:?}", bench.store.keys().gaps().collect::<Vec<_>>());
}

#[test]
fn every_key_is_found_from_memory_and_runs_live_and_after_a_kill() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 2)[1];
    send_numbers(&mut bench, queue, 0..999);
    assert!(bench.store.keys().run_count() > 1, "some of it is in runs");
    assert_all_found(&mut bench, 0..999);
    let mut bench = bench.reopen(|disk, _| disk.kill());
    wait_for_rebuild(&mut bench);
    assert_all_found(&mut bench, 0..999);
    send_numbers(&mut bench, queue, 999..3000);
    assert!(bench.store.keys().run_entry_count() > 5000);
    assert_all_found(&mut bench, 0..3000);
}

#[test]
fn merges_keep_every_entry_and_runs_stay_few() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 1)[0];
    send_numbers(&mut bench, queue, 0..6000);
    assert!(bench.store.keys().run_count() < 20, "{} runs", bench.store.keys().run_count());
    assert_all_found(&mut bench, 0..6000);
}

#[test]
fn messages_without_properties_make_no_entry_and_no_run() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 1)[0];
    for _ in 0..100 {
        let _appended = bench.send(queue, &[7; 500]).expect("room");
    }
    bench.settle();
    assert_eq!((bench.store.keys().run_count(), bench.store.keys().memory_bytes()), (0, 0));
}

#[test]
fn times_bound_the_answer_and_may_be_open() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 1)[0];
    let mut times = Vec::new();
    for number in 0..700 {
        send(&mut bench, queue, b"KEYS\x01same\x02", number.to_string().as_bytes());
        times.push(bench.now.wall_ms);
        if number % 10 == 9 {
            bench.settle();
        }
    }
    bench.settle();
    let ask_times = |bench: &mut Bench, times| ask(bench, KeyQuery::new("t", "same", KeyKind::Word, times, 3)).0;
    assert_eq!(ask_times(&mut bench, 0..=u64::MAX), ["697", "698", "699"]);
    assert_eq!(ask_times(&mut bench, 0..=times[345]), ["347", "348", "349"], "those of one batch have one time");
    assert_eq!(ask_times(&mut bench, times[345]..=times[345]), ["347", "348", "349"]);
    assert!(ask_times(&mut bench, times[699] + 1..=u64::MAX).is_empty());
    assert!(ask_times(&mut bench, 0..=times[0] - 1).is_empty());
    assert_eq!(ask_times(&mut bench, 0..=times[0]), ["7", "8", "9"]);
}

#[test]
fn lost_or_damaged_runs_are_made_again_from_the_log() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 1)[0];
    send_numbers(&mut bench, queue, 0..2001);
    let runs = |bench: &mut Bench| {
        let files = bench.disk.list(Directory::Index).expect("listed");
        files.into_iter().map(|(file, _)| file).filter(|file| matches!(file, FileName::KeyRun(_))).collect::<Vec<_>>()
    };
    let all = runs(&mut bench);
    assert!(all.len() > 2);
    // One run is missing: until it was made again, a question that finds nothing says so.
    let mut bench = bench.reopen(|disk, _| {
        disk.kill();
        disk.execute(DiskOpKind::Remove { file: all[0] }).expect("removed");
    });
    let answer = ask(&mut bench, KeyQuery::new("t", "never sent", KeyKind::Word, 0..=u64::MAX, 1));
    assert!(answer.0.is_empty() && answer.1.is_some(), "{answer:?}");
    wait_for_rebuild(&mut bench);
    assert_all_found(&mut bench, 0..2001);
    // All are.
    let all = runs(&mut bench);
    let mut bench = bench.reopen(|disk, _| {
        disk.kill();
        for file in all {
            disk.execute(DiskOpKind::Remove { file }).expect("removed");
        }
    });
    wait_for_rebuild(&mut bench);
    assert_all_found(&mut bench, 0..2001);
    // A block of one does not check.
    let all = runs(&mut bench);
    let mut bench = bench.reopen(|disk, _| {
        disk.kill();
        let zeros = disk.pool().take(512).freeze();
        for file in all {
            let (block, start, length, sync) = (zeros.clone(), 0, 512, true);
            disk.execute(DiskOpKind::Write { file, offset: 64 << 10, block, start, length, sync }).expect("written");
        }
    });
    for number in 0..2001 {
        let word = format!("order-{number}");
        let _finds_out = ask(&mut bench, KeyQuery::new("t", &word, KeyKind::Word, 0..=u64::MAX, 1));
    }
    wait_for_rebuild(&mut bench);
    assert_all_found(&mut bench, 0..2001);
}

#[test]
fn what_the_disk_never_reads_is_said_to_be_missing_and_found_after_the_next_start() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 1)[0];
    send_numbers(&mut bench, queue, 0..999);
    let mut bench = bench.reopen(|disk, _| {
        disk.kill();
        let files = disk.list(Directory::Index).expect("listed");
        for (file, _) in files.into_iter().filter(|(file, _)| matches!(file, FileName::KeyRun(_))) {
            disk.execute(DiskOpKind::Remove { file }).expect("removed");
        }
    });
    bench.disk.faults.arm(Fault { class: Class::Read, after: 0, kind: DiskErrorKind::Io, forever: true });
    // Each place is tried ten times, a second apart.
    for _ in 0..30 {
        bench.settle();
    }
    let question = || KeyQuery::new("t", "never sent", KeyKind::Word, 0..=u64::MAX, 1);
    let (found, incomplete) = ask(&mut bench, question());
    let why = incomplete.expect("not everything was looked at");
    assert!(found.is_empty() && why.contains("messages may be missing"), "{why}");
    bench.disk.faults.heal();
    let mut bench = bench.reopen(|disk, _| disk.kill());
    wait_for_rebuild(&mut bench);
    assert_all_found(&mut bench, 0..999);
    assert_eq!(ask(&mut bench, question()), (Vec::new(), None));
}

#[test]
fn what_retention_took_is_not_found_and_its_runs_go() {
    let mut options = small();
    options.retention = Retention { bytes: Some(512 << 10), age_ms: None };
    let mut bench = Bench::new(options);
    let queue = bench.topic("t", 1)[0];
    for number in 0..3000 {
        send(&mut bench, queue, &properties(number), &[b'x'; 600]);
        if number % 20 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    assert!(bench.store.log_start().get() > 0);
    assert!(by_word(&mut bench, "t", "order-0").is_empty());
    assert_eq!(by_word(&mut bench, "t", "order-2999").len(), 1);
    let start = bench.store.log_start();
    for number in 0..3000 {
        let mut query = KeyQuery::new("t", &format!("order-{number}"), KeyKind::Word, 0..=u64::MAX, 1);
        loop {
            match bench.store.query_key(&mut query) {
                QueryOutcome::NotYet => bench.run_disk(),
                QueryOutcome::Found { messages, .. } => {
                    for message in &messages {
                        let position = StoredMessage::decode(message).expect("stored").parts.position;
                        assert!(position >= start, "order-{number} at {position} was given up");
                    }
                    break;
                }
            }
        }
    }
    assert!(bench.store.keys().run_entry_count() < 3000 * 3, "runs of what is gone are gone");
}

#[test]
fn deleted_topics_messages_are_not_found_although_their_entries_are_there() {
    let mut bench = Bench::new(small());
    let queue = bench.topic("t", 1)[0];
    send_numbers(&mut bench, queue, 0..100);
    bench.delete("t");
    assert!(by_word(&mut bench, "t", "order-3").is_empty());
    let queue = bench.topic("t", 1)[0];
    send_numbers(&mut bench, queue, 3..4);
    assert_eq!(by_word(&mut bench, "t", "order-3"), ["3"], "the new topic's message only");
}
