//! The address of a host as messages carry it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address and a port. RocketMQ's port is an i32 of which any value may turn up in stored bytes, so it is a u32 here.
///
/// An IPv4 address that is written as an IPv6 one (`::ffff:a.b.c.d`) is taken for the IPv4 address that it is: one host
/// has one form, whichever socket it came by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    ip: IpAddr,
    port: u32,
}

/// Bytes of a host in a batch record: ip (16, IPv4-mapped for IPv4), port (4), zero (4).
pub(crate) const HOST_SIZE_BYTES: usize = 24;

impl Host {
    /// 0.0.0.0:0, for messages that no network brought.
    pub const UNSPECIFIED: Self = Self { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };

    /// The host `ip` with `port`.
    pub const fn new(ip: IpAddr, port: u32) -> Self {
        Self { ip: ip.to_canonical(), port }
    }

    /// Its address, never an IPv4 address in IPv6 form.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Its port; more than 65 535 only in bytes that somebody made up.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Whether it takes 16 bytes of address in a stored message.
    pub const fn is_ipv6(&self) -> bool {
        matches!(self.ip, IpAddr::V6(_))
    }

    /// What a socket can be connected to, when the port is one.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        u16::try_from(self.port).ok().map(|port| SocketAddr::new(self.ip, port))
    }

    /// The 24 bytes of a host in a batch record, little endian.
    pub(crate) fn encode_24(&self) -> [u8; HOST_SIZE_BYTES] {
        let mapped = match self.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; HOST_SIZE_BYTES];
        bytes[..16].copy_from_slice(&mapped.octets());
        bytes[16..20].copy_from_slice(&self.port.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::encode_24`] wrote. The last four bytes are not looked at.
    pub(crate) fn decode_24(bytes: &[u8; HOST_SIZE_BYTES]) -> Self {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[..16]);
        let port = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        Self::new(IpAddr::V6(Ipv6Addr::from(octets)), port)
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port().into())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_form() {
        let v4: Host = "10.1.2.3:10911".parse::<SocketAddr>().unwrap().into();
        let mapped: Host = "[::ffff:10.1.2.3]:10911".parse::<SocketAddr>().unwrap().into();
        assert_eq!(v4, mapped);
        assert!(!mapped.is_ipv6());
        assert_eq!(v4.to_string(), "10.1.2.3:10911");
    }

    #[test]
    fn batch_form_round_trips_both_families() {
        for text in ["10.1.2.3:10911", "[2001:db8::7]:1", "[::]:0", "0.0.0.0:65535"] {
            let host: Host = text.parse::<SocketAddr>().unwrap().into();
            assert_eq!(Host::decode_24(&host.encode_24()), host);
            assert_eq!(host.to_string(), text);
        }
        assert_eq!(
            Host::new([127, 0, 0, 1].into(), 0x0102_0304).encode_24(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1, 4, 3, 2, 1, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_port_beyond_16_bits_is_no_socket_address() {
        assert_eq!(Host::new([127, 0, 0, 1].into(), 65_536).socket_addr(), None);
    }
}
