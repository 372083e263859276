//! How topics come and go under a broker name, and who may write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::registration::TopicConfig;
use ringmq_proto::remoting::route::QueueData;

use super::{Queues, Refusal, Registered, Registry};
use crate::limits::{QUEUE_COUNT_MAX, ROUTE_COUNT_MAX, TOPIC_COUNT_MAX};

impl Registry {
    /// Forgets a topic, on the brokers of one cluster or on all; on how many broker names it was.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) -> usize {
        let Some(brokers) = self.topics.get_mut(topic) else { return 0 };
        let before = brokers.len();
        match cluster {
            None => brokers.clear(),
            Some(cluster) => {
                let names = self.clusters.get(cluster);
                brokers.retain(|name, _| !names.is_some_and(|names| names.contains(name)));
            }
        }
        let gone = before - brokers.len();
        if brokers.is_empty() {
            self.topics.remove(topic);
        }
        self.route_count -= gone;
        gone
    }

    /// Enters a topic by its route (217), on those of its brokers that are registered; on how many that is.
    ///
    /// # Errors
    /// When the name or the queues are not usable, or there are too many topics.
    pub fn register_topic(&mut self, topic: &str, queues: &[QueueData]) -> Result<usize, Refusal> {
        let mut entered = 0;
        for data in queues {
            let Some((name, _)) = self.brokers.get_key_value(data.broker_name.as_str()) else { continue };
            let name = Arc::clone(name);
            let config = TopicConfig {
                topic_name: topic.to_owned(),
                perm: data.perm,
                read_queue_nums: data.read_queue_nums,
                write_queue_nums: data.write_queue_nums,
                topic_sys_flag: data.topic_sys_flag,
                ..TopicConfig::default()
            };
            if !is_usable(&config) {
                return Err(Refusal::Parameter { what: "topic" });
            }
            let topics = [config];
            self.check_room_for_topics(&name, &topics)?;
            self.put_topics(&name, &topics, !0, true, &mut Registered::default());
            entered += 1;
        }
        Ok(entered)
    }

    /// Forbids (205) or allows (327) writing on all topics of a broker name, until the opposite is asked for or the name has
    /// gone; how many topics that are.
    pub fn set_writable(&mut self, broker_name: &str, writable: bool) -> usize {
        let Some(broker) = self.brokers.get_mut(broker_name) else { return 0 };
        broker.write_wiped = !writable;
        self.topics.values().filter(|brokers| brokers.contains_key(broker_name)).count()
    }

    pub(super) fn check_room_for_topics(&self, broker_name: &str, topics: &[TopicConfig]) -> Result<(), Refusal> {
        let (mut new_topics, mut new_routes) = (0, 0);
        for topic in topics.iter().filter(|topic| is_usable(topic)) {
            match self.topics.get(topic.topic_name.as_str()) {
                None => (new_topics, new_routes) = (new_topics + 1, new_routes + 1),
                Some(brokers) => new_routes += usize::from(!brokers.contains_key(broker_name)),
            }
        }
        if new_topics > 0 && self.topics.len() + new_topics > TOPIC_COUNT_MAX {
            return Err(Refusal::Full { what: "topics", count_max: TOPIC_COUNT_MAX });
        }
        if new_routes > 0 && self.route_count + new_routes > ROUTE_COUNT_MAX {
            return Err(Refusal::Full { what: "routes of topics", count_max: ROUTE_COUNT_MAX });
        }
        Ok(())
    }

    /// Enters the topics of a broker name: all of them when its table `changed`, else those that are missing.
    pub(super) fn put_topics(
        &mut self,
        name: &Arc<str>,
        topics: &[TopicConfig],
        perm_mask: i32,
        changed: bool,
        outcome: &mut Registered,
    ) {
        for topic in topics {
            if !is_usable(topic) {
                outcome.topics_refused += 1;
                continue;
            }
            let queues = Queues {
                perm: topic.perm & perm_mask,
                read_count: topic.read_queue_nums,
                write_count: topic.write_queue_nums,
                sys_flag: topic.topic_sys_flag,
            };
            if !self.topics.contains_key(topic.topic_name.as_str()) {
                self.topics.insert(topic.topic_name.as_str().into(), BTreeMap::new());
            }
            let brokers = self.topics.get_mut(topic.topic_name.as_str()).expect("it is there since the line above");
            match brokers.get_mut(name) {
                Some(known) if changed && *known != queues => *known = queues,
                Some(_) => continue,
                None => {
                    brokers.insert(Arc::clone(name), queues);
                    self.route_count += 1;
                }
            }
            outcome.topics_changed += 1;
        }
    }

    /// Removes the topics of a broker name that are not in `topics`; how many those are.
    pub(super) fn keep_topics(&mut self, name: &str, topics: &[TopicConfig]) -> usize {
        let kept: BTreeSet<&str> = topics.iter().map(|topic| topic.topic_name.as_str()).collect();
        let mut removed = 0;
        self.topics.retain(|topic, brokers| {
            if !kept.contains(&**topic) {
                removed += usize::from(brokers.remove(name).is_some());
            }
            !brokers.is_empty()
        });
        self.route_count -= removed;
        removed
    }
}

fn is_usable(topic: &TopicConfig) -> bool {
    let queue_counts = 0..=QUEUE_COUNT_MAX;
    !topic.topic_name.is_empty()
        && topic.topic_name.len() <= LONG_NAME_SIZE_BYTES_MAX
        && !topic.topic_name.chars().any(char::is_control)
        && queue_counts.contains(&topic.read_queue_nums)
        && queue_counts.contains(&topic.write_queue_nums)
}
