//! What expressions mean.

use super::limits::{DEPTH_MAX, EXPRESSION_SIZE_BYTES_MAX, PROPERTY_COUNT_MAX};
use super::{Sql, SqlError};
use proptest::prelude::*;

fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(name, value)| format!("{name}\x01{value}\x02").into_bytes()).collect()
}

fn matches(expression: &str, pairs: &[(&str, &str)]) -> bool {
    Sql::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}")).matches(&properties(pairs))
}

/// Each expression, and whether it matches these properties.
fn check(pairs: &[(&str, &str)], cases: &[(&str, bool)]) {
    for (expression, expected) in cases {
        assert_eq!(matches(expression, pairs), *expected, "{expression} with {pairs:?}");
    }
}

fn error(expression: &str) -> String {
    Sql::parse(expression).err().unwrap_or_else(|| panic!("{expression} was read")).to_string()
}

#[test]
fn numbers_are_compared_with_properties() {
    check(
        &[("a", "5"), ("f", "3.1415"), ("n", "-2"), ("big", "5000000000")],
        &[
            ("a = 5", true),
            ("a = 4", false),
            ("a <> 5", false),
            ("a <> 4", true),
            ("a > 4", true),
            ("a > 5", false),
            ("a >= 5", true),
            ("a < 6", true),
            ("a < 5", false),
            ("a <= 5", true),
            ("5 = a", true),
            ("4 < a", true),
            ("a = 5.0", true),
            ("a > 4.5", true),
            ("a < 5.5e0", true),
            ("f > 3.14", true),
            ("f < 3.14", false),
            ("n < 0", true),
            ("n = -2", true),
            ("n > -3", true),
            ("n >= +1", false),
            ("a > - - 4", true),
            ("a > - 4", true),
            ("a > 0.0", true),
            ("a = 5l", true),
            ("a = 5L", true),
            ("big > 5", true),
            ("big = 5000000000", true),
            ("a < 9223372036854775807", true),
        ],
    );
    assert!(matches("a > 3.1E10", &[("a", "31415000000")]));
    assert!(matches("a > .5", &[("a", "0.6")]) && matches("a > 5.", &[("a", "6")]));
}

#[test]
fn what_is_no_number_does_not_match() {
    check(
        &[("a", "abc"), ("f", "3.14"), ("b", "x")],
        &[
            ("a > 1", false),
            ("NOT (a > 1)", false),
            ("a = 1", false),
            ("a <> 1", false),
            ("a between 0 and 100", false),
            ("a not between 0 and 100", false),
            ("f > 3", false),
            ("f = 3.14", true),
            // A failure ends the evaluation, unless it is not reached.
            ("a > 1 OR b = 'x'", false),
            ("b = 'x' OR a > 1", true),
            ("b = 'y' AND a > 1", false),
            ("NOT (b = 'y' AND a > 1)", true),
        ],
    );
}

#[test]
fn strings_are_equal_or_not() {
    check(
        &[("a", "hello"), ("q", "it's"), ("n", "10"), ("m", "9"), ("same", "hello"), ("u", "标签")],
        &[
            ("a = 'hello'", true),
            ("a <> 'hello'", false),
            ("a = 'Hello'", false),
            ("a = ''", false),
            ("q = 'it''s'", true),
            ("u = '标签'", true),
            ("a = same", true),
            ("a <> q", true),
            // Properties beside each other are texts when equal, numbers when ordered.
            ("n > m", true),
            ("n = m", false),
            ("a > m", false),
            ("'a' = 'a'", true),
            ("'10' = 10", true),
        ],
    );
    assert!(matches("TAGS is not null and TAGS='''''tag'''''", &[("TAGS", "''tag''")]));
}

#[test]
fn a_missing_property_is_null() {
    check(
        &[("there", "1")],
        &[
            ("a is null", true),
            ("a is not null", false),
            ("there is null", false),
            ("there is not null", true),
            ("a = 1", false),
            ("NOT (a = 1)", false),
            ("a <> 1", false),
            ("a > 1", false),
            ("NOT (a > 1)", false),
            ("a in ('x')", false),
            ("a not in ('x')", false),
            ("NOT (a in ('x'))", false),
            ("a between 1 and 2", false),
            ("a not between 1 and 2", false),
            ("a = 1 OR there = 1", true),
            ("a = 1 AND there = 1", false),
            ("(a = 1 AND there = 2) IS NULL", false),
            ("(a = 1 AND there = 1) IS NULL", true),
            ("(a = 1 OR there = 2) IS NULL", true),
            ("(a = 1 OR there = 1) IS NULL", false),
            ("(NOT (a = 1)) IS NULL", true),
            // On the right alone it makes FALSE, on both sides TRUE.
            ("NOT (there = a)", true),
            ("a = b", true),
            ("a IS NULL OR a = 'hello'", true),
            ("NULL IS NULL", true),
            ("1 IS NULL", false),
        ],
    );
    assert!(matches("a = '1'", &[("a", "2"), ("a", "1")]), "the last of two counts");
}

