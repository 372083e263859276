//! Administration: topics and brokers, over all masters of a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::OffsetId;
use ringmq_proto::native::{CreateTopic, QueueStats};
use ringmq_proto::remoting::admin::offsets::InvokeResetOffset;
use ringmq_proto::remoting::query::{QueryMessage, UNIQUE_QUERY_COUNT_MAX};
use ringmq_proto::remoting::route::MASTER_ID;

use ringmq_tls::ClientTls;

use crate::cluster::{Broker, Cluster};
use crate::connection::Event;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::message::{Message, MessageQueue, decode_found, decode_stored};
use crate::outgoing::check_topic;
use crate::remoting::broker::own_queue;

/// How long one broker has for an answer, connecting included: RocketMQ's admin tools wait as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Topics asked for at once.
const LIST_PAGE_COUNT: u32 = 1000;

/// Administers the cluster of some name servers.
pub struct Admin {
    cluster: Cluster,
}

/// What one broker made of a request.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    /// Which broker.
    pub broker: Broker,
    /// What it answered.
    pub result: Result<T>,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Queues on each broker.
    pub queue_count: u32,
    /// RocketMQ's permission bits: 2 write, 4 read.
    pub perm: u32,
    /// Lives on one broker only, so that the order of its queue is the order of the topic.
    pub ordered: bool,
}

/// A topic as one broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Queues on this broker.
    pub queue_count: u32,
    /// RocketMQ's permission bits.
    pub perm: u32,
    /// Lives on one broker only.
    pub ordered: bool,
}

impl Admin {
    /// An administrator of the cluster of `HOST:PORT;HOST:PORT;…`. Must be called within a tokio runtime.
    pub fn start(name_servers: &str) -> Result<Self> {
        Self::start_with(name_servers, None)
    }

    /// The same, with TLS.
    pub fn start_with(name_servers: &str, tls: Option<&ClientTls>) -> Result<Self> {
        Ok(Self { cluster: Cluster::new(name_servers, tls)? })
    }

    /// All brokers that are registered.
    pub async fn brokers(&self) -> Result<Vec<Broker>> {
        self.cluster.brokers().await
    }

    /// The masters of `cluster`, or of all clusters.
    pub async fn masters(&self, cluster: Option<&str>) -> Result<Vec<Broker>> {
        let mut brokers = self.brokers().await?;
        brokers.retain(|broker| broker.id == MASTER_ID && cluster.is_none_or(|cluster| broker.cluster == cluster));
        Ok(brokers)
    }

    /// Creates a topic on all `masters`, or changes it there. An ordered topic is created on the first of them only.
    pub async fn create_topic(&self, masters: &[Broker], topic: &NewTopic) -> Result<Vec<Outcome<()>>> {
        check_topic(&topic.name)?;
        let masters = if topic.ordered { masters.get(..1).unwrap_or_default() } else { masters };
        let mut outcomes = Vec::new();
        for broker in masters {
            let request = CreateTopic {
                topic: &topic.name,
                queue_count: topic.queue_count,
                perm: topic.perm,
                ordered: topic.ordered,
            };
            let (link, deadline) = self.link(broker);
            let answer = link.ask(
                "creating a topic",
                None,
                deadline,
                |connection| connection.create_topic(&request),
                |event| matches!(event, Event::Done { .. }).then_some(()),
            );
            outcomes.push(Outcome { broker: broker.clone(), result: answer.await });
        }
        Ok(outcomes)
    }

    /// Deletes a topic with its messages on all `masters`. A broker that does not have it answers with code 17.
    pub async fn delete_topic(&self, masters: &[Broker], topic: &str) -> Vec<Outcome<()>> {
        let mut outcomes = Vec::new();
        for broker in masters {
            let (link, deadline) = self.link(broker);
            let answer = link.ask(
                "deleting a topic",
                None,
                deadline,
                |connection| connection.delete_topic(topic),
                |event| matches!(event, Event::Done { .. }).then_some(()),
            );
            outcomes.push(Outcome { broker: broker.clone(), result: answer.await });
        }
        outcomes
    }

    /// The topics of each of `masters`, in the order of their names.
    pub async fn list_topics(&self, masters: &[Broker]) -> Vec<Outcome<Vec<TopicInfo>>> {
        let mut outcomes = Vec::new();
        for broker in masters {
            outcomes.push(Outcome { broker: broker.clone(), result: self.topics_of(broker).await });
        }
        outcomes
    }

    /// The queues of a topic on each of `masters` that has it.
    pub async fn topic_stats(&self, masters: &[Broker], topic: &str) -> Vec<Outcome<Vec<QueueStats>>> {
        let mut outcomes = Vec::new();
        for broker in masters {
            let (link, deadline) = self.link(broker);
            let answer = link.ask(
                "the queues of a topic",
                None,
                deadline,
                |connection| connection.topic_stats(topic),
                |event| match event {
                    Event::TopicStats { stats, .. } => Some(stats.queues),
                    _ => None,
                },
            );
            let result = answer.await;
            if result.as_ref().is_err_and(|error| error.code() == Some(Code::TOPIC_NOT_EXIST)) {
                continue;
            }
            outcomes.push(Outcome { broker: broker.clone(), result });
        }
        outcomes
    }

