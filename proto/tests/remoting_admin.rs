//! What administrators ask and are answered, against what RocketMQ 4.9.8 and its tools sent.

use ringmq_proto::remoting::admin::assignment::{MessageRequestMode, QueryAssignment, QueryAssignmentReply};
use ringmq_proto::remoting::admin::clients::{
    ConsumerConnections, GetConsumerConnections, GetProducerConnections, GroupList, ProducerConnections, ProducerTable,
};
use ringmq_proto::remoting::admin::groups::{DeleteGroup, GroupConfig, GroupConfigTable};
use ringmq_proto::remoting::admin::offsets::{
    ConsumerOffsetTable, ConsumerStatusTable, DelayOffsetTable, InvokeResetOffset,
};
use ringmq_proto::remoting::admin::progress::{
    BrokerConsumeStats, BrokerStats, ConsumeQueueData, ConsumeStats, ConsumeTimeSpans, GetBrokerConsumeStats,
    GetConsumeStats, QueryConsumeQueue, QueryConsumeTimeSpan, TopicStats, ViewBrokerStats,
};
use ringmq_proto::remoting::admin::topics::{TopicConfigList, TopicConfigTable, TopicName, UpdateTopic};
use ringmq_proto::remoting::{ExtHeader, Header, SerializeType, lenient};
use serde_json::Value;

const JSON_HEADERS: &str = include_str!("data/remoting_headers.jsonl");

/// A code and the body that answered it, a line each, as they were on the wire.
const BODIES: &str = include_str!("data/admin_bodies.txt");

fn body(code: i32) -> &'static str {
    let start = format!("{code} ");
    BODIES.lines().find_map(|line| line.strip_prefix(start.as_str())).expect("the code was captured")
}

/// The value without what RingMQ leaves out: members that only repeat others as text.
fn value(json: &[u8]) -> Value {
    let mut value: Value = lenient::decode(json).expect("JSON");
    remove_repeated(&mut value);
    value
}

fn remove_repeated(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // 5.x's stateVersion is written always, 4.9 knows none.
            members.retain(|name, _| !name.ends_with("StampStr") && name != "stateVersion");
            members.values_mut().for_each(remove_repeated);
        }
        Value::Array(elements) => elements.iter_mut().for_each(remove_repeated),
        _ => {}
    }
}

macro_rules! assert_body {
    ($body:ty, $code:expr) => {{
        let captured = body($code);
        let typed = <$body>::decode(captured.as_bytes()).unwrap();
        let written = typed.encode();
        assert!(serde_json::from_slice::<Value>(&written).is_ok(), "standard JSON");
        assert_eq!(value(&written), value(captured.as_bytes()), "{}", $code);
        assert_eq!(<$body>::decode(&written).unwrap(), typed);
        typed
    }};
}

#[test]
fn captured_answers_are_read_and_written_alike() {
    let topics = assert_body!(TopicConfigTable, 21);
    assert_eq!(topics.topic_config_table["TBW102"].perm, 7);
    let groups = assert_body!(GroupConfigTable, 201);
    assert_eq!(groups.subscription_group_table["gcap"].retry_max_times, 16);
    let stats = assert_body!(TopicStats, 202);
    assert_eq!(stats.offset_table.0.len(), 4);
    let connections = assert_body!(ConsumerConnections, 203);
    assert_eq!(connections.subscription_table["TopicT"].tags_set.len(), 3);
    assert_body!(ProducerConnections, 204);
    let stats = assert_body!(ConsumeStats, 208);
    assert_eq!(stats.offset_table.0.len(), 5);
    let groups = assert_body!(GroupList, 300);
    assert_eq!(groups.group_list, ["gord", "glite", "gcap"]);
    let spans = assert_body!(ConsumeTimeSpans, 303);
    assert_eq!(spans.consume_time_span_set[0].message_queue.topic, "TopicT");
    let stats = assert_body!(BrokerStats, 315);
    assert_eq!(stats.stats_minute.sum, 6);
    let stats = assert_body!(BrokerConsumeStats, 317);
    assert_eq!(stats.total_diff, 5);
    let queue = assert_body!(ConsumeQueueData, 321);
    assert_eq!(queue.queue_data[1].tags_code, -1_797_401_818);
}

#[test]
fn a_captured_group_is_read_and_written_byte_for_byte() {
    let text = r#"{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"gcap","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
    let group = GroupConfig::decode(text.as_bytes()).unwrap();
    assert_eq!(group, GroupConfig { group_name: "gcap".into(), ..GroupConfig::default() });
    assert_eq!(String::from_utf8(group.encode()).unwrap(), text);
}

