//! Why a factory gets the job it gets: the terms of each candidate's score, side by side.

use serde_json::{Map, Value};

use crate::output::{self, Column};
use crate::table;

/// The terms, as the server calls them.
const TERMS: [&str; 5] = ["age", "priority", "retries", "capabilities", "total"];

pub const COLUMNS: [Column; 8] = [
    Column {
        title: "JOB",
        cell: |row| output::plain(row, "job_id"),
    },
    Column {
        title: "PRODUCT",
        cell: |row| output::plain(row, "product_id"),
    },
    Column {
        title: "PRIORITY",
        cell: |row| output::plain(row, "priority_word"),
    },
    Column {
        title: "AGE",
        cell: |row| output::plain(row, "age"),
    },
    Column {
        title: "+ PRIORITY",
        cell: |row| output::plain(row, "priority"),
    },
    Column {
        title: "+ RETRIES",
        cell: |row| output::plain(row, "retries"),
    },
    Column {
        title: "+ CAPABILITIES",
        cell: |row| output::plain(row, "capabilities"),
    },
    Column {
        title: "= SCORE",
        cell: |row| output::plain(row, "total"),
    },
];

/// One flat row a candidate.
pub fn rows(answer: &Value) -> Vec<Value> {
    let candidates = answer.get("candidates").and_then(Value::as_array);
    let row = |candidate: &Value| {
        let mut row = Map::new();
        let texts = [
            ("job_id", "job_id"),
            ("product_id", "product_id"),
            ("priority_word", "priority"),
        ];
        for (name, field) in texts {
            row.insert(name.to_owned(), output::field(candidate, field).into());
        }
        let score = candidate.get("score").unwrap_or(&Value::Null);
        for term in TERMS {
            row.insert(term.to_owned(), output::field(score, term).into());
        }
        Value::Object(row)
    };
    candidates.into_iter().flatten().map(row).collect()
}

/// What keeps it from getting one, or others.
pub fn notes(answer: &Value) -> String {
    let mut notes = String::new();
    if answer.get("seats_free").and_then(Value::as_i64) == Some(0) {
        notes.push_str("it has no free seat\n");
    }
    let closed = output::field(answer, "closed_products");
    if !closed.is_empty() {
        let closed = table::printable(&closed);
        notes.push_str(&format!(
            "not looked at, since their budgets are paused or used up: {closed}\n"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_term_has_its_place_and_what_is_closed_is_named() {
        let answer = json!({
            "candidates": [{
                "job_id": "j", "product_id": "app", "priority": "high",
                "score": {"age": 1.5, "priority": 20, "retries": -2, "capabilities": 5, "total": 24.5},
            }],
            "seats_free": 0,
            "closed_products": ["a", "b"],
        });
        let rows = rows(&answer);
        let cells: Vec<String> = [
            "job_id",
            "product_id",
            "priority_word",
            "age",
            "priority",
            "retries",
            "capabilities",
            "total",
        ]
        .iter()
        .map(|name| output::field(&rows[0], name))
        .collect();
        assert_eq!(cells, ["j", "app", "high", "1.5", "20", "-2", "5", "24.5"]);
        assert_eq!(
            notes(&answer),
            "it has no free seat\nnot looked at, since their budgets are paused or used up: a, b\n"
        );
        assert_eq!(
            notes(&json!({"candidates": [], "seats_free": 1, "closed_products": []})),
            ""
        );
    }
}
