//! The groups module: answers which hosts a selector selects, and keeps groups, which are selectors with a name, explicit
//! members and children. The inventory is the core's; this module follows it with an index of its own.

pub mod actions;
pub mod catalog;
pub mod decide;
pub mod engine;
pub mod graph;
pub mod http;
pub mod inventory;
pub mod invoke;
pub mod membership;
pub mod request;
pub mod store;
pub mod view;

use axum::Router;
use fleetwright_plugin_api::sdk::{
    CallContext, CallError, Migration, Module, ModuleError, Payload, Server,
};

use engine::Engine;

/// The module as the server loads it.
pub struct Groups {
    engine: Engine,
}

impl Module for Groups {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let engine = Engine::new(server.clone());
        let followed = engine.clone();
        server.spawn("groups-inventory", move || {
            let engine = followed.clone();
            async move { engine.follow_inventory().await }
        });
        let router = http::router(engine.clone());
        Ok((Self { engine }, router))
    }

    async fn invoke(
        &self,
        _context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke(&self.engine, &method, payload).await
    }
}

fleetwright_plugin_api::export_module!(
    Groups,
    info = fleetwright_plugin_api::product::GROUPS,
    openapi = include_str!("../openapi.json")
);
