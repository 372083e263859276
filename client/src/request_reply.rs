//! Requests by message: a [`Requester`] sends a message and waits for the reply that its consumer makes of it
//! ([`reply_to`]) and any producer with [`Dialect::Remoting`] sends. The broker pushes the reply (326) to the requester, whom it knows
//! by heartbeats; nothing of it is stored where anybody else would read it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmq_proto::code::Code;
use ringmq_proto::message::properties::names;
use ringmq_proto::remoting::client_push::PushReply;
use ringmq_proto::remoting::request_code::PUSH_REPLY_MESSAGE_TO_CLIENT;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::group::client_id::client_id;
use crate::message::Message;
use crate::outgoing::OutgoingMessage;
use crate::producer::presence::{Present, keep, leave, say};
use crate::producer::{Dialect, Producer, ProducerConfig};
use crate::remoting::link::{ASKED_COUNT_MAX, Asked};
use crate::unique::local_ip;

/// How long a request may wait for its reply, in ms; a property that the replier sees.
const TTL: &str = "TTL";

/// What the name of a cluster's topic for replies ends with.
const REPLY_TOPIC_SUFFIX: &str = "_REPLY_TOPIC";

/// The value of MSG_TYPE of replies.
const REPLY: &str = "reply";

/// Sends requests and waits for replies; see the [module's text](self).
pub struct Requester {
    inner: Arc<Inner>,
}

struct Inner {
    producer: Producer,
    client_id: String,
    /// Who waits, by correlation id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Message>>>,
}

impl Requester {
    /// A requester that the brokers of the cluster know. Speaks remoting, whatever the configuration says. Must be called
    /// within a tokio runtime.
    pub async fn start(config: ProducerConfig) -> Result<Self> {
        let (sender, heard) = mpsc::channel(ASKED_COUNT_MAX);
        let producer = Producer::hearing(ProducerConfig { dialect: Dialect::Remoting, ..config }, Some(sender))?;
        let client_id = client_id(local_ip(producer.cluster().first_name_server()), None);
        let inner = Arc::new(Inner { producer, client_id, waiting: Mutex::default() });
        say(&*inner).await;
        tokio::spawn(keep(Arc::downgrade(&inner), heard));
        Ok(Self { inner })
    }

    /// Sends a message and waits for its reply.
    ///
    /// # Errors
    /// Those of a send, and [`Error::Timeout`] when no reply comes within `timeout`: the request may have been carried out.
    pub async fn request(&self, message: OutgoingMessage, timeout: Duration) -> Result<Message> {
        let started = Instant::now();
        let id = self.inner.producer.unique_id();
        let (sender, receiver) = oneshot::channel();
        self.inner.waiting().insert(id.clone(), sender);
        // Whatever happens, nobody waits afterwards.
        let _entry = Entry { inner: &self.inner, id: &id };
        let request = message
            .system(names::CORRELATION_ID, &id)
            .system(names::REPLY_TO_CLIENT, &self.inner.client_id)
            .system(TTL, &timeout.as_millis().to_string());
        let exchange = async {
            self.inner.producer.send(request).await?;
            receiver.await.map_err(|_| Error::Closed)
        };
        let timed_out = |_| Error::Timeout { what: "a request by message", after: started.elapsed() };
        tokio::time::timeout(timeout, exchange).await.map_err(timed_out)?
    }

    /// Leaves and closes the connections.
    pub async fn close(self) {
        leave(&*self.inner).await;
        self.inner.producer.clone().close().await;
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requester({})", self.inner.client_id)
    }
}

/// The reply to a request, to be sent by a producer with [`Dialect::Remoting`].
///
/// # Errors
/// When `request` is none: it says neither who waits nor where.
pub fn reply_to(request: &Message, body: impl Into<Bytes>) -> Result<OutgoingMessage> {
    let property =
        |name| request.property(name).ok_or(Error::Argument("the message is no request that can be replied to"));
    let topic = format!("{}{REPLY_TOPIC_SUFFIX}", property(names::CLUSTER)?);
    let reply = OutgoingMessage::new(topic, body)
        .system(names::MSG_TYPE, REPLY)
        .system(names::CORRELATION_ID, property(names::CORRELATION_ID)?)
        .system(names::REPLY_TO_CLIENT, property(names::REPLY_TO_CLIENT)?);
    Ok(match request.property(TTL) {
        Some(ttl) => reply.system(TTL, ttl),
        None => reply,
    })
}

/// A request that waits, taken off the list when it is over.
struct Entry<'i> {
    inner: &'i Inner,
    id: &'i str,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.inner.waiting().remove(self.id);
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Message>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present for Inner {
    fn producer(&self) -> &Producer {
        &self.producer
    }

    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn is_known_to_all(&self) -> bool {
        true
    }

    fn asked(&self, asked: Asked) {
        if asked.code != PUSH_REPLY_MESSAGE_TO_CLIENT {
            return asked.refuse();
        }
        let message = asked.read::<PushReply<'_>>().and_then(|header| Message::from_reply(&header, &asked.body));
        let Some(message) = message else {
            return asked.answer(Code::SYSTEM_ERROR, Some("the reply cannot be read"), b"");
        };
        let waiting = message.property(names::CORRELATION_ID).and_then(|id| self.waiting().remove(id));
        if waiting.is_none_or(|waiting| waiting.send(message).is_err()) {
            tracing::debug!("a reply that nobody waits for any more");
        }
        asked.answer(Code::SUCCESS, None, b"");
    }
}
