//! RingMQ's client for Rust applications.

pub mod connection;
