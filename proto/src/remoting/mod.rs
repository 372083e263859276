//! RocketMQ's remoting protocol, version 4.9 and 5.x: frames, headers, request codes, and the headers and bodies of each
//! family of codes.
//!
//! A receiver calls [`frame::split_frame`] on what has arrived, [`Frame::decode_header`](frame::Frame::decode_header) on each
//! frame, the typed header of the code on its extension fields, and the decoder of the code's body on the rest. Errors fall
//! into two kinds: a [`FrameError`] ends the connection (nothing behind it can be trusted), a [`FieldError`] or [`BodyError`]
//! is answered with a code and a remark.
//!
//! Codes come in families, one file each: [`route`] (what clients ask a name server), [`registration`] (what brokers tell
//! it), [`namesrv`] (the rest of a name server), [`send`], [`pull`], [`heartbeat`], [`consumer`], [`query`], [`transaction`], [`timer`], [`client_push`] (what a broker
//! asks its clients), [`admin`]. A new family adds a file; nothing else here changes.
//!
//! Frequent frames go past the list of fields: [`peek_code`], then the typed header by [`ExtHeader::read`] ([`direct`]).

pub mod admin;
mod base64url;
mod binary_header;
pub mod client_push;
pub mod common;
pub mod consumer;
pub mod direct;
pub mod ext;
pub mod frame;
mod frame_writer;
pub mod header;
pub mod heartbeat;
mod json_body;
mod json_compact;
mod json_enum;
mod json_header;
mod json_text;
pub mod lenient;
pub mod message_queue;
pub mod namesrv;
pub mod pull;
pub mod query;
pub mod registration;
pub mod request_code;
pub mod route;
mod scan;
pub mod send;
pub mod send_template;
pub mod timer;
pub mod topics;
pub mod transaction;

pub use direct::{Head, peek_code, read_head};
pub use ext::{ExtFields, ExtHeader};
pub use frame::{Frame, SerializeType, encode_frame, encode_frame_head, split_frame};
pub use header::{Header, Language};
pub use send_template::SendTemplate;

/// The bytes are no remoting frame. The sender's fault, and nothing can be answered: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is negative, or does not even cover the word behind it.
    #[error("a frame length of {length}")]
    Length {
        /// What the frame says.
        length: i32,
    },
    /// The frame is larger than this port takes.
    #[error("a frame of {size} bytes, more than {size_max}")]
    TooLarge {
        /// Bytes of the frame.
        size: usize,
        /// The limit.
        size_max: usize,
    },
    /// Neither JSON nor binary.
    #[error("an unknown serialization type {0}")]
    SerializeType(u8),
    /// The header is longer than the frame.
    #[error("a header of {size} bytes where {room} are left")]
    HeaderLength {
        /// What the frame says.
        size: usize,
        /// What the frame has.
        room: usize,
    },
    /// The header is larger than any that means something.
    #[error("a header of {size} bytes")]
    HeaderTooLarge {
        /// Bytes of the header.
        size: usize,
    },
    /// The header's bytes are not what its type says.
    #[error("{0}")]
    Header(&'static str),
}

/// An extension field is missing or wrong. The sender's fault: answered with code 1, this text as the remark, as RocketMQ
/// does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// RocketMQ's own words.
    #[error("the custom field <{name}> is null")]
    Missing {
        /// Name on the wire.
        name: &'static str,
    },
    /// The field is there and is no number, or not one of its size.
    #[error("the custom field <{name}> is not a number")]
    NotANumber {
        /// Name on the wire.
        name: &'static str,
    },
}

/// A body is not what its code asks for. The sender's fault: answered with code 1.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not the JSON that was expected.
    #[error("the body is not the JSON it should be: {0}")]
    Json(#[source] serde_json::Error),
    /// Compressed bytes that are no zlib stream, or one that ends early.
    #[error("the compressed body is damaged")]
    Zlib(#[source] std::io::Error),
    /// The checksum of the header is not that of the body. RocketMQ's own words.
    #[error("crc32 not match")]
    Checksum,
    /// A number or text inside the body is wrong.
    #[error("the body holds {0}")]
    Content(&'static str),
    /// A count or size beyond its limit.
    #[error("the body holds more than {count_max} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        count_max: usize,
    },
}
