//! One message queue over RocketMQ's protocol.

use std::sync::Arc;

use ringmq_proto::ids::QueueOffset;
use ringmq_proto::remoting::heartbeat::{EXPRESSION_SQL92, EXPRESSION_TAG, SubscriptionData};
use ringmq_proto::remoting::pull::pull_flag;

use super::{Content, PullSize, Pulled};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::group::member::is_expression;
use crate::message::MessageQueue;
use crate::remoting::broker::PullSpec;
use crate::remoting::link::RemotingLink;

/// The expression for all messages.
const ALL: &str = "*";

/// See the module's text.
pub(super) struct Remoting {
    queue: MessageQueue,
    cluster: Arc<Cluster>,
    group: Arc<str>,
    /// What is asked for, and in which language.
    expression: Arc<str>,
    expression_type: &'static str,
}

impl Remoting {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        queue: MessageQueue,
        group: Arc<str>,
        subscription: Option<&SubscriptionData>,
    ) -> Self {
        let expression = subscription.map_or(ALL, |subscription| &subscription.sub_string).into();
        let expression_type = match subscription {
            Some(subscription) if is_expression(subscription) => EXPRESSION_SQL92,
            _ => EXPRESSION_TAG,
        };
        Self { queue, cluster, group, expression, expression_type }
    }

    pub(super) async fn pull(&self, offset: QueueOffset, size: PullSize) -> Result<Pulled> {
        // The request says what it wants, so that a group that sends no heartbeats may read.
        let waits = if size.wait.is_zero() { 0 } else { pull_flag::SUSPEND };
        let spec = PullSpec {
            group: Arc::clone(&self.group),
            queue: self.queue.clone(),
            offset: wire_offset(offset),
            count_max: i32::try_from(size.messages_max).unwrap_or(i32::MAX),
            bytes_max: Some(i32::try_from(size.bytes_max).unwrap_or(i32::MAX)),
            sys_flag: waits | pull_flag::SUBSCRIPTION,
            commit_offset: 0,
            wait: size.wait,
            subscription: Some(Arc::clone(&self.expression)),
            sub_version: 0,
            expression_type: Some(self.expression_type),
        };
        let pulled = self.link().await?.pull_messages(spec).await?;
        let next_offset = own_offset(pulled.header.next_begin_offset);
        Ok(Pulled { code: pulled.code, next_offset, content: Content::Stored(pulled.messages) })
    }

    pub(super) async fn ends(&self) -> Result<(QueueOffset, QueueOffset)> {
        let link = self.link().await?;
        Ok((own_offset(link.min_offset(&self.queue).await?), own_offset(link.max_offset(&self.queue).await?)))
    }

    pub(super) async fn offset_at(&self, time_ms: u64) -> Result<QueueOffset> {
        Ok(own_offset(self.link().await?.offset_at(&self.queue, time_ms).await?))
    }

    pub(super) async fn committed(&self, group: &str) -> Result<Option<QueueOffset>> {
        Ok(self.link().await?.consumer_offset(group, &self.queue).await?.map(own_offset))
    }

    pub(super) async fn commit(&self, group: &str, offset: QueueOffset) -> Result<()> {
        self.link().await?.commit_offset(group, &self.queue, wire_offset(offset)).await
    }

    async fn link(&self) -> Result<Arc<RemotingLink>> {
        self.cluster.remoting_of(&self.queue.topic, &self.queue.broker_name).await
    }
}

fn wire_offset(offset: QueueOffset) -> i64 {
    i64::try_from(offset.get()).unwrap_or(i64::MAX)
}

/// RocketMQ says −1 where there is nothing.
fn own_offset(offset: i64) -> QueueOffset {
    QueueOffset::new(u64::try_from(offset).unwrap_or(0))
}
