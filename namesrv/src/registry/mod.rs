//! The routes: which brokers live, which topics they have. A state machine: no socket, no clock, nothing durable.
//!
//! ```text
//! cluster name -> broker names
//! broker name  -> cluster, broker id -> { address, connection, version of its topics, last sign of life }
//! topic        -> broker name -> queues, permissions
//! ```
//!
//! [`topics`](self) enters and deletes topics, `removal` lets brokers go, `lookup` answers questions.
//!
//! **A topic's broker names are registered brokers, always**, and so are a cluster's. The rules are RocketMQ's:
//! * A broker lives until it unregisters, its connection closes, or nothing has come for the time that it asked for (120 s
//!   unless it said otherwise). When the last address of a broker name goes, its topics go; before that they stay.
//! * An address that comes under another id of its broker name leaves the old id.
//! * An id that comes with another address goes to the newcomer, unless the newcomer's state version (the broker's term) is
//!   smaller: then nothing changes, except that the rule above has been followed.
//! * Topics follow the master's registrations alone. An equal version adds what is missing and changes nothing else. A
//!   registration removes no topic, for it may hold only what is new, unless it says that it is the whole table. (With acting
//!   masters, the lowest slave registers topics too, for reading only; and the queues of a broker name that lost its master
//!   are read-only.)
//! * A first registration of one topic alone is taken (RocketMQ refuses it), but not for all that the broker has: asked by 322,
//!   the answer is that the table has changed, so that the rest is registered as well.
//! * Where writing was wiped (205), it stays wiped until it is added again (327) or the broker name has gone. (RocketMQ
//!   forgets a wipe topic by topic when the broker's table changes, which ends a drain unasked.)

pub mod lookup;
mod removal;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmq_proto::remoting::registration::{DataVersion, RegisterBody, RegisterBroker};
use ringmq_proto::remoting::route::{MASTER_ID, PERM_WRITE};

use crate::limits::{BROKER_COUNT_MAX, HEARTBEAT_TIMEOUT_MS_MAX, NAME_SIZE_BYTES_MAX};

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

/// The lowest id that lives under a broker name has changed: what its replicas are told (905). Only where a slave may stand in
/// for its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinIdChange {
    /// Its name.
    pub broker_name: String,
    /// The lowest id.
    pub min_id: i64,
    /// Its address.
    pub min_addr: String,
    /// Where it serves replicas, when it has just come.
    pub ha_addr: Option<String>,
    /// Who has gone, when that is why.
    pub offline_addr: Option<String>,
    /// Connections of those who are told.
    pub to: Vec<ConnectionId>,
}

/// All routes that a name server knows.
#[derive(Debug, Default)]
pub struct Registry {
    clusters: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    brokers: BTreeMap<Arc<str>, Broker>,
    topics: BTreeMap<Box<str>, BTreeMap<Arc<str>, Queues>>,
    /// Addresses in all of `brokers`.
    broker_count: usize,
    /// Entries in all of `topics`.
    route_count: usize,
    /// What happened and is not told yet.
    min_id_changes: Vec<MinIdChange>,
}

#[derive(Debug)]
struct Broker {
    cluster: Arc<str>,
    acting_master: Option<bool>,
    zone: Option<Box<str>>,
    /// Nobody may write, whatever the topics' permissions.
    write_wiped: bool,
    replicas: BTreeMap<i64, Replica>,
}

