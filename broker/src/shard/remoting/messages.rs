//! Messages by position, by key, and by the id that the producer gave.

use super::super::Shard;
use super::super::connection::Connection;
use super::super::request::Rejection;
use super::super::waiting::What;
use super::{Call, Handled};
use crate::now::Now;
use crate::store::{KeyKind, KeyQuery};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::query::{QueryMessage, ViewMessage};

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

    /// The time inside a unique id is the client's, of an unknown month: clients make the times of the question from it.
    pub(super) fn query_message(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = QueryMessage::decode(&call.header.ext)?;
        let kind = if request.is_unique_key == Some(true) { KeyKind::Unique } else { KeyKind::Word };
        // Times before 1970 and beyond all numbers: as far as there are messages.
        let ms = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
        let times_ms = ms(request.begin_timestamp)..=ms(request.end_timestamp);
        let messages_max = usize::try_from(request.max_num).unwrap_or(0);
        let query = KeyQuery::new(request.topic, request.key, kind, times_ms, messages_max);
        self.ask(now, connection, call.token, What::Key(Box::new(query)));
        Ok(())
    }
}
