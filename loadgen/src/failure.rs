//! Why a run cannot go on, in one sentence that says what to do; and with which code the process then ends.

use std::fmt;

/// The reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments or the machine do not allow the run: exit code 2.
    Unusable(String),
    /// The run began and failed: exit code 1.
    Failed(String),
}

impl Failure {
    /// An argument or a machine that cannot be used.
    pub fn unusable(reason: impl Into<String>) -> Self {
        Self::Unusable(reason.into())
    }

    /// A run that failed.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }

    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unusable(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}
