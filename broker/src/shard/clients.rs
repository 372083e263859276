//! Who is connected: the producers and consumers of each group, and what each group subscribes to.
//!
//! Heartbeats say it, closed connections and unregistrations take it back at once. All of it is memory: clients say it
//! again every 30 s and whenever they connect.

use super::filter::Filter;
use super::io::ConnectionId;
use super::limits::{MEMBERSHIP_COUNT_MAX, SUBSCRIPTION_COUNT_MAX};
use super::request::Rejection;
use ringmq_proto::code::Code;
use ringmq_proto::remoting::Language;
use ringmq_proto::remoting::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One client in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// `ip@instance`, chosen by the client.
    pub(super) id: Box<str>,
    /// What it is written in.
    pub(super) language: Language,
    /// Its RocketMQ version ordinal.
    pub(super) version: i32,
    /// When it was last heard, in ms of the wall clock.
    pub(super) heard_ms: u64,
}

/// What a group wants of a topic, as its newest heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// As the client said it.
    pub(super) data: SubscriptionData,
    /// What its expression lets through.
    pub(super) filter: Arc<Filter>,
}

impl Subscription {
    /// Whether it has this expression.
    pub(super) fn is(&self, expression_type: &str, expression: &str) -> bool {
        self.data.sub_string == expression
            && (self.data.expression_type == expression_type || expression_type.is_empty())
    }
}

/// The consumers of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConsumerGroup {
    /// By connection.
    pub(super) members: BTreeMap<ConnectionId, Client>,
    pub(super) consume_type: ConsumeType,
    pub(super) message_model: MessageModel,
    /// Where a group without an offset begins.
    pub(super) consume_from: ConsumeFromWhere,
    /// By topic.
    pub(super) subscriptions: BTreeMap<Box<str>, Subscription>,
}

/// What a client says of one of its consumers.
#[derive(Clone, Debug)]
pub(super) struct ConsumerNews<'a> {
    pub(super) group: &'a str,
    pub(super) consume_type: ConsumeType,
    pub(super) message_model: MessageModel,
    pub(super) consume_from: ConsumeFromWhere,
    pub(super) subscriptions: Vec<Subscription>,
}

#[derive(Debug, Default)]
struct Memberships {
    client_id: Box<str>,
    consumer_groups: Vec<Box<str>>,
    producer_groups: Vec<Box<str>>,
}

/// All clients of a shard.
#[derive(Debug, Default)]
pub(super) struct Clients {
    consumers: BTreeMap<Box<str>, ConsumerGroup>,
    producers: BTreeMap<Box<str>, BTreeMap<ConnectionId, Client>>,
    of_connection: BTreeMap<ConnectionId, Memberships>,
    /// Where each client was last heard.
    by_id: BTreeMap<Box<str>, ConnectionId>,
    membership_count: usize,
}

const TOO_MANY: Rejection = Rejection::new(
    Code::SYSTEM_BUSY,
    "this broker knows as many clients and subscriptions as it may: close some, or use another broker",
);

