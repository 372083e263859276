//! What brokers ask of a consumer: move your offsets (220), where are you (221), how are you (307), consume this (309).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ringmq_proto::code::Code;
use ringmq_proto::remoting::client_push::{
    ConsumeDirectlyResult, ConsumeMessageDirectly, ConsumerStatusBody, GetConsumerRunningInfo, GetConsumerStatus,
    ResetOffset, ResetOffsetBody,
};
use ringmq_proto::remoting::request_code as code;
use serde_json::{Map, Value, json};

use super::core::Core;
use super::listener::{Consumed, ConsumedInOrder, Messages};
use super::{concurrent, orderly};
use crate::group::member::now_ms;
use crate::message::{MessageQueue, decode_stored};
use crate::remoting::broker::{own_queue, wire_queue};
use crate::remoting::link::Asked;

/// Answers, now or when the listener has.
pub(super) fn answer(core: Arc<Core>, asked: Asked) {
    match asked.code {
        code::RESET_CONSUMER_CLIENT_OFFSET => reset(core, &asked),
        code::GET_CONSUMER_STATUS_FROM_CLIENT => {
            let Some(header) = asked.read::<GetConsumerStatus<'_>>() else { return refuse(&asked) };
            let offsets = core.offsets.of_topic(header.topic);
            let table = offsets.iter().map(|(queue, offset)| (wire_queue(queue), *offset)).collect();
            asked.answer(Code::SUCCESS, None, &ConsumerStatusBody { message_queue_table: table }.encode());
        }
        code::GET_CONSUMER_RUNNING_INFO => {
            let Some(header) = asked.read::<GetConsumerRunningInfo<'_>>() else { return refuse(&asked) };
            if *header.consumer_group == *core.config.group {
                asked.answer(Code::SUCCESS, None, running_info(&core).to_string().as_bytes());
            } else {
                let remark = format!("The Consumer Group <{}> not exist in this consumer", header.consumer_group);
                asked.answer(Code::SYSTEM_ERROR, Some(&remark), b"");
            }
        }
        code::CONSUME_MESSAGE_DIRECTLY => drop(tokio::spawn(consume_directly(core, asked))),
        _ => asked.refuse(),
    }
}

fn refuse(asked: &Asked) {
    asked.answer(Code::SYSTEM_ERROR, Some("a field of the request is missing"), b"");
}

/// Goes on from other offsets, in the queues that are this member's.
fn reset(core: Arc<Core>, asked: &Asked) {
    let (Some(header), Ok(body)) = (asked.read::<ResetOffset<'_>>(), ResetOffsetBody::decode(&asked.body)) else {
        return tracing::warn!(address = %asked.address(), "a reset of offsets that cannot be read");
    };
    if *header.group != *core.config.group {
        return;
    }
    let own = |(queue, offset): (&_, &i64)| Some((own_queue(queue)?, *offset));
    let offsets: BTreeMap<MessageQueue, i64> = body.offset_table.0.iter().filter_map(own).collect();
    tracing::info!(topic = header.topic, queues = offsets.len(), "offsets are moved");
    core.move_to(&offsets);
    tokio::spawn(async move { core.offsets.commit(true).await });
}

/// As RocketMQ's `ConsumerRunningInfo`: what dashboards show of a member.
fn running_info(core: &Core) -> Value {
    let config = &core.config;
    let mut queues = Map::new();
    for (queue, worker) in core.workers().iter() {
        let process = worker.process();
        let (min, max) = process.bounds().unwrap_or((0, 0));
        let info = json!({
            "cachedMsgCount": process.count(),
            "cachedMsgMinOffset": min,
            "cachedMsgMaxOffset": max,
            "cachedMsgSizeInMiB": process.size_bytes() >> 20,
            "commitOffset": core.offsets.known(queue).unwrap_or(0),
            "droped": worker.is_closed(),
            "lastConsumeTimestamp": now_ms(),
            "lastLockTimestamp": 0,
            "lastPullTimestamp": now_ms(),
            "locked": worker.is_locked(),
            "transactionMsgCount": 0,
            "transactionMsgMinOffset": 0,
            "transactionMsgMaxOffset": 0,
            "tryUnlockTimes": 0,
        });
        if let Ok(key) = serde_json::to_string(&wire_queue(queue)) {
            queues.insert(key, info);
        }
    }
    json!({
        "mqPopTable": {},
        "mqTable": queues,
        "properties": {
            "PROP_CLIENT_VERSION": "V5_3_3",
            "PROP_CONSUMEORDERLY": core.listener.is_orderly().to_string(),
            "PROP_CONSUMER_START_TIMESTAMP": "0",
            "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
            "PROP_NAMESERVER_ADDR": config.name_servers,
            "PROP_THREADPOOL_CORE_SIZE": config.consume_threads.to_string(),
            "consumeThreadMax": config.consume_threads.to_string(),
            "consumerGroup": config.group,
        },
        "statusTable": {},
        "subscriptionSet": core.member.subscriptions(),
        "userConsumerInfo": {},
    })
}

/// Calls the listener with one message that the broker sent; nothing is committed or given back.
async fn consume_directly(core: Arc<Core>, asked: Asked) {
    let broker_name = asked.read::<ConsumeMessageDirectly<'_>>().and_then(|header| header.broker_name.map(Into::into));
    let broker_name = broker_name.unwrap_or_else(|| Arc::clone(asked.address()));
    let Ok(mut message) = decode_stored(broker_name, &asked.body) else {
        return asked.answer(Code::SYSTEM_ERROR, Some("the message cannot be read"), b"");
    };
    message.namespace = core.namespace.clone();
    let started = Instant::now();
    let batch: Messages = [message].into();
    let is_success = if core.listener.is_orderly() {
        orderly::call(&core, &batch).await == ConsumedInOrder::Success
    } else {
        matches!(concurrent::call(&core, &batch).await, Consumed::Success | Consumed::First(1..))
    };
    let result = ConsumeDirectlyResult {
        auto_commit: true,
        consume_result: if is_success { "CR_SUCCESS" } else { "CR_LATER" }.to_owned(),
        order: core.listener.is_orderly(),
        remark: None,
        spent_time_mills: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
    };
    asked.answer(Code::SUCCESS, None, &result.encode());
}
