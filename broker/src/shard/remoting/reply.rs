//! Request-reply: an answer to a message is pushed to the client that asked, on the connection that it opened.
//!
//! The answer names its asker by client id (REPLY_TO_CLIENT). It is not stored: who is not there any more has stopped
//! waiting. An asker who is not known here may hang on another shard of the process: the control plane asks them.

use super::super::Shard;
use super::super::connection::Connection;
use super::super::io::{ControlOutput, Effects, HandedReply};
use super::super::limits::{HANDOVER_BYTES_MAX, HANDOVER_NS_MAX};
use super::super::request::{Dialect, Rejection, STOPPING, TOO_MANY_WAITING, Token};
use super::super::waiting::{WaitId, What};
use super::Handled;
use crate::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::message::properties::{Properties, append_property, names};
use ringmq_proto::remoting::client_push::PushReply;
use ringmq_proto::remoting::direct::Head;
use ringmq_proto::remoting::request_code as code;
use ringmq_proto::remoting::send::{SendHeader, SendReply};
use ringmq_proto::remoting::{ExtHeader, Frame, FrameError, Header};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Shard {
    /// Carries out the frame of a reply (324, 325). `Ok(false)`: it is the answer to something.
    pub(super) fn remoting_reply(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        frame: &Frame<'_>,
        request_code: i32,
        fx: &mut Effects,
    ) -> Result<bool, FrameError> {
        let mut scratch = Vec::new();
        let (head, send) = SendHeader::read_send(request_code, frame, &mut scratch)?;
        if head.is_response() {
            return Ok(false);
        }
        let Head { code, opaque, .. } = head;
        let dialect = Dialect::Remoting(frame.serialize_type);
        let token = Token { id: opaque.cast_unsigned(), code, dialect, oneway: head.is_oneway() };
        let handled = match send {
            _ if self.is_stopping() => Err(STOPPING.into()),
            Err(error) => Err(error.into()),
            Ok(send) => self.push_reply(now, connection, token, &send, frame.body, fx),
        };
        if let Err(stop) = handled {
            self.stopped(now, connection, token, frame, stop);
        }
        Ok(true)
    }

    fn push_reply(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        send: &SendHeader<'_>,
        body: &[u8],
        fx: &mut Effects,
    ) -> Handled {
        let given = send.properties.unwrap_or_default();
        let Some(asker) = Properties::new(given.as_bytes()).get_str(names::REPLY_TO_CLIENT) else {
            return Err(NO_ASKER.into());
        };
        let found = self.clients.find_client(asker);
        if found.is_none() && self.settings.sibling_count == 0 {
            return Err(no_asker(asker).into());
        }
        let mut properties = given.as_bytes().to_vec();
        append_property(&mut properties, names::PUSH_REPLY_TIME.as_bytes(), now.wall_ms.to_string().as_bytes());
        let properties = String::from_utf8_lossy(&properties);
        let (born_host, store_host) = (connection.peer.to_string(), self.store.options().advertised.to_string());
        let push = PushReply {
            producer_group: send.producer_group,
            topic: send.topic,
            default_topic: send.default_topic,
            default_topic_queue_nums: send.default_topic_queue_nums,
            queue_id: send.queue_id,
            sys_flag: send.sys_flag,
            born_timestamp: send.born_timestamp,
            flag: send.flag,
            properties: Some(&properties),
            reconsume_times: send.reconsume_times,
            unit_mode: send.unit_mode,
            born_host: &born_host,
            store_host: &store_host,
            store_timestamp: now.wall_ms.cast_signed(),
        };
        match found {
            None => {
                let what = What::Handover { queue_id: send.queue_id, asker: asker.into() };
                let (client_id, ext) = (asker.to_owned(), push.to_ext().into_owned());
                return self.hand_over(
                    now,
                    (connection, token),
                    what,
                    HandedReply { client_id, ext, body: body.into() },
                    fx,
                );
            }
            Some(id) if id == connection.id => self.tell(connection, code::PUSH_REPLY_MESSAGE_TO_CLIENT, &push, body),
            Some(id) => self.tell_client(id, code::PUSH_REPLY_MESSAGE_TO_CLIENT, &push, body, fx),
        }
        self.reply_pushed(connection, token, send.queue_id);
        Ok(())
    }

    /// Tells who answered that the asker has it.
    fn reply_pushed(&mut self, connection: &mut Connection, token: Token, queue_id: i32) {
        let reply = SendReply {
            msg_id: "0",
            queue_id,
            queue_offset: 0,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
            region: Some(super::send::REGION),
            trace_on: Some(true),
        };
        self.answer_with(connection, token, reply.to_ext(), &[]);
    }

    /// Offers an answer to the siblings; who answered waits for what they say.
    fn hand_over(
        &mut self,
        now: &Now,
        (connection, token): (&mut Connection, Token),
        what: What,
        reply: HandedReply,
        fx: &mut Effects,
    ) -> Handled {
        let size_bytes = reply.body.len();
        if self.handovers.size_bytes + size_bytes > HANDOVER_BYTES_MAX {
            return Err(TOO_MANY_WAITING.into());
        }
        let id = self.wait(now, connection, token, what, HANDOVER_NS_MAX).ok_or(TOO_MANY_WAITING)?;
        self.handovers.last_ticket += 1;
        let ticket = self.handovers.last_ticket;
        self.handovers.size_bytes += size_bytes;
        self.handovers.waiting.insert(ticket, (id, size_bytes));
        fx.control.push(ControlOutput::ReplyForSiblings { ticket, reply: Arc::new(reply) });
        Ok(())
    }

    /// A sibling offers an answer.
    pub(in crate::shard) fn reply_of_sibling(
        &mut self,
        (from, ticket): (usize, u64),
        reply: &HandedReply,
        fx: &mut Effects,
    ) {
        let asker = self.clients.find_client(&reply.client_id).filter(|_| !self.is_stopping());
        let pushed = asker.and_then(|id| self.connections.lend(id)).is_some_and(|mut connection| {
            let opaque = connection.peer_client.get_or_insert_default().next_opaque();
            let header = Header::request(code::PUSH_REPLY_MESSAGE_TO_CLIENT, opaque).oneway();
            let header = Header { ext: reply.ext.clone(), ..header };
            self.send_request(&mut connection, &header, &reply.body);
            connection.announce_output(fx);
            self.connections.give_back(connection);
            true
        });
        fx.control.push(ControlOutput::SiblingReplyDone { from, ticket, pushed });
    }

    /// The siblings have said whether the asker hangs on one of them.
    pub(in crate::shard) fn reply_handed_over(&mut self, ticket: u64, pushed: bool, fx: &mut Effects) {
        let Some((id, size_bytes)) = self.handovers.waiting.remove(&ticket) else { return };
        self.handovers.size_bytes -= size_bytes;
        self.with_waiting(id, fx, |shard, connection, token, what, _| {
            let What::Handover { queue_id, asker } = what else { return };
            match pushed {
                true => shard.reply_pushed(connection, token, queue_id),
                false => shard.reject(connection, token, &no_asker(&asker)),
            }
        });
    }
}

/// Answers that are on their way to other shards.
#[derive(Debug, Default)]
pub(in crate::shard) struct Handovers {
    /// By ticket, with the bytes of the answer.
    waiting: BTreeMap<u64, (WaitId, usize)>,
    size_bytes: usize,
    last_ticket: u64,
}

/// The asker is not known (any more).
pub(in crate::shard) fn no_asker(asker: &str) -> Rejection {
    let remark = format!("push reply message fail, channel of <{}> not found.", asker.escape_default());
    Rejection::because(Code::SYSTEM_ERROR, remark)
}

const NO_ASKER: Rejection = Rejection::new(
    Code::SYSTEM_ERROR,
    "REPLY_TO_CLIENT is null, can not reply message: send the reply with the properties of the request",
);
