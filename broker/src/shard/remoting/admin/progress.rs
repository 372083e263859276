//! How far queues and groups are (202, 208, 317, 303), and counters (315).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::request::Rejection;
use super::super::offsets::no_topic;
use super::super::{Call, Handled, Stop};
use super::found;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::remoting::admin::progress::{
    BrokerConsumeStats, ConsumeOffset, ConsumeStats, ConsumeTimeSpan, ConsumeTimeSpans, GetBrokerConsumeStats,
    GetConsumeStats, QueryConsumeTimeSpan, TopicOffset, TopicStats, ViewBrokerStats,
};
use ringmq_proto::remoting::admin::topics::TopicName;
use ringmq_proto::remoting::{ExtFields, ExtHeader};
use std::collections::{BTreeMap, BTreeSet};

/// Queues of all groups in one answer. When exceeded: code 1, and each group is to be asked for.
const STATS_QUEUE_COUNT_MAX: usize = 1 << 16;

const TOO_MANY_QUEUES: Rejection =
    Rejection::new(Code::SYSTEM_ERROR, "the groups read more queues than one answer may list: ask for each group");

fn signed(offset: QueueOffset) -> i64 {
    offset.get().cast_signed()
}

impl Shard {
    pub(super) fn topic_progress(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = TopicName::decode(&call.header.ext)?;
        let queues = self.queues_of(request.topic).ok_or_else(|| no_topic(request.topic))?;
        let mut stats = TopicStats::default();
        for (queue, number) in queues.into_iter().zip(0..) {
            let offset = TopicOffset {
                last_update_timestamp: found(self.store.latest_store_time(queue))?.unwrap_or(0).cast_signed(),
                max_offset: self.visible_offset(queue),
                min_offset: signed(found(self.store.min_offset(queue))?),
            };
            stats.offset_table.0.insert(self.message_queue(request.topic, number), offset);
        }
        self.answer_with(connection, call.token, ExtFields::new(), &stats.encode());
        Ok(())
    }

    fn visible_offset(&self, queue: QueueId) -> i64 {
        self.store.queue(queue).map_or(0, |queue| signed(queue.visible_offset))
    }

    /// Of every queue of every topic that the group reads or has read.
    pub(super) fn group_progress(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetConsumeStats::decode(&call.header.ext)?;
        let group = request.consumer_group;
        let wanted = request.topic.filter(|topic| !topic.is_empty());
        let mut topics: BTreeSet<String> = match wanted {
            Some(topic) => BTreeSet::from([topic.to_owned()]),
            None => self.store.offsets_of_group(group).map(|found| found.topic.record.name.clone()).collect(),
        };
        if wanted.is_none()
            && let Some(consumers) = self.clients.consumers_of(group)
        {
            topics.extend(consumers.subscriptions.keys().map(|topic| topic.to_string()));
        }
        let mut stats = ConsumeStats::default();
        for topic in topics {
            self.group_in_topic(group, &topic, &mut stats)?;
        }
        self.answer_with(connection, call.token, ExtFields::new(), &stats.encode());
        Ok(())
    }

    /// Of every group.
    pub(super) fn all_progress(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetBrokerConsumeStats::decode(&call.header.ext)?;
        let groups: Vec<String> = self.store.groups_after("").map(|group| group.name.clone()).collect();
        let broker_addr = self.store.options().advertised.to_string();
        let mut told = BrokerConsumeStats { broker_addr, ..BrokerConsumeStats::default() };
        let mut queue_count = 0;
        for group in groups {
            let topics: BTreeSet<String> =
                self.store.offsets_of_group(&group).map(|found| found.topic.record.name.clone()).collect();
            let mut list = Vec::new();
            for topic in topics {
                if request.is_order && !self.store.state().topic(&topic).is_some_and(|topic| topic.record.ordered) {
                    continue;
                }
                let mut stats = ConsumeStats::default();
                self.group_in_topic(&group, &topic, &mut stats)?;
                queue_count += stats.offset_table.0.len();
                if queue_count > STATS_QUEUE_COUNT_MAX {
                    return Err(TOO_MANY_QUEUES.into());
                }
                let behind = stats.offset_table.0.values().map(|queue| queue.broker_offset - queue.consumer_offset);
                told.total_diff += behind.sum::<i64>();
                list.push(stats);
            }
            told.consume_stats_list.push(BTreeMap::from([(group, list)]));
        }
        self.answer_with(connection, call.token, ExtFields::new(), &told.encode());
        Ok(())
    }

    /// Nothing is counted by topic or group: there is no such counter.
    pub(super) fn counters(&self, call: &Call<'_>) -> Handled {
        let request = ViewBrokerStats::decode(&call.header.ext)?;
        let (name, key) = (request.stats_name.escape_default(), request.stats_key.escape_default());
        Err(Rejection::because(Code::SYSTEM_ERROR, format!("The stats <{name}> <{key}> not exist")).into())
    }

    fn group_in_topic(&mut self, group: &str, topic: &str, stats: &mut ConsumeStats) -> Result<(), Stop> {
        for (queue, number) in self.queues_of(topic).unwrap_or_default().into_iter().zip(0..) {
            let committed = self.store.consume_offset(group, queue).unwrap_or_default();
            let offset = ConsumeOffset {
                broker_offset: self.visible_offset(queue),
                consumer_offset: signed(committed),
                last_timestamp: self.time_before(queue, committed)?,
                pull_offset: Some(signed(committed)),
            };
            stats.offset_table.0.insert(self.message_queue(topic, number), offset);
        }
        Ok(())
    }

    /// When the last message before `offset` was stored, in ms; 0 when there is none.
    fn time_before(&mut self, queue: QueueId, offset: QueueOffset) -> Result<i64, Stop> {
        let Some(before) = offset.get().checked_sub(1) else { return Ok(0) };
        let time = found(self.store.store_time_at(queue, QueueOffset::new(before)))?;
        Ok(time.unwrap_or(0).cast_signed())
    }

    pub(super) fn time_spans(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = QueryConsumeTimeSpan::decode(&call.header.ext)?;
        let queues = self.queues_of(request.topic).ok_or_else(|| no_topic(request.topic))?;
        let mut spans = ConsumeTimeSpans::default();
        for (queue, number) in queues.into_iter().zip(0..) {
            let min = found(self.store.earliest_store_time(queue))?.unwrap_or(0).cast_signed();
            let max = found(self.store.latest_store_time(queue))?.unwrap_or(0).cast_signed();
            let committed = self.store.consume_offset(request.group, queue).unwrap_or_default();
            let consumed = match self.time_before(queue, committed)? {
                0 => min,
                time => time,
            };
            let behind = signed(committed) < self.visible_offset(queue);
            spans.consume_time_span_set.push(ConsumeTimeSpan {
                consume_time_stamp: consumed,
                delay_time: if behind { max - consumed } else { 0 },
                max_time_stamp: max,
                message_queue: self.message_queue(request.topic, number),
                min_time_stamp: min,
            });
        }
        self.answer_with(connection, call.token, ExtFields::new(), &spans.encode());
        Ok(())
    }
}
