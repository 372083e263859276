//! RingMQ's load generator and main demonstration: sends, reads back, verifies each message, and says what it cost.
//!
//! Life of a run: [`cli`] → [`plan`] → [`embedded`] or [`cluster`] (where the queues are) → [`control`] (topics, ends of queues)
//! → [`sending`] and [`reading`], threads that each run a [`drive::EventLoop`] over the client's sans-IO connections →
//! `ringmq_checker::compact` (the verdict) → [`report`].
//!
//! It measures itself: the generator's CPU share is printed beside the broker's, so that nobody mistakes one's limit for the
//! other's. No future and no allocation per message; system calls per receive, not per message.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod cores;
pub mod count;
pub mod directory;
pub mod drive;
pub mod embedded;
pub mod failure;
pub mod latency;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod progress;
pub mod reading;
pub mod report;
pub mod resources;
pub mod run;
pub mod send_times;
pub mod sending;
pub mod size;
mod through_client;
