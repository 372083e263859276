//! What a client knows of a cluster: its name servers, and one link to each broker that was ever needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringmq_proto::remoting::route::{ClusterInfo, MASTER_ID, PERM_READ, PERM_WRITE, TopicRoute};
use ringmq_tls::ClientTls;

use crate::error::{Error, Result};
use crate::link::Link;
use crate::name_server::NameServers;
use crate::remoting::link::{Heard, RemotingLink};

/// Queues of one topic over all brokers. When reached: the route is refused; a wrong number must not become memory.
const TOPIC_QUEUE_COUNT_MAX: usize = 1 << 20;

/// For how long a route may be used again by readers: when a broker restarts, all its queues ask for the same one.
const ROUTE_AGE_MAX: Duration = Duration::from_secs(1);

/// For how long name servers that did not answer are left alone by who knows a route: silent ones take seconds each time.
const IN_VAIN_PAUSE: Duration = Duration::from_secs(5);

/// The queues of a topic on one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerQueues {
    pub(crate) broker_name: Arc<str>,
    /// Of the master.
    pub(crate) address: Arc<str>,
    /// How many queues may be written; 0 without the permission.
    pub(crate) write_count: u32,
    /// How many queues may be read; 0 without the permission.
    pub(crate) read_count: u32,
}

/// A broker as `cluster list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Its name: a shard's.
    pub name: String,
    /// 0 for the master.
    pub id: i64,
    /// Where it listens.
    pub address: String,
}

/// Shared by what an application makes of one set of name servers. Dropping it closes the links.
pub(crate) struct Cluster {
    name_servers: NameServers,
    /// How brokers are spoken to; none: without TLS.
    tls: Option<ClientTls>,
    links: Mutex<HashMap<Arc<str>, Arc<Link>>>,
    remoting_links: Mutex<HashMap<Arc<str>, Arc<RemotingLink>>>,
    /// Who hears what brokers ask on remoting connections.
    heard: Option<tokio::sync::mpsc::Sender<Heard>>,
    /// The last route of each topic that this client reads.
    known: Mutex<HashMap<Arc<str>, Arc<[BrokerQueues]>>>,
    /// Held while a route is asked for, so that those who want the same wait for it.
    asked: tokio::sync::Mutex<Asked>,
}

/// When name servers were asked.
#[derive(Default)]
struct Asked {
    /// By topic, for recent routes.
    at: HashMap<Arc<str>, Instant>,
    /// When none of them answered last.
    in_vain_at: Option<Instant>,
}

impl Cluster {
    /// The cluster of `address;address;…`.
    pub(crate) fn new(name_servers: &str, tls: Option<&ClientTls>) -> Result<Self> {
        Self::hearing(name_servers, tls, None)
    }

    /// The same, and what brokers ask on remoting connections goes to `heard`.
    pub(crate) fn hearing(
        name_servers: &str,
        tls: Option<&ClientTls>,
        heard: Option<tokio::sync::mpsc::Sender<Heard>>,
    ) -> Result<Self> {
        // Read anew for each connection; what cannot be used at all is said at once.
        tls.map(ClientTls::config).transpose().map_err(|error| Error::Tls(error.into()))?;
        Ok(Self {
            name_servers: NameServers::parse(name_servers, tls.cloned())?,
            tls: tls.cloned(),
            links: Mutex::default(),
            remoting_links: Mutex::default(),
            heard,
            known: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        })
    }

    /// The first name server's address, as it was written.
    pub(crate) fn first_name_server(&self) -> &str {
        self.name_servers.first()
    }

    /// The remoting link to `address`: the same one for all who ask.
    pub(crate) fn remoting(&self, address: &Arc<str>) -> Arc<RemotingLink> {
        let mut links = self.remoting_links.lock().unwrap_or_else(PoisonError::into_inner);
        let spawn = || RemotingLink::spawn(Arc::clone(address), self.tls.clone(), self.heard.clone());
        Arc::clone(links.entry(Arc::clone(address)).or_insert_with(spawn))
    }

