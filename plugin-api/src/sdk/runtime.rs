//! The module's own tokio runtime (each library has its own copy of tokio) and the loops that run on it.

use std::future::Future;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The first pause before a loop is started again.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// The longest: short enough that a repaired dependency is noticed soon.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A loop that ran this long is healthy again; its next pause is the first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// The runtime of this library: one worker thread, started at first use, alive as long as the process.
pub(crate) fn handle() -> Result<Handle, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            // Blocking calls are for the rare file; the default of 512 threads is far too many for one module.
            .max_blocking_threads(8)
            .thread_name("fleet-module")
            .enable_all()
            .build()
            .map_err(|error| format!("the module's runtime does not start: {error}"))
    });
    runtime
        .as_ref()
        .map(|runtime| runtime.handle().clone())
        .map_err(Clone::clone)
}

/// The loops of one module.
#[derive(Default)]
pub(crate) struct Loops {
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Loops {
    pub(crate) fn spawn<F>(&self, name: &str, make: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.to_owned();
        let Ok(runtime) = handle() else {
            tracing::error!(name, "a loop cannot start: the module has no runtime");
            return;
        };
        let supervisor = runtime.spawn(supervise(name, make));
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(supervisor);
    }

    pub(crate) fn stop(&self) {
        for supervisor in self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            supervisor.abort();
        }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn supervise<F>(name: String, make: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = BACK_OFF_FIRST;
    loop {
        let started = Instant::now();
        // A task of its own, so that a panic is contained; ended with the supervisor.
        let task = AbortOnDrop(tokio::spawn(make()));
        match task.finished().await {
            Ok(()) => tracing::warn!(name, "a loop returned; it is started again"),
            Err(error) => tracing::error!(name, %error, "a loop failed; it is started again"),
        }
        if started.elapsed() >= HEALTHY_AFTER {
            pause = BACK_OFF_FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF_MAX);
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    async fn finished(mut self) -> Result<(), tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_is_started_again_until_it_is_stopped() {
        let loops = Loops::default();
        let runs = Arc::new(AtomicU32::new(0));
        let again = Arc::new(Notify::new());
        let (counter, notify) = (Arc::clone(&runs), Arc::clone(&again));
        loops.spawn("bad", move || {
            let (counter, notify) = (Arc::clone(&counter), Arc::clone(&notify));
            async move {
                if counter.fetch_add(1, Ordering::SeqCst) == 0 {
                    panic!("first run");
                }
                notify.notify_one();
                std::future::pending::<()>().await;
            }
        });
        again.notified().await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        loops.stop();
        // The counter is shared with the running loop: once it is gone, so is the loop.
        while Arc::strong_count(&runs) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
