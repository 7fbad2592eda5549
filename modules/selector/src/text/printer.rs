//! Prints criteria so that reading them back gives the same tree: every compound inside a compound is bracketed, though the grammar
//! would not always need it.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::criterion::{Criterion, Leaf};
use crate::field::{AGENT_ATTRIBUTE_PREFIX, ATTRIBUTE_PREFIX, Field, HostField, TextField};
use crate::op::Op;

use super::lexer::is_word_character;

/// Prints criteria AND-joined, as an expression.
#[must_use]
pub fn print_criteria(criteria: &[Criterion]) -> String {
    let mut printed = String::new();
    match criteria {
        // A lone criterion needs no brackets around itself.
        [only] => print(only, Place::Top, &mut printed),
        several => print_joined(several, " and ", &mut printed),
    }
    printed
}

/// Prints one criterion as an expression.
#[must_use]
pub fn print_criterion(criterion: &Criterion) -> String {
    print_criteria(std::slice::from_ref(criterion))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Inside,
}

fn print(criterion: &Criterion, place: Place, printed: &mut String) {
    match criterion {
        Criterion::Leaf(leaf) => print_leaf(leaf, printed),
        Criterion::Not(part) => {
            printed.push_str("not ");
            print(part, Place::Inside, printed);
        }
        Criterion::All(parts) => print_compound(parts, " and ", place, printed),
        Criterion::Any(parts) => print_compound(parts, " or ", place, printed),
    }
}

fn print_compound(parts: &[Criterion], joint: &str, place: Place, printed: &mut String) {
    match place {
        Place::Top => print_joined(parts, joint, printed),
        Place::Inside => {
            printed.push('(');
            print_joined(parts, joint, printed);
            printed.push(')');
        }
    }
}

fn print_joined(parts: &[Criterion], joint: &str, printed: &mut String) {
    for (position, part) in parts.iter().enumerate() {
        if position > 0 {
            printed.push_str(joint);
        }
        print(part, Place::Inside, printed);
    }
}

fn print_leaf(leaf: &Leaf, printed: &mut String) {
    print_field(&leaf.field(), printed);
    printed.push(' ');
    printed.push_str(spelling(leaf));
    match leaf.value_json() {
        Some(value) if leaf.op() != Op::Exists => {
            printed.push(' ');
            print_value(&value, printed);
        }
        Some(_) | None => {}
    }
}

fn print_field(field: &Field, printed: &mut String) {
    match field {
        Field::Host(HostField::Text(
            field @ (TextField::Attribute(key) | TextField::AgentAttribute(key)),
        )) if !key.chars().all(is_word_character) => {
            printed.push_str(match field {
                TextField::AgentAttribute(_) => AGENT_ATTRIBUTE_PREFIX,
                TextField::Attribute(_) | TextField::Id | TextField::Fact(_) => ATTRIBUTE_PREFIX,
            });
            print_quoted(key, printed);
        }
        Field::Host(_) | Field::Group => {
            // Writing to a string cannot fail.
            let _ = write!(printed, "{field}");
        }
    }
}

fn spelling(leaf: &Leaf) -> &'static str {
    match leaf.op() {
        Op::Equals => "=",
        Op::NotEquals => "!=",
        Op::Gt => ">",
        Op::Gte => ">=",
        Op::Lt => "<",
        Op::Lte => "<=",
        Op::NotIn => "not in",
        Op::Exists if leaf.value_json().is_some() => "not exists",
        op @ (Op::Contains
        | Op::In
        | Op::StartsWith
        | Op::EndsWith
        | Op::Matches
        | Op::Exists
        | Op::VersionGt
        | Op::VersionGte
        | Op::VersionLt
        | Op::VersionLte) => op.name(),
    }
}

fn print_value(value: &Json, printed: &mut String) {
    match value {
        Json::Array(elements) => {
            printed.push('(');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    printed.push_str(", ");
                }
                print_value(element, printed);
            }
            printed.push(')');
        }
        Json::String(text) => print_text(text, printed),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {
            printed.push_str(&value.to_string())
        }
    }
}

fn print_text(text: &str, printed: &mut String) {
    const KEYWORDS: [&str; 5] = ["and", "or", "not", "in", "all"];
    let is_keyword = KEYWORDS
        .iter()
        .any(|keyword| text.eq_ignore_ascii_case(keyword));
    if text.is_empty() || is_keyword || !text.chars().all(is_word_character) {
        print_quoted(text, printed);
    } else {
        printed.push_str(text);
    }
}

fn print_quoted(text: &str, printed: &mut String) {
    printed.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            printed.push('\\');
        }
        printed.push(character);
    }
    printed.push('"');
}
