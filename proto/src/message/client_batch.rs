//! The body of RocketMQ's SEND_BATCH_MESSAGE (320): messages of one queue as a remoting client packs them.
//!
//! ```text
//! total size u32 | magic u32 (0) | body crc u32 (0) | flag i32 | body length u32, body | properties length u16, properties
//! ```
//!
//! Big endian, one after the other; magic and CRC are not looked at, as brokers never do. All else of the messages is in
//! the request's header.

use crate::error::{DecodeError, split_array};
use crate::limits::{BODY_SIZE_BYTES_MAX, PROPERTIES_SIZE_BYTES_MAX};

/// Bytes of a message without body and properties.
pub const CLIENT_BATCH_MESSAGE_SIZE_BYTES_MIN: usize = 22;

/// One message of such a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientBatchMessage<'a> {
    /// The user's own flag.
    pub flag: i32,
    /// Its body, never compressed.
    pub body: &'a [u8],
    /// Its properties string.
    pub properties: &'a [u8],
}

impl<'a> ClientBatchMessage<'a> {
    /// Reads the message at the start of `bytes`, and gives what follows it.
    ///
    /// # Errors
    /// When its lengths do not fit into each other or into `bytes` (what is left over inside the total size is skipped),
    /// or are over the limits of a message (`OutOfRange`).
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (total_size, _) = split_array::<4>("message of a batch", bytes)?;
        let total_size = u32::from_be_bytes(*total_size) as usize;
        DecodeError::unless_enough("message of a batch", total_size, bytes.len())?;
        let (message, rest) = bytes.split_at(total_size);
        let (head, message) = split_array::<20>("message of a batch", message)?;
        let flag = i32::from_be_bytes([head[12], head[13], head[14], head[15]]);
        let body_len = u32::from_be_bytes([head[16], head[17], head[18], head[19]]) as usize;
        let (body, message) = take("body of a batch's message", message, body_len, BODY_SIZE_BYTES_MAX)?;
        let (properties_len, message) = split_array::<2>("properties of a batch's message", message)?;
        let properties_len = u16::from_be_bytes(*properties_len).into();
        let (properties, _) =
            take("properties of a batch's message", message, properties_len, PROPERTIES_SIZE_BYTES_MAX)?;
        Ok((Self { flag, body, properties }, rest))
    }

    /// Appends the message to the body of a request.
    ///
    /// Panics when body or properties are over their limits.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        assert!(self.body.len() <= BODY_SIZE_BYTES_MAX && self.properties.len() <= PROPERTIES_SIZE_BYTES_MAX);
        let length = |length: usize| u32::try_from(length).expect("checked above");
        let total_size = CLIENT_BATCH_MESSAGE_SIZE_BYTES_MIN + self.body.len() + self.properties.len();
        out.extend_from_slice(&length(total_size).to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&length(self.body.len()).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&length(self.properties.len()).to_be_bytes()[2..]);
        out.extend_from_slice(self.properties);
    }
}

fn take<'a>(
    what: &'static str,
    bytes: &'a [u8],
    length: usize,
    max: usize,
) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    if length > max {
        return Err(DecodeError::OutOfRange { what, value: length as u64, min: 0, max: max as u64 });
    }
    let available = bytes.len();
    bytes.split_at_checked(length).ok_or(DecodeError::Truncated { what, needed: length, available })
}

/// The messages of a batch's body; ends after the first error.
pub fn iter_client_batch(bytes: &[u8]) -> ClientBatchMessages<'_> {
    ClientBatchMessages { rest: bytes }
}

/// See [`iter_client_batch`].
#[derive(Clone, Debug)]
pub struct ClientBatchMessages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ClientBatchMessages<'a> {
    type Item = Result<ClientBatchMessage<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = ClientBatchMessage::decode(self.rest);
        self.rest = result.as_ref().map_or(&[], |(_, rest)| rest);
        Some(result.map(|(message, _)| message))
    }
}

impl std::iter::FusedIterator for ClientBatchMessages<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> Vec<u8> {
        let mut out = Vec::new();
        ClientBatchMessage { flag: 7, body: b"b0", properties: b"KEYS\x01BK0" }.append_to(&mut out);
        ClientBatchMessage { flag: -1, body: b"", properties: b"" }.append_to(&mut out);
        out
    }

    #[test]
    fn messages_come_back_in_order() {
        let bytes = encoded();
        assert_eq!(bytes[..24], [0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, b'b', b'0', 0, 8]);
        let messages: Vec<_> = iter_client_batch(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(messages[0], ClientBatchMessage { flag: 7, body: b"b0", properties: b"KEYS\x01BK0" });
        assert_eq!(messages[1], ClientBatchMessage { flag: -1, body: b"", properties: b"" });
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn a_size_that_is_too_small_ends_the_iteration_with_an_error() {
        for total_size in [0u8, 4, 19, 21, 31, 255] {
            let mut bytes = encoded();
            bytes[3] = total_size;
            let results: Vec<_> = iter_client_batch(&bytes).collect();
            assert!(results.last().unwrap().is_err(), "total size {total_size}");
        }
    }

    #[test]
    fn limits_are_told_as_out_of_range() {
        let mut bytes = encoded();
        bytes[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(ClientBatchMessage::decode(&bytes), Err(DecodeError::OutOfRange { .. })));
        let mut bytes = encoded();
        bytes[22..24].copy_from_slice(&32_768u16.to_be_bytes());
        assert!(matches!(ClientBatchMessage::decode(&bytes), Err(DecodeError::OutOfRange { .. })));
    }
}
