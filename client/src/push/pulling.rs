//! The pull loop of a queue: long polls, bounded by what is not consumed yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::remoting::heartbeat::SubscriptionData;
use ringmq_proto::remoting::pull::pull_flag;

use super::core::Core;
use super::worker::{ERROR_PAUSE, Worker};
use crate::error::{Error, Result};
use crate::group::subscription::is_meant;
use crate::message::decode_readable;
use crate::remoting::broker::{PullSpec, RemotingPulled};

/// The pause while as much is pulled as may be, as in RocketMQ; consumption ends it early.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// The pause when the broker asks to slow down: RocketMQ's for code 215.
const FLOW_CONTROL_PAUSE: Duration = Duration::from_millis(20);

/// The pause while the consumer is paused; a resume ends it early.
const PAUSED_PAUSE: Duration = Duration::from_secs(1);

impl Worker {
    /// Pulls from `offset` on until the worker is closed.
    pub(super) async fn pull_all(self: &Arc<Self>, mut offset: i64) {
        while !self.is_closed() {
            let Some(core) = self.core.upgrade() else { return };
            if let Some(pause) = self.must_wait(&core) {
                drop(core);
                self.pause(pause).await;
                continue;
            }
            let Some(subscription) = core.member.subscription(&self.queue.topic) else { return };
            let spec = self.spec(&core, offset, &subscription);
            let Some(pulled) = self.unless_closed(self.pull(&core, spec)).await else { return };
            let pause = match pulled {
                Ok(pulled) => match self.take_in(&core, &subscription, offset, &pulled) {
                    Some(next) => {
                        offset = next;
                        core.config.pull_interval
                    }
                    None => return,
                },
                Err(error) => self.failed(&core, &error),
            };
            drop(core);
            if !pause.is_zero() {
                self.pause(pause).await;
            }
        }
    }

    /// How long nothing may be pulled, if at all.
    fn must_wait(&self, core: &Core) -> Option<Duration> {
        if core.is_paused() {
            return Some(PAUSED_PAUSE);
        }
        let process = self.process();
        let config = &core.config;
        let is_full = process.count() >= config.queue_messages_max
            || process.size_bytes() >= config.queue_bytes_max
            || (!core.listener.is_orderly() && process.span() > config.queue_span_max);
        if is_full {
            return Some(FULL_PAUSE);
        }
        (core.locks_queues() && !self.is_locked()).then_some(ERROR_PAUSE)
    }

    fn spec(&self, core: &Core, offset: i64, subscription: &SubscriptionData) -> PullSpec {
        let known = core.offsets.known(&self.queue).filter(|known| *known > 0 && core.is_clustering());
        let commits = if known.is_some() { pull_flag::COMMIT_OFFSET } else { 0 };
        PullSpec {
            group: Arc::clone(&core.member.identity.group),
            queue: self.queue.clone(),
            offset,
            count_max: i32::try_from(core.config.pull_batch_max).unwrap_or(i32::MAX),
            bytes_max: None,
            sys_flag: pull_flag::SUSPEND | commits,
            commit_offset: known.unwrap_or(0),
            wait: core.config.long_poll,
            subscription: None,
            sub_version: subscription.sub_version,
            // The heartbeat said the filter; 5.x wants its type here nevertheless.
            expression_type: Some(static_type(subscription)),
        }
    }

    async fn pull(&self, core: &Core, spec: PullSpec) -> Result<RemotingPulled> {
        let link = core.member.cluster.remoting_of(&self.queue.topic, &self.queue.broker_name).await?;
        link.pull_messages(spec).await
    }

    /// Takes what a pull gave: where to go on; `None` when another worker does.
    fn take_in(
        self: &Arc<Self>,
        core: &Arc<Core>,
        subscription: &SubscriptionData,
        offset: i64,
        pulled: &RemotingPulled,
    ) -> Option<i64> {
        let next = pulled.header.next_begin_offset;
        if pulled.code == Code::PULL_OFFSET_MOVED {
            tracing::warn!(queue = ?self.queue, offset, next, "the offset was moved");
            core.move_to(&BTreeMap::from([(self.queue.clone(), next)]));
            return None;
        }
        let from = QueueOffset::new(u64::try_from(offset).unwrap_or(0));
        let (mut messages, rest_at) = decode_readable(&self.queue, &pulled.messages, from, |error| {
            // It is passed over: standing still for ever would help nobody.
            tracing::error!(queue = ?self.queue, offset, next, %error, "a message that was delivered is damaged");
        });
        let next = rest_at.map_or(next, |rest_at| i64::try_from(rest_at.get()).unwrap_or(next));
        messages.retain(|message| is_meant(subscription, message));
        messages.iter_mut().for_each(|message| message.namespace = core.namespace.clone());
        let added = self.process().put(messages);
        if added.is_empty() {
            let is_idle = self.process().count() == 0;
            let next = u64::try_from(next).ok().filter(|_| is_idle);
            self.advance(core, next);
        } else if core.listener.is_orderly() {
            self.consume_in_order();
        } else {
            self.consume_concurrently(core, &added);
        }
        Some(next)
    }

    fn failed(&self, core: &Core, error: &Error) -> Duration {
        match error.code() {
            Some(Code::FLOW_CONTROL) => return FLOW_CONTROL_PAUSE,
            // The broker does not know what this client reads: it has restarted, perhaps.
            Some(Code::SUBSCRIPTION_NOT_EXIST | Code::SUBSCRIPTION_NOT_LATEST) => core.member.wake(),
            _ => {}
        }
        tracing::debug!(queue = ?self.queue, %error, "cannot pull");
        ERROR_PAUSE
    }
}

fn static_type(subscription: &SubscriptionData) -> &'static str {
    use ringmq_proto::remoting::heartbeat::{EXPRESSION_SQL92, EXPRESSION_TAG};
    if crate::group::member::is_expression(subscription) { EXPRESSION_SQL92 } else { EXPRESSION_TAG }
}
