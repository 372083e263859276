//! How brokers go: unregistered, with their connection, or by silence.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmq_proto::remoting::registration::UnregisterBroker;

use super::{Broker, ConnectionId, Gone, MinIdChange, Registry, Replica};

impl Registry {
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

    pub(super) fn remove(&mut self, name: &str, id: i64) -> Option<Gone> {
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
            self.min_id_left(name, *id, &replica.addr);
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
    pub(super) fn vacate(&mut self, name: &str, id: i64) -> Option<Replica> {
        let broker = self.brokers.get_mut(name)?;
        let replica = broker.replicas.remove(&id)?;
        self.broker_count -= 1;
        Some(replica)
    }

    /// An id has left: if it was the lowest, those that stay hear of it.
    fn min_id_left(&mut self, name: &str, id: i64, addr: &str) {
        let Some((min_id, lowest, others)) = self.brokers.get(name).and_then(Broker::lowest_if_acting) else { return };
        if id > min_id {
            return;
        }
        let to = std::iter::once(lowest).chain(others).map(|replica| replica.connection).collect();
        let (broker_name, min_addr, offline_addr) = (name.to_owned(), lowest.addr.clone(), Some(addr.to_owned()));
        let change = MinIdChange { broker_name, min_id, min_addr, ha_addr: None, offline_addr, to };
        self.min_id_changes.push(change);
    }
}
