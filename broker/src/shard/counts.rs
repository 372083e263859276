//! How many messages each group takes of each topic, and the broker altogether: over the last minute, hour and day.
//!
//! What administrators see as RocketMQ's counters. They begin with the process. Totals are added to as messages are given
//! out; every ten seconds, ten minutes and hour they are noted, so that what came since is a subtraction.

use std::collections::{BTreeMap, VecDeque};

/// Pairs of topic and group that are counted. When reached: those that come later are not.
const PAIR_COUNT_MAX: usize = 8192;

/// Time between two notes in ms, and how many are kept: together a little more than a minute, an hour and a day.
const SPANS: [(u64, usize); 3] = [(10_000, 7), (600_000, 7), (3_600_000, 25)];

/// Which span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Minute,
    Hour,
    Day,
}

/// What is counted of one pair, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Messages given out (of the broker's puts: taken in).
    pub(super) messages: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Answers that had some.
    pub(super) answers: u64,
    /// Messages that consumers sent back.
    pub(super) sent_back: u64,
}

impl Totals {
    fn since(self, before: Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
            answers: self.answers - before.answers,
            sent_back: self.sent_back - before.sent_back,
        }
    }
}

/// What came within a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Come {
    pub(super) totals: Totals,
    /// How long the span is by now, in ms; at least 1.
    pub(super) span_ms: u64,
}

impl Come {
    /// A count of the span as a rate.
    pub(super) fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1000.0 / self.span_ms as f64
    }
}

#[derive(Debug, Default)]
struct Series {
    totals: Totals,
    /// By span, oldest first. A series that began later has fewer than there are times: before it was nothing.
    notes: [VecDeque<Totals>; 3],
}

/// All counters of a shard.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By `topic@group`, as administrators name them.
    pairs: BTreeMap<Box<str>, Series>,
    put: Series,
    got: Series,
    /// When notes were made, by span, oldest first.
    times_ms: [VecDeque<u64>; 3],
    now_ms: u64,
    key: String,
}

impl Counts {
    /// A group got messages of a topic.
    pub(super) fn got(&mut self, topic: &str, group: &str, messages: u32, bytes: usize) {
        if let Some(totals) = self.totals(topic, group) {
            totals.messages += u64::from(messages);
            totals.bytes += bytes as u64;
            totals.answers += 1;
        }
    }

    /// A consumer of a group sent a message of a topic back.
    pub(super) fn sent_back(&mut self, topic: &str, group: &str) {
        if let Some(totals) = self.totals(topic, group) {
            totals.sent_back += 1;
        }
    }

    fn totals(&mut self, topic: &str, group: &str) -> Option<&mut Totals> {
        self.key.clear();
        self.key.push_str(topic);
        self.key.push('@');
        self.key.push_str(group);
        if !self.pairs.contains_key(self.key.as_str()) {
            if self.pairs.len() >= PAIR_COUNT_MAX {
                return None;
            }
            self.pairs.insert(self.key.as_str().into(), Series::default());
        }
        self.pairs.get_mut(self.key.as_str()).map(|series| &mut series.totals)
    }

    /// Time goes on; `put` and `got` are the broker's messages since the start.
    pub(super) fn tick(&mut self, now_ms: u64, put: u64, got: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        (self.put.totals.messages, self.got.totals.messages) = (put, got);
        for (index, (step_ms, kept)) in SPANS.into_iter().enumerate() {
            let times = &mut self.times_ms[index];
            if times.back().is_some_and(|last| self.now_ms < last + step_ms) {
                continue;
            }
            times.push_back(self.now_ms);
            times.truncate_front_to(kept);
            for series in self.pairs.values_mut().chain([&mut self.put, &mut self.got]) {
                series.notes[index].push_back(series.totals);
                series.notes[index].truncate_front_to(kept);
            }
        }
    }

    /// What a group got of a topic within a span; nothing when it never got any.
    pub(super) fn of_pair(&self, key: &str, span: Span) -> Option<Come> {
        self.pairs.get(key).map(|series| self.come(series, span))
    }

    /// Messages that the broker took in.
    pub(super) fn broker_put(&self, span: Span) -> Come {
        self.come(&self.put, span)
    }

    /// Messages that the broker gave out.
    pub(super) fn broker_got(&self, span: Span) -> Come {
        self.come(&self.got, span)
    }

    fn come(&self, series: &Series, span: Span) -> Come {
        let (times, notes) = (&self.times_ms[span as usize], &series.notes[span as usize]);
        let before = if notes.len() < times.len() { None } else { notes.front().copied() };
        let since_ms = times.front().copied().unwrap_or(self.now_ms);
        Come {
            totals: series.totals.since(before.unwrap_or_default()),
            span_ms: self.now_ms.saturating_sub(since_ms).max(1),
        }
    }
}

trait TruncateFront {
    fn truncate_front_to(&mut self, kept: usize);
}

impl<T> TruncateFront for VecDeque<T> {
    fn truncate_front_to(&mut self, kept: usize) {
        while self.len() > kept {
            self.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_got_is_told_of_each_span() {
        let mut counts = Counts::default();
        assert_eq!(counts.of_pair("t@g", Span::Minute), None);
        for second in 0..=7200_u64 {
            counts.got("t", "g", 2, 100);
            counts.tick(1_000_000 + second * 1000, second, second);
        }
        let come = |span| counts.of_pair("t@g", span).expect("counted");
        for (span, seconds) in [(Span::Minute, 60), (Span::Hour, 3600), (Span::Day, 7200)] {
            let Come { totals, span_ms } = come(span);
            assert_eq!(
                (totals.messages, totals.bytes, span_ms),
                (2 * seconds, 100 * seconds, seconds * 1000),
                "{span:?}"
            );
        }
        assert_eq!(counts.broker_put(Span::Minute).totals.messages, 60);
    }

    #[test]
    fn series_that_begins_late_has_all_it_got() {
        let mut counts = Counts::default();
        for second in 0..30 {
            counts.tick(second * 1000, 0, 0);
        }
        counts.got("t", "g", 5, 10);
        counts.sent_back("t", "g");
        counts.tick(30_000, 0, 0);
        let come = counts.of_pair("t@g", Span::Minute).expect("counted");
        assert_eq!(come.totals, Totals { messages: 5, bytes: 10, answers: 1, sent_back: 1 });
        assert_eq!(come.span_ms, 30_000);
    }

    #[test]
    fn pairs_beyond_the_limit_are_not_counted() {
        let mut counts = Counts::default();
        for number in 0..=PAIR_COUNT_MAX {
            counts.got("t", &number.to_string(), 1, 1);
        }
        assert_eq!(counts.pairs.len(), PAIR_COUNT_MAX);
        assert_eq!(counts.of_pair(&format!("t@{PAIR_COUNT_MAX}"), Span::Day), None);
    }
}
