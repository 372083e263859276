//! What must hold for any native frame and for any bytes in the place of one.
//!
//! A failing case is printed with its seed and kept in `proptest-regressions/`; replay it with
//! `cargo test -p ringmq-proto --test native_properties`.

use proptest::collection::vec;
use proptest::prelude::*;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::native::*;

const FRAME_MAX: usize = 1 << 20;

fn only_frame(bytes: &[u8]) -> Frame<'_> {
    let (frame, consumed) = split_frame(bytes, FRAME_MAX).expect("a length in range").expect("a whole frame");
    assert_eq!(consumed, bytes.len());
    frame
}

fn name() -> impl Strategy<Value = String> {
    "[%a-zA-Z0-9_-]{0,40}|\\PC{0,20}"
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

type OwnedItem = (u32, u64, i32, u16, Vec<u8>, Vec<u8>);

fn items() -> impl Strategy<Value = Vec<OwnedItem>> {
    let sys_flag = any::<u16>().prop_map(|bits| bits & 0x703);
    vec((any::<u32>(), any::<u64>(), any::<i32>(), sys_flag, bytes(30), bytes(30)), 1..20)
}

fn borrow(items: &[OwnedItem]) -> Vec<SendItem<'_>> {
    items
        .iter()
        .map(|(handle, born_time_ms, flag, sys_flag, properties, body)| SendItem {
            handle: *handle,
            born_time_ms: *born_time_ms,
            flag: *flag,
            sys_flag: *sys_flag,
            properties,
            body,
        })
        .collect()
}

/// Reads `body` as every table there is; gives how many took it for theirs.
fn read_as_every_table(body: &[u8]) -> usize {
    [
        Hello::decode(body).is_ok(),
        OpenQueue::decode(body).is_ok(),
        OpenedQueue::decode(body).is_ok(),
        CommitOffset::decode(body).is_ok(),
        QueryOffset::decode(body).is_ok(),
        QueueState::decode(body).is_ok(),
        QueueStateResult::decode(body).is_ok(),
        SearchOffset::decode(body).is_ok(),
        OffsetResult::decode(body).is_ok(),
        ViewMessage::decode(body).is_ok(),
        CreateTopic::decode(body).is_ok(),
        DeleteTopic::decode(body).is_ok(),
        ListTopics::decode(body).is_ok(),
        TopicList::decode(body).is_ok_and(|list| list.topics.len() * 4 <= body.len()),
        TopicStats::decode(body).is_ok(),
        TopicStatsResult::decode(body).is_ok_and(|stats| stats.queues.len() * 4 <= body.len()),
        Failure::decode(body).is_ok(),
    ]
    .into_iter()
    .filter(|is_ok| *is_ok)
    .count()
}

