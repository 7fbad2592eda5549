//! Where the database is and how connections to it are made.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::connection::{Connection, open_postgres, open_sqlite};
use super::gate::Tables;
use super::guest::Guest;
use super::guests::Guests;
use super::readers::{ACQUIRE_TIMEOUT, Readers};
use super::{DbError, Dialect, MigrationText, fence};

/// A migration or a backup may hold the write lock this long before writers give up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Readers serve requests on two to eight cores; more would only queue in the page cache.
const READERS_MAX: u32 = 6;
/// Pages of the writer's cache, as SQLite takes KiB: the upper pages of every index of a million commands, and what a
/// large operation touches.
const WRITER_CACHE: &str = "-65536";
/// Pages in the log before a commit copies them into the database (16 MiB): what one bulk operation writes over and over is
/// copied a few times, and a start has little to read.
const WRITER_CHECKPOINT: &str = "4000";
/// Rows the SQLite thread may run ahead of the reader.
const ROWS_AHEAD: usize = 512;

#[derive(Clone)]
pub(super) enum Target {
    /// With what its gates know of its tables.
    Sqlite(SqliteConnectOptions, Arc<Tables>),
    Postgres(PgConnectOptions),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, DbError> {
        let unfit =
            |error: sqlx::Error| DbError::Unfit(format!("database_url is not usable: {error}"));
        if let Some(path) = url.strip_prefix("sqlite://") {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT)
                .statement_cache_capacity(256)
                .row_buffer_size(ROWS_AHEAD)
                .pragma("temp_store", "memory")
                .pragma("cache_size", "-16000");
            return Ok(Self::Sqlite(options, Arc::default()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(
                PgConnectOptions::from_str(url).map_err(unfit)?,
            ));
        }
        Err(DbError::Unfit(
            "database_url must start with sqlite:// or postgres://".to_owned(),
        ))
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(..) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) async fn connect_writer(&self) -> Result<Connection, DbError> {
        match self {
            Self::Sqlite(options, _) => {
                let options = options
                    .clone()
                    .pragma("cache_size", WRITER_CACHE)
                    .pragma("wal_autocheckpoint", WRITER_CHECKPOINT);
                let connection = open_sqlite(&options).await?;
                Ok(Connection::Sqlite(connection, None))
            }
            Self::Postgres(options) => open_postgres(options).await.map(Connection::Postgres),
        }
    }

    /// From now on guests' statements may run on the connection.
    pub(super) async fn put_gate_on(&self, connection: &mut Connection) -> Result<(), DbError> {
        match self {
            Self::Sqlite(_, tables) => connection.put_gate_on(tables).await,
            Self::Postgres(_) => Ok(()),
        }
    }

    pub(super) async fn migrate_guest(
        &self,
        guest: &Guest,
        list: Vec<MigrationText>,
    ) -> Result<(), DbError> {
        let mut connection = self.connect_writer().await?;
        self.put_gate_on(&mut connection).await?;
        match connection {
            Connection::Sqlite(connection, Some(gate)) => {
                fence::migrate_sqlite(connection, &gate, guest, list).await?;
            }
            Connection::Sqlite(_, None) => {
                return Err(DbError::Unavailable(fence::NO_GATE.to_owned()));
            }
            Connection::Postgres(connection) => {
                fence::migrate_postgres(connection, guest, list).await?;
            }
        }
        if let (Self::Sqlite(_, tables), Connection::Sqlite(connection, _)) =
            (self, &mut self.connect_writer().await?)
        {
            tables.look(connection).await?;
        }
        Ok(())
    }

    /// The server's own readers, the first of them connected.
    pub(super) async fn connect_readers(&self) -> Result<Readers, DbError> {
        let readers = self.readers();
        readers.connect().await?;
        Ok(readers)
    }

    /// Readers for modules, connected when needed.
    pub(super) fn guest_readers(&self) -> Guests {
        match self {
            Self::Sqlite(options, tables) => {
                let options = options.clone().pragma("query_only", "on");
                Guests::on_sqlite(options, Arc::clone(tables))
            }
            Self::Postgres(options) => Guests::on_postgres(options.clone()),
        }
    }

    pub(super) fn guest(&self, module: &str) -> Guest {
        let database = match self {
            // One file has no roles.
            Self::Sqlite(..) => "",
            Self::Postgres(options) => options
                .get_database()
                .unwrap_or_else(|| options.get_username()),
        };
        Guest::new(module, database)
    }

    fn readers(&self) -> Readers {
        match self {
            Self::Sqlite(options, _) => Readers::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(READERS_MAX)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .test_before_acquire(false)
                    .connect_lazy_with(options.clone().pragma("query_only", "on")),
            ),
            Self::Postgres(options) => Readers::Postgres(
                PgPoolOptions::new()
                    .max_connections(READERS_MAX)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy_with(options.clone()),
            ),
        }
    }
}
