//! The header of a remoting command, independent of how it is written.

use std::borrow::Cow;

use super::FrameError;
use super::ext::{ExtFields, ExtHeader};
use super::frame::SerializeType;
use super::{binary_header, json_header};
use crate::code::Code;
use crate::limits::REMOTING_REMARK_SIZE_BYTES_MAX;

/// `flag` bit: this is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// `flag` bit: a one-way request, which is never answered, not even with an error.
pub const FLAG_ONEWAY: i32 = 2;

/// What RingMQ reports as its `version`: the ordinal of RocketMQ 5.3.3. Clients compare it (SQL92 needs 232), name
/// servers choose the form of a registration by it (413 and 401).
pub const VERSION_REPORTED: i32 = 479;

/// The language of the other side, informative only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(u8);

/// Names in the order of their codes.
const LANGUAGE_NAMES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST",
    "NODE_JS",
];

impl Language {
    /// What RocketMQ's own servers say; RingMQ's servers say the same, because the oldest clients know few names.
    pub const JAVA: Self = Self(0);
    /// A language that has no code.
    pub const OTHER: Self = Self(7);
    /// What RingMQ's client and broker say in their requests.
    pub const RUST: Self = Self(12);

    /// The language of a code; one without a name is [`Language::OTHER`].
    pub const fn from_code(code: u8) -> Self {
        if (code as usize) < LANGUAGE_NAMES.len() { Self(code) } else { Self::OTHER }
    }

    /// The language of a name; an unknown name is [`Language::OTHER`].
    pub fn from_name(name: &str) -> Self {
        LANGUAGE_NAMES
            .iter()
            .position(|known| *known == name)
            .map_or(Self::OTHER, |index| Self(u8::try_from(index).expect("the names are fewer than 256")))
    }

    /// The code for the binary header.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The name for the JSON header.
    pub const fn name(self) -> &'static str {
        LANGUAGE_NAMES[self.0 as usize]
    }
}

/// A header of either direction, borrowed from the frame where it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Request code, or response code when [`Header::is_response`].
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// RocketMQ version ordinal of the sender.
    pub version: i32,
    /// The requester's number for this exchange; a response repeats it. Each side numbers its own requests.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`], [`FLAG_ONEWAY`].
    pub flag: i32,
    /// What the sender has to say, mostly about an error.
    pub remark: Option<Cow<'a, str>>,
    /// The named values of this code.
    pub ext: ExtFields<'a>,
}

impl<'a> Header<'a> {
    /// A request of RingMQ's own, without extension fields.
    pub const fn request(code: i32, opaque: i32) -> Self {
        Self {
            code,
            language: Language::RUST,
            version: VERSION_REPORTED,
            opaque,
            flag: 0,
            remark: None,
            ext: ExtFields::new(),
        }
    }

    /// The answer to a request with this `opaque`, without extension fields.
    pub const fn response(code: Code, opaque: i32) -> Self {
        Self {
            code: code.as_i32(),
            language: Language::JAVA,
            version: VERSION_REPORTED,
            opaque,
            flag: FLAG_RESPONSE,
            remark: None,
            ext: ExtFields::new(),
        }
    }

    /// The same header with a remark, of which at most [`REMOTING_REMARK_SIZE_BYTES_MAX`] are kept.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<Cow<'a, str>>) -> Self {
        let mut remark = remark.into();
        if remark.len() > REMOTING_REMARK_SIZE_BYTES_MAX {
            let kept = remark.floor_char_boundary(REMOTING_REMARK_SIZE_BYTES_MAX);
            remark = Cow::Owned(remark[..kept].to_owned());
        }
        self.remark = Some(remark);
        self
    }

    /// The same header with the fields of `typed` behind those it has.
    #[must_use]
    pub fn with_ext(mut self, typed: &impl ExtHeader<'a>) -> Self {
        typed.encode_into(&mut self.ext);
        self
    }

    /// The same header as a one-way request.
    #[must_use]
    pub const fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// The same header, independent of the bytes that it was decoded from.
    pub fn into_owned(self) -> Header<'static> {
        Header {
            remark: self.remark.map(|remark| Cow::Owned(remark.into_owned())),
            ext: self.ext.into_owned(),
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
        }
    }

    /// The code of a response. What is no response code at all counts as 1 SYSTEM_ERROR.
    pub fn response_code(&self) -> Code {
        u16::try_from(self.code).map_or(Code::SYSTEM_ERROR, Code::new)
    }

    /// Whether this answers a request.
    pub const fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether this must never be answered.
    pub const fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Decodes a frame's header bytes. What fails here cannot be answered (the opaque is not known): close the connection.
    pub fn decode(serialize_type: SerializeType, bytes: &'a [u8]) -> Result<Self, FrameError> {
        match serialize_type {
            SerializeType::Json => json_header::decode(bytes),
            SerializeType::Binary => binary_header::decode(bytes),
        }
    }

    /// Appends the header's bytes and says how they are written: as wanted, or as JSON when the binary header cannot carry
    /// a number of this one.
    pub fn encode(&self, wanted: SerializeType, out: &mut Vec<u8>) -> SerializeType {
        if wanted == SerializeType::Binary && binary_header::can_carry(self) {
            binary_header::encode(self, out);
            SerializeType::Binary
        } else {
            json_header::encode(self, out);
            SerializeType::Json
        }
    }
}
