//! The scheduled operations module: cron expressions that launch bulk operations and rolling deployments. It keeps when, what
//! and as whom; the operations themselves are the modules' that run them.

pub mod actions;
pub mod controller;
pub mod cron;
pub mod decide;
pub mod http;
pub mod invoke;
pub mod request;
pub mod store;
pub mod timetable;
pub mod view;

use axum::Router;
use fleetwright_plugin_api::sdk::{
    CallContext, CallError, Migration, Module, ModuleError, Payload, Server,
};

/// The module as the server loads it.
pub struct Schedules {
    server: Server,
}

impl Module for Schedules {
    fn migrations() -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let router = http::router(server.clone());
        let of = server.clone();
        server.spawn("schedules-fires", move || {
            controller::record_fires(of.clone())
        });
        let of = server.clone();
        server.spawn("schedules-launches", move || {
            controller::launch_runs(of.clone())
        });
        let of = server.clone();
        server.spawn("schedules-statuses", move || {
            controller::follow_operations(of.clone())
        });
        let of = server.clone();
        server.spawn("schedules-prune", move || {
            controller::prune_runs(of.clone())
        });
        Ok((Self { server }, router))
    }

    async fn invoke(
        &self,
        _context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke(&self.server, &method, payload).await
    }
}

fleetwright_plugin_api::export_module!(
    Schedules,
    info = fleetwright_plugin_api::product::SCHEDULES,
    openapi = include_str!("../openapi.json")
);
