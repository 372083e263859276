//! The index against its model, on a disk that reorders, fails and crashes.

mod damage;
pub(in crate::store) mod disk;
mod history;
mod scenarios;
mod world;
