//! Deadlines: a wheel of slots of 10 ms, so that arming and disarming cost the same with ten timers and a million.
//!
//! A deadline fires in the first slot that ends after it, never before; one beyond the wheel's horizon (41 s) fires early
//! and its owner, who knows the true deadline, arms it again. Nothing here is scanned per connection.

/// Width of a slot: how late a deadline may fire.
const SLOT_NS: u64 = 10_000_000;
const SLOT_COUNT: usize = 4096;
const NONE: u32 = u32::MAX;

/// An armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId(u32);

#[derive(Debug)]
struct Node<T> {
    owner: T,
    next: u32,
    previous: u32,
    /// In the wheel: the slot since boot. Free: `u64::MAX`.
    slot: u64,
}

/// The wheel. `T` names who armed a timer.
#[derive(Debug)]
pub(super) struct Timers<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    heads: Box<[u32]>,
    occupied: [u64; SLOT_COUNT / 64],
    /// Every slot up to and including this one has been emptied.
    done: u64,
    /// No timer is in a slot before this one; `u64::MAX` when none is armed.
    first: u64,
    armed_count: usize,
}

/// Memory of one armed timer of a connection.
#[cfg(test)]
pub(super) const TIMER_SIZE_BYTES: usize = size_of::<Node<super::TimerOwner>>();

fn index_of(slot: u64) -> usize {
    usize::try_from(slot % SLOT_COUNT as u64).unwrap_or(0)
}

impl<T: Copy> Timers<T> {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            heads: vec![NONE; SLOT_COUNT].into_boxed_slice(),
            occupied: [0; SLOT_COUNT / 64],
            done: now_ns / SLOT_NS,
            first: u64::MAX,
            armed_count: 0,
        }
    }

    /// Arms a timer that fires at or (by less than two slots) after `deadline_ns`, or at the horizon if that is earlier.
    pub(super) fn arm(&mut self, deadline_ns: u64, owner: T) -> TimerId {
        let slot = (deadline_ns / SLOT_NS + 1).clamp(self.done + 1, self.done + SLOT_COUNT as u64 - 1);
        let at = index_of(slot);
        let next = self.heads[at];
        let node = Node { owner, next, previous: NONE, slot };
        let id = self.place(node);
        if next != NONE {
            self.nodes[next as usize].previous = id;
        }
        self.heads[at] = id;
        self.occupied[at / 64] |= 1 << (at % 64);
        self.first = self.first.min(slot);
        self.armed_count += 1;
        TimerId(id)
    }

    fn place(&mut self, node: Node<T>) -> u32 {
        if self.free == NONE {
            let id = u32::try_from(self.nodes.len()).unwrap_or(NONE);
            assert_ne!(id, NONE, "more timers than ids");
            self.nodes.push(node);
            return id;
        }
        let id = self.free;
        let spare = &mut self.nodes[id as usize];
        self.free = spare.next;
        *spare = node;
        id
    }

    /// Disarms. The id must be of an armed timer.
    pub(super) fn disarm(&mut self, TimerId(id): TimerId) {
        let (next, previous, slot) = {
            let node = &self.nodes[id as usize];
            (node.next, node.previous, node.slot)
        };
        assert_ne!(slot, u64::MAX, "timer {id} is not armed");
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous == NONE {
            let at = index_of(slot);
            self.heads[at] = next;
            if next == NONE {
                self.occupied[at / 64] &= !(1 << (at % 64));
            }
        } else {
            self.nodes[previous as usize].next = next;
        }
        let node = &mut self.nodes[id as usize];
        node.slot = u64::MAX;
        node.next = self.free;
        self.free = id;
        self.armed_count -= 1;
    }

    /// Takes one timer whose time has come; it is disarmed.
    pub(super) fn pop_expired(&mut self, now_ns: u64) -> Option<T> {
        let now = now_ns / SLOT_NS;
        if now < self.first {
            return None;
        }
        self.first = self.first_slot().unwrap_or(u64::MAX);
        if now < self.first {
            self.done = self.done.max(now);
            return None;
        }
        self.done = self.done.max(self.first - 1);
        let id = self.heads[index_of(self.first)];
        let owner = self.nodes[id as usize].owner;
        self.disarm(TimerId(id));
        Some(owner)
    }

    /// When the first armed timer fires, in boot nanoseconds. May be early after a timer was disarmed.
    pub(super) fn wake_at_ns(&self) -> Option<u64> {
        (self.armed_count > 0).then(|| self.first * SLOT_NS)
    }

    fn first_slot(&self) -> Option<u64> {
        if self.armed_count == 0 {
            return None;
        }
        let start = index_of(self.done + 1);
        // The word of `start` is looked at twice: first its upper bits, after a whole turn its lower ones.
        for step in 0..=self.occupied.len() {
            let word_index = (start / 64 + step) % self.occupied.len();
            let mut word = self.occupied[word_index];
            if step == 0 {
                word &= !0 << (start % 64);
            } else if step == self.occupied.len() {
                word &= !(!0 << (start % 64));
            }
            if word != 0 {
                let at = word_index * 64 + word.trailing_zeros() as usize;
                let ahead = (at + SLOT_COUNT - start) % SLOT_COUNT;
                return Some(self.done + 1 + ahead as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn timer_fires_after_its_deadline_and_within_two_slots() {
        let mut timers = Timers::new(0);
        timers.arm(25 * MS, 'a');
        assert_eq!(timers.wake_at_ns(), Some(30 * MS));
        assert_eq!(timers.pop_expired(25 * MS), None);
        assert_eq!(timers.pop_expired(30 * MS), Some('a'));
        assert_eq!(timers.wake_at_ns(), None);
    }

    #[test]
    fn deadline_beyond_the_horizon_fires_early_for_its_owner_to_arm_again() {
        let mut timers = Timers::new(0);
        timers.arm(120_000 * MS, 'x');
        let early = timers.wake_at_ns().expect("armed");
        assert!(early < 41_000 * MS, "{early}");
        assert_eq!(timers.pop_expired(early), Some('x'));
    }

    #[test]
    fn disarmed_timer_never_fires() {
        let mut timers = Timers::new(0);
        let first = timers.arm(50 * MS, 1);
        timers.arm(50 * MS, 2);
        timers.disarm(first);
        assert_eq!(timers.pop_expired(1000 * MS), Some(2));
        assert_eq!(timers.pop_expired(1000 * MS), None);
    }

    proptest! {
        #[test]
        fn timers_fire_in_order_of_slots_and_each_once(
            deadlines in proptest::collection::vec(0_u64..40_000, 1..200),
            steps in proptest::collection::vec(1_u64..3000, 1..200),
        ) {
            let mut timers = Timers::new(0);
            for (index, deadline) in deadlines.iter().enumerate() {
                timers.arm(deadline * MS, index);
            }
            let mut fired = vec![None; deadlines.len()];
            let mut now = 0;
            for step in steps {
                now += step;
                while let Some(index) = timers.pop_expired(now * MS) {
                    prop_assert!(fired[index].is_none());
                    fired[index] = Some(now);
                }
                for (index, deadline) in deadlines.iter().enumerate() {
                    prop_assert!(fired[index].is_none_or(|at| at >= *deadline));
                    prop_assert!(fired[index].is_some() || now < deadline + 20, "{deadline} late at {now}");
                }
            }
        }
    }
}
