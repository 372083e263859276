//! What a connection says and hears, in either dialect, in the words that the roles need: open, send, pull, create a topic.
//!
//! A request is known by its slot, a small number that is used again after the answer; a queue by a handle that it has on this
//! connection. The native protocol has both; over remoting they are the generator's own.

mod heard;
mod native;
mod remoting;

use ringmq_proto::code::Code;

pub use heard::{Messages, Read, Results, Stored};

use crate::cli::Dialect;
use crate::size::SizeMix;

/// What the other side said. Every request is answered by one of these, as long as the connection lives.
pub enum Heard<'a> {
    /// A queue can be named by its handle now.
    Opened {
        /// Of the request.
        slot: usize,
        /// The queue's handle.
        handle: u32,
        /// First and end offset of the queue at that moment.
        ends: (u64, u64),
    },
    /// Messages were stored.
    Sent {
        /// Of the request.
        slot: usize,
        /// 0, or 10, 11, 12: stored, but not as safely as the broker is configured to.
        code: Code,
        /// Where they lie.
        results: Results<'a>,
    },
    /// A pull was carried out.
    Pulled {
        /// Of the request.
        slot: usize,
        /// 0, 19, 20 or 21.
        code: Code,
        /// Where to go on.
        next_offset: u64,
        /// What was pulled.
        messages: Messages<'a>,
    },
    /// Something without a result was done.
    Done,
    /// A request was not carried out.
    Failed {
        /// Of the request.
        slot: usize,
        /// RocketMQ's code.
        code: Code,
        /// The broker's sentence.
        remark: &'a str,
    },
}

/// Messages to send to one queue, in one frame.
pub struct Sending<'a> {
    /// The queue's handle.
    pub handle: u32,
    /// Wall time, ms.
    pub born_time_ms: u64,
    /// The bodies, one behind the other.
    pub bodies: &'a [u8],
    /// How they are cut: the sizes of `first` and the `count` − 1 sequences that follow it.
    pub sizes: &'a SizeMix,
    /// Sequence of the first message.
    pub first: u64,
    /// Messages; at least one.
    pub count: u64,
    /// Number of the producer, when messages have unique ids: with the sequence it makes one.
    pub unique_ids_of: Option<u32>,
}

impl<'a> Sending<'a> {
    /// The bodies one by one.
    fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        let (mut rest, sizes) = (self.bodies, self.sizes);
        (self.first..self.first + self.count).map(move |sequence| {
            let (body, after) = rest.split_at(sizes.of(sequence));
            rest = after;
            body
        })
    }
}

/// What to pull.
#[derive(Clone, Copy)]
pub struct Pulling {
    /// The queue's handle.
    pub handle: u32,
    /// From this offset on.
    pub offset: u64,
    /// At most so many messages.
    pub messages_max: u32,
    /// At most about so many bytes.
    pub bytes_max: u32,
    /// How long to wait for one, ms.
    pub wait_ms: u32,
}

/// A queue to open.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// RocketMQ's queue id.
    pub number: i32,
}

/// Why a request was not made; nothing was written.
#[derive(Debug)]
pub enum Refusal {
    /// As much is unanswered as may be: an answer makes room.
    Full,
    /// It can never be made.
    Unusable(String),
}

/// A connection without its socket.
pub enum Wire {
    /// RingMQ's own protocol.
    Native(native::Native),
    /// RocketMQ's.
    Remoting(remoting::Remoting),
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:ident, $wire:ident => $call:expr) => {
        match $self {
            Wire::Native($wire) => $call,
            Wire::Remoting($wire) => $call,
        }
    };
}

impl Wire {
    /// A fresh connection.
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Native => Self::Native(native::Native::default()),
            Dialect::Remoting => Self::Remoting(remoting::Remoting::default()),
        }
    }

    /// Whether requests can be made.
    pub fn is_ready(&self) -> bool {
        either!(self, wire => wire.is_ready())
    }

    /// Bytes for the socket.
    #[inline]
    pub fn output(&self) -> &[u8] {
        either!(self, wire => wire.output())
    }

    /// The first `count` bytes of the output are with the socket.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        either!(self, wire => wire.consume(count));
    }

    /// Takes what has arrived and tells `on` what it says. An error ends the connection.
    pub fn received(&mut self, bytes: &[u8], on: impl FnMut(Heard<'_>)) -> Result<(), String> {
        either!(self, wire => wire.received(bytes, on))
    }

    /// Requests without an answer.
    pub fn in_flight_count(&self) -> usize {
        either!(self, wire => wire.in_flight_count())
    }

    /// Opens a queue; gives the request's slot.
    pub fn open(&mut self, opening: Opening<'_>) -> Result<usize, Refusal> {
        either!(self, wire => wire.open(opening))
    }

    /// Sends messages; gives the request's slot.
    #[inline]
    pub fn send(&mut self, sending: &Sending<'_>) -> Result<usize, Refusal> {
        either!(self, wire => wire.send(sending))
    }

    /// Pulls messages; gives the request's slot.
    pub fn pull(&mut self, pulling: &Pulling) -> Result<usize, Refusal> {
        either!(self, wire => wire.pull(pulling))
    }

    /// Creates a topic with so many queues, to read and to write.
    pub fn create_topic(&mut self, topic: &str, queue_count: u32) -> Result<usize, Refusal> {
        either!(self, wire => wire.create_topic(topic, queue_count))
    }
}
