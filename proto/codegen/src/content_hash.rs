//! What ties a generated file to its schema. Shared by the generator and by the test that runs without it.

/// In front of the two hashes in a generated file's second line.
pub(crate) const STAMP: &str = "// ringmq-codegen: ";

/// The first lines of the generated file whose schema is `schema` and whose generated part is `body`.
pub(crate) fn header(schema: &str, body: &str) -> String {
    format!(
        "// Made from proto/schema/native.fbs by `cargo run -p ringmq-codegen`. Do not edit.\n{STAMP}schema {:016x}, code {:016x}\n",
        fnv1a_64(schema.as_bytes()),
        fnv1a_64(body.as_bytes())
    )
}

/// FNV-1a: guards against forgetting, not against malice, and needs no dependency.
fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
