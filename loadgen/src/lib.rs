//! RingMQ's load generator and main demonstration: sends, reads back, verifies each message, and says what it cost.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod cores;
pub mod count;
pub mod directory;
pub mod failure;
pub mod latency;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod report;
pub mod resources;
pub mod size;