/// A request or reply with this table comes back, and no part of its body is the same table.
fn comes_back<'a, T: Table<'a> + PartialEq + std::fmt::Debug>(table: &T, frame: &'a mut Vec<u8>) {
    encode_request(frame, Kind::OPEN_QUEUE, 7, FrameFlags::ONEWAY, table);
    let whole = only_frame(frame);
    assert_eq!((whole.header.kind, whole.header.request_id), (Kind::OPEN_QUEUE, 7));
    let decoded = T::decode(whole.body).expect("just written");
    assert_eq!(&decoded, table);
    let mut reply = Vec::new();
    encode_reply(&mut reply, Kind::OPEN_QUEUE, 7, table);
    assert_eq!(only_frame(&reply).body, whole.body);
    for length in 0..whole.body.len() {
        // Cut in its padding a table may still be whole; never may it be another one.
        if let Ok(cut) = T::decode(&whole.body[..length]) {
            assert_eq!(&cut, table, "{length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn any_header_comes_back(length: u32, kind: u8, flags: u8, code: u16, request_id: u32, count: u32) {
        let (kind, flags, code) = (Kind(kind), FrameFlags(flags), Code::new(code));
        let header = FrameHeader { length, kind, flags, code, request_id, count };
        prop_assert_eq!(FrameHeader::decode(&header.encode()), header);
    }

    #[test]
    fn any_send_comes_back(items in items(), request_id: u32) {
        let items = borrow(&items);
        let mut bytes = Vec::new();
        encode_send(&mut bytes, request_id, FrameFlags::NONE, &items);
        let frame = only_frame(&bytes);
        prop_assert_eq!(frame.header.request_id, request_id);
        let send = SendFrame::decode(&frame).expect("just written");
        prop_assert_eq!(send.items().collect::<Vec<_>>(), items.clone());
        prop_assert!(send.handles().eq(items.iter().map(|item| item.handle)));
    }

    #[test]
    fn frames_cut_anywhere_wait_for_more(items in items()) {
        let mut bytes = Vec::new();
        encode_send(&mut bytes, 1, FrameFlags::NONE, &borrow(&items));
        for length in 0..bytes.len() {
            prop_assert_eq!(split_frame(&bytes[..length], FRAME_MAX), Ok(None));
        }
    }

    #[test]
    fn a_send_whose_body_is_cut_is_an_error(items in items()) {
        let mut bytes = Vec::new();
        encode_send(&mut bytes, 1, FrameFlags::NONE, &borrow(&items));
        let frame = only_frame(&bytes);
        for length in 0..frame.body.len() {
            let body = &frame.body[..length];
            prop_assert!(SendFrame::decode(&Frame { body, ..frame }).is_err(), "{} bytes", length);
        }
    }

    #[test]
    fn a_damaged_send_is_an_error_or_has_all_its_items(
        items in items(), place: prop::sample::Index, value: u8, count in 0u32..30
    ) {
        let mut bytes = Vec::new();
        encode_send(&mut bytes, 1, FrameFlags::NONE, &borrow(&items));
        let place = 16 + place.index(bytes.len() - 16);
        bytes[place] = value;
        let frame = only_frame(&bytes);
        for header in [frame.header, FrameHeader { count, ..frame.header }] {
            if let Ok(send) = SendFrame::decode(&Frame { header, ..frame }) {
                prop_assert_eq!(send.items().count(), header.count as usize);
                let bytes: usize = send.items().map(|item| item.encoded_len()).sum();
                prop_assert_eq!(bytes, frame.body.len());
            }
        }
    }

    #[test]
    fn a_count_that_nothing_backs_is_an_error(count in 2u32..=u32::MAX, body in bytes(47)) {
        let header = FrameHeader {
            length: 0, kind: Kind::SEND, flags: FrameFlags::NONE, code: Code::SUCCESS, request_id: 0, count,
        };
        let frame = Frame { header, body: &body };
        prop_assert!(SendFrame::decode(&frame).is_err());
        prop_assert!(SendReply::decode(&frame).is_err());
        prop_assert!(PullReply::decode(&frame).is_err() || body.len() >= 24 + 16 * 2);
    }

    #[test]
    fn send_results_come_back(results in vec(any::<(u32, u32, u64, u64)>(), 0..20), code in 0u16..13) {
        let results: Vec<_> = results.into_iter().map(|(handle, count, queue_offset, position)| SendResult {
            handle, count, queue_offset: QueueOffset::new(queue_offset), position: LogPosition::new(position),
        }).collect();
        let mut bytes = Vec::new();
        encode_send_reply(&mut bytes, 5, Code::new(code), &results);
        let frame = only_frame(&bytes);
        prop_assert!(SendReply::decode(&frame).expect("just written").results().eq(results.iter().copied()));
        for length in 0..frame.body.len() {
            let cut = Frame { body: &frame.body[..length], ..frame };
            prop_assert!(SendReply::decode(&cut).is_err());
        }
    }

    #[test]
    fn pulls_come_back(numbers: (u32, u64, u32, u32, u32), offsets: (u64, u64, u64), records in bytes(100)) {
        let (handle, offset, messages_max, bytes_max, wait_ms) = numbers;
        let request = PullRequest { handle, offset: QueueOffset::new(offset), messages_max, bytes_max, wait_ms };
        let mut bytes = Vec::new();
        encode_pull(&mut bytes, 3, &request);
        prop_assert_eq!(PullRequest::decode(&only_frame(&bytes)), Ok(request));

        let (next, min, max) = offsets;
        let (next_offset, min_offset) = (QueueOffset::new(next), QueueOffset::new(min));
        let result = PullResult { next_offset, min_offset, max_offset: QueueOffset::new(max) };
        bytes.clear();
        let count = u32::try_from(records.len() / 16).expect("few");
        prop_assume!(count > 0 || records.is_empty());
        encode_pull_reply(&mut bytes, 3, Code::SUCCESS, &result, count, &records);
        let reply = PullReply::decode(&only_frame(&bytes)).expect("just written");
        prop_assert_eq!((reply.result, reply.record_bytes()), (result, records.as_slice()));
        let _ = reply.records().count();
    }

    #[test]
    fn requests_and_their_answers_come_back(
        text in name(), numbers: (u32, u32, u64, u64), flag: bool, queue_id: i32
    ) {
        let (handle, count, first, second) = numbers;
        let (min_offset, max_offset) = (QueueOffset::new(first), QueueOffset::new(second));
        let text = text.as_str();
        comes_back(&OpenQueue { topic: text, queue_id, create_topic: flag }, &mut vec![]);
        comes_back(&OpenedQueue { handle, queue_id: 3, queue_count: count, min_offset, max_offset }, &mut vec![]);
        comes_back(&CommitOffset { handle, group: text, offset: min_offset }, &mut vec![]);
        comes_back(&QueryOffset { handle, group: text }, &mut vec![]);
        comes_back(&QueueState { handle }, &mut vec![]);
        comes_back(&QueueStateResult { min_offset, max_offset, earliest_store_time_ms: first }, &mut vec![]);
        comes_back(&SearchOffset { handle, store_time_ms: first, upper: flag }, &mut vec![]);
        comes_back(&OffsetResult { offset: min_offset }, &mut vec![]);
        comes_back(&ViewMessage { position: LogPosition::new(first) }, &mut vec![]);
        comes_back(&CreateTopic { topic: text, queue_count: count, perm: handle, ordered: flag }, &mut vec![]);
        comes_back(&DeleteTopic { topic: text }, &mut vec![]);
        comes_back(&ListTopics { after: text, topics_max: count }, &mut vec![]);
        comes_back(&TopicStats { topic: text }, &mut vec![]);
        comes_back(&Failure { remark: text }, &mut vec![]);
        let hello = Hello {
            version_min: 1, version_max: 1, software: text, broker_name: text, frame_size_bytes_max: count,
            frame_message_count_max: handle, in_flight_bytes_max: count, handle_count_max: count, features: first,
        };
        comes_back(&hello, &mut vec![]);
    }

    #[test]
    fn lists_come_back(
        topics in vec((name(), any::<u32>(), any::<u32>(), any::<bool>(), any::<u64>()), 0..20),
        queues in vec(any::<(u32, u64, u64, u64)>(), 0..20), more: bool
    ) {
        let topics = topics.iter().map(|(topic, queue_count, perm, ordered, version)| TopicInfo {
            topic, queue_count: *queue_count, perm: *perm, ordered: *ordered, version: *version,
        }).collect();
        comes_back(&TopicList { topics, more }, &mut vec![]);
        let queues = queues.into_iter().map(|(queue_id, min, max, last_store_time_ms)| QueueStats {
            queue_id, min_offset: QueueOffset::new(min), max_offset: QueueOffset::new(max), last_store_time_ms,
        }).collect();
        comes_back(&TopicStatsResult { queues }, &mut vec![]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(input in bytes(300), frame_max in 0usize..400) {
        if let Ok(Some((frame, consumed))) = split_frame(&input, frame_max) {
            prop_assert!(consumed <= frame_max && consumed <= input.len());
            let _ = SendFrame::decode(&frame).map(|send| send.items().count());
            let _ = SendReply::decode(&frame).map(|reply| reply.results().count());
            let _ = PullRequest::decode(&frame);
            let _ = PullReply::decode(&frame).map(|reply| reply.records().count());
            let _ = Failure::of(&frame);
        }
        let _ = read_as_every_table(&input);
    }

    #[test]
    fn damaged_tables_are_read_without_a_panic(
        text in name(), count in 0usize..4, changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let topic = TopicInfo { topic: &text, queue_count: 8, perm: 6, ordered: true, version: 9 };
        let mut body = Vec::new();
        TopicList { topics: vec![topic; count], more: true }.append_to(&mut body);
        for (place, value) in changes {
            let place = place.index(body.len());
            body[place] = value;
            let _ = read_as_every_table(&body);
        }
    }
}

#[test]
fn names_over_their_limit_are_told_as_out_of_range() {
    use ringmq_proto::error::DecodeError;
    let long = "x".repeat(256);
    let mut body = Vec::new();
    OpenQueue { topic: &long, queue_id: 0, create_topic: false }.append_to(&mut body);
    assert!(matches!(OpenQueue::decode(&body), Err(DecodeError::OutOfRange { value: 256, max: 255, .. })));
    body.clear();
    OpenQueue { topic: &long[1..], queue_id: 0, create_topic: false }.append_to(&mut body);
    assert!(OpenQueue::decode(&body).is_ok());
}

#[test]
fn a_list_that_repeats_one_large_topic_is_refused() {
    // 20 000 offsets to the same table of 255 bytes would be 5 MB of text in a body of 80 KB.
    let name = "x".repeat(255);
    let info = TopicInfo { topic: &name, queue_count: 1, perm: 6, ordered: false, version: 1 };
    let mut honest = Vec::new();
    TopicList { topics: vec![info; 1], more: false }.append_to(&mut honest);
    assert!(TopicList::decode(&honest).is_ok());

    // The table by hand: root -> table -> vector of 20 000 offsets -> the same TopicInfo at the end.
    const COUNT: u32 = 20_000;
    let mut body = Vec::new();
    body.extend_from_slice(&12u32.to_le_bytes()); // root: the table at 12
    body.extend_from_slice(&[6, 0, 8, 0, 4, 0, 0, 0]); // vtable at 4: size 6, table 8, topics at 4
    body.extend_from_slice(&8i32.to_le_bytes()); // table at 12: vtable 8 before
    body.extend_from_slice(&4u32.to_le_bytes()); // topics: the vector at 20
    body.extend_from_slice(&COUNT.to_le_bytes());
    let info_at = 24 + 4 * COUNT + 8;
    for index in 0..COUNT {
        body.extend_from_slice(&(info_at - (24 + 4 * index)).to_le_bytes());
    }
    body.extend_from_slice(&[6, 0, 8, 0, 4, 0, 0, 0]); // vtable of the TopicInfo: topic at 4
    body.extend_from_slice(&8i32.to_le_bytes());
    body.extend_from_slice(&4u32.to_le_bytes()); // topic: the text right behind
    body.extend_from_slice(&255u32.to_le_bytes());
    body.extend_from_slice(name.as_bytes());
    body.push(0);
    assert!(TopicList::decode(&body).is_err());
    // With two entries instead of 20 000 it is the same, and valid: the size alone was refused.
    body[20..24].copy_from_slice(&2u32.to_le_bytes());
    assert_eq!(TopicList::decode(&body).map(|list| list.topics.len()), Ok(2));
}
