//! Who gets in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetwright_tests::client::{Client, text};
use fleetwright_tests::http::{self, Request};
use fleetwright_tests::server_process::{ADMIN, ADMIN_PASSWORD};
use serde_json::{Value, json};

use super::{assert_problem, community};

#[test]
fn nobody_gets_in_without_a_valid_token() {
    let fleet = community();
    let anonymous = Client::anonymous(fleet.server.listen);
    let nothing = anonymous.get("/hosts");
    assert_problem(&nothing, 401, "unauthenticated", "no token");
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer a.b.c",
        "Bearer ..",
    ] {
        let request = anonymous
            .request("GET", "/hosts")
            .header("authorization", value);
        let answer = anonymous.send(&request);
        assert_problem(&answer, 401, "unauthenticated", value);
    }
    let events = anonymous.get("/events");
    assert_problem(&events, 401, "unauthenticated", "events without a token");
    // Unknown paths are not told apart from known ones before authentication.
    let unknown = anonymous.get("/nonsense");
    assert_problem(&unknown, 401, "unauthenticated", "an unknown path");
}

/// A session token with some of its parts replaced.
fn forged(session: &str, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let parts: Vec<&str> = session.split('.').collect();
    let part = |index: usize| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(parts[index]).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let (mut header, mut claims) = (part(0), part(1));
    change(&mut header, &mut claims);
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", encode(&header), encode(&claims), parts[2])
}

#[test]
fn a_forged_session_is_refused() {
    let fleet = community();
    let session = Client::login(fleet.server.listen, ADMIN, ADMIN_PASSWORD);
    let token = session.token.clone().unwrap();
    assert_eq!(session.get("/auth/me").status, 200);
    let untouched = forged(&token, |_, _| {});
    let unsigned = |text: String| text.rsplit_once('.').unwrap().0.to_owned() + ".";
    let forgeries = [
        (
            "alg none",
            unsigned(forged(&token, |header, _| header["alg"] = json!("none"))),
        ),
        ("no signature", unsigned(token.clone())),
        (
            "HS256",
            forged(&token, |header, _| header["alg"] = json!("HS256")),
        ),
        (
            "another key",
            forged(&token, |header, _| header["kid"] = json!("../key")),
        ),
        (
            "later expiry",
            forged(&token, |_, claims| {
                claims["exp"] = json!(99_999_999_999_u64)
            }),
        ),
        (
            "text expiry",
            forged(&token, |_, claims| claims["exp"] = json!("99999999999")),
        ),
        (
            "no audience",
            forged(&token, |_, claims| {
                claims.as_object_mut().unwrap().remove("aud");
            }),
        ),
        (
            "another role",
            forged(&token, |_, claims| claims["role"] = json!("admin!")),
        ),
        ("cut off", token[..token.len() - 4].to_owned()),
        ("with more behind", format!("{token}AAAA")),
    ];
    for (what, forgery) in forgeries {
        assert_ne!(forgery, token, "{what}");
        let answer = session.with_token(&forgery).get("/hosts");
        assert_problem(&answer, 401, "unauthenticated", what);
    }
    // The forging itself is sound: with nothing changed the parts still make the same claims.
    assert_eq!(untouched.split('.').count(), 3);
}

#[test]
fn a_revoked_token_is_useless_at_once() {
    let fleet = community();
    let made = fleet
        .admin
        .post("/tokens", &json!({"name": "short life", "role": "viewer"}))
        .expect(201);
    let caller = fleet.admin.with_token(&text(&made, "token"));
    assert_eq!(caller.get("/hosts").status, 200);
    let id = text(&made, "id");
    assert_eq!(fleet.admin.delete(&format!("/tokens/{id}")).status, 204);
    assert_problem(
        &caller.get("/hosts"),
        401,
        "unauthenticated",
        "a revoked token",
    );
    let listed = fleet.admin.get("/tokens").expect(200).to_string();
    assert!(
        !listed.contains(&text(&made, "token")),
        "a token is shown once"
    );
}

#[test]
fn a_wrong_password_is_refused_and_guessing_is_slowed_down() {
    let fleet = community();
    let anonymous = Client::anonymous(fleet.server.listen);
    let guess = json!({"username": "admin", "password": "guess"});
    let first = anonymous.post("/auth/login", &guess);
    assert_problem(&first, 401, "unauthenticated", "a wrong password");
    let unknown = json!({"username": "nobody", "password": "guess"});
    let answer = anonymous.post("/auth/login", &unknown);
    assert_problem(&answer, 401, "unauthenticated", "an unknown user");
    let mut statuses = Vec::new();
    for _ in 0..15 {
        let answer = anonymous.post("/auth/login", &guess);
        statuses.push(answer.status);
        if answer.status == 429 {
            assert_problem(&answer, 429, "rate-limited", "guessing");
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(after >= 1);
            return;
        }
    }
    panic!("fifteen guesses were answered: {statuses:?}");
}

#[test]
fn a_logged_out_session_is_over() {
    let fleet = community();
    let session = Client::login(fleet.server.listen, ADMIN, ADMIN_PASSWORD);
    assert_eq!(session.get("/auth/me").status, 200);
    let out = session.post("/auth/logout", &json!({}));
    assert!(matches!(out.status, 200 | 204), "{}", out.text());
    let me = session.get("/auth/me");
    assert_problem(&me, 401, "unauthenticated", "after the log-out");
}

#[test]
fn health_and_metrics_need_no_token_and_tell_no_secret() {
    let fleet = community();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = http::once(fleet.server.listen, &Request::new("GET", path)).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(!answer.text().contains(ADMIN_PASSWORD));
    }
}

#[test]
fn a_token_outside_its_scopes_is_forbidden() {
    let fleet = community();
    let body = json!({"name": "narrow", "role": "admin", "scopes": ["hosts:read"]});
    let made = fleet.admin.post("/tokens", &body).expect(201);
    let caller = fleet.admin.with_token(&text(&made, "token"));
    assert_eq!(caller.get("/hosts").status, 200);
    let id = "01890000-0000-7000-8000-000000000000";
    for answer in [
        caller.get("/audit"),
        caller.get("/fleet/bulk"),
        caller.post("/fleet/select", &json!({})),
        caller.delete(&format!("/hosts/{id}")),
        caller.post("/tokens", &json!({"name": "wider", "role": "admin"})),
    ] {
        assert_problem(&answer, 403, "forbidden", "outside its scopes");
    }
    // Selecting reads, though it is a POST: allowed, and only then a question of licence.
    let body = json!({"name": "reader", "role": "viewer", "scopes": ["fleet:read"]});
    let made = fleet.admin.post("/tokens", &body).expect(201);
    let reader = fleet.admin.with_token(&text(&made, "token"));
    assert_eq!(reader.post("/fleet/select", &json!({})).status, 402);
    assert_eq!(reader.post("/fleet/bulk", &json!({})).status, 403);
}

#[test]
fn a_compressed_body_is_refused_unread() {
    let fleet = community();
    let request = fleet
        .admin
        .request("POST", "/enrollment-tokens")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .bytes(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    let answer = fleet.admin.send(&request);
    assert!(matches!(answer.status, 413 | 415), "{}", answer.text());
}
