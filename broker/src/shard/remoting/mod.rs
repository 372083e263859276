//! The remoting dialect: RocketMQ's frames in, calls of the shard's features out, RocketMQ's frames back.
//!
//! One file per family of request codes. This one cuts frames, tells requests from answers (to what the shard itself asked
//! a client), and dispatches by code. What fails in a frame ends the connection; what fails in a field is answered.

mod admin;
pub(super) mod answer;
mod consumers;
mod later;
mod messages;
mod offsets;
mod outgoing;
mod pull;
mod questions;
mod reply;
mod retry;
mod send;
mod sends;

pub(super) use outgoing::Peer;
pub(super) use pull::RemotingView;
pub(super) use questions::Question;
pub(super) use reply::{Handovers, no_asker};
pub(super) use send::broker_properties;
pub(super) use sends::Sends;

use super::Shard;
use super::connection::{Connection, Phase};
use super::io::{CloseReason, Effects};
use super::limits::WAIT_NS_MAX;
use super::request::{Dialect, Rejection, Response, STOPPING, TOO_MANY_WAITING, Token};
use super::waiting::What;
use crate::now::Now;
use crate::store::Refusal;
use ringmq_proto::code::Code;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::{
    BodyError, ExtFields, FieldError, Frame, FrameError, Header, SerializeType, direct::peek_code,
    request_code as code, split_frame,
};

/// One request of a client.
pub(super) struct Call<'a> {
    pub(super) token: Token,
    pub(super) header: &'a Header<'a>,
    pub(super) frame: &'a Frame<'a>,
}

impl Call<'_> {
    fn body(&self) -> &[u8] {
        self.frame.body
    }
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Stop {
    /// It cannot be: this is the answer.
    Rejected(Rejection),
    /// The record of this version of a topic must be applied first.
    Topic(Box<str>, u64),
    /// The disk must be read first.
    Load,
}

/// What comes of carrying out a request: it was answered (or will be), or not carried out.
///
/// **Whoever returns [`Stop::Topic`] or [`Stop::Load`] has changed nothing yet**: the frame is kept and carried out again
/// from its beginning.
pub(super) type Handled = Result<(), Stop>;

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal.into())
    }
}

impl From<FieldError> for Stop {
    fn from(error: FieldError) -> Self {
        let remark = format!("the request's header cannot be used: {error}");
        Self::Rejected(Rejection::because(Code::SYSTEM_ERROR, remark))
    }
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        let remark = format!("the request's body cannot be used: {error}");
        Self::Rejected(Rejection::because(Code::SYSTEM_ERROR, remark))
    }
}

