//! A simulation of delivery: the server's real commands on a real database and the agents' real cores and journals, in a
//! world whose time, network, disks, processes and crashes follow from one seed. What is simulated is only what the two
//! stand on. A seed that breaks a promise is run again by its number.

pub mod agents;
pub mod clock;
pub mod computer;
pub mod faults;
pub mod ledger;
pub mod links;
pub mod network;
pub mod open_plate;
pub mod operator;
pub mod plate;
pub mod server;
pub mod strikes;
pub mod world;

use fleetwright_server::audit;
use fleetwright_server::db::Db;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use world::Summary;
use world::World;

/// Runs seeds one after the other on one database.
pub struct Simulator {
    runtime: Runtime,
    folder: TempDir,
    db: Db,
}

/// A seed in which a promise was broken.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub what: String,
    /// What happened, line by line.
    pub trace: Vec<String>,
}

impl Simulator {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let folder = scratch();
        let url = format!("sqlite://{}", folder.path().join("simulation.db").display());
        let db = runtime.block_on(async {
            let db = Db::open(&url).await.expect("the database opens");
            db.migrate_core().await.expect("the migrations apply");
            let opened = audit::open(&db, folder.path(), 0).await;
            opened.expect("the audit log gets its key");
            db
        });
        Self {
            runtime,
            folder,
            db,
        }
    }

    pub fn run(&self, seed: u64) -> Result<Summary, Box<Failure>> {
        self.run_traced(seed).0
    }

    /// With the story of it, however it ended.
    pub fn run_traced(&self, seed: u64) -> (Result<Summary, Box<Failure>>, Vec<String>) {
        self.runtime.block_on(async {
            let mut world = World::new(&self.db, self.folder.path(), seed).await;
            match world.run().await {
                Ok(()) => (Ok(world.summary), world.trace),
                Err(broken) => {
                    let trace = world.trace.clone();
                    let failure = Failure {
                        seed,
                        what: broken.0,
                        trace: world.trace,
                    };
                    (Err(Box::new(failure)), trace)
                }
            }
        })
    }
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.runtime.block_on(self.db.close());
    }
}

/// In memory where there is such a place: a simulated crash needs no real disk, and syncing one takes most of the time.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder can be made")
}
