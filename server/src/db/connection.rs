//! One connection to either database: run a statement, query rows, as plain cells.

use std::sync::Arc;

use sqlx::{ConnectOptions as _, Executor as _, PgConnection, SqliteConnection};

use super::failure::failure;
use super::gate::{self, Gate, Reach, Tables};
use super::guest::Guest;
use super::query::{Extent, marked, postgres_query, postgres_rows, sqlite_query, sqlite_rows};
use super::{DbError, MigrationText, Rows, Statement, fence, fitness, guest, migrations};

/// The first SQLite release with the WAL-reset fix this program relies on.
const SQLITE_VERSION_MIN: (i64, &str) = (3_051_003, "3.51.3");
/// The oldest PostgreSQL release still maintained when this was written.
const POSTGRES_VERSION_MIN: i64 = 140_000;

pub(super) enum Connection {
    /// With its gate, once it has one; without, no guest's statement runs on it.
    Sqlite(SqliteConnection, Option<Arc<Gate>>),
    Postgres(PgConnection),
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
                let mut handle = connection.lock_handle().await.map_err(failure)?;
                let before = gate::bound_values(&mut handle);
                drop(handle);
                let admission = gate.admit(guest, Reach::Write);
                let done = connection.execute(sqlite_query(marked(guest, statement)));
                let done = done.await.map_err(failure);
                let done = admission.outcome(done);
                let mut handle = connection.lock_handle().await.map_err(failure)?;
                gate::unbound_values(&mut handle, before);
                done.map(|done| done.rows_affected())
            }
            Self::Sqlite(_, None) => Err(DbError::Unavailable(fence::NO_GATE.to_owned())),
            Self::Postgres(_) => self.execute(statement).await,
        }
    }

    /// The next statement is the guest's.
    pub(super) async fn enter_guest(&mut self, guest: &Guest) -> Result<(), DbError> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(connection) => fence::enter(connection, guest, guest::WRITE_MAX).await,
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
