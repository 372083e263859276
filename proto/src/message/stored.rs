//! The stored message: RocketMQ's layout, one element of the body of a pull, and the payload of a message record.
//!
//! ```text
//!   0 total size u32      20 queue offset u64       48 born host 4 or 16, port u32 (sysFlag 0x10: 16)
//!   4 magic u32           28 physical offset u64    56 store time u64         (positions from here on: IPv4)
//!   8 body crc u32        36 sysFlag i32            64 store host 4 or 16, port u32 (sysFlag 0x20: 16)
//!  12 queue id i32        40 born time u64          72 reconsume times i32
//!  16 flag i32                                      76 prepared transaction offset i64
//!  84 body length u32, body; topic length u8 (magic V1) or u16 (V2), topic; properties length u16, properties
//! ```
//!
//! Big endian. `body crc` is CRC-32/IEEE of the body without its highest bit. A reader goes on by `total size`: what
//! follows the properties inside of it belongs to a newer version and is skipped. Offsets and times are i64 of which
//! RingMQ never writes a negative one; they are read as u64, bit by bit, so that nothing is lost of what others wrote.

use crate::error::{DecodeError, split_array};
use crate::ids::{LogPosition, QueueOffset};
use crate::message::host::Host;
use std::net::IpAddr;

/// Bits of `sysFlag`.
pub mod sys_flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// More than one tag.
    pub const MULTI_TAGS: i32 = 0x2;
    /// The two bits that say which part of a transaction a message is.
    pub const TRANSACTION_MASK: i32 = 0xc;
    /// A half message.
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    /// A message whose transaction was committed.
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    /// A message whose transaction was rolled back.
    pub const TRANSACTION_ROLLBACK: i32 = 0xc;
    /// The born host takes 16 bytes of address.
    pub const BORN_HOST_IPV6: i32 = 0x10;
    /// The store host takes 16 bytes of address.
    pub const STORE_HOST_IPV6: i32 = 0x20;
    /// Which compression: 1 LZ4, 2 ZSTD, 3 ZLIB, shifted left by 8.
    pub const COMPRESSION_TYPE_MASK: i32 = 0x700;
    /// What a producer may say about a message that is not part of a transaction.
    pub const PRODUCER_BITS: i32 = COMPRESSED | MULTI_TAGS | COMPRESSION_TYPE_MASK;
    /// What follows from the hosts and is never taken from a client.
    pub const HOST_BITS: i32 = BORN_HOST_IPV6 | STORE_HOST_IPV6;
}

/// The magic of a message whose topic has at most 127 bytes.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// The magic of a message whose topic's length takes two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;

/// The least size: no body, no topic, no properties, IPv4 hosts.
pub const STORED_SIZE_BYTES_MIN: usize = 91;

const IPV6_EXTRA_SIZE_BYTES: usize = 12;
const TOPIC_V1_SIZE_BYTES_MAX: usize = i8::MAX as usize;
const I16_MAX: usize = i16::MAX as usize;

/// All that a stored message says; what [`Self::encode`] writes and [`StoredMessage::decode`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessageParts<'a> {
    /// Number of the message queue within its topic.
    pub queue_id: i32,
    /// The user's own flag, opaque.
    pub flag: i32,
    /// Dense ordinal in the queue.
    pub queue_offset: QueueOffset,
    /// PHYSICALOFFSET: position of the record, or of the entry in a batch record.
    pub position: LogPosition,
    /// See [`sys_flag`]. The two host bits are set from the hosts when encoded.
    pub sys_flag: i32,
    /// When the client made it, by the client's clock, in ms.
    pub born_time_ms: u64,
    /// Where it came from.
    pub born_host: Host,
    /// When it was appended, by the broker's clock, in ms.
    pub store_time_ms: u64,
    /// Where it is: the broker's advertised address.
    pub store_host: Host,
    /// How often its consumption failed.
    pub reconsume_times: i32,
    /// Position of the half message that this one commits; else 0.
    pub prepared_transaction_position: i64,
    /// The body, as it came (maybe compressed).
    pub body: &'a [u8],
    /// The topic's name.
    pub topic: &'a [u8],
    /// The properties string ([`crate::message::Properties`]), at most 32 767 bytes.
    pub properties: &'a [u8],
}