    /// All remoting links.
    pub(crate) fn remoting_links(&self) -> Vec<Arc<RemotingLink>> {
        self.remoting_links.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// The remoting link to the master of `broker_name`, which has `topic`. While its connection stands no name server is
    /// asked, so that those may be away.
    pub(crate) async fn remoting_of(&self, topic: &Arc<str>, broker_name: &str) -> Result<Arc<RemotingLink>> {
        if let Some(link) = self.connected_to(topic, broker_name) {
            return Ok(link);
        }
        let route = self.recent_route(topic).await?;
        match route.iter().find(|broker| *broker.broker_name == *broker_name) {
            Some(broker) => Ok(self.remoting(&broker.address)),
            None => {
                let remark = format!("broker {broker_name} does not have it");
                Err(Error::NoRoute { topic: topic.to_string(), remark })
            }
        }
    }

    /// The link that a known route leads to, if its connection stands.
    fn connected_to(&self, topic: &Arc<str>, broker_name: &str) -> Option<Arc<RemotingLink>> {
        let routes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = routes.get(topic)?.iter().find(|broker| *broker.broker_name == *broker_name)?;
        let links = self.remoting_links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(&broker.address).filter(|link| link.is_connected()).map(Arc::clone)
    }

    /// The link to `address`: the same one for all who ask.
    pub(crate) fn link(&self, address: &Arc<str>) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            links.entry(Arc::clone(address)).or_insert_with(|| Link::spawn(Arc::clone(address), self.tls.clone())),
        )
    }

    /// The masters that have `topic`, in the order of their names.
    pub(crate) async fn route(&self, topic: &str) -> Result<Vec<BrokerQueues>> {
        let route = self.name_servers.route(topic).await?;
        master_queues(topic, &route)
    }

    /// As [`Self::route`], but not asked for again within a second; when no name server answers, the last one that is known.
    pub(crate) async fn recent_route(&self, topic: &Arc<str>) -> Result<Arc<[BrokerQueues]>> {
        let mut asked = self.asked.lock().await;
        asked.at.retain(|_, at| at.elapsed() < ROUTE_AGE_MAX);
        let known = self.known_route(topic);
        if let Some(route) = &known
            && (asked.at.contains_key(topic) || asked.in_vain_at.is_some_and(|at| at.elapsed() < IN_VAIN_PAUSE))
        {
            return Ok(Arc::clone(route));
        }
        let route: Arc<[BrokerQueues]> = match (self.route(topic).await, known) {
            (Ok(route), _) => route.into(),
            (Err(error @ Error::NameServers { .. }), Some(route)) => {
                tracing::debug!(%topic, %error, "going on with the last route");
                asked.in_vain_at = Some(Instant::now());
                return Ok(route);
            }
            (Err(error), _) => return Err(error),
        };
        asked.at.insert(Arc::clone(topic), Instant::now());
        asked.in_vain_at = None;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(topic), Arc::clone(&route));
        Ok(route)
    }

    fn known_route(&self, topic: &Arc<str>) -> Option<Arc<[BrokerQueues]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic).map(Arc::clone)
    }

    /// All brokers, by cluster and name.
    pub(crate) async fn brokers(&self) -> Result<Vec<Broker>> {
        Ok(brokers(&self.name_servers.cluster().await?))
    }

    /// Closes all links.
    pub(crate) fn close(&self) {
        let links = std::mem::take(&mut *self.links.lock().unwrap_or_else(PoisonError::into_inner));
        links.values().for_each(|link| link.close());
        let links = std::mem::take(&mut *self.remoting_links.lock().unwrap_or_else(PoisonError::into_inner));
        links.values().for_each(|link| link.close());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads a route of `topic`, whatever it says.
pub(crate) fn read_route(topic: &str, route: &TopicRoute) {
    if let Ok(queues) = master_queues(topic, route) {
        let count = |queues: &BrokerQueues| queues.write_count.max(queues.read_count) as usize;
        assert!(queues.iter().map(count).sum::<usize>() <= TOPIC_QUEUE_COUNT_MAX);
    }
}

/// Reads a list of brokers, whatever it says.
pub(crate) fn read_brokers(info: &ClusterInfo) {
    assert!(brokers(info).is_sorted_by_key(|broker| (broker.cluster.clone(), broker.name.clone(), broker.id)));
}

fn master_queues(topic: &str, route: &TopicRoute) -> Result<Vec<BrokerQueues>> {
    let mut queues = Vec::with_capacity(route.queue_datas.len());
    let mut count_all = 0_usize;
    for data in &route.queue_datas {
        let broker = route.broker_datas.iter().find(|broker| broker.broker_name == data.broker_name);
        let Some(address) = broker.and_then(|broker| broker.broker_addrs.get(&MASTER_ID)) else {
            continue; // Slaves alone take no sends and, with RingMQ, no pulls.
        };
        let count = |permission, count| if data.perm & permission == 0 { 0 } else { u32::try_from(count).unwrap_or(0) };
        let write_count = count(PERM_WRITE, data.write_queue_nums);
        let read_count = count(PERM_READ, data.read_queue_nums);
        count_all += write_count.max(read_count) as usize;
        let (broker_name, address) = (data.broker_name.as_str().into(), address.as_str().into());
        queues.push(BrokerQueues { broker_name, address, write_count, read_count });
    }
    if count_all > TOPIC_QUEUE_COUNT_MAX {
        let remark = format!("its route has {count_all} queues, more than {TOPIC_QUEUE_COUNT_MAX}");
        return Err(Error::NoRoute { topic: topic.to_owned(), remark });
    }
    if queues.is_empty() {
        let remark = "none of its brokers has a master".to_owned();
        return Err(Error::NoRoute { topic: topic.to_owned(), remark });
    }
    queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    Ok(queues)
}

fn brokers(info: &ClusterInfo) -> Vec<Broker> {
    let mut brokers: Vec<Broker> = info
        .broker_addr_table
        .iter()
        .flat_map(|(name, data)| {
            data.broker_addrs.iter().map(|(id, address)| Broker {
                cluster: data.cluster.clone(),
                name: name.clone(),
                id: *id,
                address: address.clone(),
            })
        })
        .collect();
    brokers.sort_by(|a, b| (&a.cluster, &a.name, a.id).cmp(&(&b.cluster, &b.name, b.id)));
    brokers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ringmq_proto::remoting::route::{BrokerData, QueueData};

    use super::*;

    fn broker(name: &str, ids: &[i64]) -> BrokerData {
        let addresses: BTreeMap<i64, String> = ids.iter().map(|id| (*id, format!("{name}:{id}"))).collect();
        BrokerData { broker_addrs: addresses, broker_name: name.to_owned(), ..BrokerData::default() }
    }

    fn queues(name: &str, perm: i32, write: i32, read: i32) -> QueueData {
        let (write_queue_nums, read_queue_nums) = (write, read);
        QueueData { broker_name: name.to_owned(), perm, write_queue_nums, read_queue_nums, topic_sys_flag: 0 }
    }

    #[test]
    fn only_masters_count_and_only_with_the_permission() {
        let route = TopicRoute {
            broker_datas: vec![broker("b", &[0, 1]), broker("a", &[0]), broker("slaves", &[1])],
            queue_datas: vec![
                queues("b", 6, 4, 8),
                queues("a", 4, 4, 4),
                queues("slaves", 6, 4, 4),
                queues("x", 6, 1, 1),
            ],
            ..TopicRoute::default()
        };
        let found = master_queues("T", &route).expect("a route");
        let brief: Vec<_> =
            found.iter().map(|queues| (&*queues.address, queues.write_count, queues.read_count)).collect();
        assert_eq!(brief, [("a:0", 0, 4), ("b:0", 4, 8)]);
    }

    #[test]
    fn absurd_queue_numbers_do_not_become_memory() {
        let broker_datas = vec![broker("a", &[0])];
        let wrong = |write, read| TopicRoute {
            broker_datas: broker_datas.clone(),
            queue_datas: vec![queues("a", 6, write, read)],
            ..TopicRoute::default()
        };
        assert!(matches!(master_queues("T", &wrong(i32::MAX, 1)), Err(Error::NoRoute { .. })));
        let negative = master_queues("T", &wrong(-5, -1)).expect("a route");
        assert_eq!((negative[0].write_count, negative[0].read_count), (0, 0));
    }
}
