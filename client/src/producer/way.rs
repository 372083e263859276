//! The way to a broker in either dialect: what a lane's frame becomes on it, and what comes back.

use std::sync::Arc;
use std::time::Instant;

use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::OffsetId;
use ringmq_proto::message::client_batch::ClientBatchMessage;
use ringmq_proto::message::properties::{Properties, names};
use ringmq_proto::remoting::request_code::{SEND_BATCH_MESSAGE, SEND_MESSAGE_V2, SEND_REPLY_MESSAGE_V2};
use ringmq_proto::remoting::send::SendReply as Fields;
use ringmq_proto::remoting::topics;

use super::job::{Job, Payload};
use super::lane::LaneFrame;
use crate::connection::{RequestError, RequestId, SendItem, SendResult};
use crate::error::{Error, Result};
use crate::link::{FrameDone, Link, SendRefusal, SendReply};
use crate::outgoing::REPLY;
use crate::remoting::connection::{Connection, SendHeader};
use crate::remoting::link::{Exchange, RemotingLink, Reply};

/// Queues that a producer expects of a topic that is about to be created: RocketMQ's `defaultTopicQueueNums`.
pub(super) const TEMPLATE_QUEUE_COUNT_MAX: u32 = 4;

/// The link to a broker.
#[derive(Clone)]
pub(super) enum Way {
    Native(Arc<Link>),
    Remoting(Arc<RemotingLink>),
}

/// What came of a frame.
pub(super) struct Stored {
    /// How it ended: one of the codes of a stored message.
    pub(super) code: Code,
    /// One result a record that the frame became.
    pub(super) results: Vec<SendResult>,
    /// What takes the message back, when it is timed.
    pub(super) recall_handle: Option<Box<str>>,
}

impl Way {
    pub(super) fn address(&self) -> &Arc<str> {
        match self {
            Self::Native(link) => link.address(),
            Self::Remoting(link) => link.address(),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Native(one), Self::Native(other)) => Arc::ptr_eq(one, other),
            (Self::Remoting(one), Self::Remoting(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Waits for a connection: its generation.
    pub(super) async fn ready(&self) -> Result<u64> {
        match self {
            Self::Native(link) => link.ready().await,
            Self::Remoting(link) => link.ready().await,
        }
    }

    /// Sends a frame on the connection of `generation`. It hears of it exactly once, unless it is given back.
    #[expect(
        clippy::result_large_err,
        reason = "the frame is given back, on the way of every message: a box would be dearer"
    )]
    pub(super) fn send(
        &self,
        generation: u64,
        frame: LaneFrame,
        deadline: Instant,
    ) -> std::result::Result<(), (SendRefusal, LaneFrame)> {
        match self {
            Self::Native(link) => link.send_frame(generation, frame, deadline),
            Self::Remoting(link) => link.submit(generation, frame, deadline),
        }
    }

    /// Sends one message that is never answered. The handle is that of a native connection.
    pub(super) fn send_oneway(
        &self,
        (generation, handle): (u64, u32),
        target: &Target<'_>,
        payload: &Payload,
        born_time_ms: u64,
    ) -> Result<()> {
        match self {
            Self::Native(link) => link.send_oneway(generation, &payload.item(handle, born_time_ms)),
            Self::Remoting(link) => {
                let payloads = std::iter::once(payload);
                link.write(|connection| target.send(connection, payloads, born_time_ms, true)).map(drop)
            }
        }
    }
}

/// What a send says of its queue and its sender.
pub(super) struct Target<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) queue_id: u32,
    /// Whether a broker may create the topic.
    pub(super) create_topic: bool,
}

