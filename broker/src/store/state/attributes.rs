//! Attributes of topics and groups: pairs of text that RocketMQ's tools write and read back (`+key=value`).
//!
//! ```text
//! count u16 | count x { key length u16 | key | value length u16 | value }        in the order of the keys
//! ```

use super::reader::Reader;
use crate::store::error::{ATTRIBUTES_TOO_LARGE, Refusal};
use crate::store::limits::{ATTRIBUTE_COUNT_MAX, ATTRIBUTE_SIZE_BYTES_MAX};
use std::collections::BTreeMap;

/// Pairs of text, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes(BTreeMap<Box<str>, Box<str>>);

impl Attributes {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| &**value)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// Code 1, when the key or the value is empty or longer than `ATTRIBUTE_SIZE_BYTES_MAX`, or there are
    /// `ATTRIBUTE_COUNT_MAX` others.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        let is_new = !self.0.contains_key(key);
        let fits = |text: &str| (1..=ATTRIBUTE_SIZE_BYTES_MAX).contains(&text.len());
        if !fits(key) || !fits(value) || (is_new && self.0.len() >= ATTRIBUTE_COUNT_MAX) {
            return Err(ATTRIBUTES_TOO_LARGE);
        }
        self.0.insert(key.into(), value.into());
        Ok(())
    }

    /// Takes a key away; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let short = |length: usize| u16::try_from(length).expect("attributes are bounded").to_le_bytes();
        out.extend(short(self.0.len()));
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            out.extend(short(text.len()));
            out.extend(text.as_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut pairs = BTreeMap::new();
        for _ in 0..reader.u16()? {
            let (key, value) = (reader.text()?, reader.text()?);
            pairs.insert(key.into(), value.into());
        }
        Some(Self(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_bounded_in_number_and_size() {
        let mut attributes = Attributes::default();
        for number in 0..ATTRIBUTE_COUNT_MAX {
            attributes.set(&format!("k{number}"), "v").expect("room");
        }
        assert_eq!(attributes.set("one more", "v"), Err(ATTRIBUTES_TOO_LARGE));
        attributes.set("k0", "other").expect("it is there already");
        assert_eq!(attributes.get("k0"), Some("other"));
        assert!(attributes.remove("k0") && !attributes.remove("k0"));
        let long = "x".repeat(ATTRIBUTE_SIZE_BYTES_MAX + 1);
        for (key, value) in [("", "v"), ("k", ""), (long.as_str(), "v"), ("k", long.as_str())] {
            assert_eq!(attributes.set(key, value), Err(ATTRIBUTES_TOO_LARGE));
        }
    }
}
