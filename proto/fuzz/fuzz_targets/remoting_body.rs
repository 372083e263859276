//! Bodies (the first byte chooses which): registrations in both forms, routes and clusters in standard JSON and fastjson's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::remoting::registration::RegisterBody;
use ringmq_proto::remoting::route::{ClusterInfo, TopicRoute};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    match choice % 4 {
        0 => {
            if let Ok(body) = RegisterBody::decode_json(bytes) {
                let again = RegisterBody::decode_json(&body.encode_json()).expect("own bodies can be read");
                // An entry without a name has none when it is read again, either.
                assert_eq!(again.topics.len(), body.topics.len());
            }
        }
        1 => {
            let version = if choice & 4 == 0 { 409 } else { 479 };
            if let Ok(body) = RegisterBody::decode_compressed(version, bytes) {
                let again = RegisterBody::decode_compressed(479, &body.encode_compressed());
                assert_eq!(again.expect("own bodies can be read"), body);
            }
        }
        2 => {
            if let Ok(route) = TopicRoute::decode(bytes) {
                assert_eq!(TopicRoute::decode(&route.encode()).expect("own bodies can be read"), route);
            }
        }
        _ => {
            if let Ok(cluster) = ClusterInfo::decode(bytes) {
                assert_eq!(ClusterInfo::decode(&cluster.encode()).expect("own bodies can be read"), cluster);
            }
        }
    }
});