impl Target<'_> {
    /// Writes one message, or a batch of several, as RocketMQ's clients do.
    pub(super) fn send<'p>(
        &self,
        connection: &mut Connection,
        mut payloads: impl Iterator<Item = &'p Payload>,
        born_time_ms: u64,
        is_oneway: bool,
    ) -> std::result::Result<RequestId, RequestError> {
        let no_message = RequestError::MessageCount { count: 0, count_max: usize::MAX };
        let first = payloads.next().ok_or(no_message)?;
        let header = SendHeader {
            producer_group: self.group,
            topic: self.topic,
            default_topic: if self.create_topic { topics::TEMPLATE } else { "" },
            default_topic_queue_nums: TEMPLATE_QUEUE_COUNT_MAX.cast_signed(),
            queue_id: i32::try_from(self.queue_id).unwrap_or(i32::MAX),
            born_timestamp: i64::try_from(born_time_ms).unwrap_or(i64::MAX),
            reconsume_times: first.reconsume_times,
            max_reconsume_times: first.max_reconsume_times,
            unit_mode: Some(false),
            ..SendHeader::default()
        };
        let Some(second) = payloads.next() else {
            let code = if first.is_reply() { SEND_REPLY_MESSAGE_V2 } else { SEND_MESSAGE_V2 };
            let properties = Some(first.properties_text());
            let (flag, sys_flag) = (first.flag, first.sys_flag);
            let header = SendHeader { properties, flag, sys_flag, batch: Some(false), ..header };
            return connection.send(code, &header, &first.body, is_oneway);
        };
        let mut batch = Vec::new();
        for payload in [first, second].into_iter().chain(payloads) {
            let (flag, body, properties) = (payload.flag, &payload.body[..], &payload.properties[..]);
            ClientBatchMessage { flag, body, properties }.append_to(&mut batch);
        }
        let header = SendHeader { properties: Some(""), batch: Some(true), ..header };
        connection.send(SEND_BATCH_MESSAGE, &header, &batch, is_oneway)
    }
}

impl Payload {
    /// As it goes into a native frame.
    pub(super) fn item(&self, handle: u32, born_time_ms: u64) -> SendItem<'_> {
        let (properties, body) = (&self.properties[..], &self.body[..]);
        // All bits that mean something are below 16.
        let sys_flag = u16::try_from(self.sys_flag).unwrap_or_default();
        SendItem { handle, born_time_ms, flag: self.flag, sys_flag, properties, body }
    }

    fn properties_text(&self) -> &str {
        std::str::from_utf8(&self.properties).expect("properties are made of text")
    }

    fn is_reply(&self) -> bool {
        Properties::new(&self.properties).get(names::MSG_TYPE) == Some(REPLY)
    }

    /// The message's unique id, if it has one.
    pub(super) fn unique_id(&self) -> Option<&str> {
        Properties::new(&self.properties).get_str(names::UNIQ_KEY)
    }
}

impl FrameDone for LaneFrame {
    fn items(&self) -> Vec<SendItem<'_>> {
        self.jobs.iter().flat_map(|job| job.items(self.handle)).collect()
    }

    fn done(self: Box<Self>, reply: Result<SendReply>) {
        let stored = |SendReply { code, results }| Stored { code, results, recall_handle: None };
        self.finish(reply.map(stored));
    }
}

impl Exchange for LaneFrame {
    fn encode(&self, connection: &mut Connection) -> std::result::Result<RequestId, RequestError> {
        let payloads = self.jobs.iter().flat_map(Job::payloads);
        let born_time_ms = self.jobs.first().map_or(0, |job| job.born_time_ms);
        self.lane.target().send(connection, payloads, born_time_ms, false)
    }

    fn done(self: Box<Self>, reply: Result<Reply>) {
        self.finish(reply.and_then(|reply| read_stored(&reply)));
    }
}

fn read_stored(reply: &Reply) -> Result<Stored> {
    if !reply.code.is_stored() {
        return Err(reply.clone().expect(&[]).map_or_else(|error| error, |_| Error::Closed));
    }
    let fields: Fields<'_> = reply.read()?;
    let first = u64::try_from(fields.queue_offset).map_err(|_| reply.bad("a queue offset below zero"))?;
    let mut results = Vec::new();
    for (index, id) in (0..).zip(fields.msg_id.split(',')) {
        let id = OffsetId::parse(id.as_bytes()).map_err(|_| reply.bad("a message id that is none"))?;
        let queue_offset = QueueOffset::new(first.saturating_add(index));
        results.push(SendResult { handle: 0, count: 1, queue_offset, position: LogPosition::new(id.position.get()) });
    }
    Ok(Stored { code: reply.code, results, recall_handle: fields.recall_handle.map(Box::from) })
}
