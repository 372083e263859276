//! Bytes on their way to the socket, of either dialect: requests are appended, the socket takes them from the front.

/// The output of a connection.
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// The first so many bytes are with the socket already.
    sent: usize,
}

impl Output {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0 }
    }

    /// Where requests are appended, and nothing else is done.
    #[inline]
    pub(crate) const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes to send.
    #[inline]
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The first `count` bytes to send have been sent.
    ///
    /// Panics when there are fewer.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.sent, "{count} bytes of {} sent", self.bytes.len() - self.sent);
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > self.bytes.len() / 2 {
            // A socket that takes a little at a time must not make the buffer grow behind it.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Moves all bytes to send into `out`, which is empty; its memory becomes the next output.
    ///
    /// Panics when `out` is not empty.
    pub(crate) fn swap(&mut self, out: &mut Vec<u8>) {
        assert!(out.is_empty(), "{} bytes would be sent behind later ones", out.len());
        self.bytes.drain(..self.sent);
        self.sent = 0;
        std::mem::swap(&mut self.bytes, out);
    }
}
