//! The module's own tables: reads on one snapshot. Writes are a [`Batch`](super::Batch).

use std::sync::Arc;

use abi_stable::std_types::{RBox, RString, RVec};

use super::{Batch, CallContext, Rows, ServerError, Statement};
use crate::abi::{AbiStatement, AbiTable, Ctx, DbApi_TO};
use crate::cells;

/// Which SQL is spoken. `$1` parameters work on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Of the server's own file.
    Sqlite,
    /// Of a server of its own.
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

    /// For the few texts that differ, such as lock clauses.
    pub fn dialect(&self) -> Dialect {
        if self.api.dialect() == 2 {
            Dialect::Postgres
        } else {
            Dialect::Sqlite
        }
    }

    /// Runs all statements on one snapshot: at most 10,000 rows or 4 MiB together.
    pub async fn read(&self, statements: Vec<Statement>) -> Result<Vec<Rows>, ServerError> {
        let statements: RVec<AbiStatement> = statements.into_iter().map(into_abi).collect();
        let tables = self.api.read(statements).await.into_result()?;
        tables.into_iter().map(from_abi).collect()
    }

    /// As [`read`](Self::read), for one statement.
    pub async fn read_one(&self, statement: Statement) -> Result<Rows, ServerError> {
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

fn into_abi(statement: Statement) -> AbiStatement {
    let (sql, parameters) = statement.into_parts();
    AbiStatement {
        sql: RString::from(sql.as_ref()),
        cells: RVec::from(cells::pack(&parameters)),
        ext: RVec::new(),
    }
}

fn from_abi(table: AbiTable) -> Result<Rows, ServerError> {
    let columns = table.columns.iter().map(ToString::to_string).collect();
    let cells =
        cells::unpack(&table.cells).map_err(|error| ServerError::Internal(error.to_string()))?;
    Rows::new(columns, cells)
        .filter(|rows| u64::try_from(rows.len()) == Ok(table.rows))
        .ok_or_else(|| ServerError::Internal("a table's cells do not fill its rows".to_owned()))
}
