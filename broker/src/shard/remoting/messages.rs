//! Single messages, by position.

use super::super::Shard;
use super::super::connection::Connection;
use super::super::request::Rejection;
use super::super::waiting::What;
use super::{Call, Handled};
use crate::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::query::ViewMessage;

impl Shard {
    pub(super) fn view_message(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = ViewMessage::decode(&call.header.ext)?;
        let Ok(position) = u64::try_from(request.offset) else {
            let remark = format!("can not find message by the offset, {}", request.offset);
            return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
        };
        self.ask(now, connection, call.token, What::View { position: LogPosition::new(position) });
        Ok(())
    }
}
