//! A pull consumer as a member of its group: its queues come from the division among the members instead of by hand.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::remoting::client_push::{ConsumerStatusBody, GetConsumerStatus, ResetOffset, ResetOffsetBody};
use ringmq_proto::remoting::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel};
use ringmq_proto::remoting::request_code as code;
use tokio::time::{MissedTickBehavior, interval};

use super::fetcher::Target;
use super::{Inner, PullConsumerConfig, Start};
use crate::group::client_id::client_id;
use crate::group::member::{Identity, Member, Owner};
use crate::message::MessageQueue;
use crate::remoting::broker::{own_queue, wire_queue};
use crate::remoting::link::Asked;
use crate::unique::local_ip;

/// A member that nobody knows of yet.
pub(super) fn member(inner: &Inner) -> Arc<Member> {
    let PullConsumerConfig { group, start, strategy, .. } = &*inner.config;
    let ip = local_ip(inner.cluster.first_name_server());
    let identity = Identity {
        client_id: client_id(ip, None).into(),
        group: group.as_str().into(),
        model: MessageModel::Clustering,
        consume_type: ConsumeType::Actively,
        from_where: match start {
            Start::First => ConsumeFromWhere::FirstOffset,
            Start::Last => ConsumeFromWhere::LastOffset,
            Start::Time { .. } => ConsumeFromWhere::Timestamp,
        },
        strategy: strategy.clone(),
    };
    Member::new(identity, Arc::clone(&inner.cluster))
}

impl Owner for Inner {
    fn assigned(&self, topic: &Arc<str>, queues: Vec<MessageQueue>) {
        let Some(member) = self.member.get() else { return };
        // Nothing is given back by polling, so that there is nothing to read in the retry topic.
        if **topic == *member.retry_topic() || member.subscription(topic).is_none() {
            return;
        }
        let others = self.assignment().into_iter().filter(|queue| queue.topic != *topic);
        let wanted: Vec<MessageQueue> = others.chain(queues).collect();
        for left in self.assign(wanted) {
            // Who reads the queue next goes on where this one is.
            self.runtime.spawn(async move {
                if let Err(error) = left.commit().await {
                    tracing::debug!(queue = ?left.reader.queue, %error, "cannot commit what another member goes on with");
                }
            });
        }
    }

    fn asked(&self, asked: Asked) {
        match asked.code {
            code::RESET_CONSUMER_CLIENT_OFFSET => self.reset(&asked),
            code::GET_CONSUMER_STATUS_FROM_CLIENT => {
                let topic = asked.read::<GetConsumerStatus<'_>>().map(|header| header.topic.to_owned());
                let position = |fetcher: &Arc<super::Fetcher>| {
                    let offset = i64::try_from(fetcher.position()?.get()).unwrap_or(i64::MAX);
                    let queue = &fetcher.reader.queue;
                    (topic.as_deref() == Some(&*queue.topic)).then(|| (wire_queue(queue), offset))
                };
                let table = self.assigned().iter().filter_map(position).collect();
                asked.answer(Code::SUCCESS, None, &ConsumerStatusBody { message_queue_table: table }.encode());
            }
            _ => asked.refuse(),
        }
    }
}

impl Inner {
    /// Goes on from other offsets, in the queues that are this member's.
    fn reset(&self, asked: &Asked) {
        let (Some(header), Ok(body)) = (asked.read::<ResetOffset<'_>>(), ResetOffsetBody::decode(&asked.body)) else {
            return;
        };
        if *header.group != *self.config.group {
            return;
        }
        for (queue, offset) in &body.offset_table.0 {
            let fetcher = own_queue(queue).and_then(|queue| self.fetcher(&queue).ok());
            if let Some(fetcher) = fetcher {
                fetcher.seek(Target::Offset(QueueOffset::new(u64::try_from(*offset).unwrap_or_default())));
            }
        }
    }
}

/// Commits regularly what polls gave out.
pub(super) async fn auto_commit(inner: Weak<Inner>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.commit().await {
            tracing::debug!(%error, "cannot commit; it is tried again");
        }
    }
}
