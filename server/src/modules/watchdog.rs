//! Looks after running modules: one whose poll does not come back is stuck, and its routes answer 503 until it does.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Modules;
use super::activity::Health;
use super::loaded::Stage;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The promise is "stuck within 10 s"; looking takes up to one second of that.
pub const STUCK_AFTER_US: i64 = 8_000_000;

pub async fn run(modules: Modules, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => look(&modules),
        }
    }
}

fn look(modules: &Modules) {
    let mut newly_stuck = false;
    for loaded in modules.loaded() {
        if loaded.stage() != Stage::Running {
            continue;
        }
        let name = &loaded.info.name;
        let (now, before) = loaded.activity.judge(STUCK_AFTER_US);
        if now == before {
            continue;
        }
        match now {
            Health::Stuck => {
                newly_stuck = true;
                tracing::error!(
                    "module {name} blocks its thread; its routes answer 503 until it comes back"
                );
            }
            Health::Degraded => tracing::warn!("module {name} misses its deadline again and again"),
            Health::Good => tracing::info!("module {name} is well again"),
        }
    }
    if newly_stuck {
        modules.inner.runtime.replace_threads();
    }
}
