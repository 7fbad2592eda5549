//! The module's own tables: reads on one snapshot. Writes are a [`Batch`](super::Batch).

use std::sync::Arc;

use abi_stable::std_types::{RBox, RString, RVec};
use fleetwright_protocol::{CommandId, HostId, SetId};
use uuid::Uuid;

use super::{Batch, CallContext, ServerError};
use crate::abi::{AbiStatement, AbiTable, Ctx, DbApi_TO};
use crate::cells;
use crate::wire::Cell;

/// Which SQL is spoken. `$1` parameters work on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// `fleet.db/1`, bound to this module's tables.
#[derive(Clone)]
pub struct Database {
    api: Arc<DbApi_TO<RBox<()>>>,
}

impl Database {
    pub(crate) fn new(api: DbApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    pub fn dialect(&self) -> Dialect {
        if self.api.dialect() == 2 {
            Dialect::Postgres
        } else {
            Dialect::Sqlite
        }
    }

    /// Runs all statements on one snapshot: at most 10,000 rows or 4 MiB together.
    pub async fn read(&self, statements: Vec<Statement>) -> Result<Vec<Table>, ServerError> {
        let statements: RVec<AbiStatement> =
            statements.into_iter().map(Statement::into_abi).collect();
        let tables = self.api.read(statements).await.into_result()?;
        tables.into_iter().map(Table::from_abi).collect()
    }

    pub async fn read_one(&self, statement: Statement) -> Result<Table, ServerError> {
        let mut tables = self.read(vec![statement]).await?;
        tables
            .pop()
            .ok_or_else(|| ServerError::Internal("the read answered no table".to_owned()))
    }

    /// Writes the batch, all or nothing; it is on disk when this answers. Dropping the future does not stop it.
    pub async fn commit(&self, context: &CallContext, batch: Batch) -> Result<(), ServerError> {
        let ops = batch.into_ops()?;
        Ok(self
            .api
            .commit(Ctx::from(context), ops)
            .await
            .into_result()?)
    }
}

/// SQL with `$1`-style parameters. The text comes from the program, never from input.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(super) sql: String,
    pub(super) cells: Vec<Cell>,
}

impl Statement {
    pub fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            cells: Vec::new(),
        }
    }

    #[must_use]
    pub fn bind(mut self, value: impl Into<Cell>) -> Self {
        self.cells.push(value.into());
        self
    }

    /// How many parameters are bound so far: the next is `$<this + 1>`.
    pub fn bound(&self) -> usize {
        self.cells.len()
    }

    fn into_abi(self) -> AbiStatement {
        AbiStatement {
            sql: RString::from(self.sql),
            cells: RVec::from(cells::pack(&self.cells)),
            ext: RVec::new(),
        }
    }
}

macro_rules! cell_from {
    ($($type:ty => |$value:ident| $cell:expr),* $(,)?) => {
        $(impl From<$type> for Cell {
            fn from($value: $type) -> Self {
                $cell
            }
        }

        impl From<Option<$type>> for Cell {
            fn from(value: Option<$type>) -> Self {
                value.map_or(Self::Null, Self::from)
            }
        })*
    };
}

cell_from! {
    i64 => |value| Self::Integer(value),
    i32 => |value| Self::Integer(value.into()),
    u32 => |value| Self::Integer(value.into()),
    // Counts and sizes stay far below 2^63.
    u64 => |value| Self::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
    usize => |value| Self::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
    bool => |value| Self::Integer(value.into()),
    f64 => |value| Self::Real(value),
    &str => |value| Self::Text(value.to_owned()),
    String => |value| Self::Text(value),
    &String => |value| Self::Text(value.clone()),
    Vec<u8> => |value| Self::Bytes(value),
    &[u8] => |value| Self::Bytes(value.to_vec()),
    Uuid => |value| Self::Bytes(value.as_bytes().to_vec()),
    HostId => |value| Self::Bytes(value.as_bytes().to_vec()),
    SetId => |value| Self::Bytes(value.as_bytes().to_vec()),
    CommandId => |value| Self::Bytes(value.as_bytes().to_vec()),
}

