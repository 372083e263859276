//! A pipelined connection of the native protocol without a socket: requests are written straight into an output buffer,
//! received bytes become events. Who owns the socket sends [`Connection::output`] and passes on what it receives.
//!
//! ```text
//! client: preamble | HELLO | requests ...            (preamble and hello are in the output from the start)
//! server: preamble | HELLO reply with its limits | replies, in any order, each with its request's id
//! ```
//!
//! Nothing is allocated per message: a send is encoded in place, a reply is handed to a visitor as a view of the received
//! bytes, and requests in flight live in slots that are used again ([`RequestId`]). The server's limits are kept here: a
//! request beyond them is refused with a [`RequestError`] before a byte of it is written. No clock, no threads: timeouts
//! are the owner's business.

pub(crate) mod cutter;
mod event;
pub(crate) mod output;
mod received;
mod request;
pub(crate) mod slots;
#[cfg(test)]
mod tests;

pub use event::{Event, ServerHello};
pub use received::ConnectionError;
pub use request::{RequestError, SendOptions};
pub use ringmq_proto::native::{PullRequest, SendItem, SendResult};
pub use slots::{REQUESTS_IN_FLIGHT_MAX, RequestId};

use ringmq_proto::limits::{FRAME_MESSAGE_COUNT_MAX, FRAME_SIZE_BYTES_MAX};
use ringmq_proto::native::frame::PROTOCOL_VERSION;
use ringmq_proto::native::{FrameFlags, Hello, Kind, encode_preamble, encode_request};

use cutter::Cutter;
use output::Output;
use slots::Slots;

/// What the client says of itself in its hello.
const SOFTWARE: &str = concat!("ringmq-client/", env!("CARGO_PKG_VERSION"));

/// How far the two sides know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server's preamble is to come.
    Preamble,
    /// The server's hello is to come.
    Hello,
    /// Requests may be made.
    Ready,
    /// The server broke the protocol; nothing more is read.
    Broken,
}

/// What the server allows on this connection. Before its hello: nothing but that.
#[derive(Clone, Copy, Debug)]
struct Limits {
    frame_size_bytes_max: usize,
    frame_message_count_max: usize,
    in_flight_bytes_max: usize,
    handle_count_max: usize,
}

/// One end of a native connection.
///
/// ```
/// use ringmq_client::connection::{Connection, Event};
///
/// let mut connection = Connection::new();
/// // Into the socket: preamble and hello.
/// let sent = connection.output().len();
/// connection.consume(sent);
/// // Out of the socket, whatever arrives:
/// connection.received(&[0xb1, 0x52, 0x4d], |event| if let Event::Ready(_) = event { /* open queues */ })?;
/// # Ok::<(), ringmq_client::connection::ConnectionError>(())
/// ```
pub struct Connection {
    phase: Phase,
    limits: Limits,
    slots: Slots,
    handle_count: usize,
    output: Output,
    cutter: Cutter,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Connection {
    /// A fresh connection, with preamble and hello in the output.
    pub fn new() -> Self {
        let mut connection = Self {
            phase: Phase::Preamble,
            limits: Limits::before_hello(),
            slots: Slots::new(),
            handle_count: 0,
            output: Output::new(),
            cutter: Cutter::new(),
        };
        connection.output.bytes().extend_from_slice(&encode_preamble());
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            software: SOFTWARE,
            frame_size_bytes_max: u32::try_from(FRAME_SIZE_BYTES_MAX).expect("16 MiB"),
            ..Hello::default()
        };
        let id = connection.slots.take(Kind::HELLO.0, 0).expect("the first request");
        encode_request(connection.output.bytes(), Kind::HELLO, id.get(), FrameFlags::NONE, &hello);
        connection
    }

    /// Whether the server's hello has come: before it no request can be made.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Bytes to send.
    #[inline]
    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    /// The first `count` bytes of the output have been sent.
    ///
    /// Panics when the output is shorter.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.output.consume(count);
    }

    /// Moves all bytes to send into `out`, which is empty; its memory becomes the next output.
    ///
    /// Panics when `out` is not empty.
    pub fn swap_output(&mut self, out: &mut Vec<u8>) {
        self.output.swap(out);
    }

    /// Requests that have not been answered.
    #[inline]
    pub const fn in_flight_count(&self) -> usize {
        self.slots.count()
    }

    /// Their bytes.
    #[inline]
    pub const fn in_flight_bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Bytes that a frame may have.
    pub const fn frame_size_bytes_max(&self) -> usize {
        self.limits.frame_size_bytes_max
    }

    /// Messages that one send frame may have.
    pub const fn frame_message_count_max(&self) -> usize {
        self.limits.frame_message_count_max
    }
}

impl Limits {
    const fn before_hello() -> Self {
        Self {
            frame_size_bytes_max: FRAME_SIZE_BYTES_MAX,
            frame_message_count_max: FRAME_MESSAGE_COUNT_MAX,
            in_flight_bytes_max: usize::MAX,
            handle_count_max: usize::MAX,
        }
    }

    /// What a hello states; 0 is not stated.
    fn of(hello: &Hello<'_>) -> Self {
        let or = |stated: u32, default: usize| if stated == 0 { default } else { stated as usize };
        let default = Self::before_hello();
        Self {
            frame_size_bytes_max: or(hello.frame_size_bytes_max, default.frame_size_bytes_max),
            frame_message_count_max: or(hello.frame_message_count_max, default.frame_message_count_max)
                .min(FRAME_MESSAGE_COUNT_MAX),
            in_flight_bytes_max: or(hello.in_flight_bytes_max, default.in_flight_bytes_max),
            handle_count_max: or(hello.handle_count_max, default.handle_count_max),
        }
    }
}
