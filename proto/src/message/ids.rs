//! The two ids of a message that people see.
//!
//! ```text
//! offset id:  store host ip 4 or 16 | port 4 | PHYSICALOFFSET 8                              32 or 56 digits
//! unique id:  client's ip   4 or 16 | process 2 | class loader 4 | ms of the month 4 | counter 2   the same
//! ```
//!
//! Big endian, as upper-case hex. Both have the same shape: tools take an id for an offset id first.

use crate::error::DecodeError;
use crate::ids::LogPosition;
use crate::message::host::Host;
use std::fmt;
use std::net::IpAddr;

const IPV4_SIZE_BYTES: usize = 16;
const IPV6_SIZE_BYTES: usize = 28;

/// Where a message is: dialled by who looks it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetId {
    /// The broker's advertised address.
    pub store_host: Host,
    /// PHYSICALOFFSET.
    pub position: LogPosition,
}

impl OffsetId {
    /// Reads 32 or 56 hex digits, upper or lower case.
    ///
    /// # Errors
    /// When the length is another or a character is no hex digit.
    pub fn parse(text: &[u8]) -> Result<Self, DecodeError> {
        let (ip, rest) = parse_bytes("offset id", text)?;
        let port = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        let mut position = [0; 8];
        position.copy_from_slice(&rest[4..]);
        Ok(Self { store_host: Host::new(ip, port), position: LogPosition::new(u64::from_be_bytes(position)) })
    }

    /// Appends the digits to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let mut rest = [0; 12];
        rest[..4].copy_from_slice(&self.store_host.port().to_be_bytes());
        rest[4..].copy_from_slice(&self.position.get().to_be_bytes());
        append_bytes(self.store_host.ip(), &rest, out);
    }
}

impl fmt::Display for OffsetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::with_capacity(2 * IPV6_SIZE_BYTES);
        self.append_to(&mut digits);
        digits.iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

/// The id that a producer gives its message (property UNIQ_KEY): found by the key index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId {
    /// The client's address.
    pub ip: IpAddr,
    /// Its process, low 16 bits.
    pub process: u16,
    /// Its class loader's hash in Java; anything that tells two users of one process apart.
    pub loader: u32,
    /// Milliseconds since the month (of the client's time zone) began.
    pub ms_of_month: u32,
    /// Counts the ids of one process.
    pub counter: u16,
}

impl UniqueId {
    /// Reads 32 or 56 hex digits, upper or lower case.
    ///
    /// # Errors
    /// When the length is another or a character is no hex digit: then it is just some key.
    pub fn parse(text: &[u8]) -> Result<Self, DecodeError> {
        let (ip, rest) = parse_bytes("unique id", text)?;
        Ok(Self {
            ip,
            process: u16::from_be_bytes([rest[0], rest[1]]),
            loader: u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]),
            ms_of_month: u32::from_be_bytes([rest[6], rest[7], rest[8], rest[9]]),
            counter: u16::from_be_bytes([rest[10], rest[11]]),
        })
    }

    /// Appends the digits to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let mut rest = [0; 12];
        rest[..2].copy_from_slice(&self.process.to_be_bytes());
        rest[2..6].copy_from_slice(&self.loader.to_be_bytes());
        rest[6..10].copy_from_slice(&self.ms_of_month.to_be_bytes());
        rest[10..].copy_from_slice(&self.counter.to_be_bytes());
        append_bytes(self.ip, &rest, out);
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::with_capacity(2 * IPV6_SIZE_BYTES);
        self.append_to(&mut digits);
        digits.iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

/// The address and the 12 bytes after it.
fn parse_bytes(what: &'static str, text: &[u8]) -> Result<(IpAddr, [u8; 12]), DecodeError> {
    let mut bytes = [0; IPV6_SIZE_BYTES];
    if text.len() != 2 * IPV4_SIZE_BYTES && text.len() != 2 * IPV6_SIZE_BYTES {
        let (min, max) = (2 * IPV4_SIZE_BYTES as u64, 2 * IPV6_SIZE_BYTES as u64);
        return Err(DecodeError::OutOfRange { what, value: text.len() as u64, min, max });
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = parse_digit(what, digits[0])? << 4 | parse_digit(what, digits[1])?;
    }
    let ip_len = text.len() / 2 - 12;
    let mut rest = [0; 12];
    rest.copy_from_slice(&bytes[ip_len..ip_len + 12]);
    let ip = if ip_len == 4 {
        IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
    } else {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[..16]);
        IpAddr::from(octets)
    };
    Ok((ip, rest))
}

fn parse_digit(what: &'static str, digit: u8) -> Result<u8, DecodeError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(DecodeError::Unknown { what, value: digit.into() }),
    }
}

fn append_bytes(ip: IpAddr, rest: &[u8; 12], out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => append_hex(&ip.octets(), out),
        IpAddr::V6(ip) => append_hex(&ip.octets(), out),
    }
    append_hex(rest, out);
}

fn append_hex<const N: usize>(bytes: &[u8; N], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes.map(|byte| HEX_PAIRS[usize::from(byte)]).as_flattened());
}

const HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_id_is_host_and_position_in_upper_case_hex() {
        let id = OffsetId { store_host: Host::new([127, 0, 0, 1].into(), 10_911), position: LogPosition::new(0xbf) };
        assert_eq!(id.to_string(), "7F00000100002A9F00000000000000BF");
        assert_eq!(OffsetId::parse(b"7F00000100002A9F00000000000000BF"), Ok(id));
        assert_eq!(OffsetId::parse(b"7f00000100002a9f00000000000000bf"), Ok(id));
    }

    #[test]
    fn ipv6_ids_have_56_digits() {
        let store_host = Host::new("2001:db8::1".parse().unwrap(), 10_911);
        let id = OffsetId { store_host, position: LogPosition::new(1 << 40) };
        assert_eq!(id.to_string().len(), 56);
        assert_eq!(OffsetId::parse(id.to_string().as_bytes()), Ok(id));
        let unique = UniqueId { ip: store_host.ip(), process: 7, loader: 8, ms_of_month: 9, counter: 10 };
        assert_eq!(UniqueId::parse(unique.to_string().as_bytes()), Ok(unique));
    }

    #[test]
    fn unique_id_of_a_java_client_is_read() {
        let text = "C00002027F035FFD2B2766F6D5050000";
        let id = UniqueId::parse(text.as_bytes()).unwrap();
        assert_eq!(id.ip, IpAddr::from([192, 0, 2, 2]));
        assert_eq!((id.process, id.loader, id.ms_of_month, id.counter), (0x7f03, 0x5ffd_2b27, 0x66f6_d505, 0));
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn other_lengths_and_other_characters_are_refused() {
        assert!(OffsetId::parse(b"").is_err());
        assert!(OffsetId::parse(&[b'0'; 31]).is_err());
        assert!(OffsetId::parse(&[b'0'; 44]).is_err());
        assert!(OffsetId::parse(&[b'g'; 32]).is_err());
    }
}