impl<'a> StoredMessageParts<'a> {
    /// Bytes that [`Self::encode`] writes.
    #[inline]
    pub const fn encoded_len(&self) -> usize {
        stored_message_len(&self.born_host, &self.store_host, self.body.len(), self.topic.len(), self.properties.len())
    }

    /// Writes the message into `out`, which has exactly [`Self::encoded_len`] bytes, and gives the CRC of the body.
    ///
    /// Panics when a part is longer than its length field can say (topic and properties 32 767 bytes, the whole 2 GiB):
    /// the limits that a client may run into are far below and checked where its bytes come in.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        assert!(out.len() == self.encoded_len(), "a stored message is encoded into exactly its own size");
        assert!(self.properties.len() <= I16_MAX && self.topic.len() <= I16_MAX, "topic or properties too long");
        let total_size = i32::try_from(out.len()).expect("a stored message is shorter than 2 GiB").cast_unsigned();
        let body_crc = crc32fast::hash(self.body) & 0x7fff_ffff;
        let sys_flag = self.sys_flag & !sys_flag::HOST_BITS
            | if self.born_host.is_ipv6() { sys_flag::BORN_HOST_IPV6 } else { 0 }
            | if self.store_host.is_ipv6() { sys_flag::STORE_HOST_IPV6 } else { 0 };
        let magic = if self.topic.len() > TOPIC_V1_SIZE_BYTES_MAX { MAGIC_V2 } else { MAGIC_V1 };

        let (head, rest) = out.split_first_chunk_mut::<48>().expect("encoded_len covers the head");
        head[0..4].copy_from_slice(&total_size.to_be_bytes());
        head[4..8].copy_from_slice(&magic.to_be_bytes());
        head[8..12].copy_from_slice(&body_crc.to_be_bytes());
        head[12..16].copy_from_slice(&self.queue_id.to_be_bytes());
        head[16..20].copy_from_slice(&self.flag.to_be_bytes());
        head[20..28].copy_from_slice(&self.queue_offset.get().to_be_bytes());
        head[28..36].copy_from_slice(&self.position.get().to_be_bytes());
        head[36..40].copy_from_slice(&sys_flag.to_be_bytes());
        head[40..48].copy_from_slice(&self.born_time_ms.to_be_bytes());
        let rest = put_host(rest, &self.born_host);
        let rest = put(rest, self.store_time_ms.to_be_bytes());
        let rest = put_host(rest, &self.store_host);
        let rest = put(rest, self.reconsume_times.to_be_bytes());
        let rest = put(rest, self.prepared_transaction_position.to_be_bytes());
        self.encode_tail(rest);
        body_crc
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "encode has checked these lengths")]
    fn encode_tail(&self, out: &mut [u8]) {
        let rest = put(out, (self.body.len() as u32).to_be_bytes());
        let (body, rest) = rest.split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        let rest = if self.topic.len() > TOPIC_V1_SIZE_BYTES_MAX {
            put(rest, (self.topic.len() as u16).to_be_bytes())
        } else {
            put(rest, [self.topic.len() as u8])
        };
        let (topic, rest) = rest.split_at_mut(self.topic.len());
        topic.copy_from_slice(self.topic);
        let rest = put(rest, (self.properties.len() as u16).to_be_bytes());
        rest.copy_from_slice(self.properties);
    }

    /// The message in a buffer of its own. For tests and rare paths: the log encodes in place.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_len()];
        self.encode(&mut bytes);
        bytes
    }
}

/// Bytes of a stored message with parts of these lengths.
#[inline]
pub const fn stored_message_len(
    born_host: &Host,
    store_host: &Host,
    body_len: usize,
    topic_len: usize,
    properties_len: usize,
) -> usize {
    let ipv6_count = born_host.is_ipv6() as usize + store_host.is_ipv6() as usize;
    let topic_length_extra = (topic_len > TOPIC_V1_SIZE_BYTES_MAX) as usize;
    STORED_SIZE_BYTES_MIN
        + ipv6_count * IPV6_EXTRA_SIZE_BYTES
        + topic_length_extra
        + body_len
        + topic_len
        + properties_len
}

