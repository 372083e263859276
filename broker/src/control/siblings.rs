//! Which shard of a process has to hear of which topic. A state machine: the operations thread gives it what shards tell
//! and the time, and posts what comes out.
//!
//! A topic's record carries a version; the highest wins, a deletion is a version too. A shard that applied a topic tells it;
//! its siblings are offered it, again and again (see [`Siblings::compare`]) until they have it or something newer, so that a
//! lost or refused message heals. An explicit creation waits for the siblings' answers, a limited time.

use std::collections::{BTreeMap, BTreeSet};

use crate::shard::io::{ControlInput, TopicNotice};
use crate::shard::names::is_system_topic;

/// How long an explicit change waits for siblings, in milliseconds. When reached: it is answered, naming those that did not
/// answer.
pub const ANSWER_MS_MAX: u64 = 5_000;

/// A message for a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Post {
    /// Index of the shard.
    pub to: usize,
    /// What it is told.
    pub input: ControlInput,
}

struct Shard {
    name: String,
    alive: bool,
    topics: BTreeMap<String, TopicNotice>,
}

/// A shard that waits for its siblings.
struct Waiting {
    from: usize,
    ticket: u64,
    topic: String,
    version: u64,
    open: BTreeSet<usize>,
    failures: Vec<(String, String)>,
    until_ms: u64,
}

/// See the module.
pub struct Siblings {
    shards: Vec<Shard>,
    waiting: Vec<Waiting>,
}

impl Siblings {
    /// The shards of a process by their broker names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let shards = names.into_iter().map(|name| Shard { name, alive: true, topics: BTreeMap::new() }).collect();
        Self { shards, waiting: Vec::new() }
    }

    /// Notes topics that a shard has, all of them or some; true when that is news.
    pub fn topics(&mut self, shard: usize, notices: Vec<TopicNotice>) -> bool {
        let table = &mut self.shards[shard].topics;
        let mut changed = false;
        for notice in notices {
            if table.get(&notice.topic).is_none_or(|known| known.version < notice.version) {
                table.insert(notice.topic.clone(), notice);
                changed = true;
            }
        }
        changed
    }

    /// The topics that a shard is known to have, tombstones included, in the order of their names.
    pub fn topics_of(&self, shard: usize) -> impl Iterator<Item = &TopicNotice> {
        self.shards[shard].topics.values()
    }

    /// A shard applied a topic: its siblings are offered it. With a ticket the shard waits for their answers.
    pub fn offer(&mut self, now_ms: u64, from: usize, notice: &TopicNotice, ticket: Option<u64>) -> Vec<Post> {
        self.topics(from, vec![notice.clone()]);
        let alive: BTreeSet<usize> =
            (0..self.shards.len()).filter(|shard| *shard != from && self.shards[*shard].alive).collect();
        let mut posts: Vec<Post> = alive.iter().map(|to| offered(*to, notice)).collect();
        if let Some(ticket) = ticket {
            let failures =
                self.shards.iter().filter(|shard| !shard.alive).map(|shard| failed(shard, "has failed")).collect();
            let (topic, version, until_ms) = (notice.topic.clone(), notice.version, now_ms + ANSWER_MS_MAX);
            self.waiting.push(Waiting { from, ticket, topic, version, open: alive, failures, until_ms });
            posts.extend(self.answer(now_ms));
        }
        posts
    }

    /// A sibling applied an offered topic, or could not.
    pub fn done(&mut self, now_ms: u64, shard: usize, topic: &str, version: u64, failure: Option<&str>) -> Vec<Post> {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.topic == topic && waiting.version == version) {
            if waiting.open.remove(&shard)
                && let Some(failure) = failure
            {
                waiting.failures.push((self.shards[shard].name.clone(), failure.to_owned()));
            }
        }
        self.answer(now_ms)
    }

    /// A shard has ended: nobody waits for it.
    pub fn ended(&mut self, now_ms: u64, shard: usize) -> Vec<Post> {
        self.shards[shard].alive = false;
        self.waiting.retain(|waiting| waiting.from != shard);
        for waiting in &mut self.waiting {
            if waiting.open.remove(&shard) {
                waiting.failures.push(failed(&self.shards[shard], "has ended"));
            }
        }
        self.answer(now_ms)
    }

    /// Answers those whose siblings have all answered, or whose time is over.
    pub fn answer(&mut self, now_ms: u64) -> Vec<Post> {
        let (over, open) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| waiting.open.is_empty() || waiting.until_ms <= now_ms);
        self.waiting = open;
        let answer = |waiting: Waiting| {
            let silent = waiting.open.iter().map(|shard| failed(&self.shards[*shard], "did not answer in time"));
            let failures = waiting.failures.into_iter().chain(silent).collect();
            Post { to: waiting.from, input: ControlInput::SiblingsAnswered { ticket: waiting.ticket, failures } }
        };
        Vec::into_iter(over).map(answer).collect()
    }

    /// Offers every shard what a sibling has newer. At the start, and from time to time.
    pub fn compare(&self) -> Vec<Post> {
        let mut newest: BTreeMap<&str, &TopicNotice> = BTreeMap::new();
        // Every shard makes the system's topics for itself.
        let all = self.shards.iter().flat_map(|shard| shard.topics.values());
        for notice in all.filter(|notice| !is_system_topic(&notice.topic)) {
            let known = newest.entry(&notice.topic).or_insert(notice);
            if known.version < notice.version {
                *known = notice;
            }
        }
        let lacks = |shard: &Shard, notice: &TopicNotice| match shard.topics.get(&notice.topic) {
            Some(theirs) => theirs.version < notice.version,
            // Nothing to take away, and an ordered topic lives where it was made.
            None => !notice.deleted && !notice.ordered,
        };
        let mut posts = Vec::new();
        for (to, shard) in self.shards.iter().enumerate().filter(|(_, shard)| shard.alive) {
            posts.extend(newest.values().filter(|notice| lacks(shard, notice)).map(|notice| offered(to, notice)));
        }
        posts
    }
}

