//! A pipelined connection of the remoting protocol without a socket, the sister of the native
//! [`crate::connection::Connection`]: requests are written straight into an output buffer, received bytes become events.
//!
//! ```text
//! client: requests ...        each with an opaque of the client's choice: the RequestId
//! broker: responses, in any order, and requests of its own with opaques of its choice
//! ```
//!
//! There is no handshake: a request can be made at once. Sends and pulls take no memory a message: they are encoded in
//! place, a response is handed to a visitor as a view of the received bytes, and requests in flight live in slots that are
//! used again ([`RequestId::slot`]). Requests in flight are bounded, frames too, before a byte is written. No clock, no
//! threads: timeouts are the owner's business ([`Connection::forget`]).

mod event;
#[cfg(test)]
mod tests;

pub use event::{BrokerRequest, Event, FIELD_COUNT_MAX, Fields, ReplyTo, Response};
pub use ringmq_proto::remoting::SerializeType;
pub use ringmq_proto::remoting::pull::PullMessage;
pub use ringmq_proto::remoting::send::SendHeader;

use ringmq_proto::code::Code;
use ringmq_proto::limits::{
    BODY_SIZE_BYTES_MAX, FRAME_SIZE_BYTES_MAX, PROPERTIES_SIZE_BYTES_MAX, REMOTING_HEADER_SIZE_BYTES_MAX,
};
use ringmq_proto::remoting::pull::encode_pull_request;
use ringmq_proto::remoting::send::encode_send_request;
use ringmq_proto::remoting::{ExtFields, FrameError, Header, encode_frame, split_frame};

use crate::connection::cutter::{Cutter, Units};
use crate::connection::output::Output;
use crate::connection::slots::Slots;
pub use crate::connection::{REQUESTS_IN_FLIGHT_MAX, RequestError, RequestId};

/// Bytes that names, numbers and punctuation of the largest header take, beside its texts.
const HEADER_SLACK_SIZE_BYTES: usize = 4 << 10;

/// What a byte of text becomes at most when JSON escapes it.
const ESCAPED_SIZE_BYTES_MAX: usize = 6;

/// What marks a slot as taken.
const TAKEN: u8 = 1;

/// The other side breaks the protocol. Close the connection: nothing behind this can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Bytes that are no frame, or a header that cannot be read.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Bytes were received after an earlier error.
    #[error("the connection is broken")]
    Broken,
}

/// One end of a remoting connection.
///
/// ```
/// use ringmq_client::remoting::connection::{Connection, Event, SendHeader, SerializeType};
/// use ringmq_proto::remoting::request_code::SEND_MESSAGE_V2;
///
/// let mut connection = Connection::new(SerializeType::Json);
/// let header = SendHeader { producer_group: "p", topic: "T", default_topic: "TBW102", ..Default::default() };
/// let request = connection.send(SEND_MESSAGE_V2, &header, b"hello", false)?;
/// // Into the socket:
/// let sent = connection.output().len();
/// connection.consume(sent);
/// // Out of the socket, whatever arrives:
/// connection.received(b"", |event| if let Event::Response(response) = event {
///     assert_eq!(response.request, request);
///     let offset = response.fields().number("queueOffset");
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Connection {
    serialize_type: SerializeType,
    in_flight_count_max: usize,
    slots: Slots,
    output: Output,
    cutter: Cutter,
    /// Where escapes of received headers are undone.
    scratch: Vec<u8>,
    is_broken: bool,
    unasked_count: u64,
}

impl Connection {
    /// A connection whose requests have headers of this type. Responses are read in either.
    pub const fn new(serialize_type: SerializeType) -> Self {
        Self {
            serialize_type,
            in_flight_count_max: REQUESTS_IN_FLIGHT_MAX - 1,
            slots: Slots::new(),
            output: Output::new(),
            cutter: Cutter::new(),
            scratch: Vec::new(),
            is_broken: false,
            unasked_count: 0,
        }
    }

