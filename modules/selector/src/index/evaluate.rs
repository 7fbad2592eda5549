//! Kleene logic over bitmaps: a criterion becomes the hosts for which it is true and those for which it is unknown. The meaning is
//! that of `crate::evaluate`; a property test holds the two together.

use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::compile::parse_host_id;
use crate::criterion::{BoolTest, Criterion, GroupTest, Leaf, NumberTest, TextTest};
use crate::field::{HostField, NumberField, TextField};
use crate::value::FoldedText;

use super::Index;
use super::attributes::AttributeColumns;
use super::dictionary::{Dictionary, Entry};

/// What the index does not hold, asked for while a criterion is evaluated.
pub struct Lookups<'a> {
    /// The members of the group of that id or name, as slots of this index; `None` if there is no such group.
    pub group_members: &'a dyn Fn(&str) -> Option<Arc<RoaringBitmap>>,
    /// When the host was last seen, in microseconds since 1970; `None` if never.
    pub last_seen_at_us: &'a dyn Fn(&Uuid) -> Option<i64>,
}

/// For which slots a criterion is true, and for which unknown; disjoint. It is false for all others that were asked about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truths {
    pub matched: RoaringBitmap,
    pub unknown: RoaringBitmap,
}

impl Lookups<'_> {
    /// For criteria that name no group and not `last_seen_at`: no group exists, and no host was ever seen.
    #[must_use]
    pub fn none() -> Lookups<'static> {
        Lookups {
            group_members: &|_| None,
            last_seen_at_us: &|_| None,
        }
    }
}

impl Index {
    /// Evaluates one criterion for every host.
    #[must_use]
    pub fn evaluate(&self, criterion: &Criterion, lookups: &Lookups<'_>) -> Truths {
        self.evaluate_within(criterion, self.live(), lookups)
    }

    /// The hosts for which all criteria are true; all of them if there are no criteria.
    pub(crate) fn matching_all(
        &self,
        criteria: &[Criterion],
        lookups: &Lookups<'_>,
    ) -> RoaringBitmap {
        self.all_within(criteria, self.live(), lookups).matched
    }

    /// Evaluates for the hosts of `domain` only; the answer is a part of it.
    fn evaluate_within(
        &self,
        criterion: &Criterion,
        domain: &RoaringBitmap,
        lookups: &Lookups<'_>,
    ) -> Truths {
        match criterion {
            Criterion::Leaf(leaf) => {
                let Truths { matched, unknown } = self.evaluate_leaf(leaf, domain, lookups);
                Truths {
                    matched: matched & domain,
                    unknown: unknown & domain,
                }
            }
            Criterion::All(parts) => self.all_within(parts, domain, lookups),
            Criterion::Any(parts) => self.any_within(parts, domain, lookups),
            Criterion::Not(part) => self.evaluate_within(part, domain, lookups).negated(domain),
        }
    }

    /// Cheap parts first; a host for which one is false is not asked about again.
    fn all_within(
        &self,
        parts: &[Criterion],
        domain: &RoaringBitmap,
        lookups: &Lookups<'_>,
    ) -> Truths {
        let mut undecided = domain.clone();
        let mut unknown = RoaringBitmap::new();
        for part in by_cost(parts) {
            if undecided.is_empty() {
                break;
            }
            let truths = self.evaluate_within(part, &undecided, lookups);
            undecided = truths.matched | &truths.unknown;
            unknown |= truths.unknown;
        }
        unknown &= &undecided;
        Truths {
            matched: undecided - &unknown,
            unknown,
        }
    }

    /// Cheap parts first; a host for which one is true is not asked about again.
    fn any_within(
        &self,
        parts: &[Criterion],
        domain: &RoaringBitmap,
        lookups: &Lookups<'_>,
    ) -> Truths {
        let mut undecided = domain.clone();
        let mut any = Truths::default();
        for part in by_cost(parts) {
            if undecided.is_empty() {
                break;
            }
            let truths = self.evaluate_within(part, &undecided, lookups);
            undecided -= &truths.matched;
            any.matched |= truths.matched;
            any.unknown |= truths.unknown;
        }
        any.unknown -= &any.matched;
        any
    }

