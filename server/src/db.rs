//! The database behind one small seam: SQLite (default) or PostgreSQL, the same SQL on both. Writes go through
//! one group-committing writer, reads through a pool. Feature folders' `store.rs` files hold the SQL; this
//! module holds none but its own migrations table.

mod connection;
mod dialect;
mod error;
mod failure;
mod fence;
mod fitness;
pub mod gate;
mod guest;
mod guests;
mod many;
mod migrations;
mod open;
mod query;
mod readers;
pub mod words;
mod writer;

use std::sync::Arc;

pub use fleetwright_plugin_api::rows::{Row, RowError, Rows};
pub use fleetwright_plugin_api::statement::Statement;

pub use dialect::{ColumnKind, Dialect, packed};
pub use error::DbError;
pub use guest::{Guest, core_table_named_like};
pub use many::Columns;
pub use migrations::MigrationText;
pub use writer::{Recovery, Tx};

use guests::Guests;
use readers::Readers;
use writer::Writer;

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<DbState>,
}

struct DbState {
    dialect: Dialect,
    target: open::Target,
    writer: Writer,
    readers: Readers,
    guest_readers: Guests,
}

impl Db {
    /// Opens (creating a missing SQLite file) and checks the version. Applies no migration.
    ///
    /// `url` is `sqlite://PATH` or `postgres://…`.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        let target = open::Target::parse(url)?;
        let dialect = target.dialect();
        let mut connection = target.connect_writer().await?;
        connection.check_version().await?;
        connection.check_fitness().await?;
        target.put_gate_on(&mut connection).await?;
        let readers = target.connect_readers().await?;
        let guest_readers = target.guest_readers();
        let writer = Writer::start(target.clone(), connection)?;
        Ok(Self {
            inner: Arc::new(DbState {
                dialect,
                target,
                writer,
                readers,
                guest_readers,
            }),
        })
    }

    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Applies the core's own migrations.
    pub async fn migrate_core(&self) -> Result<(), DbError> {
        self.migrate("_mig_core", migrations::core(self.dialect()))
            .await
    }

    /// Applies migrations recorded in `table`, forward only, each in a transaction. Applied ones are
    /// checked against their text; a version the list does not know refuses (a newer release was here).
    pub async fn migrate(&self, table: &str, list: Vec<MigrationText>) -> Result<(), DbError> {
        let mut connection = self.inner.target.connect_writer().await?;
        connection.migrate(table, list).await
    }

    /// A module, as the database knows it.
    pub fn guest(&self, module: &str) -> Guest {
        self.inner.target.guest(module)
    }

    /// Makes room for the guest and applies its migrations, as [`Db::migrate`] does, but within what is its own. All of
    /// them are one transaction.
    pub async fn migrate_guest(
        &self,
        guest: &Guest,
        list: Vec<MigrationText>,
    ) -> Result<(), DbError> {
        self.inner.target.migrate_guest(guest, list).await
    }

    /// Runs one query on a reader.
    pub async fn read(&self, statement: Statement) -> Result<Rows, DbError> {
        self.inner.readers.read(statement).await
    }

    /// The same for hundreds of rows, whose columns are these.
    pub async fn read_many(
        &self,
        statement: Statement,
        columns: &Columns,
    ) -> Result<Rows, DbError> {
        match self.inner.dialect {
            Dialect::Postgres => self.read(statement).await,
            Dialect::Sqlite => {
                let whole = self.read(many::as_one_text(statement, columns)).await?;
                many::from_one_text(&whole, columns)
            }
        }
    }

    /// Runs several queries on one snapshot.
    pub async fn read_all(&self, statements: Vec<Statement>) -> Result<Vec<Rows>, DbError> {
        self.inner.readers.read_all(statements).await
    }

    /// The same for a module, on readers set aside for modules, within its own tables. What exceeds one read of the
    /// module API is cut off just behind that limit.
    pub async fn read_all_as(
        &self,
        guest: &Guest,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, DbError> {
        self.inner.guest_readers.read_all(guest, statements).await
    }

    /// Runs `work` in a transaction and answers when it is on disk. Concurrent writes share one commit; each
    /// is all or nothing. `work` runs on the writer's own thread, so it must not wait for anything but its
    /// statements. Dropping the returned future does not stop the write.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.inner.writer.run(work).await
    }

    /// Runs `recovery` when it is not known whether a commit took effect (the connection broke under it), before any
    /// other write: its after-commit hooks have not run. Until it succeeds it is tried again.
    pub fn on_doubt(&self, recovery: Recovery) {
        self.inner.writer.on_doubt(recovery);
    }

    /// Keeps something that every write may need and that must not be in the database, such as a key: see [`Tx::held`]
    /// and [`Db::held`]. Once; a second one is ignored.
    pub fn hold<T: Send + Sync + 'static>(&self, held: Arc<T>) {
        self.inner.writer.hold(held);
    }

    /// What [`Db::hold`] was given, if it is of this type.
    pub fn held<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let held = self.inner.writer.held()?;
        Arc::clone(held).downcast().ok()
    }

    /// Finishes queued writes and closes every connection.
    pub async fn close(&self) {
        self.inner.writer.stop().await;
        self.inner.readers.close().await;
        self.inner.guest_readers.close().await;
    }
}
