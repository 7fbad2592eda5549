//! From a field name, an operator name and a JSON value to a typed leaf: which operators a kind of field has, and which values they
//! take. Both spellings, JSON and text, go through here. Not the shape of a criterion object: that is `wire`.

mod fault;
mod values;

use serde_json::Value as Json;

use crate::characters::{first_forbidden, forbidden_detail, shown};
use crate::criterion::{BoolTest, GroupTest, Leaf, NumberTest, TextTest};
use crate::field::{BoolField, FIELD_NAMES, Field, HostField, ListField, NumberField, TextField};
use crate::op::{Comparison, Op};
use crate::value::{FoldedText, Pattern};
use crate::violation::code;

use fault::{Compiled, fault};
pub(crate) use fault::{Fault, Part};
pub(crate) use values::parse_host_id;
use values::{
    boolean, elements, host_id, invalid, non_empty_text, text, time, version, whole_number, word,
};

/// Compiles one leaf, or says everything that is wrong with it.
pub(crate) fn compile_leaf(
    field_name: &str,
    op_name: &str,
    value: Option<&Json>,
) -> Compiled<Leaf> {
    let field = match first_forbidden(field_name) {
        Some(character) => Err(fault(
            Part::Field,
            code::TEXT_INVALID,
            forbidden_detail(character),
        )),
        None => Field::parse(field_name).ok_or_else(|| unknown_field(field_name)),
    };
    let op = Op::parse(op_name).ok_or_else(|| unknown_op(op_name));
    match (field, op) {
        (Ok(field), Ok(op)) => compile(field, op, value),
        (Ok(_), Err(fault)) | (Err(fault), Ok(_)) => Err(vec![fault]),
        (Err(field), Err(op)) => Err(vec![field, op]),
    }
}

/// Compiles a leaf of a shortcut, whose field and operator are known to fit.
pub(crate) fn compile(field: Field, op: Op, value: Option<&Json>) -> Compiled<Leaf> {
    match field {
        Field::Group => compile_group(op, value),
        Field::Host(field) if op == Op::Exists => {
            let expected = value.map_or(Ok(true), |value| {
                boolean(value, Part::Value).map_err(|fault| vec![fault])
            })?;
            Ok(Leaf::Exists { field, expected })
        }
        Field::Host(HostField::Text(field)) => compile_text(field, op, value),
        Field::Host(HostField::List(field)) => compile_list(field, op, value),
        Field::Host(HostField::Number(field)) => compile_number(field, op, value),
        Field::Host(HostField::Bool(field)) => compile_bool(field, op, value),
    }
}

fn compile_text(field: TextField, op: Op, value: Option<&Json>) -> Compiled<Leaf> {
    if let Some(comparison) = version_comparison(op) {
        if closed_words(&field).is_some() || field == TextField::Id {
            return Err(illegal_op(
                &field.to_string(),
                op,
                "equals not_equals contains in not_in starts_with ends_with matches exists",
            ));
        }
        let version = version(required(value)?).map_err(|fault| vec![fault])?;
        return Ok(Leaf::Version {
            field,
            comparison,
            version,
        });
    }
    let whole = |value: &Json, part| match closed_words(&field) {
        Some(words) => word(value, part, words),
        None if field == TextField::Id => host_id(value, part),
        None => text(value, part),
    };
    let test = text_test(&field.to_string(), op, value, &whole, TEXT_OPS)?;
    Ok(Leaf::Text { field, test })
}

fn compile_list(field: ListField, op: Op, value: Option<&Json>) -> Compiled<Leaf> {
    let test = text_test(field.name(), op, value, &non_empty_text, LIST_OPS)?;
    Ok(Leaf::List { field, test })
}

const TEXT_OPS: &str = "equals not_equals contains in not_in starts_with ends_with matches exists version_gt version_gte version_lt version_lte";
const LIST_OPS: &str = "equals not_equals contains in not_in starts_with ends_with matches exists";
const GROUP_OPS: &str = "equals not_equals contains in not_in";
const NUMBER_OPS: &str = "equals not_equals in not_in gt gte lt lte exists";
const BOOL_OPS: &str = "equals not_equals exists";

