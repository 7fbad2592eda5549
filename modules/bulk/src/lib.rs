//! The bulk operations module: one operation over a frozen set of hosts. A thin policy over one command set of the
//! core, which delivers, counts and stores the results; this module keeps what was asked and by whom. What every kind of
//! operation does is done by `fleetwright_operations`.

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

use row::BulkKind;

/// The module as the server loads it.
pub struct Bulk {
    server: Server,
}

impl Module for Bulk {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let followed = server.clone();
        server.spawn("bulk-statuses", move || {
            controller::follow_statuses(followed.clone())
        });
        prune::spawn::<BulkKind>(&server);
        let router = http::router(server.clone());
        Ok((Self { server }, router))
    }

    async fn invoke(
        &self,
        context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke::<BulkKind>(&self.server, context, &method, payload).await
    }
}

fleetwright_plugin_api::export_module!(
    Bulk,
    info = fleetwright_plugin_api::product::BULK,
    openapi = include_str!("../openapi.json")
);
