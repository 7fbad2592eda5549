//! A real database for the module SDK's `TestServer`: the same checks and statements as the real service, so that a
//! module's store is tested as it will run.

use fleetwright_plugin_api::abi::{AbiStatement, AbiTable, Op};
use fleetwright_plugin_api::sdk::testing::SqlBackend;
use fleetwright_plugin_api::sdk::{Migration, ServerError};
use futures_util::future::BoxFuture;

use super::services::sql::{self, SqlStep, StepError};
use crate::db::{Db, DbError, Dialect, Guest, MigrationText};

/// A module's tables in a database.
#[derive(Clone)]
pub struct ModuleDatabase {
    db: Db,
    module: String,
    guest: Guest,
}

impl ModuleDatabase {
    /// Runs the module's migrations, as the server does before it starts a module.
    pub async fn migrated(db: Db, module: &str, migrations: &[Migration]) -> Result<Self, DbError> {
        let texts = migrations
            .iter()
            .map(|migration| MigrationText {
                version: i64::from(migration.version),
                name: migration.name.into(),
                sql: match db.dialect() {
                    Dialect::Sqlite => migration.sqlite.into(),
                    Dialect::Postgres => migration.postgres.into(),
                },
            })
            .collect();
        let guest = db.guest(module);
        db.migrate_guest(&guest, texts).await?;
        Ok(Self {
            db,
            module: module.to_owned(),
            guest,
        })
    }
}

enum Failure {
    Db(usize, DbError),
    Guard(usize, u64),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Db(0, error)
    }
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Guard(op_index, affected) => Self::Guard { op_index, affected },
            Failure::Db(
                op_index,
                DbError::Unique(constraint) | DbError::Constraint(constraint),
            ) => Self::Constraint {
                op_index,
                constraint,
            },
            Failure::Db(_, DbError::Unavailable(reason)) => Self::Unavailable(reason),
            Failure::Db(_, DbError::Refused(reason)) => Self::Forbidden(reason),
            Failure::Db(_, error) => Self::Internal(error.to_string()),
        }
    }
}

impl SqlBackend for ModuleDatabase {
    fn dialect(&self) -> u32 {
        sql::dialect_number(self.db.dialect())
    }

    fn read(
        &self,
        statements: Vec<AbiStatement>,
    ) -> BoxFuture<'static, Result<Vec<AbiTable>, ServerError>> {
        let me = self.clone();
        Box::pin(async move {
            let statements = sql::reads(statements.into(), &me.module)?;
            let results = me
                .db
                .read_all_as(&me.guest, statements)
                .await
                .map_err(|error| ServerError::from(Failure::from(error)))?;
            sql::tables(results)
        })
    }

    fn commit(&self, ops: Vec<(usize, Op)>) -> BoxFuture<'static, Result<(), ServerError>> {
        let me = self.clone();
        Box::pin(async move {
            let step = |(index, op): (usize, Op)| Ok((index, SqlStep::of(&op, &me.module)?));
            let steps: Vec<(usize, SqlStep)> = ops
                .into_iter()
                .map(step)
                .collect::<Result<_, ServerError>>()?;
            let written = me.db.write(move |tx| {
                for (index, step) in steps {
                    step.run(tx, &me.guest).map_err(|error| match error {
                        StepError::Db(error) => Failure::Db(index, error),
                        StepError::Guard { affected } => Failure::Guard(index, affected),
                    })?;
                }
                Ok::<_, Failure>(())
            });
            written.await.map_err(ServerError::from)
        })
    }
}
