//! Which messages of a topic a group wants: the broker leaves out what the subscription's expression rules out.
//!
//! A tag filter compares hashes, so that a message with another tag of the same hash comes through; clients compare the
//! tags themselves. Nothing that matches is ever left out.

mod tags;

pub(super) use tags::Tags;

use super::request::Rejection;
use ringmq_proto::code::Code;
use ringmq_proto::message::tag::tag_hash_of_properties;

/// RocketMQ's name of the tag filter; also meant by an empty name.
pub(super) const TAG: &str = "TAG";

/// What a subscription lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Everything.
    All,
    /// Messages with one of these tags.
    Tags(Tags),
}

impl Filter {
    /// Reads a subscription's expression. An unnamed type is a tag filter.
    ///
    /// # Errors
    /// 1 for a type that is not served, 23 for an expression that cannot be parsed.
    pub(super) fn parse(expression_type: &str, expression: &str) -> Result<Self, Rejection> {
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
        }
    }
}