#[inline]
fn put<const N: usize>(out: &mut [u8], bytes: [u8; N]) -> &mut [u8] {
    let (head, rest) = out.split_first_chunk_mut::<N>().expect("encoded_len covers every field");
    *head = bytes;
    rest
}

#[inline]
fn put_host<'o>(out: &'o mut [u8], host: &Host) -> &'o mut [u8] {
    let rest = match host.ip() {
        IpAddr::V4(ip) => put(out, ip.octets()),
        IpAddr::V6(ip) => put(out, ip.octets()),
    };
    put(rest, host.port().to_be_bytes())
}

/// A stored message, borrowed from the bytes that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    /// What it says.
    pub parts: StoredMessageParts<'a>,
    /// The CRC of the body as stored; see [`Self::is_body_whole`].
    pub body_crc: u32,
    /// TOTALSIZE: how far it is to the next one.
    pub total_size: usize,
}

impl<'a> StoredMessage<'a> {
    /// Reads the message at the start of `bytes`; the next one begins after [`Self::total_size`] bytes.
    ///
    /// # Errors
    /// When the magic is none of a message's, a length is negative, or the parts do not fit into the total size, or
    /// that not into `bytes`. The body's CRC is not looked at: see [`Self::is_body_whole`].
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let total_size = read_total_size(bytes)?;
        let mut fields = Fields { bytes: &bytes[..total_size] };
        let head = fields.array::<48>()?;
        let magic = u32_at(head, 4);
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(DecodeError::Unknown { what: "stored message's magic", value: magic.into() });
        }
        let sys_flag = u32_at(head, 36).cast_signed();
        let middle = fields.middle(sys_flag)?;
        let body = fields.take("stored message's body", middle.body_len)?;
        let topic_len = fields.topic_len(magic)?;
        let topic = fields.take("stored message's topic", topic_len)?;
        let properties_len = usize::from(u16::from_be_bytes(*fields.array()?));
        check_length(properties_len, I16_MAX)?;
        let properties = fields.take("stored message's properties", properties_len)?;
        let parts = StoredMessageParts {
            queue_id: u32_at(head, 12).cast_signed(),
            flag: u32_at(head, 16).cast_signed(),
            queue_offset: QueueOffset::new(u64_at(head, 20)),
            position: LogPosition::new(u64_at(head, 28)),
            sys_flag,
            born_time_ms: u64_at(head, 40),
            born_host: middle.born_host,
            store_time_ms: middle.store_time_ms,
            store_host: middle.store_host,
            reconsume_times: middle.reconsume_times,
            prepared_transaction_position: middle.prepared_transaction_position,
            body,
            topic,
            properties,
        };
        Ok(Self { parts, body_crc: u32_at(head, 8), total_size })
    }

    /// Whether the body has the CRC that is stored with it.
    pub fn is_body_whole(&self) -> bool {
        crc32fast::hash(self.parts.body) & 0x7fff_ffff == self.body_crc
    }
}

#[inline]
fn read_total_size(bytes: &[u8]) -> Result<usize, DecodeError> {
    let (stated, _) = split_array::<4>("stored message's total size", bytes)?;
    let stated = u32::from_be_bytes(*stated);
    let total_size = stated as usize;
    if total_size < STORED_SIZE_BYTES_MIN || stated > i32::MAX.cast_unsigned() {
        let (min, max) = (STORED_SIZE_BYTES_MIN as u64, i32::MAX.cast_unsigned().into());
        return Err(DecodeError::OutOfRange { what: "stored message's total size", value: stated.into(), min, max });
    }
    DecodeError::unless_enough("stored message", total_size, bytes.len())?;
    Ok(total_size)
}

#[inline]
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

/// A length is signed on the wire: what looks longer than its type's maximum is negative.
#[inline]
fn check_length(length: usize, max: usize) -> Result<(), DecodeError> {
    if length > max {
        let what = "length of a stored message's topic or properties";
        return Err(DecodeError::OutOfRange { what, value: length as u64, min: 0, max: max as u64 });
    }
    Ok(())
}

/// The fields from the born host to the body's length, whose places depend on the hosts.
struct Middle {
    born_host: Host,
    store_time_ms: u64,
    store_host: Host,
    reconsume_times: i32,
    prepared_transaction_position: i64,
    body_len: usize,
}