/// The tests of a text and of a list's elements. `whole` reads a value that is compared as a whole.
fn text_test(
    field: &str,
    op: Op,
    value: Option<&Json>,
    whole: &dyn Fn(&Json, Part) -> Result<String, Fault>,
    accepted_ops: &str,
) -> Compiled<TextTest> {
    let one = |read: &dyn Fn(&Json, Part) -> Result<String, Fault>| -> Compiled<FoldedText> {
        let text = read(required(value)?, Part::Value).map_err(|fault| vec![fault])?;
        Ok(FoldedText::new(&text))
    };
    let many = || -> Compiled<Vec<FoldedText>> {
        let read = |element: &Json, part| whole(element, part).map(|text| FoldedText::new(&text));
        elements(required(value)?, read, |text| text.folded().to_owned())
    };
    match op {
        Op::Equals => one(whole).map(TextTest::Equals),
        Op::NotEquals => one(whole).map(TextTest::NotEquals),
        Op::In => many().map(TextTest::In),
        Op::NotIn => many().map(TextTest::NotIn),
        Op::Contains => one(&non_empty_text).map(TextTest::Contains),
        Op::StartsWith => one(&non_empty_text).map(TextTest::StartsWith),
        Op::EndsWith => one(&non_empty_text).map(TextTest::EndsWith),
        Op::Matches => {
            let source =
                non_empty_text(required(value)?, Part::Value).map_err(|fault| vec![fault])?;
            let pattern = Pattern::new(&source)
                .map_err(|detail| vec![fault(Part::Value, code::REGEX_INVALID, detail)])?;
            Ok(TextTest::Matches(pattern))
        }
        Op::Exists
        | Op::Gt
        | Op::Gte
        | Op::Lt
        | Op::Lte
        | Op::VersionGt
        | Op::VersionGte
        | Op::VersionLt
        | Op::VersionLte => Err(illegal_op(field, op, accepted_ops)),
    }
}

fn compile_group(op: Op, value: Option<&Json>) -> Compiled<Leaf> {
    let one = || non_empty_text(required(value)?, Part::Value).map_err(|fault| vec![fault]);
    // As written: which names mean one group is known only where groups are.
    let many = || elements(required(value)?, non_empty_text, String::clone);
    let test = match op {
        Op::Equals => GroupTest::Equals(one()?),
        Op::NotEquals => GroupTest::NotEquals(one()?),
        Op::Contains => GroupTest::Contains(one()?),
        Op::In => GroupTest::In(many()?),
        Op::NotIn => GroupTest::NotIn(many()?),
        Op::StartsWith
        | Op::EndsWith
        | Op::Matches
        | Op::Exists
        | Op::Gt
        | Op::Gte
        | Op::Lt
        | Op::Lte
        | Op::VersionGt
        | Op::VersionGte
        | Op::VersionLt
        | Op::VersionLte => return Err(illegal_op("group", op, GROUP_OPS)),
    };
    Ok(Leaf::Group(test))
}

fn compile_number(field: NumberField, op: Op, value: Option<&Json>) -> Compiled<Leaf> {
    let read = |value: &Json, part| {
        if field.is_time() {
            time(value, part)
        } else {
            whole_number(value, part)
        }
    };
    let compare = |comparison| -> Compiled<NumberTest> {
        let number = read(required(value)?, Part::Value).map_err(|fault| vec![fault])?;
        Ok(NumberTest::Compare(comparison, number))
    };
    let test = match op {
        Op::Equals => compare(Comparison::Equal)?,
        Op::NotEquals => compare(Comparison::NotEqual)?,
        Op::Gt => compare(Comparison::Greater)?,
        Op::Gte => compare(Comparison::GreaterOrEqual)?,
        Op::Lt => compare(Comparison::Less)?,
        Op::Lte => compare(Comparison::LessOrEqual)?,
        Op::In => NumberTest::In(elements(required(value)?, read, |number| *number)?),
        Op::NotIn => NumberTest::NotIn(elements(required(value)?, read, |number| *number)?),
        Op::Contains
        | Op::StartsWith
        | Op::EndsWith
        | Op::Matches
        | Op::Exists
        | Op::VersionGt
        | Op::VersionGte
        | Op::VersionLt
        | Op::VersionLte => return Err(illegal_op(field.name(), op, NUMBER_OPS)),
    };
    Ok(Leaf::Number { field, test })
}

