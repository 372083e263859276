//! The table of a shard's connections: slots that are used again, each use with a generation of its own.

use std::collections::VecDeque;

use super::tls::Lane;
use crate::shard::io::{Chunk, ConnectionId};

/// One connection as the driver knows it.
pub(super) struct Connection<S> {
    pub(super) socket: S,
    pub(super) lane: Lane,
    /// Output that the kernel has not taken.
    pub(super) unsent: VecDeque<Chunk>,
    /// Bytes of the first of those that it has.
    pub(super) sent_bytes: usize,
}

struct Slot<S> {
    generation: u32,
    connection: Option<Connection<S>>,
}

/// See the module.
pub(super) struct Connections<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
}

impl<S> Connections<S> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, socket: S, lane: Lane) -> ConnectionId {
        let connection = Some(Connection { socket, lane, unsent: VecDeque::new(), sent_bytes: 0 });
        match self.free.pop() {
            Some(slot) => {
                let entry = &mut self.slots[slot as usize];
                entry.connection = connection;
                ConnectionId { slot, generation: entry.generation }
            }
            None => {
                let slot = u32::try_from(self.slots.len()).expect("connections are bounded");
                self.slots.push(Slot { generation: 0, connection });
                ConnectionId { slot, generation: 0 }
            }
        }
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection<S>> {
        self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?.connection.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?.connection.as_mut()
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection<S>> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        let connection = slot.connection.take()?;
        // A slot whose generations are used up is not used again.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.slot);
        }
        Some(connection)
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.connection.is_some());
        used.map(|(index, slot)| ConnectionId {
            slot: u32::try_from(index).expect("connections are bounded"),
            generation: slot.generation,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_of_a_closed_connection_never_names_a_later_one() {
        let mut connections = Connections::new();
        let first = connections.insert('a', Lane::Plain);
        assert!(connections.remove(first).is_some());
        let second = connections.insert('b', Lane::Plain);
        assert_eq!(first.slot, second.slot);
        assert!(connections.get(first).is_none() && connections.remove(first).is_none());
        assert_eq!(connections.get(second).map(|connection| connection.socket), Some('b'));
        assert_eq!(connections.ids(), [second]);
        assert_eq!(connections.len(), 1);
    }
}
