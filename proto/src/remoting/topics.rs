//! Topics that RocketMQ has for itself, by the names that its clients and tools know them by.

/// Named by producers as the one whose likeness a topic is made in that does not exist yet.
pub const TEMPLATE: &str = "TBW102";

/// Where messages of a delay level wait: in queue level − 1.
pub const DELAYED: &str = "SCHEDULE_TOPIC_XXXX";

/// Where timed messages wait.
pub const TIMED: &str = "rmq_sys_wheel_timer";

/// Where first halves of transactions wait.
pub const HALVES: &str = "RMQ_SYS_TRANS_HALF_TOPIC";

/// Where RocketMQ's brokers note how halves ended. RingMQ's has nothing in it, and shows it as tools expect it.
pub const HALVES_ENDED: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";

/// Where halves go whose producers were asked too often.
pub const HALVES_GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// Sent to by RocketMQ's tests of a broker's health.
pub const SELF_TEST: &str = "SELF_TEST_TOPIC";

/// Where RocketMQ's brokers say that they moved a consumer's offset.
pub const OFFSET_MOVED: &str = "OFFSET_MOVED_EVENT";

/// Where clients send traces to, unless they name another one.
pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";

/// What names of the system's other topics begin with.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
