//! Values a leaf compares with, prepared once so that evaluation does no more than compare. Not the host's own values.

use std::cmp::Ordering;

use regex::bytes::{Regex, RegexBuilder};

use crate::limits::{PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX};

/// A text with its ASCII-lower-case form. Two are equal if they are written the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedText {
    original: String,
    folded: String,
}

/// A compiled regular expression. Two are equal if they are written the same.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

/// A numeric-dotted version, such as `1.2.10`. Missing parts are zero: `1.2` orders equal to `1.2.0`. Two are equal if they are
/// written the same; [`Version::compare_text`] is the comparison of meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    source: String,
}

impl FoldedText {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            original: text.to_owned(),
            folded: text.to_ascii_lowercase(),
        }
    }

    #[must_use]
    pub fn original(&self) -> &str {
        &self.original
    }

    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

impl Pattern {
    /// Compiles a regular expression that is matched anywhere in a text, without regard to ASCII case unless it says `(?-i)`.
    ///
    /// `\w`, `\d`, `.` and their like are about ASCII unless it says `(?u)`: what hosts report is ASCII, and the Unicode classes
    /// are some hundred times larger, so that a harmless `\w{1,63}` would have to be refused.
    ///
    /// # Errors
    /// A sentence for people, if it is over [`PATTERN_BYTES_MAX`] bytes, too large once compiled, or not a regular expression of
    /// the linear-time kind (no back references, no look-around).
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "the regular expression has {} bytes, at most {PATTERN_BYTES_MAX} are allowed",
                source.len()
            ));
        }
        let built = RegexBuilder::new(source)
            .case_insensitive(true)
            .unicode(false)
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .build();
        match built {
            Ok(regex) => Ok(Self {
                source: source.to_owned(),
                regex,
            }),
            Err(error) => Err(last_line(&error.to_string())),
        }
    }

    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text.as_bytes())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl Version {
    /// Reads digits separated by dots, with an optional leading `v`. `None` for anything else, such as `1.x` or `1.2-rc1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let numeric = digits
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        numeric.then(|| Self {
            source: text.to_owned(),
        })
    }

    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How a host's text orders against this version. Only its numeric-dotted beginning counts: `5.15.0-91-generic` is `5.15.0`.
    /// `None` if it does not begin with a number, which leaves the comparison unknown.
    #[must_use]
    pub fn compare_text(&self, text: &str) -> Option<Ordering> {
        let host = numeric_prefix(text);
        if host.is_empty() {
            return None;
        }
        let mut left = host.split('.');
        let mut right = numeric_prefix(&self.source).split('.');
        loop {
            let (left_part, right_part) = (left.next(), right.next());
            if left_part.is_none() && right_part.is_none() {
                return Some(Ordering::Equal);
            }
            let ordering = compare_digits(left_part.unwrap_or("0"), right_part.unwrap_or("0"));
            if ordering.is_ne() {
                return Some(ordering);
            }
        }
    }
}

/// The longest beginning of the form `1.2.3`, a leading `v` left out.
fn numeric_prefix(text: &str) -> &str {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit() && byte != b'.')
        .unwrap_or(text.len());
    let prefix = text.get(..end).unwrap_or_default();
    // An empty part ends the version: `1..2` is `1`, `.5` is none.
    let valid_end = prefix.find("..").unwrap_or(prefix.len());
    let prefix = prefix.get(..valid_end).unwrap_or_default();
    if prefix.starts_with('.') {
        ""
    } else {
        prefix.trim_end_matches('.')
    }
}

/// Orders two runs of digits as numbers of any length.
fn compare_digits(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// The library draws the expression over several lines and puts what is wrong last.
fn last_line(message: &str) -> String {
    message
        .lines()
        .last()
        .unwrap_or(message)
        .trim_start_matches("error: ")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number_not_by_text() {
        let cases = [
            ("1.10", "1.9", Ordering::Greater),
            ("1.2", "1.2.0", Ordering::Equal),
            ("v1.2.3", "1.2.3", Ordering::Equal),
            ("22.04", "22.4", Ordering::Equal),
            ("5.15.0-91-generic", "5.15.1", Ordering::Less),
            (
                "1.99999999999999999999999",
                "1.100000000000000000000000",
                Ordering::Less,
            ),
            ("1..9", "1.1", Ordering::Less),
        ];
        for (host, version, expected) in cases {
            let version = Version::parse(version).expect("a version");
            assert_eq!(
                version.compare_text(host),
                Some(expected),
                "{host} against {version:?}"
            );
        }
    }

    #[test]
    fn a_text_without_a_number_has_no_order() {
        let version = Version::parse("1.0").expect("a version");
        for host in ["", "rolling", ".5", "v", "-1"] {
            assert_eq!(version.compare_text(host), None, "{host:?}");
        }
    }

    #[test]
    fn only_numeric_dotted_text_is_a_version() {
        for text in [
            "", "1.", ".1", "1..2", "1.x", "1.2-rc1", "latest", "vv1", "1 ",
        ] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn patterns_are_unanchored_and_ignore_case_unless_told() {
        assert!(
            Pattern::new("web\\d")
                .expect("valid")
                .is_match("my-WEB1.example")
        );
        assert!(!Pattern::new("(?-i)web").expect("valid").is_match("WEB"));
        assert!(Pattern::new("^\\w{1,63}$").expect("fits").is_match("web"));
        assert!(Pattern::new("größe").expect("valid").is_match("Größe"));
        assert!(
            Pattern::new("(?u)^gr[öü]ße$")
                .expect("valid")
                .is_match("größe")
        );
    }

    #[test]
    fn patterns_outside_the_limits_are_refused() {
        assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
        for source in [
            "a".repeat(PATTERN_BYTES_MAX + 1),
            "(".to_owned(),
            "(a)\\1".to_owned(),
            "(?=a)".to_owned(),
            "(?u)((\\w{99}){99}){99}".to_owned(),
        ] {
            let refusal = Pattern::new(&source).expect_err("refused");
            assert!(!refusal.contains('\n') && !refusal.is_empty());
        }
    }

    #[test]
    fn nested_repetition_stays_linear() {
        let pattern = Pattern::new("(a+)+$").expect("valid");
        // A backtracking engine would need 2^50,000 steps here and never return.
        assert!(!pattern.is_match(&format!("{}!", "a".repeat(50_000))));
    }
}
