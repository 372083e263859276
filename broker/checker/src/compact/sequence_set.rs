//! A set of sequences, one bit each, that grows from 0.

/// How far beyond its highest member a set may grow by one insertion, sequences. A number farther out is not remembered:
/// it would let one bad body take gigabytes.
const GROWTH_MAX: u64 = 1 << 30;

/// A growing bitmap of sequences.
#[derive(Clone, Debug, Default)]
pub struct SequenceSet {
    words: Vec<u64>,
    count: u64,
}

impl SequenceSet {
    /// An empty set.
    pub const fn new() -> Self {
        Self { words: Vec::new(), count: 0 }
    }

    /// How many are in it.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Adds one. False when it was in already, or lies absurdly far beyond all others.
    #[inline]
    pub fn insert(&mut self, sequence: u64) -> bool {
        let Some(word) = self.word_for(sequence) else { return false };
        let bit = 1 << (sequence % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(fresh);
        fresh
    }

    /// Adds `count` from `first` on; says how many of them were new.
    pub fn insert_range(&mut self, first: u64, count: u64) -> u64 {
        let before = self.count;
        let mut at = first;
        let end = first.saturating_add(count);
        while at < end {
            let in_word = (64 - at % 64).min(end - at);
            let mask = if in_word == 64 { u64::MAX } else { ((1 << in_word) - 1) << (at % 64) };
            let Some(word) = self.word_for(at) else { break };
            let fresh = mask & !*word;
            *word |= mask;
            self.count += u64::from(fresh.count_ones());
            at += in_word;
        }
        self.count - before
    }

    /// Whether it is in.
    pub fn contains(&self, sequence: u64) -> bool {
        let word = usize::try_from(sequence / 64).ok().and_then(|at| self.words.get(at));
        word.is_some_and(|word| word & (1 << (sequence % 64)) != 0)
    }

    /// Adds all of `other`; says how many were in both, and calls `both` with each of those words' members.
    pub fn absorb(&mut self, other: &Self, mut both: impl FnMut(u64)) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (index, (mine, theirs)) in self.words.iter_mut().zip(&other.words).enumerate() {
            for_each_bit(index, *mine & theirs, &mut both);
            self.count += u64::from((theirs & !*mine).count_ones());
            *mine |= theirs;
        }
    }

    /// Calls `found` with every member of `self` that is not in `other`, in order.
    pub fn for_each_not_in(&self, other: &Self, mut found: impl FnMut(u64)) {
        for (index, word) in self.words.iter().enumerate() {
            let missing = word & !other.words.get(index).copied().unwrap_or(0);
            for_each_bit(index, missing, &mut found);
        }
    }

    /// Calls `found` with every member of both, in order.
    pub fn for_each_in_both(&self, other: &Self, mut found: impl FnMut(u64)) {
        for (index, (mine, theirs)) in self.words.iter().zip(&other.words).enumerate() {
            for_each_bit(index, mine & theirs, &mut found);
        }
    }

    /// One more than the highest member; 0 when empty.
    pub fn end(&self) -> u64 {
        let last = self.words.iter().rposition(|word| *word != 0);
        last.map_or(0, |index| index as u64 * 64 + u64::from(64 - self.words[index].leading_zeros()))
    }

    #[inline]
    fn word_for(&mut self, sequence: u64) -> Option<&mut u64> {
        let index = usize::try_from(sequence / 64).ok()?;
        if index >= self.words.len() {
            if sequence - self.words.len() as u64 * 64 > GROWTH_MAX {
                return None;
            }
            self.words.resize(index + 1, 0);
        }
        Some(&mut self.words[index])
    }
}

fn for_each_bit(word_index: usize, mut word: u64, found: &mut impl FnMut(u64)) {
    while word != 0 {
        found(word_index as u64 * 64 + u64::from(word.trailing_zeros()));
        word &= word - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_insertions_agree() {
        for (first, count) in [(0, 1), (0, 64), (63, 2), (1, 200), (128, 64), (5, 59)] {
            let (mut ranged, mut single) = (SequenceSet::new(), SequenceSet::new());
            ranged.insert(first);
            single.insert(first);
            let fresh = ranged.insert_range(first, count);
            for sequence in first..first + count {
                single.insert(sequence);
            }
            assert_eq!(fresh, count - 1);
            assert_eq!(ranged.count(), single.count());
            assert_eq!(ranged.end(), first + count);
            for sequence in 0..300 {
                assert_eq!(ranged.contains(sequence), (first..first + count).contains(&sequence));
                assert_eq!(single.contains(sequence), ranged.contains(sequence));
            }
        }
    }

    #[test]
    fn a_number_out_of_all_bounds_takes_no_memory() {
        let mut set = SequenceSet::new();
        assert!(!set.insert(u64::MAX));
        assert!(!set.insert(GROWTH_MAX + 1));
        assert_eq!(set.count(), 0);
        assert!(set.words.is_empty());
    }

    #[test]
    fn absorbing_names_the_members_of_both() {
        let (mut a, mut b) = (SequenceSet::new(), SequenceSet::new());
        a.insert_range(0, 100);
        b.insert_range(90, 200);
        let mut both = Vec::new();
        a.absorb(&b, |sequence| both.push(sequence));
        assert_eq!(both, (90..100).collect::<Vec<_>>());
        assert_eq!(a.count(), 290);
        let mut missing = Vec::new();
        a.for_each_not_in(&b, |sequence| missing.push(sequence));
        assert_eq!(missing, (0..90).collect::<Vec<_>>());
    }
}
