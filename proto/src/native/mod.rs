//! RingMQ's native protocol: frames whose fixed part needs no parsing.
//!
//! ```text
//! connection   client: preamble, HELLO frame        server: preamble, HELLO reply, then frames in both directions
//! preamble     B1 52 4D 51 | version u16 = 1 | 0 u16
//! frame        header 16 B | body                                                     all of it little endian
//! header       length u32 (of the frame) | kind u8 | flags u8 | code u16 | request id u32 | count u32
//!
//! kind             request body                              reply body (code 0)
//!  1 HELLO         Hello                                     Hello
//!  2 SEND          count x SendMessage (24 B), then          count x SendResult (24 B)     also with codes 10, 11, 12
//!                  message by message properties, body
//!  3 PULL          PullRequest (24 B), count 1               PullResult (24 B), count records   also 19, 20, 21
//!  4 OPEN_QUEUE    OpenQueue                                 OpenedQueue
//!  5 COMMIT_OFFSET CommitOffset                              -
//!  6 QUERY_OFFSET  QueryOffset                               OffsetResult
//!  7 QUEUE_STATE   QueueState                                QueueStateResult
//!  8 SEARCH_OFFSET SearchOffset                              OffsetResult
//!  9 VIEW_MESSAGE  ViewMessage                               one stored message, count 1
//! 10 CREATE_TOPIC  CreateTopic                               -
//! 11 DELETE_TOPIC  DeleteTopic                               -
//! 12 LIST_TOPICS   ListTopics                                TopicList
//! 13 TOPIC_STATS   TopicStats                                TopicStatsResult
//! 14 PING          -                                         -
//! ```
//!
//! Any other code: the body is a Failure, one sentence. SendMessage, SendResult, PullRequest and PullResult are
//! FlatBuffers structs (fixed bytes, nothing to verify), the other bodies FlatBuffers tables: proto/schema/native.fbs.
//! Records are those of the log ([`crate::record`]): batches stay batches.
//!
//! A request is answered once, in any order, by a frame with its request id and the flag REPLY; never when it carries
//! ONEWAY. Nothing here keeps state: who owns a connection owns its bytes and cuts frames off them ([`split_frame`]).
//!
//! What to do with a [`crate::error::DecodeError`]: `OutOfRange` of a well-formed frame is the client's mistake and
//! worth an answer (13 for a send, 29 else); every other one breaks the protocol and ends the connection.

pub mod frame;
mod generated;
pub mod hello;
pub mod pull;
pub mod queue;
pub mod send;
pub mod table;
pub mod topic;

pub use frame::{
    FRAME_HEADER_SIZE_BYTES, Frame, FrameFlags, FrameHeader, Kind, PREAMBLE_SIZE_BYTES, decode_preamble,
    encode_preamble, split_frame,
};
pub use hello::Hello;
pub use pull::{
    PULL_RESULT_SIZE_BYTES, PullReply, PullRequest, PullResult, encode_pull, encode_pull_reply, encode_pull_reply_head,
};
pub use queue::{
    CommitOffset, OffsetResult, OpenQueue, OpenedQueue, QueryOffset, QueueState, QueueStateResult, SearchOffset,
    ViewMessage, encode_view_reply,
};
pub use send::{
    SEND_MESSAGE_SIZE_BYTES, SEND_RESULT_SIZE_BYTES, SendFrame, SendFrameBuilder, SendFrameFull, SendItem, SendReply,
    SendResult, encode_send, encode_send_reply,
};
pub use table::{Failure, Table, encode_empty_reply, encode_failure, encode_ping, encode_reply, encode_request};
pub use topic::{CreateTopic, DeleteTopic, ListTopics, QueueStats, TopicInfo, TopicList, TopicStats, TopicStatsResult};
