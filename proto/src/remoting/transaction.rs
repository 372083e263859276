//! Transactions: the producer's verdict (37) and the broker's question (39), both one-way.

use super::ext::ext_header;

/// [`EndTransaction::commit_or_rollback`]: deliver the message.
pub const COMMIT: i32 = 8;
/// [`EndTransaction::commit_or_rollback`]: forget the message.
pub const ROLLBACK: i32 = 12;
/// [`EndTransaction::commit_or_rollback`]: ask again later.
pub const UNKNOWN: i32 = 0;

ext_header! {
    /// END_TRANSACTION (37): what became of the producer's own transaction.
    pub struct EndTransaction<'a> {
        /// Name of the producer's group.
        producer_group: &'a str = "producerGroup",
        /// Offset of the half message in its queue, as the send's answer said.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// PHYSICALOFFSET of the half message, from its id.
        commit_log_offset: i64 = "commitLogOffset",
        /// [`COMMIT`], [`ROLLBACK`], [`UNKNOWN`].
        commit_or_rollback: i32 = "commitOrRollback",
        /// Whether this answers a question of the broker.
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        /// The message's unique id.
        msg_id: &'a str = "msgId",
        /// The same.
        transaction_id: Option<&'a str> = "transactionId",
        /// Name of the topic (5.x).
        topic: Option<&'a str> = "topic",
    }
}

ext_header! {
    /// CHECK_TRANSACTION_STATE (39), from the broker: the body is the half message with its real topic and queue.
    pub struct CheckTransactionState<'a> {
        /// PHYSICALOFFSET of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// The message's unique id.
        msg_id: Option<&'a str> = "msgId",
        /// Offset of the half message in its queue.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// The message's offset id.
        offset_msg_id: Option<&'a str> = "offsetMsgId",
        /// The message's unique id.
        transaction_id: Option<&'a str> = "transactionId",
        /// Name of the topic (5.x).
        topic: Option<&'a str> = "topic",
    }
}
