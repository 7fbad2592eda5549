//! The reader pool: queries that see the last commit, several on one snapshot where asked.

use std::time::Duration;

use sqlx::{Connection as _, PgPool, SqlitePool};

use super::failure::failure;
use super::query::{Extent, postgres_rows, sqlite_rows};
use super::{DbError, Rows, Statement};

/// A reader that cannot be had within this time means the database is down.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Readers {
    /// Makes sure that one connection stands.
    pub(super) async fn connect(&self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(pool) => drop(pool.acquire().await.map_err(failure)?),
            Self::Postgres(pool) => drop(pool.acquire().await.map_err(failure)?),
        }
        Ok(())
    }

    pub(super) async fn read(&self, statement: Statement) -> Result<Rows, DbError> {
        match self {
            Self::Sqlite(pool) => {
                let mut connection = pool.acquire().await.map_err(failure)?;
                sqlite_rows(&mut connection, statement, Extent::Whole).await
            }
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await.map_err(failure)?;
                postgres_rows(&mut connection, statement, Extent::Whole).await
            }
        }
    }

    /// A transaction dropped half-way (the caller went away) is rolled back by the driver.
    pub(super) async fn read_all(
        &self,
        mut statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, DbError> {
        // One statement has a snapshot of its own: no need to begin and end one.
        if statements.len() == 1
            && let Some(statement) = statements.pop()
        {
            return Ok(vec![self.read(statement).await?]);
        }
        let mut results = Vec::with_capacity(statements.len());
        match self {
            Self::Sqlite(pool) => {
                let mut connection = pool.acquire().await.map_err(failure)?;
                let mut snapshot = connection.begin().await.map_err(failure)?;
                for statement in statements {
                    results.push(sqlite_rows(&mut snapshot, statement, Extent::Whole).await?);
                }
            }
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await.map_err(failure)?;
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let mut snapshot = connection.begin_with(begin).await.map_err(failure)?;
                for statement in statements {
                    results.push(postgres_rows(&mut snapshot, statement, Extent::Whole).await?);
                }
            }
        }
        Ok(results)
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}
