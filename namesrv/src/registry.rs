//! The routes: which brokers live, which topics they have. A state machine: no socket, no clock, nothing durable.
//!
//! ```text
//! cluster name -> broker names
//! broker name  -> cluster, broker id -> { address, connection, version of its topics, last sign of life }
//! topic        -> broker name -> queues, permissions
//! ```
//!
//! **A topic's broker names are registered brokers, always**, and so are a cluster's. The rules are RocketMQ's:
//! * A broker lives until it unregisters, its connection closes, or nothing has come for the time that it asked for (120 s
//!   unless it said otherwise). When the last address of a broker name goes, its topics go; before that they stay.
//! * An address that comes under another id of its broker name leaves the old id.
//! * An id that comes with another address goes to the newcomer, unless the newcomer's state version (the broker's term) is
//!   smaller: then nothing changes, except that the rule above has been followed.
//! * Topics follow the master's registrations alone. An equal version adds what is missing and changes nothing else. A
//!   registration removes no topic, for it may hold only what is new, unless it says that it is the whole table. (With acting masters, the lowest slave registers
//!   topics too, for reading only; and the queues of a broker name that lost its master become read-only.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::registration::{DataVersion, RegisterBody, RegisterBroker, TopicConfig, UnregisterBroker};
use ringmq_proto::remoting::route::{BrokerData, ClusterInfo, MASTER_ID, PERM_WRITE, QueueData, TopicRoute};

use crate::limits::{
    BROKER_COUNT_MAX, HEARTBEAT_TIMEOUT_MS_MAX, NAME_SIZE_BYTES_MAX, QUEUE_COUNT_MAX, ROUTE_COUNT_MAX, TOPIC_COUNT_MAX,
};

/// How long a registration counts when the broker does not say, in ms: RocketMQ's.
pub const HEARTBEAT_TIMEOUT_MS_DEFAULT: u64 = 120_000;

/// A connection of the server, never named twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Why a registration changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name or address is empty, too long or no text, or the broker id is negative. The broker's fault.
    #[error("the {what} of the registration is not usable")]
    Parameter {
        /// Which of them.
        what: &'static str,
    },
    /// The name server is full. Retrying helps when others have left.
    #[error("this name server holds {count_max} {what}, its limit")]
    Full {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        count_max: usize,
    },
}

/// What a registration did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// The address was not registered under this id before.
    pub first: bool,
    /// Another address, with a larger state version, holds the id: the registration did not count.
    pub superseded: bool,
    /// Topics added or changed.
    pub topics_changed: usize,
    /// Topics that the broker no longer has.
    pub topics_removed: usize,
    /// Topics left out: name or queue counts are not usable.
    pub topics_refused: usize,
    /// For a slave whose master is registered: the master's address, and where it serves replicas.
    pub master: Option<(String, String)>,
}

/// A broker that is no longer registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its name.
    pub broker_name: String,
    /// Its id.
    pub broker_id: i64,
    /// Its address.
    pub broker_addr: String,
}

/// Everything a name server knows.
#[derive(Debug, Default)]
pub struct Registry {
    clusters: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    brokers: BTreeMap<Arc<str>, Broker>,
    topics: BTreeMap<Box<str>, BTreeMap<Arc<str>, Queues>>,
    /// Addresses in all of `brokers`.
    broker_count: usize,
    /// Entries in all of `topics`.
    route_count: usize,
}

#[derive(Debug)]
struct Broker {
    cluster: Arc<str>,
    acting_master: Option<bool>,
    replicas: BTreeMap<i64, Replica>,
}

#[derive(Debug)]
struct Replica {
    addr: String,
    ha_addr: String,
    connection: ConnectionId,
    data_version: DataVersion,
    seen_ms: u64,
    timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queues {
    perm: i32,
    read_count: i32,
    write_count: i32,
    sys_flag: i32,
}

impl Registry {
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many broker addresses are registered.
    pub fn broker_count(&self) -> usize {
        self.broker_count
    }

