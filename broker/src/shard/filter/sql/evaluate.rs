//! A program over the properties of one message. Takes no memory.
//!
//! Truth has three values: NULL is what a missing property makes of a comparison. A comparison that fails (a text that is no
//! number) ends the evaluation: the message does not match, as in RocketMQ, unless what decides stands further left.

use super::limits::PROPERTY_COUNT_MAX;
use super::program::{Node, NodeId, Order, Program, PropertyId, Search};
use super::value::{Incomparable, Value};
use ringmq_proto::message::Properties;
use std::cmp::Ordering;

/// Whether the message matches.
pub(super) fn matches(program: &Program, properties: &[u8]) -> bool {
    let mut values = [None; PROPERTY_COUNT_MAX];
    for (name, value) in Properties::new(properties).iter() {
        // The last of two counts.
        if let Some(index) = program.names.iter().position(|known| **known == *name) {
            values[index] = Some(value);
        }
    }
    let Some(last) = program.nodes.last() else { return false };
    Evaluation { program, values: &values }.value_of(last) == Ok(Value::Bool(true))
}

struct Evaluation<'p> {
    program: &'p Program,
    values: &'p [Option<&'p [u8]>; PROPERTY_COUNT_MAX],
}

impl<'p> Evaluation<'p> {
    fn value(&self, id: NodeId) -> Result<Value<'p>, Incomparable> {
        self.value_of(&self.program.nodes[usize::from(id.0)])
    }

    fn property(&self, id: PropertyId) -> Option<&'p [u8]> {
        self.values[usize::from(id.0)]
    }

    fn value_of(&self, node: &'p Node) -> Result<Value<'p>, Incomparable> {
        Ok(match node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Integer(value) => Value::Integer(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Text(text) => Value::Text(text.as_bytes()),
            Node::Property(id) => self.property(*id).map_or(Value::Null, Value::Text),
            // A property is a text and no truth value.
            Node::Cast(id) => self.property(*id).map_or(Value::Null, |_| Value::Bool(false)),
            Node::Negate(operand) => negate(self.value(*operand)?),
            Node::Not(operand) => match self.value(*operand)? {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            Node::And(operands) => self.join(operands, false)?,
            Node::Or(operands) => self.join(operands, true)?,
            Node::Equal(left, right) => equal(self.value(*left)?, self.value(*right)?)?,
            Node::IsNull(operand) => Value::Bool(self.value(*operand)? == Value::Null),
            Node::Compare(order, left, right) => compare(*order, self.value(*left)?, self.value(*right)?)?,
            Node::In { property, texts, is_negated } => self.property(*property).map_or(Value::Null, |value| {
                Value::Bool(texts.binary_search_by(|text| (**text).cmp(value)).is_ok() != *is_negated)
            }),
            Node::Find { search, operand, text, is_negated } => {
                Value::Bool(find(*search, self.value(*operand)?, text).is_some_and(|found| found != *is_negated))
            }
        })
    }

    /// The first operand that decides, from left to right; NULL when there is one and none decides.
    fn join(&self, operands: &[NodeId], deciding: bool) -> Result<Value<'p>, Incomparable> {
        let mut joined = Value::Bool(!deciding);
        for operand in operands {
            match self.value(*operand)? {
                Value::Bool(value) if value == deciding => return Ok(Value::Bool(deciding)),
                Value::Bool(_) => {}
                _ => joined = Value::Null,
            }
        }
        Ok(joined)
    }
}

/// Of a number only.
const fn negate(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Integer(value) => Value::Integer(value.wrapping_neg()),
        Value::Float(value) => Value::Float(-value),
        _ => Value::Null,
    }
}

/// As RocketMQ: NULL on the left makes NULL, on the right alone FALSE, on both sides TRUE.
fn equal<'a>(left: Value<'_>, right: Value<'_>) -> Result<Value<'a>, Incomparable> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Value::Bool(true),
        (Value::Null, _) => Value::Null,
        (_, Value::Null) => Value::Bool(false),
        _ => Value::Bool(left.compare(right)? == Some(Ordering::Equal)),
    })
}

fn compare<'a>(order: Order, left: Value<'_>, right: Value<'_>) -> Result<Value<'a>, Incomparable> {
    if left == Value::Null || right == Value::Null {
        return Ok(Value::Null);
    }
    let ordering = left.order(right)?;
    Ok(Value::Bool(ordering.is_some_and(|ordering| match order {
        Order::Less => ordering.is_lt(),
        Order::LessOrEqual => ordering.is_le(),
        Order::Greater => ordering.is_gt(),
        Order::GreaterOrEqual => ordering.is_ge(),
    })))
}

/// `None` when the value is no text, or nothing is looked for: then neither a search nor its negation is true.
fn find(search: Search, value: Value<'_>, text: &str) -> Option<bool> {
    let Value::Text(value) = value else { return None };
    if text.is_empty() {
        return None;
    }
    Some(match search {
        // Text is found in text only, and searched for in linear time there.
        Search::Contains => value.utf8_chunks().any(|chunk| chunk.valid().contains(text)),
        Search::StartsWith => value.starts_with(text.as_bytes()),
        Search::EndsWith => value.ends_with(text.as_bytes()),
    })
}
