//! Who of a group reads which queues: RocketMQ's strategies as pure functions. Every member computes the division for
//! itself, from the same queues and the same members, both sorted: so the results must be those of RocketMQ's Java client,
//! or a queue would have two readers or none in a mixed group.

mod average;
mod by_circle;
mod consistent_hash;
mod machine_room;
mod md5;
mod nearby;

pub use nearby::Rooms;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::message::MessageQueue;

/// Virtual nodes of a member on the ring of [`Strategy::ConsistentHash`], as in RocketMQ.
pub const VIRTUAL_NODE_COUNT: usize = 10;

/// How the queues of a topic are divided among the members of a group. All members must use the same.
#[derive(Clone, Debug, Default)]
pub enum Strategy {
    /// Contiguous blocks of equal size (`AVG`), RocketMQ's default.
    #[default]
    Average,
    /// In turn (`AVG_BY_CIRCLE`).
    AverageByCircle,
    /// Only queues of brokers that are named `room@name` with one of these rooms (`MACHINE_ROOM`).
    MachineRoom(BTreeSet<String>),
    /// The queues of a room among the members in that room; those of rooms without members among all
    /// (`MACHINE_ROOM_NEARBY`).
    MachineRoomNearby {
        /// Divides the queues of a room.
        inner: Box<Strategy>,
        /// Where brokers and members are.
        rooms: Rooms,
    },
    /// By hashes on a ring with this many virtual nodes a member (`CONSISTENT_HASH`, [`VIRTUAL_NODE_COUNT`]).
    ConsistentHash(usize),
    /// These queues, whoever else there is (`CONFIG`).
    Manual(Arc<[MessageQueue]>),
}

impl Strategy {
    /// RocketMQ's name of the strategy.
    pub fn name(&self) -> String {
        match self {
            Self::Average => "AVG".to_owned(),
            Self::AverageByCircle => "AVG_BY_CIRCLE".to_owned(),
            Self::MachineRoom(_) => "MACHINE_ROOM".to_owned(),
            Self::MachineRoomNearby { inner, .. } => format!("MACHINE_ROOM_NEARBY-{}", inner.name()),
            Self::ConsistentHash(_) => "CONSISTENT_HASH".to_owned(),
            Self::Manual(_) => "CONFIG".to_owned(),
        }
    }

    /// The share of `client_id`: of these queues, among these members. Both are sorted; a client that is no member gets
    /// none.
    pub fn allocate(&self, client_id: &str, queues: &[MessageQueue], members: &[String]) -> Vec<MessageQueue> {
        if let Self::Manual(queues) = self {
            return queues.to_vec();
        }
        let Some(index) = members.iter().position(|member| member == client_id) else {
            return Vec::new();
        };
        match self {
            Self::Average => average::allocate(index, queues, members.len()),
            Self::AverageByCircle => by_circle::allocate(index, queues, members.len()),
            Self::MachineRoom(rooms) => machine_room::allocate(index, queues, members.len(), rooms),
            Self::MachineRoomNearby { inner, rooms } => nearby::allocate(client_id, queues, members, inner, rooms),
            Self::ConsistentHash(nodes) => consistent_hash::allocate(client_id, queues, members, *nodes),
            Self::Manual(queues) => queues.to_vec(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Queues 0 to `count` of broker `broker`.
    pub(crate) fn queues(broker: &str, count: u32) -> Vec<MessageQueue> {
        let (topic, broker_name): (Arc<str>, Arc<str>) = ("T".into(), broker.into());
        let queue =
            |queue_id| MessageQueue { topic: Arc::clone(&topic), broker_name: Arc::clone(&broker_name), queue_id };
        (0..count).map(queue).collect()
    }

    pub(crate) fn members(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("client{index:02}")).collect()
    }

    pub(crate) fn ids(queues: &[MessageQueue]) -> Vec<u32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn every_queue_has_exactly_one_reader() {
        let nearby = Strategy::MachineRoomNearby { inner: Box::new(Strategy::Average), rooms: Rooms::by_prefix() };
        let rooms = BTreeSet::from(["r".to_owned()]);
        let strategies = [
            Strategy::Average,
            Strategy::AverageByCircle,
            Strategy::MachineRoom(rooms),
            nearby,
            Strategy::ConsistentHash(VIRTUAL_NODE_COUNT),
        ];
        for strategy in strategies {
            for queue_count in 1..20 {
                for member_count in 1..20 {
                    let (queues, members) = (queues("r@b", queue_count), members(member_count));
                    let share = |member: &String| strategy.allocate(member, &queues, &members);
                    let mut all: Vec<_> = members.iter().flat_map(share).collect();
                    all.sort();
                    assert_eq!(all, queues, "{} with {member_count} members", strategy.name());
                }
            }
        }
    }

    /// Brokers as `room@name`, each with so many queues, and members as `room-name`: some rooms have members alone, some
    /// queues alone.
    fn any_group() -> impl proptest::strategy::Strategy<Value = (Vec<MessageQueue>, Vec<String>)> {
        use proptest::collection::{btree_map, btree_set};
        use proptest::strategy::Strategy as _;
        let brokers = btree_map("[a-d]@[a-z]{1,3}", 1_u32..9, 1..8);
        let members = btree_set("[b-e]-[a-z0-9@#.]{1,8}", 1..12);
        (brokers, members).prop_map(|(brokers, members)| {
            let mut all: Vec<_> = brokers.iter().flat_map(|(broker, count)| queues(broker, *count)).collect();
            all.sort();
            (all, members.into_iter().collect())
        })
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_brokers_and_members_are_each_queue_has_exactly_one_reader(
            (queues, members) in any_group(),
            nodes in 0_usize..20,
        ) {
            let room = |name: &str| name[..1].to_owned();
            let nearby = |inner| Strategy::MachineRoomNearby { inner: Box::new(inner), rooms: Rooms::new(room, room) };
            let all_rooms = ["a", "b", "c", "d"].map(str::to_owned).into();
            let strategies = [
                Strategy::Average,
                Strategy::AverageByCircle,
                Strategy::MachineRoom(all_rooms),
                Strategy::ConsistentHash(nodes),
                nearby(Strategy::Average),
                nearby(Strategy::AverageByCircle),
                nearby(Strategy::ConsistentHash(nodes)),
                nearby(nearby(Strategy::Average)),
            ];
            for strategy in strategies {
                let share = |member: &String| strategy.allocate(member, &queues, &members);
                let mut all: Vec<_> = members.iter().flat_map(share).collect();
                all.sort();
                proptest::prop_assert_eq!(&all, &queues, "{}", strategy.name());
            }
        }
    }

    #[test]
    fn who_is_no_member_gets_nothing_but_by_hand() {
        let queues = queues("b", 4);
        assert!(Strategy::Average.allocate("stranger", &queues, &members(2)).is_empty());
        let manual = Strategy::Manual(queues[1..3].into());
        assert_eq!(ids(&manual.allocate("stranger", &queues, &members(2))), [1, 2]);
    }

    #[test]
    fn names_are_rocketmqs() {
        let inner = Box::new(Strategy::AverageByCircle);
        let nearby = Strategy::MachineRoomNearby { inner, rooms: Rooms::by_prefix() };
        assert_eq!(nearby.name(), "MACHINE_ROOM_NEARBY-AVG_BY_CIRCLE");
        assert_eq!(Strategy::default().name(), "AVG");
    }
}
