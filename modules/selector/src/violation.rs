//! What is wrong with a selector, in a form an API can return. Not an HTTP status: the edge maps [`code::TOO_LARGE`] to 413 and the
//! others to 422.

use serde::Serialize;

use crate::limits::VIOLATIONS_MAX;

/// One fault of a selector, at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// RFC 6901 JSON pointer into the selector; empty for the selector as a whole.
    pub pointer: String,
    /// One of [`code`]; stable across releases.
    pub code: &'static str,
    /// For people; names the limit or the accepted values.
    pub detail: String,
}

/// The stable codes of [`Violation`].
pub mod code {
    /// The selector, a shortcut array or a compound selects nothing by construction.
    pub const EMPTY: &str = "selector-empty";
    /// The criterion tree is too deep.
    pub const DEPTH: &str = "selector-depth";
    /// Too many leaves, or too many `matches` leaves.
    pub const LEAVES: &str = "selector-leaves";
    /// No such field.
    pub const FIELD_UNKNOWN: &str = "selector-field-unknown";
    /// No such operator.
    pub const OP_UNKNOWN: &str = "selector-op-unknown";
    /// The operator exists, but not for this kind of field.
    pub const OP_INVALID: &str = "selector-op-invalid";
    /// A value of the wrong type or outside its range.
    pub const VALUE_INVALID: &str = "selector-value-invalid";
    /// A regular expression that is too long, too large or not one.
    pub const REGEX_INVALID: &str = "selector-regex-invalid";
    /// Too many explicit host ids.
    pub const IDS_TOO_MANY: &str = "selector-ids-too-many";
    /// A criterion that is neither a leaf nor exactly one compound.
    pub const CRITERION_INVALID: &str = "selector-criterion-invalid";
    /// The text form does not parse.
    pub const EXPRESSION_INVALID: &str = "selector-expression-invalid";
    /// A NUL, another control character or a bidirectional control in a text.
    pub const TEXT_INVALID: &str = "selector-text-invalid";
    /// `all_hosts` together with something else.
    pub const CONFLICT: &str = "selector-conflict";
    /// A key no selector has.
    pub const UNKNOWN_FIELD: &str = "unknown-field";
    /// The selector, explicit ids excepted, is over its size limit.
    pub const TOO_LARGE: &str = "too-large";
}

/// Collects violations while a selector is read to its end.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    violations: Vec<Violation>,
}

impl Findings {
    /// Records a violation; those past the first [`VIOLATIONS_MAX`] are dropped.
    pub(crate) fn add(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation {
                pointer: pointer.into(),
                code,
                detail: detail.into(),
            });
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX
    }

    pub(crate) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

/// Escapes one reference token of a JSON pointer.
pub(crate) fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
