//! RingMQ's own protocol: the client library's connection, said in the generator's words.

use ringmq_client::connection::{Connection, Event, RequestError, RequestId, SendOptions};
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::native::{CreateTopic, PullRequest, SendItem};

use super::heard::{Messages, Results};
use super::{Heard, Opening, Pulling, Refusal, Sending};

/// RocketMQ's permission bits: read and write.
const PERM_READ_WRITE: u32 = 6;

/// A native connection.
#[derive(Default)]
pub struct Native {
    connection: Connection,
}

impl Native {
    pub(super) fn is_ready(&self) -> bool {
        self.connection.is_ready()
    }

    #[inline]
    pub(super) fn output(&self) -> &[u8] {
        self.connection.output()
    }

    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.connection.consume(count);
    }

    pub(super) fn in_flight_count(&self) -> usize {
        self.connection.in_flight_count()
    }

    pub(super) fn received(&mut self, bytes: &[u8], mut on: impl FnMut(Heard<'_>)) -> Result<(), String> {
        let told = self.connection.received(bytes, |event| {
            if let Some(heard) = translate(event) {
                on(heard);
            }
        });
        told.map_err(|error| error.to_string())
    }

    pub(super) fn open(&mut self, opening: Opening<'_>) -> Result<usize, Refusal> {
        slot(self.connection.open_queue(opening.topic, opening.number, false))
    }

    #[inline]
    pub(super) fn send(&mut self, sending: &Sending<'_>) -> Result<usize, Refusal> {
        let template = SendItem {
            handle: sending.handle,
            born_time_ms: sending.born_time_ms,
            flag: 0,
            sys_flag: 0,
            properties: &[],
            body: sending.bodies,
        };
        if sending.count == 1 {
            return slot(self.connection.send(&template, SendOptions::default()));
        }
        let items: Vec<SendItem<'_>> = sending.each().map(|body| SendItem { body, ..template }).collect();
        slot(self.connection.send_batch(&items, SendOptions::default()))
    }

    pub(super) fn pull(&mut self, pulling: &Pulling) -> Result<usize, Refusal> {
        slot(self.connection.pull(&PullRequest {
            handle: pulling.handle,
            offset: QueueOffset::new(pulling.offset),
            messages_max: pulling.messages_max,
            bytes_max: pulling.bytes_max,
            wait_ms: pulling.wait_ms,
        }))
    }

    pub(super) fn create_topic(&mut self, topic: &str, queue_count: u32) -> Result<usize, Refusal> {
        slot(self.connection.create_topic(&CreateTopic { topic, queue_count, perm: PERM_READ_WRITE, ordered: false }))
    }
}

#[inline]
fn slot(made: Result<RequestId, RequestError>) -> Result<usize, Refusal> {
    match made {
        Ok(request) => Ok(request.slot()),
        Err(RequestError::InFlightBytes { .. } | RequestError::TooManyInFlight { .. }) => Err(Refusal::Full),
        Err(error) => Err(Refusal::Unusable(error.to_string())),
    }
}

/// Nothing for the hello, which the connection itself waits for.
#[inline]
fn translate(event: Event<'_>) -> Option<Heard<'_>> {
    Some(match event {
        Event::Sent { request, code, results } => {
            Heard::Sent { slot: request.slot(), code, results: Results::Native(results) }
        }
        Event::Pulled { request, code, reply } => Heard::Pulled {
            slot: request.slot(),
            code,
            next_offset: reply.result.next_offset.get(),
            messages: Messages::Records(reply.records()),
        },
        Event::Opened { request, queue } => Heard::Opened {
            slot: request.slot(),
            handle: queue.handle,
            ends: (queue.min_offset.get(), queue.max_offset.get()),
        },
        Event::Failed { request, code, remark } => Heard::Failed { slot: request.slot(), code, remark },
        Event::Ready(_) => return None,
        _ => Heard::Done,
    })
}
