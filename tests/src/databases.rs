//! Runs a store test on SQLite and on PostgreSQL, each on a fresh, migrated database.

use std::future::Future;

use fleetwright_server::audit;
use fleetwright_server::db::Db;
use tempfile::TempDir;

use crate::counts::{Kind, count};
use crate::postgres;

/// A database of one test. The file or the cluster outlives the handle.
pub struct TestDatabase {
    pub db: Db,
    /// For a second handle on the same database, as after a restart.
    pub url: String,
    /// Where the audit log's key is.
    pub keys: TempDir,
    _folder: Option<TempDir>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A URL of a fresh database, and the folder that must live as long as it.
pub fn fresh_url(engine: Engine) -> (String, Option<TempDir>) {
    match engine {
        Engine::Sqlite => {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let url = format!("sqlite://{}", folder.path().join("test.db").display());
            (url, Some(folder))
        }
        Engine::Postgres => (postgres::cluster().create_database(), None),
    }
}

/// Runs one test body on one engine, with the core's migrations applied.
pub fn run<F, Fut>(engine: Engine, body: F)
where
    F: FnOnce(TestDatabase) -> Fut,
    Fut: Future<Output = ()>,
{
    count(match engine {
        Engine::Sqlite => Kind::Sqlite,
        Engine::Postgres => Kind::Postgres,
    });
    let (url, folder) = fresh_url(engine);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let db = Db::open(&url).await.expect("the database opens");
        db.migrate_core().await.expect("the migrations apply");
        let keys = tempfile::tempdir().expect("a folder");
        let opened = audit::open(&db, keys.path(), 0).await;
        opened.expect("the audit log gets its key");
        let keep = db.clone();
        body(TestDatabase {
            db,
            url,
            keys,
            _folder: folder,
        })
        .await;
        keep.close().await;
    });
}

/// Declares tests that run on both databases: `claim::sqlite` and `claim::postgres`.
#[macro_export]
macro_rules! on_each_database {
    ($($(#[$meta:meta])* async fn $name:ident($database:ident: TestDatabase) $body:block)*) => {
        $(mod $name {
            use super::*;

            $(#[$meta])*
            async fn claim($database: $crate::databases::TestDatabase) $body

            #[test]
            fn sqlite() {
                $crate::databases::run($crate::databases::Engine::Sqlite, claim);
            }

            #[test]
            fn postgres() {
                $crate::databases::run($crate::databases::Engine::Postgres, claim);
            }
        })*
    };
}
