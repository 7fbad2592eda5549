//! Prints what the server said: as a table for people, or unchanged as JSON or YAML for machines.

use std::io::Write as _;

use serde_json::Value;

use crate::failure::Failure;
use crate::session::{OutputFormat, Session};
use crate::table::{self, Cell};

/// A column: its title and how to read its cell from an item.
pub struct Column {
    pub title: &'static str,
    pub cell: fn(&Value) -> Cell,
}

pub fn items(session: &Session, items: &[Value], columns: &[Column]) -> Result<(), Failure> {
    match session.format {
        OutputFormat::Table if items.is_empty() => line("nothing there"),
        OutputFormat::Table => {
            let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
            let rows: Vec<Vec<Cell>> = items
                .iter()
                .map(|item| columns.iter().map(|column| (column.cell)(item)).collect())
                .collect();
            text(&table::render(&titles, &rows))
        }
        OutputFormat::Json | OutputFormat::Yaml => {
            data(session.format, &Value::Array(items.to_vec()))
        }
    }
}

/// One thing: for people, its fields line by line.
pub fn item(session: &Session, item: &Value) -> Result<(), Failure> {
    match session.format {
        OutputFormat::Table => text(&fields(item)),
        OutputFormat::Json | OutputFormat::Yaml => data(session.format, item),
    }
}

pub fn data(format: OutputFormat, value: &Value) -> Result<(), Failure> {
    match format {
        OutputFormat::Yaml => {
            let yaml = serde_yaml_ng::to_string(value)
                .map_err(|error| Failure::Answer(error.to_string()))?;
            text(&yaml)
        }
        OutputFormat::Json | OutputFormat::Table => line(&format!("{value:#}")),
    }
}

pub fn line(what: &str) -> Result<(), Failure> {
    text(&format!("{what}\n"))
}

pub fn text(what: &str) -> Result<(), Failure> {
    bytes(what.as_bytes())
}

pub fn bytes(what: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(what)
        .and_then(|()| out.flush())
        .map_err(Failure::from_output)
}

/// A string field, or a short form of another kind of value; empty if absent.
pub fn field(item: &Value, name: &str) -> String {
    item.get(name).map(short).unwrap_or_default()
}

pub fn plain(item: &Value, name: &str) -> Cell {
    Cell::plain(field(item, name))
}

pub fn status(item: &Value, name: &str) -> Cell {
    Cell::status(&field(item, name))
}

/// The fields of an object, aligned; nested values as compact JSON.
fn fields(item: &Value) -> String {
    let Some(object) = item.as_object() else {
        return short(item) + "\n";
    };
    let width = object.keys().map(String::len).max().unwrap_or_default();
    object
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| format!("{name:width$}  {}\n", table::printable(&short(value))))
        .collect()
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => list
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A line for people; machines get the exit code.
pub fn note(session: &Session, text: &str) -> Result<(), Failure> {
    if session.is_for_people() {
        line(text)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_reads_as_aligned_fields_without_nulls() {
        let item = json!({"id": "1", "tags": ["web", "db"], "gone": null, "count": 3});
        assert_eq!(fields(&item), "count  3\nid     1\ntags   web, db\n");
    }
}
