//! The result of a query: rows of plain cells, read by the names of their columns. The same for both databases, in the
//! server and in modules.
//!
//! Every expression of a `SELECT` list needs an alias: the databases name them differently.

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::wire::Cell;

/// A stored value that is not what the reader expected: a defect or a damaged database.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The cell is of another kind, or its value means nothing.
    #[error("column {column} is {found}, expected {expected}")]
    Unexpected {
        /// Its name in the `SELECT`.
        column: String,
        /// What it is instead: `null`, `text`, …; never the value, which may be a secret.
        found: &'static str,
        /// What the reader wanted, for the message.
        expected: &'static str,
    },
    /// `SELECT` does not name it, or names two columns so.
    #[error("column {column} is not in the result, or there twice")]
    NotFound {
        /// The name that was asked for.
        column: String,
    },
    /// The text is not the document that is read from it.
    #[error("column {column} holds JSON of another shape: {error}")]
    Json {
        /// Its name in the `SELECT`.
        column: String,
        /// What the parser says, with the place in the text.
        error: serde_json::Error,
    },
}

/// The result of a query.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Columns,
    /// Row by row.
    cells: Vec<Cell>,
}

impl Rows {
    /// `cells` is row by row. `None` if they do not fill rows of so many columns.
    pub fn new(columns: Vec<String>, cells: Vec<Cell>) -> Option<Self> {
        let is_whole = cells.is_empty() || cells.len().is_multiple_of(columns.len());
        is_whole.then(|| Self {
            columns: Columns::new(columns),
            cells,
        })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.cells
            .len()
            .checked_div(self.columns.names.len())
            .unwrap_or(0)
    }

    /// Whether the query found nothing.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The first row; none if there is none.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The last row, for whoever pages on from it.
    pub fn last(&self) -> Option<Row<'_>> {
        self.iter().next_back()
    }

    /// The rows in the order of the answer.
    pub fn iter(&self) -> RowIter<'_> {
        RowIter {
            columns: &self.columns,
            // Without columns there are no cells, and any width will do.
            rows: self.cells.chunks_exact(self.columns.names.len().max(1)),
        }
    }

    /// The names in the order of the `SELECT`. A result without rows may have none.
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// All cells, row by row.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = RowIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The rows of a result in order.
#[derive(Clone, Debug)]
pub struct RowIter<'a> {
    columns: &'a Columns,
    rows: std::slice::ChunksExact<'a, Cell>,
}

impl<'a> Iterator for RowIter<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let columns = self.columns;
        self.rows.next().map(|cells| Row { columns, cells })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl DoubleEndedIterator for RowIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let columns = self.columns;
        self.rows.next_back().map(|cells| Row { columns, cells })
    }
}

impl ExactSizeIterator for RowIter<'_> {}

/// One row. Reading a cell by name costs a few nanoseconds more than by position would.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a Columns,
    cells: &'a [Cell],
}

