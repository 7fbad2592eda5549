//! The placement module: which node a VM goes to (`nodes`, `placements`), which worker takes which job (`jobs`, `factories`,
//! `claims`), and what it may cost (`budgets`). What is decided is committed on the condition that it is still so; what is
//! kept in memory only saves looking.

pub mod budgets;
pub mod claims;
pub mod error;
pub mod factories;
pub mod http;
pub mod jobs;
pub mod names;
pub mod nodes;
pub mod placements;
pub mod products;
pub mod rounds;
pub mod settings;
pub mod store;

use axum::Router;
use fleetwright_plugin_api::sdk::{
    CallContext, CallError, Migration, Module, ModuleError, Payload, Server,
};
use fleetwright_plugin_api::wire::{BLOBS_IN_USE, BlobsInUse};

/// The module as the server loads it.
pub struct Placement;

impl Module for Placement {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let fleet = nodes::fleet::Fleet::new(&server);
        let router = http::router_over(&server, &fleet);
        nodes::start(&fleet)?;
        placements::start(&fleet);
        jobs::start(&server);
        claims::start(&server);
        budgets::start(&server);
        Ok((Self, router))
    }

    async fn invoke(
        &self,
        _context: CallContext,
        method: String,
        _payload: Payload,
    ) -> Result<Payload, CallError> {
        match method.as_str() {
            // Nothing here names uploaded content.
            BLOBS_IN_USE => Ok(Payload::json(serde_json::json!(BlobsInUse::default()))),
            other => Err(CallError::unknown_method(other)),
        }
    }
}

fleetwright_plugin_api::export_module!(
    Placement,
    info = fleetwright_plugin_api::product::PLACEMENT,
    openapi = include_str!("../openapi.json")
);
