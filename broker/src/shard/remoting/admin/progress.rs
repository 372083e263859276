//! How far queues and groups are (202, 208, 317, 303).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::counts::Span;
use super::super::super::request::Rejection;
use super::super::offsets::no_topic;
use super::super::{Call, Handled, Stop};
use super::found;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::remoting::admin::progress::{
    BrokerConsumeStats, ConsumeOffset, ConsumeStats, ConsumeTimeSpan, ConsumeTimeSpans, GetBrokerConsumeStats,
    GetConsumeStats, QueryConsumeTimeSpan, TopicOffset, TopicStats,
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

    /// Of every queue of the topics that are asked for, or else of those that the group has committed an offset of: none of a
    /// group that keeps its offsets itself (broadcasting), since nobody knows how far it is. Not of what its running consumers
    /// do not read any more.
    pub(super) fn group_progress(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetConsumeStats::decode(&call.header.ext)?;
        let group = request.consumer_group;
        let given = |text: Option<&'_ str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let topics: BTreeSet<String> = match given(request.topic_list).or(given(request.topic)) {
            Some(list) => list.split(';').filter(|topic| self.may_read(group, topic)).map(str::to_owned).collect(),
            None => self.topics_read_by(group),
        };
        let mut stats = ConsumeStats::default();
        for topic in topics {
            self.group_in_topic(group, &topic, &mut stats)?;
        }
        self.answer_with(connection, call.token, ExtFields::new(), &stats.encode());
        Ok(())
    }

    fn topics_read_by(&self, group: &str) -> BTreeSet<String> {
        let committed = self.store.offsets_of_group(group).map(|found| found.topic.record.name.clone());
        committed.filter(|topic| self.may_read(group, topic)).collect()
    }

    fn may_read(&self, group: &str, topic: &str) -> bool {
        self.clients.consumers_of(group).is_none_or(|group| group.subscriptions.contains_key(topic))
    }

    /// Of every group.
    pub(super) fn all_progress(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetBrokerConsumeStats::decode(&call.header.ext)?;
        let groups: Vec<String> = self.store.groups_after("").map(|group| group.name.clone()).collect();
        let broker_addr = self.store.options().advertised.to_string();
        let mut told = BrokerConsumeStats { broker_addr, ..BrokerConsumeStats::default() };
        let mut queue_count = 0;
        for group in groups {
            let topics = self.topics_read_by(&group);
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
        if let Some(come) = self.counts.of_pair(&format!("{topic}@{group}"), Span::Minute) {
            stats.consume_tps += come.per_second(come.totals.messages);
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
