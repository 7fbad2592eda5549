//! The server's database behind the test host's SQL seam.

use std::sync::Arc;

use abi_stable::std_types::{RString, RVec};
use fleetwright_module_groups::Groups;
use fleetwright_plugin_api::abi::{AbiStatement, AbiTable, Op, op_kind};
use fleetwright_plugin_api::cells;
use fleetwright_plugin_api::sdk::testing::SqlBackend;
use fleetwright_plugin_api::sdk::{HostError, Module as _};
use fleetwright_server::db::{Db, DbError, Dialect, MigrationText, Rows, Statement};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Barrier;

struct Backend(Db);

pub fn backend(db: Db) -> Arc<dyn SqlBackend> {
    Arc::new(Backend(db))
}

/// A database whose commits wait until two are there.
pub struct Meeting {
    inner: Arc<dyn SqlBackend>,
    barrier: Arc<Barrier>,
}

impl Meeting {
    pub fn of_two(db: Db) -> Arc<dyn SqlBackend> {
        Arc::new(Self {
            inner: backend(db),
            barrier: Arc::new(Barrier::new(2)),
        })
    }
}

impl SqlBackend for Meeting {
    fn dialect(&self) -> u32 {
        self.inner.dialect()
    }

    fn read(
        &self,
        statements: Vec<AbiStatement>,
    ) -> BoxFuture<'static, Result<Vec<AbiTable>, HostError>> {
        self.inner.read(statements)
    }

    fn commit(&self, ops: Vec<(usize, Op)>) -> BoxFuture<'static, Result<(), HostError>> {
        let (inner, barrier) = (Arc::clone(&self.inner), Arc::clone(&self.barrier));
        async move {
            barrier.wait().await;
            inner.commit(ops).await
        }
        .boxed()
    }
}

/// Applies the module's migrations, as the server does before it starts a module.
pub async fn migrate(db: &Db) {
    let list = Groups::migrations()
        .into_iter()
        .map(|migration| MigrationText {
            version: i64::from(migration.version),
            name: migration.name.into(),
            sql: match db.dialect() {
                Dialect::Sqlite => migration.sqlite.into(),
                Dialect::Postgres => migration.postgres.into(),
            },
        });
    db.migrate("_mig_groups", list.collect()).await.unwrap();
}

impl SqlBackend for Backend {
    fn dialect(&self) -> u32 {
        match self.0.dialect() {
            Dialect::Sqlite => 1,
            Dialect::Postgres => 2,
        }
    }

    fn read(
        &self,
        statements: Vec<AbiStatement>,
    ) -> BoxFuture<'static, Result<Vec<AbiTable>, HostError>> {
        let db = self.0.clone();
        let statements = statements
            .iter()
            .map(|one| statement(&one.sql, &one.cells))
            .collect();
        async move {
            let tables = db.read_all(statements).await.map_err(failed)?;
            Ok(tables.into_iter().map(table).collect())
        }
        .boxed()
    }

    fn commit(&self, ops: Vec<(usize, Op)>) -> BoxFuture<'static, Result<(), HostError>> {
        let db = self.0.clone();
        async move {
            db.write(move |tx| apply(tx, &ops))
                .await
                .map_err(|Failure(error)| error)
        }
        .boxed()
    }
}

struct Failure(HostError);

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self(failed(error))
    }
}

fn apply(tx: &mut fleetwright_server::db::Tx<'_>, ops: &[(usize, Op)]) -> Result<(), Failure> {
    for (op_index, op) in ops {
        assert_eq!(op.kind, op_kind::SQL, "the module writes row by row");
        let affected = tx.execute(statement(&op.text, &op.cells));
        let affected = affected.map_err(|error| match error {
            DbError::Unique(constraint) | DbError::Constraint(constraint) => {
                Failure(HostError::Constraint {
                    op_index: *op_index,
                    constraint,
                })
            }
            other => Failure(failed(other)),
        })?;
        if op.number >= 0 && u64::try_from(op.number) != Ok(affected) {
            return Err(Failure(HostError::Guard {
                op_index: *op_index,
                affected,
            }));
        }
    }
    Ok(())
}

fn statement(sql: &str, packed: &[u8]) -> Statement {
    let cells = cells::unpack(packed).unwrap();
    cells
        .into_iter()
        .fold(Statement::new(sql.to_owned()), Statement::bind)
}

fn table(rows: Rows) -> AbiTable {
    let columns = rows.columns.iter().map(|name| RString::from(name.as_str()));
    let columns: RVec<RString> = columns.collect();
    let count = u64::try_from(rows.len()).unwrap();
    let cells: Vec<_> = rows.into_iter().flat_map(|row| row.cells).collect();
    AbiTable {
        columns,
        rows: count,
        cells: cells::pack(&cells).into(),
        ext: RVec::new(),
    }
}

fn failed(error: DbError) -> HostError {
    HostError::Internal(error.to_string())
}
