//! What a broker or a name server may send, read as the client reads it: for who hands it any bytes (`proto/fuzz`). Nothing
//! for applications.

use bytes::Bytes;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::remoting::client_push::PushReply;
use ringmq_proto::remoting::route::{ClusterInfo, TopicRoute};

use crate::compression::INFLATED_BODY_SIZE_BYTES_MAX;
use crate::message::{self, Message, MessageQueue};

fn queue() -> MessageQueue {
    MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: 0 }
}

/// Reads the messages of a pull in RocketMQ's layout, of a query, and of a question about one message.
pub fn stored(bytes: &Bytes, from: u64) {
    let from = QueueOffset::new(from);
    let mut listed = Vec::new();
    let whole = message::decode_stored_list(&queue(), bytes, from, &mut listed);
    let mut damaged = 0;
    let (readable, rest_at) = message::decode_readable(&queue(), bytes, from, |_| damaged += 1);
    match whole {
        Ok(at) => assert!(damaged == 0 && readable.len() == listed.len() && at == rest_at),
        Err(_) => assert!(damaged > 0, "the first that is damaged is told"),
    }
    assert!(readable.len() >= listed.len(), "no more is left out than is damaged");
    readable.iter().for_each(read);
    if let Ok(found) = message::decode_found(&"b".into(), bytes) {
        found.iter().for_each(read);
    }
    if let Ok(one) = message::decode_stored("b".into(), bytes) {
        read(&one);
    }
}

/// Reads the records of a native pull.
pub fn records(bytes: &Bytes, from: u64) {
    let mut messages = Vec::new();
    let whole = message::decode_records(&queue(), bytes, QueueOffset::new(from), &mut messages);
    assert!(whole.is_err() || messages.iter().all(|message| message.queue_offset.get() >= from));
    messages.iter().for_each(read);
}

/// Reads the reply to a request.
pub fn reply(header: &PushReply<'_>, body: &Bytes) {
    if let Some(message) = Message::from_reply(header, body) {
        read(&message);
    }
}

/// Reads a name server's answers.
pub fn routes(bytes: &[u8]) {
    if let Ok(route) = TopicRoute::decode(bytes) {
        crate::cluster::read_route("T", &route);
    }
    if let Ok(info) = ClusterInfo::decode(bytes) {
        crate::cluster::read_brokers(&info);
    }
}

/// All that an application can ask of a message.
fn read(message: &Message) {
    assert!(message.body.len() <= INFLATED_BODY_SIZE_BYTES_MAX);
    let _ = (message.topic(), message.unique_id(), message.tag(), message.keys().count(), message.message_id());
    let _ = (message.born_host(), message.store_host(), message.properties().iter().count());
}
