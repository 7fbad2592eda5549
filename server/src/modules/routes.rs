//! Which route leads where: what the product and the modules declare, put together into one table. Pure; the table is built
//! anew and swapped whenever a module comes or changes.

use std::collections::BTreeMap;

use fleetwright_plugin_api::info::{Declaration, ModuleInfo, RouteDeclaration};

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
    /// Later routes replace earlier ones of the same method and shape: the product's first, then those of
    /// modules that are there.
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
            None => {
                let methods = matched.value.keys().map(String::as_str);
                let head = matched.value.contains_key("GET").then_some("HEAD");
                Found::OtherMethods(methods.chain(head).collect())
            }
        }
    }

    pub fn listed(&self) -> &[(RouteDeclaration, P)] {
        &self.listed
    }
}

/// Refuses a module that declares a route of the product that is another's, or one of a module present.
pub fn check_collisions<'a>(
    info: &ModuleInfo,
    product: &'a [Declaration],
    others: impl IntoIterator<Item = &'a ModuleInfo>,
) -> Result<(), Collision> {
    let key = |route: &RouteDeclaration| (route.method.clone(), route.shape());
    let product = product.iter().map(|one| (&one.name, &one.routes));
    let others = others.into_iter().map(|one| (&one.name, &one.routes));
    let mut owners: BTreeMap<(String, String), &str> = BTreeMap::new();
    for (name, routes) in product.chain(others) {
        owners.extend(routes.iter().map(|route| (key(route), name.as_str())));
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

    use super::*;
    use fleetwright_plugin_api::product;

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

    fn of_the_product() -> impl Iterator<Item = (RouteDeclaration, &'static str)> {
        let of = |one: &'static Declaration| {
            let routes = one.routes.iter().cloned();
            routes.map(|route| (route, one.name.as_str()))
        };
        product::declarations().iter().flat_map(of)
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
        let table = RouteTable::build(of_the_product());
        for (route, module) in of_the_product() {
            let path = route
                .shape()
                .replace("{}", "00000000-0000-7000-8000-000000000000");
            assert_eq!(owner(&table, &route.method, &path), module, "{path}");
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
    fn a_module_takes_the_place_of_what_is_declared_for_it_whatever_it_calls_its_parameters() {
        let bulk = module(
            "bulk",
            &[
                ("GET", "/fleet/bulk/{operation}"),
                ("GET", "/fleet/bulk/{id}/extra"),
            ],
        );
        let declared = of_the_product().map(|(route, _)| (route, "product"));
        let served = bulk.routes.into_iter().map(|route| (route, "module"));
        let table = RouteTable::build(declared.chain(served));
        assert_eq!(owner(&table, "GET", "/fleet/bulk/7"), "module");
        assert_eq!(owner(&table, "GET", "/fleet/bulk/7/extra"), "module");
        assert_eq!(owner(&table, "GET", "/fleet/bulk/7/progress"), "product");
    }

    #[test]
    fn a_route_of_another_module_is_a_collision() {
        let table = product::declarations();
        let thief = module("thief", &[("GET", "/fleet/bulk/{x}")]);
        let collision = check_collisions(&thief, table, []).expect_err("taken");
        assert_eq!(collision.owner, "bulk");
        let first = module("first", &[("GET", "/fleet/x/{a}")]);
        let second = module("second", &[("GET", "/fleet/x/{b}")]);
        assert!(check_collisions(&second, table, [&first]).is_err());
        assert!(
            check_collisions(&first, table, [&first]).is_ok(),
            "a module and its newer version"
        );
        assert!(check_collisions(&module("bulk", &[("GET", "/fleet/bulk")]), table, []).is_ok());
    }
}
