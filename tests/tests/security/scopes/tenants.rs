//! A tenant's token reaches what keeps tenants apart, and nothing else.

use std::collections::BTreeSet;

use fleetwright_plugin_api::product;
use fleetwright_tests::client::{Client, text};
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::json;

use super::routes::{NOBODY, scoped_routes};
use super::token;

/// What a caller's empty request to the route is answered.
fn asked(client: &Client, method: &str, path: &str) -> (u16, String) {
    let filled = path.replace("{sha256}", &"0".repeat(64));
    let filled: Vec<&str> = filled
        .split('/')
        .map(|part| if part.starts_with('{') { NOBODY } else { part })
        .collect();
    let request = client.request(&method.to_uppercase(), &filled.join("/"));
    let answer = if method == "get" {
        client.send(&request)
    } else {
        client.send(&request.json(&json!({})))
    };
    (answer.status, answer.text())
}

#[test]
fn a_tenants_token_reaches_exactly_what_keeps_tenants_apart() {
    let fleet = Setup::pro().start();
    let apart: BTreeSet<(String, String)> = product::declarations()
        .iter()
        .flat_map(|module| &module.routes)
        .filter(|route| route.tenants)
        .map(|route| (route.method.to_lowercase(), route.path.clone()))
        .collect();
    let (acme, _) = token(&fleet.admin, json!({"tenant": "acme"}));
    let narrow = json!({"tenant": "acme", "scopes": ["fleet.placements", "fleet.jobs:read"]});
    let (narrow, _) = token(&fleet.admin, narrow);
    let mut met = 0;
    for (method, path, scopes) in scoped_routes(&fleet) {
        let what = format!("{method} {path}");
        let is_apart = apart.contains(&(method.clone(), path.clone()));
        met += usize::from(is_apart);
        let (status, said) = asked(&acme, &method, &path);
        assert!(status < 500, "{what}: {said}");
        assert_eq!(status != 403, is_apart, "{what}: {said}");
        if !is_apart {
            assert!(said.contains("tenant"), "{what}: {said}");
        }
        // A tenant's token has scopes as any other.
        let reads = method == "get" && scopes == ["fleet.jobs"];
        let is_within = is_apart && (scopes == ["fleet.placements"] || reads);
        let (status, said) = asked(&narrow, &method, &path);
        assert_eq!(status != 403, is_within, "{what}: {said}");
    }
    assert_eq!(met, apart.len(), "the walk does not see all");
    assert!(met > 20, "only {met}");
    assert_eq!(acme.get("/auth/me").expect(200)["tenant"], "acme");
}

#[test]
fn a_tenant_sees_and_places_its_own_with_a_token_of_the_command_line() {
    let mut fleet = Setup::pro().start();
    let host = fleet.add_agent("one.test", &[]);
    let made = |tenant: &str| {
        let mut command = fleet.command_line();
        command.args(["tokens", "create", tenant, "--quiet", "--tenant", tenant]);
        let output = command.output().expect("it can be run");
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).expect("a token");
        fleet.admin.with_token(token.trim())
    };
    let (acme, other) = (made("acme"), made("other"));
    let asked = json!({"memory_mb": 64, "vcpus": 1});
    let placed = wait_for("room", PATIENCE, || {
        let answer = acme.post("/fleet/placements", &asked);
        assert!([201, 409].contains(&answer.status), "{}", answer.text());
        (answer.status == 201).then(|| answer.json())
    });
    let path = format!("/fleet/placements/{}", text(&placed, "id"));
    assert_eq!(acme.get(&path).expect(200)["tenant_id"], "acme");
    assert_eq!(fleet.admin.get(&path).expect(200)["tenant_id"], "acme");
    assert_eq!(other.get(&path).status, 404);
    assert_eq!(other.delete(&path).status, 404);
    assert_eq!(other.all("/fleet/placements").len(), 0);
    assert_eq!(acme.all("/fleet/placements").len(), 1);
    let node = |client: &Client| client.get(&format!("/fleet/nodes/{host}"));
    assert_eq!(node(&acme).expect(200)["vms"][0]["tenant_id"], "acme");
    let seen = node(&other);
    let nothing = seen.status == 404 || seen.json()["vms"] == json!([]);
    assert!(nothing, "{}", seen.text());
    let foreign = json!({"memory_mb": 64, "vcpus": 1, "tenant_id": "acme"});
    let refused = other.post("/fleet/placements", &foreign);
    assert!(
        [403, 404, 422].contains(&refused.status),
        "{}",
        refused.text()
    );
    for outside in [
        "/hosts",
        "/events",
        "/fleet/groups",
        "/fleet/budgets",
        "/audit",
    ] {
        assert_eq!(acme.get(outside).status, 403, "{outside}");
    }
}
