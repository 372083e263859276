//! Offsets of groups, changed by administrators (222, 314).
//!
//! Where the broker carries out resets itself, a reset is kept until the group pulls the queue next: that pull is answered with the new offset (21), as RocketMQ 5
//! does it, so that running consumers follow without being asked to stop.

use super::super::super::Shard;
use super::super::super::clients::Client;
use super::super::super::connection::Connection;
use super::super::super::io::Effects;
use super::super::super::limits::RESET_COUNT_MAX;
use super::super::super::names::check_group;
use super::super::super::request::{Rejection, Response, TOO_MANY_WAITING};
use super::super::offsets::no_topic;
use super::super::{Call, Handled};
use super::found;
use crate::now::Now;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::remoting::admin::offsets::{CloneGroupOffset, InvokeResetOffset};
use ringmq_proto::remoting::client_push::{ResetOffset, ResetOffsetBody};
use ringmq_proto::remoting::{ExtFields, ExtHeader, request_code as code};

impl Shard {
    pub(super) fn reset_offsets(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Handled {
        let request = InvokeResetOffset::decode(&call.header.ext)?;
        check_group(request.group)?;
        let queues = self.queues_of(request.topic).ok_or_else(|| no_topic(request.topic))?;
        if self.settings.features.server_side_reset {
            self.check_group_known(request.group)?;
        }
        let only = request.queue_id.and_then(|number| u32::try_from(number).ok());
        if self.resets.len() + queues.len() > RESET_COUNT_MAX {
            return Err(TOO_MANY_WAITING.into());
        }
        let mut resets = Vec::new();
        for (queue, number) in queues.into_iter().zip(0..).filter(|(_, number)| only.is_none_or(|only| only == *number))
        {
            let max = self.store.queue(queue).map(|queue| queue.visible_offset).unwrap_or_default();
            let min = found(self.store.min_offset(queue))?;
            let wanted = match (request.offset, u64::try_from(request.timestamp)) {
                (Some(offset), _) if offset >= 0 => QueueOffset::new(offset.cast_unsigned()),
                // −1 stands for the end.
                (_, Err(_)) => max,
                (_, Ok(time_ms)) => found(self.store.search_offset(queue, time_ms, false))?,
            };
            let wanted = wanted.clamp(min, max.max(min));
            let committed = self.store.consume_offset(request.group, queue);
            if request.is_force || committed.is_none_or(|committed| wanted < committed) {
                resets.push((queue, number, wanted));
            }
        }
        if !self.settings.features.server_side_reset {
            return self.tell_to_reset(connection, call, &request, resets, fx);
        }
        let mut body = ResetOffsetBody::default();
        let moved: Vec<QueueId> = resets.iter().map(|(queue, ..)| *queue).collect();
        for (queue, number, offset) in resets {
            let appended = self.store.append_consume_offset(*now, request.group, queue, offset)?;
            self.coalesced.remove(&(Box::from(request.group), queue));
            self.drafts[0].add(&appended);
            self.resets.insert((request.group.into(), queue), offset);
            let queue = self.message_queue(request.topic, number);
            body.offset_table.0.insert(queue, offset.get().cast_signed());
        }
        let answer = Response::Remoting(ExtFields::new(), body.encode().into());
        self.respond_when_acknowledged(connection, call.token, &answer);
        // A pull that is held hears of it now, not when its time is up.
        self.wake_queues(&moved, fx);
        Ok(())
    }

    /// A mistyped name is not a group with offsets of its own from now on.
    fn check_group_known(&self, group: &str) -> Result<(), Rejection> {
        let is_known = self.store.group(group).is_some()
            || self.store.offsets_of_group(group).next().is_some()
            || self.clients.consumers_of(group).is_some();
        let remark = || format!("Group {} does not exist", group.escape_default());
        is_known.then_some(()).ok_or_else(|| Rejection::because(Code::SUBSCRIPTION_GROUP_NOT_EXIST, remark()))
    }

    /// Consumers that run reset their offsets themselves (220).
    fn tell_to_reset(
        &mut self,
        connection: &mut Connection,
        call: &Call<'_>,
        request: &InvokeResetOffset<'_>,
        resets: Vec<(QueueId, u32, QueueOffset)>,
        fx: &mut Effects,
    ) -> Handled {
        let InvokeResetOffset { topic, group, timestamp, is_force, .. } = *request;
        let Some(consumers) = self.clients.consumers_of(group) else {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {} Topic: {} Timestamp: {timestamp}",
                group.escape_default(),
                topic.escape_default()
            );
            return Err(Rejection::because(Code::CONSUMER_NOT_ONLINE, remark).into());
        };
        let is_cpp = |client: &Client| client.language.name() == "CPP";
        let members: Vec<_> = consumers.members.iter().map(|(id, client)| (*id, is_cpp(client))).collect();
        let mut body = ResetOffsetBody::default();
        for (_, number, offset) in resets {
            body.offset_table.0.insert(self.message_queue(topic, number), offset.get().cast_signed());
        }
        let ext = ResetOffset { topic, group, timestamp, is_force };
        let (bare, pairs) = (body.encode_bare(), body.encode_pairs());
        for (id, is_cpp) in members {
            let body = if is_cpp { &pairs } else { &bare };
            if id == connection.id {
                self.tell(connection, code::RESET_CONSUMER_CLIENT_OFFSET, &ext, body);
            } else {
                self.tell_client(id, code::RESET_CONSUMER_CLIENT_OFFSET, &ext, body, fx);
            }
        }
        self.answer_with(connection, call.token, ExtFields::new(), &body.encode());
        Ok(())
    }

    pub(super) fn clone_offsets(&mut self, now: &Now, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = CloneGroupOffset::decode(&call.header.ext)?;
        check_group(request.dest_group)?;
        let topic = request.topic.filter(|topic| !topic.is_empty());
        match self.store.append_offsets_clone(*now, request.src_group, request.dest_group, topic)? {
            Some(appended) => self.drafts[0].add(&appended),
            None => {
                let remark = format!("the group[{}] has no offsets to clone", request.src_group.escape_default());
                return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
            }
        }
        self.respond_when_acknowledged(connection, call.token, &Response::Done);
        Ok(())
    }
}
