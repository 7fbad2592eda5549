//! The shortcut keys of a selector, spelt out as criteria. Not `criteria` itself.

use serde_json::{Map, Value as Json};

use crate::compile::{Fault, Part, compile};
use crate::criterion::{Criterion, Leaf};
use crate::field::{Fact, Field, HostField, ListField, TextField};
use crate::op::Op;
use crate::violation::{Findings, code};

use super::criteria::Tally;

type Leaves = Result<Vec<Leaf>, Vec<Fault>>;

/// Compiles every shortcut that is there.
pub(super) fn read_all(
    object: &Map<String, Json>,
    findings: &mut Findings,
    tally: &mut Tally,
) -> Vec<Criterion> {
    let platform = Field::Host(HostField::Text(TextField::Fact(Fact::Platform)));
    let tags = Field::Host(HostField::List(ListField::Tags));
    let approval_status = Field::Host(HostField::Text(TextField::Fact(Fact::ApprovalStatus)));
    let mut criteria = Vec::new();
    let mut add = |key: &'static str, leaf: &dyn Fn(&Json) -> Leaves| {
        let Some(value) = object.get(key) else { return };
        match non_empty(value).and_then(|()| leaf(value)) {
            Ok(leaves) => {
                for leaf in leaves {
                    tally.count(&format!("/{key}"), leaf.op().name(), findings);
                    criteria.push(Criterion::Leaf(leaf));
                }
            }
            Err(faults) => report_faults(faults, key, findings),
        }
    };
    let one = |field: &Field, op, value: &Json| {
        compile(field.clone(), op, Some(value)).map(|leaf| vec![leaf])
    };
    add("platforms", &|value| {
        one(&platform, Op::In, &non_empty_strings(value)?)
    });
    add("tags", &|value| one(&tags, Op::In, value));
    add("all_tags", &|value| {
        each(value, |tag| compile(tags.clone(), Op::Contains, Some(tag)))
    });
    add("groups", &|value| one(&Field::Group, Op::In, value));
    add("approval_status", &|value| {
        one(&approval_status, Op::Equals, value)
    });
    criteria
}

/// An empty shortcut array could as well be meant as "any", so it is refused rather than guessed.
fn non_empty(value: &Json) -> Result<(), Vec<Fault>> {
    let is_empty = value.as_array().is_some_and(Vec::is_empty);
    let detail = "the array is empty; leave the key out, or name what is wanted".to_owned();
    if is_empty {
        Err(vec![Fault {
            part: Part::Value,
            code: code::EMPTY,
            detail,
        }])
    } else {
        Ok(())
    }
}

/// A text field may be compared with an empty text, but a shortcut that names nothing is a slip.
fn non_empty_strings(value: &Json) -> Result<Json, Vec<Fault>> {
    let elements = value.as_array().into_iter().flatten().enumerate();
    let faults: Vec<Fault> = elements
        .filter(|(_, element)| element.as_str().is_some_and(str::is_empty))
        .map(|(position, _)| Fault {
            part: Part::Element(position),
            code: code::VALUE_INVALID,
            detail: "the string is empty".to_owned(),
        })
        .collect();
    if faults.is_empty() {
        Ok(value.clone())
    } else {
        Err(faults)
    }
}

/// One leaf per element of an array.
fn each(value: &Json, leaf: impl Fn(&Json) -> Result<Leaf, Vec<Fault>>) -> Leaves {
    let Some(elements) = value.as_array() else {
        return Err(vec![Fault {
            part: Part::Value,
            code: code::VALUE_INVALID,
            detail: "an array is required".to_owned(),
        }]);
    };
    let mut leaves = Vec::with_capacity(elements.len());
    let mut faults = Vec::new();
    for (position, element) in elements.iter().enumerate() {
        match leaf(element) {
            Ok(leaf) => leaves.push(leaf),
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| Fault {
                    part: Part::Element(position),
                    ..fault
                }));
            }
        }
    }
    if faults.is_empty() {
        Ok(leaves)
    } else {
        Err(faults)
    }
}

fn report_faults(faults: Vec<Fault>, key: &str, findings: &mut Findings) {
    for fault in faults {
        let at = match fault.part {
            // The field and the operator are the shortcut's own and fit; only its value can be at fault.
            Part::Field | Part::Op | Part::Value => format!("/{key}"),
            Part::Element(position) => format!("/{key}/{position}"),
        };
        findings.add(at, fault.code, fault.detail);
    }
}
