//! The store.
pub mod cache;
pub mod index;
