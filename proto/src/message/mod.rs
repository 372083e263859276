//! Messages as they are stored and as both dialects carry them.
//!
//! A message is stored in RocketMQ's own layout ([`stored`]), so that a pull is a slice of the log. A native batch of one
//! queue is stored as one unit ([`batch`]) and is expanded into that layout only for clients that speak remoting.

pub mod batch;
pub mod client_batch;
pub mod host;
pub mod ids;
pub mod properties;
pub mod stored;
pub mod tag;

pub use batch::{BATCH_HEAD_SIZE_BYTES, Batch, BatchEncoder, BatchEntry, BatchHead, batch_entry_len};
pub use client_batch::{ClientBatchMessage, iter_client_batch};
pub use host::Host;
pub use ids::{OffsetId, UniqueId};
pub use properties::{Properties, append_property};
pub use stored::{StoredMessage, StoredMessageParts, iter_stored, sys_flag};
pub use tag::{tag_hash, tag_hash_of_properties};
