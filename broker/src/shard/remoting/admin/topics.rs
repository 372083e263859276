//! Topics, made, changed, removed and read by administrators (17, 18, 215, 21, 351, 305).

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::io::TopicShape;
use super::super::super::names::{check_topic, is_system_topic};
use super::super::super::request::Rejection;
use super::super::super::topics::TopicWish;
use super::super::offsets::no_topic;
use super::super::{Call, Handled};
use crate::now::Now;
use crate::store::Attributes;
use crate::store::state::records::TopicRecord;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::topics::{
    AttributeChanges, GetAllTopicConfigReply, TopicConfigList, TopicConfigTable, TopicName, UpdateTopic,
};
use ringmq_proto::remoting::namesrv::TopicList;
use ringmq_proto::remoting::registration::{DataVersion, TopicConfig};
use ringmq_proto::remoting::{ExtFields, ExtHeader};

const SINGLE_TAG: &str = "SINGLE_TAG";
const MULTI_TAG: &str = "MULTI_TAG";

/// The attribute that keeps RocketMQ's order flag: that clients send in order, on all shards. RocketMQ has none of this name.
const ORDER: &str = "order";

fn set_order(attributes: &mut Attributes, order: bool) -> Result<(), Rejection> {
    match order {
        true => attributes.set(ORDER, "true")?,
        false => drop(attributes.remove(ORDER)),
    }
    Ok(())
}

/// A topic as RocketMQ's bodies say it.
fn config_of(record: &TopicRecord) -> TopicConfig {
    let told = record.attributes.iter().filter(|(key, _)| *key != ORDER);
    let narrow = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    TopicConfig {
        attributes: told.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        order: record.ordered || record.attributes.get(ORDER).is_some(),
        perm: narrow(record.perm),
        read_queue_nums: narrow(record.read_queue_count),
        topic_filter_type: if record.multi_tag { MULTI_TAG } else { SINGLE_TAG }.to_owned(),
        topic_name: record.name.clone(),
        topic_sys_flag: record.sys_flag.cast_signed(),
        write_queue_nums: narrow(record.write_queue_count),
    }
}

impl Shard {
    pub(super) fn update_topic(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = UpdateTopic::decode(&call.header.ext)?;
        let mut attributes = self.attributes_of(request.topic);
        for change in AttributeChanges(request.attributes.unwrap_or_default()).iter() {
            match change {
                Ok((name, Some(value))) => {
                    check_attribute(name, value)?;
                    attributes.set(name, value)?;
                }
                Ok((name, None)) => {
                    attributes.remove(name);
                }
                Err(part) => {
                    let remark = format!("the attribute {part:?} is neither +name=value nor -name");
                    return Err(Rejection::because(Code::INVALID_PARAMETER, remark).into());
                }
            }
        }
        set_order(&mut attributes, request.order.unwrap_or(false))?;
        let wish = TopicWish {
            name: request.topic,
            shape: TopicShape {
                read_queue_count: count(request.read_queue_nums)?,
                write_queue_count: count(request.write_queue_nums)?,
                perm: count(request.perm)?,
                sys_flag: request.topic_sys_flag.unwrap_or(0).cast_unsigned(),
                multi_tag: request.topic_filter_type == MULTI_TAG,
                attributes,
            },
            // RocketMQ's order flag says only that clients send in order: the topic stays on all shards.
            ordered: false,
        };
        self.create_topic(now, connection, call.token, wish);
        Ok(())
    }

    fn attributes_of(&self, name: &str) -> Attributes {
        self.store.state().topic(name).map(|topic| topic.record.attributes.clone()).unwrap_or_default()
    }

