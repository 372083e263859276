//! Messages that consumers send back (36).

use super::super::Shard;
use super::super::connection::Connection;
use super::super::names::check_group;
use super::super::request::{Rejection, Response};
use super::super::retry::{SendBack, SentBack};
use super::{Call, Handled, Stop};
use crate::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::consumer::SendMessageBack;

/// From this version on (3.4.9) a client's own limit of attempts counts.
const VERSION_WITH_ATTEMPTS: i32 = 121;

impl Shard {
    pub(super) fn consumer_send_back(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = SendMessageBack::decode(&call.header.ext)?;
        check_group(request.group)?;
        let Ok(position) = u64::try_from(request.offset) else {
            let remark = format!("look message by offset failed, {}", request.offset);
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
        let back = SendBack {
            position: LogPosition::new(position),
            group: request.group,
            delay_level: request.delay_level,
            attempts_max: request.max_reconsume_times.filter(|_| call.header.version >= VERSION_WITH_ATTEMPTS),
        };
        match self.send_back(now, &back)? {
            SentBack::Done => {
                self.counts.sent_back(request.origin_topic.unwrap_or_default(), request.group);
                self.respond_when_acknowledged(connection, call.token, &Response::Done);
                Ok(())
            }
            SentBack::Load => Err(Stop::Load),
            SentBack::Topic(topic, version) => Err(Stop::Topic(topic, version)),
        }
    }
}
