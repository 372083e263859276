//! Which names of topics and groups a client may use (RocketMQ's rules).

use super::request::Rejection;
use ringmq_proto::code::Code;
use ringmq_proto::limits::{LONG_NAME_SIZE_BYTES_MAX, TOPIC_NAME_SIZE_BYTES_MAX};
use ringmq_proto::remoting::topics;

/// Topics that clients may neither create nor delete, nor send to. The template they may neither create nor delete; sending to it is
/// pointless, and RocketMQ lets them.
const OWN_TOPICS: [&str; 6] = [
    topics::DELAYED,
    topics::HALVES,
    topics::HALVES_ENDED,
    topics::HALVES_GIVEN_UP,
    topics::SELF_TEST,
    topics::OFFSET_MOVED,
];

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%|-_".contains(&byte))
}

/// Whether a topic is one of the broker's own.
pub(crate) fn is_system_topic(name: &str) -> bool {
    name == topics::TEMPLATE || OWN_TOPICS.contains(&name) || name.starts_with(topics::SYSTEM_PREFIX)
}

/// Whether clients must not send to a topic. Asked for every message: the first letter rules nearly all out.
#[inline]
pub(super) fn is_closed_to_sends(topic: &str) -> bool {
    matches!(topic.as_bytes().first(), Some(b'S' | b'R' | b'T' | b'O')) && OWN_TOPICS.contains(&topic)
}

/// Groups of RocketMQ's own tools and proxies, which its brokers have from the start.
const SYSTEM_GROUPS: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Whether a group needs nobody to make it.
pub(super) fn is_system_group(name: &str) -> bool {
    SYSTEM_GROUPS.contains(&name) || name.starts_with("CID_RMQ_SYS_")
}

/// A topic that a client may create, change or delete.
///
/// # Errors
/// 29 for a malformed name, and for one of the broker's own; in RocketMQ's words.
pub(super) fn check_topic(name: &str) -> Result<(), Rejection> {
    let long = name.starts_with("%RETRY%") || name.starts_with("%DLQ%");
    let size_max = if long { LONG_NAME_SIZE_BYTES_MAX } else { TOPIC_NAME_SIZE_BYTES_MAX };
    if name.is_empty() || name.len() > size_max || !is_plain(name) {
        return Err(Rejection::because(
            Code::INVALID_PARAMETER,
            match name.len() {
                0 => "The specified topic is blank.".to_owned(),
                size if size > size_max => format!("The specified topic is longer than topic max length {size_max}."),
                _ => "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$".to_owned(),
            },
        ));
    }
    if is_system_topic(name) {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        return Err(Rejection::because(Code::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// A consumer group.
///
/// # Errors
/// 29 for a malformed name.
pub(super) fn check_group(name: &str) -> Result<(), Rejection> {
    if name.is_empty() || name.len() > LONG_NAME_SIZE_BYTES_MAX || !is_plain(name) {
        return Err(Rejection::because(
            Code::INVALID_PARAMETER,
            format!("the group name must have 1 to {LONG_NAME_SIZE_BYTES_MAX} of the characters %|a-zA-Z0-9_-"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_rocketmqs_rules() {
        let code = |name: &str| check_topic(name).map_err(|rejection| rejection.code);
        for good in ["a", "Topic_1-x|y", "%RETRY%group", &"t".repeat(127), &format!("%DLQ%{}", "g".repeat(250))] {
            assert_eq!(code(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "ü", "a\0", &"t".repeat(128), &format!("%DLQ%{}", "g".repeat(251))] {
            assert_eq!(code(bad), Err(Code::INVALID_PARAMETER), "{bad}");
        }
        for own in [topics::TEMPLATE, topics::DELAYED, topics::TIMED] {
            assert_eq!(code(own), Err(Code::INVALID_PARAMETER), "{own}");
        }
    }
}
