//! The criterion tree: every value in it is typed for its field, so evaluation has no illegal case. Not its meaning (`evaluate`)
//! and not its spelling (`canonical`, `text`).

use std::collections::HashSet;

use crate::field::{BoolField, Field, HostField, ListField, NumberField, TextField};
use crate::op::{Comparison, Op};
use crate::value::{FoldedText, Pattern, Version};

/// A criterion: a leaf or a compound. Compounds built by this crate have at least one child, and `All` and `Any` at least two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    Leaf(Leaf),
    All(Vec<Criterion>),
    Any(Vec<Criterion>),
    Not(Box<Criterion>),
}

/// One test of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// The field is known; of a list: it has an element. Never unknown. `expected: false` asks for the opposite.
    Exists {
        field: HostField,
        expected: bool,
    },
    Text {
        field: TextField,
        test: TextTest,
    },
    Version {
        field: TextField,
        comparison: Comparison,
        version: Version,
    },
    /// Holds if any element passes, or, for the negative tests, if none does.
    List {
        field: ListField,
        test: TextTest,
    },
    Group(GroupTest),
    Number {
        field: NumberField,
        test: NumberTest,
    },
    Bool {
        field: BoolField,
        test: BoolTest,
    },
}

/// A test of a text, ASCII case-insensitive. On an element of a list `Contains` is equality: the list contains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    Equals(FoldedText),
    NotEquals(FoldedText),
    In(Vec<FoldedText>),
    NotIn(Vec<FoldedText>),
    Contains(FoldedText),
    StartsWith(FoldedText),
    EndsWith(FoldedText),
    Matches(Pattern),
}

/// Membership of groups, each named by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupTest {
    Equals(String),
    NotEquals(String),
    Contains(String),
    In(Vec<String>),
    NotIn(Vec<String>),
}

/// A test of a whole number, or of a time in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberTest {
    Compare(Comparison, i64),
    In(Vec<i64>),
    NotIn(Vec<i64>),
}

/// A test of a truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoolTest {
    Equals(bool),
    NotEquals(bool),
}

impl Criterion {
    /// An `all` of the parts; a single part stands for itself.
    #[must_use]
    pub fn all_of(parts: Vec<Self>) -> Self {
        one_or(parts, Self::All)
    }

    /// An `any` of the parts; a single part stands for itself.
    #[must_use]
    pub fn any_of(parts: Vec<Self>) -> Self {
        one_or(parts, Self::Any)
    }

    #[must_use]
    pub fn negation(part: Self) -> Self {
        Self::Not(Box::new(part))
    }

    /// Levels of the tree; a leaf has one.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::All(parts) | Self::Any(parts) => {
                1 + parts.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Not(part) => 1 + part.depth(),
        }
    }

    /// Calls `visit` with every leaf, in writing order.
    pub fn for_each_leaf<'a>(&'a self, visit: &mut dyn FnMut(&'a Leaf)) {
        match self {
            Self::Leaf(leaf) => visit(leaf),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.for_each_leaf(visit))
            }
            Self::Not(part) => part.for_each_leaf(visit),
        }
    }

    /// As [`Self::for_each_leaf`], to change the leaves.
    pub fn for_each_leaf_mut(&mut self, visit: &mut dyn FnMut(&mut Leaf)) {
        match self {
            Self::Leaf(leaf) => visit(leaf),
            Self::All(parts) | Self::Any(parts) => parts
                .iter_mut()
                .for_each(|part| part.for_each_leaf_mut(visit)),
            Self::Not(part) => part.for_each_leaf_mut(visit),
        }
    }
}