fn compile_bool(field: BoolField, op: Op, value: Option<&Json>) -> Compiled<Leaf> {
    let read = || boolean(required(value)?, Part::Value).map_err(|fault| vec![fault]);
    let test = match op {
        Op::Equals => BoolTest::Equals(read()?),
        Op::NotEquals => BoolTest::NotEquals(read()?),
        Op::Contains
        | Op::In
        | Op::NotIn
        | Op::StartsWith
        | Op::EndsWith
        | Op::Matches
        | Op::Exists
        | Op::Gt
        | Op::Gte
        | Op::Lt
        | Op::Lte
        | Op::VersionGt
        | Op::VersionGte
        | Op::VersionLt
        | Op::VersionLte => return Err(illegal_op(field.name(), op, BOOL_OPS)),
    };
    Ok(Leaf::Bool { field, test })
}

fn version_comparison(op: Op) -> Option<Comparison> {
    match op {
        Op::VersionGt => Some(Comparison::Greater),
        Op::VersionGte => Some(Comparison::GreaterOrEqual),
        Op::VersionLt => Some(Comparison::Less),
        Op::VersionLte => Some(Comparison::LessOrEqual),
        Op::Equals
        | Op::NotEquals
        | Op::Contains
        | Op::In
        | Op::NotIn
        | Op::StartsWith
        | Op::EndsWith
        | Op::Matches
        | Op::Exists
        | Op::Gt
        | Op::Gte
        | Op::Lt
        | Op::Lte => None,
    }
}

fn closed_words(field: &TextField) -> Option<&'static [&'static str]> {
    match field {
        TextField::Fact(fact) => fact.accepted_words(),
        TextField::Id | TextField::Attribute(_) | TextField::AgentAttribute(_) => None,
    }
}

fn required(value: Option<&Json>) -> Compiled<&Json> {
    value.ok_or_else(|| vec![invalid(Part::Value, "a value is required")])
}

fn unknown_field(name: &str) -> Fault {
    fault(
        Part::Field,
        code::FIELD_UNKNOWN,
        format!(
            "there is no field \"{}\"; fields: {FIELD_NAMES}",
            shown(name)
        ),
    )
}

fn unknown_op(name: &str) -> Fault {
    let names = Op::ALL.map(Op::name).join(" ");
    fault(
        Part::Op,
        code::OP_UNKNOWN,
        format!(
            "there is no operator \"{}\"; operators: {names}",
            shown(name)
        ),
    )
}

