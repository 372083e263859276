//! A reader: one message queue as a consumer reaches it, over either protocol.

mod native;
mod remoting;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::error::DecodeError;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::remoting::heartbeat::SubscriptionData;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::group::subscription::is_meant;
use crate::message::{Message, MessageQueue, decode_records, decode_stored_list};
use crate::producer::Dialect;

use self::native::Native;
use self::remoting::Remoting;

/// How long a request may take, connecting included: RocketMQ's `mqClientApiTimeout`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The answer to a pull.
pub(super) struct Pulled {
    pub(super) code: Code,
    pub(super) next_offset: QueueOffset,
    content: Content,
}

/// Messages as they were received.
enum Content {
    /// Records as they lie in the log.
    Records(Bytes),
    /// Stored messages, one behind the other.
    Stored(Bytes),
}

/// How much one pull asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PullSize {
    pub(super) messages_max: u32,
    pub(super) bytes_max: u32,
    pub(super) wait: Duration,
}

/// See the module's text.
pub(super) struct Reader {
    pub(super) queue: MessageQueue,
    subscription: Option<SubscriptionData>,
    way: Way,
}

enum Way {
    Native(Native),
    Remoting(Remoting),
}

impl Pulled {
    /// Reads the messages from offset `from` on into `out`. Gives where the next pull has to begin, when that is not
    /// `next_offset`.
    ///
    /// # Errors
    /// At the first that does not decode; the messages before it are in `out`.
    pub(super) fn decode(
        &self,
        queue: &MessageQueue,
        from: QueueOffset,
        out: &mut Vec<Message>,
    ) -> std::result::Result<Option<QueueOffset>, DecodeError> {
        match &self.content {
            Content::Records(records) => decode_records(queue, records, from, out),
            Content::Stored(stored) => decode_stored_list(queue, stored, from, out),
        }
    }
}

impl Reader {
    /// A reader of `queue`. What `subscription` does not mean is left out.
    pub(super) fn new(
        dialect: Dialect,
        group: &str,
        cluster: Arc<Cluster>,
        queue: MessageQueue,
        subscription: Option<SubscriptionData>,
    ) -> Self {
        let way = match dialect {
            Dialect::Native => Way::Native(Native::new(cluster, queue.clone())),
            Dialect::Remoting => {
                Way::Remoting(Remoting::new(cluster, queue.clone(), group.into(), subscription.as_ref()))
            }
        };
        Self { queue, subscription, way }
    }

    /// Whether the application wants this one.
    pub(super) fn is_meant(&self, message: &Message) -> bool {
        self.subscription.as_ref().is_none_or(|subscription| is_meant(subscription, message))
    }

    /// Asks for messages from `offset` on.
    pub(super) async fn pull(&self, offset: QueueOffset, size: PullSize) -> Result<Pulled> {
        match &self.way {
            Way::Native(way) => way.pull(offset, size).await,
            Way::Remoting(way) => way.pull(offset, size).await,
        }
    }

    /// The least offset that is still there, and the one after the last message.
    pub(super) async fn ends(&self) -> Result<(QueueOffset, QueueOffset)> {
        match &self.way {
            Way::Native(way) => way.ends().await,
            Way::Remoting(way) => way.ends().await,
        }
    }

    /// The first offset that was stored at `time_ms` or later.
    pub(super) async fn offset_at(&self, time_ms: u64) -> Result<QueueOffset> {
        match &self.way {
            Way::Native(way) => way.offset_at(time_ms).await,
            Way::Remoting(way) => way.offset_at(time_ms).await,
        }
    }

    /// What `group` has committed, if it ever did.
    pub(super) async fn committed(&self, group: &str) -> Result<Option<QueueOffset>> {
        match &self.way {
            Way::Native(way) => way.committed(group).await,
            Way::Remoting(way) => way.committed(group).await,
        }
    }

    /// Commits that `group` has consumed all below `offset`.
    pub(super) async fn commit(&self, group: &str, offset: QueueOffset) -> Result<()> {
        match &self.way {
            Way::Native(way) => way.commit(group, offset).await,
            Way::Remoting(way) => way.commit(group, offset).await,
        }
    }
}
