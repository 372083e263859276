//! An expression as a compact program: nodes in one list, each behind those that it refers to, and the names of the
//! properties that are looked up once a message.

/// A node of the program, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u16);

/// A property, by its place among the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PropertyId(pub(super) u8);

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Anywhere.
    Contains,
    /// At the beginning.
    StartsWith,
    /// At the end.
    EndsWith,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// NULL.
    Null,
    /// TRUE or FALSE.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Box<str>),
    /// A property's value.
    Property(PropertyId),
    /// A property where a truth value is asked for: never true.
    Cast(PropertyId),
    /// `-`
    Negate(NodeId),
    /// NOT
    Not(NodeId),
    /// All of these, in their order.
    And(Box<[NodeId]>),
    /// One of these, in their order.
    Or(Box<[NodeId]>),
    /// `=`
    Equal(NodeId, NodeId),
    /// IS NULL
    IsNull(NodeId),
    /// `<`, `<=`, `>`, `>=`
    Compare(Order, NodeId, NodeId),
    /// \[NOT\] IN; the texts are sorted.
    In { property: PropertyId, texts: Box<[Box<[u8]>]>, is_negated: bool },
    /// \[NOT\] CONTAINS, STARTSWITH, ENDSWITH
    Find { search: Search, operand: NodeId, text: Box<str>, is_negated: bool },
}

impl Node {
    /// Whether it is a literal.
    pub(super) const fn is_literal(&self) -> bool {
        matches!(self, Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Float(_) | Self::Text(_))
    }

    /// Whether it ends in a truth value, or NULL.
    pub(super) const fn is_boolean(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Bool(_)
                | Self::Cast(_)
                | Self::Not(_)
                | Self::And(_)
                | Self::Or(_)
                | Self::Equal(..)
                | Self::IsNull(_)
                | Self::Compare(..)
                | Self::In { .. }
                | Self::Find { .. }
        )
    }

    /// Whether it can stand beside `<`: a number, or what may be one.
    pub(super) const fn is_ordered(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Float(_) | Self::Property(_) | Self::Negate(_))
    }
}

/// A whole expression.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// The steps; the last one is the expression.
    pub(super) nodes: Box<[Node]>,
    /// The names of its properties.
    pub(super) names: Box<[Box<[u8]>]>,
}
