//! Client ids, `address@instance`: what members of a group are sorted by and locks are held by.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The instance name that RocketMQ replaces by one that is unique.
const DEFAULT_INSTANCE: &str = "DEFAULT";

/// A client id. Without an instance name it is unique in the world, and another one after a restart.
pub(crate) fn client_id(ip: IpAddr, instance_name: Option<&str>) -> String {
    match instance_name {
        Some(name) => format!("{ip}@{name}"),
        None => format!("{ip}@{}", unique_instance()),
    }
}

/// The client id of a broadcasting consumer: the same after a restart, so that it finds its offsets.
pub(crate) fn lasting_client_id(ip: IpAddr, instance_name: Option<&str>) -> String {
    client_id(ip, Some(instance_name.unwrap_or(DEFAULT_INSTANCE)))
}

/// `process#nanoseconds`, as in RocketMQ, and a counter: several may be made in the same nanosecond.
fn unique_instance() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{}#{nanos}#{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_unless_they_must_last() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        assert_ne!(client_id(ip, None), client_id(ip, None));
        assert_eq!(client_id(ip, Some("a")), "192.0.2.1@a");
        assert_eq!(lasting_client_id(ip, None), "192.0.2.1@DEFAULT");
    }
}
