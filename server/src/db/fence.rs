//! PostgreSQL's fence around a module: a role that owns the module's tables and may do nothing else, under which the
//! module's statements run; and, for both databases, a module's migrations, which make and change only what is its own.

use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection,
};

use super::failure::failure;
use super::gate::{Gate, Reach};
use super::guest::{self, Guest};
use super::query::{Extent, postgres_rows, sqlite_rows};
use super::{DbError, MigrationText, Rows, Statement, words};

pub(super) const NO_GATE: &str = "the connection has no gate for modules";
/// The server's own statements follow.
pub(super) const LEAVE: &str =
    "RESET ROLE; RESET statement_timeout; RESET standard_conforming_strings";
/// What sqlx makes for its own migrations, for each database its types.
const TABLE_COLUMNS: [&str; 2] = [
    "version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL",
    "version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), \
     success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL",
];

/// The next statement is the guest's. Said before each one, for what a statement of a guest did to the role and the settings
/// would hold for the next.
pub(super) async fn enter(
    connection: &mut PgConnection,
    guest: &Guest,
    time: Duration,
) -> Result<(), DbError> {
    run(connection, entering(guest, time)).await
}

fn entering(guest: &Guest, time: Duration) -> String {
    format!(
        "SET LOCAL ROLE {}; SET LOCAL statement_timeout = {}; SET LOCAL standard_conforming_strings = on",
        guest.role(),
        time.as_millis()
    )
}

/// Begins what is rolled back after a guest's reads, whatever they did, so that no setting of theirs outlives it.
pub(super) const BEGIN_READS: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What a connection that only this guest reads with is told first. It is told again before each statement.
pub(super) fn settings_of_a_reader(guest: &Guest) -> String {
    format!(
        "SET standard_conforming_strings = on; SET statement_timeout = {}; SET lock_timeout = {}; \
         SET default_transaction_read_only = on; SET ROLE {}",
        guest::READ_MAX.as_millis(),
        guest::READ_MAX.as_millis(),
        guest.role()
    )
}

/// Applies what has not been applied, in one transaction, and looks at the result before it stands.
pub(super) async fn migrate_sqlite(
    mut connection: SqliteConnection,
    gate: &Gate,
    guest: &Guest,
    list: Vec<MigrationText>,
) -> Result<(), DbError> {
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failure)?;
    let table = guest.migrations_table();
    let make = format!("CREATE TABLE IF NOT EXISTS {table} ({})", TABLE_COLUMNS[0]);
    tx.execute(AssertSqlSafe(make)).await.map_err(failure)?;
    let applied = sqlite_rows(&mut tx, applied(&table), Extent::Whole).await?;
    let pending = pending(&applied, list)?;
    let before = sqlite_rows(&mut tx, schema(), Extent::Whole).await?;
    for (version, migration) in pending {
        let admission = gate.admit(guest, Reach::Migrate);
        let done = tx.execute(sqlx::raw_sql(migration.sql.clone())).await;
        admission.outcome(done.map_err(failure))?;
        let record = sqlx::query(AssertSqlSafe(record(&table)))
            .bind(version)
            .bind(migration.description.clone())
            .bind(migration.checksum.to_vec());
        tx.execute(record).await.map_err(failure)?;
    }
    let after = sqlite_rows(&mut tx, schema(), Extent::Whole).await?;
    let references = sqlite_rows(&mut tx, references(), Extent::Whole).await?;
    check_schema(guest, &before, &after, &references)?;
    tx.commit().await.map_err(failure)?;
    // Nothing is lost with a connection that does not close.
    let _ = connection.close().await;
    Ok(())
}

fn schema() -> Statement {
    Statement::new(
        "SELECT type, name, tbl_name, COALESCE(sql, '') AS sql FROM sqlite_master \
         UNION ALL SELECT type, name, tbl_name, COALESCE(sql, '') FROM sqlite_temp_master ORDER BY name, type",
    )
}

