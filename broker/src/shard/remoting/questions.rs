//! What administrators ask of clients: the shard asks the client on the connection that it opened, and hands its answer back
//! (223 by way of 221, 307, 309).
//!
//! The administrator's request waits like any other ([`super::super::waiting`]); the client's connection remembers under
//! the shard's own number who waits for which answer. Whoever ends first, the other forgets: a client that is gone or
//! does not answer in time ends the wait, an answer to somebody who is gone is dropped.

use super::super::Shard;
use super::super::clients::Client;
use super::super::connection::Connection;
use super::super::io::{ConnectionId, Effects};
use super::super::limits::{QUESTION_COUNT_MAX, QUESTION_NS_MAX};
use super::super::request::{Rejection, Response, TOO_MANY_WAITING, Token};
use super::super::waiting::{WaitId, What};
use super::{Call, Handled, Stop};
use crate::now::Now;
use crate::store::ViewOutcome;
use ringmq_proto::code::Code;
use ringmq_proto::message::OffsetId;
use ringmq_proto::remoting::admin::offsets::{ConsumerStatusTable, InvokeGetConsumerStatus};
use ringmq_proto::remoting::client_push::{
    ConsumeMessageDirectly, ConsumerStatusBody, GetConsumerRunningInfo, GetConsumerStatus,
};
use ringmq_proto::remoting::{ExtFields, ExtHeader, Header, request_code as code};
use std::borrow::Cow;

/// What an administrator waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Question {
    /// The answer of one client, whatever it says; the client's name is for the remark if it says nothing.
    PassOn { group: Box<str>, client_id: Box<str> },
    /// Where the members of a group are, from as many of them as answer.
    Status { table: ConsumerStatusTable, open: u32 },
}

/// Who waits for one answer of a client.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    wait: WaitId,
    client_id: Box<str>,
}

