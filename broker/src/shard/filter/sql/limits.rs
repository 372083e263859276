//! The limits of an SQL92 expression, each with what happens when it is reached: the expression is refused, code 23.

/// Bytes of an expression.
pub(crate) const EXPRESSION_SIZE_BYTES_MAX: usize = 16 << 10;

/// Levels of nesting: parentheses, signs, NOT, and comparisons of comparisons. Joining by AND and OR adds none.
pub(crate) const DEPTH_MAX: usize = 48;

/// Different properties that an expression names.
pub(crate) const PROPERTY_COUNT_MAX: usize = 32;
