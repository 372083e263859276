//! The batch of a remoting client: no panic, and what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::message::{ClientBatchMessage, iter_client_batch};
use ringmq_proto_fuzz::{Input, at_most};

fuzz_target!(|input: Input<Vec<(i32, Vec<u8>, Vec<u8>)>>| {
    let bytes = input.bytes(|messages| {
        let mut bytes = Vec::new();
        for (flag, body, properties) in &messages {
            ClientBatchMessage { flag: *flag, body, properties: at_most(properties, 32_767) }.append_to(&mut bytes);
        }
        assert_eq!(iter_client_batch(&bytes).filter(Result::is_ok).count(), messages.len());
        bytes
    });
    for message in iter_client_batch(&bytes).flatten() {
        let mut written = Vec::new();
        message.append_to(&mut written);
        assert_eq!(ClientBatchMessage::decode(&written), Ok((message, [].as_slice())));
    }
});