impl<'a> Row<'a> {
    /// The cells in the order of the `SELECT`.
    pub fn cells(self) -> &'a [Cell] {
        self.cells
    }

    /// The cell as it is. `NotFound` if the `SELECT` does not name it, as for everything read by name below.
    pub fn cell(self, column: &str) -> Result<&'a Cell, RowError> {
        self.columns
            .place_of(column)
            .and_then(|place| self.cells.get(place))
            .ok_or_else(|| RowError::NotFound {
                column: column.to_owned(),
            })
    }

    /// A `BIGINT`. `Unexpected` if it is null or anything else.
    pub fn integer(self, column: &str) -> Result<i64, RowError> {
        match self.cell(column)? {
            Cell::Integer(value) => Ok(*value),
            other => Err(unexpected(column, other, "an integer")),
        }
    }

    /// An integer that is never negative.
    pub fn count(self, column: &str) -> Result<u64, RowError> {
        u64::try_from(self.integer(column)?).map_err(|_| RowError::Unexpected {
            column: column.to_owned(),
            found: "negative",
            expected: "a count",
        })
    }

    /// An integer of which 0 means no.
    pub fn flag(self, column: &str) -> Result<bool, RowError> {
        Ok(self.integer(column)? != 0)
    }

    /// A `DOUBLE PRECISION`. `Unexpected` if it is null or anything else, an integer too.
    pub fn real(self, column: &str) -> Result<f64, RowError> {
        match self.cell(column)? {
            Cell::Real(value) => Ok(*value),
            other => Err(unexpected(column, other, "a real number")),
        }
    }

    /// A `TEXT`, borrowed from the result.
    pub fn text(self, column: &str) -> Result<&'a str, RowError> {
        match self.cell(column)? {
            Cell::Text(value) => Ok(value),
            other => Err(unexpected(column, other, "text")),
        }
    }

    /// A `BLOB` or `BYTEA`, borrowed from the result.
    pub fn bytes(self, column: &str) -> Result<&'a [u8], RowError> {
        match self.cell(column)? {
            Cell::Bytes(value) => Ok(value),
            other => Err(unexpected(column, other, "bytes")),
        }
    }

    /// A stored UUID, as any of the typed ids or a plain `Uuid`.
    pub fn id<T: From<Uuid>>(self, column: &str) -> Result<T, RowError> {
        Uuid::from_slice(self.bytes(column)?)
            .map(T::from)
            .map_err(|_| RowError::Unexpected {
                column: column.to_owned(),
                found: "of another length",
                expected: "a 16-byte id",
            })
    }

    /// The text form of a value, such as an enum's; `expected` says of what.
    pub fn word<T>(
        self,
        column: &str,
        expected: &'static str,
        from_name: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, RowError> {
        from_name(self.text(column)?).ok_or_else(|| self.unexpected(column, expected))
    }

    /// A JSON document stored as text.
    pub fn json<T: DeserializeOwned>(self, column: &str) -> Result<T, RowError> {
        serde_json::from_str(self.text(column)?).map_err(|error| RowError::Json {
            column: column.to_owned(),
            error,
        })
    }

    /// As [`integer`](Self::integer), where null is none.
    pub fn optional_integer(self, column: &str) -> Result<Option<i64>, RowError> {
        self.optional(column, Self::integer)
    }

    /// As [`text`](Self::text), where null is none.
    pub fn optional_text(self, column: &str) -> Result<Option<&'a str>, RowError> {
        self.optional(column, Self::text)
    }

    /// As [`bytes`](Self::bytes), where null is none.
    pub fn optional_bytes(self, column: &str) -> Result<Option<&'a [u8]>, RowError> {
        self.optional(column, Self::bytes)
    }

    /// As [`id`](Self::id), where null is none.
    pub fn optional_id<T: From<Uuid>>(self, column: &str) -> Result<Option<T>, RowError> {
        self.optional(column, Self::id)
    }

    /// For a value of the right kind that is damaged or unknown.
    pub fn unexpected(self, column: &str, expected: &'static str) -> RowError {
        match self.cell(column) {
            Ok(found) => unexpected(column, found, expected),
            Err(error) => error,
        }
    }

    fn optional<T>(
        self,
        column: &str,
        read: impl FnOnce(Self, &str) -> Result<T, RowError>,
    ) -> Result<Option<T>, RowError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Integer(_) | Cell::Real(_) | Cell::Text(_) | Cell::Bytes(_) => {
                read(self, column).map(Some)
            }
        }
    }
}

