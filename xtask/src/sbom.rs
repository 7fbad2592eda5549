//! A bill of materials of what is shipped: CycloneDX 1.5, made from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cargo::{self, cargo};

/// The closure of `packages` over what is linked into them (no tests, no build scripts' tools).
pub fn document(packages: &[&str]) -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked"]);
    let metadata = serde_json::from_str(&cargo::output(command)?).context("cargo metadata")?;
    Ok(from_metadata(&metadata, packages))
}

fn from_metadata(metadata: &Value, packages: &[&str]) -> Value {
    let by_id: BTreeMap<&str, &Value> = list(metadata, "packages")
        .filter_map(|package| Some((text(package, "id")?, package)))
        .collect();
    let linked = linked_ids(metadata, &by_id, packages);
    let components: Vec<Value> = linked
        .iter()
        .filter_map(|id| by_id.get(id))
        .map(|package| component(package))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "name": "fleetwright", "version": env!("CARGO_PKG_VERSION") } },
        "components": components,
    })
}

fn linked_ids<'a>(
    metadata: &'a Value,
    by_id: &BTreeMap<&'a str, &'a Value>,
    packages: &[&str],
) -> BTreeSet<&'a str> {
    let edges: BTreeMap<&str, Vec<&str>> = metadata
        .get("resolve")
        .into_iter()
        .flat_map(|resolve| list(resolve, "nodes"))
        .filter_map(|node| {
            Some((
                text(node, "id")?,
                list(node, "deps")
                    .filter(is_linked)
                    .filter_map(|dep| text(dep, "pkg"))
                    .collect(),
            ))
        })
        .collect();
    let is_root =
        |package: &Value| text(package, "name").is_some_and(|name| packages.contains(&name));
    let mut open: Vec<&str> = by_id
        .iter()
        .filter(|(_, package)| is_root(package))
        .map(|(id, _)| *id)
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(edges.get(id).into_iter().flatten());
        }
    }
    seen
}

/// A dependency with a kind of null is linked; `dev` and `build` are not.
fn is_linked(dep: &&Value) -> bool {
    list(dep, "dep_kinds").any(|kind| kind.get("kind").is_some_and(Value::is_null))
}

fn component(package: &Value) -> Value {
    let (name, version) = (
        text(package, "name").unwrap_or_default(),
        text(package, "version").unwrap_or_default(),
    );
    let mut component = json!({
        "type": "library",
        "name": name,
        "version": version,
        "bom-ref": format!("pkg:cargo/{name}@{version}"),
        "purl": format!("pkg:cargo/{name}@{version}"),
    });
    if let Some(license) = text(package, "license") {
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    component
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_is_listed() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let edge = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("app"), package("linked"), package("deep"), package("tester"), package("builder"), package("other")],
            "resolve": {"nodes": [
                {"id": "app", "deps": [edge("linked", Value::Null), edge("tester", json!("dev")), edge("builder", json!("build"))]},
                {"id": "linked", "deps": [edge("deep", Value::Null)]},
                {"id": "deep", "deps": []},
            ]},
        });
        let document = from_metadata(&metadata, &["app"]);
        let names: Vec<&str> = list(&document, "components")
            .filter_map(|component| text(component, "name"))
            .collect();
        assert_eq!(names, ["app", "deep", "linked"]);
        assert_eq!(
            document["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
    }
}
