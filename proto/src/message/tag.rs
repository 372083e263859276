//! The hash of a tag: Java's `String.hashCode`, by which brokers filter and clients re-check.

use crate::message::properties::{Properties, names};

/// Java's `String.hashCode` of `tag`: over its UTF-16 units, wrapping. 0 for the empty one.
pub fn tag_hash(tag: &str) -> i32 {
    tag.encode_utf16().fold(0, step)
}

/// The hash of the tag in a properties string; 0 when there is none. Bytes that are no text count as U+FFFD, which is
/// what a Java client sees in their place.
pub fn tag_hash_of_properties(properties: &[u8]) -> i32 {
    let Some(tag) = Properties::new(properties).get(names::TAGS) else { return 0 };
    if tag.is_ascii() {
        return tag.iter().fold(0, |hash, byte| step(hash, u16::from(*byte)));
    }
    tag.utf8_chunks().fold(0, |hash, chunk| {
        let hash = chunk.valid().encode_utf16().fold(hash, step);
        if chunk.invalid().is_empty() { hash } else { step(hash, 0xfffd) }
    })
}

fn step(hash: i32, unit: u16) -> i32 {
    hash.wrapping_mul(31).wrapping_add(i32::from(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(tag_hash("TagA"), 2_598_919);
        assert_eq!(tag_hash("TagBig"), -1_797_401_818);
        assert_eq!(tag_hash(""), 0);
        assert_eq!(tag_hash("polygenelubricants"), i32::MIN);
        // Outside of the basic plane Java hashes two surrogates: 0xd83d * 31 + 0xde00.
        assert_eq!(tag_hash("\u{1f600}"), 0xd83d * 31 + 0xde00);
    }

    #[test]
    fn tag_is_found_among_the_properties() {
        assert_eq!(tag_hash_of_properties(b"KEYS\x01K\x02TAGS\x01TagA\x02CLUSTER\x01c"), tag_hash("TagA"));
        assert_eq!(tag_hash_of_properties(b"KEYS\x01TAGS"), 0);
        assert_eq!(tag_hash_of_properties(b""), 0);
        assert_eq!(tag_hash_of_properties("TAGS\x01标签😀".as_bytes()), tag_hash("标签😀"));
        assert_eq!(tag_hash_of_properties(b"TAGS\x01a\xffb"), tag_hash("a\u{fffd}b"));
    }
}
