//! Giving messages back to the broker: by CONSUMER_SEND_MSG_BACK (36), or by an ordinary send to the group's retry topic
//! where that fails or does not apply.

use std::time::Duration;

use ringmq_proto::message::properties::names;
use ringmq_proto::remoting::consumer::SendMessageBack;

use super::core::Core;
use crate::error::Result;
use crate::message::Message;
use crate::outgoing::OutgoingMessage;

/// How often a message may fail in vain, when nothing else is said: RocketMQ's.
const RECONSUME_TIMES_MAX: u32 = 16;

/// The delay level of the first redelivery is 4 (30 s), of the next 5 …, as RocketMQ's clients choose them.
const FIRST_DELAY_LEVEL: i32 = 3;

/// Names of properties that a message gets anew, or must not take along.
const NOT_TAKEN: [&str; 12] = [
    names::UNIQ_KEY,
    names::WAIT,
    names::CLUSTER,
    names::DELAY,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::RETRY_TOPIC,
    names::RECONSUME_TIME,
    names::MAX_RECONSUME_TIMES,
    names::ORIGIN_MESSAGE_ID,
    names::TRAN_MSG,
    names::PGROUP,
];

impl Core {
    /// How often a message of a concurrent consumer may fail.
    fn concurrent_times_max(&self) -> i32 {
        i32::try_from(self.config.max_reconsume_times.unwrap_or(RECONSUME_TIMES_MAX)).unwrap_or(i32::MAX)
    }

    /// How often a message may fail in order: for ever, when nothing else is said.
    pub(super) fn orderly_times_max(&self) -> i32 {
        self.config.max_reconsume_times.map_or(i32::MAX, |times| i32::try_from(times).unwrap_or(i32::MAX))
    }

    /// Has the broker deliver a message again, or bury it.
    pub(super) async fn give_back(&self, message: &Message, delay_level: i32) -> Result<()> {
        let link = self.member.cluster.remoting_of(&message.queue.topic, &message.queue.broker_name).await?;
        let id = message.message_id();
        let header = SendMessageBack {
            offset: i64::try_from(message.position.get()).unwrap_or(i64::MAX),
            group: &self.config.group,
            delay_level,
            origin_msg_id: Some(&id),
            origin_topic: Some(message.full_topic()),
            unit_mode: Some(false),
            max_reconsume_times: Some(self.concurrent_times_max()),
        };
        match link.send_back(&header).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(%id, %error, "not taken back; it is sent again");
                self.send_again(message, self.concurrent_times_max()).await
            }
        }
    }

    /// Sends a message to the group's retry topic. The broker buries it when it has failed too often.
    pub(super) async fn send_again(&self, message: &Message, times_max: i32) -> Result<()> {
        let times = message.reconsume_times.saturating_add(1);
        let mut again = OutgoingMessage::new(&*self.member.retry_topic(), message.body.clone()).flag(message.flag);
        for (name, value) in message.properties().iter() {
            let text = (std::str::from_utf8(name), std::str::from_utf8(value));
            if let (Ok(name), Ok(value)) = text
                && !NOT_TAKEN.contains(&name)
                && !value.is_empty()
            {
                again = again.system(name, value);
            }
        }
        let origin = message.property(names::ORIGIN_MESSAGE_ID).map_or_else(|| message.message_id(), str::to_owned);
        let level = FIRST_DELAY_LEVEL.saturating_add(message.reconsume_times);
        again = again
            .system(names::ORIGIN_MESSAGE_ID, &origin)
            .system(names::RETRY_TOPIC, message.full_topic())
            .system(names::RECONSUME_TIME, &times.to_string())
            .system(names::MAX_RECONSUME_TIMES, &times_max.to_string())
            .system(names::DELAY, &level.to_string())
            .reconsumed(times, times_max);
        self.producer().await?.send(again).await.map(drop)
    }
}

/// Bounds of the pause before a message is tried again in order, as in RocketMQ.
pub(super) fn suspend_time(configured: Duration) -> Duration {
    configured.clamp(Duration::from_millis(10), Duration::from_secs(30))
}
