//! Who waits until the name servers know a topic. A state machine: the operations thread gives it what the connections to name
//! servers tell and the time, and posts what comes out.
//!
//! RocketMQ's brokers answer the send that makes a topic when the name servers have it, so that a consumer that is started
//! next finds it: one that does not looks again half a minute later. A shard that applied a new topic asks here, and is
//! answered when every name server that can be reached has the tables that all shards of the process have told by then.

use super::siblings::Post;
use crate::shard::io::ControlInput;

/// How long it is waited for name servers, in milliseconds. When reached: the shard goes on without them.
pub const REGISTERED_MS_MAX: u64 = 1_000;

/// What became of one shard's connection to one name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Index of the shard.
    pub shard: usize,
    /// Index of the name server.
    pub server: usize,
    /// Which version of the shard's table it has; nothing when there is no connection.
    pub version: Option<i64>,
}

struct Waiting {
    shard: usize,
    topic: String,
    ticket: u64,
    /// By shard.
    versions: Vec<i64>,
    until_ms: u64,
}

/// See the module.
pub struct Registered {
    /// By shard and name server.
    known: Vec<Vec<Option<i64>>>,
    waiting: Vec<Waiting>,
}

impl Registered {
    /// Nobody is told of anything yet.
    pub fn new(shard_count: usize, server_count: usize) -> Self {
        Self { known: vec![vec![None; server_count]; shard_count], waiting: Vec::new() }
    }

    /// Notes what a connection tells; true when the name server was not connected before.
    pub fn told(&mut self, told: Known) -> bool {
        let known = &mut self.known[told.shard][told.server];
        let is_new = known.is_none() && told.version.is_some();
        *known = told.version;
        is_new
    }

    /// A shard waits until these versions of the shards' tables are known.
    pub fn wait(&mut self, now_ms: u64, (shard, topic, ticket): (usize, String, u64), versions: Vec<i64>) {
        self.waiting.push(Waiting { shard, topic, ticket, versions, until_ms: now_ms + REGISTERED_MS_MAX });
    }

    /// Answers those who need not wait any longer.
    pub fn answer(&mut self, now_ms: u64) -> Vec<Post> {
        let known = &self.known;
        let is_over = |waiting: &Waiting| {
            let mut servers = known.iter().zip(&waiting.versions).flat_map(|(servers, wanted)| {
                servers.iter().map(move |version| version.is_none_or(|version| version >= *wanted))
            });
            waiting.until_ms <= now_ms || servers.all(|has_it| has_it)
        };
        let (over, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_over);
        self.waiting = waiting;
        let post = |Waiting { shard, topic, ticket, .. }| Post {
            to: shard,
            input: ControlInput::TopicRegistered { topic, ticket },
        };
        Vec::into_iter(over).map(post).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(shard: usize, server: usize, version: Option<i64>) -> Known {
        Known { shard, server, version }
    }

    fn two_shards() -> Registered {
        let mut registered = Registered::new(2, 2);
        for (shard, server) in [(0, 0), (0, 1), (1, 0)] {
            assert!(registered.told(told(shard, server, Some(1))));
        }
        registered
    }

    #[test]
    fn shard_is_answered_when_every_reachable_name_server_has_all_tables() {
        let mut registered = two_shards();
        registered.wait(0, (1, "t".into(), 7), vec![2, 1]);
        assert_eq!(registered.answer(1), []);
        assert!(!registered.told(told(0, 0, Some(2))));
        assert_eq!(registered.answer(2), [], "the other name server does not know it yet");
        registered.told(told(0, 1, Some(3)));
        let input = ControlInput::TopicRegistered { topic: "t".into(), ticket: 7 };
        assert_eq!(registered.answer(3), [Post { to: 1, input }], "whether or not (1, 1) can be reached");
        assert_eq!(registered.answer(4), [], "once");
    }

    #[test]
    fn name_server_that_is_gone_or_silent_holds_nobody_for_long() {
        let mut registered = two_shards();
        registered.wait(0, (0, "t".into(), 1), vec![2, 1]);
        registered.told(told(0, 0, None));
        assert_eq!(registered.answer(1), [], "one is still to be told");
        registered.told(told(0, 1, None));
        assert_eq!(registered.answer(2).len(), 1);
        assert!(registered.told(told(0, 1, Some(2))), "it is back");
        registered.wait(10, (0, "u".into(), 2), vec![3, 1]);
        assert_eq!(registered.answer(9 + REGISTERED_MS_MAX), []);
        assert_eq!(registered.answer(10 + REGISTERED_MS_MAX).len(), 1);
    }
}
