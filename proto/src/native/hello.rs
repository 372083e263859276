//! HELLO: the first frame of each side, which states its limits.

use crate::error::DecodeError;
use crate::limits::LONG_NAME_SIZE_BYTES_MAX;
use crate::native::generated::wire;
use crate::native::table::{Table, append, root, text};

/// What one side is and can take. A limit of 0 is not stated: the defaults of [`crate::limits`] hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The least version of the protocol that it speaks.
    pub version_min: u16,
    /// The highest one.
    pub version_max: u16,
    /// Name and version of the software, for people.
    pub software: &'a str,
    /// The broker's name, of who answers.
    pub broker_name: &'a str,
    /// Bytes of a frame that it takes.
    pub frame_size_bytes_max: u32,
    /// Messages of a SEND that it takes.
    pub frame_message_count_max: u32,
    /// Bytes of requests that may be unanswered on this connection.
    pub in_flight_bytes_max: u32,
    /// Queues that may be open on this connection.
    pub handle_count_max: u32,
    /// Bits of what it can do beyond this version; unknown ones mean nothing.
    pub features: u64,
}

impl<'a> Table<'a> for Hello<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let hello = root::<wire::Hello<'_>>(body)?;
        Ok(Self {
            version_min: hello.version_min(),
            version_max: hello.version_max(),
            software: text("hello's software", hello.software(), LONG_NAME_SIZE_BYTES_MAX)?,
            broker_name: text("hello's broker name", hello.broker_name(), LONG_NAME_SIZE_BYTES_MAX)?,
            frame_size_bytes_max: hello.frame_size_bytes_max(),
            frame_message_count_max: hello.frame_message_count_max(),
            in_flight_bytes_max: hello.in_flight_bytes_max(),
            handle_count_max: hello.handle_count_max(),
            features: hello.features(),
        })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, |builder| {
            let software = Some(builder.create_string(self.software));
            let broker_name = Some(builder.create_string(self.broker_name));
            let arguments = wire::HelloArgs {
                version_min: self.version_min,
                version_max: self.version_max,
                software,
                broker_name,
                frame_size_bytes_max: self.frame_size_bytes_max,
                frame_message_count_max: self.frame_message_count_max,
                in_flight_bytes_max: self.in_flight_bytes_max,
                handle_count_max: self.handle_count_max,
                features: self.features,
            };
            let table = wire::Hello::create(builder, &arguments);
            builder.finish_minimal(table);
        });
    }
}
