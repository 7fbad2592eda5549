//! Readers for modules, a few for all of them on SQLite and for each on PostgreSQL: a module that hangs takes none from the
//! server, and reads nothing but its own tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Executor as _, PgPool, SqliteConnection};
use tokio::sync::Semaphore;

use super::connection::open_sqlite;
use super::failure::failure;
use super::gate::{self, Gate, Reach, Tables};
use super::guest::Guest;
use super::query::{Extent, marked, postgres_rows, sqlite_rows};
use super::readers::ACQUIRE_TIMEOUT;
use super::{DbError, Rows, Statement, fence, guest};

/// Connections of all modules to SQLite, and of each to PostgreSQL.
const READERS_MAX: usize = 4;

pub(super) enum Guests {
    Sqlite(Box<SqliteGuests>),
    Postgres {
        options: Box<PgConnectOptions>,
        pools: Mutex<BTreeMap<String, PgPool>>,
    },
}

/// A pool that knows the gate of each of its connections.
pub(super) struct SqliteGuests {
    options: SqliteConnectOptions,
    tables: Arc<Tables>,
    places: Semaphore,
    idle: Mutex<Vec<Reader>>,
}

struct Reader {
    connection: SqliteConnection,
    gate: Arc<Gate>,
}

impl Guests {
    pub(super) fn on_sqlite(options: SqliteConnectOptions, tables: Arc<Tables>) -> Self {
        Self::Sqlite(Box::new(SqliteGuests {
            options,
            tables,
            places: Semaphore::new(READERS_MAX),
            idle: Mutex::default(),
        }))
    }

    pub(super) fn on_postgres(options: PgConnectOptions) -> Self {
        Self::Postgres {
            options: Box::new(options),
            pools: Mutex::default(),
        }
    }

    /// Several queries on one snapshot. What is dropped half-way is rolled back or closed.
    pub(super) async fn read_all(
        &self,
        guest: &Guest,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, DbError> {
        match self {
            Self::Sqlite(guests) => guests.read_all(guest, statements).await,
            Self::Postgres { options, pools } => {
                let pool = {
                    let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
                    let of_guest = pools.entry(guest.role().to_owned());
                    of_guest
                        .or_insert_with(|| postgres_pool(PgConnectOptions::clone(options), guest))
                        .clone()
                };
                postgres_read_all(&pool, guest, statements).await
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(guests) => {
                guests.places.close();
                let idle = std::mem::take(&mut *guests.idle());
                for reader in idle {
                    // It was idle: nothing is lost that its end could tell of.
                    let _ = reader.connection.close().await;
                }
            }
            Self::Postgres { pools, .. } => {
                let pools =
                    std::mem::take(&mut *pools.lock().unwrap_or_else(PoisonError::into_inner));
                for pool in pools.into_values() {
                    pool.close().await;
                }
            }
        }
    }
}

impl SqliteGuests {
    async fn read_all(
        &self,
        guest: &Guest,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, DbError> {
        let waiting = tokio::time::timeout(ACQUIRE_TIMEOUT, self.places.acquire()).await;
        let Ok(Ok(_place)) = waiting else {
            let busy = "every reader for modules is busy";
            return Err(DbError::Unavailable(busy.to_owned()));
        };
        let idle = self.idle().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => self.open().await?,
        };
        let results = reader.read_all(guest, statements).await;
        // One whose statement was refused or ended is as good as before; one that is in doubt is not kept.
        if !matches!(results, Err(DbError::Unavailable(_) | DbError::Unfit(_))) {
            self.idle().push(reader);
        }
        results
    }

    async fn open(&self) -> Result<Reader, DbError> {
        let mut connection = open_sqlite(&self.options).await?;
        gate::confine(&mut connection.lock_handle().await.map_err(failure)?);
        let gate = Gate::put_on(&mut connection, &self.tables).await?;
        Ok(Reader { connection, gate })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    async fn read_all(
        &mut self,
        guest: &Guest,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, DbError> {
        // One statement has a snapshot of its own: no need to begin and end one.
        if statements.len() == 1 {
            let mut results = Vec::with_capacity(1);
            for statement in statements {
                results.push(read(&self.gate, guest, &mut self.connection, statement).await?);
            }
            return Ok(results);
        }
        let mut results = Vec::with_capacity(statements.len());
        // The transaction is the server's, its statements are the guest's.
        let mut snapshot = self.connection.begin().await.map_err(failure)?;
        let mut outcome = Ok(());
        for statement in statements {
            match read(&self.gate, guest, &mut snapshot, statement).await {
                Ok(rows) => results.push(rows),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // Before somebody else is admitted: the end of a transaction is none of a guest's.
        snapshot.rollback().await.map_err(failure)?;
        outcome.map(|()| results)
    }
}

async fn read(
    gate: &Gate,
    guest: &Guest,
    connection: &mut SqliteConnection,
    statement: Statement,
) -> Result<Rows, DbError> {
    let admission = gate.admit(guest, Reach::Read);
    let rows = sqlite_rows(connection, marked(guest, statement), Extent::OfAGuest).await;
    admission.outcome(rows)
}

fn postgres_pool(options: PgConnectOptions, guest: &Guest) -> PgPool {
    let settings = fence::settings_of_a_reader(guest);
    PgPoolOptions::new()
        .max_connections(READERS_MAX as u32)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                connection
                    .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(settings)))
                    .await
                    .map(|_| ())
            })
        })
        .connect_lazy_with(options)
}

