//! Messages for later: delay levels, timed messages, transactions.

use super::world::{World, item, pull, send};
use crate::shard::schedule::{Deferred, Taken, When};
use crate::shard::settings::{DelayLevels, Features};
use crate::shard::transactions::{CheckBack, EndTransaction, Ended, Outcome};
use crate::shard::{Settings, Shard};
use crate::store::{AckMode, NewMessage};
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::properties::Properties;
use ringmq_proto::message::{Host, StoredMessage};
use ringmq_proto::native::{FrameFlags, SendItem};
use ringmq_proto::record::records;

fn settings() -> Settings {
    let features = Features { delay_levels: DelayLevels::parse("1s 5s").expect("levels"), ..Features::default() };
    Settings { features, ..Settings::default() }
}

/// Time passes, by both clocks, and everything that it brings about.
fn pass_ms(world: &mut World, count: u64) {
    for _ in 0..count {
        world.now.boot_ns += 1_000_000;
        world.now.wall_ms += 1;
        world.input(crate::shard::io::Input::Tick);
        world.settle();
    }
}

fn send_later(world: &mut World, properties: &[u8], body: &[u8]) -> Code {
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    let item = SendItem { properties, ..item(handle, body) };
    for id in 0.. {
        world.give(client, &send(id, FrameFlags::NONE, &[item]));
        world.settle();
        let code = world.reply(client).code();
        if code != Code::SYSTEM_BUSY {
            return code;
        }
        assert!(id < 2, "the system topic is not made");
    }
    unreachable!()
}

