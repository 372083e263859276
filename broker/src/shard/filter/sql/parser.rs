//! The grammar, as RocketMQ's: from loosest to tightest, each joining from left to right.
//!
//! ```text
//! or          and (OR and)*
//! and         equality (AND equality)*
//! equality    comparison (= comparison | <> comparison | IS [NOT] NULL)*
//! comparison  unary ( < unary | <= unary | > unary | >= unary | [NOT] BETWEEN unary AND unary
//!                   | [NOT] IN ('…', …) | [NOT] CONTAINS '…' | [NOT] STARTSWITH '…' | [NOT] ENDSWITH '…' )*
//! unary       (+ | - | NOT) unary | string | number | TRUE | FALSE | NULL | property | ( or )
//! ```
//!
//! So `NOT` binds tighter than a comparison: `NOT (a = 1)` needs its parentheses. What a comparison cannot be meant for (the
//! order of strings, `= NULL`, BETWEEN with its ends the wrong way round) is refused here and not found out at each message.
//! Text behind a whole expression, which RocketMQ leaves out silently, is refused too.

use super::error::SqlError;
use super::lexer::{Keyword, Lexer, Token};
use super::limits::{DEPTH_MAX, EXPRESSION_SIZE_BYTES_MAX, PROPERTY_COUNT_MAX};
use super::program::{Node, NodeId, Order, Program, PropertyId, Search};
use super::value::Value;
use std::cmp::Ordering;

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Program, SqlError> {
    if text.len() > EXPRESSION_SIZE_BYTES_MAX {
        return Err(SqlError::TooLong { size: text.len() });
    }
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let mut parser = Parser { lexer, token, at, nodes: Vec::new(), names: Vec::new(), depths: Vec::new(), depth: 0 };
    let expression = parser.or()?;
    parser.as_boolean(expression, at)?;
    if parser.token != Token::End {
        return Err(parser.unexpected("the end"));
    }
    Ok(Program { nodes: parser.nodes.into(), names: parser.names.into() })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that is next, and where it begins.
    token: Token<'a>,
    at: usize,
    nodes: Vec<Node>,
    /// How deep each node is, by its id.
    depths: Vec<usize>,
    names: Vec<Box<[u8]>>,
    /// Levels of the recursion.
    depth: usize,
}