#[derive(Debug)]
struct Replica {
    addr: String,
    ha_addr: String,
    connection: ConnectionId,
    data_version: DataVersion,
    /// All topics of that version have been registered, as far as is known.
    is_whole: bool,
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
        let is_whole =
            body.topics.len() != 1 || header.whole_table == Some(true) || holder.is_some_and(|holder| holder.is_whole);
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
        let lowest_before = known_lowest(&self.brokers, header.broker_name);
        let name = self.put_broker(now_ms, connection, header, (body.data_version, is_whole));
        if let Some(perm_mask) = writable {
            self.put_topics(&name, &body.topics, perm_mask, has_changed, &mut outcome);
            if has_changed && header.whole_table == Some(true) {
                outcome.topics_removed = self.keep_topics(&name, &body.topics);
            }
        }
        if lowest_before.is_some_and(|lowest| header.broker_id < lowest) {
            self.min_id_came(&name);
        }
        outcome.master = self.master_for(header);
        Ok(outcome)
    }

    /// Notes where a broker name stands; an unusable zone is none.
    pub fn set_zone(&mut self, broker_name: &str, zone: Option<&str>) {
        if let Some(broker) = self.brokers.get_mut(broker_name) {
            broker.zone = zone.filter(|zone| !zone.is_empty() && zone.len() <= NAME_SIZE_BYTES_MAX).map(Box::from);
        }
    }

    /// What there is to tell about lowest ids since the last call.
    pub fn take_min_id_changes(&mut self) -> Vec<MinIdChange> {
        std::mem::take(&mut self.min_id_changes)
    }

    /// A lower id than all has come: the others hear of it.
    fn min_id_came(&mut self, name: &str) {
        let Some((id, lowest, others)) = self.brokers.get(name).and_then(Broker::lowest_if_acting) else { return };
        let ha_addr = Some(lowest.ha_addr.clone());
        let to: Vec<_> = others.map(|replica| replica.connection).collect();
        let (broker_name, min_addr) = (name.to_owned(), lowest.addr.clone());
        let change = MinIdChange { broker_name, min_id: id, min_addr, ha_addr, offline_addr: None, to };
        self.min_id_changes.push(change);
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

    /// Enters the address under its id; the name, shared.
    fn put_broker(
        &mut self,
        now_ms: u64,
        connection: ConnectionId,
        header: &RegisterBroker<'_>,
        (data_version, is_whole): (DataVersion, bool),
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
            is_whole,
            seen_ms: now_ms,
            timeout_ms: asked_ms.unwrap_or(HEARTBEAT_TIMEOUT_MS_DEFAULT).min(HEARTBEAT_TIMEOUT_MS_MAX),
        };
        let broker = self.brokers.entry(Arc::clone(&name)).or_insert_with(|| Broker {
            cluster: Arc::clone(&cluster),
            acting_master: None,
            zone: None,
            write_wiped: false,
            replicas: BTreeMap::new(),
        });
        broker.cluster = cluster;
        broker.acting_master = header.enable_acting_master;
        self.broker_count += usize::from(broker.replicas.insert(header.broker_id, replica).is_none());
        name
    }

    fn master_for(&self, header: &RegisterBroker<'_>) -> Option<(String, String)> {
        if header.broker_id == MASTER_ID {
            return None;
        }
        let master = self.brokers.get(header.broker_name)?.replicas.get(&MASTER_ID)?;
        Some((master.addr.clone(), master.ha_addr.clone()))
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

    /// The permissions that its queues can have now.
    fn perm_mask(&self) -> i32 {
        let masterless = self.acting_master == Some(true) && !self.replicas.contains_key(&MASTER_ID);
        if self.write_wiped || masterless { !PERM_WRITE } else { !0 }
    }

    /// The lowest id and the others, where a slave may stand in for its master.
    fn lowest_if_acting(&self) -> Option<(i64, &Replica, impl Iterator<Item = &Replica>)> {
        let mut replicas = self.replicas.iter();
        let (id, lowest) = replicas.next()?;
        (self.acting_master == Some(true)).then(|| (*id, lowest, replicas.map(|(_, replica)| replica)))
    }
}

impl Replica {
    /// Whether this one keeps its id although `addr` claims it.
    fn supersedes(&self, addr: &str, version: &DataVersion) -> bool {
        self.addr != addr && self.data_version.state_version > version.state_version
    }
}

fn known_lowest(brokers: &BTreeMap<Arc<str>, Broker>, name: &str) -> Option<i64> {
    brokers.get(name)?.replicas.keys().next().copied()
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
