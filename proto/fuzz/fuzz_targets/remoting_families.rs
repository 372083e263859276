//! Bytes from the network as the bodies of all families (the first byte chooses which): what is read can be written, and
//! reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::remoting::admin::assignment::{QueryAssignment, QueryAssignmentReply, SetMessageRequestMode};
use ringmq_proto::remoting::admin::clients::{ConsumerConnections, GroupList, ProducerTable, QuerySubscriptionReply};
use ringmq_proto::remoting::admin::groups::{GroupConfig, GroupConfigList, GroupConfigTable};
use ringmq_proto::remoting::admin::offsets::{ConsumerOffsetTable, ConsumerStatusTable, DelayOffsetTable};
use ringmq_proto::remoting::admin::progress::{
    BrokerConsumeStats, BrokerStats, ConsumeQueueData, ConsumeStats, ConsumeTimeSpans, TopicStats,
};
use ringmq_proto::remoting::admin::settings::{HaRuntimeInfo, decode_properties};
use ringmq_proto::remoting::admin::topics::{AttributeChanges, TopicConfigList, TopicConfigTable};
use ringmq_proto::remoting::client_push::{ConsumeDirectlyResult, ConsumerStatusBody, ResetOffsetBody};
use ringmq_proto::remoting::consumer::{ConsumerList, LockBatchBody, LockBatchReply};
use ringmq_proto::remoting::heartbeat::{CheckClientRequestBody, HeartbeatData};
use ringmq_proto::remoting::timer::RecallHandle;

macro_rules! check {
    ($choice:expr, $bytes:expr, $($body:ty),* $(,)?) => {{
        let readers: &[fn(&[u8])] = &[$(|bytes| {
            if let Ok(body) = <$body>::decode(bytes) {
                let written = body.encode();
                serde_json::from_slice::<serde_json::Value>(&written).expect("standard JSON");
                assert_eq!(<$body>::decode(&written).expect("own bodies can be read"), body);
            }
        }),*];
        readers.get(usize::from($choice)).map(|reader| reader($bytes))
    }};
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let known = check!(
        *choice,
        bytes,
        HeartbeatData,
        CheckClientRequestBody,
        LockBatchBody,
        LockBatchReply,
        ConsumerList,
        ResetOffsetBody,
        ConsumerStatusBody,
        ConsumeDirectlyResult,
        TopicConfigTable,
        TopicConfigList,
        GroupConfig,
        GroupConfigList,
        GroupConfigTable,
        ConsumerConnections,
        ProducerTable,
        GroupList,
        QuerySubscriptionReply,
        TopicStats,
        ConsumeStats,
        BrokerConsumeStats,
        ConsumeTimeSpans,
        BrokerStats,
        ConsumeQueueData,
        ConsumerStatusTable,
        ConsumerOffsetTable,
        DelayOffsetTable,
        HaRuntimeInfo,
        QueryAssignment,
        QueryAssignmentReply,
        SetMessageRequestMode,
    );
    if known.is_some() {
        return;
    }
    let _ = decode_properties(bytes);
    let text = String::from_utf8_lossy(bytes);
    AttributeChanges(&text).iter().for_each(drop);
    if let Ok(handle) = RecallHandle::decode(&text) {
        assert_eq!(RecallHandle::decode(&handle.encode()).expect("own handles can be read"), handle);
    }
    for form in [ResetOffsetBody::encode, ResetOffsetBody::encode_bare, ResetOffsetBody::encode_pairs] {
        if let Ok(body) = ResetOffsetBody::decode(bytes) {
            assert_eq!(ResetOffsetBody::decode(&form(&body)).expect("own bodies can be read"), body);
        }
    }
});