impl Clients {
    /// A consumer lives. Says whether the group's members or subscriptions have changed.
    pub(super) fn consumer(
        &mut self,
        connection: ConnectionId,
        client: &Client,
        news: ConsumerNews<'_>,
    ) -> Result<bool, Rejection> {
        if self.membership_count >= MEMBERSHIP_COUNT_MAX || news.subscriptions.len() > SUBSCRIPTION_COUNT_MAX {
            return Err(TOO_MANY);
        }
        let is_new = !self.consumers.get(news.group).is_some_and(|group| group.members.contains_key(&connection));
        if is_new {
            self.membership_count += 1;
            self.memberships(connection, client).consumer_groups.push(news.group.into());
        }
        let group = self.consumers.entry(news.group.into()).or_default();
        (group.consume_type, group.message_model) = (news.consume_type, news.message_model);
        group.consume_from = news.consume_from;
        group.members.insert(connection, client.clone());
        let mut changed = is_new;
        // What no member names any more goes with the last news: all members of a group must subscribe alike.
        let before = group.subscriptions.len();
        group.subscriptions.retain(|topic, _| news.subscriptions.iter().any(|wanted| *wanted.data.topic == **topic));
        changed |= group.subscriptions.len() != before;
        for subscription in news.subscriptions {
            match group.subscriptions.get_mut(subscription.data.topic.as_str()) {
                Some(known) if known.data.sub_version >= subscription.data.sub_version => {}
                Some(known) => {
                    changed |= !known.is(&subscription.data.expression_type, &subscription.data.sub_string);
                    *known = subscription;
                }
                None => {
                    group.subscriptions.insert(subscription.data.topic.as_str().into(), subscription);
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    /// A producer lives.
    pub(super) fn producer(&mut self, connection: ConnectionId, client: &Client, group: &str) -> Result<(), Rejection> {
        if self.membership_count >= MEMBERSHIP_COUNT_MAX {
            return Err(TOO_MANY);
        }
        let members = self.producers.entry(group.into()).or_default();
        if members.insert(connection, client.clone()).is_none() {
            self.membership_count += 1;
            self.memberships(connection, client).producer_groups.push(group.into());
        }
        Ok(())
    }

    /// A client leaves a group of consumers. Says whether it was in it.
    pub(super) fn consumer_left(&mut self, connection: ConnectionId, group: &str) -> bool {
        if let Some(memberships) = self.of_connection.get_mut(&connection) {
            memberships.consumer_groups.retain(|candidate| **candidate != *group);
        }
        self.remove_consumer(connection, group)
    }

    /// A client leaves a group of producers.
    pub(super) fn producer_left(&mut self, connection: ConnectionId, group: &str) {
        if let Some(memberships) = self.of_connection.get_mut(&connection) {
            memberships.producer_groups.retain(|candidate| **candidate != *group);
        }
        self.remove_producer(connection, group);
    }

    /// A connection is gone. Gives the groups of consumers that have lost a member.
    pub(super) fn closed(&mut self, connection: ConnectionId) -> Vec<Box<str>> {
        let Memberships { client_id, consumer_groups, producer_groups } =
            self.of_connection.remove(&connection).unwrap_or_default();
        if self.by_id.get(&client_id) == Some(&connection) {
            self.by_id.remove(&client_id);
        }
        for group in producer_groups {
            self.remove_producer(connection, &group);
        }
        consumer_groups.into_iter().filter(|group| self.remove_consumer(connection, group)).collect()
    }

    fn remove_consumer(&mut self, connection: ConnectionId, name: &str) -> bool {
        let Some(group) = self.consumers.get_mut(name) else { return false };
        if group.members.remove(&connection).is_none() {
            return false;
        }
        self.membership_count -= 1;
        if group.members.is_empty() {
            self.consumers.remove(name);
        }
        true
    }

    fn remove_producer(&mut self, connection: ConnectionId, name: &str) {
        let Some(members) = self.producers.get_mut(name) else { return };
        if members.remove(&connection).is_some() {
            self.membership_count -= 1;
        }
        if members.is_empty() {
            self.producers.remove(name);
        }
    }

    /// The consumers of a group, when there are any.
    pub(super) fn consumers_of(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// All groups that consume now.
    pub(super) fn consumer_groups(&self) -> impl Iterator<Item = (&str, &ConsumerGroup)> {
        self.consumers.iter().map(|(name, group)| (&**name, group))
    }

    /// The producers of a group, when there are any.
    pub(super) fn producers_of(&self, group: &str) -> Option<&BTreeMap<ConnectionId, Client>> {
        self.producers.get(group)
    }

    /// All groups that produce now.
    pub(super) fn producer_groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<ConnectionId, Client>)> {
        self.producers.iter().map(|(name, members)| (&**name, members))
    }

    /// A producer of a group; another one each time that `turn` is another.
    pub(super) fn producer_of(&self, group: &str, turn: u64) -> Option<ConnectionId> {
        let members = self.producers.get(group)?;
        let turn = usize::try_from(turn % members.len().max(1) as u64).unwrap_or(0);
        members.keys().nth(turn).copied()
    }

    /// Where a client can be reached, whatever groups it is in.
    pub(super) fn find_client(&self, id: &str) -> Option<ConnectionId> {
        self.by_id.get(id).copied()
    }

    fn memberships(&mut self, connection: ConnectionId, client: &Client) -> &mut Memberships {
        self.by_id.insert(client.id.clone(), connection);
        let memberships = self.of_connection.entry(connection).or_default();
        memberships.client_id = client.id.clone();
        memberships
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 1 }
    }

    fn client(id: &str) -> Client {
        Client { id: id.into(), language: Language::JAVA, version: 409, heard_ms: 0 }
    }

    fn news(topics: &[(&str, &str, i64)]) -> ConsumerNews<'static> {
        let subscription = |(topic, expression, version): &(&str, &str, i64)| Subscription {
            data: SubscriptionData {
                topic: (*topic).into(),
                sub_string: (*expression).into(),
                sub_version: *version,
                ..SubscriptionData::default()
            },
            filter: Arc::new(Filter::All),
        };
        ConsumerNews {
            group: "g",
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from: ConsumeFromWhere::LastOffset,
            subscriptions: topics.iter().map(subscription).collect(),
        }
    }

    #[test]
    fn only_new_members_and_other_subscriptions_are_changes() {
        let mut clients = Clients::default();
        let mut say = |slot, topics: &[_]| clients.consumer(connection(slot), &client("c"), news(topics));
        assert_eq!(say(1, &[("t", "*", 1)]), Ok(true));
        assert_eq!(say(1, &[("t", "*", 1)]), Ok(false));
        assert_eq!(say(1, &[("t", "*", 2)]), Ok(false), "said anew, the same");
        assert_eq!(say(1, &[("t", "a", 1)]), Ok(false), "older news");
        assert_eq!(say(1, &[("t", "a", 3)]), Ok(true));
        assert_eq!(say(2, &[("t", "a", 3)]), Ok(true), "a new member");
        assert_eq!(say(2, &[("t", "a", 3), ("u", "*", 3)]), Ok(true));
        assert_eq!(say(2, &[("t", "a", 3)]), Ok(true), "one topic less");
        assert_eq!(clients.consumers_of("g").map(|group| group.subscriptions.len()), Some(1));
    }

    #[test]
    fn closed_connection_leaves_every_group_at_once() {
        let mut clients = Clients::default();
        for slot in 1..=2 {
            assert_eq!(clients.consumer(connection(slot), &client("c"), news(&[])), Ok(true));
            assert_eq!(clients.producer(connection(slot), &client("p"), "pg"), Ok(()));
        }
        assert_eq!(clients.closed(connection(1)), vec![Box::from("g")]);
        assert_eq!(clients.closed(connection(1)), Vec::<Box<str>>::new());
        assert_eq!(clients.find_client("p"), Some(connection(2)));
        assert!(clients.consumer_left(connection(2), "g") && !clients.consumer_left(connection(2), "g"));
        clients.producer_left(connection(2), "pg");
        assert!(clients.consumers_of("g").is_none() && clients.membership_count == 0);
    }
}
