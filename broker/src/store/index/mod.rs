//! The queue index: where each message of each queue lies in the log.