    /// Evaluates a leaf at least for the hosts of `domain`; the answer may reach beyond it, but not beyond the live slots.
    pub(super) fn evaluate_leaf(
        &self,
        leaf: &Leaf,
        domain: &RoaringBitmap,
        lookups: &Lookups<'_>,
    ) -> Truths {
        match leaf {
            Leaf::Exists { field, expected } => self.exists(field, *expected, domain, lookups),
            Leaf::Text {
                field: TextField::Id,
                test,
            } => Truths::certain(self.id_matches(test, domain)),
            Leaf::Text {
                field: TextField::Fact(fact),
                test,
            } => text(self.facts.get(*fact), test, domain),
            Leaf::Text {
                field: field @ (TextField::Attribute(key) | TextField::AgentAttribute(key)),
                test,
            } => match self.attributes_of(field).get(key.as_str()) {
                Some(column) => text(column, test, domain),
                None => Truths::all_unknown(domain),
            },
            Leaf::Version {
                field,
                comparison,
                version,
            } => self.version(field, domain, |value| {
                version
                    .compare_text(value)
                    .map(|ordering| comparison.holds(ordering))
            }),
            Leaf::List { field, test } => {
                let any = with_element(self.lists.get(*field), test, domain);
                Truths::certain(if test.is_negative() {
                    self.live() - any
                } else {
                    any
                })
            }
            Leaf::Group(test) => self.group(test, domain, lookups),
            Leaf::Number {
                field: NumberField::LastSeenAt,
                test,
            } => self.last_seen(test, domain, lookups),
            Leaf::Number { field, test } => {
                let column = self.numbers.get(*field);
                Truths {
                    matched: column.passing(test),
                    unknown: domain - column.known(),
                }
            }
            Leaf::Bool {
                field,
                test: test @ (BoolTest::Equals(_) | BoolTest::NotEquals(_)),
            } => {
                let column = self.bools.get(*field);
                let matched = if test.wanted() {
                    column.yes.clone()
                } else {
                    &column.known - &column.yes
                };
                Truths {
                    matched,
                    unknown: domain - &column.known,
                }
            }
        }
    }

    /// Whose attributes a field is about.
    fn attributes_of(&self, field: &TextField) -> &AttributeColumns {
        match field {
            TextField::AgentAttribute(_) => &self.agent_attributes,
            TextField::Attribute(_) | TextField::Id | TextField::Fact(_) => &self.attributes,
        }
    }

    fn exists(
        &self,
        field: &HostField,
        expected: bool,
        domain: &RoaringBitmap,
        lookups: &Lookups<'_>,
    ) -> Truths {
        let known = match field {
            HostField::Text(TextField::Id) => self.live().clone(),
            HostField::Text(TextField::Fact(fact)) => self.facts.get(*fact).known().clone(),
            HostField::Text(TextField::Attribute(key)) => self.attributes.known(key),
            HostField::Text(TextField::AgentAttribute(key)) => self.agent_attributes.known(key),
            HostField::List(field) => self.lists.get(*field).known().clone(),
            HostField::Number(NumberField::LastSeenAt) => {
                self.passing_ids(domain, |id| (lookups.last_seen_at_us)(id).is_some())
            }
            HostField::Number(field) => self.numbers.get(*field).known().clone(),
            HostField::Bool(field) => self.bools.get(*field).known.clone(),
        };
        Truths::certain(if expected { known } else { domain - known })
    }

    fn version(
        &self,
        field: &TextField,
        domain: &RoaringBitmap,
        holds: impl Fn(&str) -> Option<bool>,
    ) -> Truths {
        let column = match field {
            TextField::Fact(fact) => Some(self.facts.get(*fact)),
            TextField::Attribute(key) => self.attributes.get(key.as_str()),
            TextField::AgentAttribute(key) => self.agent_attributes.get(key.as_str()),
            // An id is no version. No operator leads here, and the reference finds the digits some ids begin with.
            TextField::Id => return self.id_version(domain, holds),
        };
        let Some(column) = column else {
            return Truths::all_unknown(domain);
        };
        let matched = column.scan(domain, |entry| holds(entry.original()) == Some(true));
        let refuted = column.scan(domain, |entry| holds(entry.original()) == Some(false));
        Truths {
            unknown: domain - &matched - refuted,
            matched,
        }
    }

    fn id_version(&self, domain: &RoaringBitmap, holds: impl Fn(&str) -> Option<bool>) -> Truths {
        let matched = self.passing_ids(domain, |id| {
            holds(&id.hyphenated().to_string()) == Some(true)
        });
        let refuted = self.passing_ids(domain, |id| {
            holds(&id.hyphenated().to_string()) == Some(false)
        });
        Truths {
            unknown: domain - &matched - refuted,
            matched,
        }
    }

    fn group(&self, test: &GroupTest, domain: &RoaringBitmap, lookups: &Lookups<'_>) -> Truths {
        let mut members = RoaringBitmap::new();
        let mut all_exist = true;
        for reference in test.references() {
            match (lookups.group_members)(reference) {
                Some(group) => members |= &*group,
                None => all_exist = false,
            }
        }
        members &= domain;
        let unknown = if all_exist {
            RoaringBitmap::new()
        } else {
            domain - &members
        };
        let truths = Truths {
            matched: members,
            unknown,
        };
        if test.is_negative() {
            truths.negated(domain)
        } else {
            truths
        }
    }

    fn last_seen(
        &self,
        test: &NumberTest,
        domain: &RoaringBitmap,
        lookups: &Lookups<'_>,
    ) -> Truths {
        let (mut matched, mut unknown) = (Vec::new(), Vec::new());
        for slot in domain {
            let seen_at_us = self
                .id_of(slot)
                .and_then(|id| (lookups.last_seen_at_us)(&id));
            match seen_at_us.map(|time_us| test.holds(time_us)) {
                Some(true) => matched.push(slot),
                Some(false) => {}
                None => unknown.push(slot),
            }
        }
        Truths {
            matched: matched.into_iter().collect(),
            unknown: unknown.into_iter().collect(),
        }
    }

