//! Text as an SQL92 filter, and any bytes as the properties that it is asked about: it is read or refused, and answers.
//!
//! The filter lives in the broker and knows none; its sources are taken as they are.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../broker/src/shard/filter/sql/mod.rs"]
mod sql;

fuzz_target!(|input: (Vec<&str>, &[u8])| {
    // Words of the grammar among what the fuzzer finds, so that it need not spell them.
    const WORDS: [&str; 28] = [
        "a",
        "b",
        "AND",
        "OR",
        "NOT",
        "BETWEEN",
        "IN",
        "IS",
        "NULL",
        "TRUE",
        "FALSE",
        "CONTAINS",
        "STARTSWITH",
        "ENDSWITH",
        "=",
        "<>",
        "<",
        "<=",
        ">",
        ">=",
        "(",
        ")",
        ",",
        "-",
        "5",
        "1.5",
        "'x'",
        "'5'",
    ];
    let (parts, properties) = input;
    let word = |part: &&str| match part.as_bytes() {
        [choice] => WORDS[usize::from(*choice) % WORDS.len()].to_owned(),
        _ => (*part).to_owned(),
    };
    let expression = parts.iter().map(word).collect::<Vec<_>>().join(" ");
    match sql::Sql::parse(&expression) {
        Ok(filter) => {
            filter.matches(properties);
            filter.matches(b"a\x015\x02b\x01x\x02");
            assert_eq!(sql::Sql::parse(&expression), Ok(filter));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
