//! RingMQ's load generator and main demonstration: sends, reads back, verifies each message, and says what it cost.

pub mod cli;
pub mod count;
pub mod latency;
pub mod outcome;
pub mod pace;
pub mod report;
pub mod resources;
pub mod size;

/// Version, commit and format version, as `--version` prints them.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
