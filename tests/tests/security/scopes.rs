//! What a token makes or keeps open is within the token.

mod owners;
mod routes;
mod streams;
mod tenants;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetwright_server::auth::scope::AREAS;
use fleetwright_server::auth::session_token::{SessionClaim, SessionTokens};
use fleetwright_tests::client::{Client, script, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use fleetwright_tests::server_process::{ADMIN, ADMIN_PASSWORD};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};
use uuid::Uuid;

const PASSWORD: &str = "correct horse battery";

/// A token made by `by`, and its id.
fn token(by: &Client, body: Value) -> (Client, String) {
    let mut whole = json!({"name": "t", "role": "admin"});
    whole
        .as_object_mut()
        .unwrap()
        .extend(body.as_object().unwrap().clone());
    let made = by.post("/tokens", &whole).expect(201);
    (by.with_token(&text(&made, "token")), text(&made, "id"))
}

fn user(by: &Client, name: &str, role: &str) -> String {
    let body = json!({"name": name, "password": PASSWORD, "role": role});
    text(&by.post("/users", &body).expect(201), "id")
}

fn change(by: &Client, id: &str, body: Value) {
    by.patch(&format!("/users/{id}"), &body).expect(200);
}

/// The places that a 403 names.
fn exceeds(answer: &Answer) -> (u16, Vec<String>) {
    let errors = answer.json()["errors"].as_array().cloned();
    let pointers = errors.unwrap_or_default();
    (
        answer.status,
        pointers.iter().map(|one| text(one, "pointer")).collect(),
    )
}

