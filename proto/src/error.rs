//! What is wrong with bytes that came from somewhere else: from the network, or from the disk.

/// Why bytes could not be decoded. Says what was read and which number was wrong, in one sentence; whose fault that is
/// (a client's, a damaged disk's) is known to the caller alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are fewer bytes than the thing has, or says it has.
    #[error("{what}: needs {needed} bytes, {available} are there")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// A length, a count or another number lies outside of what is allowed.
    #[error("{what}: {value} is not within {min}..={max}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// Two numbers that must agree do not.
    #[error("{what}: {stated} was stated, {actual} was found")]
    Mismatch {
        /// Which numbers.
        what: &'static str,
        /// What the bytes say.
        stated: u64,
        /// What they are.
        actual: u64,
    },
    /// A value that has no meaning here: a magic, a kind, a reserved field that is not zero.
    #[error("{what}: {value:#x} means nothing here")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// What it holds.
        value: u64,
    },
    /// Text or structure that breaks its format.
    #[error("{what}")]
    Malformed {
        /// What is wrong, in one sentence.
        what: &'static str,
    },
}

impl DecodeError {
    /// `Err(Truncated)` unless `available >= needed`.
    pub(crate) fn unless_enough(what: &'static str, needed: usize, available: usize) -> Result<(), Self> {
        if available < needed { Err(Self::Truncated { what, needed, available }) } else { Ok(()) }
    }
}

/// The first `N` bytes of `bytes` as an array, and what follows.
pub(crate) fn split_array<'a, const N: usize>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(&'a [u8; N], &'a [u8]), DecodeError> {
    bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated { what, needed: N, available: bytes.len() })
}
