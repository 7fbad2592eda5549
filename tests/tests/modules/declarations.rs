//! What the community server says of the Pro routes is what the modules say of themselves.

use std::collections::BTreeSet;

use fleetwright_server::modules::stubs;
use fleetwright_tests::binaries::MODULES;
use fleetwright_tests::source;
use serde_json::Value;

type Route = (String, String, String, String, String);

#[test]
fn the_stubs_of_a_module_are_its_own_declaration() {
    for module in MODULES {
        let path = source::workspace()
            .join("modules")
            .join(module)
            .join("module.json");
        let text = std::fs::read_to_string(&path).expect("a declaration");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let field = |route: &Value, name: &str| route[name].as_str().expect(name).to_owned();
        let declared: BTreeSet<Route> = document["routes"]
            .as_array()
            .expect("routes")
            .iter()
            .map(|route| {
                let names = ["method", "path", "feature", "role", "kind"];
                let [method, path, feature, role, kind] = names.map(|name| field(route, name));
                (method, path, feature, role, kind)
            })
            .collect();
        let stubs: BTreeSet<Route> = stubs::all()
            .into_iter()
            .filter(|stub| stub.module == module)
            .map(|stub| {
                let kind = serde_json::to_value(stub.route.kind).expect("a word");
                let kind = kind.as_str().expect("a word").to_owned();
                let role = stub.route.role.as_str().to_owned();
                let route = stub.route;
                (route.method, route.path, route.feature, role, kind)
            })
            .collect();
        assert_eq!(declared, stubs, "{module}");
    }
}
