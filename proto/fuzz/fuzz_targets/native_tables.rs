//! Every FlatBuffers table: no panic on any body, and what is read can be written and read again.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::native::*;
use ringmq_proto_fuzz::Input;

#[derive(Debug, Arbitrary)]
enum Valid {
    Hello(u16, String, String, u32, u64),
    OpenQueue(String, i32, bool),
    CommitOffset(u32, String, u64),
    SearchOffset(u32, u64, bool),
    CreateTopic(String, u32, u32, bool),
    TopicList(Vec<(String, u32, u64)>, bool),
    TopicStats(Vec<(u32, u64, u64, u64)>),
    Failure(String),
}

fn encode(valid: Valid) -> Vec<u8> {
    let mut out = Vec::new();
    match valid {
        Valid::Hello(version_max, software, broker_name, limit, features) => Hello {
            version_max,
            software: &software,
            broker_name: &broker_name,
            frame_size_bytes_max: limit,
            features,
            ..Hello::default()
        }
        .append_to(&mut out),
        Valid::OpenQueue(topic, queue_id, create_topic) => {
            OpenQueue { topic: &topic, queue_id, create_topic }.append_to(&mut out);
        }
        Valid::CommitOffset(handle, group, offset) => {
            CommitOffset { handle, group: &group, offset: QueueOffset::new(offset) }.append_to(&mut out);
        }
        Valid::SearchOffset(handle, store_time_ms, upper) => {
            SearchOffset { handle, store_time_ms, upper }.append_to(&mut out);
        }
        Valid::CreateTopic(topic, queue_count, perm, ordered) => {
            CreateTopic { topic: &topic, queue_count, perm, ordered }.append_to(&mut out);
        }
        Valid::TopicList(topics, more) => {
            let topics = topics
                .iter()
                .map(|(topic, queue_count, version)| TopicInfo {
                    topic,
                    queue_count: *queue_count,
                    perm: 6,
                    ordered: false,
                    version: *version,
                })
                .collect();
            TopicList { topics, more }.append_to(&mut out);
        }
        Valid::TopicStats(queues) => {
            let queues = queues
                .iter()
                .map(|(queue_id, min, max, last_store_time_ms)| QueueStats {
                    queue_id: *queue_id,
                    min_offset: QueueOffset::new(*min),
                    max_offset: QueueOffset::new(*max),
                    last_store_time_ms: *last_store_time_ms,
                })
                .collect();
            TopicStatsResult { queues }.append_to(&mut out);
        }
        Valid::Failure(remark) => Failure { remark: &remark }.append_to(&mut out),
    }
    out
}

macro_rules! read_and_write {
    ($body:expr, $($table:ident),*) => {
        $(if let Ok(table) = $table::decode($body) {
            let mut written = Vec::new();
            table.append_to(&mut written);
            assert_eq!($table::decode(&written).as_ref(), Ok(&table));
        })*
    };
}

fuzz_target!(|input: Input<Valid>| {
    let bytes = input.bytes(encode);
    read_and_write!(
        &bytes,
        Hello,
        OpenQueue,
        OpenedQueue,
        CommitOffset,
        QueryOffset,
        QueueState,
        QueueStateResult,
        SearchOffset,
        OffsetResult,
        ViewMessage,
        CreateTopic,
        DeleteTopic,
        ListTopics,
        TopicList,
        TopicStats,
        TopicStatsResult,
        Failure
    );
});
