//! The JSON of a compiled criterion, one spelling for each meaning: shortcuts and expressions are gone, times are in UTC, closed
//! words in lower case. Reading it back gives the same criterion.

use serde_json::{Map, Value as Json, json};

use crate::criterion::{BoolTest, Criterion, GroupTest, Leaf, NumberTest, TextTest};
use crate::field::NumberField;
use crate::timestamp::format_rfc3339_us;
use crate::value::FoldedText;

impl Criterion {
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Leaf(leaf) => leaf.to_json(),
            Self::All(parts) => {
                json!({ "all": parts.iter().map(Self::to_json).collect::<Vec<_>>() })
            }
            Self::Any(parts) => {
                json!({ "any": parts.iter().map(Self::to_json).collect::<Vec<_>>() })
            }
            Self::Not(part) => json!({ "not": part.to_json() }),
        }
    }
}

impl Leaf {
    fn to_json(&self) -> Json {
        let mut leaf = Map::new();
        leaf.insert("field".to_owned(), Json::from(self.field().to_string()));
        leaf.insert("op".to_owned(), Json::from(self.op().name()));
        if let Some(value) = self.value_json() {
            leaf.insert("value".to_owned(), value);
        }
        Json::Object(leaf)
    }

    /// The value as JSON; `None` where it is left out, for an `exists` that expects existence.
    #[must_use]
    pub fn value_json(&self) -> Option<Json> {
        match self {
            Self::Exists { expected, .. } => (!expected).then_some(Json::from(false)),
            Self::Text { test, .. } | Self::List { test, .. } => Some(text_json(test)),
            Self::Version { version, .. } => Some(Json::from(version.source())),
            Self::Group(test) => Some(group_json(test)),
            Self::Number { field, test } => Some(number_json(*field, test)),
            Self::Bool {
                test: BoolTest::Equals(value) | BoolTest::NotEquals(value),
                ..
            } => Some(Json::from(*value)),
        }
    }
}

fn text_json(test: &TextTest) -> Json {
    match test {
        TextTest::Equals(text)
        | TextTest::NotEquals(text)
        | TextTest::Contains(text)
        | TextTest::StartsWith(text)
        | TextTest::EndsWith(text) => Json::from(text.original()),
        TextTest::In(texts) | TextTest::NotIn(texts) => {
            texts.iter().map(FoldedText::original).collect()
        }
        TextTest::Matches(pattern) => Json::from(pattern.source()),
    }
}

fn group_json(test: &GroupTest) -> Json {
    match test {
        GroupTest::Equals(group) | GroupTest::NotEquals(group) | GroupTest::Contains(group) => {
            Json::from(group.as_str())
        }
        GroupTest::In(groups) | GroupTest::NotIn(groups) => {
            groups.iter().map(String::as_str).collect()
        }
    }
}

fn number_json(field: NumberField, test: &NumberTest) -> Json {
    let one = |number: i64| {
        if field.is_time() {
            Json::from(format_rfc3339_us(number))
        } else {
            Json::from(number)
        }
    };
    match test {
        NumberTest::Compare(_, number) => one(*number),
        NumberTest::In(numbers) | NumberTest::NotIn(numbers) => {
            numbers.iter().copied().map(one).collect()
        }
    }
}
