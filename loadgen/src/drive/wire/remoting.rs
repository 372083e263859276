//! RocketMQ's remoting, in the generator's words: what RocketMQ's own clients say, request for request.
//!
//! A queue is "opened" by asking for its first and then for its end offset; its handle is the generator's own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ringmq_client::connection::{RequestError, RequestId};
use ringmq_client::remoting::connection::{Connection, Event, PullMessage, Response, SendHeader, SerializeType};
use ringmq_proto::code::Code;
use ringmq_proto::message::{ClientBatchMessage, UniqueId};
use ringmq_proto::remoting::admin::topics::UpdateTopic;
use ringmq_proto::remoting::consumer::GetOffset;
use ringmq_proto::remoting::pull::pull_flag;
use ringmq_proto::remoting::topics;
use ringmq_proto::remoting::{ExtHeader, request_code};

use super::heard::{Messages, Results, Stored};
use super::{Heard, Opening, Pulling, Refusal, Sending};

/// The generator's groups.
const PRODUCER_GROUP: &str = "loadgen-producer";
const CONSUMER_GROUP: &str = "loadgen-consumer";

/// Requests of one connection that may be unanswered: RocketMQ's brokers set no limit, and answer what is too much with 2.
const IN_FLIGHT_COUNT_MAX: usize = 1 << 17;

/// RocketMQ's permission bits: read and write.
const PERM_READ_WRITE: i32 = 6;

/// What an answer is to be read as.
#[derive(Clone, Copy)]
enum Asked {
    /// The first offset of the queue with this handle; its end is asked for next.
    First(u32),
    /// The end offset, and the first.
    End(u32, u64),
    /// So many messages for this queue.
    Send(u32, u64),
    Pull,
    Other,
}

/// A queue that the connection has a handle for.
struct Queue {
    topic: Arc<str>,
    number: i32,
}

/// A remoting connection.
pub struct Remoting {
    connection: Connection,
    queues: Vec<Queue>,
    /// By the slot that the caller knows a request by: it outlives the first of an opening's two questions.
    calls: Vec<Asked>,
    free: Vec<u32>,
    /// By slot of the connection: the caller's slot.
    of_request: Vec<u32>,
    /// Openings whose first question has been answered in this receive.
    half_open: Vec<(u32, Asked)>,
    batch: Vec<u8>,
    properties: Vec<u8>,
}

impl Default for Remoting {
    fn default() -> Self {
        Self {
            connection: Connection::new(SerializeType::Json).with_in_flight_count_max(IN_FLIGHT_COUNT_MAX),
            queues: Vec::new(),
            calls: Vec::new(),
            free: Vec::new(),
            of_request: Vec::new(),
            half_open: Vec::new(),
            batch: Vec::new(),
            properties: Vec::new(),
        }
    }
}

impl Remoting {
    /// There is no handshake.
    #[expect(clippy::unused_self, reason = "the same question is put to the other dialect")]
    pub(super) const fn is_ready(&self) -> bool {
        true
    }