fn unexpected(column: &str, found: &Cell, expected: &'static str) -> RowError {
    RowError::Unexpected {
        column: column.to_owned(),
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

/// The names of a result's columns and where each stands. A page of a thousand rows asks twenty thousand times, so the
/// places are a small open-addressed table with a hash of four loads, made once for each result: about what a comparison
/// of two names costs, where the standard map's hash costs ten times that.
#[derive(Clone, Debug, Default)]
struct Columns {
    names: Vec<String>,
    /// A power of two, at most half full, so that every search meets a free slot.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Slot {
    #[default]
    Free,
    Column(u16),
    /// Two columns have the name: reading either would be a guess.
    Twice,
}

impl Columns {
    fn new(names: Vec<String>) -> Self {
        let mut columns = Self {
            slots: vec![Slot::Free; (names.len() * 2).next_power_of_two()],
            names: Vec::new(),
        };
        for (place, name) in names.iter().enumerate() {
            // Neither database has results of more columns than fit.
            columns.add(&names, name, u16::try_from(place).unwrap_or(u16::MAX));
        }
        columns.names = names;
        columns
    }

    fn add(&mut self, names: &[String], name: &str, place: u16) {
        for slot in probes(name, self.slots.len()) {
            let Some(slot) = self.slots.get_mut(slot) else {
                return;
            };
            match *slot {
                Slot::Free => *slot = Slot::Column(place),
                Slot::Column(other) if names.get(usize::from(other)).is_some_and(|n| n == name) => {
                    *slot = Slot::Twice;
                }
                Slot::Column(_) | Slot::Twice => continue,
            }
            return;
        }
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        for slot in probes(name, self.slots.len()) {
            match self.slots.get(slot)? {
                Slot::Free => return None,
                Slot::Column(place) => {
                    let place = usize::from(*place);
                    if self.names.get(place)? == name {
                        return Some(place);
                    }
                }
                Slot::Twice => {}
            }
        }
        None
    }
}

/// The slots where a name may stand, in order. Names that differ in length or in their first, middle or last letter start
/// at different places as a rule.
fn probes(name: &str, slots: usize) -> impl Iterator<Item = usize> {
    let bytes = name.as_bytes();
    let length = bytes.len();
    let at = |index: usize| bytes.get(index).map_or(0, |byte| usize::from(*byte));
    let hash = length * 31 + at(0) * 7 + at(length / 2) * 13 + at(length.wrapping_sub(1)) * 3;
    let mask = slots.wrapping_sub(1);
    (0..slots).map(move |step| (hash + step) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: &[&str], cells: Vec<Cell>) -> Rows {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        Rows::new(columns, cells).expect("whole rows")
    }

    #[test]
    fn every_column_of_a_wide_result_is_found_by_its_name() {
        let names: Vec<String> = (0..300).map(|number| format!("column_{number}")).collect();
        let rows = Rows::new(names.clone(), (0..600).map(Cell::Integer).collect()).expect("rows");
        assert_eq!(rows.len(), 2);
        for (row, first) in rows.iter().zip([0, 300]) {
            for (place, name) in (first..).zip(&names) {
                assert_eq!(row.integer(name).expect(name), place);
            }
        }
    }

    #[test]
    fn an_error_names_the_column_and_what_was_found_there() {
        let rows = rows(
            &["id", "name", "name", "size", "tags"],
            vec![
                Cell::Bytes(vec![1]),
                Cell::Text("a".to_owned()),
                Cell::Text("b".to_owned()),
                Cell::Integer(-1),
                Cell::Null,
            ],
        );
        let row = rows.first().expect("a row");
        let told = [
            row.integer("state").unwrap_err(),
            row.optional_text("state").unwrap_err(),
            row.text("name").unwrap_err(),
            row.id::<Uuid>("id").unwrap_err(),
            row.text("size").unwrap_err(),
            row.count("size").unwrap_err(),
            row.text("tags").unwrap_err(),
            row.word("size", "a role", |_| Some(())).unwrap_err(),
        ];
        assert_eq!(
            told.map(|error| error.to_string()),
            [
                "column state is not in the result, or there twice",
                "column state is not in the result, or there twice",
                "column name is not in the result, or there twice",
                "column id is of another length, expected a 16-byte id",
                "column size is an integer, expected text",
                "column size is negative, expected a count",
                "column tags is null, expected text",
                "column size is an integer, expected text",
            ]
        );
        assert_eq!(row.optional_text("tags").expect("tags"), None);
        assert_eq!(row.integer("size").expect("size"), -1);
    }

    #[test]
    fn cells_that_do_not_fill_rows_are_no_rows() {
        assert!(Rows::new(vec!["a".to_owned(), "b".to_owned()], vec![Cell::Null; 3]).is_none());
        assert!(Rows::new(Vec::new(), vec![Cell::Null]).is_none());
        assert!(Rows::new(Vec::new(), Vec::new()).is_some_and(|rows| rows.is_empty()));
        assert!(rows(&["a"], Vec::new()).first().is_none());
        assert!(Rows::default().iter().next().is_none());
    }
}