async fn postgres_read_all(
    pool: &PgPool,
    guest: &Guest,
    statements: Vec<Statement>,
) -> Result<Vec<Rows>, DbError> {
    let mut connection = pool.acquire().await.map_err(failure)?;
    let mut results = Vec::with_capacity(statements.len());
    let begin = fence::BEGIN_READS;
    let mut snapshot = connection.begin_with(begin).await.map_err(failure)?;
    for statement in statements {
        fence::enter(&mut snapshot, guest, guest::READ_MAX).await?;
        let rows = postgres_rows(&mut snapshot, statement, Extent::OfAGuest).await?;
        let is_cut = Extent::OfAGuest.is_cut(&rows);
        results.push(rows);
        if is_cut {
            // What has been read is too much already. The rest is on its way, perhaps for ever: nobody takes it in.
            drop(snapshot);
            drop(connection.detach());
            return Ok(results);
        }
    }
    // What is dropped half-way is rolled back before its connection is used again.
    snapshot.rollback().await.map_err(failure)?;
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;

    /// Behind the last row that a read may have there is no other, however long one looks for it.
    const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                           SELECT n FROM c WHERE n < 10002";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_statement_that_nobody_waits_for_ends_with_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let db = Arc::new(Db::open(&url).await.unwrap());
        let one = || Statement::new("SELECT 1 AS one");
        let endless = || Statement::new(ENDLESS);
        let dropped = vec![vec![endless()], vec![one(), endless()]];
        for statements in dropped {
            let guest = db.guest("bulk");
            let reading = db.read_all_as(&guest, statements);
            let waited = std::time::Duration::from_millis(300);
            assert!(tokio::time::timeout(waited, reading).await.is_err());
        }
        // As many as there are readers, at once; each takes as long as a read may.
        let mut reads = tokio::task::JoinSet::new();
        for statements in [
            vec![endless()],
            vec![one(), endless()],
            vec![endless()],
            vec![one(), endless()],
        ] {
            let db = Arc::clone(&db);
            reads.spawn(async move { db.read_all_as(&db.guest("bulk"), statements).await });
        }
        let limit = guest::READ_MAX + std::time::Duration::from_secs(5);
        let ended = tokio::time::timeout(limit, reads.join_all()).await;
        assert_eq!(ended.expect("they end").len(), 4);
        for _ in 0..8 {
            let guest = db.guest("bulk");
            let read = db.read_all_as(&guest, vec![one()]);
            let read = tokio::time::timeout(std::time::Duration::from_secs(5), read).await;
            assert_eq!(read.expect("a reader is free").unwrap().len(), 1);
        }
        db.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn comparing_patterns_and_values_of_guests_are_bounded_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let db = Db::open(&url).await.unwrap();
        let guest = db.guest("bulk");
        let migration = crate::db::MigrationText {
            version: 1,
            name: "one".into(),
            sql: "CREATE TABLE bulk_a (a TEXT)".into(),
        };
        db.migrate_guest(&guest, vec![migration]).await.unwrap();
        let like = "SELECT 'x' LIKE $1 AS found";
        let write = "INSERT INTO bulk_a (a) SELECT 'x' WHERE 'x' LIKE $1";
        for (length, passes) in [(200, true), (300, false)] {
            let pattern = "%a".repeat(length / 2);
            let read = Statement::new(like).bind(pattern.clone());
            let read = db.read_all_as(&guest, vec![read]).await;
            assert_eq!(read.is_ok(), passes, "{length}");
            let (guest, write) = (guest.clone(), Statement::new(write).bind(pattern));
            let written = db.write(move |tx| tx.execute_as(&guest, write)).await;
            assert_eq!(written.is_ok(), passes, "{length}: {written:?}");
        }
        let insert = |length: usize| {
            Statement::new("INSERT INTO bulk_a (a) VALUES ($1)").bind("x".repeat(length))
        };
        let whose = guest.clone();
        let (fits, is_too_large) = (insert(7 << 20), insert(9 << 20));
        let written = db.write(move |tx| tx.execute_as(&whose, fits)).await;
        assert_eq!(written.unwrap(), 1);
        let written = db
            .write(move |tx| tx.execute_as(&guest, is_too_large))
            .await;
        assert!(written.is_err());
        // The server's own are not narrowed by it.
        let own = insert(9 << 20);
        let written: Result<u64, DbError> = db.write(move |tx| tx.execute(own)).await;
        assert_eq!(written.unwrap(), 1);
        db.close().await;
    }
}
