//! What the registry is asked, by clients, administrators and brokers.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmq_proto::remoting::namesrv::{SYS_FLAG_UNIT, SYS_FLAG_UNIT_SUB};
use ringmq_proto::remoting::registration::DataVersion;
use ringmq_proto::remoting::route::{BrokerData, ClusterInfo, MASTER_ID, PERM_WRITE, QueueData, TopicRoute};

use super::{Broker, ConnectionId, Queues, Registry};

/// Which topics a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFilter<'a> {
    /// All of them (206).
    All,
    /// Those of one cluster (224).
    Cluster(&'a str),
    /// Units' own (311).
    Unit,
    /// Those that units subscribe to (312).
    UnitSubscribed,
    /// Those that units subscribe to and that are no unit's own (313).
    UnitSubscribedOnly,
}

impl Registry {
    /// Where `topic` is, or `None` when no registered broker has it.
    pub fn route(&self, topic: &str) -> Option<TopicRoute> {
        let queues_by_broker = self.topics.get(topic)?;
        let broker_datas = queues_by_broker.keys().map(|name| self.brokers[name].data(name)).collect();
        let data = |(name, queues): (&Arc<str>, &Queues)| queues.data(name, self.brokers[name].perm_mask());
        let queue_datas = queues_by_broker.iter().map(data).collect();
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

    /// Names of topics, in order.
    pub fn topic_names(&self, filter: TopicFilter<'_>) -> Vec<String> {
        let cluster = match filter {
            TopicFilter::Cluster(name) => self.clusters.get(name),
            _ => None,
        };
        // A topic's brokers agree about its flags; the first speaks for all, as in RocketMQ.
        let flags = |brokers: &std::collections::BTreeMap<Arc<str>, Queues>| {
            brokers.values().next().map_or((false, false), |queues| {
                (queues.sys_flag & SYS_FLAG_UNIT != 0, queues.sys_flag & SYS_FLAG_UNIT_SUB != 0)
            })
        };
        let is_wanted = |brokers: &std::collections::BTreeMap<Arc<str>, Queues>| match filter {
            TopicFilter::All => true,
            TopicFilter::Cluster(_) => cluster.is_some_and(|members| brokers.keys().any(|name| members.contains(name))),
            TopicFilter::Unit => flags(brokers).0,
            TopicFilter::UnitSubscribed => flags(brokers).1,
            TopicFilter::UnitSubscribedOnly => flags(brokers) == (false, true),
        };
        self.topics.iter().filter(|(_, brokers)| is_wanted(brokers)).map(|(name, _)| name.to_string()).collect()
    }

    /// Whether a cluster of this name has brokers.
    pub fn has_cluster(&self, name: &str) -> bool {
        self.clusters.contains_key(name)
    }

    /// Names of clusters and brokers, which are names of system topics as well, and the address of one broker.
    pub fn system_topic_names(&self) -> (Vec<String>, Option<String>) {
        let names = self.clusters.iter().flat_map(|(cluster, names)| std::iter::once(cluster).chain(names));
        let addr = self.brokers.values().flat_map(|broker| broker.replicas.values()).next();
        let mut unique = BTreeSet::new();
        let names = names.filter(|name| unique.insert(Arc::clone(name))).map(ToString::to_string).collect();
        (names, addr.map(|replica| replica.addr.clone()))
    }

    /// The replicas of a broker name.
    pub fn members(&self, broker_name: &str) -> Option<BrokerData> {
        self.brokers.get(broker_name).map(|broker| broker.data(broker_name))
    }

    /// A sign of life that brings no topics (322, 904): the version of the topics that are known of this address. The outer
    /// `None` when the address is not registered; the inner when it has not registered all that it has.
    pub fn beat(
        &mut self,
        now_ms: u64,
        connection: ConnectionId,
        broker_name: &str,
        broker_addr: &str,
    ) -> Option<Option<DataVersion>> {
        let broker = self.brokers.get_mut(broker_name)?;
        let replica = broker.replicas.values_mut().find(|replica| replica.addr == broker_addr)?;
        replica.seen_ms = now_ms;
        replica.connection = connection;
        Some(replica.is_whole.then_some(replica.data_version))
    }
}

impl Broker {
    fn data(&self, name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.replicas.iter().map(|(id, replica)| (*id, replica.addr.clone())).collect(),
            broker_name: name.to_owned(),
            cluster: self.cluster.to_string(),
            enable_acting_master: self.acting_master,
            zone_name: self.zone.as_deref().map(str::to_owned),
        }
    }
}

impl Queues {
    fn data(&self, broker_name: &str, perm_mask: i32) -> QueueData {
        QueueData {
            broker_name: broker_name.to_owned(),
            perm: self.perm & perm_mask,
            read_queue_nums: self.read_count,
            topic_sys_flag: self.sys_flag,
            write_queue_nums: self.write_count,
        }
    }
}

/// Shows the lowest slave of each masterless broker name as its master, for clients that know masters only: where slaves may
/// stand in, and the queues are for reading alone.
pub fn show_acting_masters(route: &mut TopicRoute) {
    for broker in &mut route.broker_datas {
        let name = &broker.broker_name;
        let read_only = route.queue_datas.iter().any(|data| data.broker_name == *name && data.perm & PERM_WRITE == 0);
        let stands_in = broker.enable_acting_master == Some(true) && read_only;
        if stands_in
            && !broker.broker_addrs.contains_key(&MASTER_ID)
            && let Some((_, addr)) = broker.broker_addrs.pop_first()
        {
            broker.broker_addrs.insert(MASTER_ID, addr);
        }
    }
}

/// Leaves the brokers of one zone, and those whose master is gone, so that their slaves can be read from anywhere.
pub fn keep_zone(route: &mut TopicRoute, zone: &str) {
    route.broker_datas.retain(|broker| {
        let is_near = broker.zone_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(zone));
        is_near || !broker.broker_addrs.contains_key(&MASTER_ID)
    });
    let kept = &route.broker_datas;
    route.queue_datas.retain(|data| kept.iter().any(|broker| broker.broker_name == data.broker_name));
}