fn made_within(fleet: &TestFleet) {
    let admin = &fleet.admin;
    let (narrow, _) = token(
        admin,
        json!({"scopes": ["tokens", "users", "hosts:read", "fleet", "enrollment-tokens"]}),
    );
    let (short, _) = token(admin, json!({"expires_in_seconds": 600}));
    let cases = [
        (&narrow, json!({"scopes": ["hosts"]}), vec!["/scopes/0"]),
        (
            &narrow,
            json!({"scopes": ["hosts:read", "operations", "audit:read"]}),
            vec!["/scopes/1", "/scopes/2"],
        ),
        (
            &short,
            json!({"expires_in_seconds": 601}),
            vec!["/expires_in_seconds"],
        ),
        (
            &short,
            json!({"expires_in_seconds": 86_400, "scopes": ["hosts"]}),
            vec!["/expires_in_seconds"],
        ),
    ];
    for (maker, more, expected) in cases {
        let mut body = json!({"name": "wider", "role": "admin"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = maker.post("/tokens", &body);
        assert_eq!(
            (exceeds(&answer), answer.code()),
            (
                (403, expected.iter().map(|one| (*one).to_owned()).collect()),
                "forbidden".to_owned()
            ),
            "{body}"
        );
    }
    // What is left out is the maker's own.
    for body in [json!({}), json!({"scopes": []})] {
        let (made, _) = token(&narrow, body);
        let me = made.get("/auth/me").expect(200);
        assert_eq!(
            me["scopes"],
            json!([
                "tokens",
                "users",
                "hosts:read",
                "fleet",
                "enrollment-tokens"
            ])
        );
        assert_eq!(made.get("/audit").status, 403);
    }
    let (_, id) = token(&short, json!({}));
    let listed = admin.all("/tokens");
    let listed = listed
        .iter()
        .find(|one| one["id"] == id.as_str())
        .expect("it is listed");
    let end = |listed: &Value| listed["expires_at"].as_str().map(str::to_owned);
    let short_id = text(&short.get("/auth/me").expect(200), "id");
    let maker = admin
        .all("/tokens")
        .into_iter()
        .find(|one| short_id.ends_with(&text(one, "id")))
        .expect("listed");
    assert!(end(listed).is_some());
    assert_eq!(end(listed), end(&maker));
    assert_eq!(listed["owner"]["name"], ADMIN);
    let (deeper, _) = token(
        &short,
        json!({"scopes": ["tokens"], "expires_in_seconds": 60}),
    );
    assert_eq!(
        exceeds(&deeper.post(
            "/tokens",
            &json!({"name": "x", "role": "admin", "expires_in_seconds": 120})
        ))
        .0,
        403
    );

    let victim = user(admin, "victim", "viewer");
    for maker in [&narrow, &short] {
        let evil = json!({"name": "evil", "password": PASSWORD, "role": "viewer"});
        assert_eq!(
            exceeds(&maker.post("/users", &evil)),
            (403, vec!["/role".to_owned(), "/password".to_owned()])
        );
        let path = format!("/users/{victim}");
        let given = json!({"password": PASSWORD, "role": "admin"});
        assert_eq!(
            exceeds(&maker.patch(&path, &given)),
            (403, vec!["/role".to_owned(), "/password".to_owned()])
        );
        assert_eq!(
            maker.patch(&path, &json!({"disabled": true})).status,
            200,
            "taking is allowed"
        );
        assert_eq!(
            exceeds(&maker.patch(&path, &json!({"disabled": false}))),
            (403, vec!["/disabled".to_owned()])
        );
    }
    assert_eq!(narrow.delete(&format!("/users/{victim}")).status, 204);

    let enrolled = |by: &Client, body: Value| by.post("/enrollment-tokens", &body);
    let (approver, _) = token(admin, json!({"scopes": ["enrollment-tokens", "hosts"]}));
    assert_eq!(
        exceeds(&enrolled(&narrow, json!({"auto_approve": true}))),
        (403, vec!["/auto_approve".to_owned()])
    );
    assert_eq!(
        enrolled(&narrow, json!({"auto_approve": false})).status,
        201
    );
    assert_eq!(
        enrolled(&approver, json!({"auto_approve": true})).status,
        201
    );
    let long = json!({"expires_in_seconds": 86_400});
    assert_eq!(
        exceeds(&enrolled(&short, long.clone())),
        (403, vec!["/expires_in_seconds".to_owned()])
    );
    let made = enrolled(&short, json!({})).expect(201);
    assert_eq!(end(&made), end(&maker));
    assert_eq!(enrolled(admin, long).status, 201);
}

#[test]
fn what_a_token_makes_is_within_it_on_sqlite() {
    made_within(&Setup::community().start());
}

#[test]
fn what_a_token_makes_is_within_it_on_postgres() {
    made_within(&Setup::community().on(Engine::Postgres).start());
}

#[test]
fn what_is_done_in_process_keeps_the_scopes_of_its_caller() {
    let mut fleet = Setup::pro().start();
    fleet.add_agent("one.test", &["web"]);
    let mut schedule = script("true");
    schedule["name"] = json!("nightly");
    schedule["cron"] = json!("@daily");
    schedule["selector"] = json!({"tags": ["web"]});
    // It would launch what its owner may not.
    let (partial, _) = token(
        &fleet.admin,
        json!({"role": "operator", "scopes": ["fleet.schedules", "operations"]}),
    );
    let refused = partial.post("/fleet/schedules", &schedule);
    assert_eq!(
        (refused.status, refused.code()),
        (403, "forbidden".to_owned()),
        "{}",
        refused.text()
    );
    assert!(
        refused.text().contains("`fleet.bulk`"),
        "{}",
        refused.text()
    );
    let (whole, _) = token(
        &fleet.admin,
        json!({"role": "operator", "scopes": ["fleet.schedules", "fleet.bulk", "operations"]}),
    );
    let id = text(&whole.post("/fleet/schedules", &schedule).expect(201), "id");
    let run = format!("/fleet/schedules/{id}/run");
    // Whoever runs it now does so with their own rights.
    assert_eq!(partial.post(&run, &json!({})).status, 202);
    let end = wait_for("the run to end", PATIENCE, || {
        let run = fleet
            .admin
            .all(&format!("/fleet/schedules/{id}/runs"))
            .into_iter()
            .next()?;
        let open = ["pending", "launching"].contains(&run["status"].as_str()?);
        (!open).then(|| (text(&run, "status"), run["reason"].clone()))
    });
    assert_eq!(end, ("failed_to_launch".to_owned(), json!("owner_revoked")));
    assert!(fleet.admin.all("/fleet/bulk").is_empty());
    assert_eq!(whole.post(&run, &json!({})).status, 202);
    wait_for("it to be launched", PATIENCE, || {
        fleet.admin.all("/fleet/bulk").into_iter().next()
    });
}

#[test]
fn a_session_answers_for_its_own_user_only() {
    let fleet = Setup::community().start();
    let session = Client::login(fleet.server.listen, ADMIN, ADMIN_PASSWORD);
    let me = session.get("/auth/me").expect(200);
    let bearer = session.token.clone().expect("a session has one");
    let claims = URL_SAFE_NO_PAD
        .decode(bearer.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    fleetwright_server::install_crypto();
    let key = fleet.server.settings.data_dir().join("session.key");
    let tokens = SessionTokens::from_file(&key).expect("the server's own key");
    let lease_us = claims["iat"].as_i64().unwrap() * 1_000_000;
    let session_id = text(&me, "session_id").parse().unwrap();
    let signed = |user_id: Uuid| {
        tokens
            .sign(
                lease_us,
                SessionClaim {
                    session_id,
                    user_id,
                },
            )
            .unwrap()
    };
    let own: Uuid = text(&me, "id").trim_start_matches("user:").parse().unwrap();
    assert_eq!(
        session.with_token(&signed(own)).get("/hosts").status,
        200,
        "the forging is sound"
    );
    assert_eq!(
        session
            .with_token(&signed(Uuid::nil()))
            .get("/hosts")
            .status,
        401
    );
}

#[test]
fn every_area_stands_in_the_document_of_tokens() {
    let document = include_str!("../../../docs/tokens.md");
    let rows: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for area in AREAS {
        let named = format!("`{area}`");
        let is_told = rows.iter().any(|row| {
            let first = row.split('|').nth(1).unwrap_or_default();
            first.contains(&named)
        });
        assert!(is_told, "{area}");
    }
}
