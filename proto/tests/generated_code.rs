//! The committed FlatBuffers code belongs to the committed schema. Only hashes are compared: making it anew takes
//! minutes (`cargo run -p ringmq-codegen`).

#[path = "../codegen/src/content_hash.rs"]
mod content_hash;

const SCHEMA: &str = include_str!("../schema/native.fbs");
const GENERATED: &str = include_str!("../src/native/generated/native_generated.rs");

fn is_current(schema: &str, generated: &str) -> bool {
    let mut lines = generated.splitn(3, '\n');
    let _ = (lines.next(), lines.next());
    let body = lines.next().unwrap_or_default();
    generated.strip_suffix(body) == Some(&content_hash::header(schema, body))
}

#[test]
fn generated_code_is_what_the_schema_says() {
    assert!(is_current(SCHEMA, GENERATED), "run `cargo run -p ringmq-codegen`");
    assert!(GENERATED.contains(content_hash::STAMP));
}

#[test]
fn a_changed_schema_and_changed_code_are_noticed() {
    assert!(!is_current(&(SCHEMA.to_owned() + " "), GENERATED));
    assert!(!is_current(SCHEMA, &(GENERATED.to_owned() + " ")));
}
