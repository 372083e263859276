//! What can be wrong with TLS, each in one sentence.

use std::io;
use std::path::PathBuf;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Settings that are not understood or do not fit together.
    #[error("{0}")]
    Settings(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer, or what it says, is not accepted.
    #[error("{0}")]
    Session(#[from] rustls::Error),
    /// The peer sends what never becomes whole.
    #[error("a record or a handshake message is longer than {0} bytes")]
    TooLong(usize),
    /// As many handshakes are under way as there may be.
    #[error("{0} handshakes are under way, which is all that there may be")]
    TooMany(usize),
    /// A bug, in ours or in what is below.
    #[error("what was received led to a broken invariant")]
    Panicked,
    /// Plaintext before the handshake's end.
    #[error("the handshake is not complete")]
    NotEstablished,
}
