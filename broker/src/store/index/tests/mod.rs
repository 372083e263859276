//! The index against its model, on a disk that reorders, fails and crashes.

mod damage;
mod disk;
mod history;
mod scenarios;
mod world;
