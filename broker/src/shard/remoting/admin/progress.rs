//! How far queues and groups are (202, 208, 303).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::offsets::no_topic;
use super::super::{Call, Handled, Stop};
use super::found;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::remoting::admin::progress::{
    ConsumeOffset, ConsumeStats, ConsumeTimeSpan, ConsumeTimeSpans, GetConsumeStats, QueryConsumeTimeSpan, TopicOffset,
    TopicStats,
};
use ringmq_proto::remoting::admin::topics::TopicName;
use ringmq_proto::remoting::{ExtFields, ExtHeader};
use std::collections::BTreeSet;

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
            for (queue, number) in self.queues_of(&topic).unwrap_or_default().into_iter().zip(0..) {
                let committed = self.store.consume_offset(group, queue).unwrap_or_default();
                let offset = ConsumeOffset {
                    broker_offset: self.visible_offset(queue),
                    consumer_offset: signed(committed),
                    last_timestamp: self.time_before(queue, committed)?,
                    pull_offset: Some(signed(committed)),
                };
                stats.offset_table.0.insert(self.message_queue(&topic, number), offset);
            }
        }
        self.answer_with(connection, call.token, ExtFields::new(), &stats.encode());
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
