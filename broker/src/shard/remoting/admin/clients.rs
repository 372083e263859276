//! Who is connected, and who reads what (203, 204, 328, 300, 343, 345).

use super::super::super::Shard;
use super::super::super::clients::Client;
use super::super::super::connection::Connection;
use super::super::super::io::ConnectionId;
use super::super::super::request::Rejection;
use super::super::{Call, Handled};
use ringmq_proto::code::Code;
use ringmq_proto::remoting::admin::clients::{
    ConnectionInfo, ConsumerConnections, GetConsumerConnections, GetProducerConnections, GroupList,
    ProducerConnections, ProducerInfo, ProducerTable, QuerySubscription, QuerySubscriptionReply, QueryTopicsByConsumer,
};
use ringmq_proto::remoting::admin::topics::TopicName;
use ringmq_proto::remoting::namesrv::TopicList;
use ringmq_proto::remoting::{ExtFields, ExtHeader};
use std::collections::BTreeSet;

impl Shard {
    pub(super) fn consumer_connections(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetConsumerConnections::decode(&call.header.ext)?;
        let Some(group) = self.clients.consumers_of(request.consumer_group).cloned() else {
            let remark = format!("the consumer group[{}] not online", request.consumer_group.escape_default());
            return Err(Rejection::because(Code::CONSUMER_NOT_ONLINE, remark).into());
        };
        let body = ConsumerConnections {
            connection_set: self.connection_infos(connection, group.members.iter()),
            consume_from_where: group.consume_from,
            consume_type: group.consume_type,
            message_model: group.message_model,
            subscription_table: group
                .subscriptions
                .into_iter()
                .map(|(topic, subscription)| (topic.into(), subscription.data))
                .collect(),
        };
        self.answer_with(connection, call.token, ExtFields::new(), &body.encode());
        Ok(())
    }

    pub(super) fn producer_connections(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = GetProducerConnections::decode(&call.header.ext)?;
        let Some(members) = self.clients.producers_of(request.producer_group).cloned() else {
            let remark = format!("the producer group[{}] not exist", request.producer_group.escape_default());
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
        let body = ProducerConnections { connection_set: self.connection_infos(connection, members.iter()) };
        self.answer_with(connection, call.token, ExtFields::new(), &body.encode());
        Ok(())
    }

    fn connection_infos<'a>(
        &mut self,
        asker: &Connection,
        members: impl Iterator<Item = (&'a ConnectionId, &'a Client)>,
    ) -> Vec<ConnectionInfo> {
        let info = |(id, client): (&ConnectionId, &Client)| ConnectionInfo {
            client_addr: self.address_of(asker, *id),
            client_id: client.id.to_string(),
            language: client.language.name().to_owned(),
            version: client.version,
        };
        members.map(info).collect()
    }

    /// Where a client comes from. The asker's own connection is not in the table while it asks.
    fn address_of(&mut self, asker: &Connection, id: ConnectionId) -> String {
        if asker.id == id {
            return asker.peer.to_string();
        }
        self.connections.get_mut(id).map(|connection| connection.peer.to_string()).unwrap_or_default()
    }

    pub(super) fn all_producers(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let groups: Vec<_> =
            self.clients.producer_groups().map(|(name, members)| (name.to_owned(), members.clone())).collect();
        let mut table = ProducerTable::default();
        for (group, members) in groups {
            let info = |(id, client): (&ConnectionId, &Client)| ProducerInfo {
                client_id: client.id.to_string(),
                language: client.language.name().to_owned(),
                last_update_timestamp: client.heard_ms.cast_signed(),
                // As Java writes an address.
                remote_ip: format!("/{}", self.address_of(connection, *id)),
                version: client.version,
            };
            table.data.insert(group, members.iter().map(info).collect());
        }
        self.answer_with(connection, call.token, ExtFields::new(), &table.encode());
        Ok(())
    }

    /// The groups that read a topic now, or have committed an offset of it.
    pub(super) fn groups_of(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = TopicName::decode(&call.header.ext)?;
        let reads = |topic: &str| topic == request.topic;
        let online = self.clients.consumer_groups().filter(|(_, group)| group.subscriptions.keys().any(|t| reads(t)));
        let mut groups: BTreeSet<String> = online.map(|(name, _)| name.to_owned()).collect();
        groups.extend(self.store.groups_of_topic(request.topic).map(|group| group.name.clone()));
        let body = GroupList { group_list: groups.into_iter().collect() }.encode();
        self.answer_with(connection, call.token, ExtFields::new(), &body);
        Ok(())
    }

    /// The topics that a group has committed an offset of.
    pub(super) fn topics_of(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = QueryTopicsByConsumer::decode(&call.header.ext)?;
        let topics: BTreeSet<String> =
            self.store.offsets_of_group(request.group).map(|found| found.topic.record.name.clone()).collect();
        let list = TopicList { topic_list: topics.into_iter().collect(), ..TopicList::default() };
        self.answer_with(connection, call.token, ExtFields::new(), &list.encode());
        Ok(())
    }

    pub(super) fn subscription_of(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = QuerySubscription::decode(&call.header.ext)?;
        let known = self.clients.consumers_of(request.group);
        let subscription = known.and_then(|group| group.subscriptions.get(request.topic));
        let reply = QuerySubscriptionReply {
            group: request.group.to_owned(),
            subscription_data: subscription.map(|subscription| subscription.data.clone()),
            topic: request.topic.to_owned(),
        };
        self.answer_with(connection, call.token, ExtFields::new(), &reply.encode());
        Ok(())
    }
}
