//! Header bytes of both serialization types (the first byte chooses): what is read can be written in either, and reads the
//! same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::remoting::{Header, SerializeType};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let serialize_type = if choice & 1 == 0 { SerializeType::Json } else { SerializeType::Binary };
    let Ok(header) = Header::decode(serialize_type, bytes) else {
        return;
    };
    for wanted in [SerializeType::Json, SerializeType::Binary] {
        let mut written = Vec::new();
        let used = header.encode(wanted, &mut written);
        let again = Header::decode(used, &written).expect("own headers can be read");
        assert_eq!(
            (again.code, again.language, again.opaque, again.flag),
            (header.code, header.language, header.opaque, header.flag)
        );
        if used == SerializeType::Json {
            assert_eq!(again, header);
            // What this encoder writes is standard JSON.
            serde_json::from_slice::<serde_json::Value>(&written).expect("standard JSON");
        } else {
            // The binary header has no empty values: they are gone, and all else is there.
            let expected: Vec<_> = header.ext.iter().filter(|(_, value)| !value.is_empty()).collect();
            assert_eq!(again.ext.iter().collect::<Vec<_>>(), expected);
        }
    }
});
