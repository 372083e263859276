//! Namespaces, as RocketMQ's classic clients have them: tenants of one cluster whose topics and groups have the same names.
//! Only clients know of them. What goes to brokers is `namespace%topic` and `namespace%group` (so that the group's retry
//! topic is `%RETRY%namespace%group`); what comes back is shown without. Names of the system's own belong to all.

use std::borrow::Cow;
use std::sync::Arc;

use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::topics;

use crate::error::{Error, Result};

/// The property in which a message says its producer's namespace.
pub(crate) const INSTANCE_ID: &str = "INSTANCE_ID";

/// Stands between a namespace and a name.
const SEPARATOR: char = '%';

/// What names of retry and dead-letter topics begin with, before the namespace.
const GROUP_TOPIC_PREFIXES: [&str; 2] = ["%RETRY%", "%DLQ%"];

/// RocketMQ's own topics, and what its others and its own groups begin with.
const SYSTEM_TOPICS: [&str; 10] = [
    topics::TEMPLATE,
    topics::DELAYED,
    "BenchmarkTest",
    topics::HALVES,
    topics::TRACE,
    topics::HALVES_ENDED,
    topics::HALVES_GIVEN_UP,
    topics::SELF_TEST,
    topics::OFFSET_MOVED,
    "CHECKPOINT_TOPIC",
];
const SYSTEM_PREFIXES: [&str; 2] = [topics::SYSTEM_PREFIX, "CID_RMQ_SYS_"];

/// The namespace of a client, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace(Option<Arc<str>>);

impl Namespace {
    /// The namespace of this name.
    ///
    /// # Errors
    /// A name that could not be part of a topic's, or told from one.
    pub(crate) fn new(name: Option<&str>) -> Result<Self> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match name {
            Some(name) if name.is_empty() || name.len() >= LONG_NAME_SIZE_BYTES_MAX || !name.bytes().all(is_legal) => {
                Err(Error::Argument("a namespace is made of letters, digits, '-' and '_'"))
            }
            name => Ok(Self(name.map(Arc::from))),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// A topic or group as brokers know it.
    pub(crate) fn wrap<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let Some(namespace) = self.name() else { return name.into() };
        let is_system = SYSTEM_TOPICS.contains(&name) || SYSTEM_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let prefix = GROUP_TOPIC_PREFIXES.into_iter().find(|prefix| name.starts_with(prefix)).unwrap_or_default();
        let rest = &name[prefix.len()..];
        if is_system || name.is_empty() || self.after(rest).is_some() {
            return name.into();
        }
        format!("{prefix}{namespace}{SEPARATOR}{rest}").into()
    }

    /// A topic as the application knows it.
    pub(crate) fn strip<'n>(&self, topic: &'n str) -> &'n str {
        self.after(topic).unwrap_or(topic)
    }

    fn after<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.name()?)?.strip_prefix(SEPARATOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wrapped_as_by_rocketmqs_clients_and_never_twice() {
        let namespace = Namespace::new(Some("MQ_INST_1")).expect("legal");
        for (name, wrapped) in [
            ("orders", "MQ_INST_1%orders"),
            ("MQ_INST_1%orders", "MQ_INST_1%orders"),
            ("%RETRY%group", "%RETRY%MQ_INST_1%group"),
            ("%DLQ%group", "%DLQ%MQ_INST_1%group"),
            ("%RETRY%MQ_INST_1%group", "%RETRY%MQ_INST_1%group"),
            ("MQ_INST_10%orders", "MQ_INST_1%MQ_INST_10%orders"),
            ("TBW102", "TBW102"),
            ("RMQ_SYS_TRACE_TOPIC", "RMQ_SYS_TRACE_TOPIC"),
            ("rmq_sys_wheel_timer", "rmq_sys_wheel_timer"),
            ("CID_RMQ_SYS_TRANS", "CID_RMQ_SYS_TRANS"),
        ] {
            assert_eq!(namespace.wrap(name), wrapped, "{name}");
        }
        assert_eq!(namespace.strip("MQ_INST_1%orders"), "orders");
        assert_eq!(namespace.strip("MQ_INST_2%orders"), "MQ_INST_2%orders");
        assert_eq!(Namespace::default().wrap("orders"), "orders");
        assert_eq!(Namespace::default().strip("a%b"), "a%b");
    }

    #[test]
    fn names_that_could_not_be_told_apart_are_refused() {
        for name in ["", "a%b", "a b", &"x".repeat(255)] {
            assert!(Namespace::new(Some(name)).is_err(), "{name}");
        }
    }
}