/// Takes field after field off the front of a message.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) = split_array::<N>("stored message's fields", self.bytes)?;
        self.bytes = rest;
        Ok(head)
    }

    /// All fixed when both hosts are IPv4, as nearly always: one check for all of them.
    #[inline]
    fn middle(&mut self, sys_flag: i32) -> Result<Middle, DecodeError> {
        if sys_flag & sys_flag::HOST_BITS != 0 {
            return self.middle_with_ipv6(sys_flag);
        }
        let middle = self.array::<40>()?;
        let ipv4 = |at: usize| IpAddr::from([middle[at], middle[at + 1], middle[at + 2], middle[at + 3]]);
        Ok(Middle {
            born_host: Host::new(ipv4(0), u32_at(middle, 4)),
            store_time_ms: u64_at(middle, 8),
            store_host: Host::new(ipv4(16), u32_at(middle, 20)),
            reconsume_times: u32_at(middle, 24).cast_signed(),
            prepared_transaction_position: u64_at(middle, 28).cast_signed(),
            body_len: u32_at(middle, 36) as usize,
        })
    }

    #[cold]
    fn middle_with_ipv6(&mut self, sys_flag: i32) -> Result<Middle, DecodeError> {
        Ok(Middle {
            born_host: self.host(sys_flag & sys_flag::BORN_HOST_IPV6 != 0)?,
            store_time_ms: u64::from_be_bytes(*self.array()?),
            store_host: self.host(sys_flag & sys_flag::STORE_HOST_IPV6 != 0)?,
            reconsume_times: i32::from_be_bytes(*self.array()?),
            prepared_transaction_position: i64::from_be_bytes(*self.array()?),
            body_len: u32::from_be_bytes(*self.array()?) as usize,
        })
    }

    fn host(&mut self, ipv6: bool) -> Result<Host, DecodeError> {
        let ip = if ipv6 { IpAddr::from(*self.array::<16>()?) } else { IpAddr::from(*self.array::<4>()?) };
        Ok(Host::new(ip, u32::from_be_bytes(*self.array()?)))
    }

    #[inline]
    fn topic_len(&mut self, magic: u32) -> Result<usize, DecodeError> {
        if magic == MAGIC_V2 {
            let length = usize::from(u16::from_be_bytes(*self.array()?));
            check_length(length, I16_MAX)?;
            return Ok(length);
        }
        let length = usize::from(self.array::<1>()?[0]);
        check_length(length, TOPIC_V1_SIZE_BYTES_MAX)?;
        Ok(length)
    }

    #[inline]
    fn take(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let available = self.bytes.len();
        let (head, rest) =
            self.bytes.split_at_checked(length).ok_or(DecodeError::Truncated { what, needed: length, available })?;
        self.bytes = rest;
        Ok(head)
    }
}

/// The messages that follow each other in `bytes`, as in the body of a pull; ends after the first error.
pub fn iter_stored(bytes: &[u8]) -> StoredMessages<'_> {
    StoredMessages { rest: bytes }
}

/// See [`iter_stored`].
#[derive(Clone, Debug)]
pub struct StoredMessages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for StoredMessages<'a> {
    type Item = Result<StoredMessage<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = StoredMessage::decode(self.rest);
        self.rest = result.as_ref().map_or(&[], |message| &self.rest[message.total_size..]);
        Some(result)
    }
}

