//! One connection to either database: run a statement, query rows, as plain cells.

use std::sync::Arc;

use fleetwright_plugin_api::wire::{BYTES_PER_READ_MAX, Cell, ROWS_PER_READ_MAX};
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo, types::Oid};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Decode, Encode, Executor as _, PgConnection,
    Postgres, Row as _, Sqlite, SqliteConnection, Type, TypeInfo as _, ValueRef as _,
};

use super::failure::failure;
use super::gate::{Gate, Reach, Tables};
use super::guest::Guest;
use super::{DbError, MigrationText, Rows, Statement, fence, fitness, migrations};

/// The first SQLite release with the WAL-reset fix this program relies on.
const SQLITE_VERSION_MIN: (i64, &str) = (3_051_003, "3.51.3");
/// The oldest PostgreSQL release still maintained when this was written.
const POSTGRES_VERSION_MIN: i64 = 140_000;

pub(super) enum Connection {
    /// With its gate, once it has one; without, no guest's statement runs on it.
    Sqlite(SqliteConnection, Option<Arc<Gate>>),
    Postgres(PgConnection),
}

/// How much of a result is read.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Whole,
    /// A module's: a little more than it may have, so that it can be told that it is too much.
    OfAGuest,
}

impl Connection {
    /// Runs a statement and returns how many rows it changed.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(connection, _) => {
                let done = connection
                    .execute(sqlite_query(statement))
                    .await
                    .map_err(failure)?;
                Ok(done.rows_affected())
            }
            Self::Postgres(connection) => {
                let done = connection
                    .execute(postgres_query(statement))
                    .await
                    .map_err(failure)?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Makes it one that guests' statements may run on.
    pub(super) async fn put_gate_on(&mut self, tables: &Arc<Tables>) -> Result<(), DbError> {
        if let Self::Sqlite(connection, gate) = self {
            *gate = Some(Gate::put_on(connection, tables).await?);
        }
        Ok(())
    }

    /// Runs a guest's statement. On PostgreSQL the guest must have been entered.
    pub(super) async fn execute_as(
        &mut self,
        guest: &Guest,
        statement: Statement,
    ) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(connection, Some(gate)) => {
                let admission = gate.admit(guest, Reach::Write);
                let done = connection.execute(sqlite_query(marked(guest, statement)));
                let done = done.await.map_err(failure);
                admission.outcome(done).map(|done| done.rows_affected())
            }
            Self::Sqlite(_, None) => Err(DbError::Unavailable(fence::NO_GATE.to_owned())),
            Self::Postgres(_) => self.execute(statement).await,
        }
    }

    /// From here on statements are the guest's, until it is left or the transaction ends.
    pub(super) async fn enter_guest(&mut self, guest: &Guest) -> Result<(), DbError> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(connection) => fence::enter(connection, guest).await,
        }
    }

    pub(super) async fn leave_guest(&mut self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(_) => self.batch(fence::LEAVE).await,
        }
    }

    pub(super) async fn query(&mut self, statement: Statement) -> Result<Rows, DbError> {
        match self {
            Self::Sqlite(connection, _) => sqlite_rows(connection, statement, Extent::Whole).await,
            Self::Postgres(connection) => postgres_rows(connection, statement, Extent::Whole).await,
        }
    }

    /// Runs text without parameters that may hold several statements (`BEGIN`, `PRAGMA` …).
    pub(super) async fn batch(&mut self, sql: &'static str) -> Result<(), DbError> {
        match self {
            Self::Sqlite(connection, _) => {
                connection
                    .execute(sqlx::query(sql))
                    .await
                    .map_err(failure)?;
            }
            Self::Postgres(connection) => {
                connection
                    .execute(sqlx::raw_sql(sql))
                    .await
                    .map_err(failure)?;
            }
        }
        Ok(())
    }

    pub(super) async fn check_version(&mut self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(..) => {
                let rows = self
                    .query(Statement::new("SELECT sqlite_version() AS version"))
                    .await?;
                let found = rows
                    .first()
                    .map_or("", |row| row.text("version").unwrap_or(""))
                    .to_owned();
                let parts: Vec<i64> = found
                    .split('.')
                    .filter_map(|part| part.parse().ok())
                    .collect();
                let number = match parts[..] {
                    [major, minor, patch, ..] => major * 1_000_000 + minor * 1_000 + patch,
                    _ => 0,
                };
                if number < SQLITE_VERSION_MIN.0 {
                    let needed = SQLITE_VERSION_MIN.1;
                    return Err(DbError::Unfit(format!(
                        "SQLite is {found}, {needed} or newer is needed"
                    )));
                }
            }
            Self::Postgres(_) => {
                let statement = Statement::new(
                    "SELECT CAST(current_setting('server_version_num') AS bigint) AS version",
                );
                let rows = self.query(statement).await?;
                let number = rows.first().map_or(Ok(0), |row| row.integer("version"))?;
                if number < POSTGRES_VERSION_MIN {
                    return Err(DbError::Unfit(format!(
                        "PostgreSQL is {number}, 14 or newer is needed"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether what is stored may be worked with.
    pub(super) async fn check_fitness(&mut self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(connection, _) => fitness::check(connection).await,
            Self::Postgres(_) => Ok(()),
        }
    }

    pub(super) async fn migrate(
        &mut self,
        table: &str,
        list: Vec<MigrationText>,
    ) -> Result<(), DbError> {
        let migrator = migrations::migrator(table, list);
        let done = match self {
            Self::Sqlite(connection, _) => migrator.run_direct(None, connection, false).await,
            Self::Postgres(connection) => migrator.run_direct(None, connection, false).await,
        };
        done.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => failure(error),
            other => DbError::Unfit(format!("cannot migrate the database: {other}")),
        })
    }
}

pub(super) async fn open_sqlite(
    options: &sqlx::sqlite::SqliteConnectOptions,
) -> Result<SqliteConnection, DbError> {
    options.connect().await.map_err(fitness::refusal)
}

pub(super) async fn open_postgres(
    options: &sqlx::postgres::PgConnectOptions,
) -> Result<PgConnection, DbError> {
    options.connect().await.map_err(failure)
}

pub(super) fn marked(guest: &Guest, statement: Statement) -> Statement {
    let (sql, parameters) = statement.into_parts();
    parameters
        .into_iter()
        .fold(Statement::new(guest.mark(&sql)), Statement::bind)
}

pub(super) async fn sqlite_rows(
    connection: &mut SqliteConnection,
    statement: Statement,
    extent: Extent,
) -> Result<Rows, DbError> {
    let mut columns = Vec::new();
    let mut cells = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
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
            break;
        }
    }
    drop(stream);
    whole(columns, cells)
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

fn sqlite_query(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
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

fn postgres_query(statement: Statement) -> Query<'static, Postgres, PgArguments> {
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
