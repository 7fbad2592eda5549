//! SIGTERM and SIGINT: the first stops the worker, the second ends it at once.

use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

use super::floor::Floor;
use super::journal::Journal;

/// As a shell says it of whom SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Returns when it listens.
pub fn listen(floor: Arc<Floor>, journal: Journal) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::file("signals"))?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::terminate()).map_err(Failure::file("SIGTERM"))?,
            signal(SignalKind::interrupt()).map_err(Failure::file("SIGINT"))?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if floor.stop() {
                    journal.tell("stopping", "", "");
                } else {
                    // What is held runs out by itself.
                    floor.kill();
                    std::process::exit(EXIT_INTERRUPTED);
                }
            }
        });
    });
    Ok(())
}
