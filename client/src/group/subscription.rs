//! What a group reads of a topic, as the application says it and as brokers hear it.

use ringmq_proto::message::tag_hash;
use ringmq_proto::remoting::heartbeat::{EXPRESSION_SQL92, EXPRESSION_TAG, SubscriptionData};

use crate::message::Message;

/// The expression for all messages.
const ALL: &str = "*";

/// Which messages of a topic a group reads. All members of a group must say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// All.
    #[default]
    All,
    /// Those with one of the tags of `TagA || TagB`.
    Tags(String),
    /// Those whose properties fulfil an SQL92 condition, `a > 5 AND b IS NOT NULL`, evaluated by the broker.
    Sql(String),
}

impl Filter {
    /// As it is written in heartbeats. `version` is the time of the last change in ms.
    pub(crate) fn subscription(&self, topic: &str, version: i64) -> SubscriptionData {
        let topic = topic.to_owned();
        let all = SubscriptionData { topic, sub_string: ALL.to_owned(), sub_version: version, ..Default::default() };
        match self {
            Self::All => all,
            Self::Tags(expression) => {
                let tags: Vec<String> =
                    expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
                if tags.is_empty() || expression.trim() == ALL {
                    return all;
                }
                SubscriptionData {
                    sub_string: expression.clone(),
                    code_set: tags.iter().map(|tag| tag_hash(tag)).collect(),
                    tags_set: tags,
                    expression_type: EXPRESSION_TAG.to_owned(),
                    ..all
                }
            }
            Self::Sql(expression) => {
                SubscriptionData { sub_string: expression.clone(), expression_type: EXPRESSION_SQL92.to_owned(), ..all }
            }
        }
    }
}

/// Whether a message that a broker delivered is meant: brokers compare hashes of tags, and hashes collide.
pub(crate) fn is_meant(subscription: &SubscriptionData, message: &Message) -> bool {
    subscription.tags_set.is_empty()
        || message.tag().is_some_and(|tag| subscription.tags_set.iter().any(|wanted| wanted == tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of a captured heartbeat of RocketMQ 4.9.8.
    #[test]
    fn tags_are_split_and_hashed_as_in_java() {
        let data = Filter::Tags("TagA||TagB".to_owned()).subscription("T", 7);
        assert_eq!((&*data.sub_string, &data.code_set[..]), ("TagA||TagB", &[2_598_919, 2_598_920][..]));
        assert_eq!(data.tags_set, ["TagA", "TagB"]);
        assert_eq!((&*data.expression_type, data.sub_version), ("TAG", 7));
    }

    #[test]
    fn nothing_and_a_star_are_all() {
        for filter in [Filter::All, Filter::Tags("*".to_owned()), Filter::Tags(" || ".to_owned())] {
            let data = filter.subscription("T", 0);
            assert_eq!((&*data.sub_string, data.tags_set.len()), ("*", 0));
        }
    }
}