fn offered(to: usize, notice: &TopicNotice) -> Post {
    Post { to, input: ControlInput::TopicOfSibling(notice.clone()) }
}

fn failed(shard: &Shard, why: &str) -> (String, String) {
    (shard.name.clone(), format!("{} {why}", shard.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::io::TopicShape;

    fn three() -> Siblings {
        Siblings::new(["a", "s1-a", "s2-a"].map(String::from))
    }

    fn notice(topic: &str, version: u64) -> TopicNotice {
        TopicNotice { topic: topic.into(), version, shape: TopicShape::plain(4, 6), ordered: false, deleted: false }
    }

    fn receivers(posts: &[Post]) -> Vec<usize> {
        posts.iter().map(|post| post.to).collect()
    }

    #[test]
    fn creation_is_answered_when_all_siblings_have_answered_and_names_those_that_failed() {
        let mut siblings = three();
        let posts = siblings.offer(0, 1, &notice("t", 1), Some(7));
        assert_eq!(receivers(&posts), [0, 2]);
        assert_eq!(siblings.done(1, 0, "t", 1, None), []);
        let answer = siblings.done(2, 2, "t", 1, Some("the disk is full"));
        let failures = vec![("s2-a".to_owned(), "the disk is full".to_owned())];
        assert_eq!(answer, [Post { to: 1, input: ControlInput::SiblingsAnswered { ticket: 7, failures } }]);
        assert_eq!(siblings.done(3, 2, "t", 1, None), [], "answered once");
    }

    #[test]
    fn silent_or_dead_sibling_does_not_hold_an_answer_for_ever() {
        let mut siblings = three();
        siblings.offer(0, 0, &notice("t", 1), Some(1));
        assert_eq!(siblings.answer(ANSWER_MS_MAX - 1), []);
        let ended = siblings.ended(10, 1);
        assert_eq!(ended, [], "one is still to answer");
        let answer = siblings.answer(ANSWER_MS_MAX);
        let [Post { to: 0, input: ControlInput::SiblingsAnswered { ticket: 1, failures } }] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(failures.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["s1-a", "s2-a"]);
        let late = siblings.offer(ANSWER_MS_MAX, 0, &notice("u", 1), Some(2));
        assert_eq!(receivers(&late), [2], "who has ended is not asked");
    }

    #[test]
    fn only_shard_of_a_process_is_answered_at_once() {
        let mut alone = Siblings::new(["a".to_owned()]);
        let answer = alone.offer(0, 0, &notice("t", 1), Some(3));
        assert_eq!(answer, [Post { to: 0, input: ControlInput::SiblingsAnswered { ticket: 3, failures: vec![] } }]);
    }

    #[test]
    fn comparison_brings_every_shard_to_the_highest_version_and_then_rests() {
        let mut siblings = three();
        siblings.topics(0, vec![notice("t", 3), notice("u", 1)]);
        siblings.topics(1, vec![notice("t", 2)]);
        siblings.topics(2, vec![notice("t", 3), notice("u", 2)]);
        let posts = siblings.compare();
        assert_eq!(receivers(&posts), [0, 1, 1]);
        for Post { to, input } in posts {
            let ControlInput::TopicOfSibling(notice) = input else { panic!("an offer") };
            siblings.topics(to, vec![notice]);
        }
        assert_eq!(siblings.compare(), []);
    }

    #[test]
    fn ordered_topic_stays_where_it_is_and_a_tombstone_is_no_news_to_who_never_had_the_topic() {
        let mut siblings = three();
        siblings.topics(
            0,
            vec![TopicNotice { ordered: true, ..notice("o", 5) }, TopicNotice { deleted: true, ..notice("d", 2) }],
        );
        siblings.topics(1, vec![notice("o", 1), notice("d", 1)]);
        assert_eq!(receivers(&siblings.compare()), [1, 1], "only who has an older one");
    }
}