fn references() -> Statement {
    Statement::new(
        "SELECT made.name AS name, referred.\"table\" AS target FROM sqlite_master AS made \
         JOIN pragma_foreign_key_list(made.name) AS referred WHERE made.type = 'table'",
    )
}

/// What is the guest's has its names, and the rest is as it was.
fn check_schema(
    guest: &Guest,
    before: &Rows,
    after: &Rows,
    references: &Rows,
) -> Result<(), DbError> {
    let refuse = |what: String| Err(DbError::Refused(what));
    let parts = |rows: &Rows| -> Result<Vec<[String; 4]>, DbError> {
        let mut all = Vec::new();
        for row in rows.iter() {
            let text = |name: &str| row.text(name).map(str::to_owned);
            all.push([
                text("type")?,
                text("name")?,
                text("tbl_name")?,
                text("sql")?,
            ]);
        }
        all.retain(|[_, _, table, _]| !guest.owns(table));
        Ok(all)
    };
    // SQLite makes this one for itself.
    let others = |mut all: Vec<[String; 4]>| {
        all.retain(|[_, name, ..]| name != "sqlite_sequence");
        all
    };
    if others(parts(before)?) != others(parts(after)?) {
        return refuse(
            "the migration makes, changes or drops what is not the module's own".to_owned(),
        );
    }
    for row in after
        .iter()
        .filter(|row| row.text("tbl_name").is_ok_and(|table| guest.owns(table)))
    {
        let (kind, name) = (row.text("type")?, row.text("name")?);
        if !["table", "index"].contains(&kind) {
            return refuse(format!(
                "`{name}` is a {kind}; a module has tables and indexes"
            ));
        }
    }
    for row in references.iter() {
        let (name, target) = (row.text("name")?, row.text("target")?);
        if guest.owns(name) && !guest.owns(target) {
            return refuse(format!(
                "the table `{name}` refers to `{target}`, which is not the module's own"
            ));
        }
    }
    Ok(())
}

/// The same, with the guest's role.
pub(super) async fn migrate_postgres(
    mut connection: PgConnection,
    guest: &Guest,
    list: Vec<MigrationText>,
) -> Result<(), DbError> {
    let mut tx = connection.begin().await.map_err(failure)?;
    let (role, table) = (guest.role(), guest.migrations_table());
    // Another server on this database may be doing the same.
    run(
        &mut tx,
        "SELECT pg_advisory_xact_lock(7310579641)".to_owned(),
    )
    .await?;
    make_role(&mut tx, guest).await?;
    let schema = one_text(&mut tx, "SELECT CAST(current_schema() AS text) AS found").await?;
    let schema = quoted(&schema);
    run(
        &mut tx,
        format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"),
    )
    .await?;
    take_over(&mut tx, guest).await?;
    let make = format!("CREATE TABLE IF NOT EXISTS {table} ({})", TABLE_COLUMNS[1]);
    run(&mut tx, make).await?;
    let applied = postgres_rows(&mut tx, applied(&table), Extent::Whole).await?;
    for (version, migration) in pending(&applied, list)? {
        as_guest(&mut tx, guest, migration.sql.as_str()).await?;
        run(&mut tx, LEAVE.to_owned()).await?;
        let record = sqlx::query(AssertSqlSafe(record(&table)))
            .bind(version)
            .bind(migration.description.clone())
            .bind(migration.checksum.to_vec());
        tx.execute(record).await.map_err(failure)?;
    }
    check_owned(&mut tx, guest).await?;
    run(
        &mut tx,
        format!("REVOKE CREATE ON SCHEMA {schema} FROM {role}"),
    )
    .await?;
    close_to_everybody(&mut tx, guest, &schema).await?;
    tx.commit().await.map_err(failure)?;
    // Nothing is lost with a connection that does not close.
    let _ = connection.close().await;
    Ok(())
}

