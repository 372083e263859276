//! A client that speaks RocketMQ's protocol: it sends messages for later and ends transactions, and consumes what comes.
//!
//! It is one producer of the judge and a member of the group `consumers`. As for [`super::client`], each kind of request has
//! its file. Topics are named in each request: while one waits, nobody deletes its topic, or nobody could say which queue was
//! meant.

mod backs;
mod batches;
mod ends;
pub(super) mod locks;
mod offsets;
mod pulls;
mod sends;

use super::ledger::{Existence, Ledger};
use super::peer::Peer;
use super::plan::Plan;
use crate::rng::Rng;
use pulls::Seen;
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::ConnectionId;
use ringmq_broker::store::Store;
use ringmq_checker::{Content, MessageId, QueueIndex};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueId;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::message::StoredMessage;
use ringmq_proto::remoting::heartbeat::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use ringmq_proto::remoting::transaction::CheckTransactionState;
use ringmq_proto::remoting::{
    ExtHeader, Frame, Header, SerializeType, encode_frame, request_code as code, split_frame,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

/// The group of all producers.
const PRODUCERS: &str = "producers";

/// The group of all consumers.
const CONSUMERS: &str = "consumers";

/// Pulled messages that a client remembers, to send one back.
const REMEMBERED_MAX: usize = 16;

/// What an answer is held against.
struct Told<'a> {
    ledger: &'a mut Ledger,
    store: &'a Store,
    now: Now,
}

/// An answer.
struct Answer<'a> {
    code: Code,
    header: &'a Header<'a>,
    body: &'a [u8],
}

impl Answer<'_> {
    fn remark(&self) -> &str {
        self.header.remark.as_deref().unwrap_or_default()
    }
}

/// A request that waits for its answer.
trait Asked: Debug {
    /// The answer is there. The error says what is wrong with it.
    fn answered(self: Box<Self>, remote: &mut Remote, answer: &Answer<'_>, told: &mut Told<'_>) -> Result<(), String>;

    /// The connection is gone: there will be no answer.
    fn abandoned(self: Box<Self>, _ledger: &mut Ledger) {}
}

/// A heartbeat.
#[derive(Debug)]
struct Beat;

impl Asked for Beat {
    fn answered(self: Box<Self>, _: &mut Remote, _: &Answer<'_>, _: &mut Told<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// One client.
pub(super) struct Remote {
    producer: u32,
    connection: Option<ConnectionId>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    pending: BTreeMap<i32, Box<dyn Asked>>,
    last_opaque: i32,
    sequence: u64,
    next_pull: BTreeMap<QueueIndex, u64>,
    max_seen: BTreeMap<QueueIndex, u64>,
    remembered: VecDeque<Seen>,
    /// Halves that the broker has asked about.
    questions: Vec<MessageId>,
    /// Times that it has let all its locks go.
    unlocks: u32,
    trace: bool,
}

impl Remote {
    /// A client without a connection.
    pub(super) fn new(producer: u32, trace: bool) -> Self {
        Self {
            producer,
            connection: None,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            pending: BTreeMap::new(),
            last_opaque: 0,
            sequence: 0,
            next_pull: BTreeMap::new(),
            max_seen: BTreeMap::new(),
            remembered: VecDeque::new(),
            questions: Vec::new(),
            unlocks: 0,
            trace,
        }
    }

    /// Gives a request its number.
    fn number(&mut self, asked: impl Asked + 'static) -> i32 {
        self.last_opaque += 1;
        if self.trace {
            eprintln!("  remote {} request {}: {asked:?}", self.producer, self.last_opaque);
        }
        self.pending.insert(self.last_opaque, Box::new(asked));
        self.last_opaque
    }

    fn ask<'a>(&mut self, asked: impl Asked + 'static, request_code: i32, ext: &impl ExtHeader<'a>, body: &[u8]) {
        let header = Header::request(request_code, self.number(asked)).with_ext(ext);
        encode_frame(&mut self.outgoing, SerializeType::Json, &header, body);
    }

    fn tell<'a>(&mut self, request_code: i32, ext: &impl ExtHeader<'a>) {
        let header = Header::request(request_code, 0).oneway().with_ext(ext);
        encode_frame(&mut self.outgoing, SerializeType::Json, &header, &[]);
    }

    fn frame(&mut self, frame: &Frame<'_>, told: &mut Told<'_>) -> Result<(), String> {
        let header = frame.decode_header().map_err(|error| error.to_string())?;
        if !header.is_response() {
            return self.asked_by_the_broker(&header, frame.body, told);
        }
        let asked = self.pending.remove(&header.opaque).ok_or("an answer that nobody waits for")?;
        let answer = Answer { code: header.response_code(), header: &header, body: frame.body };
        if self.trace {
            eprintln!("  remote {} answer {}: {} {}", self.producer, header.opaque, answer.code, answer.remark());
        }
        asked.answered(self, &answer, told).map_err(|why| format!("{why} in the answer {header:?}"))
    }

    /// The broker asks what became of a transaction; what else it says is not for us.
    fn asked_by_the_broker(&mut self, header: &Header<'_>, body: &[u8], told: &mut Told<'_>) -> Result<(), String> {
        if header.code != code::CHECK_TRANSACTION_STATE {
            return Ok(());
        }
        let check = CheckTransactionState::decode(&header.ext).map_err(|error| error.to_string())?;
        let stored = StoredMessage::decode(body).map_err(|error| error.to_string())?;
        let Content::Message(message) = told.ledger.content(stored.parts.body) else {
            return Err("the broker asks about a half that nobody sent".into());
        };
        if self.trace {
            eprintln!("  remote {} is asked about {message}: {check:?}", self.producer);
        }
        let numbers = (check.commit_log_offset.cast_unsigned(), check.tran_state_table_offset.cast_unsigned());
        let half = told.ledger.later.get(message).ok_or_else(|| format!("the broker asks about {message}, no half"))?;
        if half.origin.is_some_and(|origin| origin != numbers) {
            return Err(format!("the broker asks about {message} as {numbers:?}: {half:?}"));
        }
        half.origin = Some(numbers);
        self.questions.push(message);
        Ok(())
    }

