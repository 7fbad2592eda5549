//! The row of a bulk operation: the columns that only this kind has. What else is its own is in `kind`.

use fleetwright_operations::columns::Columns;
use fleetwright_operations::{Header, Loaded};
use fleetwright_plugin_api::sdk::{Cell, Row, RowError};
use uuid::Uuid;

use crate::decide::Status;

/// Bulk operations as a kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkKind;

pub type BulkHeader = Header<BulkKind>;
pub type LoadedBulk = Loaded<BulkKind>;

/// The columns that only bulk operations have.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkColumns {
    /// The operation this one retries.
    pub parent_id: Option<Uuid>,
    /// As last followed; may lag behind the set.
    pub status: Status,
    /// The set's revision that status was computed from.
    pub status_revision: i64,
}

impl Columns for BulkColumns {
    const NAMES: &'static [&'static str] = &["parent_id", "status", "status_revision"];

    fn read(row: Row<'_>) -> Result<Self, RowError> {
        Ok(Self {
            parent_id: row.optional_id("parent_id")?,
            status: row.word("status", "a status", Status::from_name)?,
            status_revision: row.integer("status_revision")?,
        })
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.parent_id.into(),
            self.status.as_str().into(),
            self.status_revision.into(),
        ]
    }
}
