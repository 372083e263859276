//! Administration: topics and brokers, over all masters of a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::message::OffsetId;
use ringmq_proto::native::{CreateTopic, QueueStats};
use ringmq_proto::remoting::route::MASTER_ID;

use crate::cluster::{Broker, Cluster};
use crate::connection::Event;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::message::{Message, decode_stored};
use crate::outgoing::check_topic;

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
        Ok(Self { cluster: Cluster::new(name_servers)? })
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
        let link = self.cluster.link(&address);
        let answer = link.ask(
            "a message",
            None,
            Instant::now() + ANSWER_TIMEOUT,
            |connection| connection.view_message(id.position),
            |event| match event {
                Event::Message { stored, .. } => Some(Bytes::copy_from_slice(stored)),
                _ => None,
            },
        );
        let stored = answer.await?;
        let broker_name = broker.map_or_else(|| Arc::clone(&address), |broker| broker.name.into());
        let unknown = |source| Error::Damaged { topic: message_id.to_owned(), queue_id: 0, source };
        decode_stored(broker_name, &stored).map_err(unknown)
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
