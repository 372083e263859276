//! The limits of TLS, each with what happens when it is reached.

/// Received bytes that a session could not yet use: the start of a record, or of a handshake message that spans records. When
/// reached: the connection is closed. The longest record of TLS 1.2 has 18 437 bytes, the longest handshake message that is
/// accepted 65 535 in as many records as the peer likes.
pub const KEPT_BYTES_MAX: usize = 96 << 10;

/// Time from the first byte of a handshake to its end, in ms. When reached: the connection is closed.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;

/// Handshakes that one server, or one shard of a broker, has under way. When reached: the connection that begins another
/// one is closed, and counted.
pub const HANDSHAKE_COUNT_MAX: usize = 1_024;

/// Sessions that a server remembers, so that a client that comes back need not shake hands in full. When reached: the oldest
/// are forgotten.
pub const SESSION_COUNT_MAX: usize = 4_096;

/// Bytes of a file with certificates or a key. When reached: the file is refused.
pub const FILE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// Bytes that one record carries at most; more plaintext is cut.
pub const RECORD_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(KEPT_BYTES_MAX > 65_535 + 18_437, "a long handshake message and one more record fit");
