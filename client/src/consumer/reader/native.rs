//! One message queue over the native protocol. Finds the broker, opens the queue on its connection, and does so
//! again after the connection was lost, the broker moved, or the topic was made anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;

use crate::cluster::Cluster;
use crate::connection::{Connection, Event, PullRequest, RequestError, RequestId};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::message::MessageQueue;

use super::{ANSWER_TIMEOUT, Content, PullSize, Pulled};

/// What a pull may take beyond the time that the broker was asked to wait.
const PULL_TIMEOUT_EXTRA: Duration = Duration::from_secs(10);

/// See the module's text.
pub(super) struct Native {
    queue: MessageQueue,
    cluster: Arc<Cluster>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    link: Arc<Link>,
    generation: u64,
    handle: u32,
}

impl Native {
    pub(super) fn new(cluster: Arc<Cluster>, queue: MessageQueue) -> Self {
        Self { queue, cluster, open: Mutex::default() }
    }

    /// Asks for messages from `offset` on.
    pub(super) async fn pull(&self, offset: QueueOffset, size: PullSize) -> Result<Pulled> {
        let PullSize { messages_max, bytes_max, wait } = size;
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let encode = move |connection: &mut Connection, handle| {
            connection.pull(&PullRequest { handle, offset, messages_max, bytes_max, wait_ms })
        };
        let read = |event: Event<'_>| match event {
            Event::Pulled { code, reply, .. } => {
                let records = Bytes::copy_from_slice(reply.record_bytes());
                Some(Pulled { code, next_offset: reply.result.next_offset, content: Content::Records(records) })
            }
            _ => None,
        };
        self.ask("a pull", wait + PULL_TIMEOUT_EXTRA, encode, read).await
    }

    /// The least offset that is still there, and the one after the last message.
    pub(super) async fn ends(&self) -> Result<(QueueOffset, QueueOffset)> {
        let read = |event: Event<'_>| match event {
            Event::QueueState { state, .. } => Some((state.min_offset, state.max_offset)),
            _ => None,
        };
        self.ask("the ends of a queue", ANSWER_TIMEOUT, Connection::queue_state, read).await
    }

    /// The first offset that was stored at `time_ms` or later.
    pub(super) async fn offset_at(&self, time_ms: u64) -> Result<QueueOffset> {
        let encode = move |connection: &mut Connection, handle| connection.search_offset(handle, time_ms, false);
        self.ask("an offset by time", ANSWER_TIMEOUT, encode, read_offset).await
    }

    /// What `group` has committed, if it ever did.
    pub(super) async fn committed(&self, group: &str) -> Result<Option<QueueOffset>> {
        let encode = |connection: &mut Connection, handle| connection.query_offset(handle, group);
        match self.ask("a committed offset", ANSWER_TIMEOUT, encode, read_offset).await {
            Ok(offset) => Ok(Some(offset)),
            Err(error) if error.code() == Some(Code::QUERY_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits that `group` has consumed all below `offset`.
    pub(super) async fn commit(&self, group: &str, offset: QueueOffset) -> Result<()> {
        let encode = |connection: &mut Connection, handle| connection.commit_offset(handle, group, offset);
        let read = |event: Event<'_>| matches!(event, Event::Done { .. }).then_some(());
        self.ask("an offset commit", ANSWER_TIMEOUT, encode, read).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        encode: impl FnOnce(&mut Connection, u32) -> std::result::Result<RequestId, RequestError>,
        read: impl FnOnce(Event<'_>) -> Option<T> + Send + 'static,
    ) -> Result<T> {
        let deadline = Instant::now() + within;
        let open = self.open(deadline.min(Instant::now() + ANSWER_TIMEOUT)).await?;
        let encode = |connection: &mut Connection| encode(connection, open.handle);
        let result = open.link.ask(what, Some(open.generation), deadline, encode, read).await;
        if let Err(error) = &result
            && (error.code() == Some(Code::TOPIC_NOT_EXIST) || error.code().is_none())
        {
            // The handle is worth nothing any more, or the connection may not be.
            *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }

    /// The open queue; opens it when it is not.
    async fn open(&self, deadline: Instant) -> Result<Open> {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(open) = known
            && open.link.generation() == Some(open.generation)
        {
            return Ok(open);
        }
        let started = Instant::now();
        let opening = tokio::time::timeout_at(deadline.into(), self.open_anew(deadline)).await;
        let timed_out = |_| Error::Timeout { what: "opening a queue", after: started.elapsed() };
        let open = opening.map_err(timed_out)??;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open.clone());
        Ok(open)
    }

    async fn open_anew(&self, deadline: Instant) -> Result<Open> {
        let topic = &self.queue.topic;
        let route = self.cluster.recent_route(topic).await?;
        let broker = route.iter().find(|broker| broker.broker_name == self.queue.broker_name);
        let no_route = || {
            let remark = format!("broker {} does not have it", self.queue.broker_name);
            Error::NoRoute { topic: topic.to_string(), remark }
        };
        let link = self.cluster.link(&broker.ok_or_else(no_route)?.address);
        let generation = link.ready().await?;
        let queue_id = i32::try_from(self.queue.queue_id).unwrap_or(i32::MAX);
        let opened = link.ask(
            "opening a queue",
            Some(generation),
            deadline,
            |connection| connection.open_queue(topic, queue_id, false),
            |event| match event {
                Event::Opened { queue, .. } => Some(queue.handle),
                _ => None,
            },
        );
        let handle = opened.await?;
        Ok(Open { link, generation, handle })
    }
}

fn read_offset(event: Event<'_>) -> Option<QueueOffset> {
    match event {
        Event::Offset { offset, .. } => Some(offset.offset),
        _ => None,
    }
}