#[test]
fn null_literal_decides_nothing() {
    check(
        &[("a", "1")],
        &[
            ("NULL", false),
            ("NOT NULL", false),
            ("NULL OR a = 1", true),
            ("NULL AND a = 1", false),
            ("NOT (NULL AND a = 2)", true),
        ],
    );
}

#[test]
fn logic_follows_precedence() {
    check(
        &[("t", "1"), ("f", "0")],
        &[
            ("TRUE", true),
            ("FALSE", false),
            ("NOT FALSE", true),
            ("NOT NOT TRUE", true),
            ("TRUE OR FALSE AND FALSE", true),
            ("(TRUE OR FALSE) AND FALSE", false),
            ("FALSE AND FALSE OR TRUE", true),
            ("t = 1 and f = 0 And not (t = 0) AND TRUE", true),
            ("t = 0 or f = 1 OR t = 2 oR f = 0", true),
            ("t = 1 AND NOT (f = 1)", true),
            // NOT binds tighter than a comparison: this asks whether (NOT t) is 1.
            ("NOT t = 1", false),
            ("NOT t = 0", false),
            ("(t = 1) = TRUE", true),
            ("(t = 1) = (f = 0)", true),
            ("(t = 1) <> (f = 0)", false),
            ("(t = 1) = 1", false),
        ],
    );
    for (a, b, c) in [("3", "5", "6"), ("4", "5", "6"), ("3", "4", "6"), ("3", "5", "5")] {
        let pairs = [("a", a), ("b", b), ("c", c), ("d", "1")];
        assert_eq!(matches("a=3 and b<>4 And c>5 AND d<=4", &pairs), (a, b, c) == ("3", "5", "6"));
    }
    check(&[("a", "4"), ("b", "4"), ("c", "3"), ("d", "2")], &[("a=3 or b<>4 Or c>5 OR d<=4", true)]);
    check(&[("a", "4"), ("b", "4"), ("c", "3"), ("d", "10")], &[("a=3 or b<>4 Or c>5 OR d<=4", false)]);
}

#[test]
fn truth_values_are_read_from_properties() {
    check(
        &[("a", "true"), ("b", "FALSE"), ("c", "yes")],
        &[
            ("a = TRUE", true),
            ("a = FALSE", false),
            ("b = FALSE", true),
            ("b <> TRUE", true),
            ("c = TRUE", false),
            ("c = FALSE", true),
            ("a=TRUE OR b=FALSE", true),
            // A property alone is a text, never true.
            ("a", false),
            ("NOT a", true),
            ("a AND TRUE", false),
            ("missing", false),
            ("NOT missing", false),
            // RocketMQ fails on this side.
            ("TRUE = a", false),
            ("NOT (TRUE = a)", false),
        ],
    );
}

#[test]
fn between_includes_its_ends() {
    for (value, inside) in [("1", false), ("2", true), ("3", true), ("10", true), ("11", false)] {
        assert_eq!(matches("a between 2 and 10", &[("a", value)]), inside, "{value}");
        assert_eq!(matches("a not between 2 and 10", &[("a", value)]), !inside, "{value}");
        assert_eq!(matches("NOT (a between 2 and 10)", &[("a", value)]), !inside, "{value}");
    }
    let pairs = [("a", "3.14"), ("low", "3"), ("high", "4"), ("word", "up")];
    check(
        &pairs,
        &[
            ("a between 3.0 and 4.5", true),
            ("a between low and high", true),
            ("a between high and low", false),
            ("a between -5.0 and -1.0", false),
            ("a between word and high", false),
            ("3 between low and high", true),
            ("a between 1.0 and 5.0 AND low = 3", true),
        ],
    );
}

