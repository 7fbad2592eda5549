//! Which route leads where: the stubs and the modules' declarations, put together into one table. Pure; the table is
//! built anew and swapped whenever a module comes or changes.

use std::collections::BTreeMap;

use fleetwright_plugin_api::info::{ModuleInfo, RouteDeclaration};

use super::stubs::Stub;

/// A table of routes that lead to `P`.
pub struct RouteTable<P> {
    paths: matchit::Router<BTreeMap<String, Entry<P>>>,
    /// All of them, by path and method, for the OpenAPI document.
    listed: Vec<(RouteDeclaration, P)>,
}

#[derive(Clone)]
pub struct Entry<P> {
    pub route: RouteDeclaration,
    pub provider: P,
}

/// Where a request leads.
pub enum Found<'a, P> {
    Route(&'a Entry<P>),
    /// The path is known, the method is not; these are.
    OtherMethods(Vec<&'a str>),
    Nothing,
}

/// A route that belongs to somebody else.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it declares {method} {path}, which belongs to the module {owner}")]
pub struct Collision {
    pub method: String,
    pub path: String,
    pub owner: String,
}

impl<P: Clone> RouteTable<P> {
    /// Later routes replace earlier ones of the same method and shape: stubs first, then modules.
    pub fn build(routes: impl IntoIterator<Item = (RouteDeclaration, P)>) -> Self {
        let mut shapes: BTreeMap<String, BTreeMap<String, Entry<P>>> = BTreeMap::new();
        for (route, provider) in routes {
            let methods = shapes.entry(route.shape()).or_default();
            methods.insert(route.method.clone(), Entry { route, provider });
        }
        let listed = shapes
            .values()
            .flat_map(|methods| {
                methods
                    .values()
                    .map(|entry| (entry.route.clone(), entry.provider.clone()))
            })
            .collect();
        let mut paths = matchit::Router::new();
        for (shape, methods) in shapes {
            // Parameters are named by their place: two names for one place would be a conflict.
            if let Err(error) = paths.insert(numbered(&shape), methods) {
                tracing::error!(%error, shape, "a declared route cannot be mounted");
            }
        }
        Self { paths, listed }
    }

    /// `path` is relative to the API's base.
    pub fn find(&self, method: &str, path: &str) -> Found<'_, P> {
        let Ok(matched) = self.paths.at(path) else {
            return Found::Nothing;
        };
        // A HEAD is a GET without its body.
        let method = if method == "HEAD" { "GET" } else { method };
        match matched.value.get(method) {
            Some(entry) => Found::Route(entry),
            None => Found::OtherMethods(matched.value.keys().map(String::as_str).collect()),
        }
    }

    pub fn listed(&self) -> &[(RouteDeclaration, P)] {
        &self.listed
    }
}

/// Refuses a module that declares a route of the product's table that is another's, or one of a module present.
pub fn check_collisions<'a>(
    info: &ModuleInfo,
    stubs: &[Stub],
    others: impl IntoIterator<Item = &'a ModuleInfo>,
) -> Result<(), Collision> {
    let key = |route: &RouteDeclaration| (route.method.clone(), route.shape());
    let mut owners: BTreeMap<(String, String), &str> = BTreeMap::new();
    for stub in stubs {
        owners.insert(key(&stub.route), stub.module);
    }
    for other in others {
        for route in &other.routes {
            owners.insert(key(route), &other.name);
        }
    }
    for route in &info.routes {
        if let Some(owner) = owners.get(&key(route)).filter(|owner| **owner != info.name) {
            return Err(Collision {
                method: route.method.clone(),
                path: route.path.clone(),
                owner: (*owner).to_owned(),
            });
        }
    }
    Ok(())
}

fn numbered(shape: &str) -> String {
    let segments = shape.split('/').enumerate().map(|(number, segment)| {
        if segment == "{}" {
            format!("{{p{number}}}")
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::stubs;
    use super::*;

    fn module(name: &str, routes: &[(&str, &str)]) -> ModuleInfo {
        let routes: Vec<_> = routes
            .iter()
            .map(|(method, path)| {
                json!({"method": method, "path": path, "feature": "x_a", "role": "viewer", "kind": "read"})
            })
            .collect();
        let document = json!({"name": name, "version": "1.0.0", "abi": 1, "host_api": "^1",
                              "features": ["x_a"], "routes": routes});
        ModuleInfo::parse(document.to_string().as_bytes()).expect("a module")
    }

    fn stub_table() -> RouteTable<&'static str> {
        RouteTable::build(
            stubs::all()
                .into_iter()
                .map(|stub| (stub.route, stub.module)),
        )
    }

    fn owner<'a>(table: &RouteTable<&'a str>, method: &str, path: &str) -> &'a str {
        match table.find(method, path) {
            Found::Route(entry) => entry.provider,
            Found::OtherMethods(_) => "405",
            Found::Nothing => "404",
        }
    }

    #[test]
    fn every_pro_route_is_found_and_nothing_else() {
        let table = stub_table();
        for stub in stubs::all() {
            let path = stub
                .route
                .shape()
                .replace("{}", "00000000-0000-7000-8000-000000000000");
            assert_eq!(
                owner(&table, &stub.route.method, &path),
                stub.module,
                "{path}"
            );
        }
        let cases = [
            ("GET", "/fleet/nonsense", "404"),
            ("GET", "/fleet", "404"),
            ("GET", "/fleet/bulk/1/nonsense", "404"),
            ("PUT", "/fleet/bulk", "405"),
            ("GET", "/fleet/jobs/claim", "405"),
            ("HEAD", "/fleet/bulk", "bulk"),
            ("POST", "/fleet/jobs/claim", "placement"),
        ];
        for (method, path, expected) in cases {
            assert_eq!(owner(&table, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_module_takes_the_place_of_its_stubs_whatever_it_calls_its_parameters() {
        let bulk = module(
            "bulk",
            &[
                ("GET", "/fleet/bulk/{operation}"),
                ("GET", "/fleet/bulk/{id}/extra"),
            ],
        );
        let stubs = stubs::all().into_iter().map(|stub| (stub.route, "stub"));
        let table =
            RouteTable::build(stubs.chain(bulk.routes.into_iter().map(|route| (route, "module"))));
        assert_eq!(owner(&table, "GET", "/fleet/bulk/7"), "module");
        assert_eq!(owner(&table, "GET", "/fleet/bulk/7/extra"), "module");
        assert_eq!(owner(&table, "GET", "/fleet/bulk/7/progress"), "stub");
    }

    #[test]
    fn a_route_of_another_module_is_a_collision() {
        let table = stubs::all();
        let thief = module("thief", &[("GET", "/fleet/bulk/{x}")]);
        let collision = check_collisions(&thief, &table, []).expect_err("taken");
        assert_eq!(collision.owner, "bulk");
        let first = module("first", &[("GET", "/fleet/x/{a}")]);
        let second = module("second", &[("GET", "/fleet/x/{b}")]);
        assert!(check_collisions(&second, &table, [&first]).is_err());
        assert!(
            check_collisions(&first, &table, [&first]).is_ok(),
            "a module and its newer version"
        );
        assert!(check_collisions(&module("bulk", &[("GET", "/fleet/bulk")]), &table, []).is_ok());
    }
}
