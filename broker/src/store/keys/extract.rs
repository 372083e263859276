//! The entries of a record, from its bytes: the same when it was just appended, replayed or scanned again.

use super::entry::KeyEntry;
use super::hash::{KeyHasher, KeyKind};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::properties::names;
use ringmq_proto::message::{Batch, Properties, StoredMessage};
use ringmq_proto::record::{RecordKind, RecordView};

/// Words of one message's KEYS that are indexed. When there are more: the rest is not, as if it had not been given.
pub const MESSAGE_KEY_COUNT_MAX: usize = 64;

/// Nobody can tell the topic of a batch: its queue is not known (yet, or any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct UnknownTopic;

/// What is known, when a record was just appended, of what it can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// By nothing.
    Nothing,
    /// By one key, with this hash.
    By(u64),
    /// Perhaps by several: its bytes say it.
    Look,
}

/// What a message will be found by, as [`entries_of`] will say it, for the most frequent cases: nothing, or its unique id alone.
#[inline]
pub(super) fn keyed(hasher: &KeyHasher, topic: &[u8], properties: &[u8]) -> Keyed {
    if properties.is_empty() {
        return Keyed::Nothing;
    }
    match keys_and_unique(Properties::new(properties)) {
        ([], []) => Keyed::Nothing,
        ([], unique) => Keyed::By(hasher.key(hasher.topic(topic), KeyKind::Unique, unique)),
        _ => Keyed::Look,
    }
}

/// The words that a message can be found by.
pub(super) fn words(properties: Properties<'_>) -> impl Iterator<Item = &[u8]> {
    let keys = properties.get(names::KEYS).unwrap_or_default();
    keys.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(MESSAGE_KEY_COUNT_MAX)
}

/// Gives each entry of a record to `found`; nothing for records that are no messages or do not decode.
///
/// # Errors
/// A batch with keys, of a queue whose topic `topic_of` does not know.
pub(super) fn entries_of<'t>(
    hasher: &KeyHasher,
    record: RecordView<'_>,
    position: LogPosition,
    topic_of: impl FnOnce(QueueId) -> Option<&'t [u8]>,
    mut found: impl FnMut(KeyEntry),
) -> Result<(), UnknownTopic> {
    match record.header.kind {
        RecordKind::MESSAGE => {
            let Ok(message) = StoredMessage::decode(record.payload) else { return Ok(()) };
            let parts = message.parts;
            if !parts.properties.is_empty() {
                let topic = hasher.topic(parts.topic);
                let entry = |hash| found(KeyEntry::new(hash, position, 0, parts.store_time_ms));
                hashes_of(hasher, topic, Properties::new(parts.properties), entry);
            }
        }
        RecordKind::BATCH => {
            let Ok(batch) = Batch::decode(record.payload) else { return Ok(()) };
            let mut keyed = batch.entries().filter(|entry| !entry.properties.is_empty()).peekable();
            if keyed.peek().is_none() {
                return Ok(());
            }
            let topic = hasher.topic(topic_of(record.header.queue_id).ok_or(UnknownTopic)?);
            for message in keyed {
                let distance = message.record_offset as u64;
                let entry = |hash| found(KeyEntry::new(hash, position, distance, batch.head.store_time_ms));
                hashes_of(hasher, topic, Properties::new(message.properties), entry);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The hashes of a message's keys, each once.
fn hashes_of(hasher: &KeyHasher, topic: u64, properties: Properties<'_>, mut found: impl FnMut(u64)) {
    let (keys, unique) = keys_and_unique(properties);
    if !unique.is_empty() {
        found(hasher.key(topic, KeyKind::Unique, unique));
    }
    let words = || keys.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(MESSAGE_KEY_COUNT_MAX);
    for (number, word) in words().enumerate() {
        if words().take(number).all(|before| before != word) {
            found(hasher.key(topic, KeyKind::Word, word));
        }
    }
}

/// KEYS and UNIQ_KEY, empty where there is none. The last of a name counts; both are looked for in one pass.
#[inline]
fn keys_and_unique(properties: Properties<'_>) -> (&[u8], &[u8]) {
    let (mut keys, mut unique): (&[u8], &[u8]) = (&[], &[]);
    for (name, value) in properties.iter() {
        if name == names::KEYS.as_bytes() {
            keys = value;
        } else if name == names::UNIQ_KEY.as_bytes() {
            unique = value;
        }
    }
    (keys, unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_at_append_is_what_the_bytes_say() {
        let hasher = KeyHasher::new(1);
        let found = |text: &str| {
            let mut found = Vec::new();
            hashes_of(&hasher, hasher.topic(b"t"), Properties::new(text.as_bytes()), |hash| found.push(hash));
            found
        };
        for text in ["", "TAGS\x01a", "UNIQ_KEY\x01", "KEYS\x01\x02TAGS\x01a"] {
            assert_eq!((keyed(&hasher, b"t", text.as_bytes()), found(text)), (Keyed::Nothing, vec![]), "{text}");
        }
        for text in ["UNIQ_KEY\x01id", "UNIQ_KEY\x01old\x02A\x01b\x02UNIQ_KEY\x01id\x02KEYS\x01\x02"] {
            let [hash] = found(text)[..] else { panic!("{text}") };
            assert_eq!(keyed(&hasher, b"t", text.as_bytes()), Keyed::By(hash), "{text}");
        }
        for text in ["KEYS\x01a", "UNIQ_KEY\x01id\x02KEYS\x01a b", "KEYS\x01 "] {
            assert_eq!(keyed(&hasher, b"t", text.as_bytes()), Keyed::Look, "{text}");
        }
    }

    #[test]
    fn every_word_counts_once_and_the_last_of_a_name_counts() {
        let hasher = KeyHasher::new(1);
        let topic = hasher.topic(b"t");
        let mut found = Vec::new();
        let properties = Properties::new(b"KEYS\x01old\x02UNIQ_KEY\x01id\x02KEYS\x01a b  a c \x02TAGS\x01a\x02");
        hashes_of(&hasher, topic, properties, |hash| found.push(hash));
        let word = |text: &str| hasher.key(topic, KeyKind::Word, text.as_bytes());
        assert_eq!(found, [hasher.key(topic, KeyKind::Unique, b"id"), word("a"), word("b"), word("c")]);
        assert_eq!(words(properties).collect::<Vec<_>>(), [b"a", b"b", b"a", b"c"]);
    }
}
