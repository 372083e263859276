//! Values while an expression is evaluated, and how RocketMQ compares two of them.

use std::cmp::Ordering;

/// A value. Properties are texts, whatever they hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(&'a [u8]),
}

/// Two values that cannot be compared: the message does not match, whatever the rest of the expression says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incomparable;

impl Value<'_> {
    /// Compares two values that are not null: a text with a number as that kind of number, a text with a truth value as
    /// Java's `Boolean.valueOf` reads it. `None` for kinds that are never equal.
    pub(super) fn compare(self, other: Self) -> Result<Option<Ordering>, Incomparable> {
        Ok(match (self, other) {
            (Self::Null, _) | (_, Self::Null) => None,
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(&right)),
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(&right)),
            (Self::Float(left), Self::Float(right)) => Some(left.total_cmp(&right)),
            (Self::Integer(left), Self::Float(right)) => Some(to_float(left).total_cmp(&right)),
            (Self::Float(left), Self::Integer(right)) => Some(left.total_cmp(&to_float(right))),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Text(text), Self::Integer(right)) => Some(parse_integer(text)?.cmp(&right)),
            (Self::Integer(left), Self::Text(text)) => Some(left.cmp(&parse_integer(text)?)),
            (Self::Text(text), Self::Float(right)) => Some(parse_float(text)?.total_cmp(&right)),
            (Self::Float(left), Self::Text(text)) => Some(left.total_cmp(&parse_float(text)?)),
            (Self::Text(text), Self::Bool(right)) => Some(text.eq_ignore_ascii_case(b"true").cmp(&right)),
            // RocketMQ fails here, too.
            (Self::Bool(_), Self::Text(_)) => return Err(Incomparable),
            (Self::Bool(_), Self::Integer(_) | Self::Float(_)) | (Self::Integer(_) | Self::Float(_), Self::Bool(_)) => {
                None
            }
        })
    }

    /// The order of two values that are not null: two texts count as numbers.
    pub(super) fn order(self, other: Self) -> Result<Option<Ordering>, Incomparable> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Ok(Some(parse_float(left)?.total_cmp(&parse_float(right)?))),
            _ => self.compare(other),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "as Java's doubleValue")]
const fn to_float(value: i64) -> f64 {
    value as f64
}

/// As Java's `Long.valueOf`: digits with a sign perhaps, nothing else.
fn parse_integer(text: &[u8]) -> Result<i64, Incomparable> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Incomparable)
}

/// As Java's `Double.valueOf`, but for hexadecimal numbers: blanks around it, and `f` or `d` behind it, are left out.
fn parse_float(text: &[u8]) -> Result<f64, Incomparable> {
    let text = std::str::from_utf8(text).map_err(|_| Incomparable)?.trim_matches(|character| character <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        "NaN" => return Ok(f64::NAN.abs()),
        "Infinity" => return Ok(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    if !unsigned.starts_with(|character: char| character.is_ascii_digit() || character == '.') {
        return Err(Incomparable);
    }
    text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text).parse().map_err(|_| Incomparable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_java_reads_them() {
        for (text, value) in [("0", 0), ("-5", -5), ("+5", 5), ("007", 7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(parse_integer(text.as_bytes()), Ok(value), "{text}");
        }
        for text in ["", "-", "5.0", " 5", "5l", "1e3", "abc", "9223372036854775808"] {
            assert_eq!(parse_integer(text.as_bytes()), Err(Incomparable), "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_java_reads_them() {
        for (text, value) in
            [("0", 0.0), (" -5.5\t", -5.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1e3), ("2.5f", 2.5), ("3D", 3.0)]
        {
            assert_eq!(parse_float(text.as_bytes()), Ok(value), "{text}");
        }
        assert_eq!(parse_float(b"-Infinity"), Ok(f64::NEG_INFINITY));
        assert!(parse_float(b"NaN").unwrap().is_nan() && parse_float(b"NaN").unwrap().is_sign_positive());
        for text in ["", "-", ".", "inf", "nan", "infinity", "5x", "ff", "1e", "--1", "\u{663}"] {
            assert_eq!(parse_float(text.as_bytes()), Err(Incomparable), "{text}");
        }
    }
}
