//! Transactions: a message that is delivered when, and only when, the producer's own transaction commits.
//!
//! ```text
//! send half → local transaction → commit or roll back          (END_TRANSACTION, 37, which nobody answers)
//!                    the broker asks, when it hears nothing     (CHECK_TRANSACTION_STATE, 39) → the check → as above
//! ```
//!
//! The half message is stored as safely as any; whether the end arrives is not sure, and need not be: the broker asks any
//! connected producer of the group again and again (by default up to 15 times), then gives the message up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ringmq_proto::code::Code;
use ringmq_proto::message::properties::names;
use ringmq_proto::message::stored::sys_flag::TRANSACTION_PREPARED;
use ringmq_proto::remoting::request_code::CHECK_TRANSACTION_STATE;
use ringmq_proto::remoting::transaction::{COMMIT, CheckTransactionState, EndTransaction, ROLLBACK, UNKNOWN};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::group::client_id::client_id;
use crate::message::{Message, decode_stored};
use crate::outgoing::OutgoingMessage;
use crate::producer::presence::{Present, keep, leave, say};
use crate::producer::{Dialect, Producer, ProducerConfig, SendReceipt};
use crate::remoting::link::{ASKED_COUNT_MAX, Asked, RemotingLink};
use crate::unique::local_ip;

/// What became of a producer's own transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// Deliver the message.
    Commit,
    /// Forget the message.
    Rollback,
    /// Not known yet: the broker shall ask again.
    Unknown,
}

impl TransactionState {
    const fn code(self) -> i32 {
        match self {
            Self::Commit => COMMIT,
            Self::Rollback => ROLLBACK,
            Self::Unknown => UNKNOWN,
        }
    }
}

type Check = Arc<dyn Fn(Message) -> Pin<Box<dyn Future<Output = TransactionState> + Send>> + Send + Sync>;

/// Sends messages in transactions; see the [module's text](self).
///
/// ```no_run
/// use ringmq_client::{OutgoingMessage, ProducerConfig, TransactionProducer, TransactionState};
///
/// # async fn example() -> ringmq_client::Result<()> {
/// let config = ProducerConfig { group: "payments".into(), ..ProducerConfig::default() };
/// let producer = TransactionProducer::start(config, |message| async move {
///     // Look into the own database what became of this one.
///     if message.keys().any(|key| key == "order-17") { TransactionState::Commit } else { TransactionState::Unknown }
/// })?;
/// let message = OutgoingMessage::new("paid", "order 17").key("order-17");
/// producer.send(message, |_receipt| async { /* pay */ TransactionState::Commit }).await?;
/// # Ok(())
/// # }
/// ```
pub struct TransactionProducer {
    inner: Arc<Inner>,
}

struct Inner {
    producer: Producer,
    client_id: String,
    check: Check,
}

impl TransactionProducer {
    /// A producer that answers by `check` when a broker asks what became of a transaction of its group, be it this
    /// producer's or that of one which is gone. Speaks remoting, whatever the configuration says. Must be called within a
    /// tokio runtime.
    pub fn start<F, C>(config: ProducerConfig, check: C) -> Result<Self>
    where
        C: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = TransactionState> + Send + 'static,
    {
        let (sender, heard) = mpsc::channel(ASKED_COUNT_MAX);
        let producer = Producer::hearing(ProducerConfig { dialect: Dialect::Remoting, ..config }, Some(sender))?;
        let client_id = client_id(local_ip(producer.cluster().first_name_server()), None);
        let check: Check = Arc::new(move |message| Box::pin(check(message)));
        let inner = Arc::new(Inner { producer, client_id, check });
        tokio::spawn(keep(Arc::downgrade(&inner), heard));
        Ok(Self { inner })
    }

    /// Connects to the brokers of a topic, so that they can ask before this producer has sent anything there.
    pub async fn watch(&self, topic: &str) -> Result<()> {
        let cluster = self.inner.producer.cluster();
        let topic = self.inner.producer.namespace().wrap(topic);
        for broker in cluster.recent_route(&topic.into()).await?.iter() {
            cluster.remoting(&broker.address).ready().await?;
        }
        say(&*self.inner).await;
        Ok(())
    }