    /// How many topics are known.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Registers a broker, or notes that it lives. All or nothing: a refused registration changes nothing.
    pub fn register(
        &mut self,
        now_ms: u64,
        connection: ConnectionId,
        header: &RegisterBroker<'_>,
        body: &RegisterBody,
    ) -> Result<Registered, Refusal> {
        check_names(header)?;
        let mut outcome = Registered::default();
        let known = self.brokers.get(header.broker_name);
        let moved_from = known.and_then(|broker| broker.id_of(header.broker_addr)).filter(|id| *id != header.broker_id);
        let holder = known.and_then(|broker| broker.replicas.get(&header.broker_id));
        if holder.is_some_and(|holder| holder.supersedes(header.broker_addr, &body.data_version)) {
            outcome.superseded = true;
            if let Some(id) = moved_from {
                self.remove(header.broker_name, id);
            }
            return Ok(outcome);
        }
        outcome.first = holder.is_none_or(|holder| holder.addr != header.broker_addr);
        let is_new = holder.is_none();
        let has_changed = outcome.first || holder.is_none_or(|holder| holder.data_version != body.data_version);
        let writable = self.whose_topics_count(header);
        if is_new && moved_from.is_none() && self.broker_count >= BROKER_COUNT_MAX {
            return Err(Refusal::Full { what: "brokers", count_max: BROKER_COUNT_MAX });
        }
        if writable.is_some() {
            self.check_room_for_topics(header.broker_name, &body.topics)?;
        }

        if let Some(id) = moved_from {
            self.vacate(header.broker_name, id);
        }
        let name = self.put_broker(now_ms, connection, header, body.data_version);
        if let Some(perm_mask) = writable {
            self.put_topics(&name, &body.topics, perm_mask, has_changed, &mut outcome);
            if has_changed && header.whole_table == Some(true) {
                outcome.topics_removed = self.keep_topics(&name, &body.topics);
            }
        }
        outcome.master = self.master_for(header);
        Ok(outcome)
    }

    /// Unregisters an address; whether it was registered.
    pub fn unregister(&mut self, header: &UnregisterBroker<'_>) -> Option<Gone> {
        let id = self.brokers.get(header.broker_name)?.id_of(header.broker_addr)?;
        self.remove(header.broker_name, id)
    }

    /// Forgets the brokers whose last registration came over this connection.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<Gone> {
        self.remove_where(|replica| replica.connection == connection)
    }