/// A migration's statements, one by one, so that none runs as somebody else because of the one before.
async fn as_guest(tx: &mut PgConnection, guest: &Guest, sql: &str) -> Result<(), DbError> {
    let parts = words::statements(sql).map_err(|words::Unreadable(what)| {
        DbError::Refused(format!(
            "the quoting or operator at `{what}` is not understood"
        ))
    })?;
    for part in parts {
        enter(tx, guest, guest::MIGRATION_MAX).await?;
        // Outside a transaction, if the part before has ended it, nothing is entered.
        check_role(tx, guest).await?;
        run(tx, part).await?;
        check_role(tx, guest).await?;
    }
    Ok(())
}

async fn check_role(tx: &mut PgConnection, guest: &Guest) -> Result<(), DbError> {
    let user = one_text(tx, "SELECT CAST(current_user AS text) AS found").await?;
    if user == guest.role() {
        Ok(())
    } else {
        Err(DbError::Refused(
            "the migration leaves the module's role".to_owned(),
        ))
    }
}

/// Makes the role if it is not there, and makes sure that this user may act as it.
async fn make_role(tx: &mut PgConnection, guest: &Guest) -> Result<(), DbError> {
    let role = guest.role();
    let refuse = |error: DbError| {
        DbError::Refused(format!(
            "the database keeps each module in a role of its own, and the server's user cannot use the role {role} \
             ({error}). As an administrator of PostgreSQL either let the server make its roles (ALTER ROLE … CREATEROLE), \
             or make this one for it (CREATE ROLE {role} NOLOGIN; GRANT {role} TO …): docs/modules-and-licences.md"
        ))
    };
    let known =
        Statement::new("SELECT CAST(rolname AS text) AS found FROM pg_roles WHERE rolname = $1");
    let known = postgres_rows(tx, known.bind(role), Extent::Whole).await?;
    if known.is_empty() {
        run(tx, format!("CREATE ROLE {role} NOLOGIN NOINHERIT"))
            .await
            .map_err(refuse)?;
    }
    let become_it = format!("SET LOCAL ROLE {role}; RESET ROLE");
    if attempt(tx, become_it.clone()).await?.is_ok() {
        return Ok(());
    }
    run(tx, format!("GRANT {role} TO CURRENT_USER"))
        .await
        .map_err(refuse)?;
    run(tx, become_it).await.map_err(refuse)
}

/// Tables of an installation that is older than the fence.
async fn take_over(tx: &mut PgConnection, guest: &Guest) -> Result<(), DbError> {
    let sql = "SELECT CAST(relname AS text) AS name FROM pg_class WHERE relkind IN ('r', 'p') \
               AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) \
               AND pg_get_userbyid(relowner) <> $1 ORDER BY relname";
    let others = postgres_rows(tx, Statement::new(sql).bind(guest.role()), Extent::Whole).await?;
    for row in others.iter() {
        let name = row.text("name")?;
        if guest.owns(name) {
            let sql = format!("ALTER TABLE {} OWNER TO {}", quoted(name), guest.role());
            run(tx, sql).await?;
        }
    }
    Ok(())
}

/// The role owns tables of its name, what belongs to them, and nothing else.
async fn check_owned(tx: &mut PgConnection, guest: &Guest) -> Result<(), DbError> {
    let sql = "SELECT CAST(CAST(owned.classid AS regclass) AS text) AS class, \
               COALESCE(CAST(relname AS text), '') AS name, COALESCE(CAST(relkind AS text), '') AS kind \
               FROM pg_shdepend AS owned LEFT JOIN pg_class ON owned.classid = CAST('pg_class' AS regclass) \
               AND pg_class.oid = owned.objid WHERE owned.refclassid = CAST('pg_authid' AS regclass) \
               AND owned.deptype = 'o' AND owned.refobjid = (SELECT oid FROM pg_roles WHERE rolname = $1) \
               AND owned.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let owned = postgres_rows(tx, Statement::new(sql).bind(guest.role()), Extent::Whole).await?;
    for row in owned.iter() {
        let (class, name, kind) = (row.text("class")?, row.text("name")?, row.text("kind")?);
        let is_table = class == "pg_class" && ["r", "p", "S"].contains(&kind);
        if !is_table || !guest.owns(name) {
            return Err(DbError::Refused(format!(
                "the migration makes {class} `{name}`; a module has tables of its own name"
            )));
        }
    }
    Ok(())
}

