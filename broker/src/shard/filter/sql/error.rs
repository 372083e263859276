//! What is wrong with an expression.

use super::limits::{DEPTH_MAX, EXPRESSION_SIZE_BYTES_MAX, PROPERTY_COUNT_MAX};

/// Why an expression was refused. The subscriber's fault; the sentence is for who wrote the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SqlError {
    /// No token begins with this character, or a string or comment does not end.
    #[error("{what} at character {at} of the expression")]
    Token {
        /// What was found.
        what: &'static str,
        /// Where, from 1.
        at: usize,
    },
    /// Another token was expected.
    #[error("expected {expected} at character {at} of the expression, not {found}")]
    Unexpected {
        /// What would have been right.
        expected: &'static str,
        /// Where, from 1.
        at: usize,
        /// What is there.
        found: String,
    },
    /// The tokens are right, what they say is not.
    #[error("{what}, at character {at} of the expression")]
    Meaning {
        /// What is wrong.
        what: &'static str,
        /// Where the operator is, from 1.
        at: usize,
    },
    /// See [`EXPRESSION_SIZE_BYTES_MAX`].
    #[error("the expression has {size} bytes, more than {EXPRESSION_SIZE_BYTES_MAX}")]
    TooLong {
        /// Its size.
        size: usize,
    },
    /// See [`DEPTH_MAX`].
    #[error("the expression is nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// See [`PROPERTY_COUNT_MAX`].
    #[error("the expression names more than {PROPERTY_COUNT_MAX} properties")]
    TooManyProperties,
}