#[test]
fn in_asks_for_one_of_the_strings() {
    for (value, inside) in [("3", true), ("4", true), ("5", true), ("8", false), ("", false)] {
        let pairs = [("a", value)];
        assert_eq!(matches("a in ('3', '4', '5')", &pairs), inside, "{value}");
        assert_eq!(matches("a not in ('3', '4', '5')", &pairs), !inside && !value.is_empty(), "{value}");
    }
    assert!(matches("a IN ('it''s')", &[("a", "it's")]));
    assert!(matches(
        "(TAGS is not null and TAGS in ('TagA', 'TagB')) and (a is not null and a between 0 and 3)",
        &[("TAGS", "TagB"), ("a", "2")]
    ));
}

#[test]
fn searches_find_text() {
    check(
        &[("a", "axb"), ("n", "12")],
        &[
            ("a contains 'x'", true),
            ("a contains 'axb'", true),
            ("a contains 'axbc'", false),
            ("a not contains 'x'", false),
            ("a NOT CONTAINS 'y'", true),
            ("a startswith 'ax'", true),
            ("a startswith 'x'", false),
            ("a not startswith 'x'", true),
            ("a endswith 'xb'", true),
            ("a EndsWith 'x'", false),
            ("a not endswith 'x'", true),
            ("n contains '2'", true),
            // Nothing to look for, and nothing to look in: neither is true.
            ("a contains ''", false),
            ("a not contains ''", false),
            ("missing contains 'x'", false),
            ("missing not contains 'x'", false),
            ("NOT (missing contains 'x')", true),
            ("(a contains 'x') contains 'x'", false),
            ("12 contains '1'", false),
            ("'abc' contains 'b'", true),
        ],
    );
}

#[test]
fn signs_are_for_numbers() {
    check(
        &[("a", "5")],
        &[("-a = 5", false), ("-a IS NULL", true), ("+a = 5", true), ("-'x' IS NULL", true), ("+'5' = a", true)],
    );
}

#[test]
fn comments_and_white_space_are_skipped() {
    check(
        &[("a", "5"), ("_b$1", "x")],
        &[
            (" a\t=\n5 -- five", true),
            ("a -- a\n = /* * five **/ 5", true),
            ("/**/a=5", true),
            ("a=5--6\r\nAND TRUE", true),
            ("_b$1 = 'x'", true),
            ("_B$1 = 'x'", false),
            ("a = '5' -- 'unclosed", true),
        ],
    );
}

