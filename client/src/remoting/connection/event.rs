//! What a remoting connection hears from the broker, as views of the received bytes.

use ringmq_proto::code::Code;
use ringmq_proto::remoting::direct::{Head, scan};
use ringmq_proto::remoting::{ExtHeader, FieldError, Frame, FrameError, SerializeType};

use crate::connection::RequestId;

/// Extension fields of one header that are seen. No code has more than 20; what follows is passed over.
pub const FIELD_COUNT_MAX: usize = 24;

/// One frame.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request of this side was answered.
    Response(Response<'a>),
    /// The broker asks something: 39, 40, 220, 221, 307, 309, 326.
    Request(BrokerRequest<'a>),
}

/// The extension fields of a header, without memory of their own.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    count: usize,
    fields: [(&'a str, &'a str); FIELD_COUNT_MAX],
}

impl<'a> Fields<'a> {
    /// Reads a header in one pass.
    #[inline]
    pub(super) fn scan(frame: &Frame<'a>, scratch: &'a mut Vec<u8>) -> Result<(Head, Self), FrameError> {
        let mut found = Self { count: 0, fields: [("", ""); FIELD_COUNT_MAX] };
        let head = scan(frame, scratch, |name, value| {
            if let Some(field) = found.fields.get_mut(found.count) {
                *field = (name, value);
                found.count += 1;
            }
        })?;
        Ok((head, found))
    }

    /// The value of `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields[..self.count].iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// The value of `name`, when it is there and is a number.
    #[inline]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// All fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields[..self.count].iter().copied()
    }

    /// The typed header of a code.
    ///
    /// # Errors
    /// When a field is missing or is no number.
    pub fn read<H: ExtHeader<'a>>(&self) -> Result<H, FieldError> {
        H::from_fields(|name| self.get(name))
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Response<'a> {
    /// Which request.
    pub request: RequestId,
    /// RocketMQ's response code. What is none at all counts as [`Code::SYSTEM_ERROR`].
    pub code: Code,
    /// RocketMQ version ordinal of the broker.
    pub version: i32,
    /// What follows the header.
    pub body: &'a [u8],
    fields: Fields<'a>,
    frame: Frame<'a>,
}

impl<'a> Response<'a> {
    pub(super) fn new(request: RequestId, head: Head, frame: Frame<'a>, fields: Fields<'a>) -> Self {
        let code = u16::try_from(head.code).map_or(Code::SYSTEM_ERROR, Code::new);
        Self { request, code, version: head.version, body: frame.body, fields, frame }
    }

    /// The extension fields.
    #[inline]
    pub const fn fields(&self) -> &Fields<'a> {
        &self.fields
    }

    /// The typed header of the request's answer.
    ///
    /// # Errors
    /// When a field is missing or is no number.
    pub fn read<H: ExtHeader<'a>>(&self) -> Result<H, FieldError> {
        self.fields.read()
    }

    /// What the broker has to say, mostly about an error. Reads the header once more.
    pub fn remark(&self) -> String {
        let header = self.frame.decode_header().ok();
        header.and_then(|header| header.remark.map(std::borrow::Cow::into_owned)).unwrap_or_default()
    }
}

/// What is needed to answer a request of the broker, later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub(super) opaque: i32,
    pub(super) serialize_type: SerializeType,
}

/// A request of the broker.
#[derive(Debug)]
pub struct BrokerRequest<'a> {
    /// RocketMQ's request code.
    pub code: i32,
    /// How to answer; `None` for a one-way request.
    pub reply_to: Option<ReplyTo>,
    /// What follows the header.
    pub body: &'a [u8],
    fields: Fields<'a>,
}

impl<'a> BrokerRequest<'a> {
    pub(super) fn new(head: Head, frame: Frame<'a>, fields: Fields<'a>) -> Self {
        let reply_to = ReplyTo { opaque: head.opaque, serialize_type: frame.serialize_type };
        Self { code: head.code, reply_to: (!head.is_oneway()).then_some(reply_to), body: frame.body, fields }
    }

    /// The extension fields.
    pub const fn fields(&self) -> &Fields<'a> {
        &self.fields
    }

    /// The typed header of the code.
    ///
    /// # Errors
    /// When a field is missing or is no number.
    pub fn read<H: ExtHeader<'a>>(&self) -> Result<H, FieldError> {
        self.fields.read()
    }
}
