//! What a token makes or keeps open is within the token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetwright_server::auth::session_token::{SessionClaim, SessionTokens};
use fleetwright_server::db::{Db, DbError, Dialect, MigrationText, Statement};
use fleetwright_tests::client::{BASE, Client, script, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::{Answer, Events, Request};
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::scripted::ScriptedAgent;
use fleetwright_tests::server_process::{ADMIN, ADMIN_PASSWORD};
use serde_json::{Value, json};
use uuid::Uuid;

const PASSWORD: &str = "correct horse battery";
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";
/// Streams are looked at every 15 s, and what comes of it takes a busy machine some time.
const LOOKED_AT: Duration = Duration::from_secs(15 + 25);

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

/// Tells when the stream ends, and how.
fn report_end(name: String, mut events: Events, ends: &Sender<(String, std::io::Result<()>)>) {
    let ends = ends.clone();
    std::thread::spawn(move || {
        let end = loop {
            match events.next_event() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // Nobody listens once the test is over.
        let _ = ends.send((name, end));
    });
}

/// A fleet with an approved host whose agent never answers, so that nothing on it ends; the paths of its streams: the core's, and
/// those of two modules.
fn endless() -> (TestFleet, ScriptedAgent, Vec<String>) {
    let fleet = Setup::pro().start();
    let enrollment = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let host = crowd.enroll(&enrollment, "sim", 1).remove(0);
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = host.host_id.to_string();
    let command = fleet.admin.run_on_host(&id, &script("true"));
    agent.hear_type("command");
    let mut operation = script("true");
    operation["selector"] = json!({"explicit_host_ids": [id]});
    let bulk = text(
        &fleet.admin.post("/fleet/bulk", &operation).expect(202),
        "id",
    );
    operation["batch_size"] = json!(1);
    let rolling = text(
        &fleet.admin.post("/fleet/rolling", &operation).expect(202),
        "id",
    );
    let paths = vec![
        "/events".to_owned(),
        format!("/commands/{command}/output?follow=true"),
        format!("/fleet/bulk/{bulk}/events"),
        format!("/fleet/rolling/{rolling}/events"),
    ];
    (fleet, agent, paths)
}

#[test]
fn a_stream_ends_with_the_right_to_it_whoever_serves_it() {
    let (fleet, _agent, paths) = endless();
    let admin = &fleet.admin;
    let log_in = |name: &str| Client::login(fleet.server.listen, name, PASSWORD);
    let names = ["out", "new-password", "demoted", "disabled", "deleted"];
    let ids: BTreeMap<&str, String> = names.map(|name| (name, user(admin, name, "admin"))).into();
    let owner = user(admin, "owner", "admin");
    let (revoked, revoked_id) = token(admin, json!({"role": "viewer"}));
    let (owned, _) = token(&log_in("owner"), json!({}));
    let mut callers: Vec<(&str, Client)> = names.map(|name| (name, log_in(name))).into();
    callers.extend([
        ("revoked", revoked),
        ("a demoted owner's", owned),
    ]);
    // Made last and opened first: its end is near.
    let (expiring, _) = token(admin, json!({"role": "viewer", "expires_in_seconds": 10}));
    callers.push(("expired", expiring));
    let (ends, ended) = mpsc::channel();
    let mut open = BTreeSet::new();
    for (name, caller) in callers.iter().rev() {
        for path in &paths {
            let name = format!("{path} of {name}");
            report_end(name.clone(), caller.events(path), &ends);
            open.insert(name);
        }
    }
    for path in &paths {
        report_end(format!("{path} of admin"), admin.events(path), &ends);
    }

    assert_eq!(callers[0].1.post("/auth/logout", &json!({})).status, 204);
    change(
        admin,
        &ids["new-password"],
        json!({"password": "another horse battery"}),
    );
    change(admin, &ids["demoted"], json!({"role": "viewer"}));
    change(admin, &ids["disabled"], json!({"disabled": true}));
    assert_eq!(
        admin.delete(&format!("/users/{}", ids["deleted"])).status,
        204
    );
    change(admin, &owner, json!({"role": "operator"}));
    assert_eq!(admin.delete(&format!("/tokens/{revoked_id}")).status, 204);

    let until = Instant::now() + LOOKED_AT;
    while !open.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let Ok((name, end)) = ended.recv_timeout(left) else {
            panic!("still open after {LOOKED_AT:?}: {open:#?}");
        };
        assert!(end.is_ok(), "{name} was not ended but broken: {end:?}");
        assert!(open.remove(&name), "{name} ended, and its right had not");
    }
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

/// Whether hosts can enroll with it.
fn enrolls(fleet: &TestFleet, enrollment: &str, name: &str) -> bool {
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let enrolling = || crowd.enroll(enrollment, name, 1);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(enrolling)).is_ok()
}

fn die_with_their_owner(fleet: &TestFleet) {
    let admin = &fleet.admin;
    let log_in = |name: &str| Client::login(fleet.server.listen, name, PASSWORD);
    let may = |client: &Client| (client.get("/users").status, client.get("/hosts").status);
    let role = |id: &str| {
        let listed = admin.all("/tokens").into_iter().find(|one| one["id"] == id);
        listed.map(|one| {
            (
                text(&one, "role"),
                text(&one, "effective_role"),
                text(&one["owner"], "name"),
            )
        })
    };
    let shown = |role: &str, effective: &str, owner: &str| {
        Some((role.to_owned(), effective.to_owned(), owner.to_owned()))
    };

    let anna = user(admin, "anna", "admin");
    let (own, own_id) = token(&log_in("anna"), json!({}));
    let (made, made_id) = token(&own, json!({"role": "viewer"}));
    let (deep, deep_id) = token(&own, json!({}));
    let enrollment = deep.enrollment_token(10, true, &[]);
    assert_eq!(
        (may(&own), may(&made), may(&deep)),
        ((200, 200), (403, 200), (200, 200))
    );
    assert_eq!(role(&deep_id), shown("admin", "admin", "anna"));
    assert!(enrolls(fleet, &enrollment, "first"));

    change(admin, &anna, json!({"role": "operator"}));
    assert_eq!(
        (may(&own), may(&made), may(&deep)),
        ((403, 200), (403, 200), (403, 200))
    );
    assert_eq!(role(&own_id), shown("admin", "operator", "anna"));
    assert_eq!(role(&made_id), shown("viewer", "viewer", "anna"));
    assert!(
        !enrolls(fleet, &enrollment, "second"),
        "who may no longer make one lets nobody in"
    );
    change(admin, &anna, json!({"role": "admin"}));
    assert_eq!(may(&deep), (200, 200));
    assert!(enrolls(fleet, &enrollment, "third"));

    change(admin, &anna, json!({"disabled": true}));
    let all = [&own, &made, &deep];
    assert_eq!(all.map(may), [(401, 401); 3]);
    assert_eq!(role(&own_id), None);
    change(admin, &anna, json!({"disabled": false}));
    assert_eq!(all.map(may), [(401, 401); 3], "nothing comes back");
    assert!(!enrolls(fleet, &enrollment, "fourth"));

    let (own, _) = token(&log_in("anna"), json!({}));
    let (made, _) = token(&own, json!({}));
    assert_eq!(admin.delete(&format!("/users/{anna}")).status, 204);
    user(admin, "anna", "admin");
    assert_eq!(
        [&own, &made].map(may),
        [(401, 401); 2],
        "another anna is somebody else"
    );

    // What is revoked takes along what it has made, and nobody else's.
    let (root, root_id) = token(&log_in("anna"), json!({}));
    let (child, _) = token(&root, json!({}));
    let (grandchild, _) = token(&child, json!({}));
    let (sibling, _) = token(&log_in("anna"), json!({}));
    let enrollment = grandchild.enrollment_token(1, false, &[]);
    assert_eq!(admin.delete(&format!("/tokens/{root_id}")).status, 204);
    assert_eq!(
        [&root, &child, &grandchild, &sibling].map(may),
        [(401, 401), (401, 401), (401, 401), (200, 200)]
    );
    assert!(!enrolls(fleet, &enrollment, "fifth"));
    let audited = admin
        .all("/audit")
        .into_iter()
        .filter(|row| row["action"] == "token.revoke");
    assert!(
        audited
            .map(|row| row["detail"]["tokens_revoked"].clone())
            .any(|count| count == 3)
    );
}

#[test]
fn tokens_die_with_their_owner_on_sqlite() {
    die_with_their_owner(&Setup::community().start());
}

#[test]
fn tokens_die_with_their_owner_on_postgres() {
    die_with_their_owner(&Setup::community().on(Engine::Postgres).start());
}

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
fn scoped_routes(fleet: &TestFleet) -> Vec<(String, String, Vec<String>)> {
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
    let end = fleetwright_tests::wait::wait_for(
        "the run to end",
        fleetwright_tests::wait::PATIENCE,
        || {
            let run = fleet
                .admin
                .all(&format!("/fleet/schedules/{id}/runs"))
                .into_iter()
                .next()?;
            let open = ["pending", "launching"].contains(&run["status"].as_str()?);
            (!open).then(|| (text(&run, "status"), run["reason"].clone()))
        },
    );
    assert_eq!(end, ("failed_to_launch".to_owned(), json!("owner_revoked")));
    assert!(fleet.admin.all("/fleet/bulk").is_empty());
    assert_eq!(whole.post(&run, &json!({})).status, 202);
    fleetwright_tests::wait::wait_for(
        "it to be launched",
        fleetwright_tests::wait::PATIENCE,
        || fleet.admin.all("/fleet/bulk").into_iter().next(),
    );
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

/// The migrations as they were before tokens had owners.
fn before_owners(dialect: Dialect) -> Vec<MigrationText> {
    let folder = match dialect {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
    };
    let folder = fleetwright_tests::source::workspace()
        .join("migrations")
        .join(folder);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the migrations are there")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.as_str() < "0008")
        .collect();
    names.sort();
    let text = |name: &String| MigrationText {
        version: name[..4].parse().unwrap(),
        name: name.trim_end_matches(".sql").to_owned().into(),
        sql: std::fs::read_to_string(folder.join(name)).unwrap().into(),
    };
    names.iter().map(text).collect()
}

async fn owners_after_migrating(db: Db) {
    db.migrate("_mig_core", before_owners(db.dialect()))
        .await
        .expect("the old ones");
    let users = [(1_u128, "admin", 0), (2, "operator", 0), (3, "admin", 1)];
    // Id, role, made by, the owner it gets.
    let kinds = |id: u128| format!("user:{}", Uuid::from_u128(id));
    let by_token = |id: u128| format!("token:{}", Uuid::from_u128(id));
    let tokens = [
        (11_u128, "admin", kinds(1), Some(1_u128)),
        (12, "operator", by_token(11), Some(1)),
        (13, "viewer", by_token(12), Some(1)),
        (14, "operator", kinds(2), Some(2)),
        (15, "viewer", kinds(2), Some(2)),
        // Its maker was demoted since, disabled, deleted; or is a token of which nothing is known.
        (16, "admin", kinds(2), None),
        (17, "viewer", kinds(3), None),
        (18, "viewer", kinds(4), None),
        (19, "viewer", by_token(99), None),
        (20, "viewer", "system:x".to_owned(), None),
        (21, "viewer", "user:damaged".to_owned(), None),
    ];
    let written = tokens.clone();
    db.write(move |tx| -> Result<(), DbError> {
        for (id, role, disabled) in users {
            let sql = "INSERT INTO users (id, name, role, disabled, created_at, updated_at, password_hash) VALUES ($1, $2, $3, $4, 0, 0, '')";
            tx.execute(Statement::new(sql).bind(Uuid::from_u128(id)).bind(id.to_string()).bind(role).bind(disabled))?;
        }
        for (id, role, by, _) in written {
            let sql = "INSERT INTO api_tokens (id, name, token_sha256, prefix, role, scopes, created_by, created_at) \
                       VALUES ($1, 't', $2, 'fwt_', $3, '[]', $4, 0)";
            let digest = Uuid::from_u128(id).as_bytes().to_vec();
            tx.execute(Statement::new(sql).bind(Uuid::from_u128(id)).bind(digest).bind(role).bind(by))?;
        }
        Ok(())
    })
    .await
    .expect("an old database");
    db.migrate_core().await.expect("the new one");
    for (id, role, by, owner) in tokens {
        let found = fleetwright_server::auth::store::tokens::get(&db, Uuid::from_u128(id))
            .await
            .unwrap()
            .expect("it is there");
        assert_eq!(
            found.owner.id(),
            owner.map(Uuid::from_u128),
            "{id} made by {by}"
        );
        let now = found.effective_role().map(|now| now.as_str());
        assert_eq!(now, Some(role), "{id} made by {by} works as before");
    }
}

#[test]
fn old_tokens_work_as_before_and_belong_to_whom_can_be_found() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (url, _folder) = fleetwright_tests::databases::fresh_url(engine);
        runtime.block_on(async {
            let db = Db::open(&url).await.expect("the database opens");
            owners_after_migrating(db.clone()).await;
            db.close().await;
        });
    }
}