/// The rows of one statement.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn first(&self) -> Option<&Row> {
        self.rows.first()
    }

    fn from_abi(table: AbiTable) -> Result<Self, ServerError> {
        let columns: Vec<String> = table.columns.iter().map(ToString::to_string).collect();
        let cells = cells::unpack(&table.cells)
            .map_err(|error| ServerError::Internal(error.to_string()))?;
        let mut cells = cells.into_iter();
        let count = usize::try_from(table.rows).unwrap_or_default();
        if columns.len().checked_mul(count) != Some(cells.len()) {
            return Err(ServerError::Internal(
                "a table's cells do not fill its rows".to_owned(),
            ));
        }
        let rows = (0..count)
            .map(|_| Row {
                cells: cells.by_ref().take(columns.len()).collect(),
            })
            .collect();
        Ok(Self { columns, rows })
    }
}

/// One row; columns are read by position, in the order of the `SELECT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub cells: Vec<Cell>,
}

impl Row {
    pub fn integer(&self, index: usize) -> Result<i64, ServerError> {
        self.optional_integer(index)?
            .ok_or_else(|| mismatch(index, "an integer"))
    }

    /// An integer that is never negative.
    pub fn count(&self, index: usize) -> Result<u64, ServerError> {
        u64::try_from(self.integer(index)?).map_err(|_| mismatch(index, "a count"))
    }

    pub fn flag(&self, index: usize) -> Result<bool, ServerError> {
        Ok(self.integer(index)? != 0)
    }

    pub fn real(&self, index: usize) -> Result<f64, ServerError> {
        match self.cell(index)? {
            Cell::Real(value) => Ok(*value),
            Cell::Null | Cell::Integer(_) | Cell::Text(_) | Cell::Bytes(_) => {
                Err(mismatch(index, "a real"))
            }
        }
    }

    pub fn text(&self, index: usize) -> Result<&str, ServerError> {
        self.optional_text(index)?
            .ok_or_else(|| mismatch(index, "text"))
    }

    pub fn bytes(&self, index: usize) -> Result<&[u8], ServerError> {
        self.optional_bytes(index)?
            .ok_or_else(|| mismatch(index, "bytes"))
    }

    /// A stored UUID, as any of the typed ids or a plain `Uuid`.
    pub fn id<T: From<Uuid>>(&self, index: usize) -> Result<T, ServerError> {
        self.optional_id(index)?
            .ok_or_else(|| mismatch(index, "an id"))
    }

    pub fn optional_integer(&self, index: usize) -> Result<Option<i64>, ServerError> {
        match self.cell(index)? {
            Cell::Null => Ok(None),
            Cell::Integer(value) => Ok(Some(*value)),
            Cell::Real(_) | Cell::Text(_) | Cell::Bytes(_) => Err(mismatch(index, "an integer")),
        }
    }

    pub fn optional_text(&self, index: usize) -> Result<Option<&str>, ServerError> {
        match self.cell(index)? {
            Cell::Null => Ok(None),
            Cell::Text(value) => Ok(Some(value)),
            Cell::Integer(_) | Cell::Real(_) | Cell::Bytes(_) => Err(mismatch(index, "text")),
        }
    }

    pub fn optional_bytes(&self, index: usize) -> Result<Option<&[u8]>, ServerError> {
        match self.cell(index)? {
            Cell::Null => Ok(None),
            Cell::Bytes(value) => Ok(Some(value)),
            Cell::Integer(_) | Cell::Real(_) | Cell::Text(_) => Err(mismatch(index, "bytes")),
        }
    }

    pub fn optional_id<T: From<Uuid>>(&self, index: usize) -> Result<Option<T>, ServerError> {
        let Some(bytes) = self.optional_bytes(index)? else {
            return Ok(None);
        };
        let id = Uuid::from_slice(bytes).map_err(|_| mismatch(index, "an id"))?;
        Ok(Some(id.into()))
    }

    /// A JSON document stored as text.
    pub fn json<T: serde::de::DeserializeOwned>(&self, index: usize) -> Result<T, ServerError> {
        serde_json::from_str(self.text(index)?)
            .map_err(|error| ServerError::Internal(format!("column {index}: {error}")))
    }

    fn cell(&self, index: usize) -> Result<&Cell, ServerError> {
        self.cells
            .get(index)
            .ok_or_else(|| mismatch(index, "a column"))
    }
}

fn mismatch(index: usize, expected: &str) -> ServerError {
    ServerError::Internal(format!("column {index} of a row is not {expected}"))
}
