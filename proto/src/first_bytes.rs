//! Which protocol a new connection speaks, told by its first bytes.
//!
//! ```text
//! B1           RingMQ's native dialect
//! 00           RocketMQ's remoting (the high byte of a length below 16 MiB)
//! 16           TLS
//! "PROXY", 0D  the PROXY protocol, versions 1 and 2
//! other A..Z   HTTP
//! ```
//!
//! Only 'P' needs more than one byte (POST, PUT and PATCH begin with it, too): wait for [`FIRST_BYTES_SIZE_MAX`], at most
//! [`FIRST_BYTES_WAIT_MS`].

/// Bytes that decide in any case.
pub const FIRST_BYTES_SIZE_MAX: usize = 5;

/// How long a connection that has begun may take to send them, in ms. When reached: the connection is closed.
pub const FIRST_BYTES_WAIT_MS: u64 = 2_000;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// Not told yet: more bytes must arrive.
    Undecided,
    /// RingMQ's native dialect.
    Native,
    /// RocketMQ's remoting.
    Remoting,
    /// A TLS client hello.
    Tls,
    /// The PROXY protocol, version 1 (text) or 2 (binary).
    Proxy,
    /// A verb of HTTP, probably a person or a health check at the wrong port.
    Http,
    /// Nothing that is spoken here.
    Unknown,
}

impl FirstBytes {
    /// Judges the bytes that have arrived first.
    pub fn of(bytes: &[u8]) -> Self {
        const PROXY: &[u8; FIRST_BYTES_SIZE_MAX] = b"PROXY";
        match bytes.first() {
            None => Self::Undecided,
            Some(0xB1) => Self::Native,
            Some(0x00) => Self::Remoting,
            Some(0x16) => Self::Tls,
            Some(0x0D) => Self::Proxy,
            Some(b'P') if bytes.starts_with(PROXY) => Self::Proxy,
            Some(b'P') if PROXY.starts_with(bytes) => Self::Undecided,
            Some(b'A'..=b'Z') => Self::Http,
            Some(_) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_told_by_its_first_bytes() {
        for (bytes, expected) in [
            (&b""[..], FirstBytes::Undecided),
            (b"\xb1RMQ", FirstBytes::Native),
            (b"\0", FirstBytes::Remoting),
            (b"\x16\x03\x01", FirstBytes::Tls),
            (b"\r\n\r\n", FirstBytes::Proxy),
            (b"PROXY TCP4", FirstBytes::Proxy),
            (b"PROX", FirstBytes::Undecided),
            (b"P", FirstBytes::Undecided),
            (b"PO", FirstBytes::Http),
            (b"PROXI", FirstBytes::Http),
            (b"GET /", FirstBytes::Http),
            (b"get /", FirstBytes::Unknown),
            (b"\x01", FirstBytes::Unknown),
        ] {
            assert_eq!(FirstBytes::of(bytes), expected, "{bytes:?}");
        }
    }
}
