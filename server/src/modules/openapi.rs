//! The Pro routes' part of the OpenAPI document: what loaded modules say of theirs, and for the rest the 402 they answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use fleetwright_plugin_api::info::RouteDeclaration;
use serde_json::{Map, Value, json};

use super::providers::Provider;
use super::routes::RouteTable;
use super::{Modules, judge};

/// Which routes there are. Two are the same for as long as [`Modules::openapi`] says the same.
pub struct RoutesVersion(Weak<RouteTable<Provider>>);

impl PartialEq for RoutesVersion {
    fn eq(&self, other: &Self) -> bool {
        // What is held weakly gives its place to nothing else.
        self.0.ptr_eq(&other.0)
    }
}

impl Modules {
    pub fn routes_version(&self) -> RoutesVersion {
        RoutesVersion(Arc::downgrade(&self.table()))
    }

    /// `{"paths": {…}, "components": {…}}`, to be merged into the core's document.
    pub fn openapi(&self) -> Value {
        let table = self.table();
        let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (route, _) in table.listed() {
            let methods = paths.entry(format!("/api/v1{}", route.path)).or_default();
            methods.insert(route.method.to_lowercase(), declared_operation(route));
        }
        let mut components = Map::new();
        for loaded in self.loaded() {
            merge(&loaded.info.openapi, &mut paths, &mut components);
        }
        json!({ "paths": paths, "components": components })
    }
}

/// A module's own words replace the declaration's; every operation keeps its 402.
fn merge(
    document: &Value,
    paths: &mut BTreeMap<String, Map<String, Value>>,
    components: &mut Map<String, Value>,
) {
    for (path, methods) in document
        .get("paths")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = if path.starts_with("/api/v1/") {
            path.clone()
        } else {
            format!("/api/v1{path}")
        };
        // Only what the module declared is mounted, so only that is documented.
        let Some(known) = paths.get_mut(&path) else {
            continue;
        };
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let Some(declared) = known.get_mut(method) else {
                continue;
            };
            let mut operation = operation.clone();
            let responses = operation
                .get_mut("responses")
                .and_then(Value::as_object_mut);
            if let (Some(responses), Some(every)) = (
                responses,
                declared.get("responses").and_then(Value::as_object),
            ) {
                for (status, response) in every {
                    responses.entry(status).or_insert_with(|| response.clone());
                }
            }
            // What the declaration says of rights is what is judged by.
            if let (Some(known), Some(operation)) =
                (declared.as_object(), operation.as_object_mut())
            {
                let rights = known.iter().filter(|(name, _)| name.starts_with("x-"));
                for (name, value) in rights {
                    operation.insert(name.clone(), value.clone());
                }
            }
            *declared = operation;
        }
    }
    for (kind, entries) in document
        .get("components")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let into = components.entry(kind).or_insert_with(|| json!({}));
        if let (Some(into), Some(entries)) = (into.as_object_mut(), entries.as_object()) {
            into.extend(entries.clone());
        }
    }
}

fn declared_operation(route: &RouteDeclaration) -> Value {
    let parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let problem = |description: &str| {
        json!({
            "description": description,
            "content": {"application/problem+json": {"schema": {"type": "object"}}},
        })
    };
    json!({
        "tags": ["fleet"],
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "401": problem("No valid credentials"),
            "402": problem("The feature is not licensed or its module is not there"),
            "403": problem("The role or the token's scopes do not allow it"),
        },
        "x-feature": route.feature,
        "x-role": route.role.as_str(),
        "x-required-scopes": judge::scopes(route),
    })
}
