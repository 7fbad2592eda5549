//! What a criterion means for one host: the reference, written to be read. The index must agree with it on every host.

use crate::criterion::{Criterion, GroupTest, Leaf, TextTest};
use crate::field::HostField;
use crate::host::HostFields;

/// Kleene's three values. A host matches on `True` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    /// The host lacks a field the answer depends on.
    Unknown,
}

/// What a host's own record cannot answer.
pub struct HostLookups<'a> {
    /// Whether the host is in the group of that id or name; `None` if there is no such group.
    pub is_member: &'a dyn Fn(&str) -> Option<bool>,
}

/// Evaluates one criterion for one host.
#[must_use]
pub fn evaluate(criterion: &Criterion, host: &HostFields, lookups: &HostLookups<'_>) -> Truth {
    match criterion {
        Criterion::Leaf(leaf) => evaluate_leaf(leaf, host, lookups),
        Criterion::All(parts) => parts.iter().fold(Truth::True, |truth, part| {
            truth.and(evaluate(part, host, lookups))
        }),
        Criterion::Any(parts) => parts.iter().fold(Truth::False, |truth, part| {
            truth.or(evaluate(part, host, lookups))
        }),
        Criterion::Not(part) => evaluate(part, host, lookups).negated(),
    }
}

impl Truth {
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, Self::True | Self::False | Self::Unknown)
            | (Self::True | Self::Unknown, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            (Self::Unknown, Self::True | Self::Unknown) | (Self::True, Self::Unknown) => {
                Self::Unknown
            }
        }
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.negated().and(other.negated()).negated()
    }

    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<Option<bool>> for Truth {
    fn from(value: Option<bool>) -> Self {
        value.map_or(Self::Unknown, Self::from)
    }
}

fn evaluate_leaf(leaf: &Leaf, host: &HostFields, lookups: &HostLookups<'_>) -> Truth {
    match leaf {
        Leaf::Exists { field, expected } => Truth::from(exists(field, host) == *expected),
        Leaf::Text { field, test } => host
            .text(field)
            .map(|text| text_holds(test, &text) != test.is_negative())
            .into(),
        Leaf::Version {
            field,
            comparison,
            version,
        } => host
            .text(field)
            .and_then(|text| version.compare_text(&text))
            .map(|ordering| comparison.holds(ordering))
            .into(),
        Leaf::List { field, test } => {
            let any = host
                .list(*field)
                .iter()
                .any(|element| element_holds(test, element));
            Truth::from(any != test.is_negative())
        }
        Leaf::Group(test) => group_truth(test, lookups),
        Leaf::Number { field, test } => host.number(*field).map(|number| test.holds(number)).into(),
        Leaf::Bool { field, test } => host
            .boolean(*field)
            .map(|value| value == test.wanted())
            .into(),
    }
}

fn exists(field: &HostField, host: &HostFields) -> bool {
    match field {
        HostField::Text(field) => host.text(field).is_some(),
        HostField::List(field) => !host.list(*field).is_empty(),
        HostField::Number(field) => host.number(*field).is_some(),
        HostField::Bool(field) => host.boolean(*field).is_some(),
    }
}

/// The positive form of a test on a text.
fn text_holds(test: &TextTest, text: &str) -> bool {
    let folded = text.to_ascii_lowercase();
    match test {
        TextTest::Equals(wanted) | TextTest::NotEquals(wanted) => {
            text.eq_ignore_ascii_case(wanted.original())
        }
        TextTest::In(wanted) | TextTest::NotIn(wanted) => wanted
            .iter()
            .any(|wanted| text.eq_ignore_ascii_case(wanted.original())),
        TextTest::Contains(part) => folded.contains(part.folded()),
        TextTest::StartsWith(part) => folded.starts_with(part.folded()),
        TextTest::EndsWith(part) => folded.ends_with(part.folded()),
        TextTest::Matches(pattern) => pattern.is_match(text),
    }
}

/// The positive form of a test on an element of a list, where `contains` asks for the element itself.
fn element_holds(test: &TextTest, element: &str) -> bool {
    match test {
        TextTest::Contains(wanted) => element.eq_ignore_ascii_case(wanted.original()),
        TextTest::Equals(_)
        | TextTest::NotEquals(_)
        | TextTest::In(_)
        | TextTest::NotIn(_)
        | TextTest::StartsWith(_)
        | TextTest::EndsWith(_)
        | TextTest::Matches(_) => text_holds(test, element),
    }
}

/// A group that does not exist is unknown rather than empty: otherwise `not group = x` would match every host once x is deleted.
fn group_truth(test: &GroupTest, lookups: &HostLookups<'_>) -> Truth {
    let any = test.references().iter().fold(Truth::False, |truth, group| {
        truth.or(Truth::from((lookups.is_member)(group)))
    });
    if test.is_negative() {
        any.negated()
    } else {
        any
    }
}