impl Shard {
    /// 307: what a consumer tells of itself.
    pub(super) fn running_info(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Handled {
        let request = GetConsumerRunningInfo::decode(&call.header.ext)?;
        let (group, client_id) = (request.consumer_group, request.client_id);
        self.pass_on(now, connection, call, (group, client_id), (call.header.ext.clone(), &[]), fx)
    }

    /// 309: a consumer is given one message, outside of its queue.
    pub(super) fn consume_directly(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Handled {
        let request = ConsumeMessageDirectly::decode(&call.header.ext)?;
        let id = request.msg_id.and_then(|id| OffsetId::parse(id.as_bytes()).ok()).ok_or(NO_OFFSET_ID)?;
        let message = match self.store.message_at(id.position) {
            ViewOutcome::Found(message) => message,
            ViewOutcome::NotYet => return Err(Stop::Load),
            ViewOutcome::NotFound => return Err(NO_SUCH_MESSAGE.into()),
            ViewOutcome::Damaged(remark) => return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into()),
        };
        let group = request.consumer_group;
        let ext =
            ConsumeMessageDirectly { broker_name: Some(&self.settings.broker_name), ..request }.to_ext().into_owned();
        let client_id = request.client_id.unwrap_or_default();
        self.pass_on(now, connection, call, (group, client_id), (ext, &message), fx)
    }

    fn pass_on(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        (group, client_id): (&str, &str),
        (ext, body): (ExtFields<'_>, &[u8]),
        fx: &mut Effects,
    ) -> Handled {
        let members = self.clients.consumers_of(group).map(|group| &group.members);
        let found = members.and_then(|members| members.iter().find(|(_, client)| *client.id == *client_id));
        let Some((&target, Client { version, .. })) = found else {
            let remark =
                format!("The Consumer <{}> <{}> not online", group.escape_default(), client_id.escape_default());
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
        if *version < VERSION_ANSWERS {
            let remark = format!("The Consumer <{client_id}> Version <{version}> too low to finish, please upgrade it");
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        }
        let question = Question::PassOn { group: group.into(), client_id: client_id.into() };
        let wait = self.let_wait(now, connection, call.token, question)?;
        self.ask_client(connection, (target, client_id), wait, (call.token.code, ext, body), fx);
        Ok(())
    }

    /// 223: every member of a group, or one of them, says where it is.
    pub(super) fn consumer_status(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Handled {
        let request = InvokeGetConsumerStatus::decode(&call.header.ext)?;
        let only = request.client_addr.filter(|id| !id.trim().is_empty());
        let members = self.clients.consumers_of(request.group).into_iter().flat_map(|group| &group.members);
        let members = members.filter(|(_, client)| only.is_none_or(|only| *client.id == *only));
        let members: Vec<_> = members.map(|(id, client)| (*id, client.id.clone())).collect();
        if members.is_empty() {
            let remark = format!("No Any Consumer online in the consumer group: [{}]", request.group.escape_default());
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        }
        let ext = GetConsumerStatus { topic: request.topic, group: request.group, client_addr: None }.to_ext();
        let open = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let question = Question::Status { table: ConsumerStatusTable::default(), open };
        let wait = self.let_wait(now, connection, call.token, question)?;
        for (target, client_id) in members {
            let asked = (code::GET_CONSUMER_STATUS_FROM_CLIENT, ext.clone(), &[][..]);
            self.ask_client(connection, (target, &client_id), wait, asked, fx);
        }
        Ok(())
    }

    fn let_wait(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        question: Question,
    ) -> Result<WaitId, Rejection> {
        self.wait(now, connection, token, What::Question(Box::new(question)), QUESTION_NS_MAX).ok_or(TOO_MANY_WAITING)
    }

    /// Asks one client; `connection` is the asker's, which is not in the table while it asks.
    fn ask_client(
        &mut self,
        connection: &mut Connection,
        (target, client_id): (ConnectionId, &str),
        wait: WaitId,
        (request_code, ext, body): (i32, ExtFields<'_>, &[u8]),
        fx: &mut Effects,
    ) {
        let mut lent = (target != connection.id).then(|| self.connections.lend(target)).flatten();
        let client = match &mut lent {
            Some(client) => &mut **client,
            None => connection,
        };
        let peer = client.peer_client.get_or_insert_default();
        if peer.askers.len() >= QUESTION_COUNT_MAX {
            peer.askers.retain(|_, asker| self.waiting.get(asker.wait).is_some());
        }
        let room = peer.askers.len() < QUESTION_COUNT_MAX;
        if room {
            let opaque = peer.next_opaque();
            peer.askers.insert(opaque, Asker { wait, client_id: client_id.into() });
            let header = Header { ext, ..Header::request(request_code, opaque) };
            self.send_request(client, &header, body);
        }
        if let Some(mut client) = lent {
            client.announce_output(fx);
            self.connections.give_back(client);
        }
        if !room {
            self.nobody_answers(Some(connection), wait, &TOO_MANY_QUESTIONS, fx);
        }
    }

    /// A client has answered something.
    pub(super) fn client_answered(
        &mut self,
        connection: &mut Connection,
        answer: &Header<'_>,
        body: &[u8],
        fx: &mut Effects,
    ) {
        let askers = connection.peer_client.as_mut().map(|peer| &mut peer.askers);
        let Some(asker) = askers.and_then(|askers| askers.remove(&answer.opaque)) else { return };
        let Some(What::Question(question)) = self.waiting.get_mut(asker.wait).map(|wait| &mut wait.what) else {
            return;
        };
        match &mut **question {
            Question::PassOn { .. } => {
                let response = Response::PassedOn(answer, body);
                self.finish(Some(connection), asker.wait, fx, |shard, asker, token| {
                    shard.respond(asker, token, &response);
                });
            }
            Question::Status { table, open } => {
                if answer.response_code() == Code::SUCCESS
                    && let Ok(status) = ConsumerStatusBody::decode(body)
                {
                    table.consumer_table.insert(asker.client_id.into(), status.message_queue_table);
                }
                *open -= 1;
                if *open == 0 {
                    self.tell_status(Some(connection), asker.wait, fx);
                }
            }
        }
    }

    /// The connection of a client ends: what it was asked stays without an answer.
    pub(in crate::shard) fn answers_lost(&mut self, connection: &mut Connection, fx: &mut Effects) {
        let Some(peer) = &mut connection.peer_client else { return };
        for asker in std::mem::take(&mut peer.askers).into_values() {
            self.nobody_answers(None, asker.wait, &CLIENT_GONE, fx);
        }
    }

    /// One client does not answer. `lent`: a connection that is not in the table.
    fn nobody_answers(&mut self, lent: Option<&mut Connection>, id: WaitId, why: &Rejection, fx: &mut Effects) {
        let Some(What::Question(question)) = self.waiting.get_mut(id).map(|wait| &mut wait.what) else { return };
        match &mut **question {
            Question::PassOn { group, client_id } => {
                let remark = format!("invoke consumer <{group}> <{client_id}> Exception: {}", why.remark);
                let rejection = Rejection::because(why.code, remark);
                self.finish(lent, id, fx, |shard, asker, token| shard.reject(asker, token, &rejection));
            }
            Question::Status { open, .. } => {
                *open -= 1;
                if *open == 0 {
                    self.tell_status(lent, id, fx);
                }
            }
        }
    }

    fn tell_status(&mut self, lent: Option<&mut Connection>, id: WaitId, fx: &mut Effects) {
        let Some(What::Question(question)) = self.waiting.get(id).map(|wait| &wait.what) else { return };
        let Question::Status { table, .. } = &**question else { return };
        let body = table.encode();
        self.finish(lent, id, fx, |shard, asker, token| shard.answer_with(asker, token, ExtFields::new(), &body));
    }

    /// Ends the wait of an asker, whose connection may be the one that is lent.
    fn finish(
        &mut self,
        lent: Option<&mut Connection>,
        id: WaitId,
        fx: &mut Effects,
        answer: impl FnOnce(&mut Self, &mut Connection, Token),
    ) {
        let asker = self.waiting.get(id).map(|wait| wait.connection);
        match lent.filter(|connection| Some(connection.id) == asker) {
            Some(connection) => {
                if let Some(wait) = self.forget_wait(connection, id) {
                    answer(self, connection, wait.token);
                }
            }
            None => self.with_waiting(id, fx, |shard, connection, token, _, _| answer(shard, connection, token)),
        }
    }

    /// No answer has come in time: what is known is told.
    pub(in crate::shard) fn question_expired(
        &mut self,
        connection: &mut Connection,
        token: Token,
        question: &Question,
    ) {
        match question {
            Question::PassOn { group, client_id } => {
                let seconds = QUESTION_NS_MAX / 1_000_000_000;
                let remark = format!("consumer <{group}> <{client_id}> Timeout: no answer within {seconds} s");
                self.reject(connection, token, &Rejection::because(Code::CONSUME_MSG_TIMEOUT, remark));
            }
            Question::Status { table, .. } => {
                let body = Cow::from(table.encode());
                self.respond(connection, token, &Response::Remoting(ExtFields::new(), body));
            }
        }
    }
}

/// From this version on (3.1.8) clients answer such questions.
const VERSION_ANSWERS: i32 = 62;

const NO_OFFSET_ID: Rejection =
    Rejection::new(Code::SYSTEM_ERROR, "msgId names no message of this broker: give the offset id of the message");
const NO_SUCH_MESSAGE: Rejection =
    Rejection::new(Code::SYSTEM_ERROR, "can not find message by the offset id: it is gone, or never was here");
const CLIENT_GONE: Rejection = Rejection::new(Code::SYSTEM_ERROR, "the client's connection was closed");
const TOO_MANY_QUESTIONS: Rejection =
    Rejection::new(Code::SYSTEM_BUSY, "the client has too many questions to answer already: ask again later");
