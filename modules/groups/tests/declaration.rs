//! The committed declarations are what the code serves: `openapi.json` is generated from the handlers (rewrite it with
//! `UPDATE_OPENAPI=1`), and `plugin-api/product/groups.json` declares exactly its routes.

use fleetwright_module_groups::Groups;
use fleetwright_module_groups::http::ApiDocument;
use fleetwright_plugin_api::info::RouteKind;
use fleetwright_plugin_api::product;
use fleetwright_plugin_api::sdk::testing::declaration::Declared;
use utoipa::OpenApi as _;

fn declared() -> Result<Declared, String> {
    let served = serde_json::to_value(ApiDocument::openapi()).unwrap();
    Declared::read::<Groups>(product::GROUPS, env!("CARGO_MANIFEST_DIR"), served)
}

#[test]
fn openapi_is_generated_from_the_handlers() -> Result<(), String> {
    declared()?.openapi_is_generated()
}

#[test]
fn exactly_the_documented_routes_are_declared() -> Result<(), String> {
    declared()?.routes_are_documented()
}

#[test]
fn reads_are_for_viewers_and_only_new_work_needs_a_running_licence() -> Result<(), String> {
    declared()?.routes_are("fleet_groups", |method, path| match (method, path) {
        ("GET", _) | ("POST", "/fleet/select") => (RouteKind::Read, "viewer"),
        _ => (RouteKind::New, "operator"),
    })
}

#[test]
fn migrations_are_declared_and_own_their_tables() -> Result<(), String> {
    declared()?.migrations_are_declared()
}
