//! The committed declarations are what the code serves: `openapi.json` is generated from the handlers (rewrite it with
//! `UPDATE_OPENAPI=1`), and `module.json` declares exactly its routes.

use fleetwright_module_rolling::Rolling;
use fleetwright_module_rolling::http::ApiDocument;
use fleetwright_plugin_api::info::RouteKind;
use fleetwright_plugin_api::sdk::testing::declaration::Declaration;
use utoipa::OpenApi as _;

fn declaration() -> Result<Declaration, String> {
    let served = serde_json::to_value(ApiDocument::openapi()).unwrap();
    let (folder, version) = (env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
    Declaration::read::<Rolling>(folder, version, served)
}

#[test]
fn openapi_is_generated_from_the_handlers() -> Result<(), String> {
    declaration()?.openapi_is_generated()
}

#[test]
fn exactly_the_documented_routes_are_declared() -> Result<(), String> {
    declaration()?.routes_are_documented()
}

#[test]
fn reads_are_for_viewers_and_only_new_work_needs_a_running_licence() -> Result<(), String> {
    declaration()?.routes_are("fleet_rolling_deployments", |method, path| {
        match (method, path) {
            ("GET", _) => (RouteKind::Read, "viewer"),
            ("POST", "/fleet/rolling") => (RouteKind::New, "operator"),
            _ => (RouteKind::Continue, "operator"),
        }
    })
}

#[test]
fn migrations_are_declared_and_own_their_tables() -> Result<(), String> {
    declaration()?.migrations_are_declared()
}
