//! Whatever is printed and wherever it is cut, no value comes out, and nothing else is lost.

use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::SecretValue;
use proptest::prelude::*;

use super::*;

fn masks(values: &[(&str, &[u8])]) -> Masks {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), SecretValue::new(value.to_vec())));
    Masks::of(&values.collect())
}

fn through(masks: &Masks, chunks: &[&[u8]]) -> String {
    let mut stream = masks.stream();
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&stream.push(chunk));
    }
    out.extend(stream.finish());
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn values_are_hidden_in_the_forms_they_are_printed_in() {
    let password = b"hunter2-hunter2";
    let key = b"-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEE\n-----END KEY-----\n";
    let masks = masks(&[
        ("db/password", password),
        ("key@3", key),
        ("short", b"1234567"),
    ]);
    let encoded = STANDARD.encode(password);
    let with_line_end = STANDARD.encode([password.as_slice(), b"\n"].concat());
    let cases: [(&str, &str); 11] = [
        ("a hunter2-hunter2 b", "a [secret db/password] b"),
        ("hunter2-hunter2hunter2-hunter2", "[secret db/password]"),
        ("hunter2-hunter", "[secret db/password]"),
        ("hunter2-", "[secret db/password]"),
        ("hunter2", "hunter2"),
        (
            "hunter2-hunterX hunter2-hunter2",
            "hunter2-hunterX [secret db/password]",
        ),
        ("1234567", "1234567"),
        (std::str::from_utf8(key).unwrap(), "[secret key]"),
        (
            "x: AAAABBBBCCCC\r\nDDDDEEEE",
            "x: [secret key]\r\n[secret key]",
        ),
        (&encoded, "[secret db/password]"),
        ("AAAABBBBCCC", "[secret key]"),
    ];
    for (printed, expected) in cases {
        assert_eq!(
            through(&masks, &[printed.as_bytes()]),
            expected,
            "{printed}"
        );
        let bytes: Vec<&[u8]> = printed.as_bytes().chunks(1).collect();
        assert_eq!(through(&masks, &bytes), expected, "{printed}, byte by byte");
        assert_eq!(masks.text(printed.to_owned()), expected);
    }
    let shown = through(&masks, &[with_line_end.as_bytes()]);
    assert!(
        shown.starts_with("[secret db/password]") && shown.len() <= 24,
        "{shown}"
    );
    let mut document =
        serde_json::json!({"a": ["hunter2-hunter2", 1], "b": {"c": "-hunter2-hunter2"}});
    masks.document(&mut document);
    let hidden = "[secret db/password]";
    let expected = serde_json::json!({"a": [hidden, 1], "b": {"c": format!("-{hidden}")}});
    assert_eq!(document, expected);
}

#[test]
fn a_long_value_that_is_wrapped_by_base64_is_hidden_line_by_line() {
    let value: Vec<u8> = (0..200u8).collect();
    let masks = masks(&[("key", &value)]);
    let encoded = STANDARD.encode(&value);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(ENCODED_LINE_CHARS)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let shown = through(&masks, &[lines.join("\n").as_bytes()]);
    for line in lines {
        assert!(!shown.contains(line), "{shown}");
    }
}

#[test]
fn no_secrets_cost_nothing_and_change_nothing() {
    let masks = masks(&[("short", b"1234567"), ("blank", b"        \n--------")]);
    assert!(masks.automaton.is_some(), "the whole of a blank one is one");
    let none = Masks::of(&SecretValues::new());
    assert!(none.automaton.is_none());
    let data = b"anything".as_slice();
    let mut stream = none.stream();
    assert!(matches!(stream.push(data), std::borrow::Cow::Borrowed(same) if same == data));
    assert!(stream.finish().is_empty());
}

#[test]
fn memory_stays_flat_however_often_a_value_repeats() {
    let masks = masks(&[("a", b"aaaaaaaaaa")]);
    let mut stream = masks.stream();
    let mut out = Vec::new();
    for _ in 0..100 {
        out.extend_from_slice(&stream.push(&[b'a'; 64 * 1024]));
        assert!(stream.held.len() < 64 && stream.spans.len() < 2);
    }
    out.extend(stream.finish());
    assert_eq!(out, b"[secret a]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Against looking for every pattern at every place.
    #[test]
    fn wherever_the_chunks_end_exactly_the_values_are_hidden(
        values in prop::collection::vec("[ab\n]{8,14}", 1..4),
        printed in "[ab\n]{0,200}",
        cuts in prop::collection::vec(0..200usize, 0..12),
    ) {
        let secrets: SecretValues = values.iter().enumerate()
            .map(|(at, value)| (at.to_string(), SecretValue::new(value.clone().into_bytes()))).collect();
        let masks = Masks::of(&secrets);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(printed.len())).collect();
        cuts.extend([0, printed.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|ends| &printed.as_bytes()[ends[0]..ends[1]]).collect();
        let shown = through(&masks, &chunks);
        let whole = through(&masks, &[printed.as_bytes()]);
        prop_assert_eq!(&shown, &whole);
        let all: Vec<Vec<u8>> = values.iter().flat_map(|value| patterns(value.as_bytes())).collect();
        let mut hidden = vec![false; printed.len()];
        for pattern in &all {
            for at in 0..printed.len() {
                if printed.as_bytes()[at..].starts_with(pattern) {
                    hidden[at..at + pattern.len()].fill(true);
                }
            }
        }
        // The end of the stream may cut a value off.
        for pattern in &all {
            for bytes in PATTERN_BYTES_MIN..pattern.len() {
                if printed.as_bytes().ends_with(&pattern[..bytes]) {
                    hidden[printed.len() - bytes..].fill(true);
                }
            }
        }
        let plain: String = printed.chars().zip(&hidden).filter(|(_, hidden)| !**hidden).map(|(one, _)| one).collect();
        let mut rest = shown.clone();
        for at in 0..values.len() {
            rest = rest.replace(&format!("[secret {at}]"), "");
        }
        prop_assert_eq!(rest, plain);
    }
}
