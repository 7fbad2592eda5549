//! Inputs that are not requests: each gets its status and code, and changes nothing.

use fleetwright_tests::http::Request;
use serde_json::json;

use super::{assert_problem, community, violations};

#[test]
fn what_cannot_be_parsed_is_malformed() {
    let fleet = community();
    let before = fleet.admin.all("/enrollment-tokens").len();
    let deep = "[".repeat(10_000);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("truncated", b"{\"uses\": 1".to_vec()),
        ("empty", Vec::new()),
        ("not UTF-8", b"{\"name\": \"\xff\xfe\"}".to_vec()),
        ("a key twice", b"{\"uses\": 1, \"uses\": 2}".to_vec()),
        ("deep", deep.into_bytes()),
        ("deep objects", "{\"a\":".repeat(100).into_bytes()),
        (
            "a number beyond every number",
            b"{\"uses\": 1e999}".to_vec(),
        ),
        ("a lone surrogate", b"{\"name\": \"\\ud800\"}".to_vec()),
        ("two documents", b"{} {}".to_vec()),
        ("a word", b"uses".to_vec()),
    ];
    for (what, body) in bodies {
        let request = fleet
            .admin
            .request("POST", "/enrollment-tokens")
            .header("content-type", "application/json")
            .bytes(body);
        let answer = fleet.admin.send(&request);
        assert_problem(&answer, 400, "malformed", what);
    }
    assert_eq!(fleet.admin.all("/enrollment-tokens").len(), before);
}

#[test]
fn a_body_that_is_not_declared_as_json_is_refused() {
    let fleet = community();
    let body = json!({"uses": 1}).to_string().into_bytes();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "text/json",
        "",
    ] {
        let request = fleet
            .admin
            .request("POST", "/enrollment-tokens")
            .header("content-type", kind)
            .bytes(body.clone());
        assert_problem(&fleet.admin.send(&request), 415, "media-type", kind);
    }
    let without = fleet
        .admin
        .request("POST", "/enrollment-tokens")
        .bytes(body.clone());
    assert_problem(
        &fleet.admin.send(&without),
        415,
        "media-type",
        "no content type",
    );
    let with_charset = fleet
        .admin
        .request("POST", "/enrollment-tokens")
        .header("content-type", "application/json; charset=utf-8")
        .bytes(body);
    assert_eq!(fleet.admin.send(&with_charset).status, 201);
}

#[test]
fn a_body_over_a_mebibyte_is_too_large() {
    let fleet = community();
    let body = json!({"name": "x".repeat(1024 * 1024 + 10)});
    let answer = fleet.admin.post("/enrollment-tokens", &body);
    assert_problem(&answer, 413, "too-large", "declared");
    let chunked = fleet
        .admin
        .request("POST", "/enrollment-tokens")
        .header("content-type", "application/json")
        .header("transfer-encoding", "chunked");
    let mut connection = fleetwright_tests::http::Connection::open(fleet.server.listen).unwrap();
    connection.send(&chunked).unwrap();
    let chunk = "x".repeat(64 * 1024);
    for _ in 0..40 {
        let part = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        if connection.send_raw(part.as_bytes()).is_err() {
            break;
        }
    }
    let (status, _) = connection.read_head().unwrap();
    assert_eq!(status, 413, "not declared");
}

#[test]
fn an_unknown_field_is_named() {
    let fleet = community();
    for (body, pointer) in [
        (json!({"uses": 1, "use": 2}), "/use"),
        (json!({"uses": 1, "tenant_id": "x"}), "/tenant_id"),
        (json!({"uses": 1, "created_by": "me"}), "/created_by"),
    ] {
        let answer = fleet.admin.post("/enrollment-tokens", &body);
        // One wrong field is the problem's own code; its place is among the errors.
        assert_eq!(answer.status, 422, "{}", answer.text());
        let expected = (pointer.to_owned(), "unknown-field".to_owned());
        assert!(violations(&answer).contains(&expected), "{}", answer.text());
    }
}

#[test]
fn every_violation_is_listed_not_the_first() {
    let fleet = community();
    let body = json!({"uses": 0, "expires_in_seconds": -5, "tags": ["ok", ""]});
    let answer = fleet.admin.post("/enrollment-tokens", &body);
    assert_eq!(answer.status, 422, "{}", answer.text());
    let places: Vec<String> = violations(&answer)
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places, ["/uses", "/expires_in_seconds", "/tags/1"]);
}

#[test]
fn paths_queries_and_methods_are_checked_in_order() {
    let fleet = community();
    let unknown = "01890000-0000-7000-8000-000000000000";
    let admin = &fleet.admin;
    assert_problem(
        &admin.get("/hosts/not-a-uuid"),
        400,
        "malformed",
        "a bad id",
    );
    assert_problem(
        &admin.get(&format!("/hosts/{unknown}")),
        404,
        "not-found",
        "no host",
    );
    assert_problem(
        &admin.get(&format!("/commands/{unknown}")),
        404,
        "not-found",
        "no command",
    );
    assert_problem(&admin.get("/nonsense"), 404, "not-found", "no route");
    let wrong = admin.send(&admin.request("PUT", "/hosts").json(&json!({})));
    assert_problem(&wrong, 405, "method-not-allowed", "a wrong method");
    assert!(
        wrong
            .header("allow")
            .is_some_and(|methods| methods.contains("GET"))
    );
    let patch = admin.patch(&format!("/hosts/{unknown}"), &json!({"reserved": true}));
    assert_problem(&patch, 404, "not-found", "a patch of no host");
    for path in [
        "/hosts?limit=501",
        "/hosts?limit=0",
        "/hosts?status=sleeping",
    ] {
        let answer = admin.get(path);
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
    }
    assert!(matches!(admin.get("/hosts?limit=many").status, 400 | 422));
    assert!(matches!(admin.get("/hosts?colour=red").status, 400 | 422));
    let long = format!("/hosts?q={}", "x".repeat(9 * 1024));
    assert_eq!(admin.get(&long).status, 414);
    // PostgreSQL takes no NUL in a text, so none may reach a query.
    for path in ["/hosts?q=%00", "/audit?action=a%00b", "/hosts/%00"] {
        assert_problem(&admin.get(path), 400, "malformed", path);
    }
}

#[test]
fn an_if_match_that_is_stale_changes_nothing() {
    let fleet = community();
    let host_id = super::operations::enrolled_host(&fleet, "a.sim");
    let path = format!("/hosts/{host_id}");
    let tag = fleet.admin.get(&path).header("etag").unwrap().to_owned();
    let patch = |tag: &str, value: bool| -> Request {
        fleet
            .admin
            .request("PATCH", &path)
            .header("if-match", tag)
            .json(&json!({"reserved": value}))
    };
    assert_eq!(fleet.admin.send(&patch(&tag, true)).status, 200);
    let stale = fleet.admin.send(&patch(&tag, false));
    assert_problem(&stale, 412, "precondition-failed", "a stale tag");
    assert_eq!(fleet.admin.get(&path).expect(200)["reserved"], true);
    assert_eq!(fleet.admin.send(&patch("*", false)).status, 200);
}
