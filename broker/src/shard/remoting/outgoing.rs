//! Requests that the shard sends to clients, on the connections that they opened.

use super::super::Shard;
use super::super::connection::{Connection, Phase};
use super::super::io::{ConnectionId, Effects};
use super::questions::Asker;
use ringmq_proto::remoting::client_push::NotifyConsumerIdsChanged;
use ringmq_proto::remoting::{ExtHeader, Header, SerializeType, encode_frame, request_code as code};
use std::collections::BTreeMap;

/// What the shard keeps of a client that speaks remoting.
#[derive(Debug, Default)]
pub(in crate::shard) struct Peer {
    /// The shard's own number of what it asked last.
    last_opaque: i32,
    /// Who waits for its answers, by the shard's own number of the question.
    pub(super) askers: BTreeMap<i32, Asker>,
}

impl Peer {
    pub(super) fn next_opaque(&mut self) -> i32 {
        self.last_opaque = self.last_opaque.wrapping_add(1);
        self.last_opaque
    }
}

impl Shard {
    /// Sends a one-way request to a client.
    pub(in crate::shard) fn tell_client<'a>(
        &mut self,
        id: ConnectionId,
        request_code: i32,
        ext: &impl ExtHeader<'a>,
        body: &[u8],
        fx: &mut Effects,
    ) {
        let Some(mut connection) = self.connections.lend(id) else { return };
        self.tell(&mut connection, request_code, ext, body);
        connection.announce_output(fx);
        self.connections.give_back(connection);
    }

    pub(super) fn tell<'a>(
        &mut self,
        connection: &mut Connection,
        request_code: i32,
        ext: &impl ExtHeader<'a>,
        body: &[u8],
    ) {
        if connection.phase != Phase::Remoting {
            return;
        }
        let opaque = connection.peer_client.get_or_insert_default().next_opaque();
        let header = Header::request(request_code, opaque).oneway().with_ext(ext);
        self.send_request(connection, &header, body);
    }

    pub(super) fn send_request(&mut self, connection: &mut Connection, header: &Header<'_>, body: &[u8]) {
        connection.output.append(&mut self.spare, |out| encode_frame(out, SerializeType::Json, header, body));
    }

    /// The members of these groups have changed: all of them hear of it and divide the queues anew.
    pub(in crate::shard) fn notify_changed_groups(&mut self, fx: &mut Effects) {
        for group in std::mem::take(&mut self.changed_groups) {
            let Some(consumers) = self.clients.consumers_of(&group) else { continue };
            let members: Vec<_> = consumers.members.keys().copied().collect();
            let ext = NotifyConsumerIdsChanged { consumer_group: &group };
            for id in members {
                self.tell_client(id, code::NOTIFY_CONSUMER_IDS_CHANGED, &ext, &[], fx);
            }
        }
    }
}
