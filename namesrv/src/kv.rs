//! The key-value configuration: what administrators leave with a name server (100–102, 219). A state machine; the only thing
//! of a name server that outlives it, by way of [`crate::kv_file`].
//!
//! The file is RocketMQ's `kvConfig.json`: `{"configTable":{"namespace":{"key":"value"}}}`.

use std::collections::BTreeMap;

use ringmq_proto::remoting::BodyError;
use ringmq_proto::remoting::lenient;
use ringmq_proto::remoting::namesrv::KvTable;
use serde::{Deserialize, Serialize};

use crate::limits::{KV_COUNT_MAX, KV_SIZE_BYTES_MAX};

/// The configuration is as large as it may be. Removing keys helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this name server holds {KV_COUNT_MAX} keys or {KV_SIZE_BYTES_MAX} bytes of configuration, its limit")]
pub struct Full;

/// Values by namespace and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvConfig {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    count: usize,
    size_bytes: usize,
    changes: u64,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Saved {
    config_table: BTreeMap<String, BTreeMap<String, String>>,
}

impl KvConfig {
    /// Reads a saved configuration.
    ///
    /// # Errors
    /// When it is no such JSON. What exceeds the limits is taken all the same: it was there before.
    pub fn from_json(text: &[u8]) -> Result<Self, BodyError> {
        let Saved { config_table } = lenient::decode(text)?;
        let mut config = Self::default();
        for (namespace, table) in config_table {
            for (key, value) in table {
                config.insert(&namespace, &key, &value);
            }
        }
        config.changes = 0;
        Ok(config)
    }

    /// The configuration for the file.
    pub fn to_json(&self) -> Vec<u8> {
        lenient::encode(&Saved { config_table: self.namespaces.clone() })
    }

    /// Grows with each change.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When the limits are reached; then nothing has changed.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), Full> {
        let known = self.get(namespace, key).map(str::len);
        let count = self.count + usize::from(known.is_none());
        let freed = known.map_or(0, |size| key.len() + size);
        if count > KV_COUNT_MAX || self.size_bytes - freed + key.len() + value.len() > KV_SIZE_BYTES_MAX {
            return Err(Full);
        }
        self.insert(namespace, key, value);
        Ok(())
    }

    /// Removes a key; whether it was there.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let Some(table) = self.namespaces.get_mut(namespace) else { return false };
        let Some(value) = table.remove(key) else { return false };
        if table.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.count -= 1;
        self.size_bytes -= key.len() + value.len();
        self.changes += 1;
        true
    }

    /// What a key has.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// All keys of a namespace, `None` when it has none.
    pub fn list(&self, namespace: &str) -> Option<KvTable> {
        self.namespaces.get(namespace).map(|table| KvTable { table: table.clone() })
    }

    fn insert(&mut self, namespace: &str, key: &str, value: &str) {
        self.delete(namespace, key);
        self.namespaces.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self.count += 1;
        self.size_bytes += key.len() + value.len();
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_count_max_and_kv_size_bytes_max() {
        let mut config = KvConfig::default();
        for index in 0..KV_COUNT_MAX {
            config.put("n", &index.to_string(), "").unwrap();
        }
        assert_eq!(config.put("m", "more", ""), Err(Full));
        config.put("n", "7", "changed").unwrap();
        assert!(config.delete("n", "8"));
        config.put("m", "more", "").unwrap();
        let mut large = KvConfig::default();
        let value = "v".repeat(KV_SIZE_BYTES_MAX - 1);
        large.put("n", "k", &value).unwrap();
        large.put("n", "k", &value).unwrap();
        assert_eq!((large.put("n", "k", &format!("{value}v")), large.put("n", "l", "")), (Err(Full), Err(Full)));
        assert_eq!((large.get("n", "k"), large.get("n", "l")), (Some(value.as_str()), None));
    }

    #[test]
    fn what_is_saved_is_read_again_and_an_empty_namespace_is_none() {
        let mut config = KvConfig::default();
        config.put("ORDER_TOPIC_CONFIG", "T", "a:4;b:4").unwrap();
        config.put("n", "k", "v\n\"").unwrap();
        assert!(config.delete("n", "k") && !config.delete("n", "k") && config.list("n").is_none());
        config.put("n", "k", "v\n\"").unwrap();
        let again = KvConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(again.namespaces, config.namespaces);
        assert_eq!((again.count, again.size_bytes), (config.count, config.size_bytes));
        let theirs = KvConfig::from_json(br#"{"configTable":{"n":{"k":"v"}}}"#).unwrap();
        assert_eq!(theirs.get("n", "k"), Some("v"));
        assert!(KvConfig::from_json(b"{").is_err());
    }
}
