//! Topics: create or change (17, 18), remove (215), read (21, 351), the broker's own (305), the unused (316).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::remoting::ext::ext_header;
use crate::remoting::json_body::json_body;
use crate::remoting::lenient;
use crate::remoting::registration::{DataVersion, TopicConfig};

ext_header! {
    /// UPDATE_AND_CREATE_TOPIC (17). Answered with 0, 1 or 29.
    pub struct UpdateTopic<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
        /// Out of use.
        default_topic: &'a str = "defaultTopic",
        /// Queues that consumers divide.
        read_queue_nums: i32 = "readQueueNums",
        /// Queues that producers choose from.
        write_queue_nums: i32 = "writeQueueNums",
        /// Permissions, [`crate::remoting::route::PERM_READ`] and others.
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: &'a str = "topicFilterType",
        /// Flags of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Whether the topic is ordered.
        order: Option<bool> = "order",
        /// Changes of attributes (5.x): see [`AttributeChanges`].
        attributes: Option<&'a str> = "attributes",
        /// Whether checks are left out (5.x).
        force: Option<bool> = "force",
    }
}

ext_header! {
    /// DELETE_TOPIC_IN_BROKER (215), GET_TOPIC_CONFIG (351, answered with [`TopicConfig`]), and others that name a topic only.
    pub struct TopicName<'a> {
        /// Name of the topic.
        topic: &'a str = "topic",
    }
}

ext_header! {
    /// GET_ALL_TOPIC_CONFIG (21). Answered with [`TopicConfigTable`]; all fields are of 5.x's way in pages.
    pub struct GetAllTopicConfig<'a> {
        /// The page begins with this topic's place.
        topic_seq: Option<i32> = "topicSeq",
        /// The version that the pages before had, as JSON.
        data_version: Option<&'a str> = "dataVersion",
        /// At most so many topics.
        max_topic_num: Option<i32> = "maxTopicNum",
    }
}

ext_header! {
    /// The fields of the answer to 21 (5.x).
    pub struct GetAllTopicConfigReply {
        /// How many there are in all.
        total_topic_num: Option<i32> = "totalTopicNum",
    }
}

/// The body that answers 21.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Topics by name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// The body of UPDATE_AND_CREATE_TOPIC_LIST (18, 5.x).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigList {
    /// The topics.
    #[serde(deserialize_with = "lenient::list")]
    pub topic_config_list: Vec<TopicConfig>,
}

json_body!(answer: TopicConfigTable, TopicConfig);
json_body!(request: TopicConfigList);

/// Changes of a topic's attributes as text: `+name=value,-name`.
#[derive(Clone, Copy, Debug)]
pub struct AttributeChanges<'a>(pub &'a str);

impl<'a> AttributeChanges<'a> {
    /// The changes one after the other: a name with its value, or with `None` when the attribute is removed; an error holds
    /// the part that is no change.
    pub fn iter(&self) -> impl Iterator<Item = Result<(&'a str, Option<&'a str>), &'a str>> {
        self.0.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = match part.split_at_checked(1) {
                Some(("+", set)) => set.split_once('=').map(|(name, value)| (name, Some(value))).ok_or(part)?,
                Some(("-", name)) if !name.contains('=') => (name, None),
                _ => return Err(part),
            };
            if name.trim().is_empty() { Err(part) } else { Ok((name.trim(), value.map(str::trim))) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_and_removed() {
        let changes: Vec<_> = AttributeChanges("+message.type=FIFO, -reserve.time,+a=b=c,").iter().collect();
        let expected = [Ok(("message.type", Some("FIFO"))), Ok(("reserve.time", None)), Ok(("a", Some("b=c")))];
        assert_eq!(changes, expected);
        for bad in ["message.type=FIFO", "+", "+a", "-", "-a=b", "+=b"] {
            assert_eq!(AttributeChanges(bad).iter().collect::<Vec<_>>(), [Err(bad)]);
        }
        assert_eq!(AttributeChanges("").iter().count(), 0);
    }
}
