//! SQL92 filters: a condition on the properties of a message, read once a subscription and evaluated at each message.
//!
//! What an expression means is RocketMQ's, down to its oddities; [`parser`] and [`evaluate`] say where. Two differ on
//! purpose: text behind a whole expression is refused (RocketMQ leaves it out silently), and a whole number has 64 bits
//! wherever it stands (RocketMQ fails on a larger property beside a literal of 32 bits). Nothing here knows a broker.

mod error;
mod evaluate;
mod lexer;
mod limits;
mod parser;
mod program;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use error::SqlError;
use program::Program;

/// An expression that was read.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    expression: Box<str>,
    program: Program,
}

impl Sql {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, with a sentence for who wrote it.
    pub(crate) fn parse(expression: &str) -> Result<Self, SqlError> {
        Ok(Self { program: parser::parse(expression)?, expression: expression.into() })
    }

    /// Whether a message with these properties matches.
    pub(crate) fn matches(&self, properties: &[u8]) -> bool {
        evaluate::matches(&self.program, properties)
    }
}

/// Two filters are the same when they were written alike.
impl PartialEq for Sql {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

impl Eq for Sql {}