    /// Forgets the brokers that have been silent for longer than they announced.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Gone> {
        self.remove_where(|replica| now_ms.saturating_sub(replica.seen_ms) > replica.timeout_ms)
    }

    /// Where `topic` is, or `None` when no registered broker has it.
    pub fn route(&self, topic: &str) -> Option<TopicRoute> {
        let queues_by_broker = self.topics.get(topic)?;
        let broker_datas = queues_by_broker.keys().map(|name| self.brokers[name].data(name)).collect();
        let queue_datas = queues_by_broker.iter().map(|(name, queues)| queues.data(name)).collect();
        Some(TopicRoute { broker_datas, queue_datas, ..TopicRoute::default() })
    }

    /// All brokers and clusters.
    pub fn cluster_info(&self) -> ClusterInfo {
        let brokers = self.brokers.iter().map(|(name, broker)| (name.to_string(), broker.data(name)));
        let names = |names: &BTreeSet<Arc<str>>| names.iter().map(ToString::to_string).collect();
        ClusterInfo {
            broker_addr_table: brokers.collect(),
            cluster_addr_table: self.clusters.iter().map(|(cluster, set)| (cluster.to_string(), names(set))).collect(),
        }
    }

    /// Whether this registration decides about topics: the permissions that it may give (all for a master).
    fn whose_topics_count(&self, header: &RegisterBroker<'_>) -> Option<i32> {
        if header.broker_id == MASTER_ID {
            return Some(!0);
        }
        let known = self.brokers.get(header.broker_name);
        let lowest = known.and_then(|broker| broker.replicas.keys().find(|id| **id != header.broker_id));
        let is_lowest = lowest.is_none_or(|lowest| header.broker_id < *lowest);
        (header.enable_acting_master == Some(true) && is_lowest).then_some(!PERM_WRITE)
    }

    fn check_room_for_topics(&self, broker_name: &str, topics: &[TopicConfig]) -> Result<(), Refusal> {
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

    /// Enters the address under its id; the name, shared.
    fn put_broker(
        &mut self,
        now_ms: u64,
        connection: ConnectionId,
        header: &RegisterBroker<'_>,
        data_version: DataVersion,
    ) -> Arc<str> {
        let known = self.brokers.get_key_value(header.broker_name);
        let name = known.map_or_else(|| Arc::from(header.broker_name), |(name, _)| Arc::clone(name));
        // A broker name is in one cluster: its master's.
        let stays =
            known.filter(|(_, broker)| header.broker_id != MASTER_ID || *broker.cluster == *header.cluster_name);
        let cluster = stays.map_or_else(|| Arc::from(header.cluster_name), |(_, broker)| Arc::clone(&broker.cluster));
        if let Some(old) = known.map(|(_, broker)| Arc::clone(&broker.cluster)).filter(|old| *old != cluster) {
            self.leave_cluster(&old, &name);
        }
        self.clusters.entry(Arc::clone(&cluster)).or_default().insert(Arc::clone(&name));

        let asked_ms = header.heartbeat_timeout_millis.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
        let replica = Replica {
            addr: header.broker_addr.to_owned(),
            ha_addr: header.ha_server_addr.to_owned(),
            connection,
            data_version,
            seen_ms: now_ms,
            timeout_ms: asked_ms.unwrap_or(HEARTBEAT_TIMEOUT_MS_DEFAULT).min(HEARTBEAT_TIMEOUT_MS_MAX),
        };
        let broker = self.brokers.entry(Arc::clone(&name)).or_insert_with(|| Broker {
            cluster: Arc::clone(&cluster),
            acting_master: None,
            replicas: BTreeMap::new(),
        });
        broker.cluster = cluster;
        broker.acting_master = header.enable_acting_master;
        self.broker_count += usize::from(broker.replicas.insert(header.broker_id, replica).is_none());
        name
    }

    /// Enters the topics of a broker name: all of them when its table `changed`, else those that are missing.
    fn put_topics(
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
    fn keep_topics(&mut self, name: &str, topics: &[TopicConfig]) -> usize {
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

    fn master_for(&self, header: &RegisterBroker<'_>) -> Option<(String, String)> {
        if header.broker_id == MASTER_ID {
            return None;
        }
        let master = self.brokers.get(header.broker_name)?.replicas.get(&MASTER_ID)?;
        Some((master.addr.clone(), master.ha_addr.clone()))
    }

    fn remove_where(&mut self, is_gone: impl Fn(&Replica) -> bool) -> Vec<Gone> {
        let gone: Vec<(Arc<str>, i64)> = self
            .brokers
            .iter()
            .flat_map(|(name, broker)| broker.replicas.iter().map(move |(id, replica)| (name, id, replica)))
            .filter(|(_, _, replica)| is_gone(replica))
            .map(|(name, id, _)| (Arc::clone(name), *id))
            .collect();
        self.remove_all(&gone)
    }

    fn remove(&mut self, name: &str, id: i64) -> Option<Gone> {
        let (name, _) = self.brokers.get_key_value(name)?;
        let name = Arc::clone(name);
        self.remove_all(&[(name, id)]).pop()
    }

    /// Removes addresses, and with the last one of a broker name everything about the name. One pass over the topics, however
    /// many brokers a connection takes along.
    fn remove_all(&mut self, addresses: &[(Arc<str>, i64)]) -> Vec<Gone> {
        let mut gone = Vec::new();
        let mut empty_names = BTreeSet::new();
        for (name, id) in addresses {
            let Some(replica) = self.vacate(name, *id) else {
                continue;
            };
            gone.push(Gone { broker_name: name.to_string(), broker_id: *id, broker_addr: replica.addr });
            let broker = &self.brokers[name];
            if broker.replicas.is_empty() {
                let cluster = Arc::clone(&broker.cluster);
                self.brokers.remove(name);
                self.leave_cluster(&cluster, name);
                empty_names.insert(Arc::clone(name));
            }
        }
        if !empty_names.is_empty() {
            let route_count = &mut self.route_count;
            self.topics.retain(|_, brokers| {
                *route_count -= brokers.len();
                brokers.retain(|name, _| !empty_names.contains(name));
                *route_count += brokers.len();
                !brokers.is_empty()
            });
        }
        gone
    }

    /// Takes the address out of an id. The name and its topics stay, even without any address: the caller goes on.
    fn vacate(&mut self, name: &str, id: i64) -> Option<Replica> {
        let broker = self.brokers.get_mut(name)?;
        let replica = broker.replicas.remove(&id)?;
        self.broker_count -= 1;
        if id == MASTER_ID && broker.acting_master == Some(true) {
            for queues in self.topics.values_mut().filter_map(|brokers| brokers.get_mut(name)) {
                queues.perm &= !PERM_WRITE;
            }
        }
        Some(replica)
    }

    fn leave_cluster(&mut self, cluster: &str, name: &str) {
        let Some(names) = self.clusters.get_mut(cluster) else {
            return;
        };
        names.remove(name);
        if names.is_empty() {
            self.clusters.remove(cluster);
        }
    }
}

impl Broker {
    fn id_of(&self, addr: &str) -> Option<i64> {
        self.replicas.iter().find(|(_, replica)| replica.addr == addr).map(|(id, _)| *id)
    }

    fn data(&self, name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.replicas.iter().map(|(id, replica)| (*id, replica.addr.clone())).collect(),
            broker_name: name.to_owned(),
            cluster: self.cluster.to_string(),
            enable_acting_master: self.acting_master,
            zone_name: None,
        }
    }
}

impl Replica {
    /// Whether this one keeps its id although `addr` claims it.
    fn supersedes(&self, addr: &str, version: &DataVersion) -> bool {
        self.addr != addr && self.data_version.state_version > version.state_version
    }
}

impl Queues {
    fn data(&self, broker_name: &str) -> QueueData {
        QueueData {
            broker_name: broker_name.to_owned(),
            perm: self.perm,
            read_queue_nums: self.read_count,
            topic_sys_flag: self.sys_flag,
            write_queue_nums: self.write_count,
        }
    }
}

fn check_names(header: &RegisterBroker<'_>) -> Result<(), Refusal> {
    let names = [
        ("brokerName", header.broker_name),
        ("clusterName", header.cluster_name),
        ("brokerAddr", header.broker_addr),
        ("haServerAddr", header.ha_server_addr),
    ];
    for (what, name) in names {
        // A broker that replicates by another way than RocketMQ's has no address for it.
        let may_be_empty = what == "haServerAddr";
        if (name.is_empty() && !may_be_empty) || name.len() > NAME_SIZE_BYTES_MAX || name.chars().any(char::is_control)
        {
            return Err(Refusal::Parameter { what });
        }
    }
    if header.broker_id < MASTER_ID { Err(Refusal::Parameter { what: "brokerId" }) } else { Ok(()) }
}

fn is_usable(topic: &TopicConfig) -> bool {
    let queue_counts = 0..=QUEUE_COUNT_MAX;
    !topic.topic_name.is_empty()
        && topic.topic_name.len() <= LONG_NAME_SIZE_BYTES_MAX
        && !topic.topic_name.chars().any(char::is_control)
        && queue_counts.contains(&topic.read_queue_nums)
        && queue_counts.contains(&topic.write_queue_nums)
}
