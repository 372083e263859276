//! Which messages of a topic a group wants: the broker leaves out what the subscription's expression rules out.
//!
//! A tag filter compares hashes, so that a message with another tag of the same hash comes through; clients compare the
//! tags themselves. Nothing that matches is ever left out. An SQL92 filter is a condition on the properties ([`sql`]).

mod sql;
mod tags;

pub(super) use sql::Sql;
pub(super) use tags::Tags;

use super::request::Rejection;
use ringmq_proto::code::Code;
use ringmq_proto::message::tag::tag_hash_of_properties;

/// RocketMQ's name of the tag filter; also meant by an empty name.
pub(super) const TAG: &str = "TAG";

/// RocketMQ's name of the filter by properties.
pub(super) const SQL92: &str = "SQL92";

/// What a subscription lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Everything.
    All,
    /// Messages with one of these tags.
    Tags(Tags),
    /// Messages whose properties fulfil this condition.
    Sql(Sql),
}

impl Filter {
    /// Reads a subscription's expression. An unnamed type is a tag filter.
    ///
    /// # Errors
    /// 1 for a type that is not served, 23 for an expression that cannot be parsed.
    pub(super) fn parse(expression_type: &str, expression: &str) -> Result<Self, Rejection> {
        if expression_type.eq_ignore_ascii_case(SQL92) {
            let parsed = Sql::parse(expression);
            return parsed
                .map(Self::Sql)
                .map_err(|error| Rejection::because(Code::SUBSCRIPTION_PARSE_FAILED, error.to_string()));
        }
        if !expression_type.is_empty() && !expression_type.eq_ignore_ascii_case(TAG) {
            let remark = format!(
                "The broker does not support consumer to filter message by {}",
                expression_type.escape_default()
            );
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark));
        }
        Ok(Tags::parse(expression).map_or(Self::All, Self::Tags))
    }

    /// Whether a message with these properties goes through.
    pub(super) fn matches(&self, properties: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Tags(tags) => tags.contain(tag_hash_of_properties(properties)),
            Self::Sql(sql) => sql.matches(properties),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_says_how_an_expression_is_read() {
        let properties = b"TAGS\x01TagA\x02a\x015\x02";
        let matches = |kind: &str, expression: &str| {
            Filter::parse(kind, expression).map(|filter| filter.matches(properties)).map_err(|error| error.code)
        };
        for (kind, expression) in [("", "*"), ("TAG", "TagA || TagB"), ("SQL92", "a > 4"), ("sql92", "TAGS = 'TagA'")] {
            assert_eq!(matches(kind, expression), Ok(true), "{kind} {expression}");
        }
        for (kind, expression) in [("TAG", "TagB"), ("SQL92", "a < 4"), ("SQL92", "TAGS IS NULL")] {
            assert_eq!(matches(kind, expression), Ok(false), "{kind} {expression}");
        }
        assert_eq!(matches("SQL92", "a >"), Err(Code::SUBSCRIPTION_PARSE_FAILED));
        assert_eq!(matches("JSONPATH", "$.a"), Err(Code::SYSTEM_ERROR));
    }
}
