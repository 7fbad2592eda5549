//! A statement with its parameters, and rows as plain cells: the same for both databases and for modules.

use std::borrow::Cow;
use std::sync::Arc;

use fleetwright_plugin_api::wire::Cell;
use fleetwright_protocol::{CommandId, HostId, JournalId, SetId};
use uuid::Uuid;

/// SQL with `$1`-style parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(super) sql: Cow<'static, str>,
    pub(super) parameters: Vec<Cell>,
}

impl Statement {
    /// The text is trusted: it comes from the program, never from input. Input is bound.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            parameters: Vec::new(),
        }
    }

    #[must_use]
    pub fn bind(mut self, value: impl IntoCell) -> Self {
        self.parameters.push(value.into_cell());
        self
    }

    /// How many parameters are bound so far: the next one is `$<this + 1>`.
    pub fn bound(&self) -> usize {
        self.parameters.len()
    }

    /// Adds text at the end, such as a lock clause only one dialect has.
    #[must_use]
    pub fn with_suffix(mut self, suffix: &str) -> Self {
        self.sql.to_mut().push_str(suffix);
        self
    }

    pub fn sql(&self) -> &str {
        &self.sql
    }
}

/// A value that can be bound. Ids are bound as their 16 bytes, booleans as 0 and 1.
pub trait IntoCell {
    fn into_cell(self) -> Cell;
}

impl IntoCell for Cell {
    fn into_cell(self) -> Cell {
        self
    }
}

macro_rules! into_cell {
    ($($type:ty => |$value:ident| $cell:expr),* $(,)?) => {
        $(impl IntoCell for $type {
            fn into_cell(self) -> Cell {
                let $value = self;
                $cell
            }
        })*
    };
}

into_cell! {
    i64 => |value| Cell::Integer(value),
    i32 => |value| Cell::Integer(value.into()),
    u32 => |value| Cell::Integer(value.into()),
    u16 => |value| Cell::Integer(value.into()),
    // Counts and sizes in this program stay far below 2^63.
    u64 => |value| Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
    usize => |value| Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
    bool => |value| Cell::Integer(value.into()),
    &str => |value| Cell::Text(value.to_owned()),
    String => |value| Cell::Text(value),
    &String => |value| Cell::Text(value.clone()),
    Vec<u8> => |value| Cell::Bytes(value),
    &[u8] => |value| Cell::Bytes(value.to_vec()),
    &[u8; 32] => |value| Cell::Bytes(value.to_vec()),
    [u8; 32] => |value| Cell::Bytes(value.to_vec()),
    Uuid => |value| Cell::Bytes(value.as_bytes().to_vec()),
    HostId => |value| Cell::Bytes(value.as_bytes().to_vec()),
    CommandId => |value| Cell::Bytes(value.as_bytes().to_vec()),
    SetId => |value| Cell::Bytes(value.as_bytes().to_vec()),
    JournalId => |value| Cell::Bytes(value.as_bytes().to_vec()),
}

impl<T: IntoCell> IntoCell for Option<T> {
    fn into_cell(self) -> Cell {
        self.map_or(Cell::Null, IntoCell::into_cell)
    }
}

/// A stored value that is not what the reader expected: a defect or a damaged database.
#[derive(Debug, thiserror::Error)]
#[error("column {column} is {found}, expected {expected}")]
pub struct RowError {
    column: String,
    found: &'static str,
    expected: &'static str,
}

/// The result of a query.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub columns: Arc<[String]>,
    pub rows: Vec<Row>,
}

impl Rows {
    pub fn first(&self) -> Option<&Row> {
        self.rows.first()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter_rows(&self) -> std::slice::Iter<'_, Row> {
        self.rows.iter()
    }
}

impl IntoIterator for Rows {
    type Item = Row;
    type IntoIter = std::vec::IntoIter<Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

/// One row; columns are read by position, in the order of the `SELECT`.
#[derive(Clone, Debug)]
pub struct Row {
    pub cells: Vec<Cell>,
}

impl Row {
    pub fn integer(&self, index: usize) -> Result<i64, RowError> {
        match self.cell(index) {
            Cell::Integer(value) => Ok(*value),
            other => Err(mismatch(index, other, "an integer")),
        }
    }

    /// An integer that is never negative.
    pub fn count(&self, index: usize) -> Result<u64, RowError> {
        let value = self.integer(index)?;
        u64::try_from(value).map_err(|_| RowError {
            column: index.to_string(),
            found: "negative",
            expected: "a count",
        })
    }

    pub fn flag(&self, index: usize) -> Result<bool, RowError> {
        Ok(self.integer(index)? != 0)
    }

    pub fn text(&self, index: usize) -> Result<&str, RowError> {
        match self.cell(index) {
            Cell::Text(value) => Ok(value),
            other => Err(mismatch(index, other, "text")),
        }
    }

    pub fn bytes(&self, index: usize) -> Result<&[u8], RowError> {
        match self.cell(index) {
            Cell::Bytes(value) => Ok(value),
            other => Err(mismatch(index, other, "bytes")),
        }
    }

    /// A 16-byte id of any of the typed kinds.
    pub fn id<T: From<Uuid>>(&self, index: usize) -> Result<T, RowError> {
        let bytes = self.bytes(index)?;
        Uuid::from_slice(bytes).map(T::from).map_err(|_| RowError {
            column: index.to_string(),
            found: "of another length",
            expected: "a 16-byte id",
        })
    }

    pub fn optional_integer(&self, index: usize) -> Result<Option<i64>, RowError> {
        self.optional(index, |row| row.integer(index))
    }

    pub fn optional_text(&self, index: usize) -> Result<Option<String>, RowError> {
        self.optional(index, |row| row.text(index).map(str::to_owned))
    }

    pub fn optional_bytes(&self, index: usize) -> Result<Option<Vec<u8>>, RowError> {
        self.optional(index, |row| row.bytes(index).map(<[u8]>::to_vec))
    }

    pub fn optional_id<T: From<Uuid>>(&self, index: usize) -> Result<Option<T>, RowError> {
        self.optional(index, |row| row.id(index))
    }

    /// For a damaged or unknown text form of an enum.
    pub fn unexpected(&self, index: usize, expected: &'static str) -> RowError {
        mismatch(index, self.cell(index), expected)
    }

    fn optional<T>(
        &self,
        index: usize,
        read: impl FnOnce(&Self) -> Result<T, RowError>,
    ) -> Result<Option<T>, RowError> {
        match self.cell(index) {
            Cell::Null => Ok(None),
            Cell::Integer(_) | Cell::Real(_) | Cell::Text(_) | Cell::Bytes(_) => {
                read(self).map(Some)
            }
        }
    }

    fn cell(&self, index: usize) -> &Cell {
        self.cells.get(index).unwrap_or(&Cell::Null)
    }
}

fn mismatch(index: usize, found: &Cell, expected: &'static str) -> RowError {
    RowError {
        column: index.to_string(),
        found: match found {
            Cell::Null => "null",
            Cell::Integer(_) => "an integer",
            Cell::Real(_) => "a real number",
            Cell::Text(_) => "text",
            Cell::Bytes(_) => "bytes",
        },
        expected,
    }
}
