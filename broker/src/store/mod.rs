//! The store.
pub mod index;
