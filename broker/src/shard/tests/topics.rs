//! Topics: created by opening, created and deleted on request, agreed on with siblings.

use super::remoting;
use super::world::{World, open, request};
use crate::shard::Settings;
use crate::shard::io::{ConnectionId, ControlInput, ControlOutput, Input, TopicNotice, TopicShape};
use ringmq_proto::code::Code;
use ringmq_proto::native::{
    CreateTopic, DeleteTopic, Failure, Frame, Kind, ListTopics, OpenedQueue, TopicList, TopicStats, TopicStatsResult,
};

fn create(id: u32, topic: &str, queue_count: u32, ordered: bool) -> Vec<u8> {
    request(Kind::CREATE_TOPIC, id, &CreateTopic { topic, queue_count, perm: 6, ordered })
}

fn delete(id: u32, topic: &str) -> Vec<u8> {
    request(Kind::DELETE_TOPIC, id, &DeleteTopic { topic })
}

fn notice(topic: &str, version: u64) -> TopicNotice {
    TopicNotice { topic: topic.into(), version, shape: TopicShape::plain(4, 6), ordered: false, deleted: false }
}

fn control(world: &mut World, input: ControlInput) {
    world.input(Input::Control(input));
    world.settle();
}

fn siblings(sibling_count: u32) -> (World, ConnectionId) {
    let mut world = World::new(Settings { sibling_count, ..Settings::default() });
    let client = world.connect();
    (world, client)
}

#[test]
fn opening_creates_the_topic_once_and_answers_all_when_its_record_is_confirmed() {
    let (mut world, client) = siblings(1);
    for id in 0..3 {
        world.give(client, &open(id, "new", i32::try_from(id).expect("small"), true));
    }
    world.turn();
    assert!(world.replies(client).is_empty(), "appended is not applied");
    world.settle();
    let replies = world.replies(client);
    assert_eq!(replies.len(), 3, "siblings are not waited for");
    let opened: Vec<OpenedQueue> = replies.iter().map(|reply| reply.table()).collect();
    assert_eq!(
        opened.iter().map(|queue| (queue.queue_id, queue.queue_count)).collect::<Vec<_>>(),
        [(0, 4), (1, 4), (2, 4)]
    );
    let told: Vec<_> =
        world.control.iter().filter(|out| matches!(out, ControlOutput::TopicForSiblings { .. })).collect();
    let expected = ControlOutput::TopicForSiblings { notice: notice("new", 1), ticket: None };
    assert_eq!(told, [&expected]);
}

