//! Request-reply: an answer to a message is pushed to the client that asked, on the connection that it opened.
//!
//! The answer names its asker by client id (REPLY_TO_CLIENT). It is not stored: who is not there any more has stopped
//! waiting.

use super::super::Shard;
use super::super::connection::Connection;
use super::super::io::Effects;
use super::super::request::{Dialect, Rejection, STOPPING, Token};
use super::Handled;
use crate::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::message::properties::{Properties, append_property, names};
use ringmq_proto::remoting::client_push::PushReply;
use ringmq_proto::remoting::direct::Head;
use ringmq_proto::remoting::request_code as code;
use ringmq_proto::remoting::send::{SendHeader, SendReply};
use ringmq_proto::remoting::{ExtHeader, Frame, FrameError};

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
        let Some(id) = self.clients.find_client(asker) else {
            let remark = format!("push reply message fail, channel of <{}> not found.", asker.escape_default());
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
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
        if id == connection.id {
            self.tell(connection, code::PUSH_REPLY_MESSAGE_TO_CLIENT, &push, body);
        } else {
            self.tell_client(id, code::PUSH_REPLY_MESSAGE_TO_CLIENT, &push, body, fx);
        }
        let reply = SendReply {
            msg_id: "0",
            queue_id: send.queue_id,
            queue_offset: 0,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
            region: Some(super::send::REGION),
            trace_on: Some(true),
        };
        self.answer_with(connection, token, reply.to_ext(), &[]);
        Ok(())
    }
}

const NO_ASKER: Rejection = Rejection::new(
    Code::SYSTEM_ERROR,
    "REPLY_TO_CLIENT is null, can not reply message: send the reply with the properties of the request",
);
