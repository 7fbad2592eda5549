//! The server that is measured.

use crate::databases::Engine;
use crate::fleet::{Setup, TestFleet};

/// A server with modules on SQLite, without the limit on requests per caller that the measures would run into.
pub fn server() -> TestFleet {
    server_on(Engine::Sqlite)
}

pub fn server_on(engine: Engine) -> TestFleet {
    Setup::pro()
        .on(engine)
        .with("limits = { requests_per_second = 0 }")
        .start()
}