    /// Several at once: answered when the last one is in force.
    pub(super) fn update_topics(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let list = TopicConfigList::decode(call.body())?.topic_config_list;
        let mut wishes = Vec::with_capacity(list.len());
        for topic in &list {
            let mut attributes = self.attributes_of(&topic.topic_name);
            set_order(&mut attributes, topic.order)?;
            wishes.push(TopicWish {
                name: &topic.topic_name,
                shape: TopicShape {
                    read_queue_count: count(topic.read_queue_nums)?,
                    write_queue_count: count(topic.write_queue_nums)?,
                    perm: count(topic.perm)?,
                    sys_flag: topic.topic_sys_flag.cast_unsigned(),
                    multi_tag: topic.topic_filter_type == MULTI_TAG,
                    attributes,
                },
                ordered: false,
            });
        }
        let Some(last) = wishes.pop() else {
            let remark = "the list names no topic: name at least one".to_owned();
            return Err(Rejection::because(Code::INVALID_PARAMETER, remark).into());
        };
        for wish in wishes {
            self.change_topic(now, wish)?;
        }
        self.create_topic(now, connection, call.token, last);
        Ok(())
    }

    /// Removing what is not there is done, as RocketMQ sees it.
    pub(super) fn remove_topic(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = TopicName::decode(&call.header.ext)?;
        if request.topic.is_empty() || is_system_topic(request.topic) {
            check_topic(request.topic)?;
        }
        if self.store.state().topic(request.topic).is_none() {
            self.answer_with(connection, call.token, ExtFields::new(), &[]);
        } else {
            self.delete_topic(now, connection, call.token, request.topic);
        }
        Ok(())
    }

    pub(super) fn all_topics(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let topics = self.store.state().topics_after("").filter(|topic| !topic.record.deleted);
        let topic_config_table: std::collections::BTreeMap<_, _> =
            topics.map(|topic| (topic.record.name.clone(), config_of(&topic.record))).collect();
        let changes: u64 = self.store.state().topics_after("").map(|topic| topic.record.version).sum();
        let total = i32::try_from(topic_config_table.len()).unwrap_or(i32::MAX);
        let data_version = DataVersion { counter: changes.cast_signed(), ..DataVersion::default() };
        let body = TopicConfigTable { data_version, topic_config_table }.encode();
        let reply = GetAllTopicConfigReply { total_topic_num: Some(total) };
        self.answer_with(connection, call.token, reply.to_ext(), &body);
        Ok(())
    }

    pub(super) fn one_topic(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = TopicName::decode(&call.header.ext)?;
        let topic = self.store.state().topic(request.topic).ok_or_else(|| no_topic(request.topic))?;
        let body = config_of(&topic.record).encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }

    pub(super) fn system_topics(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let topics = self.store.state().topics_after("").filter(|topic| !topic.record.deleted);
        let names = topics.map(|topic| topic.record.name.clone()).filter(|name| is_system_topic(name)).collect();
        let list = TopicList { topic_list: names, ..TopicList::default() };
        self.answer_with(connection, call.token, ExtFields::new(), &list.encode());
        Ok(())
    }
}

fn count(number: i32) -> Result<u32, Rejection> {
    u32::try_from(number).map_err(|_| {
        Rejection::because(Code::INVALID_PARAMETER, format!("{number} is negative: give a number of 0 or more"))
    })
}

/// What an attribute's value may be; none: a whole number.
const ATTRIBUTES: [(&str, &[&str]); 4] = [
    ("message.type", &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
    ("cleanup.policy", &["DELETE", "COMPACTION"]),
    ("queue.type", &["SimpleCQ", "BatchCQ"]),
    ("reserve.time", &[]),
];

/// RocketMQ's attributes of topics, in its words. A topic that is to keep the newest message of each key is refused: a broker
/// that took it for any other would drop what must stay.
fn check_attribute(name: &str, value: &str) -> Result<(), Rejection> {
    let remark = match ATTRIBUTES.iter().find(|(known, _)| *known == name) {
        None => format!("unsupported key: {}", name.escape_default()),
        Some((_, [])) if value.parse::<i64>().is_ok() => return Ok(()),
        Some((_, [])) => format!("{} is not a whole number", value.escape_default()),
        Some(("cleanup.policy", _)) if value == "COMPACTION" => {
            "cleanup.policy=COMPACTION is not supported by this broker: it deletes by age and size only".to_owned()
        }
        Some((_, values)) if values.contains(&value) => return Ok(()),
        Some((_, values)) => format!("value is not in set: [{}]", values.join(", ")),
    };
    Err(Rejection::because(Code::SYSTEM_ERROR, remark))
}
