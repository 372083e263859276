//! What was found damaged, for as long as it is retained.
//!
//! A start looks at the part of the log that no checkpoint covers, and at nothing before: it does not find again what an
//! older one found. Then a queue whose first retained messages were lost would seem to begin behind them, as after
//! retention. So who finds damage says it in the log, once.

use crate::store::limits::DAMAGED_PART_COUNT_MAX;
use ringmq_proto::ids::LogPosition;
use std::collections::BTreeMap;
use std::ops::Range;

/// Damaged parts of the log, apart from each other, each with the place of the record that last said it.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    /// By first position: behind the last one, and the record.
    parts: BTreeMap<LogPosition, (LogPosition, LogPosition)>,
}

impl Damage {
    /// A record at `position` says that `part` is damaged. Parts that touch become one.
    pub(super) fn add(&mut self, position: LogPosition, part: Range<LogPosition>) {
        let (mut from, mut to, mut said) = (part.start, part.end, position);
        if let Some((&start, &(end, place))) = self.parts.range(..=part.end).next_back()
            && start <= from
            && part.end <= end
        {
            // Known: by whom it was said last matters, since older records go.
            self.parts.insert(start, (end, place.max(position)));
            return;
        }
        while let Some((&start, &(end, place))) =
            self.parts.range(..=to).next_back().filter(|(_, (end, _))| *end >= from)
        {
            self.parts.remove(&start);
            (from, to, said) = (from.min(start), to.max(end), said.min(place));
        }
        self.parts.insert(from, (to, said));
        self.bound();
    }

    /// When there are too many parts, the two that lie closest are taken for one: a reader is refused where it might have
    /// been moved on, never the other way round.
    fn bound(&mut self) {
        while self.parts.len() > DAMAGED_PART_COUNT_MAX {
            let pairs = self.parts.iter().zip(self.parts.iter().skip(1));
            let closest = pairs.min_by_key(|((_, (end, _)), (next, _))| next.since(*end));
            let Some(((&first, _), (&second, &(end, place)))) = closest else { return };
            self.parts.remove(&second);
            if let Some((to, said)) = self.parts.get_mut(&first) {
                (*to, *said) = (end, place.min(*said));
            }
        }
    }

    /// Forgets what lies below `position`, which is no longer retained.
    pub(super) fn trim(&mut self, position: LogPosition) {
        self.parts.retain(|_, (to, _)| *to > position);
    }

    /// Whether anything from `from` on and below `to` is damaged.
    pub(super) fn touches(&self, from: LogPosition, to: LogPosition) -> bool {
        self.parts.range(..to).next_back().is_some_and(|(_, (end, _))| *end > from)
    }

    /// Whether all of `part` is damaged.
    pub(super) fn holds(&self, part: &Range<LogPosition>) -> bool {
        self.parts.range(..=part.start).next_back().is_some_and(|(_, (end, _))| *end >= part.end)
    }

    /// The first part that begins behind `after`, and where its record lies.
    pub(super) fn after(&self, after: Option<LogPosition>) -> Option<(Range<LogPosition>, LogPosition)> {
        let from = after.map_or(LogPosition::ZERO, |after| after.plus(1));
        self.parts.range(from..).next().map(|(start, (end, position))| (*start..*end, *position))
    }

    /// All parts, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = (LogPosition, LogPosition)> {
        self.parts.iter().map(|(start, (end, _))| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> LogPosition {
        LogPosition::new(position)
    }

    fn damage(parts: &[(u64, u64)]) -> Damage {
        let mut damage = Damage::default();
        parts.iter().for_each(|(from, to)| damage.add(at(9000), at(*from)..at(*to)));
        damage
    }

    fn parts(damage: &Damage) -> Vec<(u64, u64)> {
        damage.parts().map(|(from, to)| (from.get(), to.get())).collect()
    }

    #[test]
    fn parts_that_touch_become_one_and_others_stay_apart() {
        let mut damage = damage(&[(10, 20), (40, 50), (60, 70)]);
        damage.add(at(9500), at(20)..at(30));
        damage.add(at(9500), at(45)..at(65));
        assert_eq!(parts(&damage), [(10, 30), (40, 70)]);
        damage.add(at(9500), at(12)..at(13));
        assert_eq!(damage.after(None), Some((at(10)..at(30), at(9500))), "said again by a record that stays longer");
        assert_eq!(damage.after(Some(at(10))), Some((at(40)..at(70), at(9000))), "the older record is owed for");
    }

    #[test]
    fn what_was_trimmed_is_forgotten_and_the_rest_is_found_by_where_it_lies() {
        let mut damage = damage(&[(10, 20), (40, 50)]);
        damage.trim(at(20));
        assert_eq!(parts(&damage), [(40, 50)]);
        assert!(damage.touches(at(0), at(41)) && damage.touches(at(49), at(90)) && damage.touches(at(43), at(44)));
        assert!(!damage.touches(at(0), at(40)) && !damage.touches(at(50), at(90)));
        assert!(damage.holds(&(at(40)..at(50))) && !damage.holds(&(at(40)..at(51))));
    }

    #[test]
    fn damaged_part_count_max_takes_the_two_closest_for_one() {
        let many = DAMAGED_PART_COUNT_MAX as u64;
        let mut damage = damage(&(0..many).map(|part| (part * 1000, part * 1000 + 10)).collect::<Vec<_>>());
        damage.add(at(9000), at(5500)..at(5510));
        damage.add(at(9000), at(5520)..at(5530));
        assert_eq!(damage.parts.len(), DAMAGED_PART_COUNT_MAX);
        assert!(damage.holds(&(at(5500)..at(5530))));
    }
}
