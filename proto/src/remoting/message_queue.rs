//! A message queue in JSON, alone and as the key of a table.
//!
//! RocketMQ's own form of such a table has whole objects as keys, `{{"brokerName":"b","queueId":0,"topic":"T"}:5}`, which is
//! no JSON. Read are that form and the standard one, where the key is a string that holds the object's text. Written is the
//! standard one, which Java reads too; [`QueueTable::append_bare`] and [`QueueTable::append_pairs`] are for the few bodies
//! that clients in other languages read by hand.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lenient;
use crate::limits::BODY_LIST_COUNT_MAX;

/// A queue of a topic on one broker name. Ordered as RocketMQ's clients sort them before they divide them: by topic, broker
/// name, id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Name of the broker.
    pub broker_name: String,
    /// Number of the queue, from 0; −1 stands for all (pop).
    pub queue_id: i32,
    /// Name of the topic.
    pub topic: String,
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.topic, &self.broker_name, self.queue_id).cmp(&(&other.topic, &other.broker_name, other.queue_id))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A table by message queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueTable<V>(pub BTreeMap<MessageQueue, V>);

impl<V> Default for QueueTable<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> FromIterator<(MessageQueue, V)> for QueueTable<V> {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<V: Serialize> QueueTable<V> {
    /// Appends RocketMQ's own form, with objects as keys: for bodies that the Go client reads.
    pub fn append_bare(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (queue, value)) in self.0.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b"," } else { b"" });
            out.extend_from_slice(&lenient::encode(queue));
            out.push(b':');
            out.extend_from_slice(&lenient::encode(value));
        }
        out.push(b'}');
    }

    /// Appends a list of pairs, `[[{…},5],…]`: for bodies that the C++ client reads.
    pub fn append_pairs(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&lenient::encode(&self.0.iter().collect::<Vec<_>>()));
    }
}

impl<V: Serialize> Serialize for QueueTable<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            let key = serde_json::to_string(queue).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(&key, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueTable<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

struct TableVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for TableVisitor<V> {
    type Value = QueueTable<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of at most {BODY_LIST_COUNT_MAX} message queues")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut table = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if table.len() == BODY_LIST_COUNT_MAX {
                return Err(A::Error::custom(format_args!("more than {BODY_LIST_COUNT_MAX} message queues")));
            }
            let queue = serde_json::from_str(&key).map_err(A::Error::custom)?;
            table.insert(queue, map.next_value()?);
        }
        Ok(QueueTable(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> QueueTable<i64> {
        let queue = |queue_id, topic: &str| MessageQueue { broker_name: "b".into(), queue_id, topic: topic.into() };
        [(queue(1, "T"), 7), (queue(0, "T"), 5), (queue(9, "A\"\\"), 0)].into_iter().collect()
    }

    #[test]
    fn all_forms_of_a_table_are_read() {
        let mut bare = Vec::new();
        table().append_bare(&mut bare);
        assert!(
            bare.starts_with(br#"{{"brokerName":"b","queueId":9,"topic":"A\"\\"}:0,{"brokerName":"b","queueId":0,"#)
        );
        let strict = lenient::encode(&table());
        assert!(serde_json::from_slice::<serde_json::Value>(&strict).is_ok());
        for form in [bare, strict] {
            assert_eq!(lenient::decode::<QueueTable<i64>>(&form).unwrap(), table());
        }
    }

    #[test]
    fn pairs_are_standard_json() {
        let mut pairs = Vec::new();
        table().append_pairs(&mut pairs);
        let read: Vec<(MessageQueue, i64)> = serde_json::from_slice(&pairs).unwrap();
        assert_eq!(read.into_iter().collect::<QueueTable<_>>(), table());
    }

    #[test]
    fn queues_sort_by_topic_first() {
        let queue = |broker: &str, queue_id, topic: &str| MessageQueue {
            broker_name: broker.into(),
            queue_id,
            topic: topic.into(),
        };
        let sorted = [queue("b", 3, "A"), queue("a", 1, "B"), queue("b", 0, "B"), queue("b", 2, "B")];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn body_list_count_max() {
        let text = |count: usize| {
            let entries = (0..count).map(|id| format!(r#"{{"queueId":{id}}}:0"#)).collect::<Vec<_>>();
            format!("{{{}}}", entries.join(","))
        };
        assert!(lenient::decode::<QueueTable<i64>>(text(BODY_LIST_COUNT_MAX).as_bytes()).is_ok());
        assert!(lenient::decode::<QueueTable<i64>>(text(BODY_LIST_COUNT_MAX + 1).as_bytes()).is_err());
    }
}
