//! The committed declarations are what the code serves: `openapi.json` is generated from the handlers (rewrite it with
//! `UPDATE_OPENAPI=1`), and `module.json` declares exactly its routes.

use std::collections::BTreeSet;
use std::path::Path;

use fleetwright_module_schedules::Schedules;
use fleetwright_module_schedules::http::ApiDocument;
use fleetwright_plugin_api::info::{ModuleInfo, RouteKind};
use fleetwright_plugin_api::sdk::{Module as _, export};
use serde_json::Value;
use utoipa::OpenApi as _;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The declaration as the export macro completes it.
fn info() -> ModuleInfo {
    const INFO: &str = include_str!("../module.json");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const OPENAPI: &str = include_str!("../openapi.json");
    const LENGTH: usize = export::info_length(INFO, VERSION, OPENAPI);
    ModuleInfo::parse(&export::info_json::<LENGTH>(INFO, VERSION, OPENAPI)).unwrap()
}

fn generated() -> Value {
    serde_json::to_value(ApiDocument::openapi()).unwrap()
}

#[test]
fn openapi_is_generated_from_the_handlers() {
    let text = format!("{:#}\n", generated());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        committed, text,
        "run the test with UPDATE_OPENAPI=1 and look at the difference"
    );
}

#[test]
fn exactly_the_documented_routes_are_declared() {
    let declared: BTreeSet<String> = info()
        .routes
        .iter()
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let document = generated();
    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(declared, documented);
}

#[test]
fn reads_are_for_viewers_and_everything_else_needs_a_running_licence() {
    for route in info().routes {
        let (kind, role) = match (route.method.as_str(), route.path.as_str()) {
            ("GET", _) => (RouteKind::Read, "viewer"),
            ("POST", "/fleet/schedules/preview") => (RouteKind::Read, "viewer"),
            _ => (RouteKind::New, "operator"),
        };
        assert_eq!(
            (route.kind, route.role.as_str()),
            (kind, role),
            "{}",
            route.path
        );
        assert_eq!(route.feature, "fleet_scheduled_operations");
    }
}

#[test]
fn migrations_are_declared_and_own_their_tables() {
    let migrations = Schedules::migrations();
    assert_eq!(
        usize::try_from(info().migrations).unwrap(),
        migrations.len()
    );
    for (index, migration) in migrations.iter().enumerate() {
        assert_eq!(usize::try_from(migration.version).unwrap(), index + 1);
        for sql in [migration.sqlite, migration.postgres] {
            for line in sql.lines().filter(|line| line.starts_with("CREATE")) {
                assert!(line.contains(" schedules_"), "{line}");
            }
        }
    }
}