#[test]
fn shard_chooses_queues_in_turn_when_the_client_leaves_it_the_choice() {
    let (mut world, client) = siblings(0);
    let mut numbers = [0; 8].map(|_| world.open_queue(client, "a", -1).queue_id);
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn nothing_is_created_where_that_is_switched_off() {
    let mut world = World::new(Settings { auto_create_topics: false, ..Settings::default() });
    let client = world.connect();
    world.give(client, &open(1, "new", 0, true));
    assert_eq!(world.reply(client).code(), Code::TOPIC_NOT_EXIST);
}

#[test]
fn explicit_creation_waits_for_the_siblings_and_names_those_that_failed() {
    let (mut world, client) = siblings(2);
    world.give(client, &create(1, "good", 3, false));
    world.give(client, &create(2, "bad", 3, false));
    world.settle();
    assert!(world.replies(client).is_empty());
    let tickets: Vec<_> = world
        .control
        .iter()
        .filter_map(|out| match out {
            ControlOutput::TopicForSiblings { notice, ticket: Some(ticket) } => Some((notice.topic.clone(), *ticket)),
            _ => None,
        })
        .collect();
    assert_eq!(tickets.iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(), ["good", "bad"]);
    control(&mut world, ControlInput::SiblingsAnswered { ticket: tickets[0].1, failures: Vec::new() });
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    let failures = vec![("s1-broker-a".into(), "disk full".into())];
    control(&mut world, ControlInput::SiblingsAnswered { ticket: tickets[1].1, failures });
    let reply = world.reply(client);
    assert_eq!(reply.code(), Code::SYSTEM_ERROR);
    let remark = Failure::of(&Frame { header: reply.header, body: &reply.body }).remark;
    assert!(remark.contains("s1-broker-a (disk full)"), "{remark}");
}

#[test]
fn silent_siblings_are_not_waited_for_forever() {
    let (mut world, client) = siblings(1);
    world.give(client, &create(1, "a", 3, false));
    world.settle();
    world.pass(11_000_000_000);
    assert_eq!(world.reply(client).code(), Code::SYSTEM_ERROR);
}

#[test]
fn topic_of_a_sibling_is_made_here_and_a_newer_version_wins() {
    let (mut world, client) = siblings(1);
    control(&mut world, ControlInput::TopicOfSibling(notice("theirs", 5)));
    let done = |version, failure| ControlOutput::SiblingTopicDone { topic: "theirs".into(), version, failure };
    assert_eq!(world.control.pop(), Some(done(5, None)));
    assert_eq!(world.open_queue(client, "theirs", 3).queue_count, 4);
    let older = TopicNotice { deleted: true, ..notice("theirs", 4) };
    control(&mut world, ControlInput::TopicOfSibling(older));
    assert_eq!(world.control.pop(), Some(done(4, None)), "ours is newer: nothing to do");
    assert_eq!(world.open_queue(client, "theirs", 0).queue_count, 4);
    control(&mut world, ControlInput::TopicOfSibling(TopicNotice { deleted: true, ..notice("theirs", 6) }));
    world.give(client, &open(1, "theirs", 0, false));
    assert_eq!(world.reply(client).code(), Code::TOPIC_NOT_EXIST);
    assert!(!world.control.iter().any(|out| matches!(out, ControlOutput::TopicForSiblings { .. })), "never echoed");
}

#[test]
fn topic_made_anew_after_a_deletion_is_newer_than_the_tombstone() {
    let (mut world, client) = siblings(1);
    world.open_queue(client, "a", 0);
    world.give(client, &delete(1, "a"));
    world.settle();
    control(&mut world, ControlInput::SiblingsAnswered { ticket: 1, failures: Vec::new() });
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    world.open_queue(client, "a", 0);
    let versions: Vec<_> = world
        .control
        .iter()
        .filter_map(|out| match out {
            ControlOutput::TopicForSiblings { notice, .. } => Some((notice.version, notice.deleted)),
            _ => None,
        })
        .collect();
    assert_eq!(versions, [(1, false), (2, true), (3, false)]);
}

#[test]
fn ordered_topic_lives_where_it_was_made_only() {
    let (mut world, client) = siblings(1);
    let ordered = TopicNotice { ordered: true, ..notice("line", 1) };
    control(&mut world, ControlInput::TopicOfSibling(ordered));
    assert!(matches!(world.control.pop(), Some(ControlOutput::SiblingTopicDone { failure: None, .. })));
    world.give(client, &open(1, "line", 0, false));
    assert_eq!(world.reply(client).code(), Code::TOPIC_NOT_EXIST);
}

#[test]
fn topics_are_listed_in_the_order_of_their_names_and_their_queues_told() {
    let (mut world, client) = siblings(0);
    for topic in ["b", "a", "c", "d"] {
        world.give(client, &create(1, topic, 2, false));
    }
    world.settle();
    world.give(client, &delete(1, "c"));
    world.settle();
    world.replies(client);
    world.give(client, &request(Kind::LIST_TOPICS, 2, &ListTopics { after: "", topics_max: 2 }));
    let reply = world.reply(client);
    let list: TopicList<'_> = reply.table();
    assert_eq!(list.topics.iter().map(|topic| topic.topic).collect::<Vec<_>>(), ["a", "b"]);
    assert!(list.more);
    world.give(client, &request(Kind::LIST_TOPICS, 3, &ListTopics { after: "b", topics_max: 100 }));
    let reply = world.reply(client);
    let list: TopicList<'_> = reply.table();
    assert_eq!((list.topics.iter().map(|topic| topic.topic).collect::<Vec<_>>(), list.more), (vec!["d"], false));
    world.give(client, &request(Kind::TOPIC_STATS, 4, &TopicStats { topic: "a" }));
    let stats: TopicStatsResult = world.reply(client).table();
    assert_eq!(stats.queues.iter().map(|queue| queue.queue_id).collect::<Vec<_>>(), [0, 1]);
    control(&mut world, ControlInput::ReportTopics);
    let Some(ControlOutput::Topics(topics)) = world.control.pop() else { panic!("a report") };
    let told: Vec<_> = topics.iter().map(|topic| (topic.topic.as_str(), topic.deleted)).collect();
    assert_eq!(told, [("a", false), ("b", false), ("c", true), ("d", false)], "tombstones are told, too");
}

#[test]
fn shape_of_a_topic_is_checked() {
    let (mut world, client) = siblings(0);
    let with_perm = CreateTopic { topic: "a", queue_count: 1, perm: 8, ordered: false };
    for bytes in [create(1, "a", 0, false), create(1, "a", 70_000, false), request(Kind::CREATE_TOPIC, 1, &with_perm)] {
        world.give(client, &bytes);
        assert_eq!(world.reply(client).code(), Code::INVALID_PARAMETER);
    }
    world.give(client, &delete(2, "missing"));
    assert_eq!(world.reply(client).code(), Code::TOPIC_NOT_EXIST);
}

#[test]
fn topics_permissions_hold_for_sends_and_pulls() {
    let (mut world, client) = siblings(0);
    for (topic, perm) in [("write-only", 2), ("read-only", 4)] {
        world.give(
            client,
            &request(Kind::CREATE_TOPIC, 1, &CreateTopic { topic, queue_count: 1, perm, ordered: false }),
        );
    }
    world.settle();
    world.replies(client);
    let handles = ["write-only", "read-only"].map(|topic| world.open_queue(client, topic, 0).handle);
    for (handle, sends) in handles.into_iter().zip([Code::SUCCESS, Code::NO_PERMISSION]) {
        world.give(client, &super::world::send_one(2, handle, b"x"));
        world.settle();
        assert_eq!(world.reply(client).code(), sends);
    }
    for (handle, pulls) in handles.into_iter().zip([Code::NO_PERMISSION, Code::PULL_NOT_FOUND]) {
        world.give(client, &super::world::pull(3, handle, 0, 0));
        assert_eq!(world.reply(client).code(), pulls);
    }
}

#[test]
fn sibling_that_offers_what_is_already_on_its_way_is_answered_too() {
    let (mut world, client) = siblings(1);
    world.give(client, &open(1, "a", 0, true));
    world.input(Input::Control(ControlInput::TopicOfSibling(notice("a", 1))));
    let answered = |world: &World| {
        let done =
            |out: &&ControlOutput| matches!(out, ControlOutput::SiblingTopicDone { version: 1, failure: None, .. });
        world.control.iter().filter(done).count()
    };
    assert_eq!(answered(&world), 0, "not confirmed yet");
    world.settle();
    assert_eq!(answered(&world), 1);
    assert_eq!(world.reply(client).code(), Code::SUCCESS);
    assert_eq!(world.shard.store().state().topic("a").map(|topic| topic.record.version), Some(1), "made once");
}

#[test]
fn siblings_that_changed_a_topic_at_the_same_time_choose_the_same_change() {
    let smaller = TopicNotice { shape: TopicShape::plain(2, 6), ..notice("a", 1) };
    let larger = TopicNotice { shape: TopicShape::plain(6, 6), ..notice("a", 1) };
    for order in [[&smaller, &larger], [&larger, &smaller]] {
        let (mut world, client) = siblings(1);
        for offered in order {
            control(&mut world, ControlInput::TopicOfSibling(offered.clone()));
        }
        assert_eq!(world.open_queue(client, "a", 0).queue_count, 6);
    }
}

#[test]
fn send_that_makes_a_topic_is_carried_out_when_name_servers_know_it_and_nothing_overtakes_it() {
    let mut world = World::new(Settings { awaits_registration: true, ..Settings::default() });
    let client = world.open_connection();
    world.give(client, &remoting::send(1, "fresh", "", b"first"));
    world.settle();
    let asked = world.control.iter().find_map(|output| match output {
        ControlOutput::WhenRegistered { topic, ticket } => Some((topic.clone(), *ticket)),
        _ => None,
    });
    let (topic, ticket) = asked.expect("the control plane is asked");
    assert_eq!(topic, "fresh");
    world.give(client, &remoting::send(2, "fresh", "", b"second"));
    world.input(Input::Control(ControlInput::TopicRegistered { topic: "fresh".into(), ticket: ticket + 1 }));
    world.settle();
    assert!(remoting::answers(&mut world, client).is_empty(), "not before it is known");
    world.input(Input::Control(ControlInput::TopicRegistered { topic: "fresh".into(), ticket }));
    world.settle();
    let told: Vec<_> = remoting::answers(&mut world, client)
        .iter()
        .map(|answer| (answer.header.opaque, answer.code(), answer.ext("queueOffset").to_owned()))
        .collect();
    assert_eq!(told, [(1, Code::SUCCESS, "0".to_owned()), (2, Code::SUCCESS, "1".to_owned())]);
}
