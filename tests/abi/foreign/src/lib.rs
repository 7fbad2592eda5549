//! A module built elsewhere, with other versions of everything but the module API.

use std::time::Duration;

use fleetwright_plugin_api::sdk::axum::Router;
use fleetwright_plugin_api::sdk::axum::extract::State;
use fleetwright_plugin_api::sdk::axum::routing::get;
use fleetwright_plugin_api::sdk::{Server, Module, ModuleError};

struct Foreign;

impl Module for Foreign {
    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        Ok((Self, Router::new().route("/api/v1/fleet/x-foreign/hello", get(hello)).with_state(server)))
    }
}

async fn hello(State(server): State<Server>) -> String {
    server.sleep(Duration::from_millis(1)).await;
    serde_json::json!({"hello": "from elsewhere", "slept": true}).to_string()
}

fleetwright_plugin_api::export_module!(
    Foreign,
    info = r#"{"name": "foreign", "host_api": "^2", "features": ["x_foreign"], "migrations": 0, "description": "From elsewhere.",
        "routes": [{"method": "GET", "path": "/fleet/x-foreign/hello", "feature": "x_foreign", "role": "viewer", "kind": "read"}]}"#,
    openapi = "{}"
);
