//! The core schema's migrations, and how any list of migrations becomes a migrator.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use super::Dialect;

/// One forward-only migration for one database.
#[derive(Clone, Debug)]
pub struct MigrationText {
    pub version: i64,
    pub name: Cow<'static, str>,
    pub sql: Cow<'static, str>,
}

macro_rules! core_migrations {
    ($dialect:expr, $(($version:literal, $name:literal)),* $(,)?) => {
        vec![$(MigrationText {
            version: $version,
            name: Cow::Borrowed($name),
            sql: Cow::Borrowed(match $dialect {
                Dialect::Sqlite => include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
                Dialect::Postgres => include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
            }),
        }),*]
    };
}

pub(super) fn core(dialect: Dialect) -> Vec<MigrationText> {
    core_migrations!(
        dialect,
        (1, "0001_commands"),
        (2, "0002_auth"),
        (3, "0003_modules"),
        (4, "0004_enrollment"),
        (5, "0005_details"),
        (6, "0006_given_up"),
        (7, "0007_max_concurrency"),
        (11, "0011_secrets"),
    )
}

pub(super) fn migrator(table: &str, list: Vec<MigrationText>) -> Migrator {
    let migrations = list
        .into_iter()
        .map(|text| {
            Migration::new(
                text.version,
                text.name,
                MigrationType::Simple,
                AssertSqlSafe(text.sql).into_sql_str(),
                false,
            )
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(table.to_owned());
    migrator
}
