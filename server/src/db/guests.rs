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
        results.push(postgres_rows(&mut snapshot, statement, Extent::OfAGuest).await?);
    }
    // What is dropped half-way is rolled back before its connection is used again.
    snapshot.rollback().await.map_err(failure)?;
    Ok(results)
}
