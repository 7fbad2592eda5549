//! A kind's own columns in the table of its operations.

use fleetwright_plugin_api::sdk::{Cell, Row, RowError};
use serde::Serialize;

/// Some columns of a row, by name.
pub trait Columns: Sized {
    const NAMES: &'static [&'static str];

    fn read(row: Row<'_>) -> Result<Self, RowError>;

    /// In the order of the names.
    fn cells(&self) -> Vec<Cell>;
}

/// A kind without such columns.
impl Columns for () {
    const NAMES: &'static [&'static str] = &[];

    fn read(_row: Row<'_>) -> Result<Self, RowError> {
        Ok(())
    }

    fn cells(&self) -> Vec<Cell> {
        Vec::new()
    }
}

/// A value as the JSON text of a column.
pub fn text<T: Serialize>(value: &T) -> String {
    // Plain structs of numbers and words: they always have a JSON text.
    serde_json::to_string(value).unwrap_or_default()
}