    #[inline]
    pub(super) fn output(&self) -> &[u8] {
        self.connection.output()
    }

    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.connection.consume(count);
    }

    pub(super) const fn in_flight_count(&self) -> usize {
        self.connection.in_flight_count()
    }

    pub(super) fn received(&mut self, bytes: &[u8], mut on: impl FnMut(Heard<'_>)) -> Result<(), String> {
        let Self { connection, queues, calls, free, of_request, half_open, .. } = self;
        let mut wrong = None;
        let told = connection.received(bytes, |event| {
            // What a broker asks is meant for groups, and the generator is in none.
            let Event::Response(response) = event else { return };
            let slot = of_request[response.request.slot()];
            let asked = calls[slot as usize];
            if let Asked::First(handle) = asked
                && response.code == Code::SUCCESS
                && let Some(first) = offset(&response, "offset")
            {
                half_open.push((slot, Asked::End(handle, first)));
                return;
            }
            free.push(slot);
            match read(slot as usize, asked, queues, &response, &mut on) {
                Ok(()) => {}
                Err(what) => wrong = Some(what),
            }
        });
        told.map_err(|error| error.to_string())?;
        if let Some(what) = wrong {
            return Err(format!("the answer to a request has no {what}"));
        }
        for (slot, asked) in std::mem::take(&mut self.half_open) {
            if let Asked::End(handle, _) = asked {
                let request = self.ask_offset(request_code::GET_MAX_OFFSET, handle);
                let request = request.map_err(|error| error.to_string())?;
                self.remember(request, slot, asked);
            }
        }
        Ok(())
    }

    pub(super) fn open(&mut self, opening: Opening<'_>) -> Result<usize, Refusal> {
        let handle = u32::try_from(self.queues.len()).expect("bounded by QUEUE_COUNT_MAX");
        // The queues of a topic are opened one after the other, mostly.
        let same = self.queues.last().map(|queue| &queue.topic).filter(|topic| ***topic == *opening.topic);
        let topic = same.map_or_else(|| Arc::from(opening.topic), Arc::clone);
        self.queues.push(Queue { topic, number: opening.number });
        let asked = self.ask_offset(request_code::GET_MIN_OFFSET, handle);
        if asked.is_err() {
            self.queues.pop();
        }
        self.made(asked, Asked::First(handle))
    }

    #[inline]
    pub(super) fn send(&mut self, sending: &Sending<'_>) -> Result<usize, Refusal> {
        let Self { connection, queues, batch, properties, .. } = self;
        let queue = &queues[sending.handle as usize];
        let is_batch = sending.count > 1;
        if is_batch {
            batch.clear();
            for (body, sequence) in sending.each().zip(sending.first..) {
                put_properties(properties, sending.unique_ids_of, sequence);
                ClientBatchMessage { flag: 0, body, properties }.append_to(batch);
            }
            // What all of them share.
            properties.clear();
        } else {
            put_properties(properties, sending.unique_ids_of, sending.first);
        }
        let header = SendHeader {
            producer_group: PRODUCER_GROUP,
            topic: &queue.topic,
            default_topic: topics::TEMPLATE,
            default_topic_queue_nums: 4,
            queue_id: queue.number,
            born_timestamp: sending.born_time_ms.cast_signed(),
            properties: Some(std::str::from_utf8(properties).expect("names and digits")),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(is_batch),
            ..SendHeader::default()
        };
        let (code, body) = match is_batch {
            true => (request_code::SEND_BATCH_MESSAGE, &batch[..]),
            false => (request_code::SEND_MESSAGE_V2, sending.bodies),
        };
        let made = connection.send(code, &header, body, false);
        self.made(made, Asked::Send(sending.handle, sending.count))
    }

    pub(super) fn pull(&mut self, pulling: &Pulling) -> Result<usize, Refusal> {
        let queue = &self.queues[pulling.handle as usize];
        let header = PullMessage {
            consumer_group: CONSUMER_GROUP,
            topic: &queue.topic,
            queue_id: queue.number,
            queue_offset: pulling.offset.cast_signed(),
            max_msg_nums: i32::try_from(pulling.messages_max).unwrap_or(i32::MAX),
            sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION,
            suspend_timeout_millis: pulling.wait_ms.into(),
            subscription: Some("*"),
            expression_type: Some("TAG"),
            max_msg_bytes: i32::try_from(pulling.bytes_max).ok(),
            ..PullMessage::default()
        };
        let made = self.connection.pull(request_code::PULL_MESSAGE, &header);
        self.made(made, Asked::Pull)
    }

    pub(super) fn create_topic(&mut self, topic: &str, queue_count: u32) -> Result<usize, Refusal> {
        let queue_nums = i32::try_from(queue_count).unwrap_or(i32::MAX);
        let header = UpdateTopic {
            topic,
            default_topic: topics::TEMPLATE,
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm: PERM_READ_WRITE,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: Some(false),
            ..UpdateTopic::default()
        };
        let made = self.connection.request(request_code::UPDATE_AND_CREATE_TOPIC, &header.to_ext(), &[]);
        self.made(made, Asked::Other)
    }

    fn ask_offset(&mut self, code: i32, handle: u32) -> Result<RequestId, RequestError> {
        let queue = &self.queues[handle as usize];
        let header = GetOffset { topic: &queue.topic, queue_id: queue.number, ..GetOffset::default() };
        self.connection.request(code, &header.to_ext(), &[])
    }

    /// A request was made, or was not.
    #[inline]
    fn made(&mut self, made: Result<RequestId, RequestError>, asked: Asked) -> Result<usize, Refusal> {
        let request = match made {
            Ok(request) => request,
            Err(RequestError::InFlightBytes { .. } | RequestError::TooManyInFlight { .. }) => {
                return Err(Refusal::Full);
            }
            Err(error) => return Err(Refusal::Unusable(error.to_string())),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(Asked::Other);
            u32::try_from(self.calls.len() - 1).expect("bounded by the requests in flight")
        });
        self.remember(request, slot, asked);
        Ok(slot as usize)
    }

    #[inline]
    fn remember(&mut self, request: RequestId, slot: u32, asked: Asked) {
        if request.slot() >= self.of_request.len() {
            self.of_request.resize(request.slot() + 1, 0);
        }
        self.of_request[request.slot()] = slot;
        self.calls[slot as usize] = asked;
    }
}

