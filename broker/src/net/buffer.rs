//! The one buffer that all connections of an executor are received into.
//!
//! ```text
//! [ headroom: what TLS has kept of a connection, right-aligned | what is received now ]
//! ```
//! A connection of TLS finds the start of a record that was not whole right before its rest, and no byte is moved for the others.

use ringmq_tls::limits::KEPT_BYTES_MAX;

use super::plane::RECEIVE_BYTES_MAX;

/// See the module.
pub(super) struct ReceiveBuffer {
    bytes: Box<[u8]>,
}

impl ReceiveBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; KEPT_BYTES_MAX + RECEIVE_BYTES_MAX].into_boxed_slice() }
    }

    /// Where to receive.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[KEPT_BYTES_MAX..]
    }

    /// What was received.
    pub(super) fn received(&self, count: usize) -> &[u8] {
        &self.bytes[KEPT_BYTES_MAX..][..count]
    }

    /// The same behind what was kept.
    pub(super) fn behind(&mut self, kept: &[u8], count: usize) -> &mut [u8] {
        let start = KEPT_BYTES_MAX - kept.len();
        self.bytes[start..KEPT_BYTES_MAX].copy_from_slice(kept);
        &mut self.bytes[start..KEPT_BYTES_MAX + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_stands_right_before_what_was_received() {
        let mut buffer = ReceiveBuffer::new();
        buffer.space()[..5].copy_from_slice(b"world");
        assert_eq!(buffer.received(5), b"world");
        assert_eq!(buffer.behind(b"hello ", 5), b"hello world");
        assert_eq!(buffer.behind(b"", 5), b"world");
        assert_eq!(buffer.space().len(), RECEIVE_BYTES_MAX);
    }
}