#[test]
fn broken_expressions_are_refused_in_a_sentence() {
    assert_eq!(error("a >"), "expected a property, a literal or ( at character 4 of the expression, not the end");
    assert_eq!(error("a = 5 b"), "expected the end at character 7 of the expression, not the name b");
    assert_eq!(error("标 = 5"), "a character that means nothing at character 1 of the expression");
    assert_eq!(error("a = '标' ;"), "a character that means nothing at character 9 of the expression");
    assert_eq!(error("a = 'x"), "a string that does not end at character 5 of the expression");
    assert_eq!(error("a between 5 and 2"), "BETWEEN with its larger end first, at character 3 of the expression");
    for broken in [
        "",
        " ",
        "()",
        "(a = 1",
        "a = 1)",
        "a in ()",
        "a in ('x'",
        "a in ('x',)",
        "a in (1)",
        "a in 'x'",
        "a is",
        "a is not",
        "a is true",
        "a between 1",
        "a between 1 and",
        "a not",
        "a not 5",
        "not",
        "a contains 5",
        "a contains b",
        "a and",
        "or a",
        "a like 'x'",
        "a + 1 = 2",
        "a == 1",
        "a != 1",
        "a = 007",
        "a = 5x",
        "a = 5.5.5",
        "a = 1e999",
        "a = 9223372036854775808",
        "a = -9223372036854775808",
        "/* open",
        "a ! b",
        "a.b = 1",
        "\"a\" = 1",
        "a = 5 /",
        "now()",
    ] {
        assert!(Sql::parse(broken).is_err(), "{broken}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for broken in [
        "a > 'x'",
        "'x' < a",
        "a >= TRUE",
        "NULL < a",
        "(a = 1) > 0",
        "a between 'a' and 'b'",
        "a not between 'a' and 5",
        "a between NULL and 5",
        "a = NULL",
        "NULL <> a",
        "TRUE = 1",
        "FALSE = 'x'",
        "5",
        "'x'",
        "a = 1 AND 5",
        "'x' OR a = 1",
        "NOT 5",
        "-5",
        "5 in ('5')",
        "(a = 1) in ('x')",
        "-a in ('x')",
        "a between 3 and 2.5",
        "(a = 1) between 0 and 1",
    ] {
        assert!(matches!(Sql::parse(broken), Err(SqlError::Meaning { .. })), "{broken}: {:?}", Sql::parse(broken));
    }
    // Not between has no such rule.
    assert!(Sql::parse("a not between 5 and 2").is_ok());
}

#[test]
fn expression_size_bytes_max() {
    let expression = |size: usize| format!("{:size$}", "a = 1");
    assert!(Sql::parse(&expression(EXPRESSION_SIZE_BYTES_MAX)).is_ok());
    assert_eq!(
        Sql::parse(&expression(EXPRESSION_SIZE_BYTES_MAX + 1)),
        Err(SqlError::TooLong { size: EXPRESSION_SIZE_BYTES_MAX + 1 })
    );
}

#[test]
fn depth_max() {
    let nested = |levels: usize| "(".repeat(levels) + "a = 1" + &")".repeat(levels);
    assert!(Sql::parse(&nested(DEPTH_MAX - 1)).is_ok());
    assert_eq!(Sql::parse(&nested(DEPTH_MAX)), Err(SqlError::TooDeep));
    let signs = |levels: usize| format!("a > {}1", "- ".repeat(levels));
    assert!(Sql::parse(&signs(DEPTH_MAX - 2)).is_ok());
    assert_eq!(Sql::parse(&signs(DEPTH_MAX)), Err(SqlError::TooDeep));
    let chain = |levels: usize| "a".to_owned() + &" = a".repeat(levels);
    assert!(Sql::parse(&chain(DEPTH_MAX - 1)).is_ok());
    assert_eq!(Sql::parse(&chain(DEPTH_MAX)), Err(SqlError::TooDeep));
    // What is joined is beside each other, not below.
    assert!(Sql::parse(&("a = 1".to_owned() + &" OR a = 1".repeat(1_000))).is_ok());
}

#[test]
fn property_count_max() {
    let expression = |count: usize| (0..count).map(|id| format!("p{id} = 1")).collect::<Vec<_>>().join(" OR ");
    assert!(Sql::parse(&expression(PROPERTY_COUNT_MAX)).is_ok());
    assert_eq!(Sql::parse(&expression(PROPERTY_COUNT_MAX + 1)), Err(SqlError::TooManyProperties));
}

/// Text that looks like an expression.
fn any_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
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
        "+",
        "-",
        "5",
        "0",
        "1.5",
        "'x'",
        "'5'",
        "'",
        "--",
        "/*",
        "*/",
        "\n",
    ]);
    prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_the_filter_panic(text in any_text(), noise in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for text in [&text, &noise] {
            if let Ok(filter) = Sql::parse(text) {
                filter.matches(&bytes);
                filter.matches(&properties(&[("a", "5"), ("b", "x")]));
            }
        }
    }

    #[test]
    fn integers_compare_as_they_are(left in any::<i64>(), right in 0..=i64::MAX) {
        let pairs = [("a", left.to_string())];
        let pairs = [(pairs[0].0, pairs[0].1.as_str())];
        prop_assert_eq!(matches(&format!("a < {right}"), &pairs), left < right);
        prop_assert_eq!(matches(&format!("a = {right}"), &pairs), left == right);
        prop_assert_eq!(matches(&format!("a >= -{right}"), &pairs), left >= -right);
        prop_assert_eq!(matches(&format!("a BETWEEN 0 AND {right}"), &pairs), (0..=right).contains(&left));
    }

    #[test]
    fn any_string_finds_itself(text in "[^\u{1}\u{2}]{1,20}") {
        let quoted = text.replace('\'', "''");
        let pairs = [("a", text.as_str())];
        for expression in [format!("a = '{quoted}'"), format!("a IN ('{quoted}')"), format!("a CONTAINS '{quoted}'"), format!("a STARTSWITH '{quoted}'"), format!("a ENDSWITH '{quoted}'")] {
            prop_assert!(matches(&expression, &pairs), "{}", expression);
        }
        let negated = format!("a <> '{quoted}'");
        prop_assert!(!matches(&negated, &pairs));
    }
}
