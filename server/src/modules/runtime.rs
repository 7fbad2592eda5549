//! The threads that poll modules' futures. Never the server's own workers: a module that blocks its thread slows modules
//! only. When a module is stuck for good its threads are given up and others take their place.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// One for each core wakes fewest threads for a request. Two at least, so that one slow poll does not hold up the rest.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 8;
/// Sets of threads given up before the server stops replacing them: a stuck module is refused at the door, so more than
/// a few mean that modules keep being replaced by ones that hang.
const REPLACEMENTS_MAX: u32 = 16;

/// Handle on the threads; cheap to clone.
#[derive(Clone)]
pub struct ModuleRuntime {
    threads: Arc<Threads>,
}

/// The threads in use, and how often they were given up.
struct Threads {
    current: ArcSwap<Handle>,
    replaced: AtomicU32,
}

impl ModuleRuntime {
    pub fn start() -> std::io::Result<Self> {
        let threads = Threads {
            current: ArcSwap::from_pointee(start_threads()?),
            replaced: AtomicU32::new(0),
        };
        Ok(Self {
            threads: Arc::new(threads),
        })
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.threads.current.load().spawn(future)
    }

    /// Gives the present threads up to whoever blocks them and starts others.
    pub fn replace_threads(&self) {
        if self.threads.replaced.fetch_add(1, Ordering::Relaxed) >= REPLACEMENTS_MAX {
            tracing::error!(
                "modules block their threads again and again; no more threads are started for them"
            );
            return;
        }
        match start_threads() {
            Ok(handle) => self.threads.current.store(Arc::new(handle)),
            Err(error) => tracing::error!(%error, "no more threads for modules can be started"),
        }
    }
}

/// A runtime that is never dropped: dropping it would wait for, or end, whatever still runs on it.
fn start_threads() -> std::io::Result<Handle> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime: Runtime = Builder::new_multi_thread()
        .worker_threads(cores.clamp(THREADS_MIN, THREADS_MAX))
        .thread_name("modules")
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::mem::forget(runtime);
    Ok(handle)
}
