//! Every route of the OpenAPI document answers 401 without a caller and 403 below its role.

use fleetwright_tests::client::{BASE, Client};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Request;
use serde_json::{Value, json};

use super::{assert_problem, community};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Anyone may ask these; agents' own routes are on another port.
const PUBLIC: [&str; 7] = [
    "/api/v1/openapi.json",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/healthz",
    "/readyz",
    "/metrics",
    "/docs",
];
const ANY_ROLE: [&str; 2] = ["/api/v1/auth/me", "/api/v1/auth/logout"];

/// What the documentation says of roles, independently of the server's own table.
fn required_role(method: &str, path: &str) -> &'static str {
    let path = path.strip_prefix(BASE).unwrap_or(path);
    let administration = ["/users", "/tokens", "/enrollment-tokens", "/audit"];
    if administration.iter().any(|prefix| path.starts_with(prefix))
        || (path.starts_with("/license") && method != "get")
        || path == "/modules/rescan"
        || (path.starts_with("/secrets") && method != "get")
        // Spending is a job's business; how much may be spent is not.
        || (path.starts_with("/fleet/budgets") && method != "get" && !path.ends_with("/spend"))
        // As is how much of the fleet a tenant may have.
        || (path.ends_with("/quota") && method != "get")
    {
        return "admin";
    }
    // What is uploaded is what may be run.
    if path.starts_with("/blobs") {
        return "operator";
    }
    // These only evaluate.
    let asks = ["/fleet/select", "/fleet/schedules/preview"];
    if path == "/secrets" {
        // Which there are is for those who may use them.
        "operator"
    } else if method == "get" || asks.contains(&path) {
        "viewer"
    } else {
        "operator"
    }
}

fn routes(fleet: &TestFleet) -> Vec<(String, String)> {
    let document = fleet.admin.get("/openapi.json").expect(200);
    let paths = document["paths"].as_object().expect("paths").clone();
    let routes: Vec<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            METHODS
                .iter()
                .filter(|method| item[**method].is_object())
                .map(|method| ((*method).to_owned(), path.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(
        routes.len() > 30,
        "only {} routes: the walk is blind",
        routes.len()
    );
    routes
}

fn filled(path: &str) -> String {
    let id = "01890000-0000-7000-8000-000000000000";
    let mut filled = path.replace("{sha256}", &"0".repeat(64));
    while let (Some(start), Some(end)) = (filled.find('{'), filled.find('}')) {
        filled.replace_range(start..=end, id);
    }
    filled
}

fn request(client: &Client, method: &str, path: &str) -> Request {
    let mut request = Request::new(&method.to_uppercase(), &filled(path));
    if let Some(token) = &client.token {
        request = request.header("authorization", &format!("Bearer {token}"));
    }
    if method == "get" {
        request
    } else {
        request.json(&json!({}))
    }
}

fn walk(fleet: &TestFleet) {
    let anonymous = Client::anonymous(fleet.server.listen);
    let callers = [
        ("viewer", fleet.admin.token_of_role("viewer")),
        ("operator", fleet.admin.token_of_role("operator")),
    ];
    for (method, path) in routes(fleet) {
        let what = format!("{method} {path}");
        if PUBLIC.contains(&path.as_str()) || path.starts_with("/api/v1/agent/") {
            continue;
        }
        let answer = anonymous.send(&request(&anonymous, &method, &path));
        assert_problem(&answer, 401, "unauthenticated", &what);
        if ANY_ROLE.contains(&path.as_str()) {
            continue;
        }
        let needed = required_role(&method, &path);
        let rank = |role: &str| {
            ["viewer", "operator", "admin"]
                .iter()
                .position(|one| *one == role)
        };
        for (role, caller) in &callers {
            // A stream would never end, and is open to viewers like every read.
            if path.ends_with("/events") {
                continue;
            }
            let answer = caller.send(&request(caller, &method, &path));
            if rank(role) < rank(needed) {
                assert_problem(&answer, 403, "forbidden", &format!("{what} as {role}"));
            } else {
                assert_ne!(answer.status, 403, "{what} as {role}: {}", answer.text());
                assert!(answer.status < 500, "{what} as {role}: {}", answer.text());
            }
        }
    }
}

#[test]
fn every_community_route_asks_who_and_whether_they_may() {
    walk(&community_without_pro());
}

#[test]
fn every_route_of_the_modules_asks_who_and_whether_they_may() {
    walk(&Setup::pro().start());
}

/// In the community edition Pro routes answer 402 after 401, before 403 matters; the walk there is the core's.
fn community_without_pro() -> TestFleet {
    community()
}

#[test]
fn the_document_describes_every_answer_it_names() {
    let fleet = community();
    let document = fleet.admin.get("/openapi.json").expect(200);
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        for method in METHODS {
            let operation = &item[method];
            if !operation.is_object() {
                continue;
            }
            let what = format!("{method} {path}");
            let responses = operation["responses"].as_object();
            assert!(responses.is_some_and(|all| !all.is_empty()), "{what}");
            let public = PUBLIC.contains(&path.as_str()) || path.starts_with("/api/v1/agent/");
            let has = |status: &str| {
                responses.is_some_and(|all| all.contains_key(status) || all.contains_key("default"))
            };
            assert!(public || has("401"), "{what} does not document 401");
        }
    }
    let text = document.to_string();
    for reference in references(&document) {
        let pointer = reference.trim_start_matches('#');
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    assert!(text.len() > 10_000);
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("$ref", Value::String(target)) => vec![target.clone()],
                _ => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}