impl Shard {
    /// Carries out the whole frames at the start of `bytes`; returns how many bytes they took.
    pub(super) fn remoting_frames(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        bytes: &[u8],
        fx: &mut Effects,
    ) -> usize {
        let mut at = 0;
        while connection.phase != Phase::Closing {
            match split_frame(&bytes[at..], FRAME_SIZE_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some((frame, consumed))) => {
                    at += consumed;
                    self.metrics.requests += 1;
                    if self.remoting_frame(now, connection, &frame, fx).is_err() {
                        self.close(connection, CloseReason::BadFrame, fx);
                    }
                }
                Err(_) => self.close(connection, CloseReason::BadFrame, fx),
            }
        }
        at
    }

    fn remoting_frame(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        frame: &Frame<'_>,
        fx: &mut Effects,
    ) -> Result<(), FrameError> {
        let request_code = peek_code(frame)?;
        let is_send = matches!(request_code, code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE);
        if is_send && self.remoting_send(now, connection, frame, request_code, fx)? {
            return Ok(());
        }
        let is_reply = matches!(request_code, code::SEND_REPLY_MESSAGE | code::SEND_REPLY_MESSAGE_V2);
        if is_reply && self.remoting_reply(now, connection, frame, request_code, fx)? {
            return Ok(());
        }
        let header = frame.decode_header()?;
        if header.is_response() {
            self.client_answered(connection, &header, frame.body, fx);
            return Ok(());
        }
        let token = Token {
            id: header.opaque.cast_unsigned(),
            code: header.code,
            dialect: Dialect::Remoting(frame.serialize_type),
            oneway: header.is_oneway(),
        };
        let call = Call { token, header: &header, frame };
        let handled = if self.is_stopping() { Err(STOPPING.into()) } else { self.dispatch(now, connection, &call, fx) };
        if let Err(stop) = handled {
            self.stopped(now, connection, token, frame, stop);
        }
        if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
            self.check_unread(connection, fx);
        }
        Ok(())
    }

    fn dispatch(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>, fx: &mut Effects) -> Handled {
        match call.token.code {
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => self.remoting_pull(now, connection, call, fx),
            code::HEART_BEAT => self.heart_beat(now, connection, call),
            code::UNREGISTER_CLIENT => self.unregister_client(connection, call),
            code::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(connection, call),
            code::LOCK_BATCH_MQ => self.lock_queues(now, connection, call),
            code::UNLOCK_BATCH_MQ => self.unlock_queues(connection, call),
            code::CHECK_CLIENT_CONFIG => self.check_client_config(connection, call),
            code::QUERY_CONSUMER_OFFSET => self.query_consumer_offset(now, connection, call),
            code::UPDATE_CONSUMER_OFFSET => self.update_consumer_offset(now, connection, call),
            code::GET_MAX_OFFSET | code::GET_MIN_OFFSET | code::GET_EARLIEST_MSG_STORETIME => {
                self.queue_ends(now, connection, call)
            }
            code::SEARCH_OFFSET_BY_TIMESTAMP => self.search_by_time(now, connection, call),
            code::QUERY_MESSAGE => self.query_message(now, connection, call),
            code::END_TRANSACTION => self.remoting_end_transaction(now, connection, call),
            code::RECALL_MESSAGE => self.recall_message(now, connection, call),
            code::CONSUMER_SEND_MSG_BACK => self.consumer_send_back(now, connection, call),
            code::VIEW_MESSAGE_BY_ID => self.view_message(now, connection, call),
            code::GET_CONSUMER_RUNNING_INFO => self.running_info(now, connection, call, fx),
            code::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(now, connection, call, fx),
            code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => self.consumer_status(now, connection, call, fx),
            unknown => {
                if let Some(handled) = self.administrate(now, connection, call, fx) {
                    return handled;
                }
                let remark = format!(" request type {unknown} not supported");
                Err(Rejection::because(Code::REQUEST_CODE_NOT_SUPPORTED, remark).into())
            }
        }
    }

    /// Answers now, with extension fields and a body.
    fn answer_with(&mut self, connection: &mut Connection, token: Token, ext: ExtFields<'_>, body: &[u8]) {
        self.respond(connection, token, &Response::Remoting(ext.into_owned(), body.into()));
    }

    /// A request was not carried out: it is answered, or its frame is kept until it can be.
    fn stopped(&mut self, now: &Now, connection: &mut Connection, token: Token, frame: &Frame<'_>, stop: Stop) {
        if let Stop::Rejected(rejection) = stop {
            return self.reject(connection, token, &rejection);
        }
        let kept =
            KeptFrame { serialize_type: frame.serialize_type, header: frame.header.into(), body: frame.body.into() };
        let size_bytes = kept.size_bytes();
        let room = self.input_bytes + self.kept_frame_bytes + size_bytes <= self.settings.limits.input_bytes_max;
        let what = What::Frame(kept);
        let Some(id) = room.then(|| self.wait(now, connection, token, what, WAIT_NS_MAX)).flatten() else {
            return self.reject(connection, token, &TOO_MANY_WAITING);
        };
        self.kept_frame_bytes += size_bytes;
        match stop {
            Stop::Topic(topic, version) => self.wait_for_topic(&topic, version, id),
            _ => self.park(id),
        }
    }

    /// Carries out a kept frame.
    pub(super) fn carry_out_kept(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        kept: &KeptFrame,
        fx: &mut Effects,
    ) {
        let KeptFrame { serialize_type, header, body } = kept;
        let frame = Frame { serialize_type: *serialize_type, header, body };
        if connection.phase == Phase::Remoting && self.remoting_frame(now, connection, &frame, fx).is_err() {
            self.close(connection, CloseReason::BadFrame, fx);
        }
        self.close_drafts(now, connection, fx);
    }
}

/// A frame that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptFrame {
    serialize_type: SerializeType,
    header: Box<[u8]>,
    body: Box<[u8]>,
}

impl KeptFrame {
    /// Bytes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        self.header.len() + self.body.len()
    }
}