fn illegal_op(field: &str, op: Op, accepted: &str) -> Vec<Fault> {
    vec![fault(
        Part::Op,
        code::OP_INVALID,
        format!(
            "{} cannot be used with {field}; operators: {accepted}",
            op.name()
        ),
    )]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codes(field: &str, op: &str, value: Json) -> Vec<(Part, &'static str)> {
        match compile_leaf(field, op, Some(&value)) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .into_iter()
                .map(|fault| (fault.part, fault.code))
                .collect(),
        }
    }

    #[test]
    fn legal_leaves_compile() {
        let cases = [
            ("fqdn", "equals", json!("a.example")),
            ("fqdn", "equals", json!("")),
            ("platform_version", "version_gte", json!("22.04")),
            ("attributes.rack", "version_lt", json!("3")),
            ("id", "in", json!(["0190d1a0-0000-7000-8000-000000000001"])),
            ("id", "starts_with", json!("0190")),
            ("status", "equals", json!("ONLINE")),
            ("tags", "contains", json!("web")),
            ("tags", "matches", json!("^w")),
            ("group", "in", json!(["canary", "edge"])),
            ("cpu_count", "in", json!([1, 2])),
            ("memory_total_mb", "gte", json!(1024)),
            ("last_seen_at", "lt", json!("2026-01-01T00:00:00Z")),
            ("created_at", "in", json!(["2026-01-01T00:00:00+01:00"])),
            ("reserved", "not_equals", json!(true)),
            ("ipv4", "exists", json!(false)),
        ];
        for (field, op, value) in cases {
            assert_eq!(codes(field, op, value.clone()), [], "{field} {op} {value}");
        }
        assert!(compile_leaf("fqdn", "exists", None).is_ok());
    }

    #[test]
    fn a_list_keeps_each_meaning_once_in_writing_order() {
        let cases = [
            ("tags", json!(["b", "a", "B", "b", "A"]), json!(["b", "a"])),
            ("status", json!(["ONLINE", "online"]), json!(["online"])),
            ("cpu_count", json!([4, 2, 4]), json!([4, 2])),
            (
                "created_at",
                json!(["2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"]),
                json!(["2025-12-31T23:00:00Z"]),
            ),
            ("group", json!(vec!["a"; 30_000]), json!(["a"])),
            ("group", json!(["a", "A", "a"]), json!(["a", "A"])),
        ];
        for (field, value, kept) in cases {
            for op in ["in", "not_in"] {
                let leaf = compile_leaf(field, op, Some(&value)).expect("valid");
                assert_eq!(leaf.value_json().as_ref(), Some(&kept), "{field} {op}");
            }
        }
    }

    #[test]
    fn every_fault_has_its_code_and_its_part() {
        let cases = [
            (
                "nope",
                "equals",
                json!("a"),
                vec![(Part::Field, code::FIELD_UNKNOWN)],
            ),
            (
                "fqdn",
                "like",
                json!("a"),
                vec![(Part::Op, code::OP_UNKNOWN)],
            ),
            (
                "nope",
                "like",
                json!("a"),
                vec![
                    (Part::Field, code::FIELD_UNKNOWN),
                    (Part::Op, code::OP_UNKNOWN),
                ],
            ),
            (
                "attributes.a\0",
                "exists",
                json!(true),
                vec![(Part::Field, code::TEXT_INVALID)],
            ),
            ("fqdn", "gt", json!("a"), vec![(Part::Op, code::OP_INVALID)]),
            (
                "cpu_count",
                "contains",
                json!(1),
                vec![(Part::Op, code::OP_INVALID)],
            ),
            (
                "status",
                "version_gt",
                json!("1"),
                vec![(Part::Op, code::OP_INVALID)],
            ),
            (
                "tags",
                "version_gt",
                json!("1"),
                vec![(Part::Op, code::OP_INVALID)],
            ),
            (
                "group",
                "exists",
                json!(true),
                vec![(Part::Op, code::OP_INVALID)],
            ),
            (
                "reserved",
                "in",
                json!([true]),
                vec![(Part::Op, code::OP_INVALID)],
            ),
            (
                "platform",
                "in",
                json!("linux"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "platform",
                "in",
                json!([]),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "platform",
                "in",
                json!(["a", 1, "b\u{202e}"]),
                vec![
                    (Part::Element(1), code::VALUE_INVALID),
                    (Part::Element(2), code::TEXT_INVALID),
                ],
            ),
            (
                "platform",
                "equals",
                json!(null),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "platform",
                "contains",
                json!(""),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "tags",
                "equals",
                json!(""),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "id",
                "equals",
                json!("web"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "approval_status",
                "equals",
                json!("aproved"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "fqdn",
                "matches",
                json!("("),
                vec![(Part::Value, code::REGEX_INVALID)],
            ),
            (
                "fqdn",
                "matches",
                json!("a".repeat(10_240)),
                vec![(Part::Value, code::REGEX_INVALID)],
            ),
            (
                "platform_version",
                "version_gt",
                json!("jammy"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "cpu_count",
                "gt",
                json!("4"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "cpu_count",
                "gt",
                json!(1.5),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "cpu_count",
                "gt",
                json!(u64::MAX),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "created_at",
                "gt",
                json!(1_700_000_000),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "created_at",
                "gt",
                json!("yesterday"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "reserved",
                "equals",
                json!("true"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
            (
                "fqdn",
                "exists",
                json!("yes"),
                vec![(Part::Value, code::VALUE_INVALID)],
            ),
        ];
        for (field, op, value, expected) in cases {
            assert_eq!(
                codes(field, op, value.clone()),
                expected,
                "{field} {op} {value}"
            );
        }
        let missing = compile_leaf("fqdn", "equals", None).expect_err("no value");
        assert_eq!(
            missing.first().map(|fault| fault.code),
            Some(code::VALUE_INVALID)
        );
    }
}
