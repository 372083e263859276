//! Requests that wait for a read of the disk, by the load that each waits for: when one of many loads ends, only those are
//! tried again that it may help.

use super::waiting::WaitId;
use crate::store::cache::Place;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// See the module. Requests that have ended meanwhile are left in it until their load ends, too.
#[derive(Debug)]
pub(super) struct Parked {
    by_load: HashMap<Place, Vec<WaitId>, FixedState>,
    /// It is not known what they wait for: any load.
    of_any: Vec<WaitId>,
    count: usize,
}

impl Parked {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self { by_load: HashMap::with_hasher(FixedState::with_seed(hash_seed)), of_any: Vec::new(), count: 0 }
    }

    /// How many there are, those that have ended included.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, id: WaitId, load: Option<Place>) {
        self.count += 1;
        match load {
            Some(load) => self.by_load.entry(load).or_default().push(id),
            None => self.of_any.push(id),
        }
    }

    /// Moves those to `out` that the end of these loads may help.
    pub(super) fn take(&mut self, ended: &[Place], out: &mut Vec<WaitId>) {
        let before = out.len();
        for load in ended {
            out.extend(self.by_load.remove(load).into_iter().flatten());
        }
        if !ended.is_empty() {
            out.append(&mut self.of_any);
        }
        self.count -= out.len() - before;
    }

    /// Lets go of those that have ended.
    pub(super) fn prune(&mut self, is_waiting: impl Fn(WaitId) -> bool) {
        self.by_load.retain(|_, ids| {
            ids.retain(|id| is_waiting(*id));
            !ids.is_empty()
        });
        self.of_any.retain(|id| is_waiting(*id));
        self.count = self.by_load.values().map(Vec::len).sum::<usize>() + self.of_any.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::ConnectionId;
    use super::super::request::{Dialect, Token};
    use super::super::waiting::{NONE, Wait, Waiting, What};
    use super::*;
    use crate::disk::FileName;

    #[test]
    fn end_of_a_load_helps_those_alone_that_wait_for_it() {
        let mut waiting = Waiting::new(1);
        let mut head = NONE;
        let mut wait = || {
            let connection = ConnectionId { slot: 0, generation: 0 };
            let token = Token { id: 0, code: 0, dialect: Dialect::Native, oneway: false };
            waiting.insert(Wait { connection, token, what: What::Topic, deadline_ns: 0 }, &mut head)
        };
        let (first, second, third, any) = (wait(), wait(), wait(), wait());
        let load = |number| Place::new(FileName::Run(1), number);
        let mut parked = Parked::new(1);
        for (id, of) in [(first, Some(load(1))), (second, Some(load(2))), (third, Some(load(1))), (any, None)] {
            parked.push(id, of);
        }
        let mut taken = Vec::new();
        parked.take(&[], &mut taken);
        assert!(taken.is_empty());
        parked.take(&[load(7), load(1)], &mut taken);
        assert_eq!((taken, parked.count()), (vec![first, third, any], 1));
        parked.prune(|_| false);
        assert_eq!(parked.count(), 0);
    }
}