const ORDERS: [(&str, Order); 4] =
    [("<", Order::Less), ("<=", Order::LessOrEqual), (">", Order::Greater), (">=", Order::GreaterOrEqual)];

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), SqlError> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    /// Takes `token` when it is next.
    fn take(&mut self, token: Token<'_>) -> Result<bool, SqlError> {
        let is_next = self.token == token;
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn take_keyword(&mut self, keyword: Keyword) -> Result<bool, SqlError> {
        self.take(Token::Keyword(keyword))
    }

    fn expect(&mut self, token: Token<'_>, expected: &'static str) -> Result<(), SqlError> {
        if self.take(token)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &'static str) -> SqlError {
        let found = match self.token {
            Token::Name(name) => format!("the name {name}"),
            Token::Keyword(keyword) => format!("{keyword:?}").to_uppercase(),
            Token::Integer(_) | Token::Float(_) => "a number".to_owned(),
            Token::Text(_) => "a string".to_owned(),
            Token::Symbol(symbol) => symbol.to_owned(),
            Token::End => "the end".to_owned(),
        };
        SqlError::Unexpected { expected, at: self.lexer.character_at(self.at), found }
    }

    fn meaning(&self, what: &'static str, at: usize) -> SqlError {
        SqlError::Meaning { what, at: self.lexer.character_at(at) }
    }

    /// Adds a node, over those that it refers to.
    fn add(&mut self, node: Node, operands: &[NodeId]) -> Result<NodeId, SqlError> {
        let below = operands.iter().map(|operand| self.depths[usize::from(operand.0)]).max().unwrap_or(0);
        if below == DEPTH_MAX {
            return Err(SqlError::TooDeep);
        }
        let id = u16::try_from(self.nodes.len()).map_err(|_| SqlError::TooDeep)?;
        self.nodes.push(node);
        self.depths.push(below + 1);
        Ok(NodeId(id))
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::from(id.0)]
    }

    /// What is asked for a truth value. A property has none of its own: it is made into one that is never true.
    fn as_boolean(&mut self, id: NodeId, at: usize) -> Result<NodeId, SqlError> {
        match self.node(id) {
            node if node.is_boolean() => Ok(id),
            Node::Property(property) => {
                let cast = Node::Cast(*property);
                self.add(cast, &[id])
            }
            _ => Err(self.meaning("a number or a string where a condition is asked for", at)),
        }
    }

    fn or(&mut self) -> Result<NodeId, SqlError> {
        self.joined(Keyword::Or, Self::and, Node::Or)
    }

    fn and(&mut self) -> Result<NodeId, SqlError> {
        self.joined(Keyword::And, Self::equality, Node::And)
    }

    /// One operand, or several with `keyword` between them in one node.
    fn joined(
        &mut self,
        keyword: Keyword,
        operand: fn(&mut Self) -> Result<NodeId, SqlError>,
        node: fn(Box<[NodeId]>) -> Node,
    ) -> Result<NodeId, SqlError> {
        let mut at = self.at;
        let first = operand(self)?;
        if self.token != Token::Keyword(keyword) {
            return Ok(first);
        }
        let mut operands = vec![self.as_boolean(first, at)?];
        while self.take_keyword(keyword)? {
            at = self.at;
            let next = operand(self)?;
            operands.push(self.as_boolean(next, at)?);
        }
        let joined = node(operands.as_slice().into());
        self.add(joined, &operands)
    }

    fn equality(&mut self) -> Result<NodeId, SqlError> {
        let mut left = self.comparison()?;
        loop {
            let at = self.at;
            if self.take(Token::Symbol("="))? {
                let right = self.comparison()?;
                left = self.equal(left, right, at)?;
            } else if self.take(Token::Symbol("<>"))? {
                let right = self.comparison()?;
                let equal = self.equal(left, right, at)?;
                left = self.add(Node::Not(equal), &[equal])?;
            } else if self.take_keyword(Keyword::Is)? {
                let is_negated = self.take_keyword(Keyword::Not)?;
                self.expect(Token::Keyword(Keyword::Null), "NULL")?;
                left = self.add(Node::IsNull(left), &[left])?;
                if is_negated {
                    left = self.add(Node::Not(left), &[left])?;
                }
            } else {
                return Ok(left);
            }
        }
    }

    fn equal(&mut self, left: NodeId, right: NodeId, at: usize) -> Result<NodeId, SqlError> {
        let (first, second) = (self.node(left), self.node(right));
        if matches!(first, Node::Null) || matches!(second, Node::Null) {
            return Err(self.meaning("a comparison with NULL, where IS NULL is meant", at));
        }
        if matches!(first, Node::Bool(_)) && second.is_literal() && !matches!(second, Node::Bool(_)) {
            return Err(self.meaning("a comparison of TRUE or FALSE with another literal", at));
        }
        self.add(Node::Equal(left, right), &[left, right])
    }

    fn comparison(&mut self) -> Result<NodeId, SqlError> {
        let mut left = self.unary()?;
        loop {
            let at = self.at;
            if let Token::Symbol(symbol) = self.token
                && let Some((_, order)) = ORDERS.into_iter().find(|(known, _)| *known == symbol)
            {
                self.advance()?;
                let right = self.unary()?;
                left = self.compare(order, left, right, at)?;
                continue;
            }
            let is_negated = self.take_keyword(Keyword::Not)?;
            let Token::Keyword(keyword) = self.token else {
                return if is_negated { Err(self.unexpected("BETWEEN, IN or a search")) } else { Ok(left) };
            };
            left = match keyword {
                Keyword::Between => self.between(left, is_negated, at)?,
                Keyword::In => self.is_in(left, is_negated, at)?,
                Keyword::Contains => self.find(Search::Contains, left, is_negated)?,
                Keyword::StartsWith => self.find(Search::StartsWith, left, is_negated)?,
                Keyword::EndsWith => self.find(Search::EndsWith, left, is_negated)?,
                _ if is_negated => return Err(self.unexpected("BETWEEN, IN or a search")),
                _ => return Ok(left),
            };
        }
    }

    fn compare(&mut self, order: Order, left: NodeId, right: NodeId, at: usize) -> Result<NodeId, SqlError> {
        if !self.node(left).is_ordered() || !self.node(right).is_ordered() {
            return Err(self.meaning("an order of what is no number", at));
        }
        self.add(Node::Compare(order, left, right), &[left, right])
    }

    fn between(&mut self, value: NodeId, is_negated: bool, at: usize) -> Result<NodeId, SqlError> {
        self.advance()?;
        let low = self.unary()?;
        self.expect(Token::Keyword(Keyword::And), "AND")?;
        let high = self.unary()?;
        if !is_negated && self.ends_are_reversed(low, high) {
            return Err(self.meaning("BETWEEN with its larger end first", at));
        }
        let (below, above) =
            if is_negated { (Order::Less, Order::Greater) } else { (Order::GreaterOrEqual, Order::LessOrEqual) };
        let first = self.compare(below, value, low, at)?;
        let second = self.compare(above, value, high, at)?;
        let operands: Box<[NodeId]> = [first, second].into();
        self.add(if is_negated { Node::Or(operands) } else { Node::And(operands) }, &[first, second])
    }

    fn ends_are_reversed(&self, low: NodeId, high: NodeId) -> bool {
        let literal = |id| match self.node(id) {
            Node::Integer(value) => Some(Value::Integer(*value)),
            Node::Float(value) => Some(Value::Float(*value)),
            _ => None,
        };
        let (Some(low), Some(high)) = (literal(low), literal(high)) else { return false };
        low.compare(high) == Ok(Some(Ordering::Greater))
    }

    fn is_in(&mut self, left: NodeId, is_negated: bool, at: usize) -> Result<NodeId, SqlError> {
        let Node::Property(property) = *self.node(left) else {
            return Err(self.meaning("IN behind what is no property", at));
        };
        self.advance()?;
        self.expect(Token::Symbol("("), "(")?;
        let mut texts = vec![self.text()?];
        while self.take(Token::Symbol(","))? {
            texts.push(self.text()?);
        }
        self.expect(Token::Symbol(")"), ") or ,")?;
        let mut texts: Vec<Box<[u8]>> = texts.into_iter().map(Box::<[u8]>::from).collect();
        texts.sort_unstable();
        texts.dedup();
        self.add(Node::In { property, texts: texts.into(), is_negated }, &[left])
    }

    fn find(&mut self, search: Search, operand: NodeId, is_negated: bool) -> Result<NodeId, SqlError> {
        self.advance()?;
        let text = self.text()?;
        self.add(Node::Find { search, operand, text, is_negated }, &[operand])
    }

    /// Takes a string.
    fn text(&mut self) -> Result<Box<str>, SqlError> {
        let Token::Text(quoted) = self.token else {
            return Err(self.unexpected("a string"));
        };
        self.advance()?;
        Ok(unquote(quoted))
    }

    fn unary(&mut self) -> Result<NodeId, SqlError> {
        if self.depth == DEPTH_MAX {
            return Err(SqlError::TooDeep);
        }
        self.depth += 1;
        let unary = self.signed_or_primary();
        self.depth -= 1;
        unary
    }

    fn signed_or_primary(&mut self) -> Result<NodeId, SqlError> {
        if self.take(Token::Symbol("+"))? {
            return self.unary();
        }
        if self.take(Token::Symbol("-"))? {
            let operand = self.unary()?;
            return self.add(Node::Negate(operand), &[operand]);
        }
        if self.take_keyword(Keyword::Not)? {
            let at = self.at;
            let operand = self.unary()?;
            let operand = self.as_boolean(operand, at)?;
            return self.add(Node::Not(operand), &[operand]);
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<NodeId, SqlError> {
        let node = match self.token {
            Token::Text(quoted) => Node::Text(unquote(quoted)),
            Token::Integer(value) => Node::Integer(value),
            Token::Float(value) => Node::Float(value),
            Token::Keyword(Keyword::True) => Node::Bool(true),
            Token::Keyword(Keyword::False) => Node::Bool(false),
            Token::Keyword(Keyword::Null) => Node::Null,
            Token::Name(name) => Node::Property(self.property(name)?),
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.or()?;
                self.expect(Token::Symbol(")"), ")")?;
                return Ok(inner);
            }
            _ => return Err(self.unexpected("a property, a literal or (")),
        };
        self.advance()?;
        self.add(node, &[])
    }

    fn property(&mut self, name: &str) -> Result<PropertyId, SqlError> {
        let known = self.names.iter().position(|known| **known == *name.as_bytes());
        let index = known.unwrap_or(self.names.len());
        if index == PROPERTY_COUNT_MAX {
            return Err(SqlError::TooManyProperties);
        }
        if known.is_none() {
            self.names.push(name.as_bytes().into());
        }
        Ok(PropertyId(u8::try_from(index).map_err(|_| SqlError::TooManyProperties)?))
    }
}

/// A string without the doubling of its quotes.
fn unquote(quoted: &str) -> Box<str> {
    quoted.replace("''", "'").into()
}