    /// The same connection with fewer requests in flight. When reached: [`RequestError::TooManyInFlight`].
    #[must_use]
    pub fn with_in_flight_count_max(mut self, count_max: usize) -> Self {
        self.in_flight_count_max = count_max.min(REQUESTS_IN_FLIGHT_MAX - 1);
        self
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

    /// Bytes of their bodies and texts.
    #[inline]
    pub const fn in_flight_bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Responses that nobody waited for (any more).
    pub const fn unasked_count(&self) -> u64 {
        self.unasked_count
    }

    /// Sends a message, or a batch, with a code whose fields have short names (310, 320, 325). A one-way send is never
    /// answered; its request id means nothing.
    #[inline]
    pub fn send(
        &mut self,
        code: i32,
        header: &SendHeader<'_>,
        body: &[u8],
        is_oneway: bool,
    ) -> Result<RequestId, RequestError> {
        let properties = header.properties.map_or(0, str::len);
        if properties > PROPERTIES_SIZE_BYTES_MAX || body.len() > BODY_SIZE_BYTES_MAX {
            return Err(RequestError::MessageSize { body: body.len(), properties });
        }
        let names = header.producer_group.len() + header.topic.len() + header.default_topic.len();
        let names = names + header.broker_name.map_or(0, str::len);
        let size_bytes = check_size(names + properties, body.len())?;
        let id = self.take(size_bytes, is_oneway)?;
        let numbers = (code, id.get().cast_signed());
        encode_send_request(self.output.bytes(), self.serialize_type, numbers, is_oneway, header, body);
        Ok(id)
    }

    /// Asks for messages, with code 11 or 361.
    #[inline]
    pub fn pull(&mut self, code: i32, header: &PullMessage<'_>) -> Result<RequestId, RequestError> {
        let names = header.consumer_group.len() + header.topic.len();
        let filter = header.subscription.map_or(0, str::len) + header.expression_type.map_or(0, str::len);
        let size_bytes = check_size(names + filter + header.proxy_forward_client_id.map_or(0, str::len), 0)?;
        let id = self.take(size_bytes, false)?;
        encode_pull_request(self.output.bytes(), self.serialize_type, (code, id.get().cast_signed()), header);
        Ok(id)
    }

    /// Makes any other request: the extension fields of its code, and its body.
    pub fn request(&mut self, code: i32, fields: &ExtFields<'_>, body: &[u8]) -> Result<RequestId, RequestError> {
        let id = self.take(check_size(texts_len(fields), body.len())?, false)?;
        self.encode(Header::request(code, id.get().cast_signed()), fields, body);
        Ok(id)
    }

    /// Makes a request that is never answered.
    pub fn request_oneway(&mut self, code: i32, fields: &ExtFields<'_>, body: &[u8]) -> Result<(), RequestError> {
        let id = self.take(check_size(texts_len(fields), body.len())?, true)?;
        self.encode(Header::request(code, id.get().cast_signed()).oneway(), fields, body);
        Ok(())
    }

    /// Answers a request of the broker.
    pub fn answer(
        &mut self,
        to: ReplyTo,
        code: Code,
        remark: Option<&str>,
        fields: &ExtFields<'_>,
        body: &[u8],
    ) -> Result<(), RequestError> {
        check_size(texts_len(fields), body.len())?;
        let header = Header::response(code, to.opaque);
        let mut header = if let Some(remark) = remark { header.with_remark(remark) } else { header };
        header.language = ringmq_proto::remoting::Language::RUST;
        fields.iter().for_each(|(name, value)| header.ext.push(name, value));
        encode_frame(self.output.bytes(), to.serialize_type, &header, body);
        Ok(())
    }

    /// Nobody waits for the response to `request` any more: its slot is free, and a late response is thrown away.
    pub fn forget(&mut self, request: RequestId) {
        self.slots.release(request.get());
    }

    fn encode(&mut self, header: Header<'_>, fields: &ExtFields<'_>, body: &[u8]) {
        let mut header = header;
        fields.iter().for_each(|(name, value)| header.ext.push(name.to_owned(), value.to_owned()));
        encode_frame(self.output.bytes(), self.serialize_type, &header, body);
    }

    #[inline]
    fn take(&mut self, size_bytes: u32, is_oneway: bool) -> Result<RequestId, RequestError> {
        if self.is_broken {
            return Err(RequestError::NotReady);
        }
        if is_oneway {
            return Ok(RequestId::ONEWAY);
        }
        if self.slots.count() >= self.in_flight_count_max {
            return Err(RequestError::TooManyInFlight { count_max: self.in_flight_count_max });
        }
        self.slots.take(TAKEN, size_bytes)
    }

    /// Takes received bytes, however they were cut, and calls `on` for each frame in them. A frame that has not arrived
    /// whole is kept and told when its rest comes. To answer a request of the broker, keep its [`ReplyTo`] until this
    /// returns.
    ///
    /// # Errors
    /// When the broker breaks the protocol. Frames before the offence were told; the connection is of no more use.
    #[inline]
    pub fn received(&mut self, bytes: &[u8], mut on: impl FnMut(Event<'_>)) -> Result<(), ProtocolError> {
        if self.is_broken {
            return Err(ProtocolError::Broken);
        }
        let mut cutter = std::mem::take(&mut self.cutter);
        let result = cutter.cut(bytes, &mut Frames { connection: self, on: &mut on });
        match result {
            Ok(()) => self.cutter = cutter,
            Err(_) => self.is_broken = true,
        }
        result
    }

    /// Reads the frame at the start of `bytes`: how many bytes it takes, 0 when it is not whole.
    #[inline]
    fn take_frame(&mut self, bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<usize, ProtocolError> {
        let Some((frame, used)) = split_frame(bytes, FRAME_SIZE_BYTES_MAX)? else {
            return Ok(0);
        };
        let (head, fields) = Fields::scan(&frame, &mut self.scratch)?;
        if !head.is_response() {
            on(Event::Request(BrokerRequest::new(head, frame, fields)));
        } else if let Some((request, _)) = self.slots.release(head.opaque.cast_unsigned()) {
            on(Event::Response(Response::new(request, head, frame, fields)));
        } else {
            self.unasked_count += 1;
        }
        Ok(used)
    }
}

/// What the broker sends.
struct Frames<'c, F> {
    connection: &'c mut Connection,
    on: &'c mut F,
}

impl<F: FnMut(Event<'_>)> Units for Frames<'_, F> {
    type Error = ProtocolError;

    fn needed(&self, begun: &[u8]) -> usize {
        begun.first_chunk::<4>().map_or(4, |length| 4 + u32::from_be_bytes(*length) as usize)
    }

    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        self.connection.take_frame(bytes, self.on)
    }
}

fn texts_len(fields: &ExtFields<'_>) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len() + ESCAPED_SIZE_BYTES_MAX).sum()
}

/// Bytes of a frame with texts and a body of these lengths, when no limit can be broken by it.
#[inline]
fn check_size(texts_len: usize, body_len: usize) -> Result<u32, RequestError> {
    let header_max = texts_len.saturating_mul(ESCAPED_SIZE_BYTES_MAX).saturating_add(HEADER_SLACK_SIZE_BYTES);
    if header_max > REMOTING_HEADER_SIZE_BYTES_MAX {
        let (size_bytes, size_bytes_max) = (header_max, REMOTING_HEADER_SIZE_BYTES_MAX);
        return Err(RequestError::FrameSize { size_bytes, size_bytes_max });
    }
    let size_bytes = header_max.saturating_add(body_len);
    if size_bytes > FRAME_SIZE_BYTES_MAX {
        return Err(RequestError::FrameSize { size_bytes, size_bytes_max: FRAME_SIZE_BYTES_MAX });
    }
    // Bounded by the size of a frame.
    Ok(u32::try_from(texts_len + body_len).unwrap_or(u32::MAX))
}
