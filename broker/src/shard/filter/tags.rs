//! Tags joined by `||`, as their hashes.

use ringmq_proto::message::tag::tag_hash;

/// The tags of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Tags {
    /// Sorted.
    hashes: Box<[i32]>,
}

impl Tags {
    /// `None`: every message. As RocketMQ: an empty expression or `*` alone is everything; `*` among tags is a tag.
    pub(in crate::shard) fn parse(expression: &str) -> Option<Self> {
        if expression.is_empty() || expression == "*" {
            return None;
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let mut hashes: Vec<_> = tags.map(tag_hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Some(Self { hashes: hashes.into() })
    }

    pub(in crate::shard) fn contain(&self, hash: i32) -> bool {
        self.hashes.binary_search(&hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_is_everything_or_a_set_of_tags() {
        assert_eq!(Tags::parse(""), None);
        assert_eq!(Tags::parse("*"), None);
        let tags = Tags::parse(" TagA || TagB||TagA").expect("tags");
        assert!(tags.contain(tag_hash("TagA")) && tags.contain(tag_hash("TagB")));
        assert!(!tags.contain(tag_hash("TagC")) && !tags.contain(0), "a message without a tag has none of them");
        assert_eq!(tags.hashes.len(), 2);
    }
}
