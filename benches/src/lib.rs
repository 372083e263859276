//! Micro-benchmarks of RingMQ, and what they share. The benchmarks themselves are under `benches/`.

pub mod file_disk;
pub mod null_disk;