/// What PostgreSQL gives to everybody and no module needs: making things in the schema (before release 15), and temporary
/// tables. Where this user may not take it, it stays.
async fn close_to_everybody(
    tx: &mut PgConnection,
    guest: &Guest,
    schema: &str,
) -> Result<(), DbError> {
    let role = guest.role();
    let sql = "SELECT CAST(current_database() AS text) AS name, \
               CAST(has_schema_privilege($1, current_schema(), 'CREATE') AS int) AS makes, \
               CAST(has_database_privilege($1, current_database(), 'TEMP') AS int) AS temporary";
    let rows = postgres_rows(tx, Statement::new(sql).bind(role), Extent::Whole).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    if row.integer("makes")? == 1 {
        let _ = attempt(tx, format!("REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")).await?;
    }
    if row.integer("temporary")? == 1 {
        let database = quoted(row.text("name")?);
        let _ = attempt(
            tx,
            format!("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
        )
        .await?;
    }
    Ok(())
}

/// Runs it; if it fails, the transaction goes on without it.
async fn attempt(tx: &mut PgConnection, sql: String) -> Result<Result<(), DbError>, DbError> {
    run(tx, "SAVEPOINT attempt".to_owned()).await?;
    let done = run(tx, sql).await;
    let end = match done {
        Ok(()) => "RELEASE SAVEPOINT attempt",
        Err(_) => "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt",
    };
    run(tx, end.to_owned()).await?;
    Ok(done)
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), DbError> {
    let text = sqlx::raw_sql(AssertSqlSafe(sql));
    connection.execute(text).await.map(|_| ()).map_err(failure)
}

async fn one_text(tx: &mut PgConnection, sql: &'static str) -> Result<String, DbError> {
    let rows = postgres_rows(tx, Statement::new(sql), Extent::Whole).await?;
    let found = rows.first().map(|row| row.text("found").map(str::to_owned));
    Ok(found.transpose()?.unwrap_or_default())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn applied(table: &str) -> Statement {
    Statement::new(format!(
        "SELECT version, checksum FROM {table} ORDER BY version"
    ))
}

fn record(table: &str) -> String {
    format!(
        "INSERT INTO {table} (version, description, success, checksum, execution_time) VALUES ($1, $2, TRUE, $3, -1)"
    )
}

/// Those of the list that have not been applied. What has been must be in the list, and as it was.
fn pending(applied: &Rows, list: Vec<MigrationText>) -> Result<Vec<(i64, Migration)>, DbError> {
    let unfit = |what: String| {
        Err(DbError::Unfit(format!(
            "cannot migrate the database: {what}"
        )))
    };
    let mut pending = Vec::new();
    let mut known = 0;
    for text in list {
        let sql = AssertSqlSafe(text.sql).into_sql_str();
        let migration = Migration::new(text.version, text.name, MigrationType::Simple, sql, false);
        let mut before = None;
        for row in applied.iter() {
            if row.integer("version")? == text.version {
                before = Some(row.bytes("checksum")?.to_vec());
            }
        }
        match before {
            None => pending.push((text.version, migration)),
            Some(checksum) if checksum == *migration.checksum => known += 1,
            Some(_) => {
                return unfit(format!(
                    "migration {} is not the one that was applied",
                    text.version
                ));
            }
        }
    }
    if known < applied.len() {
        return unfit("a newer release has migrated it".to_owned());
    }
    Ok(pending)
}
