//! A client that speaks the native protocol, byte by byte: what it asks follows from the seed, what it is answered goes to the
//! books.
//!
//! A client is one producer of the judge. It has one connection at a time; when that ends, whatever waited for an answer has
//! an unknown outcome.

use super::ledger::{Existence, Ledger, Search};
use super::plan::Plan;
use crate::log::messages;
use crate::rng::Rng;
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::ConnectionId;
use ringmq_broker::store::Store;
use ringmq_checker::{Content, MessageId, Outcome, Polled, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::message::StoredMessage;
use ringmq_proto::native::{
    CommitOffset, CreateTopic, DeleteTopic, Failure, Frame, FrameFlags, Hello, Kind, OffsetResult, OpenQueue,
    OpenedQueue, PREAMBLE_SIZE_BYTES, PullReply, PullRequest, QueryOffset, QueueState, QueueStateResult, SearchOffset,
    SendItem, SendReply, Table, ViewMessage, decode_preamble, encode_preamble, encode_pull, encode_request,
    encode_send, split_frame,
};
use std::collections::BTreeMap;

/// Consumer groups of a history.
const GROUP_COUNT: u64 = 2;

/// A request that waits for its answer.
#[derive(Clone, Debug)]
enum Pending {
    Hello,
    Open { topic: usize, number: u32, create: bool },
    Send { messages: Vec<(MessageId, u32)> },
    Pull { queue: QueueIndex, from: u64, deleted: bool, known_end: u64 },
    Commit { group: u32, queue: QueueIndex, offset: u64, left: u64 },
    Query { group: u32, queue: QueueIndex },
    State { queue: QueueIndex },
    Search { queue: QueueIndex, search: Search },
    View { queue: QueueIndex, offset: u64, position: u64 },
    Create { topic: usize },
    Delete { topic: usize },
}

/// What a pull of this client ended with, for who drives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PullEnd {
    /// The queue.
    pub queue: QueueIndex,
    /// Where to go on.
    pub next: u64,
    /// The queue's first offset.
    pub min: u64,
    /// Behind its last visible offset.
    pub max: u64,
    /// How it ended.
    pub code: Code,
}

/// One client.
pub(super) struct Client {
    producer: u32,
    connection: Option<ConnectionId>,
    /// Bytes on their way to the shard.
    pub outgoing: Vec<u8>,
    incoming: Vec<u8>,
    preamble_seen: bool,
    greeted: bool,
    pending: BTreeMap<u32, Pending>,
    next_request: u32,
    sequence: u64,
    handles: Vec<(u32, QueueIndex)>,
    next_pull: BTreeMap<QueueIndex, u64>,
    max_seen: BTreeMap<QueueIndex, u64>,
    /// How the last pull ended.
    pub pull_end: Option<PullEnd>,
    /// Codes of the last answers, newest last: for who drives it.
    pub last_code: Option<Code>,
    trace: bool,
}

impl Client {
    /// A client without a connection.
    pub(super) fn new(producer: u32, trace: bool) -> Self {
        Self {
            producer,
            connection: None,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            preamble_seen: false,
            greeted: false,
            pending: BTreeMap::new(),
            next_request: 1,
            sequence: 0,
            handles: Vec::new(),
            next_pull: BTreeMap::new(),
            max_seen: BTreeMap::new(),
            pull_end: None,
            last_code: None,
            trace,
        }
    }

    /// Its connection.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Its number among the producers.
    pub(super) fn producer(&self) -> u32 {
        self.producer
    }

    /// Requests that wait.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// What waits, for a report.
    pub(super) fn describe_pending(&self) -> String {
        format!("client {}: {:?}", self.producer, self.pending)
    }

    /// It may end its connection without leaving the books in doubt about a topic.
    pub(super) fn may_leave(&self) -> bool {
        !self.pending.values().any(|pending| {
            matches!(pending, Pending::Create { .. } | Pending::Delete { .. } | Pending::Open { create: true, .. })
        })
    }

    /// Its handles and what they name.
    pub(super) fn handles(&self) -> &[(u32, QueueIndex)] {
        &self.handles
    }