    /// A queue of a topic that exists and that nobody changes now.
    fn pick_queue(rng: &mut Rng, plan: &Plan, ledger: &Ledger) -> Option<(usize, u32)> {
        let usable = |topic: &usize| is_usable(ledger, *topic);
        let topics: Vec<usize> = (0..plan.topic_count).filter(usable).collect();
        let topic = (!topics.is_empty()).then(|| rng.pick(&topics))?;
        Some((topic, u32::try_from(rng.below(u64::from(plan.queue_count))).unwrap_or(0)))
    }
}

/// The topic exists, and nobody changes it now.
fn is_usable(ledger: &Ledger, topic: usize) -> bool {
    ledger.topics[topic].existence == Existence::Present && !ledger.topics[topic].changing
}

/// A request that names the topic leaves.
fn hold(ledger: &mut Ledger, topic: usize) {
    ledger.topics[topic].opening += 1;
}

/// It waits no longer.
fn release(ledger: &mut Ledger, topic: usize) {
    ledger.topics[topic].opening -= 1;
}

/// The queue that a name means now.
fn queue_named(told: &mut Told<'_>, (topic, number): (usize, u32)) -> Result<(QueueIndex, QueueId), String> {
    let name = &told.ledger.topics[topic].name;
    let id = told.store.state().topic(name).and_then(|topic| topic.queues.get(number as usize).copied());
    let id = id.ok_or_else(|| format!("queue {number} of topic {name} does not exist"))?;
    let is_new = told.ledger.find(id).is_none();
    let index = told.ledger.queue_index(id, topic, number);
    if is_new && told.ledger.damaged {
        told.ledger.may_skip(id, told.store.queue(id).map_or(0, |queue| queue.next_offset.get()));
    }
    Ok((index, id))
}

/// The queue that a name meant when it was last seen.
fn queue_known(ledger: &Ledger, to: (usize, u32)) -> Option<QueueIndex> {
    let named = ledger.queues().filter(|(_, queue)| (queue.topic, queue.number) == to && !queue.deleted);
    named.last().map(|(index, _)| index)
}

impl Peer for Remote {
    fn producer(&self) -> u32 {
        self.producer
    }

    fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    fn pending_count(&self) -> usize {
        self.pending.len()
    }

    fn describe_pending(&self) -> String {
        format!("remote {}: {:?}", self.producer, self.pending)
    }

    fn may_leave(&self) -> bool {
        true
    }

    fn connect(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
        let subscription = |topic: &str| SubscriptionData {
            topic: topic.into(),
            sub_string: "*".into(),
            ..SubscriptionData::default()
        };
        let consumer = ConsumerData {
            group_name: CONSUMERS.into(),
            subscription_data_set: vec![subscription("topic-0")],
            ..ConsumerData::default()
        };
        let beat = HeartbeatData {
            client_id: format!("remote-{}", self.producer),
            consumer_data_set: vec![consumer],
            producer_data_set: vec![ProducerData { group_name: PRODUCERS.into() }],
            ..HeartbeatData::default()
        };
        let header = Header::request(code::HEART_BEAT, self.number(Beat));
        encode_frame(&mut self.outgoing, SerializeType::Json, &header, &beat.encode());
    }

    fn disconnect(&mut self, ledger: &mut Ledger) {
        self.connection = None;
        ledger.all_arrived(self.producer);
        ledger.locks.let_go(self.producer);
        self.outgoing.clear();
        self.incoming.clear();
        for asked in std::mem::take(&mut self.pending).into_values() {
            asked.abandoned(ledger);
        }
    }

    fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger, store: &Store, now: Now) {
        self.incoming.extend_from_slice(bytes);
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        loop {
            match split_frame(rest, FRAME_SIZE_BYTES_MAX) {
                Ok(Some((frame, consumed))) => {
                    rest = &rest[consumed..];
                    let outcome = self.frame(&frame, &mut Told { ledger: &mut *ledger, store, now });
                    if let Err(why) = outcome {
                        ledger.wrong(|| format!("remote {}: {why}", self.producer));
                    }
                }
                Ok(None) => break,
                Err(why) => {
                    ledger.wrong(|| format!("remote {} cannot read a frame: {why}", self.producer));
                    break;
                }
            }
        }
        self.incoming = rest.to_vec();
    }

    fn act(&mut self, rng: &mut Rng, plan: &Plan, ledger: &mut Ledger, now: Now) {
        if plan.groups && rng.percent(25) {
            return match rng.below(10) {
                0..5 => self.offset_some(rng, plan, ledger),
                5..8 => self.lock_some(rng, plan, ledger, now),
                _ => self.batch_some(rng, plan, ledger, now),
            };
        }
        match rng.below(100) {
            0..58 => self.send_some(rng, plan, ledger, now),
            58..72 => self.end_some(rng, ledger, now),
            72..77 => self.recall_some(rng, ledger),
            77..92 => self.pull_some(rng, plan, ledger),
            _ => self.send_one_back(rng, plan, ledger, now),
        }
    }
}