    fn id_matches(&self, test: &TextTest, domain: &RoaringBitmap) -> RoaringBitmap {
        let with_any_of = |wanted: &[FoldedText]| {
            let ids: Vec<Uuid> = wanted
                .iter()
                .filter_map(|id| parse_host_id(id.folded()))
                .collect();
            self.slots_of(&ids)
        };
        let scan = |passes: &dyn Fn(&str) -> bool| {
            self.passing_ids(domain, |id| {
                passes(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            })
        };
        match test {
            TextTest::Equals(id) => with_any_of(std::slice::from_ref(id)),
            TextTest::NotEquals(id) => domain - with_any_of(std::slice::from_ref(id)),
            TextTest::In(ids) => with_any_of(ids),
            TextTest::NotIn(ids) => domain - with_any_of(ids),
            TextTest::Contains(part) => scan(&|id| id.contains(part.folded())),
            TextTest::StartsWith(part) => scan(&|id| id.starts_with(part.folded())),
            TextTest::EndsWith(part) => scan(&|id| id.ends_with(part.folded())),
            TextTest::Matches(pattern) => scan(&|id| pattern.is_match(id)),
        }
    }

    fn passing_ids(&self, domain: &RoaringBitmap, passes: impl Fn(&Uuid) -> bool) -> RoaringBitmap {
        domain
            .iter()
            .filter(|slot| self.id_of(*slot).is_some_and(|id| passes(&id)))
            .collect()
    }
}

impl Truths {
    /// True for these, false for all others.
    fn certain(matched: RoaringBitmap) -> Self {
        Self {
            matched,
            unknown: RoaringBitmap::new(),
        }
    }

    fn all_unknown(domain: &RoaringBitmap) -> Self {
        Self {
            matched: RoaringBitmap::new(),
            unknown: domain.clone(),
        }
    }

    /// True and false exchanged, for the hosts of `domain`.
    pub(super) fn negated(self, domain: &RoaringBitmap) -> Self {
        Self {
            matched: domain - self.matched - &self.unknown,
            unknown: self.unknown,
        }
    }
}

fn text(column: &Dictionary, test: &TextTest, domain: &RoaringBitmap) -> Truths {
    let positive = match test {
        TextTest::Contains(part) => {
            column.scan(domain, |entry| entry.folded().contains(part.folded()))
        }
        TextTest::Equals(_)
        | TextTest::NotEquals(_)
        | TextTest::In(_)
        | TextTest::NotIn(_)
        | TextTest::StartsWith(_)
        | TextTest::EndsWith(_)
        | TextTest::Matches(_) => with_element(column, test, domain),
    };
    let matched = if test.is_negative() {
        column.known() - positive
    } else {
        positive
    };
    Truths {
        matched,
        unknown: domain - column.known(),
    }
}

/// The slots with a value that passes the positive form of a test, where `contains` means the value itself.
fn with_element(column: &Dictionary, test: &TextTest, domain: &RoaringBitmap) -> RoaringBitmap {
    let scan = |passes: &dyn Fn(&Entry) -> bool| column.scan(domain, passes);
    match test {
        TextTest::Equals(value) | TextTest::NotEquals(value) | TextTest::Contains(value) => {
            column.with_any_of(std::slice::from_ref(value))
        }
        TextTest::In(values) | TextTest::NotIn(values) => column.with_any_of(values),
        TextTest::StartsWith(part) => scan(&|entry| entry.folded().starts_with(part.folded())),
        TextTest::EndsWith(part) => scan(&|entry| entry.folded().ends_with(part.folded())),
        TextTest::Matches(pattern) => scan(&|entry| pattern.is_match(entry.original())),
    }
}

/// How dear a criterion is, coarsely: what a look-up answers, what walks numbers or hosts, what walks texts, regular expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    LookUp,
    Walk,
    Scan,
    Match,
}

fn by_cost(parts: &[Criterion]) -> Vec<&Criterion> {
    let mut ordered: Vec<&Criterion> = parts.iter().collect();
    ordered.sort_by_cached_key(|part| cost(part));
    ordered
}

fn cost(criterion: &Criterion) -> Cost {
    let mut dearest = Cost::LookUp;
    criterion.for_each_leaf(&mut |leaf| dearest = dearest.max(leaf_cost(leaf)));
    dearest
}

fn leaf_cost(leaf: &Leaf) -> Cost {
    match leaf {
        Leaf::Exists { .. } | Leaf::Group(_) | Leaf::Bool { .. } => Cost::LookUp,
        Leaf::Number { .. } => Cost::Walk,
        Leaf::Version { .. } => Cost::Scan,
        Leaf::List {
            test: TextTest::Contains(_),
            ..
        } => Cost::LookUp,
        Leaf::Text { test, .. } | Leaf::List { test, .. } => match test {
            TextTest::Equals(_) | TextTest::NotEquals(_) | TextTest::In(_) | TextTest::NotIn(_) => {
                Cost::LookUp
            }
            TextTest::Contains(_) | TextTest::StartsWith(_) | TextTest::EndsWith(_) => Cost::Scan,
            TextTest::Matches(_) => Cost::Match,
        },
    }
}
