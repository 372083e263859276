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
    // The last of a name counts; both are looked for in one pass.
    let (mut keys, mut unique): (&[u8], &[u8]) = (&[], &[]);
    for (name, value) in properties.iter() {
        if name == names::KEYS.as_bytes() {
            keys = value;
        } else if name == names::UNIQ_KEY.as_bytes() {
            unique = value;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