/// Tells what the answer to `asked` says; an error names the field that it lacks.
#[inline]
fn read(
    slot: usize,
    asked: Asked,
    queues: &[Queue],
    response: &Response<'_>,
    on: &mut impl FnMut(Heard<'_>),
) -> Result<(), &'static str> {
    let code = response.code;
    let number = |name: &'static str| offset(response, name).ok_or(name);
    match asked {
        Asked::Send(handle, count) if code.is_stored() => {
            let is_same = number("queueId")? == u64::from(queues[handle as usize].number.cast_unsigned());
            // An answer that names another queue is no answer to this send.
            let handle = if is_same { handle } else { u32::MAX };
            let first_offset = number("queueOffset")?;
            on(Heard::Sent { slot, code, results: Results::One(Stored { handle, first_offset, count }) });
        }
        Asked::Pull if code.is_pull_result() => {
            let messages = Messages::Stored(if code == Code::SUCCESS { response.body } else { &[] });
            on(Heard::Pulled { slot, code, next_offset: number("nextBeginOffset")?, messages });
        }
        Asked::End(handle, first) if code == Code::SUCCESS => {
            on(Heard::Opened { slot, handle, ends: (first, number("offset")?) });
        }
        Asked::First(_) if code == Code::SUCCESS => return Err("offset"),
        _ if code == Code::SUCCESS => on(Heard::Done),
        _ => on(Heard::Failed { slot, code, remark: &response.remark() }),
    }
    Ok(())
}

/// What RocketMQ's clients say of each message, nothing without a producer. The id's parts are not what they are named: no two
/// messages of a run have the same.
#[expect(clippy::cast_possible_truncation, reason = "the low bits here, those above them in the next part")]
fn put_properties(out: &mut Vec<u8>, producer: Option<u32>, sequence: u64) {
    out.clear();
    let Some(producer) = producer else { return };
    let (ip, process) = (Ipv4Addr::LOCALHOST.into(), 1);
    let (ms_of_month, counter) = ((sequence >> 16) as u32, sequence as u16);
    out.extend_from_slice(b"UNIQ_KEY\x01");
    UniqueId { ip, process, loader: producer, ms_of_month, counter }.append_to(out);
    out.extend_from_slice(b"\x02WAIT\x01true\x02");
}

/// A field that is a number from 0 up.
#[inline]
fn offset(response: &Response<'_>, name: &str) -> Option<u64> {
    response.fields().number(name).and_then(|number| u64::try_from(number).ok())
}