    /// Stores the half of a message, carries out the local transaction, and tells the broker what became of it. A half
    /// that is not stored as safely as the broker is configured to is rolled back, and the local transaction left out.
    ///
    /// # Errors
    /// When the half could not be stored: the local transaction was not carried out. That the end could not be told is no
    /// error: the broker asks.
    pub async fn send<F>(
        &self,
        message: OutgoingMessage,
        local: impl FnOnce(&SendReceipt) -> F,
    ) -> Result<(SendReceipt, TransactionState)>
    where
        F: Future<Output = TransactionState>,
    {
        let receipt = self.send_half(message).await?;
        let state = if receipt.status == Code::SUCCESS { local(&receipt).await } else { TransactionState::Rollback };
        if let Err(error) = self.end(&receipt, state).await {
            tracing::debug!(%error, "the broker was not told how a transaction ended; it will ask");
        }
        Ok((receipt, state))
    }

    /// Stores the half of a message. Who ends it is free: [`Self::end`], or the check.
    pub async fn send_half(&self, message: OutgoingMessage) -> Result<SendReceipt> {
        let half = message
            .system(names::TRAN_MSG, "true")
            .system(names::PGROUP, self.inner.producer.group())
            .sys_flag(TRANSACTION_PREPARED);
        self.inner.producer.send(half).await
    }

    /// Tells the broker what became of the transaction of a half. No answer comes back.
    pub async fn end(&self, half: &SendReceipt, state: TransactionState) -> Result<()> {
        let wrong = Error::Argument("not the receipt of a half message");
        let unique_id = half.unique_id.as_deref().ok_or(wrong)?;
        let end = End {
            table_offset: i64::try_from(half.queue_offset.get()).unwrap_or(i64::MAX),
            log_offset: i64::try_from(half.position.get()).unwrap_or(i64::MAX),
            unique_id,
            topic: &half.queue.topic,
            is_check: false,
        };
        let link = self.inner.producer.cluster().remoting(half.address());
        tell(self.inner.producer.group(), &link, &end, state).await
    }

    /// Waits for what is on its way, leaves the group and closes the connections. Open transactions are asked of other
    /// producers of the group.
    pub async fn close(self) {
        leave(&*self.inner).await;
        self.inner.producer.clone().close().await;
    }
}

impl fmt::Debug for TransactionProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionProducer({})", self.inner.client_id)
    }
}

/// Which transaction is ended.
struct End<'a> {
    table_offset: i64,
    log_offset: i64,
    unique_id: &'a str,
    topic: &'a str,
    is_check: bool,
}

async fn tell(group: &str, link: &RemotingLink, end: &End<'_>, state: TransactionState) -> Result<()> {
    let header = EndTransaction {
        producer_group: group,
        tran_state_table_offset: end.table_offset,
        commit_log_offset: end.log_offset,
        commit_or_rollback: state.code(),
        from_transaction_check: Some(end.is_check),
        msg_id: end.unique_id,
        transaction_id: Some(end.unique_id),
        topic: Some(end.topic),
    };
    link.end_transaction(&header).await
}

impl Present for Inner {
    fn producer(&self) -> &Producer {
        &self.producer
    }

    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn is_known_to_all(&self) -> bool {
        false
    }

    fn asked(&self, asked: Asked) {
        if asked.code != CHECK_TRANSACTION_STATE {
            return asked.refuse();
        }
        let (Some(header), Ok(mut message)) =
            (asked.read::<CheckTransactionState<'_>>(), decode_stored(Arc::clone(asked.address()), &asked.body))
        else {
            return tracing::warn!(address = %asked.address(), "a question about a transaction that cannot be read");
        };
        if message.property(names::PGROUP).is_some_and(|group| *group != **self.producer.group()) {
            return tracing::warn!(address = %asked.address(), "a question about another group's transaction");
        }
        let (table_offset, log_offset) = (header.tran_state_table_offset, header.commit_log_offset);
        let (topic, unique_id) = (message.full_topic().to_owned(), message.unique_id());
        message.namespace = self.producer.namespace().clone();
        let (check, group) = (Arc::clone(&self.check), Arc::clone(self.producer.group()));
        // Also what the check does before it gives a future: a panic leaves this question unanswered, and no other.
        tokio::spawn(async move {
            let state = check(message).await;
            let end = End { table_offset, log_offset, unique_id: &unique_id, topic: &topic, is_check: true };
            if let Err(error) = tell(&group, asked.link(), &end, state).await {
                tracing::debug!(%error, "a question about a transaction is not answered; it comes again");
            }
        });
    }
}
