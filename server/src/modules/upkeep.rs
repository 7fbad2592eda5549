//! From the first look into the folder to the last module's end: what is there is found, checked and started, again and
//! again.

use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::quarantine::Quarantine;
use super::routes::RouteTable;
use super::runtime::ModuleRuntime;
use super::{Modules, ModulesParts, Registry, lifecycle, scan, watchdog};
use crate::licensing::LICENSE_SIGNAL;
use crate::loops::{Loop, Loops};

impl Modules {
    /// Looks into the folder for the first time and starts what is licensed, so that a server that is ready has its
    /// modules. Starts no loop; see [`Modules::run`].
    pub async fn load(parts: ModulesParts) -> std::io::Result<Self> {
        let registry = Registry {
            runtime: ModuleRuntime::start()?,
            quarantine: Quarantine::open(&parts.data_dir),
            parts,
            table: ArcSwap::from_pointee(RouteTable::build([])),
            book: Mutex::default(),
            retired: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            in_process: OnceLock::new(),
        };
        let modules = Self {
            registry: Arc::new(registry),
        };
        modules.rebuild_table();
        modules.rescan().await;
        Ok(modules)
    }

    /// Watches the folder, the licence and the modules' health until shutdown, then ends the modules' loops.
    pub async fn run(self, loops: Loops, shutdown: CancellationToken) {
        let looking = watchdog::run(self.clone(), loops.clone(), shutdown.clone());
        let watchdog = tokio::spawn(looking);
        let place = loops.take(Loop::ModuleScan);
        let mut every = place.ticks();
        let keys = [LICENSE_SIGNAL.to_owned()];
        let mut seen = self.parts().signals.current();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = every.tick() => {}
                generation = self.parts().signals.wait(&keys, seen) => seen = generation,
            }
            let _run = place.begin();
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.rescan() => {}
            }
        }
        lifecycle::shut_down(&self).await;
        let _ = watchdog.await;
    }

    /// Looks at what has changed in the folder and in the licence, and acts on it before it answers.
    pub async fn rescan(&self) {
        let _turn = self.registry.turn.lock().await;
        scan::scan(self).await;
        lifecycle::start_licensed(self).await;
    }
}