    /// A connection is there: preamble and hello go out.
    pub(super) fn connect(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
        self.outgoing.extend_from_slice(&encode_preamble());
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            software: "ringmq-sim",
            broker_name: "",
            frame_size_bytes_max: 0,
            frame_message_count_max: 0,
            in_flight_bytes_max: 0,
            handle_count_max: 0,
            features: 0,
        };
        self.ask(Pending::Hello, Kind::HELLO, &hello);
    }

    /// The connection is gone. Whatever waited has an unknown outcome.
    pub(super) fn disconnect(&mut self, ledger: &mut Ledger) {
        self.connection = None;
        ledger.all_arrived(self.producer);
        self.outgoing.clear();
        self.incoming.clear();
        (self.preamble_seen, self.greeted) = (false, false);
        self.handles.clear();
        for pending in std::mem::take(&mut self.pending).into_values() {
            match pending {
                Pending::Send { messages } => {
                    for (message, _) in messages {
                        ledger.judge.outcome(message, Outcome::Unknown);
                    }
                }
                Pending::Commit { group, queue, .. } | Pending::Query { group, queue } => {
                    ledger.busy_groups.remove(&(group, queue));
                }
                Pending::Create { topic } | Pending::Delete { topic } => {
                    ledger.topics[topic].changing = false;
                    ledger.topics[topic].existence = Existence::Unknown;
                }
                Pending::Open { topic, create, .. } => {
                    ledger.topics[topic].opening -= 1;
                    if create {
                        ledger.topics[topic].changing = false;
                        ledger.topics[topic].existence = Existence::Unknown;
                    }
                }
                _ => {}
            }
        }
    }

    /// A power cut took what was visible: it may be seen to go back.
    pub(super) fn forget_ends(&mut self) {
        self.max_seen.clear();
        self.next_pull.clear();
    }

    fn ask<'a>(&mut self, pending: Pending, kind: Kind, body: &impl Table<'a>) {
        let id = self.number(pending);
        encode_request(&mut self.outgoing, kind, id, FrameFlags::NONE, body);
    }

    fn number(&mut self, pending: Pending) -> u32 {
        let id = self.next_request;
        self.next_request += 1;
        if self.trace {
            eprintln!("  client {} request {id}: {pending:?}", self.producer);
        }
        self.pending.insert(id, pending);
        id
    }

    /// Asks one thing that the seed chooses.
    pub(super) fn act(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        if !self.greeted {
            return;
        }
        if rng.percent(plan.topic_percent) {
            return self.change_topic(rng, plan, ledger);
        }
        if self.handles.is_empty() || rng.percent(4) {
            let topic = rng.index(ledger.topics.len());
            let number = u32::try_from(rng.below(u64::from(plan.queue_count))).unwrap_or(0);
            return self.open(ledger, topic, number, true);
        }
        let (handle, queue) = rng.pick(&self.handles);
        match rng.below(100) {
            0..50 => self.send_some(rng, plan, ledger, now, handle),
            50..75 => {
                let next = self.next_pull.get(&queue).copied().unwrap_or(0);
                let from = if rng.percent(80) { next } else { rng.below(next + 3) };
                let wait_ms = rng.pick(&[0, 0, 50, 5_000, 40_000]);
                let messages_max = rng.pick(&[1, 3, 32, 1000]);
                let bytes_max = rng.pick(&[1, 600, 20_000, 1 << 20]);
                self.pull(ledger, handle, queue, from, (messages_max, bytes_max), wait_ms);
            }
            75..83 => self.commit(rng, ledger, handle, queue),
            83..88 => self.query(rng, ledger, handle, queue),
            88..92 => {
                self.ask(Pending::State { queue }, Kind::QUEUE_STATE, &QueueState { handle });
            }
            92..96 => self.search(rng, ledger, handle, queue, now),
            _ => self.view(rng, ledger, queue),
        }
    }

    /// Opens a queue, unless its topic is being changed.
    pub(super) fn open(&mut self, ledger: &mut Ledger, topic: usize, number: u32, create: bool) {
        let books = &mut ledger.topics[topic];
        if books.changing || (create && books.opening > 0 && books.existence != Existence::Present) {
            return;
        }
        let create = create && books.existence != Existence::Present;
        books.opening += 1;
        books.changing = create;
        let name = books.name.clone();
        let queue_id = i32::try_from(number).unwrap_or(i32::MAX);
        let request = OpenQueue { topic: &name, queue_id, create_topic: create };
        self.ask(Pending::Open { topic, number, create }, Kind::OPEN_QUEUE, &request);
    }

    /// Creates or deletes a topic, unless something else is going on with it.
    fn change_topic(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger) {
        let topic = rng.index(ledger.topics.len());
        if rng.percent(50) {
            self.create(plan, ledger, topic);
        } else if !ledger.topics[topic].changing && ledger.topics[topic].opening == 0 {
            ledger.topics[topic].changing = true;
            let name = &ledger.topics[topic].name;
            self.ask(Pending::Delete { topic }, Kind::DELETE_TOPIC, &DeleteTopic { topic: name });
        }
    }

    /// Creates a topic (or says again what it is), unless something else is going on with it.
    pub(super) fn create(&mut self, plan: &Plan, ledger: &mut Ledger, topic: usize) {
        if !ledger.topics[topic].changing && ledger.topics[topic].opening == 0 {
            ledger.topics[topic].changing = true;
            let name = &ledger.topics[topic].name;
            let request = CreateTopic { topic: name, queue_count: plan.queue_count, perm: 6, ordered: false };
            self.ask(Pending::Create { topic }, Kind::CREATE_TOPIC, &request);
        }
    }

    fn send_some(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now, handle: u32) {
        let count = rng.between(1, plan.batch_max);
        let flags =
            rng.pick(&[FrameFlags::NONE, FrameFlags::NONE, FrameFlags::NONE, FrameFlags::NO_WAIT, FrameFlags::ONEWAY]);
        let elsewhere = rng.percent(20);
        let mut messages = Vec::new();
        let mut bodies = Vec::new();
        for _ in 0..count {
            let handle = if elsewhere { rng.pick(&self.handles).0 } else { handle };
            let message = MessageId::new(self.producer, self.sequence);
            self.sequence += 1;
            let size = usize::try_from(rng.between(10, plan.body_bytes_max.max(10))).unwrap_or(10);
            let mut body = vec![0; size];
            ledger.run.stamp(message, &mut body);
            ledger.judge.send(message);
            messages.push((message, handle));
            bodies.push(body);
        }
        let items: Vec<SendItem<'_>> = messages
            .iter()
            .zip(&bodies)
            .map(|((_, handle), body)| SendItem {
                handle: *handle,
                born_time_ms: if rng.percent(5) { now.wall_ms - 1 } else { now.wall_ms },
                flag: 0,
                sys_flag: 0,
                properties: if rng.percent(25) { b"TAGS\x01blue\x02KEYS\x01k\x02" } else { b"" },
                body,
            })
            .collect();
        self.send(ledger, flags, messages, &items);
    }

    fn send(
        &mut self,
        ledger: &mut Ledger,
        flags: FrameFlags,
        messages: Vec<(MessageId, u32)>,
        items: &[SendItem<'_>],
    ) {
        let id = if flags == FrameFlags::ONEWAY {
            if self.trace {
                eprintln!("  client {} one-way send {messages:?}", self.producer);
            }
            for (message, _) in &messages {
                ledger.judge.outcome(*message, Outcome::Unknown);
            }
            0
        } else {
            self.number(Pending::Send { messages })
        };
        encode_send(&mut self.outgoing, id, flags, items);
    }

    /// Sends one small message that waits for its promise.
    pub(super) fn probe(&mut self, ledger: &mut Ledger, handle: u32, now: Now) {
        let message = MessageId::new(self.producer, self.sequence);
        self.sequence += 1;
        let mut body = vec![0; 16];
        ledger.run.stamp(message, &mut body);
        ledger.judge.send(message);
        let item = SendItem { handle, born_time_ms: now.wall_ms, flag: 0, sys_flag: 0, properties: b"", body: &body };
        self.send(ledger, FrameFlags::NONE, vec![(message, handle)], &[item]);
    }

    /// Pulls at most `(messages, bytes)`.
    pub(super) fn pull(
        &mut self,
        ledger: &Ledger,
        handle: u32,
        queue: QueueIndex,
        from: u64,
        (messages_max, bytes_max): (u32, u32),
        wait_ms: u32,
    ) {
        let deleted = ledger.queue(queue).deleted;
        let known_end = ledger.queue(queue).known_end;
        let id = self.number(Pending::Pull { queue, from, deleted, known_end });
        let offset = QueueOffset::new(from);
        encode_pull(&mut self.outgoing, id, &PullRequest { handle, offset, messages_max, bytes_max, wait_ms });
    }

    fn commit(&mut self, rng: &mut Rng, ledger: &mut Ledger, handle: u32, queue: QueueIndex) {
        let group = u32::try_from(rng.below(GROUP_COUNT)).unwrap_or(0);
        if ledger.busy_groups.contains(&(group, queue)) {
            return;
        }
        let next = self.next_pull.get(&queue).copied().unwrap_or(0);
        let offset = if rng.percent(80) { next } else { rng.below(next + 1) };
        let one_way = rng.percent(15);
        let left = ledger.commit_leaves(self.producer, group, queue, offset, one_way);
        let name = group_name(group);
        let request = CommitOffset { handle, group: &name, offset: QueueOffset::new(offset) };
        if one_way {
            if self.trace {
                eprintln!("  client {} one-way commit of group {group} queue {queue:?}: {offset}", self.producer);
            }
            encode_request(&mut self.outgoing, Kind::COMMIT_OFFSET, 0, FrameFlags::ONEWAY, &request);
        } else {
            ledger.busy_groups.insert((group, queue));
            self.ask(Pending::Commit { group, queue, offset, left }, Kind::COMMIT_OFFSET, &request);
        }
    }

    fn query(&mut self, rng: &mut Rng, ledger: &mut Ledger, handle: u32, queue: QueueIndex) {
        let group = u32::try_from(rng.below(GROUP_COUNT)).unwrap_or(0);
        self.query_group(ledger, handle, queue, group);
    }

    /// Asks for a group's consume offset, unless a commit of it waits.
    pub(super) fn query_group(&mut self, ledger: &mut Ledger, handle: u32, queue: QueueIndex, group: u32) {
        if ledger.busy_groups.insert((group, queue)) {
            let request = QueryOffset { handle, group: &group_name(group) };
            self.ask(Pending::Query { group, queue }, Kind::QUERY_OFFSET, &request);
        }
    }

    fn search(&mut self, rng: &mut Rng, ledger: &Ledger, handle: u32, queue: QueueIndex, now: Now) {
        let times = &ledger.queue(queue).store_times;
        let known = times.values().copied().nth(rng.index(times.len().max(1)));
        let store_time_ms = known.filter(|_| rng.percent(80)).unwrap_or(now.wall_ms) + rng.below(3) - 1;
        let upper = rng.percent(50);
        let known_end = times.keys().next_back().map_or(0, |last| last + 1);
        let search = Search { store_time_ms, upper, known_end };
        let request = SearchOffset { handle, store_time_ms, upper };
        self.ask(Pending::Search { queue, search }, Kind::SEARCH_OFFSET, &request);
    }

    fn view(&mut self, rng: &mut Rng, ledger: &Ledger, queue: QueueIndex) {
        let positions = &ledger.queue(queue).positions;
        let picked = positions.iter().nth(rng.index(positions.len().max(1)));
        if let Some((&offset, &position)) = picked {
            let request = ViewMessage { position: LogPosition::new(position) };
            self.ask(Pending::View { queue, offset, position }, Kind::VIEW_MESSAGE, &request);
        }
    }

    /// Bytes came from the shard, whose store is `store`.
    pub(super) fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger, store: &Store) {
        self.incoming.extend_from_slice(bytes);
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        if !self.preamble_seen
            && let Some((preamble, behind)) = rest.split_first_chunk::<PREAMBLE_SIZE_BYTES>()
        {
            (self.preamble_seen, rest) = (true, behind);
            if let Err(why) = decode_preamble(preamble) {
                ledger.wrong(|| format!("client {}: {why}", self.producer));
            }
        }
        while self.preamble_seen {
            match split_frame(rest, FRAME_SIZE_BYTES_MAX) {
                Ok(Some((reply, consumed))) => {
                    rest = &rest[consumed..];
                    self.answer(&reply, ledger, store);
                }
                Ok(None) => break,
                Err(why) => {
                    ledger.wrong(|| format!("client {} cannot read a reply: {why}", self.producer));
                    break;
                }
            }
        }
        self.incoming = rest.to_vec();
    }

    fn answer(&mut self, reply: &Frame<'_>, ledger: &mut Ledger, store: &Store) {
        let Some(pending) = self.pending.remove(&reply.header.request_id) else {
            return ledger.wrong(|| format!("client {}: an answer that nobody waits for: {reply:?}", self.producer));
        };
        if self.trace {
            eprintln!(
                "  client {} answer {}: {} {}",
                self.producer,
                reply.header.request_id,
                reply.header.code,
                Failure::of(reply).remark
            );
        }
        self.last_code = Some(reply.header.code);
        let result = match pending {
            Pending::Hello => {
                self.greeted = reply.header.code == Code::SUCCESS;
                Ok(())
            }
            Pending::Open { topic, number, create } => self.opened(reply, topic, number, create, ledger, store),
            Pending::Send { messages } => self.sent(reply, &messages, ledger, store),
            Pending::Pull { queue, from, deleted, known_end } => {
                self.pulled(reply, queue, (from, known_end), deleted, ledger, store)
            }
            Pending::Commit { group, queue, offset, left } => {
                ledger.busy_groups.remove(&(group, queue));
                if reply.header.code == Code::SUCCESS {
                    ledger.commit_acknowledged(group, queue, offset, left);
                }
                Ok(())
            }
            Pending::Query { group, queue } => {
                ledger.busy_groups.remove(&(group, queue));
                self.queried(reply, group, queue, ledger)
            }
            Pending::State { queue } => self.stated(reply, queue, ledger),
            Pending::Search { queue, search } => offset_of(reply).map(|offset| {
                if let Some(offset) = offset {
                    let min = store.queue(ledger.queue(queue).id).map_or(u64::MAX, |queue| queue.min_offset.get());
                    ledger.searched(queue, search, offset, min);
                }
            }),
            Pending::View { queue, offset, position } => self.viewed(reply, queue, offset, position, ledger, store),
            Pending::Create { topic } => {
                ledger.topics[topic].changing = false;
                ledger.topics[topic].existence =
                    if reply.header.code == Code::SUCCESS { Existence::Present } else { Existence::Unknown };
                Ok(())
            }
            Pending::Delete { topic } => self.deleted(reply, topic, ledger),
        };
        if let Err(why) = result {
            ledger.wrong(|| format!("client {}: {why} in the answer {reply:?}", self.producer));
        }
    }

    fn opened(
        &mut self,
        reply: &Frame<'_>,
        topic: usize,
        number: u32,
        create: bool,
        ledger: &mut Ledger,
        store: &Store,
    ) -> Result<(), String> {
        let books = &mut ledger.topics[topic];
        books.opening -= 1;
        if create {
            books.changing = false;
        }
        if reply.header.code != Code::SUCCESS {
            if books.existence == Existence::Present && reply.header.code == Code::TOPIC_NOT_EXIST {
                return Err(format!("topic {} is gone without a deletion", books.name));
            }
            if create {
                books.existence = Existence::Unknown;
            }
            return Ok(());
        }
        if books.existence == Existence::Absent && !create {
            return Err(format!("topic {} is there without a creation", books.name));
        }
        books.existence = Existence::Present;
        let opened = OpenedQueue::decode(reply.body).map_err(|error| error.to_string())?;
        // No change of the topic was under way: what the store says now is what was opened.
        let id = store.state().topic(&books.name).and_then(|topic| topic.queues.get(number as usize).copied());
        let id = id.ok_or_else(|| format!("queue {number} of topic {} was opened and does not exist", books.name))?;
        let index = ledger.queue_index(id, topic, number);
        if ledger.damaged {
            ledger.may_skip(id, store.queue(id).map_or(0, |queue| queue.next_offset.get()));
        }
        self.handles.push((opened.handle, index));
        self.saw_end(index, opened.max_offset.get(), ledger);
        Ok(())
    }

    fn deleted(&mut self, reply: &Frame<'_>, topic: usize, ledger: &mut Ledger) -> Result<(), String> {
        let books = &mut ledger.topics[topic];
        books.changing = false;
        if reply.header.code == Code::SUCCESS {
            ledger.topic_deleted(topic);
        } else if reply.header.code == Code::TOPIC_NOT_EXIST {
            if books.existence == Existence::Present {
                return Err(format!("topic {} is gone without a deletion", books.name));
            }
            ledger.topic_deleted(topic);
        } else {
            books.existence = Existence::Unknown;
        }
        Ok(())
    }

    fn sent(
        &mut self,
        reply: &Frame<'_>,
        messages: &[(MessageId, u32)],
        ledger: &mut Ledger,
        store: &Store,
    ) -> Result<(), String> {
        if reply.header.code == Code::SUCCESS {
            return self.acknowledged(reply, messages, ledger, store);
        }
        // Checked before the first message is appended; anything else may have stopped in the middle.
        let refused_whole =
            [Code::MESSAGE_ILLEGAL, Code::NO_PERMISSION, Code::TOPIC_NOT_EXIST, Code::INVALID_PARAMETER]
                .contains(&reply.header.code);
        let refused =
            [Code::SYSTEM_BUSY, Code::SERVICE_NOT_AVAILABLE].contains(&reply.header.code) && messages.len() == 1;
        for (message, _) in messages {
            let outcome = if refused_whole || refused { Outcome::Failed } else { Outcome::Unknown };
            ledger.judge.outcome(*message, outcome);
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        reply: &Frame<'_>,
        messages: &[(MessageId, u32)],
        ledger: &mut Ledger,
        store: &Store,
    ) -> Result<(), String> {
        let proven = store.positions().durable().max(store.positions().written());
        let mut placed = vec![false; messages.len()];
        let results = SendReply::decode(reply).map_err(|error| error.to_string())?;
        for result in results.results() {
            // The record lies wholly below the next commit boundary, and proofs are boundaries.
            ledger.judge.acknowledged_at(result.position.get() + 1, proven.get());
            let index = self.handles.iter().find(|(handle, _)| *handle == result.handle).map(|(_, index)| *index);
            let index = index.ok_or_else(|| format!("a result for handle {}", result.handle))?;
            let mut left = result.count;
            for (at, (message, handle)) in messages.iter().enumerate() {
                if left > 0 && !placed[at] && *handle == result.handle {
                    let nth = u64::from(result.count - left);
                    let position = (nth == 0).then_some(result.position.get());
                    ledger.acknowledged(*message, index, result.queue_offset.get() + nth, position);
                    placed[at] = true;
                    left -= 1;
                }
            }
            if left > 0 {
                return Err(format!("{left} results too many for handle {}", result.handle));
            }
        }
        if placed.contains(&false) { Err("a message without a result".into()) } else { Ok(()) }
    }

    fn saw_end(&mut self, queue: QueueIndex, max: u64, ledger: &mut Ledger) {
        let before = self.max_seen.insert(queue, max).unwrap_or(0);
        if max < before && !ledger.queue(queue).deleted {
            ledger.wrong(|| format!("client {} saw {queue:?} end at {before} and then at {max}", self.producer));
        }
    }

    fn pulled(
        &mut self,
        reply: &Frame<'_>,
        queue: QueueIndex,
        (from, known_end): (u64, u64),
        deleted: bool,
        ledger: &mut Ledger,
        store: &Store,
    ) -> Result<(), String> {
        if !reply.header.code.is_pull_result() {
            return self.pull_refused(reply, queue, from, ledger);
        }
        if deleted {
            return Err(format!("a queue whose topic was deleted before the pull is read: {queue:?}"));
        }
        let pulled = PullReply::decode(reply).map_err(|error| error.to_string())?;
        let result = pulled.result;
        let id = ledger.queue(queue).id;
        let visible = store.queue(id).map_or(u64::MAX, |queue| queue.visible_offset.get());
        let min = store.queue(id).map_or(u64::MAX, |queue| queue.min_offset.get());
        ledger.judge.trimmed(queue, min);
        let mut polled = Vec::new();
        for record in pulled.records() {
            let record = record.map_err(|error| error.to_string())?;
            if record.header.queue_id != id {
                return Err(format!("a record of {:?} in a pull of {id:?}", record.header.queue_id));
            }
            messages(&record, |(offset, store_time_ms, body)| {
                if offset >= from {
                    let message = Polled { offset, content: ledger.content(body) };
                    ledger.saw(queue, &message, store_time_ms);
                    polled.push(message);
                }
            })?;
        }
        if let Some(last) = polled.last().filter(|last| last.offset >= visible) {
            return Err(format!("offset {} of {queue:?} was read, visible is what lies below {visible}", last.offset));
        }
        if reply.header.code == Code::PULL_OFFSET_MOVED {
            let to = result.next_offset.get();
            if to > from {
                ledger.judge.moved(queue, from, to);
            } else if to < known_end {
                return Err(format!(
                    "a reader at {from} is sent back to {to}, and the queue was known to reach {known_end}"
                ));
            }
        } else {
            ledger.judge.poll(queue, from, result.next_offset.get(), &polled);
        }
        if reply.header.code == Code::PULL_NOT_FOUND && result.max_offset.get() > from {
            return Err(format!("nothing was found at {from}, and the queue ends at {}", result.max_offset));
        }
        if reply.header.code == Code::SUCCESS && polled.is_empty() {
            return Err("found, and nothing in it".into());
        }
        self.next_pull.insert(queue, result.next_offset.get());
        self.saw_end(queue, result.max_offset.get(), ledger);
        self.pull_end = Some(PullEnd {
            queue,
            next: result.next_offset.get(),
            min: result.min_offset.get(),
            max: result.max_offset.get(),
            code: reply.header.code,
        });
        Ok(())
    }

    /// A refused pull: damage says where to go on.
    fn pull_refused(
        &mut self,
        reply: &Frame<'_>,
        queue: QueueIndex,
        from: u64,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let remark = Failure::of(reply).remark;
        let mut next = from;
        let excused = ledger.faulty || (ledger.index_damaged && remark.contains("queue index"));
        if reply.header.code == Code::SYSTEM_ERROR && !excused {
            let behind = remark.split_once("that can be read has offset ").map(|(_, behind)| behind);
            let number = behind.and_then(|behind| behind.split(':').next()).and_then(|number| number.parse().ok());
            next = number.ok_or_else(|| format!("a pull failed: {remark}"))?;
            ledger.refused_as_damaged(queue, from, next);
            self.next_pull.insert(queue, next);
        }
        let code = reply.header.code;
        self.pull_end = Some(PullEnd { queue, next, min: 0, max: 0, code });
        Ok(())
    }

    fn queried(&mut self, reply: &Frame<'_>, group: u32, queue: QueueIndex, ledger: &mut Ledger) -> Result<(), String> {
        if ledger.queue(queue).deleted || ledger.topics[ledger.queue(queue).topic].changing {
            return Ok(());
        }
        if reply.header.code == Code::QUERY_NOT_FOUND {
            ledger.judge.committed(group, queue, None);
        } else if let Some(offset) = offset_of(reply)? {
            ledger.judge.committed(group, queue, Some(offset));
        }
        Ok(())
    }

    fn stated(&mut self, reply: &Frame<'_>, queue: QueueIndex, ledger: &mut Ledger) -> Result<(), String> {
        if reply.header.code == Code::SUCCESS {
            let state = QueueStateResult::decode(reply.body).map_err(|error| error.to_string())?;
            if state.min_offset > state.max_offset {
                return Err(format!("the queue starts at {} and ends at {}", state.min_offset, state.max_offset));
            }
            self.saw_end(queue, state.max_offset.get(), ledger);
        }
        Ok(())
    }

    fn viewed(
        &mut self,
        reply: &Frame<'_>,
        queue: QueueIndex,
        offset: u64,
        position: u64,
        ledger: &mut Ledger,
        store: &Store,
    ) -> Result<(), String> {
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

/// The offset of a successful answer.
fn offset_of(reply: &Frame<'_>) -> Result<Option<u64>, String> {
    if reply.header.code != Code::SUCCESS {
        return Ok(None);
    }
    OffsetResult::decode(reply.body).map(|result| Some(result.offset.get())).map_err(|error| error.to_string())
}

fn group_name(group: u32) -> String {
    format!("group-{group}")
}
