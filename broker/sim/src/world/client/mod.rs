//! A client that speaks the native protocol, byte by byte: what it asks follows from the seed, what it is answered goes to the
//! books.
//!
//! A client is one producer of the judge. It has one connection at a time; when that ends, whatever waited for an answer has
//! an unknown outcome. Each kind of request has its file: how it is asked, and as an [`Operation`] what its answer means. A
//! new one is another file, and a line in [`Client::act`].

mod later;
mod looks;
mod offsets;
mod pulls;
mod sends;
mod topics;

pub(super) use offsets::{GROUP_OF_REMOTES, group_name};
pub(super) use pulls::PullEnd;

use super::ledger::Ledger;
use super::peer::Peer;
use super::plan::Plan;
use crate::rng::Rng;
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::ConnectionId;
use ringmq_broker::store::Store;
use ringmq_checker::QueueIndex;
use ringmq_proto::code::Code;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::native::{
    Failure, Frame, FrameFlags, Hello, Kind, OffsetResult, PREAMBLE_SIZE_BYTES, Table, decode_preamble,
    encode_preamble, encode_request, split_frame,
};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What an answer is held against: the books, and the store of the shard that gave it.
struct Told<'a> {
    ledger: &'a mut Ledger,
    store: &'a Store,
}

/// A request that waits for its answer.
trait Operation: Debug {
    /// The answer is there. The error says what is wrong with it.
    fn answered(self: Box<Self>, client: &mut Client, reply: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String>;

    /// The connection is gone: there will be no answer.
    fn abandoned(self: Box<Self>, _ledger: &mut Ledger) {}

    /// The client may end its connection without leaving the books in doubt about a topic.
    fn may_be_left(&self) -> bool {
        true
    }
}

/// The greeting.
#[derive(Debug)]
struct Greeting;

impl Operation for Greeting {
    fn answered(self: Box<Self>, client: &mut Client, reply: &Frame<'_>, _: &mut Told<'_>) -> Result<(), String> {
        client.greeted = reply.header.code == Code::SUCCESS;
        Ok(())
    }
}

/// One client.
pub(super) struct Client {
    producer: u32,
    connection: Option<ConnectionId>,
    /// Bytes on their way to the shard.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    preamble_seen: bool,
    greeted: bool,
    pending: BTreeMap<u32, Box<dyn Operation>>,
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

    /// Its handles and what they name.
    pub(super) fn handles(&self) -> &[(u32, QueueIndex)] {
        &self.handles
    }

    /// A power cut took what was visible: it may be seen to go back.
    pub(super) fn forget_ends(&mut self) {
        self.max_seen.clear();
        self.next_pull.clear();
    }

    fn ask<'a>(&mut self, operation: impl Operation + 'static, kind: Kind, body: &impl Table<'a>) {
        let id = self.number(operation);
        encode_request(&mut self.outgoing, kind, id, FrameFlags::NONE, body);
    }

    fn number(&mut self, operation: impl Operation + 'static) -> u32 {
        let id = self.next_request;
        self.next_request += 1;
        if self.trace {
            eprintln!("  client {} request {id}: {operation:?}", self.producer);
        }
        self.pending.insert(id, Box::new(operation));
        id
    }

    fn answer(&mut self, reply: &Frame<'_>, told: &mut Told<'_>) {
        let Some(pending) = self.pending.remove(&reply.header.request_id) else {
            return told
                .ledger
                .wrong(|| format!("client {}: an answer that nobody waits for: {reply:?}", self.producer));
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
        if let Err(why) = pending.answered(self, reply, told) {
            told.ledger.wrong(|| format!("client {}: {why} in the answer {reply:?}", self.producer));
        }
    }
}

impl Peer for Client {
    fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    fn producer(&self) -> u32 {
        self.producer
    }

    fn pending_count(&self) -> usize {
        self.pending.len()
    }

    fn describe_pending(&self) -> String {
        format!("client {}: {:?}", self.producer, self.pending)
    }

    fn may_leave(&self) -> bool {
        self.pending.values().all(|pending| pending.may_be_left())
    }

    fn connect(&mut self, connection: ConnectionId) {
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
        self.ask(Greeting, Kind::HELLO, &hello);
    }

    fn disconnect(&mut self, ledger: &mut Ledger) {
        self.connection = None;
        ledger.all_arrived(self.producer);
        self.outgoing.clear();
        self.incoming.clear();
        (self.preamble_seen, self.greeted) = (false, false);
        self.handles.clear();
        for pending in std::mem::take(&mut self.pending).into_values() {
            pending.abandoned(ledger);
        }
    }

    fn act(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        if !self.greeted {
            return;
        }
        if rng.percent(plan.topic_percent) {
            return self.change_topic(rng, plan, ledger);
        }
        if self.handles.is_empty() || rng.percent(4) {
            let topic = rng.index(plan.topic_count);
            let number = u32::try_from(rng.below(u64::from(plan.queue_count))).unwrap_or(0);
            return self.open(ledger, topic, number, true);
        }
        let (handle, queue) = rng.pick(&self.handles);
        if plan.groups && rng.percent(8) {
            return self.delay_one(rng, plan, ledger, now, (handle, queue));
        }
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
            88..92 => self.ends(handle, queue),
            92..96 => self.search(rng, ledger, handle, queue, now),
            _ => self.view(rng, ledger, queue),
        }
    }

    fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger, store: &Store, _: Now) {
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
                    self.answer(&reply, &mut Told { ledger: &mut *ledger, store });
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

    fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }
}

/// The offset of a successful answer.
fn offset_of(reply: &Frame<'_>) -> Result<Option<u64>, String> {
    if reply.header.code != Code::SUCCESS {
        return Ok(None);
    }
    OffsetResult::decode(reply.body).map(|result| Some(result.offset.get())).map_err(|error| error.to_string())
}
