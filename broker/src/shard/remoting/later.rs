//! Messages for later: sends with a delay or of a transaction, the ends of transactions (37), recalls (370), and questions
//! to producers (39).

use super::super::Shard;
use super::super::connection::Connection;
use super::super::io::Effects;
use super::super::request::{Rejection, Response, Token};
use super::super::schedule::{Deferred, RealMessage, Taken, When};
use super::super::send::SYS_FLAG_ILLEGAL;
use super::super::transactions::{CheckBack, EndTransaction, Ended, Outcome};
use super::send::{Target, Wishes, check_sizes};
use super::{Call, Handled, Stop};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::{AckMode, NewMessage, ViewOutcome};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::OffsetId;
use ringmq_proto::message::properties::{Properties, names};
use ringmq_proto::message::stored::sys_flag;
use ringmq_proto::remoting::admin::settings::ResumeCheckHalfMessage;
use ringmq_proto::remoting::send::SendHeader;
use ringmq_proto::remoting::timer::{RecallMessage, RecallReply};
use ringmq_proto::remoting::topics;
use ringmq_proto::remoting::transaction::{self, CheckTransactionState};
use ringmq_proto::remoting::{ExtHeader, request_code as code};
use std::borrow::Cow;

impl Shard {
    /// A send whose message is for later, or turns out to be for now.
    pub(super) fn send_later(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        (send, target, wishes): (&SendHeader<'_>, Target, Wishes),
        message: NewMessage<'_>,
    ) -> Handled {
        check_sizes(message.properties.len(), message.body.len())?;
        let when = self.when(now, message.properties, wishes.half)?;
        if when == When::Now {
            return self.send_one(now, connection, token, &message, target, wishes);
        }
        // The bits of a transaction are taken off: what waits is an ordinary message.
        let sys_flag = message.sys_flag & if wishes.half { !sys_flag::TRANSACTION_MASK } else { !0 };
        if sys_flag & !sys_flag::PRODUCER_BITS != 0 {
            return Err(SYS_FLAG_ILLEGAL.into());
        }
        let message = NewMessage { sys_flag, ..message };
        let mode = if wishes.no_wait { AckMode::Written } else { AckMode::Promised };
        let deferred =
            Deferred { topic: send.topic, number: target.number, producer_group: send.producer_group, message };
        let (position, offset, recall_handle) = match self.defer(now, mode, when, &deferred)? {
            Taken::Stored { position, offset, recall_handle } => (position, offset, recall_handle),
            Taken::AwaitTopic { name, version } => return Err(Stop::Topic(name.into(), version)),
        };
        self.metrics.messages_appended += 1;
        let id = OffsetId { store_host: self.store.options().advertised, position };
        let unique_id = Properties::new(message.properties).get_str(names::UNIQ_KEY);
        let notes = (unique_id, recall_handle.as_deref());
        self.answer_send(connection, token, mode, &[id], (target.number, offset), notes);
        Ok(())
    }

    pub(super) fn remoting_end_transaction(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
    ) -> Handled {
        let request = transaction::EndTransaction::decode(&call.header.ext)?;
        let outcome = match request.commit_or_rollback {
            transaction::COMMIT => Outcome::Commit,
            transaction::ROLLBACK => Outcome::Rollback,
            _ => Outcome::Unknown,
        };
        let end = EndTransaction {
            origin: LogPosition::new(u64::try_from(request.commit_log_offset).map_err(|_| NO_HALF)?),
            half_offset: u64::try_from(request.tran_state_table_offset).map_err(|_| NO_HALF)?,
            group: request.producer_group,
            outcome,
        };
        match self.end_transaction(now, &end)? {
            Ended::Load => return Err(Stop::Load),
            Ended::Nothing => self.respond(connection, call.token, &Response::Done),
            Ended::Done if mutant::active(Mutant::EndAnsweredEarly) => {
                self.respond(connection, call.token, &Response::Done);
            }
            Ended::Done => self.respond_when_acknowledged(connection, call.token, &Response::Done),
        }
        Ok(())
    }

    /// A half that was given up (323) is asked about again, from the beginning. One that waits is asked about anyway.
    pub(super) fn resume_check(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = ResumeCheckHalfMessage::decode(&call.header.ext)?;
        let id = request.msg_id.and_then(|id| OffsetId::parse(id.as_bytes()).ok()).ok_or(NO_GIVEN_UP)?;
        if self.store.pending_half(id.position).is_some() {
            self.respond(connection, call.token, &Response::Done);
            return Ok(());
        }
        let message = match self.store.message_at(id.position) {
            ViewOutcome::Found(message) => message,
            ViewOutcome::NotYet => return Err(Stop::Load),
            ViewOutcome::NotFound => return Err(NO_GIVEN_UP.into()),
            ViewOutcome::Damaged(remark) => return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into()),
        };
        let real = RealMessage::read(&message)
            .filter(|real| real.stored.parts.topic == topics::HALVES_GIVEN_UP.as_bytes())
            .ok_or(NO_GIVEN_UP)?;
        let group = Properties::new(real.message.properties).get_str(names::PGROUP).unwrap_or_default();
        let half = Deferred { topic: real.topic, number: real.number, producer_group: group, message: real.message };
        match self.defer(now, AckMode::Promised, When::Half { due_ms: now.wall_ms }, &half)? {
            Taken::Stored { .. } => self.respond_when_acknowledged(connection, call.token, &Response::Done),
            Taken::AwaitTopic { name, version } => return Err(Stop::Topic(name.into(), version)),
        }
        Ok(())
    }

    pub(super) fn recall_message(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = RecallMessage::decode(&call.header.ext)?;
        let Some(unique_key) = self.recall(now, request.topic, request.recall_handle)? else { return Err(Stop::Load) };
        let ext = RecallReply { msg_id: &unique_key }.to_ext().into_owned();
        self.respond_when_acknowledged(connection, call.token, &Response::Remoting(ext, Cow::Borrowed(&[])));
        Ok(())
    }

    /// Asks producers about their open transactions. One that is not there is asked the next time.
    pub(in crate::shard) fn ask_producers(&mut self, fx: &mut Effects) {
        while let Some(check) = self.next_check() {
            let Some(producer) = self.clients.producer_of(&check.group, check.times) else { continue };
            let CheckBack { origin, half_offset, unique_key, topic, message, .. } = &check;
            let offset_id = OffsetId { store_host: self.store.options().advertised, position: *origin }.to_string();
            let ext = CheckTransactionState {
                commit_log_offset: origin.get().cast_signed(),
                msg_id: unique_key.as_deref(),
                tran_state_table_offset: half_offset.cast_signed(),
                offset_msg_id: Some(&offset_id),
                transaction_id: unique_key.as_deref(),
                topic: Some(topic),
            };
            self.tell_client(producer, code::CHECK_TRANSACTION_STATE, &ext, message, fx);
        }
    }
}

const NO_GIVEN_UP: Rejection = Rejection::new(
    Code::SYSTEM_ERROR,
    "msgId names no half message: give the offset id of one in TRANS_CHECK_MAX_TIME_TOPIC of this broker",
);
const NO_HALF: Rejection = Rejection::new(Code::SYSTEM_ERROR, "Find prepared transaction message failed");
