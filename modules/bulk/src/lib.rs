//! The bulk operations module: one operation over a frozen set of hosts. A thin policy over one command set of the
//! core, which delivers, counts and stores the results; this module keeps what was asked and by whom.

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
    CallContext, CallError, Host, Migration, Module, ModuleError, Payload,
};

/// The module as the server loads it.
pub struct Bulk {
    host: Host,
}

impl Module for Bulk {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(host: Host) -> Result<(Self, Router), ModuleError> {
        let router = http::router(host.clone());
        let followed = host.clone();
        host.spawn("bulk-statuses", move || {
            controller::follow_statuses(followed.clone())
        });
        let pruned = host.clone();
        host.spawn("bulk-prune", move || {
            controller::prune_operations(pruned.clone())
        });
        Ok((Self { host }, router))
    }

    async fn invoke(
        &self,
        context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke(&self.host, context, &method, payload).await
    }
}

fleetwright_plugin_api::export_module!(
    Bulk,
    info = include_str!("../module.json"),
    openapi = include_str!("../openapi.json")
);
