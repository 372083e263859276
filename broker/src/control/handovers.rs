//! Answers of request-reply whose asker hangs on another shard of the process. A state machine: the operations thread gives
//! it what shards tell and the time, and posts what comes out.
//!
//! A shard that does not know the asker offers the answer to all its siblings; the one that knows him pushes it to him. The
//! offering shard hears whether one did. Nothing is kept for askers who are nowhere: they have stopped waiting.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::siblings::Post;
use crate::shard::io::{ControlInput, HandedReply};

/// How long siblings may take, in milliseconds. When reached: nobody knows the asker.
pub const HANDOVER_MS_MAX: u64 = 2_000;

struct Waiting {
    from: usize,
    ticket: u64,
    open: BTreeSet<usize>,
    until_ms: u64,
}

/// See the module.
pub struct Handovers {
    alive: BTreeSet<usize>,
    waiting: Vec<Waiting>,
}

impl Handovers {
    /// Of a process with so many shards.
    pub fn new(shard_count: usize) -> Self {
        Self { alive: (0..shard_count).collect(), waiting: Vec::new() }
    }

    /// A shard offers an answer.
    pub fn offer(&mut self, now_ms: u64, (from, ticket): (usize, u64), reply: &Arc<HandedReply>) -> Vec<Post> {
        let open: BTreeSet<usize> = self.alive.iter().copied().filter(|shard| *shard != from).collect();
        let offered = |to: &usize| Post {
            to: *to,
            input: ControlInput::ReplyOfSibling { from, ticket, reply: Arc::clone(reply) },
        };
        let mut posts: Vec<Post> = open.iter().map(offered).collect();
        self.waiting.push(Waiting { from, ticket, open, until_ms: now_ms + HANDOVER_MS_MAX });
        posts.extend(self.answer(now_ms));
        posts
    }

    /// A sibling has pushed it to the asker, or does not know him.
    pub fn done(&mut self, now_ms: u64, shard: usize, (from, ticket): (usize, u64), pushed: bool) -> Vec<Post> {
        let Some(at) = self.waiting.iter().position(|waiting| (waiting.from, waiting.ticket) == (from, ticket)) else {
            return Vec::new();
        };
        if pushed {
            self.waiting.swap_remove(at);
            return vec![answered(from, ticket, true)];
        }
        self.waiting[at].open.remove(&shard);
        self.answer(now_ms)
    }

    /// A shard has ended: nobody waits for it, and it waits for nobody.
    pub fn ended(&mut self, now_ms: u64, shard: usize) -> Vec<Post> {
        self.alive.remove(&shard);
        self.waiting.retain(|waiting| waiting.from != shard);
        for waiting in &mut self.waiting {
            waiting.open.remove(&shard);
        }
        self.answer(now_ms)
    }

    /// Answers those for whom nobody is left to ask.
    pub fn answer(&mut self, now_ms: u64) -> Vec<Post> {
        let is_over = |waiting: &Waiting| waiting.open.is_empty() || waiting.until_ms <= now_ms;
        let (over, open) = std::mem::take(&mut self.waiting).into_iter().partition(is_over);
        self.waiting = open;
        Vec::into_iter(over).map(|Waiting { from, ticket, .. }| answered(from, ticket, false)).collect()
    }
}

fn answered(to: usize, ticket: u64, pushed: bool) -> Post {
    Post { to, input: ControlInput::ReplyHandedOver { ticket, pushed } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Arc<HandedReply> {
        Arc::new(HandedReply { client_id: "asker".into(), ..HandedReply::default() })
    }

    fn offered(posts: &[Post]) -> Vec<usize> {
        posts.iter().map(|post| post.to).collect()
    }

    #[test]
    fn first_sibling_that_knows_the_asker_ends_the_question() {
        let mut handovers = Handovers::new(3);
        assert_eq!(offered(&handovers.offer(0, (1, 7), &reply())), [0, 2]);
        assert_eq!(handovers.done(1, 0, (1, 7), false), []);
        assert_eq!(handovers.done(2, 2, (1, 7), true), [answered(1, 7, true)]);
        assert_eq!(handovers.done(3, 0, (1, 7), true), [], "once");
    }

    #[test]
    fn asker_who_is_nowhere_is_told_when_all_have_answered_ended_or_been_silent() {
        let mut handovers = Handovers::new(3);
        handovers.offer(0, (0, 1), &reply());
        assert_eq!(handovers.done(1, 1, (0, 1), false), []);
        assert_eq!(handovers.ended(2, 2), [answered(0, 1, false)]);
        handovers.offer(10, (0, 2), &reply());
        assert_eq!(handovers.answer(9 + HANDOVER_MS_MAX), []);
        assert_eq!(handovers.answer(10 + HANDOVER_MS_MAX), [answered(0, 2, false)]);
        assert_eq!(offered(&handovers.offer(20, (1, 3), &reply())), [0]);
        assert_eq!(handovers.ended(21, 1), [], "it waits for nobody any more");
        let mut alone = Handovers::new(1);
        assert_eq!(alone.offer(0, (0, 1), &reply()), [answered(0, 1, false)]);
    }
}
