//! Receiving messages by a listener: RocketMQ's push consumer.
//!
//! A [`PushConsumer`] is a member of a group ([`crate::group`]). For each queue that is its share it pulls ahead into a
//! bounded *process queue*, calls the listener, and commits how far everything was consumed. What a listener does not manage
//! is delivered again, later and later, and in the end goes to the group's dead letters (`%DLQ%group`).
//!
//! * *Concurrent*: many calls at once, in any order. A message that fails goes back to the broker (36), which delivers it
//!   again in the group's retry topic.
//! * *Orderly*: one call a queue at a time, in order, under a lock that the broker holds for this member. A message that
//!   fails is tried again in its place.
//! * *Broadcasting*: every member gets everything; what fails is not delivered again, and offsets are in a file.
//!
//! A message may be delivered more than once: after a crash, and when queues change hands.

mod answers;
mod concurrent;
mod config;
mod core;
mod listener;
mod orderly;
mod process_queue;
mod pulling;
mod redeliver;
mod worker;

use std::sync::Arc;

use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;

pub use config::PushConsumerConfig;
pub use listener::{Consumed, ConsumedInOrder, Listener, Messages};

use self::core::Core;
use crate::error::{Error, Result};
use crate::group::{Filter, member};
use crate::message::MessageQueue;
use crate::namespace::Namespace;
use crate::outgoing::check_topic;

/// Calls a listener with the messages of a group's queues; see the [module's text](self).
///
/// ```no_run
/// use ringmq_client::{Consumed, Filter, Listener, PushConsumer, PushConsumerConfig};
///
/// # async fn example() -> ringmq_client::Result<()> {
/// let config = PushConsumerConfig {
///     group: "kitchen".to_owned(),
///     subscriptions: vec![("orders".to_owned(), Filter::Tags("fruit || bread".to_owned()))],
///     ..PushConsumerConfig::default()
/// };
/// let listener = Listener::concurrent(|messages| async move {
///     for message in messages.iter() {
///         println!("{:?}: {:?}", message.tag(), message.body);
///     }
///     Consumed::Success
/// });
/// let consumer = PushConsumer::start(config, listener).await?;
/// // ... and in the end:
/// consumer.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct PushConsumer {
    core: Arc<Core>,
}

impl PushConsumer {
    /// Joins the group and begins to read. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A configuration that cannot be used; for SQL filters also what the brokers say of them.
    pub async fn start(mut config: PushConsumerConfig, listener: Listener) -> Result<Self> {
        if config.group.is_empty() || config.group.len() > LONG_NAME_SIZE_BYTES_MAX {
            return Err(Error::Argument("a consumer needs the name of its group, of at most 255 bytes"));
        }
        config.check()?;
        for (topic, _) in &config.subscriptions {
            check_topic(topic)?;
        }
        let namespace = Namespace::new(config.namespace.as_deref())?;
        config.group = namespace.wrap(&config.group).into_owned();
        for (topic, _) in &mut config.subscriptions {
            *topic = namespace.wrap(topic).into_owned();
        }
        let subscriptions = config.subscriptions.clone();
        let (core, heard) = Core::new(config, namespace, listener)?;
        for (topic, filter) in &subscriptions {
            core.member.subscribe(&topic.as_str().into(), filter).await?;
        }
        tokio::spawn(member::run(Arc::downgrade(&core), Arc::clone(&core.member), heard));
        tokio::spawn(core::keep(Arc::downgrade(&core)));
        Ok(Self { core })
    }

    /// Reads a topic too. Other members should say the same: what members of one group subscribe to differently, they lose.
    ///
    /// # Errors
    /// For SQL filters what the brokers say of them.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<()> {
        check_topic(topic)?;
        self.core.member.subscribe(&self.core.namespace.wrap(topic).into(), &filter).await
    }

    /// Reads a topic no more.
    pub fn unsubscribe(&self, topic: &str) {
        let topic = self.core.namespace.wrap(topic);
        self.core.member.unsubscribe(&topic);
        self.core.drop_topic(&topic);
    }

    /// Pulls and calls nothing until it is resumed; calls that are running end.
    pub fn pause(&self) {
        self.core.set_paused(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.core.set_paused(false);
    }

    /// This member's share of the queues at this moment, the group's retry topic included.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.core.assignment()
    }

    /// This member's client id, `address@instance`.
    pub fn client_id(&self) -> &str {
        &self.core.member.identity.client_id
    }

    /// Pulls no more, waits for the calls that are running (up to `shutdown_timeout`), commits, and leaves the group.
    pub async fn shutdown(self) {
        self.core.shutdown().await;
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        // Without a shutdown nothing is committed any more, and the brokers notice by the closed connections.
        self.core.close();
    }
}
