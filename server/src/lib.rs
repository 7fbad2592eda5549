//! The Fleetwright community server: inventory, agents, commands on one host at a time, and the host of Pro
//! modules. `app` wires the parts together; each part is a folder with its own `http`, `actions`, `decide`, `store`.

pub mod agents;
pub mod app;
pub mod audit;
pub mod auth;
pub mod clock;
pub mod commands;
pub mod config;
pub mod db;
pub mod edge;
pub mod events;
#[cfg(debug_assertions)]
pub mod failpoints;
pub mod hosts;
pub mod http;
pub mod licensing;
pub mod links;
pub mod loops;
pub mod modules;
pub mod plans;
pub mod run;
pub mod secrets;
pub mod telemetry;

/// Chooses the cryptography libraries' implementation. Call it once, before anything else; again does nothing.
pub fn install_crypto() {
    // An error means that it has been chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    auth::session_token::install_crypto();
}
