//! A module in memory: its library, its router once started, and what state it is in.

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use fleetwright_plugin_api::abi::FleetRouterBox;
use fleetwright_plugin_api::info::ModuleInfo;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Health};
use super::loader::Library;
use super::runtime::ModuleRuntime;
use crate::clock::SharedClock;
use crate::licensing::Licensable;

/// Where in its life a loaded module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Loaded and checked; nothing of it runs until a licence covers it.
    Waiting,
    Starting,
    Running,
    /// Being replaced by a newer file, or ended with the server.
    Leaving,
    /// It did not start; the reason is beside.
    Failed,
}

pub struct Loaded {
    pub info: ModuleInfo,
    pub sha256: String,
    /// Who signed it: a licence of theirs grants it its features.
    pub signer: String,
    pub library: Library,
    pub activity: Activity,
    /// Ends the streams when the module leaves.
    pub streams: CancellationToken,
    router: OnceLock<Arc<HeldRouter>>,
    stage: AtomicU8,
    failure: ArcSwapOption<String>,
}

/// A module's router. Whoever lets go of it last, it is dropped on the modules' threads, where the watchdog sees it: what
/// a module does in its destructors must not hold up a thread that serves agents.
pub struct HeldRouter {
    /// Taken by `drop` only.
    router: Option<FleetRouterBox>,
    activity: Activity,
    runtime: ModuleRuntime,
}

impl HeldRouter {
    pub fn new(router: FleetRouterBox, activity: Activity, runtime: ModuleRuntime) -> Self {
        Self {
            router: Some(router),
            activity,
            runtime,
        }
    }
}

impl Deref for HeldRouter {
    type Target = FleetRouterBox;

    fn deref(&self) -> &FleetRouterBox {
        // Only `drop` takes it, and nothing borrows what is being dropped.
        self.router.as_ref().expect("a router that is not dropped")
    }
}

impl Drop for HeldRouter {
    fn drop(&mut self) {
        let router = self.router.take();
        let dropping = self.activity.watch(async move { drop(router) });
        drop(self.runtime.spawn(dropping));
    }
}

impl Loaded {
    pub fn new(
        info: ModuleInfo,
        sha256: String,
        signer: String,
        library: Library,
        clock: SharedClock,
    ) -> Self {
        Self {
            info,
            sha256,
            signer,
            library,
            activity: Activity::new(clock),
            streams: CancellationToken::new(),
            router: OnceLock::new(),
            stage: AtomicU8::new(Stage::Waiting as u8),
            failure: ArcSwapOption::empty(),
        }
    }

    pub fn licensable(&self) -> Licensable<'_> {
        Licensable {
            name: &self.info.name,
            version: &self.info.version,
            signer: &self.signer,
        }
    }

    pub fn stage(&self) -> Stage {
        let number = self.stage.load(Ordering::Acquire);
        [
            Stage::Waiting,
            Stage::Starting,
            Stage::Running,
            Stage::Leaving,
        ]
        .into_iter()
        .find(|stage| *stage as u8 == number)
        .unwrap_or(Stage::Failed)
    }

    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    pub fn fail(&self, reason: String) {
        self.failure.store(Some(Arc::new(reason)));
        self.enter(Stage::Failed);
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.load().as_deref().cloned()
    }

    pub fn set_router(&self, router: Arc<HeldRouter>) {
        let _ = self.router.set(router);
    }

    /// The router, while requests may go to it.
    pub fn serving(&self) -> Option<Arc<HeldRouter>> {
        (self.stage() == Stage::Running && self.activity.health() != Health::Stuck)
            .then(|| self.router.get().cloned())
            .flatten()
    }

    /// The router, whatever state the module is in.
    pub fn router(&self) -> Option<Arc<HeldRouter>> {
        self.router.get().cloned()
    }
}
