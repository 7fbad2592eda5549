//! What a server without modules says of Pro routes: 402, the same for every id and method, and nothing more.

use fleetwright_plugin_api::product;
use fleetwright_tests::client::Client;
use serde_json::json;

use super::{assert_problem, community};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

#[test]
fn every_pro_route_answers_402_with_its_feature() {
    let fleet = community();
    let admin = &fleet.admin;
    for (method, path, feature) in [
        ("POST", "/fleet/select", "fleet_groups"),
        ("GET", "/fleet/groups", "fleet_groups"),
        ("POST", "/fleet/groups", "fleet_groups"),
        ("GET", "/fleet/groups/{id}", "fleet_groups"),
        ("PUT", "/fleet/groups/{id}", "fleet_groups"),
        ("DELETE", "/fleet/groups/{id}", "fleet_groups"),
        ("GET", "/fleet/groups/{id}/hosts", "fleet_groups"),
        ("POST", "/fleet/bulk", "fleet_bulk_operations"),
        ("GET", "/fleet/bulk", "fleet_bulk_operations"),
        ("GET", "/fleet/bulk/{id}", "fleet_bulk_operations"),
        ("GET", "/fleet/bulk/{id}/progress", "fleet_bulk_operations"),
        ("GET", "/fleet/bulk/{id}/hosts", "fleet_bulk_operations"),
        ("GET", "/fleet/bulk/{id}/events", "fleet_bulk_operations"),
        ("POST", "/fleet/bulk/{id}/cancel", "fleet_bulk_operations"),
        ("POST", "/fleet/bulk/{id}/pause", "fleet_bulk_operations"),
        ("POST", "/fleet/bulk/{id}/resume", "fleet_bulk_operations"),
        ("POST", "/fleet/bulk/{id}/retry", "fleet_bulk_operations"),
        ("POST", "/fleet/rolling", "fleet_rolling_deployments"),
        ("GET", "/fleet/rolling", "fleet_rolling_deployments"),
        ("GET", "/fleet/schedules", "fleet_scheduled_operations"),
        ("POST", "/fleet/schedules", "fleet_scheduled_operations"),
    ] {
        for id in [UNKNOWN, "not-a-uuid"] {
            let path = path.replace("{id}", id);
            let request = admin.request(method, &path);
            let request = if method == "GET" {
                request
            } else {
                request.json(&json!({}))
            };
            let answer = admin.send(&request);
            let what = format!("{method} {path}");
            assert_problem(&answer, 402, "feature-not-available", &what);
            let body = answer.json();
            assert_eq!(body["feature"], feature, "{what}");
            assert_eq!(body["reason"], "module_not_installed", "{what}");
            assert!(body["upgrade_url"].is_string(), "{what}: {body}");
        }
    }
}

#[test]
fn every_declared_route_answers_402_for_its_module_and_only_with_its_methods() {
    let fleet = community();
    let admin = &fleet.admin;
    let send = |method: &str, path: &str| {
        let request = admin.request(method, path);
        let has_body = matches!(method, "POST" | "PUT" | "PATCH");
        admin.send(&if has_body {
            request.json(&json!({}))
        } else {
            request
        })
    };
    let mut asked = 0;
    for module in product::declarations() {
        for route in &module.routes {
            let path = route.shape().replace("{}", UNKNOWN);
            let answer = send(&route.method, &path);
            let what = format!("{} {path}", route.method);
            assert_problem(&answer, 402, "feature-not-available", &what);
            let body = answer.json();
            let told = (&body["module"], &body["feature"], &body["reason"]);
            let (name, feature) = (json!(module.name), json!(route.feature));
            assert_eq!(told, (&name, &feature, &json!("module_not_installed")));
            assert!(body["upgrade_url"].is_string(), "{what}: {body}");
            let is_declared = |method: &&str| {
                let mut all = product::declarations().iter().flat_map(|one| &one.routes);
                all.any(|other| other.method == *method && other.shape() == route.shape())
            };
            for other in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                if !is_declared(&other) {
                    assert_eq!(send(other, &path).status, 405, "{other} {path}");
                }
            }
            asked += 1;
        }
    }
    // 74 before they were declared in one place; only more may follow.
    assert!(asked >= 74, "{asked} routes");
}

#[test]
fn authentication_comes_before_the_licence_and_nonsense_is_not_for_sale() {
    let fleet = community();
    let anonymous = Client::anonymous(fleet.server.listen);
    let answer = anonymous.post("/fleet/bulk", &json!({}));
    assert_problem(&answer, 401, "unauthenticated", "without a token");
    let nonsense = fleet.admin.get("/fleet/nonsense");
    assert_problem(&nonsense, 404, "not-found", "an unknown fleet path");
    let undeclared = fleet
        .admin
        .send(&fleet.admin.request("PATCH", "/fleet/bulk").json(&json!({})));
    assert_problem(
        &undeclared,
        405,
        "method-not-allowed",
        "an undeclared method",
    );
    // A viewer may not create anyway: 403 before 402.
    let viewer = fleet.admin.token_of_role("viewer");
    let answer = viewer.post("/fleet/bulk", &json!({}));
    assert_problem(&answer, 403, "forbidden", "a viewer");
    assert_eq!(viewer.get("/fleet/bulk").status, 402);
    // Neither a key nor a body that nobody would take changes what is said first.
    let large = json!({"operation_type": "x".repeat(9 * 1024 * 1024)});
    for (client, status) in [(&viewer, 403), (&fleet.admin, 402)] {
        let keyed = client
            .request("POST", "/fleet/bulk")
            .header("idempotency-key", "k");
        let answer = client.send(&keyed.json(&large));
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[test]
fn the_planner_expands_in_order_and_stores_nothing() {
    let fleet = community();
    let first = super::operations::enrolled_host(&fleet, "one.sim");
    let second = super::operations::enrolled_host(&fleet, "two.sim");
    let body = json!({
        "operation_type": "run_script", "host_ids": [second, first], "parameters": {"script": "true"},
    });
    let answer = fleet.admin.post("/plans/bulk", &body).expect(200);
    let plans = answer["plans"].as_array().unwrap();
    let order: Vec<&str> = plans
        .iter()
        .filter_map(|plan| plan["host_id"].as_str())
        .collect();
    assert_eq!(order, [second.as_str(), first.as_str()]);
    for plan in plans {
        // A plan can be sent as it is.
        let command =
            json!({"operation_type": "apply_deployment_plan", "parameters": plan["plan"]});
        let host = plan["host_id"].as_str().unwrap();
        fleet.admin.run_on_host(host, &command);
    }
    for host in [&first, &second] {
        assert_eq!(fleet.admin.all(&format!("/hosts/{host}/commands")).len(), 1);
    }
}

#[test]
fn the_licence_and_module_pages_work_without_either() {
    let fleet = community();
    let modules = fleet.admin.get("/modules").expect(200);
    assert!(
        modules.to_string().contains("items") || modules.is_array(),
        "{modules}"
    );
    assert_eq!(fleet.admin.get("/license").status, 200);
}
