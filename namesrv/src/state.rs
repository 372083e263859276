//! All that a name server knows. No socket, no clock, no file.

use crate::kv::KvConfig;
use crate::options::Options;
use crate::registry::Registry;

/// See the module.
#[derive(Debug, Default)]
pub struct State {
    /// Brokers and topics, from brokers.
    pub registry: Registry,
    /// Keys and values, from administrators.
    pub kv: KvConfig,
    /// What administrators switched.
    pub options: Options,
    /// What 319 tells beside the options: names and values that were chosen at the start.
    pub settings: Vec<(String, String)>,
}
