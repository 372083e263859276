//! Looks at a queue without reading it on: its ends, a search by time, one message by its position.

use super::{Client, Operation, Told, offset_of};
use crate::rng::Rng;
use crate::world::ledger::{Ledger, Search};
use ringmq_broker::now::Now;
use ringmq_checker::{Content, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::StoredMessage;
use ringmq_proto::native::{Frame, Kind, QueueState, QueueStateResult, SearchOffset, Table, ViewMessage};

/// A question for a queue's first and last offset.
#[derive(Debug)]
struct Ends {
    queue: QueueIndex,
}

/// A search by time.
#[derive(Debug)]
struct Find {
    queue: QueueIndex,
    search: Search,
}

/// A look at the position of an acknowledged message.
#[derive(Debug)]
struct View {
    queue: QueueIndex,
    offset: u64,
    position: u64,
}

impl Client {
    /// Asks for the first and last offset of a queue.
    pub(super) fn ends(&mut self, handle: u32, queue: QueueIndex) {
        self.ask(Ends { queue }, Kind::QUEUE_STATE, &QueueState { handle });
    }

    /// Searches a queue by a time that is known, or by now.
    pub(super) fn search(&mut self, rng: &mut Rng, ledger: &Ledger, handle: u32, queue: QueueIndex, now: Now) {
        let times = &ledger.queue(queue).store_times;
        let known = times.values().copied().nth(rng.index(times.len().max(1)));
        let store_time_ms = known.filter(|_| rng.percent(80)).unwrap_or(now.wall_ms) + rng.below(3) - 1;
        let upper = rng.percent(50);
        let known_end = times.keys().next_back().map_or(0, |last| last + 1);
        let search = Search { store_time_ms, upper, known_end };
        let request = SearchOffset { handle, store_time_ms, upper };
        self.ask(Find { queue, search }, Kind::SEARCH_OFFSET, &request);
    }

    /// Looks at the position of some acknowledged message.
    pub(super) fn view(&mut self, rng: &mut Rng, ledger: &Ledger, queue: QueueIndex) {
        let positions = &ledger.queue(queue).positions;
        let picked = positions.iter().nth(rng.index(positions.len().max(1)));
        if let Some((&offset, &position)) = picked {
            let request = ViewMessage { position: LogPosition::new(position) };
            self.ask(View { queue, offset, position }, Kind::VIEW_MESSAGE, &request);
        }
    }
}

impl Operation for Ends {
    fn answered(self: Box<Self>, client: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        if reply.header.code == Code::SUCCESS {
            let state = QueueStateResult::decode(reply.body).map_err(|error| error.to_string())?;
            if state.min_offset > state.max_offset {
                return Err(format!("the queue starts at {} and ends at {}", state.min_offset, state.max_offset));
            }
            client.saw_end(self.queue, state.max_offset.get(), told.ledger);
        }
        Ok(())
    }
}

impl Operation for Find {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let (Self { queue, search }, ledger) = (*self, &mut *told.ledger);
        if let Some(offset) = offset_of(reply)? {
            let min = told.store.queue(ledger.queue(queue).id).map_or(u64::MAX, |queue| queue.min_offset.get());
            let min = min.max(ledger.first_by_position(queue, told.store.log_start()));
            ledger.searched(queue, search, offset, min);
        }
        Ok(())
    }
}

impl Operation for View {
    fn answered(self: Box<Self>, _: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let (Self { queue, offset, position }, ledger, store) = (*self, &mut *told.ledger, told.store);
        if reply.header.code != Code::SUCCESS {
            let owed = position >= store.log_start().get();
            let changing = ledger.topics[ledger.queue(queue).topic].changing;
            let gone = ledger.queue(queue).deleted || !ledger.queue(queue).positions.contains_key(&offset);
            if owed && !changing && !gone && reply.header.code == Code::QUERY_NOT_FOUND {
                return Err(format!("the acknowledged message at {position} (offset {offset}) is not found"));
            }
            return Ok(());
        }
        let stored = StoredMessage::decode(reply.body).map_err(|error| error.to_string())?;
        let parts = &stored.parts;
        if parts.queue_offset.get() != offset || parts.position != LogPosition::new(position) {
            return Err(format!(
                "position {position} holds offset {} of position {}",
                parts.queue_offset, parts.position
            ));
        }
        match ledger.content(parts.body) {
            Content::Message(_) => Ok(()),
            Content::Foreign => Err(format!("position {position} holds bytes that nobody sent")),
        }
    }
}