/// Written by hand from the documented form of 5.x.
#[test]
fn a_group_of_5_x_keeps_its_retry_policy() {
    let text = br#"{"attributes":{},"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g","groupRetryPolicy":
        {"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":60000,"multiplier":3}},"groupSysFlag":0,
        "subscriptionDataSet":[{"topic":"T","expressionType":"TAG","expression":"*","version":1}],"unknown":[1]}"#;
    let group = GroupConfig::decode(text).unwrap();
    let policy = group.group_retry_policy.as_ref().unwrap();
    assert_eq!(policy.policy_type, "EXPONENTIAL");
    assert_eq!(policy.exponential_retry_policy.as_ref().unwrap().multiplier, 3);
    assert_eq!(GroupConfig::decode(&group.encode()).unwrap(), group);
}

macro_rules! assert_captured {
    ($header:ty, $code:expr) => {{
        let starts = format!("{{\"code\":{},", $code);
        let requests = JSON_HEADERS.lines().filter(|line| line.starts_with(&starts) && !line.contains("\"flag\":1,"));
        let mut count = 0;
        for line in requests {
            let header = Header::decode(SerializeType::Json, line.as_bytes()).unwrap();
            let typed = <$header>::decode(&header.ext).unwrap();
            let sorted = |ext: &ringmq_proto::remoting::ExtFields<'_>| {
                let mut fields: Vec<(String, String)> = ext
                    .iter()
                    .filter(|(name, _)| *name != "bname")
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                fields.sort();
                fields
            };
            assert_eq!(sorted(&typed.to_ext()), sorted(&header.ext), "{}", $code);
            count += 1;
        }
        assert!(count > 0, "{} was captured", $code);
    }};
}

#[test]
fn captured_requests_are_read_and_written_alike() {
    assert_captured!(UpdateTopic<'_>, 17);
    assert_captured!(TopicName<'_>, 202);
    assert_captured!(GetConsumerConnections<'_>, 203);
    assert_captured!(GetProducerConnections<'_>, 204);
    assert_captured!(DeleteGroup<'_>, 207);
    assert_captured!(GetConsumeStats<'_>, 208);
    assert_captured!(TopicName<'_>, 215);
    assert_captured!(InvokeResetOffset<'_>, 222);
    assert_captured!(TopicName<'_>, 300);
    assert_captured!(QueryConsumeTimeSpan<'_>, 303);
    assert_captured!(ViewBrokerStats<'_>, 315);
    assert_captured!(GetBrokerConsumeStats, 317);
    assert_captured!(QueryConsumeQueue<'_>, 321);
}

/// The forms of §1.10, bare numbers and objects as keys.
#[test]
fn fastjsons_tables_are_read() {
    let offsets = ConsumerOffsetTable::decode(br#"{"offsetTable":{"T@G":{0:5,1:6}}}"#).unwrap();
    assert_eq!(offsets.offset_table["T@G"], [(0, 5), (1, 6)].into());
    assert_eq!(ConsumerOffsetTable::decode(&offsets.encode()).unwrap(), offsets);
    let delays = DelayOffsetTable::decode(br#"{"offsetTable":{1:1,3:1}}"#).unwrap();
    assert_eq!(delays.offset_table, [(1, 1), (3, 1)].into());
    let status =
        ConsumerStatusTable::decode(br#"{"consumerTable":{"c@1":{{"brokerName":"b","queueId":0,"topic":"T"}:7}}}"#);
    let status = status.unwrap();
    assert_eq!(status.consumer_table["c@1"].0.values().copied().collect::<Vec<_>>(), [7]);
    assert_eq!(ConsumerStatusTable::decode(&status.encode()).unwrap(), status);
}

#[test]
fn either_name_for_removing_offsets_counts() {
    let group = |remove_offset, clean_offset| DeleteGroup { group_name: "g", remove_offset, clean_offset };
    assert!(group(Some(true), None).removes_offsets() && group(None, Some(true)).removes_offsets());
    assert!(!group(None, None).removes_offsets() && !group(Some(false), None).removes_offsets());
}

/// The frame that a 5.3 client sent to 4.9.8, which did not know it.
#[test]
fn the_broker_divides_queues_as_asked() {
    let text = r#"{"clientId":"c","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T"}"#;
    let query = QueryAssignment::decode(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(query.encode()).unwrap(), text);
    let answer =
        r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":0,"topic":"T"},"mode":"PULL"}]}"#;
    let reply = QueryAssignmentReply::decode(answer.as_bytes()).unwrap();
    assert_eq!(reply.message_queue_assignments[0].mode, MessageRequestMode::Pull);
    assert_eq!(String::from_utf8(reply.encode()).unwrap(), answer);
}

#[test]
fn lists_of_5_x_are_read() {
    let topics = TopicConfigList::decode(br#"{"topicConfigList":[{"topicName":"T","readQueueNums":4}]}"#).unwrap();
    assert_eq!((topics.topic_config_list[0].read_queue_nums, topics.topic_config_list[0].perm), (4, 6));
    let text = r#"{"data":{"p":[{"clientId":"c","language":"JAVA","lastUpdateTimestamp":5,"remoteIP":"/127.0.0.1:1","version":409}]}}"#;
    let producers = ProducerTable::decode(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(producers.encode()).unwrap(), text);
}
