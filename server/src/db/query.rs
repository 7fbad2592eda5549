//! One statement on a connection of either database, and its rows as plain cells.

use fleetwright_plugin_api::wire::{BYTES_PER_READ_MAX, Cell, ROWS_PER_READ_MAX};
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo, types::Oid};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Decode, Encode, Executor as _, PgConnection,
    Postgres, Row as _, Sqlite, SqliteConnection, Type, TypeInfo as _, ValueRef as _,
};

use super::failure::failure;
use super::guest::Guest;
use super::{DbError, Rows, Statement};

/// How much of a result is read.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Whole,
    /// A module's: a little more than it may have, so that it can be told that it is too much.
    OfAGuest,
}

pub(super) fn marked(guest: &Guest, statement: Statement) -> Statement {
    let (sql, parameters) = statement.into_parts();
    parameters
        .into_iter()
        .fold(Statement::new(guest.mark(&sql)), Statement::bind)
}

/// Comes back once the statement is over: what limits its time may be lifted then.
pub(super) async fn sqlite_rows(
    connection: &mut SqliteConnection,
    statement: Statement,
    extent: Extent,
) -> Result<Rows, DbError> {
    let read = first_sqlite_rows(connection, statement, extent).await;
    if !matches!(read, Ok((_, true))) {
        // SQLite may be on its way to a row that nobody waits for, perhaps for ever. What it says afterwards is of no matter.
        let _ = connection.ping().await;
    }
    read.map(|(rows, _)| rows)
}

/// As many as the extent allows, and whether these are all.
async fn first_sqlite_rows(
    connection: &mut SqliteConnection,
    statement: Statement,
    extent: Extent,
) -> Result<(Rows, bool), DbError> {
    let mut columns = Vec::new();
    let mut cells = Vec::new();
    let (mut rows, mut bytes, mut are_all) = (0, 0, true);
    let mut stream = connection.fetch(sqlite_query(statement));
    while let Some(row) = stream.try_next().await.map_err(failure)? {
        if cells.is_empty() {
            columns = names(&row);
        }
        for index in 0..row.len() {
            let cell = sqlite_cell(&row, index)?;
            bytes += bytes_of(&cell);
            cells.push(cell);
        }
        rows += 1;
        if extent.is_reached(rows, bytes) {
            are_all = false;
            break;
        }
    }
    drop(stream);
    Ok((whole(columns, cells)?, are_all))
}

pub(super) async fn postgres_rows(
    connection: &mut PgConnection,
    statement: Statement,
    extent: Extent,
) -> Result<Rows, DbError> {
    let mut columns = Vec::new();
    let mut cells = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let mut stream = connection.fetch(postgres_query(statement));
    while let Some(row) = stream.try_next().await.map_err(failure)? {
        if cells.is_empty() {
            columns = names(&row);
        }
        for index in 0..row.len() {
            let cell = postgres_cell(&row, index)?;
            bytes += bytes_of(&cell);
            cells.push(cell);
        }
        rows += 1;
        if extent.is_reached(rows, bytes) {
            break;
        }
    }
    whole(columns, cells)
}

impl Extent {
    /// Whether more may have followed what was read.
    pub(super) fn is_cut(self, rows: &Rows) -> bool {
        self.is_reached(rows.len(), rows.cells().iter().map(bytes_of).sum())
    }

    fn is_reached(self, rows: usize, bytes: usize) -> bool {
        match self {
            Self::Whole => false,
            Self::OfAGuest => rows > ROWS_PER_READ_MAX || bytes > BYTES_PER_READ_MAX,
        }
    }
}

fn bytes_of(cell: &Cell) -> usize {
    match cell {
        Cell::Null | Cell::Integer(_) | Cell::Real(_) => 8,
        Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
    }
}

fn names<R: sqlx::Row>(row: &R) -> Vec<String> {
    row.columns()
        .iter()
        .map(|column| column.name().to_owned())
        .collect()
}

fn whole(columns: Vec<String>, cells: Vec<Cell>) -> Result<Rows, DbError> {
    let uneven = || DbError::Statement("the database answered rows of different widths".to_owned());
    Rows::new(columns, cells).ok_or_else(uneven)
}

pub(super) fn sqlite_query(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
    let (sql, parameters) = statement.into_parts();
    let query = sqlx::query(AssertSqlSafe(sql));
    parameters
        .into_iter()
        .fold(query, |query, cell| match cell {
            Cell::Null => query.bind(None::<i64>),
            Cell::Integer(value) => query.bind(value),
            Cell::Real(value) => query.bind(value),
            Cell::Text(value) => query.bind(value),
            Cell::Bytes(value) => query.bind(value),
        })
}

pub(super) fn postgres_query(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    let (sql, parameters) = statement.into_parts();
    let query = sqlx::query(AssertSqlSafe(sql));
    parameters
        .into_iter()
        .fold(query, |query, cell| match cell {
            Cell::Null => query.bind(UntypedNull),
            Cell::Integer(value) => query.bind(value),
            Cell::Real(value) => query.bind(value),
            Cell::Text(value) => query.bind(value),
            Cell::Bytes(value) => query.bind(value),
        })
}

/// A NULL whose type PostgreSQL infers from where it stands (type OID 0 in the Parse message).
struct UntypedNull;

impl Type<Postgres> for UntypedNull {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for UntypedNull {
    fn encode_by_ref(
        &self,
        _buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        Ok(sqlx::encode::IsNull::Yes)
    }
}

fn sqlite_cell(row: &SqliteRow, index: usize) -> Result<Cell, DbError> {
    let value = row.try_get_raw(index).map_err(failure)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let info = value.type_info().into_owned();
    let cell = match info.name() {
        "INTEGER" | "BOOLEAN" => <i64 as Decode<Sqlite>>::decode(value).map(Cell::Integer),
        "REAL" => <f64 as Decode<Sqlite>>::decode(value).map(Cell::Real),
        "BLOB" => <Vec<u8> as Decode<Sqlite>>::decode(value).map(Cell::Bytes),
        _ => <String as Decode<Sqlite>>::decode(value).map(Cell::Text),
    };
    cell.map_err(|error| DbError::Statement(error.to_string()))
}

fn postgres_cell(row: &PgRow, index: usize) -> Result<Cell, DbError> {
    let value = row.try_get_raw(index).map_err(failure)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let info = value.type_info().into_owned();
    let cell = match info.name() {
        "INT8" => <i64 as Decode<Postgres>>::decode(value).map(Cell::Integer),
        "INT4" => <i32 as Decode<Postgres>>::decode(value).map(|value| Cell::Integer(value.into())),
        "INT2" => <i16 as Decode<Postgres>>::decode(value).map(|value| Cell::Integer(value.into())),
        "BOOL" => {
            <bool as Decode<Postgres>>::decode(value).map(|value| Cell::Integer(value.into()))
        }
        "FLOAT8" => <f64 as Decode<Postgres>>::decode(value).map(Cell::Real),
        "BYTEA" => <Vec<u8> as Decode<Postgres>>::decode(value).map(Cell::Bytes),
        "TEXT" | "VARCHAR" | "NAME" | "JSON" | "CHAR" => {
            <String as Decode<Postgres>>::decode(value).map(Cell::Text)
        }
        other => {
            return Err(DbError::Statement(format!(
                "column {index} has type {other}; cast it in the query"
            )));
        }
    };
    cell.map_err(|error| DbError::Statement(error.to_string()))
}
