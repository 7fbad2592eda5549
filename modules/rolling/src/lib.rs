//! The rolling deployments module: one operation over a frozen set of hosts, batch after batch, halted by failures. `decide`
//! says what happens next; the controller carries it out on held command sets of the core, which delivers, counts and
//! stores the results.
//! What every kind of operation does is done by `fleetwright_operations`.

pub mod actions;
pub mod controller;
pub mod decide;
pub mod http;
mod kind;
pub mod request;
pub mod row;
pub mod store;
pub mod view;

use axum::Router;
use fleetwright_operations::{invoke, prune};
use fleetwright_plugin_api::sdk::{
    CallContext, CallError, Migration, Module, ModuleError, Payload, Server,
};

use row::RollingKind;

/// The module as the server loads it.
pub struct Rolling {
    server: Server,
}

impl Module for Rolling {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let advanced = server.clone();
        server.spawn("rolling-advance", move || {
            controller::advance_deployments(advanced.clone())
        });
        prune::spawn::<RollingKind>(&server);
        let router = http::router(server.clone());
        Ok((Self { server }, router))
    }

    async fn invoke(
        &self,
        context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke::<RollingKind>(&self.server, context, &method, payload).await
    }
}

fleetwright_plugin_api::export_module!(
    Rolling,
    info = fleetwright_plugin_api::product::ROLLING,
    openapi = include_str!("../openapi.json")
);
