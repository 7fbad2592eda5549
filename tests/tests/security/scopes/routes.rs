//! Each route serves the tokens that have its scopes.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_tests::client::{BASE, Client};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Request;
use serde_json::{Value, json};

use super::token;

pub(super) const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// What sets hosts to work, independently of the server's own tables.
fn runs(method: &str, path: &str) -> bool {
    let kind = ["/fleet/bulk", "/fleet/rolling", "/fleet/schedules"]
        .into_iter()
        .find(|kind| path.starts_with(kind));
    match (kind, method) {
        (None, _) => (method, path) == ("post", "/hosts/{id}/commands"),
        (Some(kind), "post" | "put") => {
            let rest = path.strip_prefix(kind).unwrap_or_default();
            [
                "",
                "/{id}/retry",
                "/{id}/resume",
                "/{id}/approve",
                "/{id}/run",
            ]
            .contains(&rest)
                || method == "put"
        }
        (Some(_), _) => false,
    }
}

/// The routes of the document that ask for scopes: method, path below the base, scopes.
pub(super) fn scoped_routes(fleet: &TestFleet) -> Vec<(String, String, Vec<String>)> {
    let document = fleet.admin.get("/openapi.json").expect(200);
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(scopes) = item[method]["x-required-scopes"].as_array() else {
                continue;
            };
            let scopes = scopes
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            let below = path.strip_prefix(BASE).expect("below the base");
            routes.push((method.to_owned(), below.to_owned(), scopes));
        }
    }
    routes
}

#[test]
fn each_route_serves_tokens_with_exactly_its_scopes_and_read_only_ones_never_write() {
    let fleet = Setup::pro().start();
    let routes = scoped_routes(&fleet);
    assert!(
        routes.len() > 70,
        "only {} routes: the walk is blind",
        routes.len()
    );
    for known in [
        "/hosts/{id}/commands",
        "/fleet/bulk",
        "/fleet/schedules/{id}/run",
    ] {
        let is_known =
            |(method, path, _): &(String, String, Vec<String>)| method == "post" && path == known;
        assert!(routes.iter().any(is_known), "the walk does not see {known}");
    }
    let areas: BTreeSet<&String> = routes.iter().flat_map(|(_, _, scopes)| scopes).collect();
    let mut tokens: BTreeMap<Vec<String>, Client> = BTreeMap::new();
    let mut of_scopes = |scopes: Vec<String>| {
        let make = |scopes: &Vec<String>| token(&fleet.admin, json!({ "scopes": scopes })).0;
        let made = tokens
            .entry(scopes.clone())
            .or_insert_with(|| make(&scopes));
        made.clone()
    };
    // These only evaluate.
    let asks = ["/fleet/select", "/fleet/schedules/preview"];
    for (method, path, scopes) in &routes {
        let what = format!("{method} {path}");
        assert_eq!(
            scopes.contains(&"operations".to_owned()),
            runs(method, path),
            "{what}"
        );
        // A stream would not end, and what the walk itself lives by is left alone.
        if path.ends_with("/events") || path == "/events" {
            continue;
        }
        let status = |client: &Client| {
            let filled = path.replace("{sha256}", &"0".repeat(64));
            let filled = filled
                .split('/')
                .map(|part| if part.starts_with('{') { NOBODY } else { part });
            let request = client.request(
                &method.to_uppercase(),
                &filled.collect::<Vec<_>>().join("/"),
            );
            let request: Request = if method == "get" {
                request
            } else {
                request.json(&json!({}))
            };
            client.send(&request).status
        };
        let exact = status(&of_scopes(scopes.clone()));
        assert!(
            exact != 403 && exact < 500,
            "{what} with {scopes:?}: {exact}"
        );
        for missing in scopes {
            let others = areas
                .iter()
                .filter(|area| **area != missing && !missing.starts_with(&format!("{area}.")));
            let others: Vec<String> = others.map(|area| (*area).clone()).collect();
            assert_eq!(status(&of_scopes(others)), 403, "{what} without {missing}");
        }
        let read_only = scopes.iter().map(|scope| format!("{scope}:read")).collect();
        let reads = method == "get" || asks.contains(&path.as_str());
        assert_eq!(
            status(&of_scopes(read_only)) == 403,
            !reads,
            "{what} for reading only"
        );
    }
}
