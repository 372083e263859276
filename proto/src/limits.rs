//! The limits of what travels, each with what happens when it is reached.

/// Bytes of a message's body. When reached: code 13 MESSAGE_ILLEGAL. RocketMQ's `maxMessageSize`.
pub const BODY_SIZE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a message's properties string. When reached: code 13 MESSAGE_ILLEGAL. RocketMQ's i16 length.
pub const PROPERTIES_SIZE_BYTES_MAX: usize = 32_767;

/// Bytes of a topic name. When reached: code 29 INVALID_PARAMETER. RocketMQ's limit for ordinary topics.
pub const TOPIC_NAME_SIZE_BYTES_MAX: usize = 127;

/// Bytes of the name of a %RETRY% or %DLQ% topic, and of a group. When reached: code 29 INVALID_PARAMETER.
pub const LONG_NAME_SIZE_BYTES_MAX: usize = 255;

/// Bytes of one frame of either dialect, header included. When reached: the connection is closed before the body is
/// read. RocketMQ's `com.rocketmq.remoting.frameMaxLength`.
pub const FRAME_SIZE_BYTES_MAX: usize = 16 << 20;

/// Messages in one native send frame. When reached: code 13 MESSAGE_ILLEGAL.
pub const FRAME_MESSAGE_COUNT_MAX: usize = 65_535;

/// Topics or queues in one native list. When reached: the list says that there is more, or the reply is refused.
pub const LIST_COUNT_MAX: usize = 65_536;

/// Bytes of one record of the log, header included, whatever the segment size. When reached: code 13 MESSAGE_ILLEGAL.
pub const RECORD_SIZE_BYTES_MAX: usize = (4 << 20) + (64 << 10);

/// Bytes of the header of a remoting frame. When reached: the connection is closed before the frame is read. Properties
/// travel there, and escaped in JSON they take up to six times their size.
pub const REMOTING_HEADER_SIZE_BYTES_MAX: usize = 512 << 10;

/// Extension fields of a remoting header. When reached: the connection is closed. The largest known header has 20.
pub const REMOTING_EXT_FIELD_COUNT_MAX: usize = 256;

/// Bytes of a remark. When reached: the rest of the remark is cut off. An error may repeat what a peer sent, whatever its
/// size.
pub const REMOTING_REMARK_SIZE_BYTES_MAX: usize = 4 << 10;

/// Bytes of the JSON body of a remoting request, other than a registration. When reached: code 1 with the reason.
pub const REQUEST_BODY_SIZE_BYTES_MAX: usize = 4 << 20;

/// Elements of one list or table in such a body. When reached: code 1 with the reason.
pub const BODY_LIST_COUNT_MAX: usize = 65_536;

/// Characters of the handle of a timed message. When reached: it is no handle, code 604.
pub const RECALL_HANDLE_SIZE_BYTES_MAX: usize = 2 << 10;

/// Topics in one registration of a broker with a name server. When reached: code 1 with the reason.
pub const REGISTRATION_TOPIC_COUNT_MAX: usize = 200_000;

/// Bytes that a compressed registration inflates to. When reached: code 1 with the reason.
pub const REGISTRATION_INFLATED_SIZE_BYTES_MAX: u64 = 64 << 20;

const _: () = assert!(PROPERTIES_SIZE_BYTES_MAX * 6 < REMOTING_HEADER_SIZE_BYTES_MAX);
const _: () = assert!(REMOTING_REMARK_SIZE_BYTES_MAX * 6 < REMOTING_HEADER_SIZE_BYTES_MAX / 2);
const _: () = assert!(REMOTING_HEADER_SIZE_BYTES_MAX < FRAME_SIZE_BYTES_MAX);
const _: () = assert!(BODY_SIZE_BYTES_MAX + PROPERTIES_SIZE_BYTES_MAX + 1024 < RECORD_SIZE_BYTES_MAX);
const _: () = assert!(RECORD_SIZE_BYTES_MAX < FRAME_SIZE_BYTES_MAX);