impl Leaf {
    #[must_use]
    pub fn field(&self) -> Field {
        match self {
            Self::Exists { field, .. } => Field::Host(field.clone()),
            Self::Text { field, .. } | Self::Version { field, .. } => {
                Field::Host(HostField::Text(field.clone()))
            }
            Self::List { field, .. } => Field::Host(HostField::List(*field)),
            Self::Group(_) => Field::Group,
            Self::Number { field, .. } => Field::Host(HostField::Number(*field)),
            Self::Bool { field, .. } => Field::Host(HostField::Bool(*field)),
        }
    }

    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Self::Exists { .. } => Op::Exists,
            Self::Text { test, .. } | Self::List { test, .. } => test.op(),
            Self::Version { comparison, .. } => comparison.version_op(),
            Self::Group(test) => test.op(),
            Self::Number { test, .. } => test.op(),
            Self::Bool { test, .. } => test.op(),
        }
    }
}

impl TextTest {
    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Self::Equals(_) => Op::Equals,
            Self::NotEquals(_) => Op::NotEquals,
            Self::In(_) => Op::In,
            Self::NotIn(_) => Op::NotIn,
            Self::Contains(_) => Op::Contains,
            Self::StartsWith(_) => Op::StartsWith,
            Self::EndsWith(_) => Op::EndsWith,
            Self::Matches(_) => Op::Matches,
        }
    }

    /// Whether the test is the negation of its positive form, `Equals` or `In`.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        match self {
            Self::NotEquals(_) | Self::NotIn(_) => true,
            Self::Equals(_)
            | Self::In(_)
            | Self::Contains(_)
            | Self::StartsWith(_)
            | Self::EndsWith(_)
            | Self::Matches(_) => false,
        }
    }
}

impl GroupTest {
    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Self::Equals(_) => Op::Equals,
            Self::NotEquals(_) => Op::NotEquals,
            Self::Contains(_) => Op::Contains,
            Self::In(_) => Op::In,
            Self::NotIn(_) => Op::NotIn,
        }
    }

    #[must_use]
    pub fn is_negative(&self) -> bool {
        match self {
            Self::NotEquals(_) | Self::NotIn(_) => true,
            Self::Equals(_) | Self::Contains(_) | Self::In(_) => false,
        }
    }

    /// The groups it names, by id or name as written.
    #[must_use]
    pub fn references(&self) -> &[String] {
        match self {
            Self::Equals(group) | Self::NotEquals(group) | Self::Contains(group) => {
                std::slice::from_ref(group)
            }
            Self::In(groups) | Self::NotIn(groups) => groups,
        }
    }

    /// Names every group as `renamed` says; of a list, those that have become the same are named once.
    pub(crate) fn rename(&mut self, renamed: impl Fn(&str) -> String) {
        match self {
            Self::Equals(group) | Self::NotEquals(group) | Self::Contains(group) => {
                *group = renamed(group);
            }
            Self::In(groups) | Self::NotIn(groups) => {
                let mut seen = HashSet::new();
                let names = groups.iter().map(|group| renamed(group));
                *groups = names.filter(|name| seen.insert(name.clone())).collect();
            }
        }
    }
}

impl NumberTest {
    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Self::Compare(comparison, _) => comparison.number_op(),
            Self::In(_) => Op::In,
            Self::NotIn(_) => Op::NotIn,
        }
    }

    /// Whether a known number passes.
    #[must_use]
    pub fn holds(&self, number: i64) -> bool {
        match self {
            Self::Compare(comparison, bound) => comparison.holds(number.cmp(bound)),
            Self::In(numbers) => numbers.contains(&number),
            Self::NotIn(numbers) => !numbers.contains(&number),
        }
    }
}

impl BoolTest {
    #[must_use]
    pub fn op(self) -> Op {
        match self {
            Self::Equals(_) => Op::Equals,
            Self::NotEquals(_) => Op::NotEquals,
        }
    }

    /// The value a host must have to pass.
    #[must_use]
    pub fn wanted(self) -> bool {
        match self {
            Self::Equals(value) => value,
            Self::NotEquals(value) => !value,
        }
    }
}

fn one_or(mut parts: Vec<Criterion>, compound: fn(Vec<Criterion>) -> Criterion) -> Criterion {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            compound(parts)
        }
        None => compound(parts),
    }
}
