//! The committed declarations are what the code serves: `openapi.json` is generated from the handlers (rewrite it with
//! `UPDATE_OPENAPI=1`), and `plugin-api/product/placement.json` declares exactly its routes.

use fleetwright_module_placement::Placement;
use fleetwright_module_placement::http::document;
use fleetwright_plugin_api::product;
use fleetwright_plugin_api::sdk::testing::declaration::Declared;

fn declared() -> Result<Declared, String> {
    let served = serde_json::to_value(document()).unwrap();
    Declared::read::<Placement>(product::PLACEMENT, env!("CARGO_MANIFEST_DIR"), served)
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
fn migrations_are_declared_and_own_their_tables() -> Result<(), String> {
    declared()?.migrations_are_declared()
}
