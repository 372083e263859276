//! Properties strings, tags and ids: anything is a properties string, and what is read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::message::properties::is_property;
use ringmq_proto::message::{OffsetId, Properties, UniqueId, append_property, tag_hash_of_properties};

fuzz_target!(|input: &[u8]| {
    let properties = Properties::new(input);
    let mut written = Vec::new();
    for (name, value) in properties.iter() {
        assert!(is_property(name, value));
        append_property(&mut written, name, value);
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(properties.get(name).is_some());
        }
    }
    assert!(written.len() <= input.len());
    assert!(Properties::new(&written).iter().eq(properties.iter()));
    assert_eq!(tag_hash_of_properties(&written), tag_hash_of_properties(input));
    let _ = properties.is_no_wait();
    let mut without = Vec::new();
    properties.append_without(&["TAGS", "WAIT"], &mut without);
    assert!(Properties::new(&without).get("TAGS").is_none());
    if let Ok(id) = OffsetId::parse(input) {
        assert_eq!(OffsetId::parse(id.to_string().as_bytes()), Ok(id));
    }
    if let Ok(id) = UniqueId::parse(input) {
        assert!(id.to_string().as_bytes().eq_ignore_ascii_case(input));
    }
});