    /// The message of an offset message id, from the broker that the id names.
    pub async fn message(&self, message_id: &str) -> Result<Message> {
        let wrong = Error::Argument("an offset message id is 32 or 56 hex digits that name a broker and a position");
        let id = OffsetId::parse(message_id.as_bytes()).map_err(|_| wrong.clone())?;
        let address: Arc<str> = id.store_host.socket_addr().ok_or(wrong)?.to_string().into();
        let brokers = self.brokers().await.unwrap_or_default();
        let broker = brokers.into_iter().find(|broker| *broker.address == *address);
        let position = i64::try_from(id.position.get()).map_err(|_| Error::Argument("a position beyond all logs"))?;
        let stored = self.cluster.remoting(&address).view(position).await?;
        let broker_name = broker.map_or_else(|| Arc::clone(&address), |broker| broker.name.into());
        let unknown = |source| Error::Damaged { topic: message_id.to_owned(), queue_id: 0, source };
        decode_stored(broker_name, &stored).map_err(unknown)
    }

    /// Messages of `topic` with this key, newest first within each broker, at most `count_max` of each: stored between
    /// these times, in ms since 1970.
    ///
    /// # Errors
    /// The first broker's that does not answer: what the others know may be all or not.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        count_max: u32,
        stored_ms: std::ops::RangeInclusive<u64>,
    ) -> Result<Vec<Message>> {
        let header = query(topic, key, count_max, &stored_ms, false);
        self.query(topic, &header).await
    }

    /// Messages of `topic` with this unique id: one, or several when a producer sent it again.
    ///
    /// # Errors
    /// The first broker's that does not answer.
    pub async fn messages_by_unique_id(&self, topic: &str, unique_id: &str) -> Result<Vec<Message>> {
        let header = query(topic, unique_id, UNIQUE_QUERY_COUNT_MAX.unsigned_abs(), &(0..=u64::MAX), true);
        self.query(topic, &header).await
    }

    async fn query(&self, topic: &str, header: &QueryMessage<'_>) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        for broker in self.cluster.recent_route(&topic.into()).await?.iter() {
            let stored = self.cluster.remoting(&broker.address).query(header, ANSWER_TIMEOUT).await?;
            let damaged = |source| Error::Damaged { topic: topic.to_owned(), queue_id: 0, source };
            messages.extend(decode_found(&broker.broker_name, &stored).map_err(damaged)?);
        }
        Ok(messages)
    }

    /// Moves a group in all queues of a topic to a time: each to its first message stored at `time_ms` or later. `None`
    /// leads behind the newest ones. With `backwards` also to older messages than it has come to. Consumers that are
    /// connected go on from there. Gives the new offsets.
    ///
    /// # Errors
    /// The first broker's that does not do it; others may have.
    pub async fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        time_ms: Option<u64>,
        backwards: bool,
    ) -> Result<Vec<(MessageQueue, QueueOffset)>> {
        let timestamp = time_ms.map_or(-1, |time_ms| i64::try_from(time_ms).unwrap_or(i64::MAX));
        let header = InvokeResetOffset { topic, group, timestamp, is_force: backwards, queue_id: None, offset: None };
        let mut offsets = Vec::new();
        for broker in self.cluster.recent_route(&topic.into()).await?.iter() {
            let moved = self.cluster.remoting(&broker.address).reset_offset(&header).await?;
            let own = |(queue, offset): (&_, &i64)| {
                Some((own_queue(queue)?, QueueOffset::new(u64::try_from(*offset).unwrap_or_default())))
            };
            offsets.extend(moved.offset_table.0.iter().filter_map(own));
        }
        Ok(offsets)
    }

    async fn topics_of(&self, broker: &Broker) -> Result<Vec<TopicInfo>> {
        let mut topics: Vec<TopicInfo> = Vec::new();
        loop {
            let (link, deadline) = self.link(broker);
            let after = topics.last().map(|topic| topic.name.clone()).unwrap_or_default();
            let page = link.ask(
                "the list of topics",
                None,
                deadline,
                |connection| connection.list_topics(&after, LIST_PAGE_COUNT),
                |event| match event {
                    Event::Topics { list, .. } => {
                        let infos = list.topics.iter().map(|info| TopicInfo {
                            name: info.topic.to_owned(),
                            queue_count: info.queue_count,
                            perm: info.perm,
                            ordered: info.ordered,
                        });
                        Some((infos.collect::<Vec<_>>(), list.more))
                    }
                    _ => None,
                },
            );
            let (page, more) = page.await?;
            let goes_on = page.last().is_some_and(|last| *last.name > *after);
            topics.extend(page);
            if !more {
                return Ok(topics);
            }
            if !goes_on {
                // It would never end.
                return Err(Error::BadReply {
                    address: Arc::clone(link.address()),
                    what: "a list of topics without end",
                });
            }
        }
    }

    fn link(&self, broker: &Broker) -> (Arc<Link>, Instant) {
        (self.cluster.link(&broker.address.as_str().into()), Instant::now() + ANSWER_TIMEOUT)
    }
}

fn query<'a>(
    topic: &'a str,
    key: &'a str,
    count_max: u32,
    stored_ms: &std::ops::RangeInclusive<u64>,
    is_unique: bool,
) -> QueryMessage<'a> {
    QueryMessage {
        topic,
        key,
        max_num: i32::try_from(count_max).unwrap_or(i32::MAX),
        begin_timestamp: i64::try_from(*stored_ms.start()).unwrap_or(i64::MAX),
        end_timestamp: i64::try_from(*stored_ms.end()).unwrap_or(i64::MAX),
        is_unique_key: Some(is_unique),
    }
}