impl std::iter::FusedIterator for StoredMessages<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> StoredMessageParts<'static> {
        StoredMessageParts {
            queue_id: 3,
            flag: -2,
            queue_offset: QueueOffset::new(77),
            position: LogPosition::new(1 << 40),
            sys_flag: sys_flag::COMPRESSED,
            born_time_ms: 1_795_219_784_965,
            born_host: Host::new([127, 0, 0, 1].into(), 48_026),
            store_time_ms: 1_795_219_784_985,
            store_host: Host::new([127, 0, 0, 1].into(), 10_911),
            reconsume_times: 1,
            prepared_transaction_position: 2_633,
            body: b"0123456789",
            topic: b"TopicT",
            properties: b"TAGS\x01TagA",
        }
    }

    #[test]
    fn fields_lie_where_rocketmq_puts_them() {
        let bytes = parts().to_vec();
        assert_eq!(bytes.len(), 91 + 10 + 6 + 9);
        assert_eq!(bytes[0..4], (116u32).to_be_bytes());
        assert_eq!(bytes[4..8], [0xda, 0xa3, 0x20, 0xa7]);
        assert_eq!(bytes[8..12], (crc32fast::hash(b"0123456789") & 0x7fff_ffff).to_be_bytes());
        assert_eq!(bytes[20..28], 77u64.to_be_bytes());
        assert_eq!(bytes[28..36], (1u64 << 40).to_be_bytes());
        assert_eq!(bytes[48..56], [127, 0, 0, 1, 0, 0, 0xbb, 0x9a]);
        assert_eq!(bytes[64..72], [127, 0, 0, 1, 0, 0, 0x2a, 0x9f]);
        assert_eq!(bytes[84..88], [0, 0, 0, 10]);
        assert_eq!(bytes[98], 6);
    }

    #[test]
    fn host_bits_follow_the_hosts_and_not_the_caller() {
        let v6 = Host::new("2001:db8::1".parse().unwrap(), 1);
        for (born_host, store_host, bits) in [
            (parts().born_host, parts().store_host, 0),
            (v6, parts().store_host, 0x10),
            (parts().born_host, v6, 0x20),
            (v6, v6, 0x30),
        ] {
            for claimed in [0, 0x30] {
                let sent = StoredMessageParts { born_host, store_host, sys_flag: 1 | claimed, ..parts() };
                let bytes = sent.to_vec();
                let read = StoredMessage::decode(&bytes).unwrap();
                assert_eq!(read.parts, StoredMessageParts { sys_flag: 1 | bits, ..sent });
                assert!(read.is_body_whole());
            }
        }
    }

    #[test]
    fn a_topic_over_127_bytes_takes_the_second_magic() {
        for (length, magic) in [(127, MAGIC_V1), (128, MAGIC_V2), (255, MAGIC_V2)] {
            let topic = vec![b't'; length];
            let bytes = StoredMessageParts { topic: &topic, ..parts() }.to_vec();
            assert_eq!(bytes[4..8], magic.to_be_bytes());
            assert_eq!(StoredMessage::decode(&bytes).unwrap().parts.topic, topic);
        }
    }

    #[test]
    fn a_reader_goes_on_by_total_size() {
        let mut bytes = parts().to_vec();
        let total_size = bytes.len() + 3;
        bytes.extend_from_slice(b"new");
        bytes[0..4].copy_from_slice(&u32::try_from(total_size).unwrap().to_be_bytes());
        bytes.extend_from_slice(&parts().to_vec());
        let read: Vec<_> = iter_stored(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].parts, read[1].parts);
        assert_eq!(read[0].total_size, total_size);
    }

    #[test]
    fn a_total_size_that_no_message_has_is_told_as_such() {
        for total_size in [0u32, 90, 0x8000_0000, u32::MAX] {
            let mut bytes = parts().to_vec();
            bytes[..4].copy_from_slice(&total_size.to_be_bytes());
            assert!(matches!(StoredMessage::decode(&bytes), Err(DecodeError::OutOfRange { .. })), "{total_size}");
        }
    }

    #[test]
    fn negative_lengths_are_refused() {
        // Long enough that the topic, were its length taken for 255, would fit.
        let bytes = StoredMessageParts { topic: &[b't'; 127], properties: &[0; 300], ..parts() }.to_vec();
        for (at, what) in [(88 + 10, "topic"), (88 + 10 + 128, "properties"), (84, "body")] {
            let mut negative = bytes.clone();
            negative[at] |= 0x80;
            assert!(StoredMessage::decode(&negative).is_err(), "{what}");
        }
    }

    #[test]
    fn end_of_file_blank_is_not_a_message() {
        let mut bytes = parts().to_vec();
        bytes[4..8].copy_from_slice(&0xCBD4_3194u32.to_be_bytes());
        assert!(matches!(StoredMessage::decode(&bytes), Err(DecodeError::Unknown { value: 0xCBD4_3194, .. })));
    }
}