/// Bodies, with the properties, of everything in the queue.
fn bodies(world: &mut World) -> Vec<(Vec<u8>, String, StoredHead)> {
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    world.give(client, &pull(1, handle, 0, 0));
    world.settle();
    let (bytes, ..) = world.reply(client).pulled();
    let stored = records(&bytes).map(|record| {
        let parts = StoredMessage::decode(record.expect("sound").payload).expect("a message").parts;
        let head = StoredHead { sys_flag: parts.sys_flag, prepared: parts.prepared_transaction_position };
        (parts.body.to_vec(), String::from_utf8_lossy(parts.properties).replace(['\u{1}', '\u{2}'], " "), head)
    });
    stored.collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StoredHead {
    sys_flag: i32,
    prepared: i64,
}

#[test]
fn delayed_message_is_delivered_at_its_time_once_and_as_rocketmq_would() {
    let mut world = World::new(settings());
    assert_eq!(send_later(&mut world, b"KEYS\x01k\x02DELAY\x0199\x02REAL_TOPIC\x01evil", b"late"), Code::SUCCESS);
    assert_eq!(send_later(&mut world, b"DELAY\x011", b"soon"), Code::SUCCESS);
    pass_ms(&mut world, 999);
    assert_eq!(bodies(&mut world), []);
    pass_ms(&mut world, 1);
    assert_eq!(bodies(&mut world).len(), 1, "to the millisecond");
    pass_ms(&mut world, 6000);
    let delivered = bodies(&mut world);
    let texts: Vec<_> = delivered.iter().map(|(body, properties, _)| (body.as_slice(), properties.as_str())).collect();
    assert_eq!(
        texts,
        [
            (b"soon".as_slice(), "DELAY 1 REAL_TOPIC orders REAL_QID 0"),
            (b"late", "KEYS k DELAY 2 REAL_TOPIC orders REAL_QID 0"),
        ],
        "a level beyond the last is the last, and what a client says of the real topic is not believed"
    );
    assert_eq!(world.shard.store().pending_counts().total(), 0);
}

#[test]
fn delivery_wakes_a_held_pull() {
    let mut world = World::new(settings());
    assert_eq!(send_later(&mut world, b"TIMER_DELAY_MS\x0150", b"timed"), Code::SUCCESS);
    let client = world.connect();
    let handle = world.open_queue(client, "orders", 0).handle;
    world.give(client, &pull(1, handle, 0, 20_000));
    pass_ms(&mut world, 49);
    assert!(world.replies(client).is_empty());
    pass_ms(&mut world, 1);
    assert_eq!(world.reply(client).pulled().1, 1);
}

#[test]
fn times_in_the_past_are_now_and_times_too_far_away_are_refused() {
    let mut world = World::new(settings());
    let wall_ms = world.now.wall_ms;
    assert_eq!(send_later(&mut world, b"TIMER_DELIVER_MS\x015", b"past"), Code::SUCCESS);
    assert_eq!(bodies(&mut world).len(), 1);
    let far = |ms: u64| format!("TIMER_DELIVER_MS\x01{}", wall_ms + ms);
    let three_days = 3 * 24 * 3_600_000;
    assert_eq!(send_later(&mut world, far(three_days + 1).as_bytes(), b"far"), Code::MESSAGE_ILLEGAL);
    assert_eq!(send_later(&mut world, far(three_days).as_bytes(), b"far"), Code::SUCCESS);
    assert_eq!(send_later(&mut world, b"TIMER_DELAY_SEC\x01soon", b"?"), Code::MESSAGE_ILLEGAL);
    assert_eq!(send_later(&mut world, b"TIMER_DELAY_SEC\x019223372036854775807", b"?"), Code::MESSAGE_ILLEGAL);
}

#[test]
fn pending_messages_outlive_the_shard_and_a_clock_that_is_set() {
    let mut world = World::new(settings());
    assert_eq!(send_later(&mut world, b"TIMER_DELAY_SEC\x0160", b"timed"), Code::SUCCESS);
    let wall_ms = world.now.wall_ms;
    world.input(crate::shard::io::Input::Stop);
    world.settle();
    assert!(world.stopped);
    let mut world = World::open(world.disk, settings());
    world.now.wall_ms = wall_ms + 59_999;
    pass_ms(&mut world, 0);
    world.input(crate::shard::io::Input::Tick);
    world.settle();
    assert_eq!(bodies(&mut world).len(), 0);
    // The clock is set; no timer of the boot clock tells, so it is looked at once a second.
    world.now.wall_ms += 1;
    assert!(world.wake_at_ns.is_some_and(|at| at <= world.now.boot_ns + 1_000_000_000));
    world.input(crate::shard::io::Input::Tick);
    world.settle();
    assert_eq!(bodies(&mut world).len(), 1);
}

#[test]
fn messages_that_lie_on_disk_are_read_before_they_are_due() {
    let mut world = World::new(settings());
    for _ in 0..20 {
        assert_eq!(send_later(&mut world, b"TIMER_DELAY_SEC\x0160", b"timed"), Code::SUCCESS);
    }
    let due_ms = world.now.wall_ms + 60_000;
    world.input(crate::shard::io::Input::Stop);
    world.settle();
    // A shard that has just started has nothing of the log in memory.
    let mut world = World::open(world.disk, settings());
    let pending = |world: &World| world.shard.store().pending_counts().total();
    world.now.wall_ms = due_ms - 1000;
    world.input(crate::shard::io::Input::Tick);
    world.settle();
    assert_eq!(pending(&world), 20);
    world.now.wall_ms = due_ms;
    world.input(crate::shard::io::Input::Tick);
    assert_eq!(world.shard.store().next_due_ms(), None, "all are on their way, and the disk was not waited for");
    world.settle();
    assert_eq!((pending(&world), bodies(&mut world).len()), (0, 20));
}

fn half(shard: &mut Shard, now: crate::now::Now, body: &[u8]) -> Result<Taken, Code> {
    let message = NewMessage {
        flag: 0,
        sys_flag: 0,
        born_time_ms: 5,
        born_host: Host::new([127, 0, 0, 1].into(), 4000),
        reconsume_times: 0,
        prepared_transaction_position: 0,
        properties: b"TRAN_MSG\x01true\x02UNIQ_KEY\x01U1",
        body,
        tag_hash: 0,
    };
    let when = shard.when(&now, message.properties, true).map_err(|rejection| rejection.code)?;
    let deferred = Deferred { topic: "orders", number: 0, producer_group: "payers", message };
    shard.defer(&now, AckMode::Promised, when, &deferred).map_err(|rejection| rejection.code)
}

/// A half message of group `payers`: its position and offset.
fn send_half(world: &mut World, body: &[u8]) -> (LogPosition, QueueOffset) {
    for _ in 0..2 {
        let taken = half(&mut world.shard, world.now, body).expect("room");
        world.turn_wanted = true;
        world.settle();
        if let Taken::Stored { position, offset, .. } = taken {
            return (position, offset);
        }
    }
    panic!("the half topic is not made");
}

fn end(world: &mut World, half: (LogPosition, QueueOffset), group: &str, outcome: Outcome) -> Result<Ended, String> {
    let end = EndTransaction { origin: half.0, half_offset: half.1.get(), group, outcome };
    let ended = world.shard.end_transaction(&world.now.clone(), &end).map_err(|rejection| rejection.remark.into());
    world.turn_wanted = true;
    ended
}

#[test]
fn committed_half_appears_once_and_a_rolled_back_one_never() {
    let mut world = World::new(settings());
    let client = world.connect();
    world.open_queue(client, "orders", 0);
    let (first, second) = (send_half(&mut world, b"yes"), send_half(&mut world, b"no"));
    assert_eq!(end(&mut world, first, "thieves", Outcome::Commit), Err("The producer group wrong".into()));
    let other = (first.0, QueueOffset::new(first.1.get() + 1));
    let wrong_offset = Err("The transaction state table offset wrong".into());
    assert_eq!(end(&mut world, other, "payers", Outcome::Commit), wrong_offset);
    assert_eq!(bodies(&mut world), []);

    assert_eq!(end(&mut world, first, "payers", Outcome::Unknown), Ok(Ended::Nothing));
    assert_eq!(end(&mut world, first, "payers", Outcome::Commit), Ok(Ended::Done));
    let nothing = Err("Find prepared transaction message failed".into());
    assert_eq!(end(&mut world, first, "payers", Outcome::Commit), nothing, "before the first is on disk");
    assert_eq!(end(&mut world, second, "payers", Outcome::Rollback), Ok(Ended::Done));
    world.settle();
    assert_eq!(end(&mut world, first, "payers", Outcome::Rollback), nothing);
    assert_eq!(end(&mut world, second, "payers", Outcome::Commit), nothing);
    world.settle();
    let properties = "TRAN_MSG true UNIQ_KEY U1 PGROUP payers REAL_TOPIC orders REAL_QID 0";
    let head = StoredHead { sys_flag: 8, prepared: first.0.get().cast_signed() };
    assert_eq!(bodies(&mut world), [(b"yes".to_vec(), properties.to_string(), head)]);
}

/// What is asked when `count` ms have passed.
fn ask_after(world: &mut World, count: u64) -> Option<CheckBack> {
    world.now.boot_ns += count * 1_000_000;
    world.now.wall_ms += count;
    world.shard.due_work(&world.now.clone());
    let question = world.shard.next_check();
    world.turn_wanted = true;
    world.settle();
    question
}

#[test]
fn forgotten_half_is_asked_about_and_given_up_in_the_end() {
    let check = |interval_ms, max| {
        let base = settings();
        let features = Features {
            transaction_timeout_ms: 100,
            transaction_check_interval_ms: interval_ms,
            transaction_check_max: max,
            ..base.features.clone()
        };
        Settings { features, ..base }
    };
    let mut world = World::new(check(50, 2));
    let client = world.connect();
    world.open_queue(client, "orders", 0);
    let half = send_half(&mut world, b"?");
    assert_eq!(ask_after(&mut world, 99), None);
    let question = ask_after(&mut world, 1).expect("asked");
    assert_eq!((question.group.as_str(), question.origin, question.half_offset), ("payers", half.0, half.1.get()));
    let parts = StoredMessage::decode(&question.message).expect("a message").parts;
    assert_eq!((parts.topic, parts.queue_id, parts.body), (b"orders".as_slice(), 0, b"?".as_slice()));
    assert_eq!(Properties::new(parts.properties).get_str("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert_eq!(ask_after(&mut world, 49), None);
    assert!(ask_after(&mut world, 1).is_some());
    pass_ms(&mut world, 300);
    assert_eq!(world.shard.store().pending_counts().total(), 0, "given up");
    let given_up = world.shard.store().state().topic("TRANS_CHECK_MAX_TIME_TOPIC").expect("made").queues[0];
    assert_eq!(world.shard.store().queue(given_up).map(|queue| queue.visible_offset.get()), Some(1));
    assert!(end(&mut world, half, "payers", Outcome::Commit).is_err());
}

#[test]
fn timed_message_can_be_recalled_with_its_handle_until_it_is_due() {
    let mut world = World::new(settings());
    let client = world.connect();
    world.open_queue(client, "orders", 0);
    let timed = |world: &mut World, key: &str| {
        let due_ms = world.now.wall_ms + 100;
        let properties = format!("UNIQ_KEY\x01{key}\x02TIMER_DELIVER_MS\x01{due_ms}");
        for _ in 0..2 {
            let message = NewMessage {
                flag: 0,
                sys_flag: 0,
                born_time_ms: 5,
                born_host: Host::UNSPECIFIED,
                reconsume_times: 0,
                prepared_transaction_position: 0,
                properties: properties.as_bytes(),
                body: key.as_bytes(),
                tag_hash: 0,
            };
            let deferred = Deferred { topic: "orders", number: 0, producer_group: "", message };
            let now = world.now;
            let taken = world.shard.defer(&now, AckMode::Promised, When::At(due_ms), &deferred).expect("room");
            world.turn_wanted = true;
            world.settle();
            if let Taken::Stored { recall_handle, .. } = taken {
                return recall_handle.expect("a handle");
            }
        }
        panic!("the timer topic is not made");
    };
    let (first, second) = (timed(&mut world, "A1"), timed(&mut world, "A2"));
    let recall = |world: &mut World, topic: &str, handle: &str| {
        let now = world.now;
        let recalled = world.shard.recall(&now, topic, handle).map_err(|rejection| rejection.code);
        world.turn_wanted = true;
        recalled
    };
    assert_eq!(recall(&mut world, "others", &first), Err(Code::ILLEGAL_OPERATION));
    assert_eq!(recall(&mut world, "orders", "?"), Err(Code::ILLEGAL_OPERATION));
    assert_eq!(recall(&mut world, "orders", &first), Ok(Some("A1".into())));
    assert_eq!(recall(&mut world, "orders", &first), Err(Code::ILLEGAL_OPERATION), "once");
    pass_ms(&mut world, 200);
    assert_eq!(recall(&mut world, "orders", &second), Err(Code::ILLEGAL_OPERATION), "too late");
    let delivered: Vec<_> = bodies(&mut world).into_iter().map(|(body, ..)| body).collect();
    assert_eq!(delivered, [b"A2".to_vec()]);
}
