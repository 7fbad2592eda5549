//! The text form, case by case. Round trips of random criteria are among the crate's property tests.

use serde_json::{Value as Json, json};

use super::*;
use crate::compile::compile_leaf;
use crate::limits::{DEPTH_MAX, LEAVES_MAX, MATCHES_MAX, TEXT_NESTING_MAX};
use crate::violation::code;

fn canonical(text: &str) -> Json {
    match parse_expression(text) {
        Ok(Expression::Criteria(criteria)) => criteria.iter().map(Criterion::to_json).collect(),
        Ok(Expression::AllHosts) => json!("all"),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[test]
fn the_example_of_the_documentation_reads_as_three_criteria() {
    assert_eq!(
        canonical("platform = linux and tags in (web, db) and not fqdn contains \".test.\""),
        json!([
            {"field": "platform", "op": "equals", "value": "linux"},
            {"field": "tags", "op": "in", "value": ["web", "db"]},
            {"not": {"field": "fqdn", "op": "contains", "value": ".test."}},
        ])
    );
}

#[test]
fn or_binds_weaker_than_and_weaker_than_not() {
    let expected = json!([{"any": [
        {"all": [{"not": {"field": "tags", "op": "equals", "value": "a"}}, {"field": "tags", "op": "equals", "value": "b"}]},
        {"field": "tags", "op": "equals", "value": "c"},
    ]}]);
    assert_eq!(canonical("not tags = a and tags = b or tags = c"), expected);
    assert_eq!(
        canonical("((NOT (tags = a)) AND tags = b) OR (tags = c)"),
        expected
    );
}

#[test]
fn every_operator_has_a_spelling() {
    let cases = [
        (
            "fqdn != a",
            json!({"field": "fqdn", "op": "not_equals", "value": "a"}),
        ),
        (
            "fqdn ~ '^web\\d'",
            json!({"field": "fqdn", "op": "matches", "value": "^web\\d"}),
        ),
        (
            "fqdn matches \"\\\\.\\\"\"",
            json!({"field": "fqdn", "op": "matches", "value": "\\.\""}),
        ),
        (
            "fqdn not ~ x",
            json!({"not": {"field": "fqdn", "op": "matches", "value": "x"}}),
        ),
        (
            "fqdn not contains x",
            json!({"not": {"field": "fqdn", "op": "contains", "value": "x"}}),
        ),
        (
            "fqdn starts_with x",
            json!({"field": "fqdn", "op": "starts_with", "value": "x"}),
        ),
        (
            "fqdn Ends_With x",
            json!({"field": "fqdn", "op": "ends_with", "value": "x"}),
        ),
        ("fqdn exists", json!({"field": "fqdn", "op": "exists"})),
        (
            "fqdn not exists",
            json!({"field": "fqdn", "op": "exists", "value": false}),
        ),
        (
            "tags not in (a)",
            json!({"field": "tags", "op": "not_in", "value": ["a"]}),
        ),
        (
            "cpu_count >= 4",
            json!({"field": "cpu_count", "op": "gte", "value": 4}),
        ),
        (
            "cpu_count lt -4",
            json!({"field": "cpu_count", "op": "lt", "value": -4}),
        ),
        (
            "cpu_count in (1,2)",
            json!({"field": "cpu_count", "op": "in", "value": [1, 2]}),
        ),
        (
            "reserved = true",
            json!({"field": "reserved", "op": "equals", "value": true}),
        ),
        (
            "platform_version version_gt 22.04",
            json!({"field": "platform_version", "op": "version_gt", "value": "22.04"}),
        ),
        (
            "created_at > 2026-01-01T01:00:00+01:00",
            json!({"field": "created_at", "op": "gt", "value": "2026-01-01T00:00:00Z"}),
        ),
        (
            "group = canary",
            json!({"field": "group", "op": "equals", "value": "canary"}),
        ),
        (
            "attributes.rack = 5",
            json!({"field": "attributes.rack", "op": "equals", "value": "5"}),
        ),
        (
            "attributes.\"my key\" = true",
            json!({"field": "attributes.my key", "op": "equals", "value": "true"}),
        ),
        (
            "tags = not",
            json!({"field": "tags", "op": "equals", "value": "not"}),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text), json!([expected]), "{text}");
    }
    assert_eq!(canonical(" ALL "), json!("all"));
}

#[test]
fn errors_point_at_the_column() {
    let cases = [
        ("", 1, code::EMPTY),
        ("platform", 9, code::EXPRESSION_INVALID),
        ("platform =", 11, code::EXPRESSION_INVALID),
        ("platform = linux tags = a", 18, code::EXPRESSION_INVALID),
        ("(platform = linux", 1, code::EXPRESSION_INVALID),
        ("platform = linux)", 17, code::EXPRESSION_INVALID),
        ("platform = linux and", 21, code::EXPRESSION_INVALID),
        ("and platform = linux", 1, code::EXPRESSION_INVALID),
        ("all and platform = linux", 1, code::EXPRESSION_INVALID),
        ("tags in web", 9, code::EXPRESSION_INVALID),
        ("tags in ()", 10, code::EXPRESSION_INVALID),
        ("tags in (a b)", 12, code::EXPRESSION_INVALID),
        ("tags in (a,)", 12, code::EXPRESSION_INVALID),
        ("tags = größe", 10, code::EXPRESSION_INVALID),
        ("tags = \"größe\" and x", 21, code::EXPRESSION_INVALID),
        ("tags = \"a", 8, code::EXPRESSION_INVALID),
        ("fqdn ~ \"\\d\"", 9, code::EXPRESSION_INVALID),
        ("fqdn not = a", 6, code::EXPRESSION_INVALID),
        ("fqdn like a", 6, code::OP_UNKNOWN),
        ("colour = red", 1, code::FIELD_UNKNOWN),
        ("platform = a and\n colour = red", 19, code::FIELD_UNKNOWN),
        ("fqdn > a", 6, code::OP_INVALID),
        ("cpu_count > \"4\"", 13, code::VALUE_INVALID),
        ("cpu_count in (1, x)", 18, code::VALUE_INVALID),
        ("fqdn ~ '('", 8, code::REGEX_INVALID),
        ("fqdn = \"a\u{202e}\"", 10, code::TEXT_INVALID),
        ("fqdn = \"a\nb\"", 8, code::TEXT_INVALID),
        ("fqdn = a\0", 9, code::TEXT_INVALID),
    ];
    for (text, column, code) in cases {
        let error = parse_expression(text).expect_err(text);
        assert_eq!(
            (error.column, error.code),
            (column, code),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn nesting_is_bounded_however_it_is_written() {
    let nested = |open: &str, times: usize, close: &str| {
        format!("{}tags = a{}", open.repeat(times), close.repeat(times))
    };
    assert!(parse_expression(&nested("not ", DEPTH_MAX - 1, "")).is_ok());
    for text in [
        nested("not ", DEPTH_MAX, ""),
        nested("not ", 10_000, ""),
        nested("(", 30_000, ")"),
        nested("(", 60_000, ""),
    ] {
        assert_eq!(
            parse_expression(&text).map_err(|error| error.code),
            Err(code::DEPTH)
        );
    }
    assert!(parse_expression(&nested("(", TEXT_NESTING_MAX, ")")).is_ok());
}

#[test]
fn leaves_are_bounded() {
    let of = |leaf: &str, count: usize| vec![leaf; count].join(" or ");
    assert!(parse_expression(&of("tags = a", LEAVES_MAX)).is_ok());
    assert_eq!(
        parse_expression(&of("tags = a", LEAVES_MAX + 1)).map_err(|error| error.code),
        Err(code::LEAVES)
    );
    assert_eq!(
        parse_expression(&of("fqdn ~ a", MATCHES_MAX + 1)).map_err(|error| error.code),
        Err(code::LEAVES)
    );
}

#[test]
fn what_could_be_misread_is_printed_quoted() {
    for value in ["", "and", "a b", "(", "größe", "a\"b", "a\\b", "it's"] {
        let leaf = compile_leaf("fqdn", "equals", Some(&json!(value))).expect("valid");
        let criteria = vec![Criterion::Leaf(leaf)];
        let printed = print_criteria(&criteria);
        assert!(printed.starts_with("fqdn = \""), "{printed}");
        assert_eq!(
            parse_expression(&printed),
            Ok(Expression::Criteria(criteria))
        );
    }
}
