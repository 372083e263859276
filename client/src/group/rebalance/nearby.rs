//! `MACHINE_ROOM_NEARBY`: queues are read in the room where they are, as long as somebody is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Strategy;
use crate::message::MessageQueue;

/// Says in which room a name is.
type RoomOf = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Where brokers and members are: RocketMQ's `MachineRoomResolver`.
#[derive(Clone)]
pub struct Rooms {
    broker: RoomOf,
    client: RoomOf,
}

impl Rooms {
    /// Rooms by a broker's name, and by a client's id.
    pub fn new(
        of_broker: impl Fn(&str) -> String + Send + Sync + 'static,
        of_client: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self { broker: Arc::new(of_broker), client: Arc::new(of_client) }
    }

    /// The room of a name is what stands before its first `-` (`room1-broker-a`); all of a name without one.
    pub fn by_prefix() -> Self {
        let prefix = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        Self::new(prefix, prefix)
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rooms")
    }
}

/// The share of `client_id`, a member: its part of its own room's queues, and its part of each room without members, in
/// the order of their names.
pub(super) fn allocate(
    client_id: &str,
    queues: &[MessageQueue],
    members: &[String],
    inner: &Strategy,
    rooms: &Rooms,
) -> Vec<MessageQueue> {
    let mut queues_of: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        queues_of.entry((rooms.broker)(&queue.broker_name)).or_default().push(queue.clone());
    }
    let mut members_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members {
        members_of.entry((rooms.client)(member)).or_default().push(member.clone());
    }
    let own_room = (rooms.client)(client_id);
    let mut share = Vec::new();
    if let (Some(queues), Some(members)) = (queues_of.remove(&own_room), members_of.get(&own_room)) {
        share.extend(inner.allocate(client_id, &queues, members));
    }
    for (room, queues) in queues_of {
        if !members_of.contains_key(&room) {
            share.extend(inner.allocate(client_id, &queues, members));
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::super::tests::queues;
    use super::*;

    /// By hand: rooms A and B have two members each, room C has none, so that its 4 queues go one to each of the 4.
    #[test]
    fn a_room_without_members_is_divided_among_all() {
        let all: Vec<_> = ["A-b", "B-b", "C-b"].iter().flat_map(|broker| queues(broker, 4)).collect();
        let members: Vec<String> = ["A-1", "A-2", "B-1", "B-2"].map(str::to_owned).into();
        let share = |member: &str| {
            let share = allocate(member, &all, &members, &Strategy::Average, &Rooms::by_prefix());
            share.iter().map(|queue| format!("{}{}", &queue.broker_name[..1], queue.queue_id)).collect::<Vec<_>>()
        };
        assert_eq!(share("A-1"), ["A0", "A1", "C0"]);
        assert_eq!(share("A-2"), ["A2", "A3", "C1"]);
        assert_eq!(share("B-2"), ["B2", "B3", "C3"]);
    }
}
