//! Rows by the hundred on SQLite. Its driver hands rows over one at a time between two threads, each of which wakes the
//! other up for every one; as one JSON text they take one handover, and fewer allocations.

use fleetwright_plugin_api::wire::Cell;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::dialect::ColumnKind;
use super::{DbError, Rows, Statement};

/// The names and kinds of all columns that a statement selects, in order. Bytes are never NULL.
pub type Columns = [(&'static str, ColumnKind)];

/// The statement that selects the same rows as one text.
pub(super) fn as_one_text(statement: Statement, columns: &Columns) -> Statement {
    let values: Vec<String> = columns
        .iter()
        .map(|(name, kind)| match kind {
            ColumnKind::Integer | ColumnKind::Text => (*name).to_owned(),
            ColumnKind::Bytes => format!("hex({name})"),
        })
        .collect();
    let (sql, parameters) = statement.into_parts();
    let sql = format!(
        "SELECT json_group_array(json_array({})) AS whole FROM ({sql})",
        values.join(", ")
    );
    parameters
        .into_iter()
        .fold(Statement::new(sql), Statement::bind)
}

/// The rows in such a text.
pub(super) fn from_one_text(rows: &Rows, columns: &Columns) -> Result<Rows, DbError> {
    let mut cells = Vec::new();
    if let Some(row) = rows.first() {
        let mut text = serde_json::Deserializer::from_str(row.text("whole")?);
        let list = List {
            columns,
            cells: &mut cells,
        };
        list.deserialize(&mut text).map_err(shape)?;
    }
    let names = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    Rows::new(names, cells).ok_or_else(|| shape("rows of different widths"))
}

fn shape(error: impl std::fmt::Display) -> DbError {
    DbError::Statement(format!("the database's JSON is of another shape: {error}"))
}

/// All rows.
struct List<'a> {
    columns: &'a Columns,
    cells: &'a mut Vec<Cell>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        let Self { columns, cells } = self;
        while let Some(()) = rows.next_element_seed(OneRow {
            columns,
            cells: &mut *cells,
        })? {}
        Ok(())
    }
}

struct OneRow<'a> {
    columns: &'a Columns,
    cells: &'a mut Vec<Cell>,
}

impl<'de> DeserializeSeed<'de> for OneRow<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OneRow<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a row")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
        for (name, kind) in self.columns {
            let cell = row.next_element_seed(OneCell(*kind))?;
            let missing = || A::Error::custom(format_args!("no {name}"));
            self.cells.push(cell.ok_or_else(missing)?);
        }
        Ok(())
    }
}

struct OneCell(ColumnKind);

impl<'de> DeserializeSeed<'de> for OneCell {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for OneCell {
    type Value = Cell;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a cell")
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Cell, E> {
        i64::try_from(value).map(Cell::Integer).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Cell, E> {
        match self.0 {
            ColumnKind::Integer | ColumnKind::Text => Ok(Cell::Text(value.to_owned())),
            ColumnKind::Bytes => hex::decode(value).map(Cell::Bytes).map_err(E::custom),
        }
    }
}
