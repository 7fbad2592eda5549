//! The rolling deployments module: one operation over a frozen set of hosts, batch after batch, halted by failures. `decide`
//! says what happens next; the controller carries it out on held command sets of the core, which delivers, counts and
//! stores the results.

pub mod actions;
pub mod controller;
pub mod decide;
pub mod http;
pub mod invoke;
pub mod request;
pub mod store;
pub mod view;

use axum::Router;
use fleetwright_plugin_api::sdk::{
    CallContext, CallError, Migration, Module, ModuleError, Payload, Server,
};

/// The module as the server loads it.
pub struct Rolling {
    server: Server,
}

impl Module for Rolling {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let router = http::router(server.clone());
        let advanced = server.clone();
        server.spawn("rolling-advance", move || {
            controller::advance_deployments(advanced.clone())
        });
        let pruned = server.clone();
        server.spawn("rolling-prune", move || {
            controller::prune_deployments(pruned.clone())
        });
        Ok((Self { server }, router))
    }

    async fn invoke(
        &self,
        context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke(&self.server, context, &method, payload).await
    }
}

fleetwright_plugin_api::export_module!(
    Rolling,
    info = fleetwright_plugin_api::product::ROLLING,
    openapi = include_str!("../openapi.json")
);
